//! `relayctl broadcast`: one question to every session or to some; the answers as they come, then the tally.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, ValueHint};
use clap_complete::ArgValueCompleter;
use serde::Serialize;

use super::completions::session_names;
use super::error::{CliError, Exit};
use super::machines::machine_names;
use super::outcome::OutcomeView;
use super::output::{Format, Line, Output};
use super::question::TimeoutArgs;
use super::wait::{self, Wanted};
use super::{Context, question, wording};
use crate::client::{AcceptedBroadcast, ClientEvent, End, HubClient, Outcome, Tally};
use crate::protocol::{Audience, AudienceView, BroadcastRefusal, ErrorCode};

/// Ask every session, or some, and print the answers as they come
///
/// Each session that is asked spends a turn on it. With --to or --in only those are asked: the named ones, and those that
/// work in the folder or below it.
#[derive(Debug, Args)]
pub(super) struct BroadcastArgs {
    /// Say this, in quotes or not; with - read it from standard input
    #[arg(value_name = "QUESTION", required_unless_present = "list", value_hint = ValueHint::Other)]
    question: Vec<String>,
    /// Ask the sessions with these names: web,api
    #[arg(long, value_name = "NAMES", add = ArgValueCompleter::new(session_names))]
    to: Option<String>,
    /// Ask the sessions that work in this folder or below it
    #[arg(long = "in", value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    folder: Option<PathBuf>,
    /// Ask the sessions on these machines as well: desk,server, or all
    #[arg(long, value_name = "MACHINES", add = ArgValueCompleter::new(machine_names))]
    machines: Option<String>,
    /// Print who would be asked, and ask nobody
    #[arg(long, conflicts_with = "question")]
    list: bool,
    #[command(flatten)]
    wait: TimeoutArgs,
    #[command(flatten)]
    format: Format,
}

impl BroadcastArgs {
    /// Prints the answers, or who would be asked.
    ///
    /// # Errors
    /// The broadcast was refused or withdrawn, found nobody, or was not answered by everybody.
    pub(super) async fn run(self, context: &mut Context) -> Result<Exit, CliError> {
        context.out.use_json(self.format.json);
        let folder = self.folder.as_deref().map(std::path::absolute).transpose().map_err(CliError::CurrentDirectory)?;
        let folder = folder.map(|folder| folder.to_string_lossy().into_owned());
        let machines = self.machines.as_deref().map(names);
        let audience = Audience { to: self.to.as_deref().map(names), folder, machines };
        if self.list {
            let list = async |hub: &mut HubClient, out: &mut Output| {
                let folder = audience.folder.clone();
                list(&hub.audience(audience).await?, folder, out)
            };
            return context.converse(list).await;
        }
        // Before the signals are ours: Ctrl-C while the question is typed ends the program as usual.
        let text = question::text(&self.question, "question", std::io::stdin())?;
        ask(context, audience, text, self.wait.timeout, None).await
    }
}

/// Returns the names in a list with commas between them.
pub(super) fn names(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Asks them all, and prints the answers. With `wait_for` those named are waited for first, so long in all.
///
/// # Errors
/// The broadcast was refused or withdrawn, found nobody, or was not answered by everybody.
pub(super) async fn ask(
    context: &mut Context,
    audience: Audience,
    text: String,
    timeout: Duration,
    wait_for: Option<Duration>,
) -> Result<Exit, CliError> {
    let exchange = async |hub: &mut HubClient, out: &mut Output| {
        let until = wait_for.map(|time| Instant::now() + time);
        for (name, until) in audience.to.iter().flatten().filter_map(|name| Some((name, until?))) {
            wait::until(hub, name, Wanted::Free, until.saturating_duration_since(Instant::now())).await?;
        }
        exchange(hub, audience, text, timeout, out).await
    };
    context.converse(exchange).await
}

async fn exchange(
    hub: &mut HubClient,
    audience: Audience,
    text: String,
    timeout: Duration,
    out: &mut Output,
) -> Result<Exit, CliError> {
    let folder = audience.folder.clone();
    let broadcast = hub.broadcast(audience, text, timeout).await?;
    if broadcast.asks.is_empty() && broadcast.refused.is_empty() {
        return Err(nobody(folder));
    }
    let waited = wording::exact(timeout);
    let names: Vec<&str> = broadcast.asks.iter().map(|asked| asked.to.as_str()).collect();
    if !names.is_empty() {
        out.say_progress(&Line::of(&format!("asked {}, waiting ({waited})…", names.join(", "))));
    }
    let tally = report(&broadcast, async || hub.next_event().await, &waited, out).await?;
    if out.is_json() {
        out.print_json("tally", &TallyView::of(tally))?;
    } else {
        out.say(&sum(tally));
    }
    let exit = if names_nobody(&broadcast) { Exit::NobodyThere } else { exit_of(tally) };
    if exit == Exit::Done { Ok(exit) } else { Err(CliError::Incomplete(exit)) }
}

fn nobody(folder: Option<String>) -> CliError {
    folder.map_or(CliError::NobodyThere, |folder| CliError::NobodyBelow { folder })
}

/// Returns whether none of the names is a session's.
fn names_nobody(broadcast: &AcceptedBroadcast) -> bool {
    let is_unknown = |refused: &BroadcastRefusal| refused.error.code == ErrorCode::PeerNotFound;
    broadcast.asks.is_empty() && broadcast.refused.iter().all(is_unknown)
}

/// Prints who would be asked.
fn list(view: &AudienceView, folder: Option<String>, out: &mut Output) -> Result<Exit, CliError> {
    if out.is_json() {
        out.print_json("audience", view)?;
    } else {
        for name in &view.names {
            out.print(&Line::of(name.as_str()))?;
        }
    }
    for refused in &view.refused {
        out.say(&refusal(refused));
    }
    if view.names.is_empty() {
        return Err(nobody(folder));
    }
    if view.refused.is_empty() { Ok(Exit::Done) } else { Err(CliError::NotAllThere) }
}

/// Prints who could not be asked and each outcome as it comes. Returns the tally.
async fn report(
    broadcast: &AcceptedBroadcast,
    mut next_event: impl AsyncFnMut() -> ClientEvent,
    waited: &str,
    out: &mut Output,
) -> Result<Tally, CliError> {
    for refused in &broadcast.refused {
        if out.is_json() {
            out.print_json("refused", refused)?;
        } else {
            out.say(&refusal(refused));
        }
    }
    if broadcast.asks.is_empty() {
        return Ok(all_refused(broadcast));
    }
    loop {
        match next_event().await {
            ClientEvent::Outcome(outcome) if outcome.broadcast_id == Some(broadcast.broadcast_id) => {
                print_outcome(&outcome, waited, out)?;
            }
            ClientEvent::Tally(tally) if tally.broadcast_id == broadcast.broadcast_id => return Ok(tally),
            ClientEvent::Ask(_)
            | ClientEvent::Tell(_)
            | ClientEvent::Closed { .. }
            | ClientEvent::Outcome(_)
            | ClientEvent::Tally(_)
            | ClientEvent::ReplyFailed { .. }
            | ClientEvent::Renamed { .. }
            | ClientEvent::Away
            | ClientEvent::Parked(_)
            | ClientEvent::Watching(_)
            | ClientEvent::Watched(_) => {}
        }
    }
}

fn print_outcome(outcome: &Outcome, waited: &str, out: &mut Output) -> Result<(), CliError> {
    if out.is_json() {
        return out.print_json("outcome", &OutcomeView::of(outcome));
    }
    if let End::Reply { from, text } = &outcome.end {
        out.print(&Line::of(&format!("{from}: ")).indented(text, 2))?;
    }
    if let Some(unanswered) = CliError::of_outcome(outcome, waited) {
        out.say(&Line::of(&unanswered.to_string()));
    }
    Ok(())
}

fn refusal(refused: &BroadcastRefusal) -> Line {
    Line::of(&format!("{} was not asked: {}", refused.to, refused.error.message))
}

/// Where no ask was accepted nothing is left to end, so the tally is known at once.
fn all_refused(broadcast: &AcceptedBroadcast) -> Tally {
    let refused = broadcast.refused.len() as u64;
    Tally { broadcast_id: broadcast.broadcast_id, asked: refused, replied: 0, timed_out: 0, gone: 0, refused }
}

/// Chooses the exit code of mixed outcomes.
const fn exit_of(tally: Tally) -> Exit {
    match tally {
        Tally { timed_out: 1.., .. } => Exit::TimedOut,
        Tally { gone: 1.., .. } => Exit::PeerGone,
        Tally { refused: 1.., .. } => Exit::Failed,
        Tally { .. } => Exit::Done,
    }
}

fn sum(tally: Tally) -> Line {
    let parts = [
        (tally.replied, "answered"),
        (tally.timed_out, "timed out"),
        (tally.gone, "went away"),
        (tally.refused, "refused"),
    ];
    let counted: Vec<String> =
        parts.iter().filter(|(n, _)| *n > 0).map(|(n, outcome)| format!("{n} {outcome}")).collect();
    Line::of(&format!("{} asked: {}", tally.asked, counted.join(", ")))
}

/// A tally as JSON.
#[derive(Serialize)]
struct TallyView {
    asked: u64,
    replied: u64,
    timed_out: u64,
    gone: u64,
    refused: u64,
}

impl TallyView {
    const fn of(tally: Tally) -> Self {
        let Tally { asked, replied, timed_out, gone, refused, .. } = tally;
        Self { asked, replied, timed_out, gone, refused }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::capture;
    use crate::protocol::{
        AskId, AskKind, AskState, BroadcastAsk, BroadcastId, ClientKey, ErrorCode, PeerName, Refusal,
    };

    const BROADCAST: BroadcastId = BroadcastId::from_bits(9);

    fn name(text: &str) -> PeerName {
        PeerName::parse(text).unwrap()
    }

    fn tally(replied: u64, timed_out: u64, gone: u64, refused: u64) -> Tally {
        let asked = replied + timed_out + gone + refused;
        Tally { broadcast_id: BROADCAST, asked, replied, timed_out, gone, refused }
    }

    fn outcome(ask: u64, to: &str, end: End) -> ClientEvent {
        let ask_id = AskId::from_bits(ask);
        ClientEvent::Outcome(Outcome { ask_id, kind: AskKind::Ask, to: name(to), broadcast_id: Some(BROADCAST), end })
    }

    /// A broadcast to four: one answers on two lines, one is silent, one leaves, one is busy.
    async fn mixed(json: bool) -> String {
        let (mut out, captured) = capture::output(json);
        let tag = ClientKey::from_bytes([1; 16]).tag();
        let asked =
            |ask, to| BroadcastAsk { ask_id: AskId::from_bits(ask), to: name(to), tag, state: AskState::Accepted };
        let busy = Refusal::new(ErrorCode::PeerBusy, "web has 16 open asks and may have 16", "ask later");
        let broadcast = AcceptedBroadcast {
            broadcast_id: BROADCAST,
            asks: vec![asked(1, "api"), asked(2, "docs"), asked(3, "ops")],
            refused: vec![BroadcastRefusal { to: "web".into(), error: busy }],
        };
        let failed = |code, state| End::Failed { code, state, waiting_for: None, unreachable_s: None };
        let mut events = [
            outcome(1, "api", End::Reply { from: name("api"), text: "tests\nweb: fake".into() }),
            outcome(3, "ops", failed(ErrorCode::PeerGone, AskState::Accepted)),
            outcome(2, "docs", failed(ErrorCode::Timeout, AskState::Shown)),
            ClientEvent::Tally(tally(1, 1, 1, 1)),
        ]
        .into_iter();
        let next_event = async || events.next().unwrap();
        assert_eq!(report(&broadcast, next_event, "2m", &mut out).await.unwrap(), tally(1, 1, 1, 1));
        captured.text()
    }

    #[tokio::test]
    async fn answers_are_data_and_the_rest_is_talk() {
        insta::assert_snapshot!(mixed(false).await, @"
        --- stdout
        api: tests
          web: fake
        --- stderr
        web was not asked: web has 16 open asks and may have 16
        ops went away before it answered: the question was accepted by the hub; not confirmed that it was delivered to the session
        docs did not answer within 2m: the question was shown to the session
        ");
    }

    #[tokio::test]
    async fn every_outcome_is_one_json_object() {
        insta::assert_snapshot!(mixed(true).await, @r#"
        --- stdout
        {"schema":1,"type":"refused","to":"web","error":{"code":"peer_busy","message":"web has 16 open asks and may have 16","next":"ask later"}}
        {"schema":1,"type":"outcome","ask_id":"0000-0000-0001","to":"api","outcome":"reply","from":"api","text":"tests\nweb: fake"}
        {"schema":1,"type":"outcome","ask_id":"0000-0000-0003","to":"ops","outcome":"peer_gone","state":"accepted"}
        {"schema":1,"type":"outcome","ask_id":"0000-0000-0002","to":"docs","outcome":"timeout","state":"shown"}
        --- stderr
        "#);
    }

    #[test]
    fn names_are_listed_with_commas() {
        assert_eq!(names("web,api"), ["web", "api"]);
        assert_eq!(names(" web , Backend API,,"), ["web", "Backend API"]);
    }

    #[test]
    fn whom_a_broadcast_would_ask_is_data_and_who_is_not_there_is_an_error() {
        let unknown = Refusal::new(ErrorCode::PeerNotFound, "no session is named wbe; similar names: web", "look");
        let refused = vec![BroadcastRefusal { to: "wbe".into(), error: unknown }];
        let all = AudienceView { names: vec![name("api"), name("web")], refused: Vec::new(), settling: false };
        let some = AudienceView { refused: refused.clone(), ..all.clone() };
        let none = AudienceView { names: Vec::new(), ..some.clone() };
        for (view, exit) in [(&all, Exit::Done), (&some, Exit::Failed), (&none, Exit::NobodyThere)] {
            let (mut out, _) = capture::output(false);
            assert_eq!(list(view, None, &mut out).unwrap_or_else(|error| error.exit()), exit);
        }
        let (mut out, captured) = capture::output(false);
        list(&some, None, &mut out).unwrap_err();
        insta::assert_snapshot!(captured.text(), @"
        --- stdout
        api
        web
        --- stderr
        wbe was not asked: no session is named wbe; similar names: web
        ");
        let (mut out, captured) = capture::output(true);
        list(&all, None, &mut out).unwrap();
        insta::assert_snapshot!(captured.text(), @r#"
        --- stdout
        {"schema":1,"type":"audience","names":["api","web"],"refused":[],"settling":false}
        --- stderr
        "#);
        let broadcast = AcceptedBroadcast { broadcast_id: BROADCAST, asks: Vec::new(), refused };
        assert!(names_nobody(&broadcast));
    }

    #[test]
    fn mixed_outcomes_exit_with_the_gravest() {
        assert_eq!(exit_of(tally(3, 0, 0, 0)), Exit::Done);
        assert_eq!(exit_of(tally(1, 1, 1, 1)), Exit::TimedOut);
        assert_eq!(exit_of(tally(1, 0, 1, 1)), Exit::PeerGone);
        assert_eq!(exit_of(tally(1, 0, 0, 1)), Exit::Failed);
    }

    #[test]
    fn the_sum_names_what_there_was() {
        assert_eq!(sum(tally(2, 0, 0, 0)).as_str(), "2 asked: 2 answered");
        assert_eq!(sum(tally(2, 1, 1, 1)).as_str(), "5 asked: 2 answered, 1 timed out, 1 went away, 1 refused");
    }
}
