//! What the ledger has to say: messages for the hub, outputs for the program, and which request was made for what.

use std::collections::{BTreeMap, VecDeque};

use super::ClientEvent;
use super::call::{Answer, CallId, Output};
use crate::protocol::{AskId, BroadcastId, ClientMessage, Refusal, RequestId};

/// What a request of this connection was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A hello.
    Hello,
    /// A call that has no state of its own.
    Plain(CallId),
    /// A watch that was said again.
    Watch,
    /// An ask.
    Ask(AskId),
    /// A broadcast.
    Broadcast(BroadcastId),
    /// A reply.
    Reply(AskId),
}

/// Messages to be sent and outputs to be told, with the numbering of requests.
#[derive(Debug, Clone, Default)]
pub(super) struct Outgoing {
    messages: VecDeque<ClientMessage>,
    outputs: VecDeque<Output>,
    purposes: BTreeMap<RequestId, Purpose>,
    next_id: RequestId,
    /// The protocol version that is spoken on the connection; none while the link is not up.
    version: Option<u32>,
}

impl Outgoing {
    /// Sends a request if the link is up; if not, it is said when it comes up.
    pub(super) fn request(&mut self, purpose: Purpose, message: impl FnOnce(RequestId) -> ClientMessage) {
        if self.version.is_some() {
            self.next_id += 1;
            self.purposes.insert(self.next_id, purpose);
            self.messages.push_back(message(self.next_id));
        }
    }

    /// Sends a notice if the link is up and the hub knows it.
    pub(super) fn notice(&mut self, message: ClientMessage) {
        if self.version.is_some() && self.older_version(&message).is_none() {
            self.messages.push_back(message);
        }
    }

    /// Returns the version that is spoken on the connection, if it is older than this message.
    pub(super) fn older_version(&self, message: &ClientMessage) -> Option<u32> {
        self.version.filter(|version| *version < message.since())
    }

    /// Tells the program of an event.
    pub(super) fn event(&mut self, event: ClientEvent) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Answers a call.
    pub(super) fn answer(&mut self, call: CallId, result: Result<Answer, Refusal>) {
        self.outputs.push_back(Output::Answer { call, result });
    }

    /// Greets on a new connection: the only request before the link is up.
    pub(super) fn greet(&mut self, message: impl FnOnce(RequestId) -> ClientMessage) {
        self.next_id += 1;
        self.purposes.insert(self.next_id, Purpose::Hello);
        self.messages.push_back(message(self.next_id));
    }

    /// Lets messages of this protocol version and older ones pass from here on.
    pub(super) const fn set_up(&mut self, version: u32) {
        self.version = Some(version);
    }

    /// Forgets what belongs to the connection that was lost.
    pub(super) fn set_down(&mut self) {
        self.version = None;
        self.messages.clear();
        self.purposes.clear();
    }

    /// Takes what a request was made for, when its answer comes.
    pub(super) fn take_purpose(&mut self, id: RequestId) -> Option<Purpose> {
        self.purposes.remove(&id)
    }

    /// Takes the next message to be sent.
    pub(super) fn pop_message(&mut self) -> Option<ClientMessage> {
        self.messages.pop_front()
    }

    /// Takes the next output.
    pub(super) fn pop_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }
}
