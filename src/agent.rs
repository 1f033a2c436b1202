//! The agent that runs the session: how it is recognised, who it is, where it works, what it does, and what wakes it.
//!
//! One file an agent. Each answers the same questions ([`Kind`]): is this its process and MCP client; is this a session that
//! a person sits before; where do its folder, name and state stand and where are they followed; which ways lead into it; how
//! are our tools called in it. What no agent is known to answer is answered as for any MCP client (`other`).

pub mod claude_code;
pub mod codex;
pub mod copilot;
pub mod declared;
pub mod folder;
pub mod gemini_cli;
mod kind;
mod mcp_client;
pub mod opencode;
pub mod other;
pub mod pi;
pub mod qwen_code;
pub mod route;

use std::future::{pending, poll_fn};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use self::claude_code::ClaudeCode;
use self::codex::Codex;
use self::copilot::Copilot;
use self::folder::Folder;
use self::gemini_cli::GeminiCli;
pub use self::kind::{CallOrigin, Kind, Profile, State, Surroundings};
pub use self::mcp_client::McpClient;
use self::opencode::Opencode;
use self::other::Other;
use self::pi::Pi;
use self::qwen_code::QwenCode;
use self::route::{Delivery, RouteEvent};
use crate::object::Object;
use crate::process::{self, Process};
use crate::protocol::{Activity, PeerName, Presence, SessionFacts, SessionId, Wake};
use crate::watched::{PathWatch, Signal, Watching, process_end};

/// Recognises an agent in what is to be seen of it.
type Recognise = fn(&Surroundings<'_>) -> Option<Box<dyn Kind>>;

/// Every agent that is known.
const AGENTS: &[(&Profile, Recognise)] = &[
    (&claude_code::PROFILE, ClaudeCode::recognise),
    (&codex::PROFILE, Codex::recognise),
    (&copilot::PROFILE, Copilot::recognise),
    (&opencode::PROFILE, Opencode::recognise),
    (&pi::PROFILE, Pi::recognise),
    (&qwen_code::PROFILE, QwenCode::recognise),
    (&gemini_cli::PROFILE, GeminiCli::recognise),
    // Last: whoever is known is asked himself.
    (&other::PROFILE, Other::recognise),
];

/// Returns what people call the agent with this short name; one that this program does not know is called by it.
pub fn shown(id: &str) -> &str {
    AGENTS.iter().find(|(profile, _)| profile.id == id).map_or(id, |(profile, _)| profile.shown)
}

/// The variable that overrides whether channel events are used: `on`, `off` or `auto`.
pub const CHANNEL_VARIABLE: &str = "RELAY_CHANNEL";

/// What has changed since the last look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// The name that the session's user has given it in the agent.
    pub name: Option<String>,
}

/// What has happened to an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    /// Its process has ended.
    Ended,
    /// What is known of the session may have changed.
    Changed,
    /// There may be something to do on its route: [`Agent::turn`].
    Route,
}

/// The agent of this channel's session.
#[derive(Debug)]
pub struct Agent {
    kind: Box<dyn Kind>,
    client: McpClient,
    folder: Folder,
    activity: Activity,
    waiting_for: Option<String>,
    /// The name that its user gave the session last, as far as it was told.
    named: Option<String>,
    ended: Option<Signal>,
    followed: Option<(PathWatch, Signal)>,
}

impl Agent {
    /// Returns the agent whose MCP client this is, as far as this process can see it. Reads the environment and the system.
    /// `sockets`: where the sessions' sockets are.
    pub fn of_process(client: McpClient, sockets: Option<&Path>) -> Self {
        let seen = Surroundings::of_process(&client, sockets, &variable);
        let known = seen.and_then(|seen| AGENTS.iter().find_map(|(_, recognise)| recognise(&seen)));
        let kind = known.unwrap_or_else(|| Box::new(Other::default()));
        let folder = Folder::new(start_folder(kind.as_ref()));
        Self {
            kind,
            client,
            folder,
            activity: Activity::Unknown,
            waiting_for: None,
            named: None,
            ended: None,
            followed: None,
        }
    }

    /// Has the system tell of the agent's end and of its file's changes. Without either everything else works.
    pub fn follow(&mut self) {
        if self.process() != process::own() {
            self.ended = match process_end(self.process()) {
                Ok(end) => end.and_then(|end| Signal::new(end).ok()),
                Err(error) => {
                    tracing::debug!(%error, "the agent's end is not told");
                    None
                }
            };
        }
        if self.is_interactive() {
            self.followed = self.kind.file().and_then(|path| match followed(path.to_owned()) {
                Ok(followed) => Some(followed),
                Err(error) => {
                    tracing::debug!(%error, "the agent's file is not followed");
                    None
                }
            });
        }
    }

    /// Returns what is the same in all sessions of this agent.
    pub fn profile(&self) -> &'static Profile {
        self.kind.profile()
    }

    fn process(&self) -> Process {
        self.kind.process()
    }

    /// Returns the session's identity.
    pub fn session(&self) -> SessionId {
        let Process { pid, start } = self.process();
        SessionId { pid, start, thread: self.kind.thread().map(str::to_owned) }
    }

    /// Returns whether another channel may follow this one in the same session: the agent outlives its channels.
    pub fn outlives_channel(&self) -> bool {
        self.process() != process::own() && process::of(self.process().pid) == Some(self.process())
    }

    /// Returns whether a person sits before the session. Another one is no peer before it uses a tool.
    pub fn is_interactive(&self) -> bool {
        self.kind.is_interactive()
    }

    /// Returns whether the session takes our channel events, unless [`CHANNEL_VARIABLE`] says it.
    pub fn takes_channel_events(&self) -> bool {
        match variable(CHANNEL_VARIABLE).as_deref() {
            Some("on") => true,
            Some("off") => false,
            _ => self.kind.takes_channel_events(),
        }
    }

    /// Returns whether it is known which session this is.
    pub fn is_identified(&self) -> bool {
        self.kind.is_identified()
    }

    /// Records that nobody will tell which session this is.
    pub fn handle_unidentified(&mut self) {
        self.kind.handle_unidentified();
    }

    /// Takes over what the agent says with a tool call (`_meta`).
    pub fn handle_call_meta(&mut self, meta: &Object) -> CallOrigin {
        self.kind.handle_call_meta(meta)
    }

    /// Does what is to be done on the session's route, and tells what has happened.
    pub fn turn(&mut self, now: Instant) -> Vec<RouteEvent> {
        let mut events = Vec::new();
        if let Some(route) = self.kind.route() {
            route.turn(now, &mut events);
        }
        events
    }

    /// Returns when [`Agent::turn`] is to be called at the latest.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        self.kind.route()?.poll_timeout()
    }

    /// Returns what a session says of itself that is woken by its route, and whether it takes messages only while it is idle.
    pub fn route(&mut self) -> Option<(Wake, bool)> {
        self.kind.route().map(|route| (route.wake(), route.is_for_idle()))
    }

    /// Delivers messages by the session's route.
    pub fn deliver(&mut self, now: Instant, delivery: Delivery) {
        if let Some(route) = self.kind.route() {
            route.deliver(now, delivery);
        }
    }

    /// Returns how the full names of our tools begin in this agent.
    pub fn tool_prefix(&self) -> &'static str {
        self.kind.tool_prefix()
    }

    /// Returns whether the agent shows its model a call that failed in front of its error, and of both only the beginning.
    pub fn repeats_failed_calls(&self) -> bool {
        self.kind.repeats_failed_calls()
    }

    /// Returns the words by which a model calls this tool of ours.
    pub fn tool(&self, name: &str) -> String {
        let hint = self.kind.tool_hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
        [self.kind.tool_prefix(), name, &hint].concat()
    }

    /// Returns whether the agent's process is stopped, so that nothing reaches anybody.
    pub fn is_stopped(&self) -> bool {
        process::is_stopped(self.process())
    }

    /// Looks at all that is known of the session from outside, and takes over what has changed.
    pub fn look(&mut self) -> Change {
        let state = self.kind.look(self.folder.path());
        if let Some(state) = &state {
            self.activity = state.activity;
            self.waiting_for.clone_from(&state.waiting_for);
            if let Some(cwd) = &state.cwd {
                self.folder.go(cwd);
            }
        }
        self.folder.look();
        let name = state.and_then(|state| state.name);
        if name.is_some() {
            // It is told once, perhaps before there is a hub to hear it.
            self.named.clone_from(&name);
        }
        Change { name }
    }

    /// Takes over what a plugin inside the agent says of the session.
    pub fn handle_presence(&mut self, status: Activity, waiting_for: Option<String>, cwd: Option<PathBuf>) {
        self.activity = status;
        self.waiting_for = waiting_for.filter(|_| status == Activity::Waiting);
        if let Some(cwd) = cwd {
            self.folder.go(&cwd);
        }
        self.folder.look();
    }

    /// Takes over the name that a plugin says the session's user gave it.
    pub fn handle_named(&mut self, name: String) {
        self.named = Some(name);
    }

    /// Returns what the session does, as of the last look.
    pub const fn activity(&self) -> Activity {
        self.activity
    }

    /// Returns what holds of the session, as of the last look.
    pub fn presence(&self, wakes_by: Wake) -> Presence {
        Presence {
            cwd: self.folder.path().to_string_lossy().into_owned(),
            branch: self.folder.branch().map(str::to_owned),
            status: self.activity,
            waiting_for: self.waiting_for.clone(),
            wakes_by,
        }
    }

    /// Returns what the hub is told of the session.
    pub fn facts(&self, wakes_by: Wake) -> SessionFacts {
        SessionFacts {
            session: self.session(),
            name: self.named.as_deref().and_then(|name| PeerName::parse(name).ok()),
            agent: self.profile().id.to_owned(),
            client: self.client.shown(),
            presence: self.presence(wakes_by),
        }
    }

    /// Waits until the agent's process has ended or its file may have changed, or where `has_route` until there may be
    /// something to do on its route; for ever where nothing is told. Cancel-safe.
    pub async fn happened(&mut self, has_route: bool) -> Happened {
        let ended = async {
            match &self.ended {
                Some(ended) => ended.told().await,
                None => pending().await,
            }
        };
        let changed = async {
            match &self.followed {
                Some((_, signal)) => signal.told().await,
                None => pending().await,
            }
        };
        let kind = &mut self.kind;
        let route = poll_fn(|context| match kind.route().filter(|_| has_route) {
            Some(route) => route.poll_ready(context),
            None => std::task::Poll::Pending,
        });
        tokio::select! {
            biased;
            () = ended => return Happened::Ended,
            () = route => return Happened::Route,
            () = changed => {}
        }
        if let Some((watch, _)) = &mut self.followed
            && watch.take().is_err()
        {
            self.followed = None;
        }
        Happened::Changed
    }
}

fn followed(path: PathBuf) -> io::Result<(PathWatch, Signal)> {
    let watch = PathWatch::new(path, Watching::Content)?;
    let signal = Signal::new(watch.as_fd().try_clone_to_owned()?)?;
    Ok((watch, signal))
}

/// Returns the folder that the session was started in.
fn start_folder(kind: &dyn Kind) -> PathBuf {
    let named = kind.start_folder().filter(|path| path.is_dir());
    // Of a folder that was deleted the kernel still knows the path, with a word behind it (proc_pid_cwd(5)).
    let deleted = || {
        let link = std::fs::read_link("/proc/self/cwd").ok()?;
        Some(PathBuf::from(link.to_string_lossy().strip_suffix(" (deleted)")?))
    };
    named.or_else(|| std::env::current_dir().ok()).or_else(deleted).unwrap_or_else(|| PathBuf::from("/"))
}

pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::mcp_client::CLIENT_MAX_CHARS;
    use super::*;

    #[test]
    fn agent_that_is_not_known_is_its_channels_process() {
        let client = McpClient { name: "t".to_owned(), version: "1".to_owned() };
        let agent = Agent::of_process(client, None);
        let own = process::own();
        assert_eq!(agent.session(), SessionId { pid: own.pid, start: own.start, thread: None });
        assert_eq!(
            (agent.profile().id, agent.is_interactive(), agent.outlives_channel()),
            (other::PROFILE.id, true, false)
        );
        assert_eq!(agent.facts(Wake::NextPrompt).client.as_deref(), Some("t 1"));
    }

    /// An agent that tells a name at the first look, and then no more, as a name that has not changed.
    #[derive(Debug)]
    struct TellsOnce(Option<String>);

    impl Kind for TellsOnce {
        fn profile(&self) -> &'static Profile {
            &other::PROFILE
        }

        fn process(&self) -> Process {
            process::own()
        }

        fn look(&mut self, _folder: &Path) -> Option<State> {
            Some(State { activity: Activity::Idle, waiting_for: None, cwd: None, name: self.0.take() })
        }
    }

    #[test]
    fn name_that_was_told_before_there_is_a_hub_is_told_to_it() {
        let mut agent = Agent::of_process(McpClient::default(), None);
        agent.kind = Box::new(TellsOnce(Some("carol".to_owned())));
        assert_eq!(agent.look().name.as_deref(), Some("carol"));
        assert_eq!(agent.look().name, None);
        assert_eq!(agent.facts(Wake::NextPrompt).name, PeerName::parse("carol").ok());
    }

    #[test]
    fn mcp_client_is_shown_short() {
        assert_eq!(McpClient::default().shown(), None);
        let long = McpClient { name: "n".repeat(200), version: String::new() };
        assert_eq!(long.shown().map(|text| text.len()), Some(CLIENT_MAX_CHARS));
    }

    #[test]
    fn presence_of_a_plugin_counts() {
        let mut agent = Agent::of_process(McpClient::default(), None);
        agent.handle_presence(Activity::Waiting, Some("permission".to_owned()), Some(PathBuf::from("/srv/x")));
        let presence = agent.presence(Wake::Plugin);
        assert_eq!((presence.cwd.as_str(), presence.waiting_for.as_deref()), ("/srv/x", Some("permission")));
        agent.handle_presence(Activity::Idle, Some("permission".to_owned()), None);
        assert_eq!(agent.presence(Wake::Plugin).waiting_for, None);
    }
}
