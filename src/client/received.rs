//! The asked session's end: asks and tells that came in, each shown once, and replies that are kept until they were taken.
//! Pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::call::{CallAnswer, CallId, SentReply};
use super::ended::EndedAsks;
use super::event::ClientEvent;
use super::open::OpenReceivedView;
use super::outgoing::{Outgoing, Purpose};
use super::parked::{KEPT_MAX, Parked, ParkedEnded, ParkedReceived, ParkedReply, Room};
use super::refusal;
use crate::deadlines::Deadlines;
use crate::protocol::{
    AskId, AskKind, AskState, Asked, ErrorCode, Notice, PeerName, Progress, Refusal, Reply, Request, Told,
};

/// How long a reply's call waits for the asker's client to take it.
pub const REPLY_WAIT: Duration = Duration::from_secs(2);

/// How long after its deadline an ask is over whose end no hub has told.
const OVERDUE: Duration = Duration::from_secs(60);

/// How long a reply to an ask that is not open here is kept.
const STRANGE_REPLY_KEPT: Duration = Duration::from_secs(60);

/// The most replies that are kept for a hub that is away.
const REPLIES_MAX: usize = 1024;

/// How many asks that have ended are parked: they come again only if their askers were away.
const PARKED_ENDED_MAX: usize = 1024;

/// How much is kept of a question, in characters.
const EXCERPT_CHARS: usize = 200;

/// An ask that came in and is open.
#[derive(Debug, Clone)]
struct ReceivedAsk {
    kind: AskKind,
    from: String,
    /// The beginning of the question.
    excerpt: String,
    deadline: Instant,
    progress: Progress,
}

/// An ask that came in and has ended.
#[derive(Debug, Clone, Copy)]
struct EndedReceived {
    state: AskState,
    what: EndedWhat,
}

/// What has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EndedWhat {
    /// An ask whose reply, if there was one, was not taken.
    Unanswered,
    /// An ask that was answered, and the reply taken.
    Answered,
    /// A tell.
    Tell {
        /// Whether nothing further can be told of it.
        is_final: bool,
    },
}

impl EndedReceived {
    const fn of(kind: AskKind, progress: Progress) -> Self {
        let what = match kind {
            AskKind::Ask => EndedWhat::Unanswered,
            AskKind::Tell => EndedWhat::Tell { is_final: progress.is_final },
        };
        Self { state: progress.state, what }
    }

    const ANSWERED: Self = Self { state: AskState::Shown, what: EndedWhat::Answered };

    const fn kind(self) -> AskKind {
        match self.what {
            EndedWhat::Unanswered | EndedWhat::Answered => AskKind::Ask,
            EndedWhat::Tell { .. } => AskKind::Tell,
        }
    }

    fn progress(self, ask_id: AskId) -> Progress {
        Progress { ask_id, state: self.state, is_final: self.what == EndedWhat::Tell { is_final: true } }
    }
}

/// A reply that was not taken yet.
#[derive(Debug, Clone)]
struct PendingReply {
    text: String,
    to: String,
    /// The call that waits for it to be taken.
    call: Option<CallId>,
    /// The hub that it was given to last.
    hub: Option<u32>,
    /// Whether it was given to a hub before that one.
    had_another_hub: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// The reply's call has waited long enough.
    Wait(AskId),
    /// The reply is given up.
    Expire(AskId),
    /// The ask is over.
    Overdue(AskId),
}

/// Asks that came in, and replies on their way.
#[derive(Debug, Clone)]
pub(super) struct Received {
    open: BTreeMap<AskId, ReceivedAsk>,
    ended: EndedAsks<EndedReceived>,
    replies: BTreeMap<AskId, PendingReply>,
    timers: Deadlines<Timer>,
}

impl Received {
    /// Returns a table in which nothing is open.
    pub(super) const fn new() -> Self {
        Self { open: BTreeMap::new(), ended: EndedAsks::new(), replies: BTreeMap::new(), timers: Deadlines::new() }
    }

    /// Takes an ask that comes in; one that is known already is not told again.
    pub(super) fn handle_ask(&mut self, now: Instant, asked: Asked, out: &mut Outgoing) {
        let (kind, timeout_ms) = (AskKind::Ask, asked.timeout_ms);
        if self.take_in(now, asked.ask_id, kind, &asked.from, &asked.question, timeout_ms, out) {
            out.event(ClientEvent::Ask(asked));
        }
    }

    /// Takes a tell that comes in; one that is known already is not told again.
    pub(super) fn handle_tell(&mut self, now: Instant, told: Told, out: &mut Outgoing) {
        if self.take_in(now, told.tell_id, AskKind::Tell, &told.from, "", told.timeout_ms, out) {
            out.event(ClientEvent::Tell(told));
        }
    }

    /// Returns whether it is new; of one that is known the hub is told how far it has come, open or not.
    #[expect(clippy::too_many_arguments, reason = "an ask's five parts, its time and where its messages go")]
    fn take_in(
        &mut self,
        now: Instant,
        ask_id: AskId,
        kind: AskKind,
        from: &str,
        text: &str,
        timeout_ms: u64,
        out: &mut Outgoing,
    ) -> bool {
        let open = self.open.get(&ask_id).map(|ask| ask.progress);
        if let Some(progress) = open.or_else(|| self.ended.get(ask_id).map(|ended| ended.progress(ask_id))) {
            out.notice(Notice::Progress(progress));
            return false;
        }
        let ask = ReceivedAsk {
            kind,
            from: from.to_owned(),
            excerpt: excerpt(text).to_owned(),
            deadline: now + Duration::from_millis(timeout_ms),
            progress: Progress { ask_id, state: AskState::Accepted, is_final: false },
        };
        self.insert(ask_id, ask);
        true
    }

    fn insert(&mut self, ask_id: AskId, ask: ReceivedAsk) {
        self.timers.set(Timer::Overdue(ask_id), ask.deadline + OVERDUE);
        self.open.insert(ask_id, ask);
    }

    /// Records that nobody waits for the reply to an ask any more.
    pub(super) fn handle_closed(&mut self, ask_id: AskId, out: &mut Outgoing) {
        if let Some(ReceivedAsk { kind, progress, .. }) = self.open.remove(&ask_id) {
            self.end(ask_id, EndedReceived::of(kind, progress), out);
        }
    }

    /// Remembers an ask that is not open any more, and tells the program so.
    fn end(&mut self, ask_id: AskId, ended: EndedReceived, out: &mut Outgoing) {
        let kind = ended.kind();
        self.timers.clear(&Timer::Overdue(ask_id));
        self.ended.insert(ask_id, ended);
        out.event(ClientEvent::Closed { ask_id, kind });
    }

    /// Records how far an ask has come. That nothing further can be told matters for a tell only.
    pub(super) fn advance(&mut self, to: Progress, out: &mut Outgoing) {
        if let Some(ask) = self.open.get_mut(&to.ask_id) {
            let to = Progress { is_final: to.is_final && ask.kind == AskKind::Tell, ..to };
            if advance(&mut ask.progress, to) {
                out.notice(Notice::Progress(ask.progress));
            }
        } else if let Some(ended) = self.ended.get_mut(to.ask_id) {
            let mut progress = ended.progress(to.ask_id);
            advance(&mut progress, to);
            if ended.what != EndedWhat::Answered {
                *ended = EndedReceived::of(ended.kind(), progress);
            }
        }
    }

    /// Sends a reply and keeps it until it was taken.
    pub(super) fn reply(&mut self, now: Instant, call: CallId, ask_id: AskId, text: String, out: &mut Outgoing) {
        if self.ended.get(ask_id).is_some_and(|ended| ended.what == EndedWhat::Answered) {
            return out.answer(call, Err(refusal::answered_before(ask_id, true)));
        }
        let open = self.open.get(&ask_id);
        let kind = open.map(|ask| ask.kind).or_else(|| self.ended.get(ask_id).map(|ended| ended.kind()));
        if kind == Some(AskKind::Tell) {
            return out.answer(call, Err(Refusal::takes_no_reply(ask_id)));
        }
        if self.replies.contains_key(&ask_id) {
            return out.answer(call, Err(refusal::answered_before(ask_id, false)));
        }
        if self.replies.len() >= REPLIES_MAX {
            return out.answer(call, Err(refusal::too_many_replies(REPLIES_MAX)));
        }
        let to = open.map_or_else(|| "the asker".to_owned(), |ask| ask.from.clone());
        // It may have been taken in time, and the hub died before it could say so: as long as the asker's client remembers,
        // the next hub will know. A hub that is there tells the end soon after the deadline.
        let expires = open.map_or(now + STRANGE_REPLY_KEPT, |ask| ask.deadline.max(now) + OVERDUE);
        self.timers.set(Timer::Wait(ask_id), now + REPLY_WAIT);
        self.timers.set(Timer::Expire(ask_id), expires);
        let mut reply = PendingReply { text, to, call: Some(call), hub: None, had_another_hub: false };
        reply.send(ask_id, out);
        self.replies.insert(ask_id, reply);
    }

    /// Records that the asker's client has taken a reply.
    pub(super) fn handle_replied(&mut self, ask_id: AskId, to: String, out: &mut Outgoing) {
        if self.open.remove(&ask_id).is_some() {
            self.end(ask_id, EndedReceived::ANSWERED, out);
        } else if let Some(ended) = self.ended.get_mut(ask_id) {
            *ended = EndedReceived::ANSWERED;
        }
        if let Some(PendingReply { call: Some(call), .. }) = self.drop_reply(ask_id) {
            out.answer(call, Ok(CallAnswer::Replied(SentReply { ask_id, to, taken: true })));
        }
    }

    /// Records that a reply was not taken.
    pub(super) fn handle_reply_refused(&mut self, ask_id: AskId, error: Refusal, out: &mut Outgoing) {
        // After any other refusal the session may reply once more.
        if matches!(error.code, ErrorCode::UnknownAsk | ErrorCode::Unconfirmed) {
            self.handle_closed(ask_id, out);
        }
        if let Some(reply) = self.drop_reply(ask_id) {
            let may_have_arrived = if error.code == ErrorCode::UnknownAsk {
                reply.may_have_arrived_elsewhere()
            } else {
                // No hub has said what became of it.
                error.code == ErrorCode::HubUnreachable && reply.hub.is_some()
            };
            let error = if may_have_arrived { refusal::unconfirmed(ask_id, &reply.to) } else { error };
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

    /// Sends everything again to a hub that may know nothing of it.
    pub(super) fn resend(&mut self, out: &mut Outgoing) {
        for ask in self.open.values() {
            out.notice(Notice::Progress(ask.progress));
        }
        for (ask_id, reply) in &mut self.replies {
            reply.send(*ask_id, out);
        }
    }

    /// Does what is due.
    pub(super) fn handle_timeout(&mut self, now: Instant, unreachable: &Refusal, out: &mut Outgoing) {
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::Wait(ask_id) => {
                    if let Some(reply) = self.replies.get_mut(&ask_id)
                        && let Some(call) = reply.call.take()
                    {
                        let reply = SentReply { ask_id, to: reply.to.clone(), taken: false };
                        out.answer(call, Ok(CallAnswer::Replied(reply)));
                    }
                }
                Timer::Expire(ask_id) => self.handle_reply_refused(ask_id, unreachable.clone(), out),
                Timer::Overdue(ask_id) => self.handle_closed(ask_id, out),
            }
        }
    }

    /// Returns when [`Received::handle_timeout`] is to be called next.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Returns the asks that are open, those first whose deadlines come first.
    pub(super) fn open(&self, now: Instant) -> Vec<OpenReceivedView> {
        let mut open: Vec<_> = self.open.iter().filter(|(_, ask)| ask.kind == AskKind::Ask).collect();
        open.sort_by_key(|(_, ask)| ask.deadline);
        let view = |(id, ask): (&AskId, &ReceivedAsk)| OpenReceivedView {
            ask_id: *id,
            from: ask.from.clone(),
            question: Some(ask.excerpt.clone()),
            left_s: ask.deadline.saturating_duration_since(now).as_secs(),
        };
        open.into_iter().map(view).collect()
    }
}

/// What passes from one channel of a session to the next.
impl Received {
    /// Parks the asks that are open, the newest of those that have ended, and the replies that are kept.
    pub(super) fn park(&self, now: Instant, parked: &mut Parked, room: &mut Room) {
        for ask in self.open.values() {
            let ReceivedAsk { kind, from, excerpt, deadline, progress } = ask.clone();
            let timeout_ms = u64::try_from(deadline.saturating_duration_since(now).as_millis()).unwrap_or(u64::MAX);
            let ask = ParkedReceived { progress, kind, from, excerpt, timeout_ms };
            if room.take(&ask) {
                parked.received.push(ask);
            }
        }
        for (ask_id, reply) in &self.replies {
            let reply = ParkedReply { ask_id: *ask_id, to: reply.to.clone(), text: reply.text.clone(), hub: reply.hub };
            if room.take(&reply) {
                parked.replies.push(reply);
            }
        }
        for (ask_id, ended) in self.ended.newest().take(PARKED_ENDED_MAX) {
            let (progress, answered) = (ended.progress(ask_id), ended.what == EndedWhat::Answered);
            let ended = ParkedEnded { progress, kind: ended.kind(), answered };
            if room.take(&ended) {
                parked.ended.push(ended);
            }
        }
    }

    /// Takes over what the channel before this one has parked. Nothing of it is told to the program.
    pub(super) fn adopt(&mut self, now: Instant, parked: &mut Parked) {
        for ended in parked.ended.drain(..).rev() {
            let ParkedEnded { progress, kind, answered } = ended;
            let ended = if answered { EndedReceived::ANSWERED } else { EndedReceived::of(kind, progress) };
            self.ended.insert(progress.ask_id, ended);
        }
        for ask in parked.received.drain(..) {
            let ParkedReceived { progress, kind, from, excerpt, timeout_ms } = ask;
            let deadline = now + Duration::from_millis(timeout_ms).saturating_sub(KEPT_MAX);
            self.insert(progress.ask_id, ReceivedAsk { kind, from, excerpt, deadline, progress });
        }
        for reply in parked.replies.drain(..) {
            let ParkedReply { ask_id, to, text, hub } = reply;
            self.timers.set(Timer::Expire(ask_id), now + STRANGE_REPLY_KEPT);
            self.replies.insert(ask_id, PendingReply { text, to, call: None, hub, had_another_hub: false });
        }
    }
}

impl PendingReply {
    /// Returns whether a hub before this one, which knows nothing of the ask, may have sent it on. An asker here would have told
    /// the next hub; one on another machine is spoken for by a bridge, which may have died as well.
    fn may_have_arrived_elsewhere(&self) -> bool {
        self.had_another_hub && PeerName::split_address(&self.to).is_some()
    }

    fn send(&mut self, ask_id: AskId, out: &mut Outgoing) {
        if let Some(hub) = out.hub() {
            self.had_another_hub |= self.hub.replace(hub).is_some_and(|before| before != hub);
        }
        out.request(Purpose::Reply(ask_id), || Request::Reply(Reply { ask_id, text: self.text.clone() }));
    }
}

/// Takes over how far an ask has come, never backwards. Returns whether that is news.
fn advance(progress: &mut Progress, to: Progress) -> bool {
    let before = *progress;
    progress.state = before.state.max(to.state);
    progress.is_final |= to.is_final;
    *progress != before
}

/// Returns the beginning of a text.
fn excerpt(text: &str) -> &str {
    match text.get(..EXCERPT_CHARS) {
        Some(start) if start.is_ascii() => start,
        _ => text.char_indices().nth(EXCERPT_CHARS).map_or(text, |(end, _)| &text[..end]),
    }
}

#[cfg(test)]
mod tests;
