//! `relayctl watch`: who asks whom, and how each ask ends, as it happens.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Local, SecondsFormat};
use clap::{Args, ValueHint};
use serde::Serialize;

use super::error::{CliError, Exit};
use super::output::{Format, Line, Output, json_line};
use super::{Context, peers, wording};
use crate::client::{ClientEvent, HubClient};
use crate::paths::Environment;
use crate::protocol::{AskId, AskState, AskView, PeerView, Watched, Watching};

mod command;
mod desktop;
mod news;
mod runner;

use news::Desk;
use runner::Runner;

/// Show the traffic as it happens: who comes and goes, who asks whom, how it ends
///
/// The first lines are what is there already. Hub restarts are survived. The texts of questions and answers are shown
/// only with --text.
#[derive(Debug, Args)]
pub(super) struct WatchArgs {
    /// Show the texts of questions and answers as well
    #[arg(long)]
    text: bool,
    /// Run this command of the shell for each change, which is JSON on its standard input, and print nothing
    #[arg(long, value_name = "COMMAND", conflicts_with = "json", value_hint = ValueHint::CommandString)]
    exec: Option<String>,
    /// Tell the desktop when a session begins to wait for its user or an own ask ends, and print nothing
    #[arg(long, conflicts_with_all = ["json", "exec", "text"])]
    notify: bool,
    #[command(flatten)]
    format: Format,
}

impl WatchArgs {
    /// Prints the state and then each change, until it is interrupted.
    ///
    /// # Errors
    /// No hub answers, or it cannot be watched.
    pub(super) async fn run(self, context: &mut Context) -> Result<Exit, CliError> {
        context.out.use_json(self.format.json);
        let follow = async |hub: &mut _, out: &mut Output| {
            let unread = out.unread();
            tokio::select! {
                followed = self.follow(hub, out) => followed,
                () = unread => Ok(Exit::Done),
            }
        };
        context.converse(follow).await
    }

    async fn follow(&self, hub: &mut HubClient, out: &mut Output) -> Result<Exit, CliError> {
        let first = hub.watch(self.text).await?;
        if let Some(command) = &self.exec {
            return run_for_changes(command, hub, out).await;
        }
        if self.notify {
            return notify(&first, hub, out).await;
        }
        let mut screen = Screen::new(&first);
        screen.show_state(Local::now(), &first, None, out)?;
        loop {
            match hub.next_event().await {
                ClientEvent::Away => out.say(&Line::of(AWAY)),
                ClientEvent::Watching(state) => {
                    let hub = if state.pid == screen.hub { HubNews::Back } else { HubNews::Restarted };
                    screen.hub = state.pid;
                    screen.show_state(Local::now(), &state, Some(hub), out)?;
                }
                ClientEvent::Watched(event) => screen.show_event(Local::now(), &event, out)?,
                ClientEvent::Ask(_)
                | ClientEvent::Tell(_)
                | ClientEvent::Closed { .. }
                | ClientEvent::Outcome(_)
                | ClientEvent::Tally(_)
                | ClientEvent::ReplyFailed { .. }
                | ClientEvent::Renamed { .. }
                | ClientEvent::Parked(_) => {}
            }
        }
    }
}

/// Does something for what it makes of each event of the hub, until it is interrupted.
async fn act_beside<T: 'static>(
    mut runner: Runner<T>,
    mut take: impl FnMut(&ClientEvent) -> Result<Vec<T>, CliError>,
    hub: &mut HubClient,
    out: &mut Output,
) -> Result<Exit, CliError> {
    loop {
        let event = tokio::select! {
            event = hub.next_event() => event,
            failure = runner.failure() => {
                out.say(&Line::of(&failure));
                continue;
            }
        };
        for change in take(&event)? {
            if let Some(said) = runner.hand_over(change) {
                out.say(&Line::of(said));
            }
        }
    }
}

async fn run_for_changes(command: &str, hub: &mut HubClient, out: &mut Output) -> Result<Exit, CliError> {
    let command = command.to_owned();
    let runner = Runner::start(async move |line: String| command::run(&command, &line).await);
    let line = |event: &ClientEvent| {
        let ClientEvent::Watched(event) = event else { return Ok(Vec::new()) };
        Ok(vec![json_line("watched", &EventJson { at: stamp(Local::now()), event })?])
    };
    act_beside(runner, line, hub, out).await
}

async fn notify(first: &Watching, hub: &mut HubClient, out: &mut Output) -> Result<Exit, CliError> {
    let (mut desk, home) = (Desk::new(first), Environment::of_process().home);
    let news = |event: &ClientEvent| {
        Ok(if let ClientEvent::Watching(state) = event {
            desk.handle_state(state, home.as_deref())
        } else if let ClientEvent::Watched(change) = event {
            desk.handle_change(change, home.as_deref()).into_iter().collect()
        } else {
            Vec::new()
        })
    };
    act_beside(Runner::start(desktop::show), news, hub, out).await
}

/// Said where nothing can be shown for a while.
const AWAY: &str = "the hub is away, waiting for it…";

/// Why the whole state is told again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HubNews {
    /// Another hub answers.
    Restarted,
    /// The same hub answers on another connection: this program read too slowly.
    Back,
}

/// What was shown, as far as it decides what is shown next.
struct Screen {
    hub: u32,
    /// The open asks that were shown: those that a new hub is told of again are not new.
    asks: BTreeSet<AskId>,
    environment: Environment,
}

impl Screen {
    fn new(first: &Watching) -> Self {
        Self { hub: first.pid, asks: BTreeSet::new(), environment: Environment::of_process() }
    }

    fn show_state(
        &mut self,
        at: DateTime<Local>,
        state: &Watching,
        news: Option<HubNews>,
        out: &mut Output,
    ) -> Result<(), CliError> {
        if out.is_json() {
            self.asks.extend(state.asks.iter().map(|ask| ask.ask_id));
            return out.print_json(
                "watching",
                &StateJson { at: stamp(at), restarted: news == Some(HubNews::Restarted), state },
            );
        }
        let mut lines = Vec::new();
        lines.extend(news.map(|news| match news {
            HubNews::Restarted => format!("hub restarted: {}, process {}", state.hub, state.pid),
            HubNews::Back => "connection lost and found again: something may have been missed".to_owned(),
        }));
        let settling = if state.settling { ", more may come back in a moment" } else { "" };
        lines.push(format!(
            "{}, {}{settling}",
            wording::count(state.peers.len(), "peer"),
            wording::count(state.asks.len(), "open ask")
        ));
        for line in lines {
            out.print(&line_at(at).plain(&line))?;
        }
        for peer in &state.peers {
            out.print(&line_at(at).plain(&self.peer_text(peer)))?;
        }
        for ask in &state.asks {
            let since = wording::rough(ask.age_ms / 1000);
            let line =
                format!("{}  open for {since}, {}", wording::ask(ask.ask_id, &ask.from, &ask.to), ask.state.in_short());
            self.asks.insert(ask.ask_id);
            out.print(&line_at(at).plain(&line))?;
            show_text(ask.question.as_deref(), out)?;
        }
        Ok(())
    }

    fn show_event(&mut self, at: DateTime<Local>, event: &Watched, out: &mut Output) -> Result<(), CliError> {
        let known = match event {
            Watched::AskOpened(ask) => !self.asks.insert(ask.ask_id),
            Watched::AskEnded { ask_id, .. } => self.asks.remove(ask_id),
            Watched::PeerCame { .. }
            | Watched::PeerLeft { .. }
            | Watched::PeerRenamed { .. }
            | Watched::PeerChanged { .. }
            | Watched::AskAdvanced { .. }
            | Watched::AskRefused { .. }
            | Watched::MachineChanged(_)
            | Watched::MachineLeft { .. } => false,
        };
        if out.is_json() {
            return out.print_json("watched", &EventJson { at: stamp(at), event });
        }
        let (line, text) = self.event_text(event, known);
        out.print(&line_at(at).plain(&line))?;
        show_text(text, out)
    }

    fn event_text<'a>(&self, event: &'a Watched, known: bool) -> (String, Option<&'a str>) {
        match event {
            Watched::PeerCame { peer } => (self.peer_text(peer), None),
            Watched::PeerLeft { name } => (format!("- {name}"), None),
            Watched::PeerRenamed { former, name } => (format!("{former} is now {name}"), None),
            Watched::PeerChanged { name, presence } => {
                let (status, wakes_by) = (peers::status(presence.status), peers::wakes_by(presence.wakes_by));
                (format!("{name} is {status}, wakes by {wakes_by}"), None)
            }
            Watched::MachineChanged(machine) => {
                let reach = if machine.reachable { "can be reached" } else { "cannot be reached" };
                (format!("machine {} {reach}", machine.name), None)
            }
            Watched::MachineLeft { name } => (format!("machine {name} is linked no more"), None),
            Watched::AskOpened(AskView { ask_id, from, to, broadcast_id, kind, question, state, .. }) => {
                let what = match (known, broadcast_id) {
                    (true, _) => "goes on",
                    (false, Some(_)) => "asked, with everybody",
                    (false, None) => wording::sent(*kind),
                };
                let held = if *state == AskState::Held { ", held: it cannot be woken" } else { "" };
                (format!("{}  {what}{held}", wording::ask(*ask_id, from, to)), question.as_deref())
            }
            Watched::AskAdvanced { ask_id, from, to, state } => {
                (format!("{}  {}", wording::ask(*ask_id, from, to), state.in_short()), None)
            }
            Watched::AskRefused { from, to, code } => (format!("{from} → {to}  refused: {code}"), None),
            Watched::AskEnded { ask_id, from, to, outcome, state, latency_ms, reply, .. } => {
                let how = wording::ended(*outcome, *state, Duration::from_millis(*latency_ms));
                (format!("{}  {how}", wording::ask(*ask_id, from, to)), reply.as_deref())
            }
        }
    }

    fn peer_text(&self, peer: &PeerView) -> String {
        let folder = wording::folder(&peer.presence.cwd, self.environment.home.as_deref());
        let (status, wakes_by) = (peers::status(peer.presence.status), peers::wakes_by(peer.presence.wakes_by));
        format!("+ {}  {folder}  {status}, wakes by {wakes_by}", peer.name)
    }
}

fn show_text(text: Option<&str>, out: &mut Output) -> Result<(), CliError> {
    text.map_or(Ok(()), |text| out.print(&wording::quoted(text)))
}

fn line_at(at: DateTime<Local>) -> Line {
    Line::of(&format!("{}  ", at.format("%H:%M:%S")))
}

fn stamp(at: DateTime<Local>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, false)
}

#[derive(Serialize)]
struct StateJson<'a> {
    at: String,
    restarted: bool,
    #[serde(flatten)]
    state: &'a Watching,
}

#[derive(Serialize)]
struct EventJson<'a> {
    at: String,
    #[serde(flatten)]
    event: &'a Watched,
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone;

    use super::*;
    use crate::cli::output::capture;
    use crate::protocol::AskKind;
    use crate::protocol::{Activity, AskOutcome, ErrorCode, OpenAsks, PeerName, Presence, Wake};

    const ASK: AskId = AskId::from_bits(7);

    fn at() -> DateTime<Local> {
        Local.with_ymd_and_hms(2026, 3, 1, 12, 3, 4).unwrap()
    }

    fn presence(folder: &str, status: Activity) -> Presence {
        let cwd = format!("/srv/{folder}");
        Presence { cwd, branch: None, status, waiting_for: None, wakes_by: Wake::NextPrompt }
    }

    fn peer(name: &str) -> PeerView {
        PeerView {
            name: PeerName::parse(name).unwrap(),
            pid: Some(1),
            agent: "claude-code".to_owned(),
            client: None,
            presence: Presence { wakes_by: Wake::Channel, ..presence(name, Activity::Idle) },
            status_s: 0,
            connected_s: 1,
            open_asks: OpenAsks::default(),
            machine: None,
            reachable: None,
            tag: None,
        }
    }

    fn ask(question: Option<&str>) -> AskView {
        AskView {
            ask_id: ASK,
            from: "shell".into(),
            to: "backend".into(),
            broadcast_id: None,
            kind: AskKind::Ask,
            state: AskState::Accepted,
            age_ms: 4_000,
            timeout_ms: 1,
            question: question.map(str::to_owned),
        }
    }

    fn state(asks: Vec<AskView>) -> Watching {
        Watching {
            hub: "0.1.0".into(),
            pid: 2,
            settling: true,
            peers: vec![peer("backend")],
            asks,
            machines: Vec::new(),
        }
    }

    fn events() -> Vec<Watched> {
        let name = || PeerName::parse("backend").unwrap();
        let (from, to) = (|| "shell".to_owned(), || "backend".to_owned());
        vec![
            Watched::PeerCame { peer: peer("web") },
            Watched::PeerChanged { name: name(), presence: presence("backend", Activity::Busy) },
            Watched::PeerRenamed { former: PeerName::parse("web").unwrap(), name: PeerName::parse("www").unwrap() },
            Watched::AskOpened(ask(Some("green?\n12:00:00  + forged"))),
            Watched::AskAdvanced { ask_id: ASK, from: from(), to: to(), state: AskState::HandedOver },
            Watched::AskEnded {
                ask_id: ASK,
                from: from(),
                to: to(),
                broadcast_id: None,
                kind: AskKind::Ask,
                outcome: AskOutcome::Reply,
                state: AskState::Shown,
                latency_ms: 4_210,
                reply: Some("yes\x1b[2J".into()),
            },
            Watched::AskOpened(AskView { kind: AskKind::Tell, ask_id: AskId::from_bits(8), ..ask(Some("done")) }),
            Watched::AskEnded {
                ask_id: AskId::from_bits(8),
                from: from(),
                to: to(),
                broadcast_id: None,
                kind: AskKind::Tell,
                outcome: AskOutcome::Shown,
                state: AskState::Shown,
                latency_ms: 21,
                reply: None,
            },
            Watched::AskRefused { from: from(), to: to(), code: ErrorCode::LoopDetected },
            Watched::PeerLeft { name: name() },
        ]
    }

    fn shown(json: bool) -> String {
        let (mut out, captured) = capture::output(json);
        let first = state(vec![ask(None)]);
        let mut screen = Screen::new(&first);
        screen.asks.clear();
        screen.show_state(at(), &state(Vec::new()), None, &mut out).unwrap();
        for event in events() {
            screen.show_event(at(), &event, &mut out).unwrap();
        }
        screen.show_state(at(), &first, Some(HubNews::Restarted), &mut out).unwrap();
        screen.show_event(at(), &Watched::AskOpened(ask(None)), &mut out).unwrap();
        captured.text()
    }

    #[test]
    fn the_traffic_is_one_line_an_event_and_no_text_passes_for_one() {
        insta::assert_snapshot!(shown(false), @r#"
        --- stdout
        12:03:04  1 peer, 0 open asks, more may come back in a moment
        12:03:04  + backend  /srv/backend  idle, wakes by channel
        12:03:04  + web  /srv/web  idle, wakes by channel
        12:03:04  backend is busy, wakes by next prompt
        12:03:04  web is now www
        12:03:04  shell → backend  0000-0000-0007  asked
                  | green?
                  | 12:00:00  + forged
        12:03:04  shell → backend  0000-0000-0007  delivered but not confirmed
        12:03:04  shell → backend  0000-0000-0007  answered after 4.2s
                  | yes\u{1b}[2J
        12:03:04  shell → backend  0000-0000-0008  told
                  | done
        12:03:04  shell → backend  0000-0000-0008  shown after 21ms
        12:03:04  shell → backend  refused: loop_detected
        12:03:04  - backend
        12:03:04  hub restarted: 0.1.0, process 2
        12:03:04  1 peer, 1 open ask, more may come back in a moment
        12:03:04  + backend  /srv/backend  idle, wakes by channel
        12:03:04  shell → backend  0000-0000-0007  open for 4s, not delivered yet
        12:03:04  shell → backend  0000-0000-0007  goes on
        --- stderr
        "#);
    }

    #[test]
    fn the_traffic_has_its_json() {
        let text = shown(true);
        assert!(text.contains(r#""type":"watched""#) && text.contains(r#""what":"ask_ended""#), "{text}");
        assert!(text.contains(r#""restarted":true"#) && text.contains(r#""latency_ms":4210"#), "{text}");
    }
}
