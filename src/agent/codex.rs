//! Codex: a session is a thread of its background daemon, which starts a turn in it for us.
//!
//! The daemon is the parent of all its threads' servers, and its environment is that of the terminal that started it. A
//! channel learns its thread by asking the daemon to call one of its own tools with a number in `_meta` that nobody else
//! knows ([`thread`]). Without a daemon (`--no-daemon`, and 0.150 and older) nothing wakes a session. Seen in 0.158.0 and
//! 0.171.0.

mod app_server;
mod thread;

use std::path::PathBuf;

use serde_json::Value;

use self::app_server::AppServer;
use super::kind::{CallOrigin, Kind, Profile, Surroundings, arguments, has_flag};
use super::route::Route;
use crate::object::Object;
use crate::process::{self, Process};

/// What is the same in all its sessions.
pub const PROFILE: Profile = Profile { id: "codex", shown: "Codex" };

/// How the name of its MCP client begins.
const CLIENT: &str = "codex";

/// Where its daemon listens, below its directory.
const CONTROL_SOCKET: &str = "app-server-control/app-server-control.sock";

/// How our tools are called in it: the namespace of the server `relay`.
const TOOLS: &str = "mcp__relay.";

/// Codex, as its process shows it.
#[derive(Debug)]
pub struct Codex {
    daemon: Process,
    has_person: bool,
    identity: Identity,
    /// The connection to the daemon; none where there is no daemon.
    server: Option<AppServer>,
}

/// Which session this is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Identity {
    /// The daemon has not told yet.
    Unknown,
    /// This thread of the daemon.
    Thread(String),
    /// The one that started this process.
    OwnProcess,
}

impl Codex {
    /// Returns what is known of it, if it is the one that started this process.
    pub fn recognise(seen: &Surroundings<'_>) -> Option<Box<dyn Kind>> {
        if !seen.client.name.starts_with(CLIENT) {
            return None;
        }
        let (is_server, has_person) = run(&seen.command);
        let usual = || directory(seen.value_of).map(|directory| directory.join(CONTROL_SOCKET));
        // A daemon may start a thread before its socket has its name; an editor's app server has no socket of its own.
        let socket = match socket_of(&seen.command) {
            Some("") => usual(),
            Some(path) => Some(PathBuf::from(path)),
            None => usual().filter(|socket| socket.exists()),
        };
        let folder = std::env::current_dir().unwrap_or_default();
        let server = socket.filter(|_| is_server).and_then(|socket| AppServer::new(socket, folder));
        let identity = if server.is_some() { Identity::Unknown } else { Identity::OwnProcess };
        Some(Box::new(Self { daemon: seen.parent, has_person, identity, server }))
    }

    fn meet(&mut self, thread: &str) {
        if self.identity == Identity::Unknown {
            self.identity = Identity::Thread(thread.to_owned());
        }
        // Found late it is the same thread, though the session has got another identity by then.
        if let Some(server) = &mut self.server {
            server.handle_identified(thread);
        }
    }
}

/// Returns the path of the socket that an app server is told to listen on, which is empty where it is the usual one.
fn socket_of(command: &[String]) -> Option<&str> {
    command.iter().find_map(|argument| argument.trim_start_matches("--listen=").strip_prefix("unix://"))
}

/// Returns whether this command line is an app server's, and whether a person may sit before its sessions.
fn run(command: &[String]) -> (bool, bool) {
    let is_program = |argument: &str| argument.rsplit('/').next().is_some_and(|name| name.starts_with("codex"));
    let arguments = arguments(command, is_program);
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    let is_run = has("exec") || has("e") || has("mcp-server") || has("review") || has_flag(arguments, &["--print"]);
    (has("app-server"), !is_run)
}

/// Returns the directory of Codex's settings and state.
pub fn directory(value_of: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    value_of("CODEX_HOME").map(PathBuf::from).or_else(|| std::env::home_dir().map(|home| home.join(".codex")))
}

impl Kind for Codex {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn process(&self) -> Process {
        if self.identity == Identity::OwnProcess { process::own() } else { self.daemon }
    }

    fn thread(&self) -> Option<&str> {
        match &self.identity {
            Identity::Thread(thread) => Some(thread),
            Identity::Unknown | Identity::OwnProcess => None,
        }
    }

    fn is_identified(&self) -> bool {
        self.identity != Identity::Unknown
    }

    fn handle_unidentified(&mut self) {
        self.identity = Identity::OwnProcess;
        self.server = None;
    }

    fn handle_call_meta(&mut self, meta: &Object) -> CallOrigin {
        let nonce = meta.get(thread::NONCE).and_then(Value::as_str);
        let is_own = self.server.as_ref().is_some_and(|server| nonce == Some(server.nonce()));
        if let Some(thread) = meta.get("threadId").and_then(Value::as_str).filter(|_| is_own || nonce.is_none()) {
            self.meet(thread);
        }
        if nonce.is_some() { CallOrigin::Channel } else { CallOrigin::Model }
    }

    fn is_interactive(&self) -> bool {
        self.has_person
    }

    fn route(&mut self) -> Option<&mut dyn Route> {
        if self.server.as_ref().is_some_and(AppServer::has_given_up) {
            self.server = None;
        }
        if self.identity == Identity::Unknown && self.server.as_ref().is_none_or(AppServer::is_late) {
            self.identity = Identity::OwnProcess;
        }
        self.server.as_mut().map(|server| server as &mut dyn Route)
    }

    fn tool_prefix(&self) -> &'static str {
        TOOLS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: &str) -> Vec<String> {
        command.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn socket_of_a_daemon_is_in_its_command_line() {
        let of = |command: &str| socket_of(&words(command)).map(str::to_owned);
        assert_eq!(of("/x/bin/codex app-server --listen unix:// --managed-daemon").as_deref(), Some(""));
        assert_eq!(of("codex app-server --listen=unix:///run/x.sock").as_deref(), Some("/run/x.sock"));
        assert_eq!(of("codex app-server --listen stdio://"), None);
        assert_eq!(of("codex app-server"), None);
    }

    #[test]
    fn run_without_a_person_is_seen_in_the_command_line() {
        for (command, expected) in [
            ("codex", (false, true)),
            ("/x/releases/0.171.0/bin/codex app-server --listen unix:// --managed-daemon", (true, true)),
            ("codex exec hello", (false, false)),
            ("node /x/@openai/codex/bin/codex.js exec --json hi", (false, false)),
            ("codex resume 01a2", (false, true)),
        ] {
            assert_eq!(run(&words(command)), expected, "{command}");
        }
    }
}
