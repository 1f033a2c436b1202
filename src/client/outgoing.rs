//! What the ledger has to say: messages for the hub, outputs for the program, and which request was made for what. Pure.

use std::collections::{BTreeMap, VecDeque};

use super::call::{CallAnswer, CallId};
use super::event::ClientEvent;
use crate::protocol::{
    AskId, AskState, BroadcastId, ClientMessage, Hello, Notice, Progress, Refusal, Request, RequestId,
};

/// What the program is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// A call has its answer: exactly once a call.
    Answer {
        /// The call.
        call: CallId,
        /// The answer.
        result: Result<CallAnswer, Refusal>,
    },
    /// Something happened.
    Event(ClientEvent),
}

/// What a request of this connection was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A hello.
    Hello,
    /// A call that has no state of its own.
    Stateless(CallId),
    /// A watch that was sent again.
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
    last_id: RequestId,
    /// The protocol version that is spoken on the connection; none while no hub has welcomed the client.
    version: Option<u32>,
    /// The process of the hub that welcomed the client last.
    hub_pid: u32,
}

impl Outgoing {
    /// Returns the process of the hub, if the connection is up.
    pub(super) fn hub(&self) -> Option<u32> {
        self.version.map(|_| self.hub_pid)
    }

    /// Sends a request if the connection is up; if not, it is sent when it comes up.
    pub(super) fn request(&mut self, purpose: Purpose, request: impl FnOnce() -> Request) {
        if self.version.is_some() {
            self.number(purpose, request());
        }
    }

    /// Sends a notice if the connection is up and the hub knows it.
    pub(super) fn notice(&mut self, notice: Notice) {
        if self.version.is_some_and(|version| version >= notice.since()) {
            self.messages.push_back(ClientMessage::Notice(notice));
        }
    }

    /// Returns the version that is spoken on the connection, if it is older than this request.
    pub(super) fn older_version(&self, request: &Request) -> Option<u32> {
        self.version.filter(|version| *version < request.since())
    }

    /// Tells the program of an event.
    pub(super) fn event(&mut self, event: ClientEvent) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Answers a call.
    pub(super) fn answer(&mut self, call: CallId, result: Result<CallAnswer, Refusal>) {
        self.outputs.push_back(Output::Answer { call, result });
    }

    /// Greets on a new connection: the only request before the connection is up.
    pub(super) fn greet(&mut self, hello: Hello) {
        self.number(Purpose::Hello, Request::Hello(Box::new(hello)));
    }

    fn number(&mut self, purpose: Purpose, request: Request) {
        self.last_id += 1;
        self.purposes.insert(self.last_id, purpose);
        self.messages.push_back(ClientMessage::Request(self.last_id, request));
    }

    /// Lets messages of this protocol version and older ones pass to this hub from here on.
    pub(super) const fn set_up(&mut self, version: u32, hub_pid: u32) {
        (self.version, self.hub_pid) = (Some(version), hub_pid);
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

    /// Returns whether a message is to be sent that may not wait for the next one.
    pub(super) fn is_urgent(&self) -> bool {
        self.messages.iter().any(|message| {
            !matches!(message, ClientMessage::Notice(Notice::Progress(Progress { state: AskState::HandedOver, .. })))
        })
    }

    /// Returns whether no message is to be sent.
    pub(super) fn is_silent(&self) -> bool {
        self.messages.is_empty()
    }

    /// Takes the next message to be sent.
    pub(super) fn pop_message(&mut self) -> Option<ClientMessage> {
        self.messages.pop_front()
    }

    /// Returns whether the program is to be told something.
    pub(super) fn has_output(&self) -> bool {
        !self.outputs.is_empty()
    }

    /// Takes the next output.
    pub(super) fn pop_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }
}
