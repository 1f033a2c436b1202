//! `relayctl board`: all sessions, the open asks and the last outcomes on one screen, as they are at every moment.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use tokio::signal::unix::SignalKind;

use super::Context;
use super::error::{CliError, Exit};
use super::interrupt;
use super::output::{Format, Line, Output};
use crate::alarm::Alarm;
use crate::client::{Call, CallAnswer, ClientEvent, End, HubClient, Outcome, Output as HubOutput};
use crate::paths::Environment;
use crate::protocol::{AskId, AskKind, AskView, ErrorCode, PeerView, Watched, Watching};

mod answers;
mod input;
mod model;
mod rows;
mod screen;
mod view;

use answers::Answer;
use input::{Action, Input};
use model::Board;
use screen::Screen;
use view::View;

/// Show all sessions, who waits for you, and what is open, on one live screen
///
/// Who waits for you comes first. Keys choose a session, look at it, ask or tell it and copy its name: ? shows them.
#[derive(Debug, Args)]
pub(super) struct BoardArgs {
    /// Print it once instead
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    format: Format,
}

/// How long changes that come together may take to be shown as one.
const TOGETHER: Duration = Duration::from_millis(100);

/// How often ages are brought up to date where nothing happens.
const AGES: Duration = Duration::from_secs(60);

/// How long a question from the board waits for its answer, and a message until it is shown.
const TIMEOUT: Duration = Duration::from_secs(600);

impl BoardArgs {
    /// Shows the board until the person leaves it.
    ///
    /// # Errors
    /// No hub answers, or there is no terminal for it.
    pub(super) async fn run(self, context: &mut Context) -> Result<Exit, CliError> {
        context.out.use_json(self.format.json);
        if self.once || self.format.json {
            return context.converse(async |hub: &mut _, out: &mut _| print(hub, out).await).await;
        }
        if !context.out.is_a_terminal() {
            let what = "the board needs a terminal".to_owned();
            return Err(CliError::Obstacle { what, next: "relayctl board --once".to_owned() });
        }
        context.converse(async |hub: &mut _, out: &mut _| show(hub, out).await).await
    }
}

/// Prints the board once.
async fn print(hub: &mut HubClient, out: &mut Output) -> Result<Exit, CliError> {
    let (state, now) = (hub.watch(false).await?, Instant::now());
    let mut board = Board::default();
    board.handle_state(now, &state);
    if out.is_json() {
        let peers = board.sessions("").into_iter().map(|session| &session.view).collect();
        out.print_json("board", &BoardJson { settling: state.settling, peers, asks: &state.asks })?;
        return Ok(Exit::Done);
    }
    let home = Environment::of_process().home;
    let view = View { board: &board, now, home: home.as_deref() };
    for line in view.lines(out.width()) {
        out.print(&Line::of(&line.to_string()))?;
    }
    Ok(Exit::Done)
}

/// Shows the board and does what the person wants, until they leave.
async fn show(hub: &mut HubClient, out: &mut Output) -> Result<Exit, CliError> {
    let state = hub.watch(false).await?;
    let unread = out.unread();
    tokio::pin!(unread);
    let mut desk = Desk::new(&state);
    let mut screen = Screen::enter()?;
    let mut keys = screen::events()?;
    let mut alarm = Alarm::default();
    loop {
        let now = Instant::now();
        if desk.draws_at.is_some_and(|at| at <= now) {
            desk.draw(now, &mut screen)?;
        }
        let action = tokio::select! {
            told = hub.next() => {
                desk.handle_hub(Instant::now(), told);
                Action::Nothing
            }
            Some(event) = keys.recv() => desk.input.handle_event(&desk.board, &event),
            () = alarm.wait(desk.draws_at) => Action::Nothing,
            // The terminal has gone.
            () = &mut unread => Action::Quit,
        };
        if action != Action::Nothing {
            // What a key does is seen at once.
            desk.draws_at = Some(Instant::now());
        }
        match action {
            Action::Nothing | Action::Draw => {}
            Action::Quit => return Ok(Exit::Done),
            Action::Interrupt => return Err(CliError::Signalled(SignalKind::interrupt())),
            Action::Suspend => screen.suspend(interrupt::stop)?,
            Action::Copy(name) => screen.copy(&name)?,
            Action::Send { kind, to, text } => {
                let (id, to) = (AskId::random(), to.to_string());
                hub.start(match kind {
                    AskKind::Ask => Call::Ask { ask_id: id, to, question: text, timeout: TIMEOUT },
                    AskKind::Tell => Call::Tell { tell_id: id, to, text, timeout: TIMEOUT },
                });
            }
        }
    }
}

/// What is on the screen, and when it is drawn next.
struct Desk {
    board: Board,
    input: Input,
    home: Option<PathBuf>,
    drawn_at: Option<Instant>,
    draws_at: Option<Instant>,
}

impl Desk {
    fn new(state: &Watching) -> Self {
        let now = Instant::now();
        let mut board = Board::default();
        board.handle_state(now, state);
        let home = Environment::of_process().home;
        Self { board, input: Input::new(), home, drawn_at: None, draws_at: Some(now) }
    }

    fn draw(&mut self, now: Instant, screen: &mut Screen) -> Result<(), CliError> {
        let view = View { board: &self.board, now, home: self.home.as_deref() };
        screen.draw(|area, buffer| view.draw(&self.input, area, buffer))?;
        self.drawn_at = Some(now);
        let settles_at = self.board.settles_at().filter(|at| *at > now);
        self.draws_at = [settles_at, self.board.has_ages().then_some(now + AGES)].into_iter().flatten().min();
        Ok(())
    }

    fn handle_hub(&mut self, now: Instant, told: HubOutput) {
        match told {
            HubOutput::Answer { result: Ok(CallAnswer::Asked(asked)), .. } => {
                let sent = super::wording::sent(asked.kind);
                self.input.note = Some(format!("{sent} {}, {}", asked.to, asked.state.in_short()));
            }
            HubOutput::Answer { result: Ok(_), .. } => {}
            HubOutput::Answer { result: Err(refusal), .. } => self.input.handle_refusal(refusal.message),
            HubOutput::Event(event) => match event {
                ClientEvent::Away => self.board.handle_away(),
                ClientEvent::Watching(state) => self.board.handle_state(now, &state),
                ClientEvent::Watched(change) => {
                    if let Watched::PeerRenamed { former, name } = change.as_ref() {
                        self.input.handle_rename(former, name);
                    }
                    self.board.handle_change(now, &change);
                }
                ClientEvent::Outcome(outcome) => self.handle_outcome(outcome),
                ClientEvent::Ask(_)
                | ClientEvent::Tell(_)
                | ClientEvent::Closed { .. }
                | ClientEvent::Tally(_)
                | ClientEvent::ReplyFailed { .. }
                | ClientEvent::Renamed { .. }
                | ClientEvent::Parked(_) => {}
            },
        }
        // What comes at a time is drawn at a time, and what comes after a while at once.
        let earliest = self.drawn_at.map_or(now, |at| at + TOGETHER);
        let at = earliest.max(now);
        self.draws_at = Some(self.draws_at.map_or(at, |draws_at| draws_at.min(at)));
    }

    fn handle_outcome(&mut self, outcome: Outcome) {
        match outcome.end {
            End::Reply { from, text } => self.input.handle_answer(Answer { of: from.to_string(), text }),
            End::Arrived { state } => self.input.handle_arrival(&outcome.to, state),
            End::Failed { code, state, .. } => {
                let how = match (code, outcome.kind) {
                    (ErrorCode::PeerGone, _) => "went away",
                    (_, AskKind::Ask) => "did not answer",
                    (_, AskKind::Tell) => "did not see it",
                };
                self.input.handle_failure(format!("{} {how}: {}", outcome.to, state.in_short()));
            }
        }
    }
}

/// The board as JSON.
#[derive(Serialize)]
struct BoardJson<'a> {
    settling: bool,
    peers: Vec<&'a PeerView>,
    asks: &'a [AskView],
}

#[cfg(test)]
mod tests;
