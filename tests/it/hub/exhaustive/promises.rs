//! What was promised of the two asks, and what their programs were told of them.

use std::time::{Duration, Instant};

use relay::client::{CallAnswer, CallId, ClientEvent, End, Output};
use relay::protocol::{AskId, AskKind, AskState, ErrorCode};

use super::world::{ASKS, NAMES};

/// How long after its deadline an ask may end at the latest.
const SLACK: Duration = Duration::from_secs(1);

/// What has become of one ask.
#[derive(Debug, Clone, Default)]
struct Watched {
    kind: AskKind,
    call: u64,
    deadline: Option<Instant>,
    accepted: bool,
    refused: bool,
    withdrawn: bool,
    shown: bool,
    end: Option<End>,
    reply_call: u64,
    /// Whether the asker still waited when the reply was said.
    reply_in_time: bool,
    reply_answered: bool,
    /// What the session was told of its reply: taken, failed, or nothing yet.
    reply_told: Option<bool>,
    /// How a tell has come to its session.
    arrived: Option<AskState>,
    /// Whether its teller still waited then.
    arrived_in_time: bool,
}

/// The watch over one run.
#[derive(Debug, Clone, Default)]
pub(super) struct Promises {
    asks: [Watched; ASKS.len()],
    /// Whether time passed while something was on its way or somebody was away.
    delayed: bool,
}

fn index(id: AskId) -> usize {
    (0..ASKS.len()).find(|ask| AskId::from_bits(*ask as u64 + 1) == id).expect("one of the two asks")
}

impl Promises {
    pub(super) fn new(tells: bool) -> Self {
        let mut promises = Self::default();
        if let Some(last) = promises.asks.last_mut().filter(|_| tells) {
            last.kind = AskKind::Tell;
        }
        promises
    }

    pub(super) const fn kind(&self, ask: usize) -> AskKind {
        self.asks[ask].kind
    }

    pub(super) fn saw_arrival(&mut self, now: Instant, ask: usize, state: AskState) {
        let watched = &mut self.asks[ask];
        watched.arrived = Some(state);
        watched.arrived_in_time = watched.is_open() && watched.deadline.is_some_and(|deadline| now < deadline);
    }

    pub(super) fn may_arrive(&self, ask: usize) -> bool {
        self.asks[ask].kind == AskKind::Tell && self.asks[ask].shown && self.asks[ask].arrived.is_none()
    }

    pub(super) fn saw_call(&mut self, ask: usize, call: u64, deadline: Instant) {
        self.asks[ask].call = call;
        self.asks[ask].deadline = Some(deadline);
    }

    pub(super) fn saw_reply_call(&mut self, now: Instant, ask: usize, call: u64) {
        let watched = &mut self.asks[ask];
        watched.reply_call = call;
        watched.reply_in_time = watched.is_open() && watched.deadline.is_some_and(|deadline| now < deadline);
    }

    pub(super) fn saw_withdraw(&mut self, ask: usize) {
        self.asks[ask].withdrawn = true;
    }

    pub(super) const fn saw_delay(&mut self) {
        self.delayed = true;
    }

    pub(super) fn may_reply(&self, ask: usize) -> bool {
        self.asks[ask].kind == AskKind::Ask && self.asks[ask].shown && self.asks[ask].reply_call == 0
    }

    pub(super) fn may_withdraw(&self, ask: usize) -> bool {
        self.asks[ask].accepted && self.asks[ask].is_open()
    }

    /// Returns whether nobody waits for anything any more.
    pub(super) fn is_over(&self) -> bool {
        self.asks.iter().all(|ask| !ask.is_open() && (ask.reply_call == 0 || ask.reply_answered))
    }

    pub(super) fn saw_output(&mut self, now: Instant, client: usize, output: &Output) {
        match output {
            Output::Answer { call: CallId(call), result } => {
                if let Some(ask) = self.asks.iter().position(|ask| ask.call == *call) {
                    let watched = &mut self.asks[ask];
                    assert!(!watched.accepted && !watched.refused, "the ask {ask} was answered twice: {result:?}");
                    match result {
                        Ok(CallAnswer::Asked(asked)) => {
                            assert_eq!(index(asked.ask_id), ask);
                            watched.accepted = true;
                        }
                        other => {
                            assert!(other.is_err(), "the ask {ask} was answered {other:?}");
                            watched.refused = true;
                        }
                    }
                    return;
                }
                let watched = self.asks.iter_mut().find(|ask| ask.reply_call == *call).expect("a call that was made");
                assert!(!watched.reply_answered, "a reply was answered twice: {result:?}");
                watched.reply_answered = true;
                match result {
                    Ok(CallAnswer::Replied(replied)) => watched.reply_told = replied.taken.then_some(true),
                    _ => watched.reply_told = Some(false),
                }
            }
            Output::Event(ClientEvent::Ask(event)) => self.saw_text(client, AskKind::Ask, event.ask_id, &event.from),
            Output::Event(ClientEvent::Tell(event)) => self.saw_text(client, AskKind::Tell, event.tell_id, &event.from),
            Output::Event(ClientEvent::Outcome(outcome)) => {
                let ask = index(outcome.ask_id);
                let watched = &mut self.asks[ask];
                assert_eq!(ASKS[ask].0, client, "an outcome was told to another client");
                assert!(watched.accepted, "an outcome came before its acceptance");
                assert!(watched.is_open(), "the ask {ask} ended twice: {watched:?} and {outcome:?}");
                if let End::Reply { text, .. } = &outcome.end {
                    assert!(watched.reply_call != 0 && *text == format!("answer {ask}"), "nobody said {text}");
                }
                assert_eq!(outcome.kind, watched.kind);
                if let End::Arrived { state } = outcome.end {
                    assert_eq!(watched.arrived, Some(state), "nothing has come to its session");
                }
                if let End::Failed { code: ErrorCode::Timeout, .. } = outcome.end {
                    assert!(watched.deadline.is_some_and(|deadline| deadline <= now), "a timeout came early");
                }
                watched.end = Some(outcome.end.clone());
            }
            Output::Event(ClientEvent::ReplyFailed { ask_id, .. }) => {
                let watched = &mut self.asks[index(*ask_id)];
                assert!(watched.reply_answered && watched.reply_told.is_none(), "a reply failed that was not pending");
                watched.reply_told = Some(false);
            }
            Output::Event(ClientEvent::Closed { ask_id, .. }) => {
                assert!(self.asks[index(*ask_id)].shown, "an ask was closed that was never shown");
            }
            Output::Event(ClientEvent::Renamed { name }) => assert_eq!(name.as_str(), NAMES[client], "a name was lost"),
            Output::Event(ClientEvent::Tally(_)) => panic!("there is no broadcast"),
            Output::Event(_) => {}
        }
        self.check_replies();
    }

    fn saw_text(&mut self, client: usize, kind: AskKind, id: AskId, from: &str) {
        let ask = index(id);
        assert_eq!((ASKS[ask].1, from), (client, NAMES[ASKS[ask].0]), "the wrong hands");
        assert_eq!(self.asks[ask].kind, kind);
        assert!(!self.asks[ask].shown, "the ask {ask} was shown twice");
        self.asks[ask].shown = true;
    }

    /// A reply was told as taken only if it was the outcome; as failed only if it was not, unless time was lost.
    fn check_replies(&self) {
        for (ask, watched) in self.asks.iter().enumerate() {
            let was_outcome = matches!(watched.end, Some(End::Reply { .. }));
            match watched.reply_told {
                Some(true) => assert!(was_outcome, "the reply to {ask} was told as taken and was not"),
                Some(false) => assert!(!was_outcome || self.delayed, "the reply to {ask} was taken and told as failed"),
                None => {}
            }
        }
    }

    pub(super) fn saw_time(&self, now: Instant) {
        for (ask, watched) in self.asks.iter().enumerate() {
            let late = watched.deadline.is_some_and(|deadline| now > deadline + SLACK);
            assert!(!late || !watched.is_open(), "the ask {ask} has no outcome in time: {watched:?}");
        }
    }

    /// Checks a state in which everybody has come back and heard everything.
    pub(super) fn check_gathered(&self, now: Instant) {
        for (ask, watched) in self.asks.iter().enumerate() {
            let in_time = watched.deadline.is_some_and(|deadline| now < deadline);
            if in_time && !self.delayed && !watched.withdrawn {
                assert!(watched.accepted && watched.shown, "the ask {ask} was lost: {watched:?}");
            }
            if watched.arrived_in_time && !self.delayed && !watched.withdrawn {
                assert!(matches!(watched.end, Some(End::Arrived { .. })), "the receipt of {ask} was lost: {watched:?}");
            }
            if watched.reply_in_time && !self.delayed && !watched.withdrawn {
                let was_outcome = matches!(watched.end, Some(End::Reply { .. }));
                assert!(was_outcome && watched.reply_told == Some(true), "the reply to {ask} was lost: {watched:?}");
            }
        }
    }

    pub(super) fn check_end(&self) {
        for (ask, watched) in self.asks.iter().enumerate() {
            assert!(!watched.is_open(), "the ask {ask} never ended: {watched:?}");
            assert!(watched.reply_call == 0 || watched.reply_answered, "a reply's call was left: {watched:?}");
        }
    }
}

impl Watched {
    const fn is_open(&self) -> bool {
        self.end.is_none() && !self.withdrawn && !self.refused
    }
}
