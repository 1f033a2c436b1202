//! The asked session's end: asks that came in, each shown once, and replies that are kept until they were taken.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::call::{Answer, CallId};
use super::outgoing::{Outgoing, Purpose};
use super::{ClientEvent, Replied, refusal};
use crate::deadlines::Deadlines;
use crate::protocol::{
    AskEvent, AskId, AskState, Bequest, ClientMessage, ErrorCode, PeerTag, Refusal, ReplyRequest, Standing,
};

/// How long a reply's call waits for the asker's client to take it.
pub const REPLY_WAIT: Duration = Duration::from_secs(2);

/// How long an ask that came in is remembered beyond its deadline, so that it is not shown again.
const REMEMBERED: Duration = Duration::from_secs(60);

/// The most ended asks that are remembered. The open ones are bounded by the hub.
const REMEMBERED_MAX: usize = 4096;

/// How many asks that have ended are left to the next channel: they may be said again only if their askers were away.
const BEQUEATHED_MAX: usize = 1024;

/// How long a reply to an ask that this client never saw is kept.
const STRANGE_REPLY_KEPT: Duration = Duration::from_secs(60);

/// The most replies that are kept for a hub that is away.
const REPLIES_MAX: usize = 1024;

/// An ask that came in.
#[derive(Debug, Clone)]
struct ReceivedAsk {
    from: String,
    /// The tag of the one who asked, which the next hub is told.
    asker: Option<PeerTag>,
    deadline: Instant,
    state: AskState,
    standing: Standing,
}

impl ReceivedAsk {
    fn progress(&self, ask_id: AskId) -> ClientMessage {
        ClientMessage::Progress { ask_id, state: self.state, asker: self.asker }
    }
}

/// A reply that was not taken yet.
#[derive(Debug, Clone)]
struct PendingReply {
    text: String,
    to: String,
    /// The call that waits for it to be taken.
    call: Option<CallId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// The reply's call has waited long enough.
    Wait(AskId),
    /// The reply is given up.
    Expire(AskId),
    /// The ask may be forgotten.
    Forget(AskId),
}

/// Asks that came in, and replies on their way.
#[derive(Debug, Clone)]
pub(super) struct Received {
    asks: BTreeMap<AskId, ReceivedAsk>,
    /// Asks that have ended, oldest first.
    ended_order: VecDeque<AskId>,
    replies: BTreeMap<AskId, PendingReply>,
    timers: Deadlines<Timer>,
}

impl Received {
    pub(super) const fn new() -> Self {
        Self { asks: BTreeMap::new(), ended_order: VecDeque::new(), replies: BTreeMap::new(), timers: Deadlines::new() }
    }

    /// Takes an ask that comes in; one that is known already is not told again.
    pub(super) fn handle_ask(&mut self, now: Instant, event: AskEvent, out: &mut Outgoing) {
        if let Some(known) = self.asks.get(&event.ask_id) {
            return out.notice(known.progress(event.ask_id));
        }
        let deadline = now + Duration::from_millis(event.timeout_ms);
        let (from, asker) = (event.from.clone(), event.asker);
        let ask = ReceivedAsk { from, asker, deadline, state: AskState::Accepted, standing: Standing::Open };
        self.asks.insert(event.ask_id, ask);
        self.timers.set(Timer::Forget(event.ask_id), deadline + REMEMBERED);
        out.event(ClientEvent::Ask(event));
    }

    pub(super) fn handle_closed(&mut self, ask_id: AskId, out: &mut Outgoing) {
        self.end(ask_id, Standing::Closed, out);
    }

    /// Ends an open ask: the program hears of it, and the oldest that has ended is forgotten where there are too many.
    fn end(&mut self, ask_id: AskId, standing: Standing, out: &mut Outgoing) {
        let Some(ask) = self.asks.get_mut(&ask_id).filter(|ask| ask.standing == Standing::Open) else { return };
        ask.standing = standing;
        out.event(ClientEvent::Closed { ask_id });
        self.ended_order.push_back(ask_id);
        if self.ended_order.len() > REMEMBERED_MAX
            && let Some(oldest) = self.ended_order.pop_front()
        {
            self.asks.remove(&oldest);
            self.timers.clear(&Timer::Forget(oldest));
        }
    }

    /// Forgets an ask after its time, ended or not.
    fn forget(&mut self, ask_id: AskId, out: &mut Outgoing) {
        self.end(ask_id, Standing::Closed, out);
        self.ended_order.retain(|ended| *ended != ask_id);
        self.asks.remove(&ask_id);
    }

    pub(super) fn advance(&mut self, ask_id: AskId, state: AskState, out: &mut Outgoing) {
        if let Some(ask) = self.asks.get_mut(&ask_id).filter(|ask| state > ask.state) {
            ask.state = state;
            if ask.standing == Standing::Open {
                out.notice(ask.progress(ask_id));
            }
        }
    }

    pub(super) fn reply(&mut self, now: Instant, call: CallId, ask_id: AskId, text: String, out: &mut Outgoing) {
        let known = self.asks.get(&ask_id);
        if known.is_some_and(|ask| ask.standing == Standing::Answered) {
            return out.answer(call, Err(refusal::answered_before(ask_id, true)));
        }
        if self.replies.contains_key(&ask_id) {
            return out.answer(call, Err(refusal::answered_before(ask_id, false)));
        }
        if self.replies.len() >= REPLIES_MAX {
            return out.answer(call, Err(refusal::too_many_replies(REPLIES_MAX)));
        }
        let to = known.map_or_else(|| "the asker".to_owned(), |ask| ask.from.clone());
        // It may have been taken in time, and the hub died before it could say so: as long as the asker's client remembers,
        // the next hub will know. A hub that is there tells the end soon after the deadline.
        let expires = known.map_or(now + STRANGE_REPLY_KEPT, |ask| ask.deadline.max(now) + REMEMBERED);
        let reply = PendingReply { text, to, call: Some(call) };
        self.timers.set(Timer::Wait(ask_id), now + REPLY_WAIT);
        self.timers.set(Timer::Expire(ask_id), expires);
        say_reply(ask_id, &reply, out);
        self.replies.insert(ask_id, reply);
    }

    pub(super) fn handle_replied(&mut self, ask_id: AskId, to: String, out: &mut Outgoing) {
        self.end(ask_id, Standing::Answered, out);
        if let Some(ask) = self.asks.get_mut(&ask_id) {
            ask.standing = Standing::Answered;
            ask.state = AskState::Shown;
        }
        if let Some(PendingReply { call: Some(call), .. }) = self.drop_reply(ask_id) {
            out.answer(call, Ok(Answer::Replied(Replied { ask_id, to, taken: true })));
        }
    }

    pub(super) fn handle_reply_refused(&mut self, ask_id: AskId, error: Refusal, out: &mut Outgoing) {
        // After any other refusal the session may answer once more.
        if error.code == ErrorCode::UnknownAsk {
            self.end(ask_id, Standing::Closed, out);
        }
        if let Some(reply) = self.drop_reply(ask_id) {
            match reply.call {
                Some(call) => out.answer(call, Err(error)),
                None => out.event(ClientEvent::ReplyFailed { ask_id, to: reply.to, error }),
            }
        }
    }

    fn drop_reply(&mut self, ask_id: AskId) -> Option<PendingReply> {
        self.timers.clear(&Timer::Wait(ask_id));
        self.timers.clear(&Timer::Expire(ask_id));
        self.replies.remove(&ask_id)
    }

    /// Returns the asks that are known, the newest of those that have ended, and the replies that are kept.
    pub(super) fn bequests(&self, now: Instant) -> Vec<Bequest> {
        let ended = self.ended_order.iter().rev().take(BEQUEATHED_MAX);
        let open = self.asks.iter().filter(|(_, ask)| ask.standing == Standing::Open).map(|(id, _)| id);
        let asks = open.chain(ended).filter_map(|id| {
            let ReceivedAsk { from, asker, deadline, state, standing } = self.asks.get(id)?.clone();
            let timeout_ms = u64::try_from(deadline.saturating_duration_since(now).as_millis()).unwrap_or(u64::MAX);
            Some(Bequest::Received { ask_id: *id, from, asker, timeout_ms, state, standing })
        });
        let reply = |(ask_id, reply): (&AskId, &PendingReply)| Bequest::Reply {
            ask_id: *ask_id,
            to: reply.to.clone(),
            text: reply.text.clone(),
        };
        asks.chain(self.replies.iter().map(reply)).collect()
    }

    /// Takes over a reply that another channel of the session has said to be pending.
    pub(super) fn inherit_reply(&mut self, now: Instant, ask_id: AskId, to: String, text: String, out: &mut Outgoing) {
        if self.replies.contains_key(&ask_id) || self.replies.len() >= REPLIES_MAX {
            return;
        }
        let reply = PendingReply { text, to, call: None };
        self.timers.set(Timer::Expire(ask_id), now + STRANGE_REPLY_KEPT);
        say_reply(ask_id, &reply, out);
        self.replies.insert(ask_id, reply);
    }

    /// Takes over an ask that another channel of the session was given. Returns whether it is open and new here.
    pub(super) fn inherit_ask(&mut self, now: Instant, waited: Duration, bequest: Bequest, out: &mut Outgoing) -> bool {
        let Bequest::Received { ask_id, from, asker, timeout_ms, state, standing } = bequest else { return false };
        if self.asks.contains_key(&ask_id) {
            return false;
        }
        let deadline = now + Duration::from_millis(timeout_ms).saturating_sub(waited);
        let ask = ReceivedAsk { from, asker, deadline, state, standing };
        let progress = ask.progress(ask_id);
        self.asks.insert(ask_id, ask);
        self.timers.set(Timer::Forget(ask_id), deadline + REMEMBERED);
        if standing != Standing::Open {
            self.ended_order.push_front(ask_id);
            return false;
        }
        out.notice(progress);
        true
    }

    /// Says everything again to a hub that may know nothing of it.
    pub(super) fn say_again(&self, out: &mut Outgoing) {
        for (ask_id, ask) in self.asks.iter().filter(|(_, ask)| ask.standing == Standing::Open) {
            out.notice(ask.progress(*ask_id));
        }
        for (ask_id, reply) in &self.replies {
            say_reply(*ask_id, reply, out);
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, unreachable: &Refusal, out: &mut Outgoing) {
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::Wait(ask_id) => {
                    if let Some(reply) = self.replies.get_mut(&ask_id)
                        && let Some(call) = reply.call.take()
                    {
                        let replied = Replied { ask_id, to: reply.to.clone(), taken: false };
                        out.answer(call, Ok(Answer::Replied(replied)));
                    }
                }
                Timer::Expire(ask_id) => self.handle_reply_refused(ask_id, unreachable.clone(), out),
                Timer::Forget(ask_id) => self.forget(ask_id, out),
            }
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }
}

fn say_reply(ask_id: AskId, reply: &PendingReply, out: &mut Outgoing) {
    out.request(Purpose::Reply(ask_id), |id| {
        ClientMessage::Reply(ReplyRequest { id, ask_id, text: reply.text.clone() })
    });
}

#[cfg(test)]
mod tests {
    use super::super::call::Output;
    use super::*;

    fn id(bits: u64) -> AskId {
        AskId::from_bits(bits)
    }

    fn unreachable() -> Refusal {
        Refusal::new(ErrorCode::HubUnreachable, "no hub", "start it")
    }

    /// Takes the asks with these numbers in, and forgets that the program heard of them.
    fn received(now: Instant, asks: std::ops::RangeInclusive<u64>) -> (Received, Outgoing) {
        let (mut received, mut out) = (Received::new(), Outgoing::default());
        for bits in asks {
            let (from, question) = ("web".to_owned(), "?".to_owned());
            let event =
                AskEvent { ask_id: id(bits), from, question, timeout_ms: 1000, broadcast_id: None, asker: None };
            received.handle_ask(now, event, &mut out);
        }
        closed(&mut out);
        (received, out)
    }

    /// Returns the asks of which the program was told that they have ended.
    fn closed(out: &mut Outgoing) -> Vec<AskId> {
        std::iter::from_fn(|| out.pop_output())
            .filter_map(|output| match output {
                Output::Event(ClientEvent::Closed { ask_id }) => Some(ask_id),
                Output::Answer { .. } | Output::Event(_) => None,
            })
            .collect()
    }

    #[test]
    fn the_oldest_ended_asks_are_forgotten_first_and_open_ones_never() {
        let last = REMEMBERED_MAX as u64 + 2;
        let (mut received, mut out) = received(Instant::now(), 0..=last);
        for bits in 1..=last {
            received.handle_closed(id(bits), &mut out);
        }
        let left: Vec<AskId> = [0].into_iter().chain(3..=last).map(id).collect();
        assert!(received.asks.keys().eq(&left), "{} asks are kept", received.asks.len());
        assert_eq!(received.timers.len(), left.len());
    }

    #[test]
    fn what_was_forgotten_in_time_makes_room() {
        let now = Instant::now();
        let (mut received, mut out) = received(now, 1..=2);
        received.handle_closed(id(1), &mut out);
        received.handle_timeout(now + Duration::from_secs(1) + REMEMBERED, &unreachable(), &mut out);
        assert!(received.asks.is_empty() && received.ended_order.is_empty());
        assert_eq!(closed(&mut out), [id(1), id(2)]);
    }

    #[test]
    fn the_program_hears_once_of_an_end_whatever_the_reply_was_told() {
        let now = Instant::now();
        let (mut received, mut out) = received(now, 1..=3);
        for bits in 1..=3 {
            received.reply(now, CallId(bits), id(bits), "yes".to_owned(), &mut out);
        }
        received.handle_timeout(now + REPLY_WAIT, &unreachable(), &mut out);
        assert_eq!(closed(&mut out), []);
        received.handle_replied(id(1), "web".to_owned(), &mut out);
        received.handle_reply_refused(id(2), Refusal::new(ErrorCode::UnknownAsk, "timed out", "ask"), &mut out);
        received.handle_reply_refused(id(3), Refusal::new(ErrorCode::RateLimited, "too fast", "wait"), &mut out);
        assert_eq!(closed(&mut out), [id(1), id(2)]);
        received.handle_closed(id(1), &mut out);
        received.handle_closed(id(2), &mut out);
        assert_eq!(closed(&mut out), []);
    }
}
