//! The client's rules: what is open, what is sent again after a reconnect, and how each ask ends. Pure.
//!
//! All truth about an ask lives here, at its two ends: the hub can be killed at any instant, and what it knew is sent again
//! by the ledgers of its clients. `Sent` is the asker's end and the guarantor of the one outcome; `Received` is the asked
//! session's end, which never shows an ask twice and keeps a reply until it was taken.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::call::{Call, CallAnswer, CallId};
use super::config::ClientConfig;
use super::event::ClientEvent;
use super::open::OpenAsksView;
use super::outgoing::{Outgoing, Output, Purpose};
use super::parked::{PROGRAM_PART_MAX_BYTES, Parked, Room, join, split};
use super::received::Received;
use super::refusal;
use super::sent::{NewAsk, NewBroadcast, Sent};
use crate::deadlines::Deadlines;
use crate::protocol::{
    Answer, AskId, AskKind, ClientKind, ClientMessage, ErrorCode, Event, Hello, HubMessage, Named, Notice, Park,
    PeerName, Presence, Progress, Refusal, Rename, Request, RequestId, VERSIONS, Watch, Watching, Welcome,
};

/// How long a request may wait for its answer. launchd starts a job at most once in ten seconds (launchd.plist(5)).
pub const PATIENCE: Duration = Duration::from_secs(if cfg!(target_os = "macos") { 15 } else { 5 });

/// How long a request may wait where nobody listens at the socket.
pub const PATIENCE_WITHOUT_LISTENER: Duration = Duration::from_secs(1);

/// A call that has no state of its own and is simply sent again.
#[derive(Debug, Clone)]
struct StatelessCall {
    request: Request,
    started: Instant,
}

/// Where the connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LinkState {
    Down,
    Greeting,
    Up,
    /// Another client of the same identity has taken its place, for good.
    Superseded,
}

/// The client's state and rules.
#[derive(Debug, Clone)]
pub struct Ledger {
    config: ClientConfig,
    link: LinkState,
    /// Whether a hub has welcomed this client before: then it knows all asks of its own.
    was_welcomed: bool,
    /// What `hello` said of the session, until it is answered.
    greeted: Option<Presence>,
    listener_missing: bool,
    /// Why no hub will have this client.
    rejected: Option<Refusal>,
    /// Why the hub that answers did not even welcome this client.
    turned_away: Option<Refusal>,
    /// The name that the session's user gave it in its agent, until the hub has named the session so.
    given_name: Option<String>,
    stateless: BTreeMap<CallId, StatelessCall>,
    stateless_timers: Deadlines<CallId>,
    /// What the program watches.
    watch: Option<Watch>,
    sent: Sent,
    received: Received,
    out: Outgoing,
}

impl Ledger {
    /// Returns a ledger in which nothing is open, without a connection.
    pub fn new(config: ClientConfig) -> Self {
        Self {
            config,
            link: LinkState::Down,
            was_welcomed: false,
            greeted: None,
            listener_missing: false,
            rejected: None,
            turned_away: None,
            given_name: None,
            stateless: BTreeMap::new(),
            stateless_timers: Deadlines::new(),
            watch: None,
            sent: Sent::new(),
            received: Received::new(),
            out: Outgoing::default(),
        }
    }

    /// Takes a call of the program. Its answer comes as [`Output::Answer`].
    pub fn handle_call(&mut self, now: Instant, id: CallId, call: Call) {
        if let Some(refusal) = &self.rejected {
            return self.out.answer(id, Err(refusal.clone()));
        }
        let patience = self.patience();
        let request = match call {
            Call::Ask { ask_id, to, question, timeout } => {
                let new = NewAsk { id: ask_id, kind: AskKind::Ask, to, text: question, timeout };
                return self.sent.ask(now, id, new, patience, &mut self.out);
            }
            Call::Tell { tell_id, to, text, timeout } => {
                let new = NewAsk { id: tell_id, kind: AskKind::Tell, to, text, timeout };
                return self.sent.ask(now, id, new, patience, &mut self.out);
            }
            Call::Broadcast { broadcast_id, audience, question, timeout } => {
                let new = NewBroadcast { id: broadcast_id, audience, question, timeout };
                return self.sent.broadcast(now, id, new, patience, &mut self.out);
            }
            Call::Reply { ask_id, text } => return self.received.reply(now, id, ask_id, text, &mut self.out),
            Call::Audience(audience) => Request::Audience(audience),
            Call::Peers => Request::Peers,
            Call::Status => Request::Status,
            Call::Watch { text } => Request::Watch(Watch { text }),
            Call::Rename { name } => Request::Rename(Rename { name }),
        };
        self.stateless_timers.set(id, now + patience);
        self.stateless.insert(id, StatelessCall { request, started: now });
        self.send_stateless(id);
    }

    const fn patience(&self) -> Duration {
        if self.listener_missing { PATIENCE_WITHOUT_LISTENER } else { PATIENCE }
    }

    /// Records how far a received ask has come.
    pub fn handle_progress(&mut self, progress: Progress) {
        self.received.advance(progress, &mut self.out);
    }

    /// Records where the session works, what it does and how it can be woken.
    pub fn handle_presence(&mut self, presence: Presence) {
        if let ClientKind::Session(facts) = &mut self.config.kind
            && facts.presence != presence
        {
            facts.presence = presence.clone();
            self.out.notice(Notice::Presence(presence));
        }
    }

    /// Follows a name that the session's user gave it in its agent.
    pub fn handle_named(&mut self, name: String) {
        self.out.notice(Notice::Named(Named { name: name.clone() }));
        self.given_name = Some(name);
    }

    /// Ends an own ask without an outcome.
    pub fn handle_withdraw(&mut self, ask_id: AskId) {
        self.sent.withdraw(ask_id, &mut self.out);
    }

    /// Leaves in order. A session that another channel may follow parks what is open with this part of the program's own,
    /// at most [`PROGRAM_PART_MAX_BYTES`]; what no hub has accepted yet is withdrawn.
    pub fn handle_leave(&mut self, now: Instant, program_part: Option<Value>) {
        if let Some(program_part) = program_part {
            self.sent.withdraw_unaccepted(&mut self.out);
            let value = self.park(now, program_part);
            self.out.notice(Notice::Park(Park { value }));
        }
        self.out.notice(Notice::Bye);
    }

    /// Returns what the next channel must know. The texts of own asks come last: they matter only if the hub dies as well.
    fn park(&mut self, now: Instant, mut program_part: Value) -> Value {
        let (mut parked, mut room) = (Parked::default(), Room::new());
        if !room.take(&program_part) {
            tracing::error!("what the program parks is over its limit of {PROGRAM_PART_MAX_BYTES} bytes and is lost");
            program_part = Value::Null;
        }
        self.sent.park(now, &mut parked, &mut room);
        self.received.park(now, &mut parked, &mut room);
        self.sent.park_texts(&mut parked, &mut room);
        join(&parked, program_part)
    }

    /// Records a new connection: greets.
    pub fn handle_connected(&mut self) {
        self.link = LinkState::Greeting;
        let ClientConfig { program, kind, .. } = self.config.clone();
        if let ClientKind::Session(facts) = &kind {
            self.greeted = Some(facts.presence.clone());
        }
        self.out.greet(Hello { versions: VERSIONS, program, kind });
    }

    /// Records the connection's end.
    pub fn handle_disconnected(&mut self, now: Instant) {
        if self.link == LinkState::Up && self.watch.is_some() {
            self.out.event(ClientEvent::Away);
        }
        if self.link != LinkState::Superseded {
            self.link = LinkState::Down;
        }
        self.out.set_down();
        self.sent.handle_disconnected(now);
    }

    /// Records whether nobody listens at the socket: nobody is waited for long where nobody does.
    pub fn handle_listener(&mut self, now: Instant, missing: bool) {
        if missing {
            self.turned_away = None;
        }
        if self.listener_missing == missing {
            return;
        }
        self.listener_missing = missing;
        let patience = self.patience();
        for (id, call) in &self.stateless {
            self.stateless_timers.set(*id, (call.started + patience).max(now));
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
            HubMessage::Answer(id, answer) => self.handle_answer(now, id, answer),
            HubMessage::Event(event) => self.handle_event(now, event),
        }
    }

    fn handle_answer(&mut self, now: Instant, id: RequestId, answer: Answer) {
        let Some(purpose) = self.out.take_purpose(id) else { return };
        match answer {
            Answer::Welcome(welcome) => self.handle_welcome(now, *welcome),
            Answer::Peers(peers) => self.end_stateless(purpose, Ok(CallAnswer::Peers(peers))),
            Answer::Status(status) => self.end_stateless(purpose, Ok(CallAnswer::Status(status))),
            Answer::Watching(watching) => self.handle_watching(purpose, watching),
            Answer::Audience(view) => self.end_stateless(purpose, Ok(CallAnswer::Audience(view))),
            Answer::Accepted(accepted) => self.sent.handle_accepted(accepted, &mut self.out),
            Answer::BroadcastAccepted(accepted) => {
                self.sent.handle_broadcast_accepted(now, accepted, &mut self.out);
            }
            Answer::Replied(replied) => self.received.handle_replied(replied.ask_id, replied.to, &mut self.out),
            Answer::Renamed(renamed) => {
                self.handle_renamed(renamed.name.clone());
                self.end_stateless(purpose, Ok(CallAnswer::Renamed(renamed.name)));
            }
            Answer::Error(error) => self.handle_refused(now, purpose, error),
        }
    }

    fn handle_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Asked(asked) => self.received.handle_ask(now, asked, &mut self.out),
            Event::Told(told) => self.received.handle_tell(now, told, &mut self.out),
            Event::Receipt(receipt) => self.sent.handle_receipt(receipt, &mut self.out),
            Event::Reply(reply) => self.sent.handle_reply(now, reply, &mut self.out),
            Event::Failed(failed) => self.sent.handle_failed(failed, &mut self.out),
            // For bridges: of an own ask a session is told only its outcome.
            Event::Advanced(_) => {}
            Event::Closed(closed) => self.received.handle_closed(closed.ask_id, &mut self.out),
            Event::Renamed(renamed) => self.handle_renamed(renamed.name),
            Event::Watched(watched) => self.out.event(ClientEvent::Watched(watched)),
            Event::Error(error) => self.handle_error(now, error),
        }
    }

    fn handle_welcome(&mut self, now: Instant, welcome: Welcome) {
        let Welcome { version, name, hub_pid, sent, parked, .. } = welcome;
        self.link = LinkState::Up;
        self.out.set_up(version, hub_pid);
        self.rejected = None;
        self.turned_away = None;
        if let Some(name) = name {
            self.set_name(name);
        }
        if self.was_welcomed {
            self.sent.reconcile(sent, &mut self.out);
        } else {
            self.was_welcomed = true;
            let (mut parked, program_part) = parked.map(split).unwrap_or_default();
            if let Some(program_part) = program_part {
                self.out.event(ClientEvent::Parked(program_part));
            }
            self.received.adopt(now, &mut parked);
            self.sent.adopt(now, &mut parked, sent, &mut self.out);
        }
        // What has changed since `hello` the hub could not be told.
        if let ClientKind::Session(facts) = &self.config.kind
            && self.greeted.take().is_some_and(|greeted| greeted != facts.presence)
        {
            self.out.notice(Notice::Presence(facts.presence.clone()));
        }
        if let Some(name) = self.given_name.clone() {
            self.out.notice(Notice::Named(Named { name }));
        }
        self.received.resend(&mut self.out);
        self.sent.resend(now, &mut self.out);
        for id in self.stateless.keys().copied().collect::<Vec<_>>() {
            self.send_stateless(id);
        }
        if let Some(watch) = self.watch {
            self.out.request(Purpose::Watch, || Request::Watch(watch));
        }
    }

    /// Sends a call that has no state of its own, or answers it where this hub is too old for it.
    fn send_stateless(&mut self, id: CallId) {
        let Some(StatelessCall { request, .. }) = self.stateless.get(&id) else { return };
        let purpose = Purpose::Stateless(id);
        match self.out.older_version(request) {
            Some(version) => {
                let refusal = refusal::older_hub(version, request.kind());
                self.end_stateless(purpose, Err(refusal));
            }
            None => self.out.request(purpose, || request.clone()),
        }
    }

    /// Takes the whole traffic: the answer to the program's call, or after a reconnect an event.
    fn handle_watching(&mut self, purpose: Purpose, watching: Box<Watching>) {
        let Purpose::Stateless(id) = purpose else {
            return self.out.event(ClientEvent::Watching(watching));
        };
        if let Some(StatelessCall { request: Request::Watch(watch), .. }) = self.stateless.get(&id) {
            self.watch = Some(*watch);
        }
        self.end_stateless(purpose, Ok(CallAnswer::Watching(watching)));
    }

    /// Keeps the name for the next hello, and tells the program if it is new.
    fn set_name(&mut self, name: PeerName) {
        if let ClientKind::Session(facts) = &mut self.config.kind
            && facts.name.as_ref() != Some(&name)
        {
            facts.name = Some(name.clone());
            self.out.event(ClientEvent::Renamed { name });
        }
    }

    fn handle_renamed(&mut self, name: PeerName) {
        self.given_name = None;
        self.set_name(name);
    }

    fn end_stateless(&mut self, purpose: Purpose, result: Result<CallAnswer, Refusal>) {
        let Purpose::Stateless(id) = purpose else { return };
        self.stateless_timers.clear(&id);
        if self.stateless.remove(&id).is_some() {
            self.out.answer(id, result);
        }
    }

    fn handle_refused(&mut self, now: Instant, purpose: Purpose, error: Refusal) {
        match purpose {
            Purpose::Hello => self.reject(now, error),
            Purpose::Stateless(_) => self.end_stateless(purpose, Err(error)),
            Purpose::Watch => tracing::warn!(code = %error.code, "this hub cannot be watched: {}", error.message),
            Purpose::Ask(ask_id) => self.sent.handle_ask_refused(now, ask_id, error, &mut self.out),
            Purpose::Broadcast(id) => self.sent.handle_broadcast_refused(id, error, &mut self.out),
            Purpose::Reply(ask_id) => self.received.handle_reply_refused(ask_id, error, &mut self.out),
        }
    }

    /// Records an error that answers no request.
    fn handle_error(&mut self, now: Instant, error: Refusal) {
        tracing::warn!(code = %error.code, "the hub refused a message: {}", error.message);
        if error.code == ErrorCode::AlreadyRegistered {
            // Another client of this identity has what this one had.
            self.link = LinkState::Superseded;
            self.reject(now, error);
            self.sent.release();
        } else if self.link == LinkState::Greeting {
            // A hub with too many connections says so before it reads a hello. The next attempt may fare better, so the
            // calls go on waiting.
            self.turned_away = Some(error);
        }
    }

    /// Answers every call so until a hub welcomes this client.
    fn reject(&mut self, now: Instant, error: Refusal) {
        for id in self.stateless.keys().copied().collect::<Vec<_>>() {
            self.end_stateless(Purpose::Stateless(id), Err(error.clone()));
        }
        self.sent.refuse_calls(now, &error, &mut self.out);
        self.rejected = Some(error);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_none_or(|at| at > now) {
            return;
        }
        let unreachable = refusal::hub_unreachable(&self.config, self.listener_missing);
        let refusal = self.turned_away.clone().unwrap_or(unreachable);
        while let Some(id) = self.stateless_timers.pop_due(now) {
            self.end_stateless(Purpose::Stateless(id), Err(refusal.clone()));
        }
        self.sent.handle_timeout(now, &refusal, &mut self.out);
        self.received.handle_timeout(now, &refusal, &mut self.out);
    }

    /// Returns when [`Ledger::handle_timeout`] is to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.stateless_timers.next(), self.sent.poll_timeout(), self.received.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Returns the next message to be sent on the connection.
    pub fn poll_message(&mut self) -> Option<ClientMessage> {
        self.out.pop_message()
    }

    /// Returns whether there are messages to be sent, of which none is urgent: they may wait for the next one that is.
    pub fn can_wait(&self) -> bool {
        !self.out.is_silent() && !self.out.is_urgent()
    }

    /// Returns the next thing to tell the program.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_output()
    }

    /// Returns whether there is something to tell the program.
    pub fn has_output(&self) -> bool {
        self.out.has_output()
    }

    /// Returns what is open for this client: what it was asked, and what it has asked and a hub has accepted.
    pub fn open(&self, now: Instant) -> OpenAsksView {
        OpenAsksView { received: self.received.open(now), sent: self.sent.open(now) }
    }

    /// Returns whether the hub has welcomed this client on the present connection.
    pub fn is_up(&self) -> bool {
        self.link == LinkState::Up
    }

    /// Returns whether another client of the same identity has taken the place of this one, which must not connect again.
    pub fn is_superseded(&self) -> bool {
        self.link == LinkState::Superseded
    }

    /// Returns the socket to connect to.
    pub const fn socket(&self) -> &PathBuf {
        &self.config.socket
    }
}

#[cfg(test)]
mod tests;
