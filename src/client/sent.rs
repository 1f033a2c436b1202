//! The asker's end: open asks and broadcasts, and the one outcome of each. Pure.

mod broadcasts;
mod handoff;
mod unconfirmed;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use self::broadcasts::Broadcasts;
pub(super) use self::broadcasts::NewBroadcast;
pub use self::unconfirmed::KNOWN_AFTER;
use self::unconfirmed::Unconfirmed;
use super::call::{AcceptedAsk, AcceptedBroadcast, CallAnswer, CallId, MessageId};
use super::ended::EndedAsks;
use super::event::{ClientEvent, End, Outcome};
use super::open::OpenSentView;
use super::outgoing::{Outgoing, Purpose};
use crate::deadlines::Deadlines;
use crate::protocol::{
    Accepted, Activity, Ask, AskId, AskKind, AskState, BroadcastAccepted, BroadcastId, Chain, ClientTag, ErrorCode,
    Failed, Notice, PeerName, Receipt, Refusal, ReplyEvent, Request, Taken, Tell, Withdraw,
};

/// How long after an ask's deadline its asker waits for the hub to say how far it came, before it ends the ask itself.
pub const DEADLINE_SLACK: Duration = Duration::from_millis(500);

/// After which time an ask is sent again that a hub had accepted and the next one has refused.
const RESEND_WAIT: Duration = Duration::from_secs(1);

/// An ask of the program's.
#[derive(Debug)]
pub(super) struct NewAsk {
    pub(super) id: AskId,
    pub(super) kind: AskKind,
    pub(super) to: String,
    pub(super) text: String,
    pub(super) timeout: Duration,
}

/// An own ask without an outcome.
#[derive(Debug, Clone)]
struct OpenAsk {
    kind: AskKind,
    to: String,
    /// The text; none where the channel before this one has left none: the ask is not sent again.
    question: Option<Rc<String>>,
    started: Instant,
    deadline: Instant,
    broadcast: Option<BroadcastId>,
    /// Whom a hub has accepted it for.
    bound: Option<ClientTag>,
    state: AskState,
    /// The call that waits for its acceptance.
    call: Option<CallId>,
}

/// How an own ask has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// Its reply was taken.
    Taken,
    /// Nobody waits for a reply any more.
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// Nobody has accepted the ask.
    AskPatience(AskId),
    /// Nobody has accepted the broadcast.
    BroadcastPatience(BroadcastId),
    /// The ask that a former hub had accepted is sent again.
    Resend(AskId),
    /// The ask is over.
    Deadline(AskId),
}

/// Own asks and broadcasts. Invariant: an ask is in `asks` until the one outcome that its program is told.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    asks: BTreeMap<AskId, OpenAsk>,
    ended: EndedAsks<Ended>,
    unconfirmed: Unconfirmed,
    broadcasts: Broadcasts,
    timers: Deadlines<Timer>,
}

impl Sent {
    /// Returns a table in which nothing is open.
    pub(super) fn new() -> Self {
        Self {
            asks: BTreeMap::new(),
            ended: EndedAsks::new(),
            unconfirmed: Unconfirmed::default(),
            broadcasts: Broadcasts::default(),
            timers: Deadlines::new(),
        }
    }

    /// Sends an ask.
    pub(super) fn ask(&mut self, now: Instant, call: CallId, new: NewAsk, patience: Duration, out: &mut Outgoing) {
        let NewAsk { id, kind, to, text, timeout } = new;
        let ask = OpenAsk {
            kind,
            to,
            question: Some(Rc::new(text)),
            started: now,
            deadline: now + timeout,
            broadcast: None,
            bound: None,
            state: AskState::Accepted,
            call: Some(call),
        };
        self.timers.set(Timer::AskPatience(id), now + patience);
        self.timers.set(Timer::Deadline(id), ask.deadline + DEADLINE_SLACK);
        ask.send(now, id, out);
        self.asks.insert(id, ask);
    }

    /// Sends a broadcast.
    pub(super) fn broadcast(
        &mut self,
        now: Instant,
        call: CallId,
        new: NewBroadcast,
        patience: Duration,
        out: &mut Outgoing,
    ) {
        self.timers.set(Timer::BroadcastPatience(new.id), now + patience);
        self.broadcasts.start(now, call, new, out);
    }

    /// Sends everything again to a hub that may know nothing of it.
    pub(super) fn resend(&mut self, now: Instant, out: &mut Outgoing) {
        self.unconfirmed.resend(now, out);
        for (id, ask) in &self.asks {
            ask.send(now, *id, out);
        }
        self.broadcasts.resend(out);
    }

    /// Records the connection's end.
    pub(super) fn handle_disconnected(&mut self, now: Instant) {
        self.unconfirmed.handle_disconnected(now);
    }

    /// Gives the calls that wait for an acceptance so long from their beginning.
    pub(super) fn set_patience(&mut self, now: Instant, patience: Duration) {
        for (id, ask) in self.asks.iter().filter(|(_, ask)| ask.call.is_some()) {
            self.timers.set(Timer::AskPatience(*id), (ask.started + patience).max(now));
        }
        for (id, started) in self.broadcasts.unaccepted() {
            self.timers.set(Timer::BroadcastPatience(id), (started + patience).max(now));
        }
    }

    /// Records that the hub has an ask.
    pub(super) fn handle_accepted(&mut self, accepted: Accepted, out: &mut Outgoing) {
        let Accepted { ask_id, to, tag, state, cwd, status, waiting_for } = accepted;
        let Some(ask) = self.asks.get_mut(&ask_id) else {
            if self.ended.get(ask_id).is_none() {
                // Its caller was told that it failed: nobody may be made to answer it.
                out.notice(Notice::Withdraw(Withdraw { ask_id }));
            }
            return;
        };
        ask.bound = Some(tag);
        ask.state = ask.state.max(state);
        ask.to = to.to_string();
        self.timers.clear(&Timer::AskPatience(ask_id));
        if let Some(call) = ask.call.take() {
            let accepted = AcceptedAsk { ask_id, kind: ask.kind, to, state, cwd: Some(cwd), status, waiting_for };
            out.answer(call, Ok(CallAnswer::Asked(accepted)));
        }
    }

    /// Records that the hub has the asks of a broadcast.
    pub(super) fn handle_broadcast_accepted(&mut self, now: Instant, accepted: BroadcastAccepted, out: &mut Outgoing) {
        let broadcast_id = accepted.broadcast_id;
        self.timers.clear(&Timer::BroadcastPatience(broadcast_id));
        let Some(broadcast) = self.broadcasts.accept(&accepted) else {
            for ask in accepted.asks.iter().filter(|ask| !self.asks.contains_key(&ask.ask_id)) {
                out.notice(Notice::Withdraw(Withdraw { ask_id: ask.ask_id }));
            }
            return;
        };
        let deadline = now + broadcast.timeout;
        for ask in &accepted.asks {
            let open = OpenAsk {
                kind: AskKind::Ask,
                to: ask.to.to_string(),
                question: broadcast.question.clone(),
                started: now,
                deadline,
                broadcast: Some(broadcast_id),
                bound: Some(ask.tag),
                state: ask.state,
                call: None,
            };
            self.timers.set(Timer::Deadline(ask.ask_id), deadline + DEADLINE_SLACK);
            self.asks.insert(ask.ask_id, open);
        }
        let BroadcastAccepted { asks, refused, .. } = accepted;
        let accepted = AcceptedBroadcast { broadcast_id, asks, refused };
        out.answer(broadcast.call, Ok(CallAnswer::Broadcasted(accepted)));
        self.close_broadcast(broadcast_id, out);
    }

    /// Records that the hub did not take an ask.
    pub(super) fn handle_ask_refused(&mut self, now: Instant, id: AskId, error: Refusal, out: &mut Outgoing) {
        let Some(ask) = self.asks.get_mut(&id) else { return };
        if let Some(call) = ask.call.take() {
            self.drop_ask(id);
            return out.answer(call, Err(error));
        }
        if matches!(error.code, ErrorCode::PeerGone | ErrorCode::Timeout) {
            let end = End::Failed { code: error.code, state: ask.state, waiting_for: None, unreachable_s: None };
            self.end(id, end, Ended::Over, out);
        } else {
            // Another hub has accepted it: this one has no room for it now, or believes it to be another's.
            self.timers.set(Timer::Resend(id), now + RESEND_WAIT);
        }
    }

    /// Records that the hub did not take a broadcast.
    pub(super) fn handle_broadcast_refused(&mut self, id: BroadcastId, error: Refusal, out: &mut Outgoing) {
        self.timers.clear(&Timer::BroadcastPatience(id));
        if let Some(call) = self.broadcasts.refuse(id) {
            out.answer(call, Err(error));
        }
    }

    /// Takes the reply to an ask, unless it comes too late.
    pub(super) fn handle_reply(&mut self, now: Instant, reply: ReplyEvent, out: &mut Outgoing) {
        let ReplyEvent { ask_id, from, by, text } = reply;
        let taken = Taken { ask_id, by };
        if self.asks.contains_key(&ask_id) {
            out.notice(Notice::Taken(taken));
            self.unconfirmed.add_taken(now, taken);
            return self.end(ask_id, End::Reply { from, text }, Ended::Taken, out);
        }
        match self.ended.get(ask_id) {
            Some(Ended::Taken) => out.notice(Notice::Taken(taken)),
            // While a broadcast is being sent again the ask may be one of its own: the hub tells the reply once more
            // behind its acceptance.
            None if self.broadcasts.unaccepted().next().is_some() => {}
            // The answering session must not believe that it was in time.
            Some(Ended::Over) | None => out.notice(Notice::Withdraw(Withdraw { ask_id })),
        }
    }

    /// Records that a tell has come to its session.
    pub(super) fn handle_receipt(&mut self, receipt: Receipt, out: &mut Outgoing) {
        let Receipt { ask_id, state } = receipt;
        self.end(ask_id, End::Arrived { state }, Ended::Over, out);
    }

    /// Records that an ask has ended without a reply.
    pub(super) fn handle_failed(&mut self, failed: Failed, out: &mut Outgoing) {
        let Failed { ask_id, code, state, waiting_for, unreachable_s } = failed;
        self.end(ask_id, End::Failed { code, state, waiting_for, unreachable_s }, Ended::Over, out);
    }

    /// Ends an ask with its outcome: the only place that tells one.
    fn end(&mut self, id: AskId, end: End, ended: Ended, out: &mut Outgoing) {
        let Some(ask) = self.drop_ask(id) else { return };
        let to = PeerName::of_address(&ask.to);
        if let Some(call) = ask.call {
            let (kind, to, state) = (ask.kind, to.clone(), ask.state);
            let status = Activity::Unknown;
            let accepted = AcceptedAsk { ask_id: id, kind, to, state, cwd: None, status, waiting_for: None };
            out.answer(call, Ok(CallAnswer::Asked(accepted)));
        }
        self.ended.insert(id, ended);
        if let Some(broadcast_id) = ask.broadcast {
            self.broadcasts.count(broadcast_id, &end);
        }
        out.event(ClientEvent::Outcome(Outcome { ask_id: id, kind: ask.kind, to, broadcast_id: ask.broadcast, end }));
        if let Some(broadcast_id) = ask.broadcast {
            self.close_broadcast(broadcast_id, out);
        }
    }

    /// Ends an ask without an outcome.
    pub(super) fn withdraw(&mut self, id: AskId, out: &mut Outgoing) {
        let Some(ask) = self.drop_ask(id) else { return };
        self.abandon(id, out);
        if let Some(broadcast_id) = ask.broadcast {
            self.broadcasts.discount(broadcast_id);
            self.close_broadcast(broadcast_id, out);
        }
    }

    /// Tells every hub that nobody waits for this ask, which is not open any more.
    fn abandon(&mut self, id: AskId, out: &mut Outgoing) {
        out.notice(Notice::Withdraw(Withdraw { ask_id: id }));
        self.unconfirmed.add_withdrawn(id);
        self.ended.insert(id, Ended::Over);
    }

    fn close_broadcast(&mut self, id: BroadcastId, out: &mut Outgoing) {
        if let Some(tally) = self.broadcasts.close(id) {
            out.event(ClientEvent::Tally(tally));
        }
    }

    fn drop_ask(&mut self, id: AskId) -> Option<OpenAsk> {
        self.timers.clear(&Timer::AskPatience(id));
        self.timers.clear(&Timer::Resend(id));
        self.timers.clear(&Timer::Deadline(id));
        self.asks.remove(&id)
    }

    /// Answers every call that waits for an acceptance with this refusal.
    pub(super) fn refuse_calls(&mut self, now: Instant, error: &Refusal, out: &mut Outgoing) {
        let asks: Vec<AskId> = self.asks.iter().filter(|(_, ask)| ask.call.is_some()).map(|(id, _)| *id).collect();
        for id in asks {
            self.handle_ask_refused(now, id, error.clone(), out);
        }
        let broadcasts: Vec<BroadcastId> = self.broadcasts.unaccepted().map(|(id, _)| id).collect();
        for id in broadcasts {
            self.handle_broadcast_refused(id, error.clone(), out);
        }
    }

    /// Forgets everything: another client of the same identity tells how it ends.
    pub(super) fn release(&mut self) {
        for id in self.asks.keys().copied().collect::<Vec<_>>() {
            self.drop_ask(id);
        }
        self.broadcasts.release();
    }

    /// Does what is due.
    pub(super) fn handle_timeout(&mut self, now: Instant, unreachable: &Refusal, out: &mut Outgoing) {
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::AskPatience(id) => self.give_up(now, id, unreachable, out),
                Timer::Resend(id) => {
                    if let Some(ask) = self.asks.get(&id) {
                        ask.send(now, id, out);
                    }
                }
                Timer::BroadcastPatience(id) => self.handle_broadcast_refused(id, unreachable.clone(), out),
                Timer::Deadline(id) => {
                    self.give_up(now, id, unreachable, out);
                    if let Some(state) = self.asks.get(&id).map(|ask| ask.state) {
                        out.notice(Notice::Withdraw(Withdraw { ask_id: id }));
                        let end =
                            End::Failed { code: ErrorCode::Timeout, state, waiting_for: None, unreachable_s: None };
                        self.end(id, end, Ended::Over, out);
                    }
                }
            }
        }
    }

    /// Fails an ask that no hub has accepted. It is never sent again.
    fn give_up(&mut self, now: Instant, id: AskId, unreachable: &Refusal, out: &mut Outgoing) {
        if self.asks.get(&id).is_some_and(|ask| ask.call.is_some()) {
            self.handle_ask_refused(now, id, unreachable.clone(), out);
            self.abandon(id, out);
        }
    }

    /// Returns when [`Sent::handle_timeout`] is to be called next.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Returns the asks that a hub has accepted, those first whose deadlines come first.
    pub(super) fn open(&self, now: Instant) -> Vec<OpenSentView> {
        let mut open: Vec<_> = self.asks.iter().filter(|(_, ask)| ask.call.is_none()).collect();
        open.sort_by_key(|(_, ask)| ask.deadline);
        let view = |(id, ask): (&AskId, &OpenAsk)| OpenSentView {
            id: MessageId::of(*id, ask.kind),
            to: ask.to.clone(),
            state: ask.state,
            left_s: ask.deadline.saturating_duration_since(now).as_secs(),
        };
        open.into_iter().map(view).collect()
    }
}

impl OpenAsk {
    fn send(&self, now: Instant, ask_id: AskId, out: &mut Outgoing) {
        let Some(question) = &self.question else { return };
        out.request(Purpose::Ask(ask_id), || {
            let (to, text, bound) = (self.to.clone(), question.as_ref().clone(), self.bound);
            let (timeout_ms, broadcast_id) = (millis_left(now, self.deadline), self.broadcast);
            let chain = Chain::default();
            match self.kind {
                AskKind::Ask => {
                    Request::Ask(Ask { ask_id, to, question: text, timeout_ms, bound, broadcast_id, chain })
                }
                AskKind::Tell => Request::Tell(Tell { tell_id: ask_id, to, text, timeout_ms, bound, chain }),
            }
        });
    }
}

fn millis_left(now: Instant, deadline: Instant) -> u64 {
    u64::try_from(deadline.saturating_duration_since(now).as_millis()).unwrap_or(u64::MAX).max(1)
}
