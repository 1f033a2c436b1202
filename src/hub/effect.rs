//! What a hub wants done, and where the rules put it.

use std::collections::{BTreeMap, VecDeque};

use super::connections::ConnId;
use super::history::{Detail, Record};
use super::refusals::Refused;
use super::watch::Watchers;
use crate::protocol::{Answer, ClientTag, Event, HubMessage, RequestId, SessionId, Watched};

/// Something to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Write this message.
    Send {
        /// The connection.
        conn: ConnId,
        /// The message.
        message: HubMessage,
    },
    /// Write what is still to be written, then close. The connection is over for the hub.
    Close {
        /// The connection.
        conn: ConnId,
        /// Why, for the log.
        reason: CloseReason,
    },
    /// Tell by [`Input::ProcessEnded`](super::Input::ProcessEnded) when the agent of this session has ended, if it does within
    /// [`GONE_WAIT`](super::GONE_WAIT): its channel has left and another may follow.
    AwaitAgent {
        /// The connection that the channel had.
        conn: ConnId,
        /// The session.
        session: SessionId,
    },
    /// Log what happened to an ask; it may wait until nothing else is to be done.
    Record(Record),
    /// Leave: nobody has been connected for the idle timeout.
    Exit,
}

/// Why the hub closes a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CloseReason {
    /// It said no hello in time.
    NoHello,
    /// Its bytes cannot be cut into messages.
    Malformed,
    /// No protocol version is common.
    ProtocolMismatch,
    /// A newer connection of the same client took its place.
    Superseded,
    /// The client said bye.
    Bye,
    /// There are more connections than the limit allows.
    TooManyConnections,
}

/// Who is to be answered: a client's request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Caller {
    /// The client.
    pub(super) tag: ClientTag,
    /// Its connection; none where that is over, so that nobody is answered.
    pub(super) conn: Option<ConnId>,
    /// The request.
    pub(super) id: RequestId,
}

/// The effects in their order, those who watch the traffic, and how often each limit has refused something.
#[derive(Debug, Clone, Default)]
pub(super) struct Outbox {
    effects: VecDeque<Effect>,
    watchers: Watchers,
    recorded: Detail,
    refused: BTreeMap<&'static str, u64>,
}

impl Outbox {
    /// Sends a message.
    pub(super) fn send(&mut self, conn: ConnId, message: HubMessage) {
        self.effects.push_back(Effect::Send { conn, message });
    }

    /// Sends an event to a client that is connected.
    pub(super) fn event(&mut self, conn: Option<ConnId>, event: Event) {
        if let Some(conn) = conn {
            self.send(conn, HubMessage::Event(event));
        }
    }

    /// Answers a request.
    pub(super) fn answer(&mut self, caller: Caller, answer: Answer) {
        if let Some(conn) = caller.conn {
            self.send(conn, HubMessage::Answer(caller.id, answer));
        }
    }

    /// Refuses a request.
    pub(super) fn refuse(&mut self, caller: Caller, refused: Refused) {
        self.count(&refused);
        tracing::debug!(conn = caller.conn.map(|conn| conn.0), code = %refused.error.code, "refused a request");
        self.answer(caller, Answer::Error(refused.error));
    }

    /// Refuses what came on a connection that belongs to no client yet.
    pub(super) fn refuse_stranger(&mut self, conn: ConnId, id: Option<RequestId>, refused: Refused) {
        self.count(&refused);
        let error = refused.error;
        self.send(
            conn,
            match id {
                Some(id) => HubMessage::Answer(id, Answer::Error(error)),
                None => HubMessage::Event(Event::Error(error)),
            },
        );
    }

    /// Counts a refusal for the limit that was reached.
    pub(super) fn count(&mut self, refused: &Refused) {
        if let Some(limit) = refused.limit {
            self.count_limit(limit);
        }
    }

    /// Counts one refusal for a limit.
    pub(super) fn count_limit(&mut self, limit: &'static str) {
        *self.refused.entry(limit).or_default() += 1;
    }

    /// Returns how often each limit has refused something. Names are those of `docs/operations.md`.
    pub(super) fn refused(&self) -> BTreeMap<String, u64> {
        self.refused.iter().map(|(limit, n)| ((*limit).to_owned(), *n)).collect()
    }

    /// Has something done that is no message.
    pub(super) fn push(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    /// Tells those who watch. The change is made only if somebody does.
    pub(super) fn watched(&mut self, change: impl FnOnce() -> Option<Watched>) {
        if self.watchers.is_empty() {
            return;
        }
        let Some(change) = change() else { return };
        for (conn, change) in self.watchers.copies(&change) {
            self.send(conn, HubMessage::Event(Event::Watched(Box::new(change))));
        }
    }

    /// Records what happened to an ask, made of whether its text is wanted. It is made only if somebody logs it.
    pub(super) fn record(&mut self, record: impl FnOnce(bool) -> Record) {
        if self.recorded > Detail::Nothing {
            self.effects.push_back(Effect::Record(record(self.recorded == Detail::Texts)));
        }
    }

    /// Sets how much is recorded of the asks from here on.
    pub(super) const fn set_recorded(&mut self, detail: Detail) {
        self.recorded = detail;
    }

    /// Returns those who watch.
    pub(super) const fn watchers(&self) -> &Watchers {
        &self.watchers
    }

    /// Returns those who watch, for changing them.
    pub(super) const fn watchers_mut(&mut self) -> &mut Watchers {
        &mut self.watchers
    }

    /// Takes the next effect.
    pub(super) fn pop(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Returns whether all effects were taken.
    pub(super) fn is_empty(&self) -> bool {
        self.effects.is_empty()
    }
}
