//! The client's rules: what is open, what is said again after a reconnect, and how each ask ends. Pure.
//!
//! All truth about an ask lives here, at its two ends: the hub can be killed at any instant, and what it knew is said
//! again by the ledgers of its clients. `Sent` is the asker's end and the guarantor of the one outcome; `Received` is
//! the asked session's end, which never shows an ask twice and keeps a reply until it was taken.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::received::Received;
use super::refusal;
use super::sent::Sent;
use super::{Asked, Broadcasted, ClientConfig, ClientEvent, Replied};
use crate::deadlines::Deadlines;
use crate::protocol::{
    AskId, AskState, BroadcastId, ClientKind, ClientMessage, Hello, HubMessage, PeerName, PeersAnswer, Presence,
    Refusal, RequestId, StatusAnswer, VERSIONS, Welcome,
};

/// How long a request may wait for its answer. launchd starts a job at most once in ten seconds (launchd.plist(5)).
pub const PATIENCE: Duration = Duration::from_secs(if cfg!(target_os = "macos") { 15 } else { 5 });

/// How long a request may wait where nobody listens at the socket.
pub const PATIENCE_WITHOUT_LISTENER: Duration = Duration::from_secs(1);

/// Names one call of a program on its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// What a program may want of the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// The list of peers.
    Peers,
    /// The hub's state.
    Status,
    /// An ask.
    Ask {
        /// Its id, random and new: chance comes in as an argument, as time does.
        ask_id: AskId,
        /// The address.
        to: String,
        /// The text.
        question: String,
        /// How long it stays open.
        timeout: Duration,
    },
    /// A broadcast.
    Broadcast {
        /// Its id, random and new.
        broadcast_id: BroadcastId,
        /// The text.
        question: String,
        /// How long its asks stay open.
        timeout: Duration,
    },
    /// An answer.
    Reply {
        /// The ask that is answered.
        ask_id: AskId,
        /// The text.
        text: String,
    },
    /// Another name.
    Rename {
        /// The wanted name.
        name: String,
    },
}

/// What a call was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The answer to [`Call::Peers`].
    Peers(PeersAnswer),
    /// The answer to [`Call::Status`].
    Status(StatusAnswer),
    /// The answer to [`Call::Ask`].
    Asked(Asked),
    /// The answer to [`Call::Broadcast`].
    Broadcasted(Broadcasted),
    /// The answer to [`Call::Reply`].
    Replied(Replied),
    /// The answer to [`Call::Rename`].
    Renamed(PeerName),
}

/// What the program is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// A call has its answer: exactly once a call.
    Answer {
        /// The call.
        call: CallId,
        /// The answer.
        result: Result<Answer, Refusal>,
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
    Plain(CallId),
    /// An ask.
    Ask(AskId),
    /// A broadcast.
    Broadcast(BroadcastId),
    /// A reply.
    Reply(AskId),
}

/// A call that has no state of its own and is simply said again.
#[derive(Debug, Clone)]
struct Plain {
    call: Call,
    started: Instant,
}

/// Where the connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Down,
    Greeting,
    Up,
}

/// Messages to be sent and outputs to be told, with the numbering of requests.
#[derive(Debug, Clone, Default)]
pub(super) struct Outgoing {
    messages: VecDeque<ClientMessage>,
    outputs: VecDeque<Output>,
    purposes: BTreeMap<RequestId, Purpose>,
    next_id: RequestId,
    up: bool,
}

impl Outgoing {
    /// Sends a request if the link is up; if not, it is said when it comes up.
    pub(super) fn request(&mut self, purpose: Purpose, message: impl FnOnce(RequestId) -> ClientMessage) {
        if self.up {
            self.next_id += 1;
            self.purposes.insert(self.next_id, purpose);
            self.messages.push_back(message(self.next_id));
        }
    }

    /// Sends a notice if the link is up.
    pub(super) fn notice(&mut self, message: ClientMessage) {
        if self.up {
            self.messages.push_back(message);
        }
    }

    /// Tells the program of an event.
    pub(super) fn event(&mut self, event: ClientEvent) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Answers a call.
    pub(super) fn answer(&mut self, call: CallId, result: Result<Answer, Refusal>) {
        self.outputs.push_back(Output::Answer { call, result });
    }
}

/// The client's state and rules.
#[derive(Debug, Clone)]
pub struct Ledger {
    config: ClientConfig,
    link: Link,
    listener_missing: bool,
    mismatch: Option<Refusal>,
    plain: BTreeMap<CallId, Plain>,
    plain_timers: Deadlines<CallId>,
    sent: Sent,
    received: Received,
    out: Outgoing,
}

impl Ledger {
    /// Starts a ledger in which nothing is open, without a connection.
    pub fn new(config: ClientConfig) -> Self {
        Self {
            config,
            link: Link::Down,
            listener_missing: false,
            mismatch: None,
            plain: BTreeMap::new(),
            plain_timers: Deadlines::new(),
            sent: Sent::new(),
            received: Received::new(),
            out: Outgoing::default(),
        }
    }

    /// Takes a call of the program. Its answer comes as [`Output::Answer`].
    pub fn handle_call(&mut self, now: Instant, id: CallId, call: Call) {
        if let Some(refusal) = &self.mismatch {
            return self.out.answer(id, Err(refusal.clone()));
        }
        let patience = self.patience();
        match call {
            Call::Ask { ask_id, to, question, timeout } => {
                self.sent.ask(now, id, ask_id, to, question, timeout, patience, &mut self.out);
            }
            Call::Broadcast { broadcast_id, question, timeout } => {
                self.sent.broadcast(now, id, broadcast_id, question, timeout, patience, &mut self.out);
            }
            Call::Reply { ask_id, text } => self.received.reply(now, id, ask_id, text, &mut self.out),
            Call::Peers | Call::Status | Call::Rename { .. } => {
                self.plain_timers.set(id, now + patience);
                let plain = Plain { call, started: now };
                say_plain(id, &plain, &mut self.out);
                self.plain.insert(id, plain);
            }
        }
    }

    const fn patience(&self) -> Duration {
        if self.listener_missing { PATIENCE_WITHOUT_LISTENER } else { PATIENCE }
    }

    /// Takes note of how far a received ask has come.
    pub fn handle_progress(&mut self, ask_id: AskId, state: AskState) {
        self.received.advance(ask_id, state, &mut self.out);
    }

    /// Takes note of what the session does and how it can be woken.
    pub fn handle_presence(&mut self, presence: Presence) {
        if let ClientKind::Channel(facts) = &mut self.config.kind
            && facts.presence != presence
        {
            facts.presence = presence;
            self.out.notice(ClientMessage::Presence(presence));
        }
    }

    /// Ends an own ask without an outcome.
    pub fn handle_withdraw(&mut self, ask_id: AskId) {
        self.sent.withdraw(ask_id, &mut self.out);
    }

    /// Leaves in order.
    pub fn handle_bye(&mut self) {
        self.out.notice(ClientMessage::Bye {});
    }

    /// Takes note of a new connection: greets.
    pub fn handle_connected(&mut self) {
        self.link = Link::Greeting;
        self.out.next_id += 1;
        let id = self.out.next_id;
        self.out.purposes.insert(id, Purpose::Hello);
        let ClientConfig { key, program, kind, .. } = self.config.clone();
        let hello = Hello { id, versions: VERSIONS, key, program, kind };
        self.out.messages.push_back(ClientMessage::Hello(Box::new(hello)));
    }

    /// Takes note of the connection's end.
    pub fn handle_disconnected(&mut self, now: Instant) {
        self.link = Link::Down;
        self.out.up = false;
        self.out.messages.clear();
        self.out.purposes.clear();
        self.sent.handle_disconnected(now);
    }

    /// Takes note of whether anybody listens at the socket: nobody is waited for long where nobody does.
    pub fn handle_listener(&mut self, now: Instant, missing: bool) {
        if self.listener_missing == missing {
            return;
        }
        self.listener_missing = missing;
        let patience = self.patience();
        for (id, plain) in &self.plain {
            self.plain_timers.set(*id, (plain.started + patience).max(now));
        }
        self.sent.set_patience(now, patience);
    }

    /// Takes a message of the hub, after what was due before it came.
    ///
    /// A reply that lay in the pipe while this process did not run is late for an ask whose time was up meanwhile: the
    /// hub has told its sender so.
    pub fn handle_message(&mut self, now: Instant, message: HubMessage) {
        self.handle_timeout(now);
        match message {
            HubMessage::Welcome(welcome) => self.handle_welcome(now, welcome),
            HubMessage::Peers(answer) => self.answer_plain(answer.id, Answer::Peers(answer)),
            HubMessage::Status(answer) => self.answer_plain(answer.id, Answer::Status(answer)),
            HubMessage::Accepted(accepted) => {
                self.out.purposes.remove(&accepted.id);
                self.sent.handle_accepted(accepted, &mut self.out);
            }
            HubMessage::BroadcastAccepted(accepted) => {
                self.out.purposes.remove(&accepted.id);
                self.sent.handle_broadcast_accepted(now, accepted, &mut self.out);
            }
            HubMessage::Replied { id, ask_id, to } => {
                self.out.purposes.remove(&id);
                self.received.handle_replied(ask_id, to, &mut self.out);
            }
            HubMessage::Renamed { id, name } => self.handle_renamed(id, name),
            HubMessage::Error { id, error } => self.handle_error(now, id, error),
            HubMessage::Ask(event) => self.received.handle_ask(now, event, &mut self.out),
            HubMessage::Reply(event) => self.sent.handle_reply(now, event, &mut self.out),
            HubMessage::Failed(event) => self.sent.handle_failed(now, &event, &mut self.out),
            HubMessage::Closed { ask_id } => self.received.handle_closed(ask_id, &mut self.out),
        }
    }

    fn handle_welcome(&mut self, now: Instant, welcome: Welcome) {
        self.out.purposes.remove(&welcome.id);
        self.link = Link::Up;
        self.out.up = true;
        self.mismatch = None;
        if let Some(name) = welcome.name {
            self.set_name(name);
        }
        self.received.say_again(&mut self.out);
        self.sent.say_again(now, &mut self.out);
        for (id, plain) in &self.plain {
            say_plain(*id, plain, &mut self.out);
        }
    }

    /// Keeps the name for the next hello, and tells the program if it is new.
    fn set_name(&mut self, name: PeerName) {
        if let ClientKind::Channel(facts) = &mut self.config.kind
            && facts.name.as_ref() != Some(&name)
        {
            facts.name = Some(name.clone());
            self.out.event(ClientEvent::Renamed { name });
        }
    }

    fn handle_renamed(&mut self, id: Option<RequestId>, name: PeerName) {
        self.set_name(name.clone());
        if let Some(id) = id {
            self.answer_plain(id, Answer::Renamed(name));
        }
    }

    fn answer_plain(&mut self, id: RequestId, answer: Answer) {
        if let Some(Purpose::Plain(call)) = self.out.purposes.remove(&id) {
            self.end_plain(call, Ok(answer));
        }
    }

    fn end_plain(&mut self, call: CallId, result: Result<Answer, Refusal>) {
        self.plain_timers.clear(&call);
        if self.plain.remove(&call).is_some() {
            self.out.answer(call, result);
        }
    }

    fn handle_error(&mut self, now: Instant, id: Option<RequestId>, error: Refusal) {
        let Some(purpose) = id.and_then(|id| self.out.purposes.remove(&id)) else {
            tracing::warn!(code = %error.code, "the hub refused a message: {}", error.message);
            return;
        };
        match purpose {
            Purpose::Hello => self.handle_mismatch(now, error),
            Purpose::Plain(call) => self.end_plain(call, Err(error)),
            Purpose::Ask(ask_id) => self.sent.handle_ask_refused(now, ask_id, error, &mut self.out),
            Purpose::Broadcast(id) => self.sent.handle_broadcast_refused(id, error, &mut self.out),
            Purpose::Reply(ask_id) => self.received.handle_reply_refused(ask_id, error, &mut self.out),
        }
    }

    /// The hub will not have this client: every call gets that answer until another hub says otherwise.
    fn handle_mismatch(&mut self, now: Instant, error: Refusal) {
        for call in self.plain.keys().copied().collect::<Vec<_>>() {
            self.end_plain(call, Err(error.clone()));
        }
        self.sent.refuse_calls(now, &error, &mut self.out);
        self.mismatch = Some(error);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let refusal = self.unreachable();
        while let Some(call) = self.plain_timers.pop_due(now) {
            self.end_plain(call, Err(refusal.clone()));
        }
        self.sent.handle_timeout(now, &refusal, &mut self.out);
        self.received.handle_timeout(now, &refusal, &mut self.out);
    }

    fn unreachable(&self) -> Refusal {
        refusal::hub_unreachable(&self.config.socket, self.listener_missing)
    }

    /// Returns when [`Ledger::handle_timeout`] is to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.plain_timers.next(), self.sent.poll_timeout(), self.received.poll_timeout()].into_iter().flatten().min()
    }

    /// Returns the next message to be sent on the connection.
    pub fn poll_message(&mut self) -> Option<ClientMessage> {
        self.out.messages.pop_front()
    }

    /// Returns the next thing to tell the program.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.outputs.pop_front()
    }

    /// Returns whether the hub has welcomed this client on the present connection.
    pub fn is_up(&self) -> bool {
        self.link == Link::Up
    }

    /// Returns the socket to connect to.
    pub const fn socket(&self) -> &PathBuf {
        &self.config.socket
    }
}

fn say_plain(id: CallId, plain: &Plain, out: &mut Outgoing) {
    out.request(Purpose::Plain(id), |id| match &plain.call {
        Call::Status => ClientMessage::Status { id },
        Call::Rename { name } => ClientMessage::Rename { id, name: name.clone() },
        Call::Peers | Call::Ask { .. } | Call::Broadcast { .. } | Call::Reply { .. } => ClientMessage::Peers { id },
    });
}
