//! `relayctl peers`: the sessions that can be asked.

use std::path::Path;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::Context;
use super::error::{CliError, Exit};
use super::output::{Format, Line, Output, visible_line};
use crate::client::HubClient;
use crate::paths::Environment;
use crate::protocol::{Activity, OpenAsks, PeerView, Peers, Presence, Wake};

mod table;

pub(super) use table::natural;
use table::table;

/// List the sessions that can be asked
#[derive(Debug, Args)]
#[command(visible_alias = "ls", alias = "list")]
pub(super) struct PeersArgs {
    /// Show the list anew whenever it changes
    #[arg(long)]
    watch: bool,
    /// Show only those that wait for their user: for a permission, or an answer
    #[arg(long)]
    waiting: bool,
    #[command(flatten)]
    format: Format,
}

impl PeersArgs {
    /// Prints the sessions. None there is no failure.
    ///
    /// # Errors
    /// No hub answers.
    pub(super) async fn run(self, context: &mut Context) -> Result<Exit, CliError> {
        context.out.use_json(self.format.json);
        if self.watch {
            return follow(context, self.waiting).await;
        }
        let list = async |hub: &mut _, out: &mut _| list(hub, self.waiting, out).await;
        context.converse(list).await
    }
}

async fn list(hub: &mut HubClient, waiting: bool, out: &mut Output) -> Result<Exit, CliError> {
    let answer = wanted(hub.peers().await?, waiting);
    if out.is_json() {
        out.print_json("peers", &PeersView { settling: answer.settling, peers: &answer.peers })?;
        return Ok(Exit::Done);
    }
    if answer.peers.is_empty() {
        out.say(&Line::of(nobody(waiting)));
    } else {
        let home = Environment::of_process().home;
        out.print(&Line::of(&table(&answer.peers, home.as_deref(), out.width())))?;
    }
    if answer.settling {
        out.say(&Line::of("the hub has just started: more sessions may appear in a moment"));
    }
    Ok(Exit::Done)
}

const NOBODY: &str = "no session has joined: restart your sessions; where they lack the plugin, first: relayctl setup";

const NOBODY_WAITS: &str = "no session waits for its user";

const fn nobody(waiting: bool) -> &'static str {
    if waiting { NOBODY_WAITS } else { NOBODY }
}

/// Returns the sessions that are wanted: all, or those that wait for their user.
fn wanted(mut answer: Peers, waiting: bool) -> Peers {
    answer.peers.retain(|peer| !waiting || peer.presence.status == Activity::Waiting);
    answer
}

/// How long changes that come together may take to be shown as one.
const TOGETHER: Duration = Duration::from_millis(100);

/// How often the ages in the list are brought up to date where somebody looks at it.
const AGES: Duration = Duration::from_secs(10);

/// Shows the list anew whenever it changes, until it is interrupted.
async fn follow(context: &mut Context, waiting: bool) -> Result<Exit, CliError> {
    let show = async |hub: &mut _, out: &mut Output| {
        let unread = out.unread();
        tokio::select! {
            shown = show_changes(hub, waiting, out) => shown,
            () = unread => Ok(Exit::Done),
        }
    };
    context.converse(show).await
}

async fn show_changes(hub: &mut HubClient, waiting: bool, out: &mut Output) -> Result<Exit, CliError> {
    hub.watch(false).await?;
    let home = Environment::of_process().home;
    let mut shown: Option<Vec<PeerView>> = None;
    loop {
        // A hub that is away comes back: the list that was shown last stays until then.
        if let Ok(answer) = hub.peers().await.map(|answer| wanted(answer, waiting)) {
            let is_news = shown.as_ref().is_none_or(|shown| !is_same_but_age(shown, &answer.peers));
            if is_news || out.is_read_live() {
                show(&answer.peers, answer.settling, waiting, home.as_deref(), out)?;
                shown = Some(answer.peers);
            }
        }
        tokio::select! {
            _ = hub.next_event() => {
                let more = async {
                    loop {
                        hub.next_event().await;
                    }
                };
                let _elapsed = tokio::time::timeout(TOGETHER, more).await;
            }
            () = tokio::time::sleep(AGES), if out.is_read_live() => {}
        }
    }
}

fn show(
    peers: &[PeerView],
    settling: bool,
    waiting: bool,
    home: Option<&Path>,
    out: &mut Output,
) -> Result<(), CliError> {
    if out.is_json() {
        return out.print_json("peers", &PeersView { settling, peers });
    }
    let text = if peers.is_empty() { nobody(waiting).to_owned() } else { table(peers, home, out.width()) };
    out.print_anew(&Line::of(&text))
}

fn is_same_but_age(one: &[PeerView], other: &[PeerView]) -> bool {
    let ageless = |peers: &[PeerView]| -> Vec<PeerView> {
        peers.iter().map(|peer| PeerView { status_s: 0, connected_s: 0, ..peer.clone() }).collect()
    };
    ageless(one) == ageless(other)
}

/// The sessions as JSON.
#[derive(Serialize)]
struct PeersView<'a> {
    settling: bool,
    peers: &'a [PeerView],
}

/// Returns the word for what a session does.
pub(super) const fn status(status: Activity) -> &'static str {
    match status {
        Activity::Idle => "idle",
        Activity::Busy => "busy",
        Activity::Waiting => "waiting",
        Activity::Unknown => "unknown",
    }
}

/// Returns the words for what a session does, and what it waits for.
pub(super) fn doing(presence: &Presence) -> String {
    let word = status(presence.status);
    match &presence.waiting_for {
        Some(dialog) if presence.status == Activity::Waiting => format!("{word}: {}", visible_line(dialog)),
        Some(_) | None => word.to_owned(),
    }
}

/// Returns the words for how a session is woken.
pub(super) const fn wakes_by(wake: Wake) -> &'static str {
    match wake {
        Wake::Channel => "channel",
        Wake::Waiter => "waiter",
        Wake::Turn => "turn",
        Wake::Inbox => "inbox",
        Wake::Plugin => "plugin",
        Wake::NextPrompt => "next prompt",
    }
}

/// Returns the words for when a session sees what it is asked.
const fn reachable(wake: Wake) -> &'static str {
    match wake {
        Wake::Channel | Wake::Waiter | Wake::Turn | Wake::Inbox | Wake::Plugin => "now",
        Wake::NextPrompt => "at its next prompt",
    }
}

fn open_asks(open: OpenAsks) -> String {
    match (open.sent, open.received) {
        (0, 0) => "-".to_owned(),
        (sent, 0) => format!("{sent} sent"),
        (0, received) => format!("{received} received"),
        (sent, received) => format!("{sent} sent, {received} received"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::capture;
    use crate::protocol::PeerName;

    fn peer(name: &str, cwd: &str) -> PeerView {
        PeerView {
            name: PeerName::parse(name).unwrap(),
            pid: Some(4711),
            agent: "claude-code".into(),
            client: Some("claude-code 2.1.330".into()),
            presence: Presence {
                cwd: cwd.into(),
                branch: None,
                status: Activity::Idle,
                waiting_for: None,
                wakes_by: Wake::NextPrompt,
            },
            status_s: 0,
            connected_s: 40,
            open_asks: OpenAsks::default(),
            machine: None,
            reachable: None,
            tag: None,
        }
    }

    fn peers() -> Vec<PeerView> {
        let mut backend = peer("backend", "/home/ada/src/backend");
        backend.presence.branch = Some("main".into());
        backend.presence.status = Activity::Busy;
        backend.presence.wakes_by = Wake::Channel;
        let backend = PeerView { connected_s: 7_300, open_asks: OpenAsks { sent: 1, received: 2 }, ..backend };
        vec![backend, peer("プロジェクト", "/srv/evil\n\x1b[2Jname")]
    }

    #[test]
    fn sessions_are_rows() {
        insta::assert_snapshot!(table(&peers(), Some(Path::new("/home/ada")), None), @r#"
        NAME          AGENT        FOLDER                    BRANCH  STATUS  FOR  REACHABLE           OPEN ASKS           SINCE
        backend       Claude Code  ~/src/backend             main    busy    0s   now                 1 sent, 2 received  2h
        プロジェクト  Claude Code  /srv/evil\n\u{1b}[2Jname  -       idle    0s   at its next prompt  -                   40s
        "#);
    }

    #[test]
    fn a_narrow_terminal_gets_a_narrow_table() {
        let deep = peer("web", "/home/ada/a/very/deep/folder/that/does/not/fit/into/a/terminal/of/eighty/columns");
        let text = table(&[deep], Some(Path::new("/home/ada")), Some(80));
        insta::assert_snapshot!(text, @"
        NAME  FOLDER                                          STATUS  REACHABLE
        web   …oes/not/fit/into/a/terminal/of/eighty/columns  idle    at its next prompt
        ");
        assert!(text.lines().all(|line| line.chars().count() <= 80));
    }

    #[test]
    fn columns_that_say_nothing_are_left_out_and_names_are_whole() {
        let names = ["project-10", "project-2", "project-1", "a-name-that-is-long-and-has-to-be-copied"];
        let peers: Vec<PeerView> = names.iter().map(|name| peer(name, "/home/ada/src/some/folder/of/it")).collect();
        insta::assert_snapshot!(table(&peers, Some(Path::new("/home/ada")), Some(60)), @"
        NAME                                      FOLDER      STATUS  REACHABLE
        a-name-that-is-long-and-has-to-be-copied  …der/of/it  idle    at its next prompt
        project-1                                 …der/of/it  idle    at its next prompt
        project-2                                 …der/of/it  idle    at its next prompt
        project-10                                …der/of/it  idle    at its next prompt
        ");
    }

    #[test]
    fn those_that_wait_for_their_user_are_told_apart() {
        let mut waits = peer("web", "/w/web");
        waits.presence.status = Activity::Waiting;
        let answer = Peers {
            you: None,
            peers: vec![peer("api", "/w/api"), waits.clone()],
            settling: false,
            machines: Vec::new(),
        };
        assert_eq!(wanted(answer.clone(), true).peers, [waits]);
        assert_eq!(wanted(answer, false).peers.len(), 2);
    }

    #[test]
    fn sessions_have_their_json() {
        let (mut out, captured) = capture::output(true);
        out.print_json("peers", &PeersView { settling: false, peers: &peers()[..1] }).unwrap();
        insta::assert_snapshot!(captured.text(), @r#"
        --- stdout
        {"schema":1,"type":"peers","settling":false,"peers":[{"name":"backend","pid":4711,"agent":"claude-code","client":"claude-code 2.1.330","cwd":"/home/ada/src/backend","branch":"main","status":"busy","wakes_by":"channel","status_s":0,"connected_s":7300,"open_asks":{"sent":1,"received":2}}]}
        --- stderr
        "#);
    }
}
