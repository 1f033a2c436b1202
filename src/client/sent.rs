//! The asker's end: open asks and broadcasts, and the one outcome of each.

mod broadcasts;
mod estate;

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use self::broadcasts::{OpenBroadcast, say_broadcast};
use super::call::{Answer, CallId};
use super::outgoing::{Outgoing, Purpose};
use super::{Asked, ClientEvent, End, Outcome};
use crate::deadlines::Deadlines;
use crate::protocol::{
    Accepted, AskId, AskRequest, AskState, BroadcastId, ClientMessage, ErrorCode, FailedEvent, PeerName, PeerTag,
    Refusal, ReplyEvent,
};

/// How long after an ask's deadline its asker waits for the hub to say how far it came, before it ends the ask itself.
pub const DEADLINE_SLACK: Duration = Duration::from_millis(500);

/// How long an ended ask is remembered beyond its deadline.
const REMEMBERED: Duration = Duration::from_secs(60);

/// The most ended asks that are remembered.
const REMEMBERED_MAX: usize = 4096;

/// How long a hub must live after it heard that a reply was taken, until its replier surely knows. Before, every hub that
/// comes up is told again, however long none was there.
const TAKEN_KNOWN: Duration = Duration::from_secs(10);

/// After which time an ask is said again that a hub had accepted and the next one has refused.
const AGAIN_WAIT: Duration = Duration::from_secs(1);

/// An own ask without an outcome.
#[derive(Debug, Clone)]
struct OpenAsk {
    to: String,
    /// The text; none of one that was inherited without: it is not said again.
    question: Option<Rc<str>>,
    started: Instant,
    deadline: Instant,
    broadcast: Option<BroadcastId>,
    /// Whom a hub has accepted it for.
    bound: Option<PeerTag>,
    state: AskState,
    /// The call that waits for its acceptance.
    call: Option<CallId>,
}

/// An own ask that has ended.
#[derive(Debug, Clone, Copy)]
struct EndedAsk {
    /// The reply that was taken, if that was its end.
    taken: Option<Taken>,
    /// Whether nobody waited for it any more, which a hub may not have heard.
    withdrawn: bool,
}

/// A reply that was taken.
#[derive(Debug, Clone, Copy)]
struct Taken {
    /// Whose.
    by: PeerTag,
    /// When a hub was told last.
    said: Instant,
    /// Whether its replier surely knows.
    known: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// Nobody has accepted the ask.
    AskPatience(AskId),
    /// Nobody has accepted the broadcast.
    BroadcastPatience(BroadcastId),
    /// The ask that a former hub had accepted is said again.
    Again(AskId),
    /// The ask is over.
    Deadline(AskId),
    /// The ended ask may be forgotten.
    Forget(AskId),
}

/// Own asks and broadcasts. Invariant: an ask is in `asks` until the one outcome that its program is told.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    asks: BTreeMap<AskId, OpenAsk>,
    ended: BTreeMap<AskId, EndedAsk>,
    /// The ended asks in the order of their ends.
    ended_order: VecDeque<AskId>,
    broadcasts: BTreeMap<BroadcastId, OpenBroadcast>,
    timers: Deadlines<Timer>,
}

impl Sent {
    pub(super) const fn new() -> Self {
        Self {
            asks: BTreeMap::new(),
            ended: BTreeMap::new(),
            ended_order: VecDeque::new(),
            broadcasts: BTreeMap::new(),
            timers: Deadlines::new(),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "a call's four parts, its time and where its messages go")]
    pub(super) fn ask(
        &mut self,
        now: Instant,
        call: CallId,
        id: AskId,
        to: String,
        question: String,
        timeout: Duration,
        patience: Duration,
        out: &mut Outgoing,
    ) {
        let ask = OpenAsk {
            to,
            question: Some(question.into()),
            started: now,
            deadline: now + timeout,
            broadcast: None,
            bound: None,
            state: AskState::Accepted,
            call: Some(call),
        };
        self.timers.set(Timer::AskPatience(id), now + patience);
        self.timers.set(Timer::Deadline(id), ask.deadline + DEADLINE_SLACK);
        say_ask(now, id, &ask, out);
        self.asks.insert(id, ask);
    }

    /// Says everything again to a hub that may know nothing of it.
    pub(super) fn say_again(&mut self, now: Instant, out: &mut Outgoing) {
        for (id, taken) in self.taken().filter(|(_, taken)| !taken.known) {
            taken.said = now;
            out.notice(ClientMessage::Taken { ask_id: *id, by: taken.by });
        }
        for (id, _) in self.ended.iter().filter(|(_, ended)| ended.withdrawn) {
            out.notice(ClientMessage::Withdraw { ask_id: *id });
        }
        for (id, ask) in &self.asks {
            say_ask(now, *id, ask, out);
        }
        for (id, broadcast) in &self.broadcasts {
            if broadcast.call.is_some() {
                say_broadcast(*id, broadcast, out);
            }
        }
    }

    /// Remembers an ask that has ended, for a while beyond its end or its deadline.
    fn remember(&mut self, id: AskId, from: Instant, ended: EndedAsk) {
        self.ended.insert(id, ended);
        self.ended_order.push_back(id);
        self.timers.set(Timer::Forget(id), from + REMEMBERED);
        if self.ended_order.len() > REMEMBERED_MAX
            && let Some(oldest) = self.ended_order.pop_front()
        {
            self.ended.remove(&oldest);
            self.timers.clear(&Timer::Forget(oldest));
        }
    }

    /// Takes note of the connection's end: which taken replies the next hub must be told of.
    pub(super) fn handle_disconnected(&mut self, now: Instant) {
        for (_, taken) in self.taken() {
            taken.known |= now.saturating_duration_since(taken.said) >= TAKEN_KNOWN;
        }
    }

    fn taken(&mut self) -> impl Iterator<Item = (&AskId, &mut Taken)> {
        self.ended.iter_mut().filter_map(|(id, ended)| Some((id, ended.taken.as_mut()?)))
    }

    pub(super) fn set_patience(&mut self, now: Instant, patience: Duration) {
        for (id, ask) in self.asks.iter().filter(|(_, ask)| ask.call.is_some()) {
            self.timers.set(Timer::AskPatience(*id), (ask.started + patience).max(now));
        }
        for (id, broadcast) in self.broadcasts.iter().filter(|(_, broadcast)| broadcast.call.is_some()) {
            self.timers.set(Timer::BroadcastPatience(*id), (broadcast.started + patience).max(now));
        }
    }

    /// Takes note of an acceptance. `is_guarantor`: whether this client sees to the ask's end, and not its session's peer.
    pub(super) fn handle_accepted(&mut self, accepted: Accepted, is_guarantor: bool, out: &mut Outgoing) {
        let Some(ask) = self.asks.get_mut(&accepted.ask_id) else {
            if is_guarantor && !self.ended.contains_key(&accepted.ask_id) {
                // Its caller was told that it failed: nobody may be made to answer it.
                out.notice(ClientMessage::Withdraw { ask_id: accepted.ask_id });
            }
            return;
        };
        ask.bound = Some(accepted.tag);
        ask.state = ask.state.max(accepted.state);
        ask.to = accepted.to.to_string();
        self.timers.clear(&Timer::AskPatience(accepted.ask_id));
        if let Some(call) = ask.call.take() {
            let asked = Asked { ask_id: accepted.ask_id, to: accepted.to, state: accepted.state };
            out.answer(call, Ok(Answer::Asked(asked)));
        }
        if !is_guarantor {
            self.drop_ask(accepted.ask_id);
        }
    }

    pub(super) fn handle_ask_refused(&mut self, now: Instant, id: AskId, error: Refusal, out: &mut Outgoing) {
        let Some(ask) = self.asks.get_mut(&id) else { return };
        if let Some(call) = ask.call.take() {
            self.drop_ask(id);
            return out.answer(call, Err(error));
        }
        let state = ask.state;
        if matches!(error.code, ErrorCode::PeerGone | ErrorCode::Timeout) {
            self.end(now, id, End::Failed { code: error.code, state }, None, out);
        } else {
            // Another hub has accepted it: this one has no room for it now, or believes it to be another's.
            self.timers.set(Timer::Again(id), now + AGAIN_WAIT);
        }
    }

    pub(super) fn handle_reply(&mut self, now: Instant, reply: ReplyEvent, out: &mut Outgoing) {
        let ReplyEvent { ask_id, from, by, text } = reply;
        if self.asks.contains_key(&ask_id) {
            out.notice(ClientMessage::Taken { ask_id, by });
            self.end(now, ask_id, End::Reply { from, text }, Some(by), out);
            return;
        }
        match self.ended.get(&ask_id).map(|ended| ended.taken.is_some()) {
            Some(true) => out.notice(ClientMessage::Taken { ask_id, by }),
            // While a broadcast is being said again the ask may be one of its own: the hub tells the reply once more
            // behind its acceptance.
            None if self.broadcasts.values().any(|broadcast| broadcast.call.is_some()) => {}
            // It came too late, and the answering session must not believe otherwise.
            Some(false) | None => out.notice(ClientMessage::Withdraw { ask_id }),
        }
    }

    pub(super) fn handle_failed(&mut self, now: Instant, failed: &FailedEvent, out: &mut Outgoing) {
        let FailedEvent { ask_id, code, state } = *failed;
        self.end(now, ask_id, End::Failed { code, state }, None, out);
    }

    /// Ends an ask with its outcome: the only place that tells one.
    fn end(&mut self, now: Instant, id: AskId, end: End, taken_by: Option<PeerTag>, out: &mut Outgoing) {
        let Some(ask) = self.drop_ask(id) else { return };
        let to = PeerName::parse(&ask.to).unwrap_or_else(|_| PeerName::of_folder(&ask.to));
        if let Some(call) = ask.call {
            let asked = Asked { ask_id: id, to: to.clone(), state: ask.state };
            out.answer(call, Ok(Answer::Asked(asked)));
        }
        let taken = taken_by.map(|by| Taken { by, said: now, known: false });
        self.remember(id, ask.deadline.max(now), EndedAsk { taken, withdrawn: false });
        let replied = matches!(end, End::Reply { .. });
        let gone = matches!(end, End::Failed { code: ErrorCode::PeerGone, .. });
        out.event(ClientEvent::Outcome(Outcome { ask_id: id, to, broadcast_id: ask.broadcast, end }));
        if let Some(broadcast_id) = ask.broadcast
            && let Some(broadcast) = self.broadcasts.get_mut(&broadcast_id)
        {
            broadcast.open -= 1;
            match (replied, gone) {
                (true, _) => broadcast.tally.replied += 1,
                (false, true) => broadcast.tally.gone += 1,
                (false, false) => broadcast.tally.timed_out += 1,
            }
            self.close_broadcast(broadcast_id, out);
        }
    }

    pub(super) fn withdraw(&mut self, id: AskId, out: &mut Outgoing) {
        let Some(ask) = self.drop_ask(id) else { return };
        out.notice(ClientMessage::Withdraw { ask_id: id });
        self.remember(id, ask.deadline, EndedAsk { taken: None, withdrawn: true });
        if let Some(broadcast_id) = ask.broadcast
            && let Some(broadcast) = self.broadcasts.get_mut(&broadcast_id)
        {
            broadcast.open -= 1;
            broadcast.tally.asked -= 1;
            self.close_broadcast(broadcast_id, out);
        }
    }

    fn drop_ask(&mut self, id: AskId) -> Option<OpenAsk> {
        self.timers.clear(&Timer::AskPatience(id));
        self.timers.clear(&Timer::Again(id));
        self.timers.clear(&Timer::Deadline(id));
        self.asks.remove(&id)
    }

    /// Answers every call that waits for an acceptance with this refusal.
    pub(super) fn refuse_calls(&mut self, now: Instant, error: &Refusal, out: &mut Outgoing) {
        let asks: Vec<AskId> = self.asks.iter().filter(|(_, ask)| ask.call.is_some()).map(|(id, _)| *id).collect();
        for id in asks {
            self.handle_ask_refused(now, id, error.clone(), out);
        }
        let waiting: Vec<BroadcastId> =
            self.broadcasts.iter().filter(|(_, broadcast)| broadcast.call.is_some()).map(|(id, _)| *id).collect();
        for id in waiting {
            self.handle_broadcast_refused(id, error.clone(), out);
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, unreachable: &Refusal, out: &mut Outgoing) {
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::AskPatience(id) => self.give_up(now, id, unreachable, out),
                Timer::Again(id) => {
                    if let Some(ask) = self.asks.get(&id) {
                        say_ask(now, id, ask, out);
                    }
                }
                Timer::BroadcastPatience(id) => self.handle_broadcast_refused(id, unreachable.clone(), out),
                Timer::Deadline(id) => {
                    self.give_up(now, id, unreachable, out);
                    if let Some(state) = self.asks.get(&id).map(|ask| ask.state) {
                        out.notice(ClientMessage::Withdraw { ask_id: id });
                        self.end(now, id, End::Failed { code: ErrorCode::Timeout, state }, None, out);
                    }
                }
                Timer::Forget(id) => {
                    self.ended.remove(&id);
                }
            }
        }
    }

    /// Fails an ask that no hub has accepted. It is never said again.
    fn give_up(&mut self, now: Instant, id: AskId, unreachable: &Refusal, out: &mut Outgoing) {
        if let Some(deadline) = self.asks.get(&id).filter(|ask| ask.call.is_some()).map(|ask| ask.deadline) {
            out.notice(ClientMessage::Withdraw { ask_id: id });
            self.handle_ask_refused(now, id, unreachable.clone(), out);
            self.remember(id, deadline.max(now), EndedAsk { taken: None, withdrawn: true });
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }
}

fn say_ask(now: Instant, ask_id: AskId, ask: &OpenAsk, out: &mut Outgoing) {
    let Some(question) = &ask.question else { return };
    out.request(Purpose::Ask(ask_id), |id| {
        ClientMessage::Ask(AskRequest {
            id,
            ask_id,
            to: ask.to.clone(),
            question: question.to_string(),
            timeout_ms: millis_left(now, ask.deadline),
            bound: ask.bound,
            broadcast_id: ask.broadcast,
        })
    });
}

fn millis_left(now: Instant, deadline: Instant) -> u64 {
    u64::try_from(deadline.saturating_duration_since(now).as_millis()).unwrap_or(u64::MAX).max(1)
}
