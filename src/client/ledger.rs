//! The client's rules: what is open, what is said again after a reconnect, and how each ask ends. Pure.
//!
//! All truth about an ask lives here, at its two ends: the hub can be killed at any instant, and what it knew is said
//! again by the ledgers of its clients. `Sent` is the asker's end and the guarantor of the one outcome; `Received` is
//! the asked session's end, which never shows an ask twice and keeps a reply until it was taken.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::call::{Answer, Call, CallId, Output};
use super::outgoing::{Outgoing, Purpose};
use super::received::Received;
use super::refusal;
use super::seat::Remotes;
use super::sent::Sent;
use super::{ClientConfig, ClientEvent, CompanionEvent};
use crate::deadlines::Deadlines;
use crate::protocol::{
    AskId, AskState, ClientKind, ClientMessage, ErrorCode, Hello, HubMessage, Offer, PeerName, Presence, Refusal,
    RequestId, VERSIONS, Verdict, WatchingAnswer, Welcome,
};

/// How long a request may wait for its answer. launchd starts a job at most once in ten seconds (launchd.plist(5)).
pub const PATIENCE: Duration = Duration::from_secs(if cfg!(target_os = "macos") { 15 } else { 5 });

/// How long a request may wait where nobody listens at the socket.
pub const PATIENCE_WITHOUT_LISTENER: Duration = Duration::from_secs(1);

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

/// The client's state and rules.
#[derive(Debug, Clone)]
pub struct Ledger {
    pub(super) config: ClientConfig,
    link: Link,
    listener_missing: bool,
    mismatch: Option<Refusal>,
    /// Why the hub that answers did not even welcome this client.
    turned_away: Option<Refusal>,
    /// The name that the session's user gave it in its client, until the hub has named the session so.
    given_name: Option<String>,
    plain: BTreeMap<CallId, Plain>,
    plain_timers: Deadlines<CallId>,
    /// Whether the program watches, and whether it wants texts.
    watch: Option<bool>,
    pub(super) sent: Sent,
    pub(super) received: Received,
    pub(super) remotes: Remotes,
    pub(super) out: Outgoing,
}

impl Ledger {
    /// Starts a ledger in which nothing is open, without a connection.
    pub fn new(config: ClientConfig) -> Self {
        Self {
            config,
            link: Link::Down,
            listener_missing: false,
            mismatch: None,
            turned_away: None,
            given_name: None,
            plain: BTreeMap::new(),
            plain_timers: Deadlines::new(),
            watch: None,
            sent: Sent::new(),
            received: Received::new(),
            remotes: Remotes::default(),
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
            Call::Peers | Call::Status | Call::Watch { .. } | Call::Rename { .. } => {
                self.plain_timers.set(id, now + patience);
                self.plain.insert(id, Plain { call, started: now });
                self.say_plain(id);
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

    /// Follows a name that the session's user gave it in its client.
    pub fn handle_named(&mut self, name: String) {
        self.out.notice(ClientMessage::Named { name: name.clone() });
        self.given_name = Some(name);
    }

    /// Passes an offer on, if the hub is there.
    pub fn handle_offer(&mut self, offer: Offer) {
        self.out.notice(ClientMessage::Offer(offer));
    }

    /// Passes a verdict on, if the hub is there.
    pub fn handle_verdict(&mut self, verdict: Verdict) {
        self.out.notice(ClientMessage::Verdict(verdict));
    }

    /// Ends an own ask without an outcome.
    pub fn handle_withdraw(&mut self, ask_id: AskId) {
        if self.is_second() {
            return self.out.notice(ClientMessage::Withdraw { ask_id });
        }
        self.sent.withdraw(ask_id, &mut self.out);
    }

    /// Leaves in order.
    pub fn handle_bye(&mut self) {
        self.out.notice(ClientMessage::Bye {});
    }

    /// Takes note of a new connection: greets.
    pub fn handle_connected(&mut self) {
        self.link = Link::Greeting;
        let ClientConfig { key, program, kind, .. } = self.config.clone();
        self.out.greet(|id| ClientMessage::Hello(Box::new(Hello { id, versions: VERSIONS, key, program, kind })));
    }

    /// Takes note of the connection's end.
    pub fn handle_disconnected(&mut self, now: Instant) {
        if self.link == Link::Up && self.watch.is_some() {
            self.out.event(ClientEvent::Away);
        }
        self.link = Link::Down;
        self.out.set_down();
        self.sent.handle_disconnected(now);
    }

    /// Takes note of whether anybody listens at the socket: nobody is waited for long where nobody does.
    pub fn handle_listener(&mut self, now: Instant, missing: bool) {
        if missing {
            self.turned_away = None;
        }
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
            HubMessage::Watching(answer) => self.handle_watching(answer),
            HubMessage::Watched(event) => self.out.event(ClientEvent::Watched(event)),
            HubMessage::Accepted(accepted) => {
                self.out.take_purpose(accepted.id);
                let is_guarantor = !self.is_second();
                self.sent.handle_accepted(accepted, is_guarantor, &mut self.out);
            }
            HubMessage::BroadcastAccepted(accepted) => {
                self.out.take_purpose(accepted.id);
                let is_guarantor = !self.is_second();
                self.sent.handle_broadcast_accepted(now, accepted, is_guarantor, &mut self.out);
            }
            HubMessage::Replied { id, ask_id, to } => {
                self.out.take_purpose(id);
                self.received.handle_replied(ask_id, to, &mut self.out);
            }
            HubMessage::Renamed { id, name } => self.handle_renamed(id, name),
            HubMessage::Error { id, error } => self.handle_error(now, id, error),
            HubMessage::Ask(event) => self.received.handle_ask(now, event, &mut self.out),
            HubMessage::Reply(event) => self.sent.handle_reply(now, event, &mut self.out),
            HubMessage::Failed(event) => self.sent.handle_failed(now, &event, &mut self.out),
            HubMessage::Closed { ask_id } => self.received.handle_closed(ask_id, &mut self.out),
            HubMessage::Waiter { tag } => self.tell_of_companion(CompanionEvent::Waiter(tag)),
            HubMessage::Hook { by, receipts } => self.tell_of_companion(CompanionEvent::Hook { by, receipts }),
            HubMessage::HookGone { by } => self.tell_of_companion(CompanionEvent::HookGone(by)),
            HubMessage::Holding { by, batch } => self.tell_of_companion(CompanionEvent::Holding { by, batch }),
            HubMessage::Call { by, request } => self.handle_remote(now, by, *request),
            HubMessage::Bequest { waited_ms, bequest } => {
                self.inherit(now, Duration::from_millis(waited_ms), bequest);
            }
            // For companions only, which have no ledger.
            HubMessage::Offer { .. } | HubMessage::Verdict { .. } | HubMessage::End {} => {}
        }
    }

    fn tell_of_companion(&mut self, event: CompanionEvent) {
        self.out.event(ClientEvent::Companion(event));
    }

    fn handle_welcome(&mut self, now: Instant, welcome: Welcome) {
        self.out.take_purpose(welcome.id);
        self.link = Link::Up;
        self.out.set_up(welcome.version);
        self.mismatch = None;
        self.turned_away = None;
        if let Some(name) = welcome.name {
            self.set_name(name);
        }
        self.take_place(now, welcome.place);
        if let Some(name) = self.given_name.clone() {
            self.out.notice(ClientMessage::Named { name });
        }
        self.received.say_again(&mut self.out);
        self.sent.say_again(now, &mut self.out);
        for id in self.plain.keys().copied().collect::<Vec<_>>() {
            self.say_plain(id);
        }
        if let Some(text) = self.watch {
            self.out.request(Purpose::Watch, |id| ClientMessage::Watch { id, text });
        }
    }

    /// Says a call that has no state of its own, or answers it where this hub is too old for it.
    fn say_plain(&mut self, call: CallId) {
        let Some(plain) = self.plain.get(&call) else { return };
        let message = |id| match &plain.call {
            Call::Status => ClientMessage::Status { id },
            Call::Watch { text } => ClientMessage::Watch { id, text: *text },
            Call::Rename { name } => ClientMessage::Rename { id, name: name.clone() },
            Call::Peers | Call::Ask { .. } | Call::Broadcast { .. } | Call::Reply { .. } => ClientMessage::Peers { id },
        };
        let wanted = message(0);
        match self.out.older_version(&wanted) {
            Some(version) => self.end_plain(call, Err(refusal::older_hub(version, wanted.kind()))),
            None => self.out.request(Purpose::Plain(call), message),
        }
    }

    /// Takes the whole state: the answer to the program's call, or after a reconnect an event.
    fn handle_watching(&mut self, answer: WatchingAnswer) {
        match self.out.take_purpose(answer.id) {
            Some(Purpose::Plain(call)) => {
                if let Some(Plain { call: Call::Watch { text }, .. }) = self.plain.get(&call) {
                    self.watch = Some(*text);
                }
                self.end_plain(call, Ok(Answer::Watching(answer)));
            }
            Some(_) => self.out.event(ClientEvent::Watching(answer)),
            None => {}
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
        self.given_name = None;
        self.set_name(name.clone());
        if let Some(id) = id {
            self.answer_plain(id, Answer::Renamed(name));
        }
    }

    fn answer_plain(&mut self, id: RequestId, answer: Answer) {
        if let Some(Purpose::Plain(call)) = self.out.take_purpose(id) {
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
        let Some(purpose) = id.and_then(|id| self.out.take_purpose(id)) else {
            tracing::warn!(code = %error.code, "the hub refused a message: {}", error.message);
            // A hub with too many connections says so before it reads a hello. The next attempt may fare better, so the
            // calls go on waiting.
            if id.is_none() && self.link == Link::Greeting {
                self.turned_away = Some(error);
            }
            return;
        };
        match purpose {
            Purpose::Hello => self.handle_mismatch(now, error),
            Purpose::Plain(call) => self.end_plain(call, Err(error)),
            Purpose::Watch => tracing::warn!(code = %error.code, "this hub cannot be watched: {}", error.message),
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
        if error.code == ErrorCode::AlreadyRegistered {
            // Another channel has succeeded this one, and has what it had.
            self.sent.release();
        }
        self.mismatch = Some(error);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_none_or(|at| at > now) {
            return;
        }
        let refusal = self.unreachable();
        while let Some(call) = self.plain_timers.pop_due(now) {
            self.end_plain(call, Err(refusal.clone()));
        }
        self.sent.handle_timeout(now, &refusal, &mut self.out);
        self.received.handle_timeout(now, &refusal, &mut self.out);
    }

    fn unreachable(&self) -> Refusal {
        let unreachable = || refusal::hub_unreachable(&self.config, self.listener_missing);
        self.turned_away.clone().unwrap_or_else(unreachable)
    }

    /// Returns when [`Ledger::handle_timeout`] is to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.plain_timers.next(), self.sent.poll_timeout(), self.received.poll_timeout()].into_iter().flatten().min()
    }

    /// Returns the next message to be sent on the connection.
    pub fn poll_message(&mut self) -> Option<ClientMessage> {
        self.out.pop_message()
    }

    /// Returns the next thing to tell the program.
    pub fn poll_output(&mut self) -> Option<Output> {
        while let Some(output) = self.out.pop_output() {
            if let Some(output) = self.pass_on(output) {
                return Some(output);
            }
        }
        None
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

#[cfg(test)]
mod tests;
