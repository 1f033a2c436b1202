//! `relayctl peers`: the sessions that can be asked.

use std::path::Path;
use std::time::Duration;

use clap::Args;
use clap_complete::ArgValueCompleter;
use serde::Serialize;

use super::Context;
use super::error::{CliError, Exit};
use super::machines::machine_names;
use super::output::{Format, Line, Output, visible_line};
use super::wording;
use crate::client::HubClient;
use crate::paths::Environment;
use crate::protocol::{Activity, MachineView, OpenAsks, PeerView, Peers, Presence, Wake};

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
    /// Show only those on this other machine
    #[arg(long, value_name = "MACHINE", conflicts_with = "here", add = ArgValueCompleter::new(machine_names))]
    machine: Option<String>,
    /// Show only those on this machine
    #[arg(long)]
    here: bool,
    #[command(flatten)]
    format: Format,
}

/// Which sessions are wanted.
#[derive(Debug, Clone, Default)]
struct Wanted {
    waiting: bool,
    machine: Option<String>,
    here: bool,
}

impl Wanted {
    fn includes(&self, peer: &PeerView) -> bool {
        let machine = peer.machine.as_ref().map(|machine| machine.as_str());
        (!self.waiting || peer.presence.status == Activity::Waiting)
            && self.machine.as_deref().is_none_or(|wanted| machine == Some(wanted.to_ascii_lowercase().as_str()))
            && !(self.here && machine.is_some())
    }

    /// Returns the words for that there is none.
    fn nobody(&self) -> String {
        match (&self.machine, self.waiting) {
            (Some(machine), false) => format!("no session of the machine {machine} is known here: relayctl machines"),
            (_, true) => "no session waits for its user".to_owned(),
            (None, false) => NOBODY.to_owned(),
        }
    }
}

impl PeersArgs {
    /// Prints the sessions. None there is no failure.
    ///
    /// # Errors
    /// No hub answers.
    pub(super) async fn run(self, context: &mut Context) -> Result<Exit, CliError> {
        context.out.use_json(self.format.json);
        let wanted = Wanted { waiting: self.waiting, machine: self.machine, here: self.here };
        if self.watch {
            return follow(context, &wanted).await;
        }
        let list = async |hub: &mut _, out: &mut _| list(hub, &wanted, out).await;
        context.converse(list).await
    }
}

async fn list(hub: &mut HubClient, wanted: &Wanted, out: &mut Output) -> Result<Exit, CliError> {
    let answer = chosen(hub.peers().await?, wanted);
    if out.is_json() {
        out.print_json("peers", &PeersView::of(&answer))?;
        return Ok(Exit::Done);
    }
    if answer.peers.is_empty() {
        out.say(&Line::of(&wanted.nobody()));
    } else {
        let home = Environment::of_process().home;
        out.print(&Line::of(&table(&answer.peers, &answer.machines, home.as_deref(), out.width())))?;
    }
    if answer.settling {
        out.say(&Line::of("the hub has just started: more sessions may appear in a moment"));
    }
    Ok(Exit::Done)
}

const NOBODY: &str = "no session has joined: restart your sessions; where they lack the plugin, first: relayctl setup";

/// Returns the sessions that are wanted.
fn chosen(mut answer: Peers, wanted: &Wanted) -> Peers {
    answer.peers.retain(|peer| wanted.includes(peer));
    answer
}

/// How long changes that come together may take to be shown as one.
const TOGETHER: Duration = Duration::from_millis(100);

/// How often the ages in the list are brought up to date where somebody looks at it.
const AGES: Duration = Duration::from_secs(10);

/// Shows the list anew whenever it changes, until it is interrupted.
async fn follow(context: &mut Context, wanted: &Wanted) -> Result<Exit, CliError> {
    let show = async |hub: &mut _, out: &mut Output| {
        let unread = out.unread();
        tokio::select! {
            shown = show_changes(hub, wanted, out) => shown,
            () = unread => Ok(Exit::Done),
        }
    };
    context.converse(show).await
}

async fn show_changes(hub: &mut HubClient, wanted: &Wanted, out: &mut Output) -> Result<Exit, CliError> {
    hub.watch(false).await?;
    let home = Environment::of_process().home;
    let mut shown: Option<Peers> = None;
    loop {
        // A hub that is away comes back: the list that was shown last stays until then.
        if let Ok(answer) = hub.peers().await.map(|answer| chosen(answer, wanted)) {
            let is_news = shown.as_ref().is_none_or(|shown| !is_same_but_age(shown, &answer));
            if is_news || out.is_read_live() {
                show(&answer, wanted, home.as_deref(), out)?;
                shown = Some(answer);
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

fn show(answer: &Peers, wanted: &Wanted, home: Option<&Path>, out: &mut Output) -> Result<(), CliError> {
    if out.is_json() {
        return out.print_json("peers", &PeersView::of(answer));
    }
    let text = match answer.peers.is_empty() {
        true => wanted.nobody(),
        false => table(&answer.peers, &answer.machines, home, out.width()),
    };
    out.print_anew(&Line::of(&text))
}

fn is_same_but_age(one: &Peers, other: &Peers) -> bool {
    let ageless = |answer: &Peers| -> Vec<PeerView> {
        answer.peers.iter().map(|peer| PeerView { status_s: 0, connected_s: 0, ..peer.clone() }).collect()
    };
    ageless(one) == ageless(other)
}

/// The sessions as JSON.
#[derive(Serialize)]
struct PeersView<'a> {
    settling: bool,
    peers: &'a [PeerView],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    machines: &'a [MachineView],
}

impl<'a> PeersView<'a> {
    fn of(answer: &'a Peers) -> Self {
        Self { settling: answer.settling, peers: &answer.peers, machines: &answer.machines }
    }
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

/// Returns the words for what a session does; for one whose machine cannot be reached, that and since when.
pub(super) fn doing_there(peer: &PeerView, machines: &[MachineView]) -> String {
    if peer.reachable != Some(false) {
        return doing(&peer.presence);
    }
    let machine = machines.iter().find(|machine| Some(&machine.name) == peer.machine.as_ref());
    let since = machine.map(|machine| format!(" {}", wording::rough(machine.since_s))).unwrap_or_default();
    format!("unreachable{since}")
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
const fn reachable(peer: &PeerView) -> &'static str {
    if matches!(peer.reachable, Some(false)) {
        return "no";
    }
    match peer.presence.wakes_by {
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
    use crate::protocol::{MachineName, PeerName};

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
        insta::assert_snapshot!(table(&peers(), &[], Some(Path::new("/home/ada")), None), @r#"
        NAME          AGENT        FOLDER                    BRANCH  STATUS  FOR  REACHABLE           OPEN ASKS           SINCE
        backend       Claude Code  ~/src/backend             main    busy    0s   now                 1 sent, 2 received  2h
        プロジェクト  Claude Code  /srv/evil\n\u{1b}[2Jname  -       idle    0s   at its next prompt  -                   40s
        "#);
    }

    fn two_machines() -> Peers {
        let there = |reachable| {
            let presence = Presence { cwd: String::new(), ..peer("docs", "").presence };
            let name = PeerName::try_from("docs@desk".to_owned()).unwrap();
            let machine = MachineName::parse("desk").ok();
            PeerView { name, machine, pid: None, reachable: Some(reachable), presence, ..peer("docs", "") }
        };
        let desk =
            MachineView { name: MachineName::parse("desk").unwrap(), reachable: false, since_s: 40, sessions: 1 };
        let peers = vec![peer("docs", "/home/ada/docs"), there(false)];
        Peers { you: None, peers, settling: false, machines: vec![desk] }
    }

    #[test]
    fn sessions_of_another_machine_say_so() {
        let all = two_machines();
        insta::assert_snapshot!(table(&all.peers, &all.machines, Some(Path::new("/home/ada")), None), @"
        NAME       MACHINE  AGENT        FOLDER  STATUS           FOR  REACHABLE           SINCE
        docs       -        Claude Code  ~/docs  idle             0s   at its next prompt  40s
        docs@desk  desk     Claude Code  -       unreachable 40s  0s   no                  40s
        ");
        let names = |wanted: Wanted| {
            let chosen = chosen(all.clone(), &wanted).peers;
            chosen.iter().map(|peer| peer.name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(Wanted { here: true, ..Wanted::default() }), ["docs"]);
        assert_eq!(names(Wanted { machine: Some("Desk".into()), ..Wanted::default() }), ["docs@desk"]);
        let nowhere = Wanted { machine: Some("server".into()), ..Wanted::default() };
        assert!(names(nowhere.clone()).is_empty() && nowhere.nobody().contains("server"));
    }

    #[test]
    fn a_narrow_terminal_gets_a_narrow_table() {
        let deep = peer("web", "/home/ada/a/very/deep/folder/that/does/not/fit/into/a/terminal/of/eighty/columns");
        let text = table(&[deep], &[], Some(Path::new("/home/ada")), Some(80));
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
        insta::assert_snapshot!(table(&peers, &[], Some(Path::new("/home/ada")), Some(60)), @"
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
        let waiting = Wanted { waiting: true, ..Wanted::default() };
        assert_eq!(chosen(answer.clone(), &waiting).peers, [waits]);
        assert_eq!(chosen(answer, &Wanted::default()).peers.len(), 2);
    }

    #[test]
    fn sessions_have_their_json() {
        let (mut out, captured) = capture::output(true);
        out.print_json("peers", &PeersView { settling: false, peers: &peers()[..1], machines: &[] }).unwrap();
        insta::assert_snapshot!(captured.text(), @r#"
        --- stdout
        {"schema":1,"type":"peers","settling":false,"peers":[{"name":"backend","pid":4711,"agent":"claude-code","client":"claude-code 2.1.330","cwd":"/home/ada/src/backend","branch":"main","status":"busy","wakes_by":"channel","status_s":0,"connected_s":7300,"open_asks":{"sent":1,"received":2}}]}
        --- stderr
        "#);
    }
}
