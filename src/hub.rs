//! The rules of the hub: who is there, who asks whom, and how each ask ends. Pure and synchronous.
//!
//! Time comes in as an argument, what happened comes in as an [`Input`], and what is to be done goes out as
//! [`Effect`]s. Nothing here knows of sockets, clocks or processes, and nothing can fail: a bad request becomes an
//! answer, an effect that fails in the world comes back as an input.
//!
//! [`Hub`] dispatches. `Peers`, `Asks`, `Companions`, `Seats`, `Settling`, `Loops`, `Paces` and `Idle` are small machines of their
//! own.
//!
//! # Invariants
//! - An accepted ask ends in exactly one of: its reply is taken, it times out, its peer is gone, it is withdrawn.
//! - No effect names a connection that has been closed or lost.
//! - Two peers never have the same name.
//! - After [`Hub::handle_timeout`] with the time of [`Hub::poll_timeout`], the next timeout is later.
//! - All that a client can make the hub hold is bounded by [`Limits`].

mod asks;
mod backlog;
mod broadcast;
mod companions;
mod connections;
mod delivery;
mod effect;
mod held;
mod idle;
mod input;
pub mod limits;
mod loops;
mod names;
mod pace;
mod peers;
mod reached;
mod refusal;
mod registration;
mod seats;
mod settling;
mod snapshot;
mod watch;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use self::asks::{Asks, Ending};
use self::backlog::Backlogs;
use self::companions::Companions;
use self::connections::Connections;
use self::idle::Idle;
use self::limits::BROADCASTS_WAITING_MAX;
use self::loops::Loops;
use self::pace::Paces;
use self::peers::Peers;
use self::reached::Reached;
use self::seats::Seats;
use self::settling::{Deferred, Settling};
use self::watch::Watchers;
use crate::protocol::{ClientMessage, HubMessage, PeerTag, Refusal, RequestId};

pub use self::asks::REMEMBERED;
pub use self::companions::ORPHANED_WAIT;
pub use self::connections::HELLO_WAIT;
pub use self::effect::{CloseReason, Effect};
pub use self::input::{Input, Kinship};
pub use self::limits::Limits;
pub use self::peers::GONE_WAIT;
pub use self::settling::SETTLING;
pub use self::snapshot::Headline;

/// Names one accepted connection; never used again for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// What clients are told of the program that a hub runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Program {
    /// Its version.
    pub version: &'static str,
    /// Its process id.
    pub pid: u32,
}

/// How the hub's program stands: for `status`, the rules make nothing of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// Whether a service manager holds the socket and starts the next hub.
    pub activated: bool,
    /// Whether the file that the program was started from is another one by now.
    pub replaced: bool,
}

/// The hub's state and rules.
#[derive(Debug, Clone)]
pub struct Hub {
    limits: Limits,
    program: Program,
    started: Instant,
    connections: Connections,
    peers: Peers,
    companions: Companions,
    asks: Asks,
    backlogs: Backlogs,
    seats: Seats,
    settling: Settling,
    loops: Loops,
    paces: Paces,
    idle: Idle,
    watchers: Watchers,
    reached: Reached,
    standing: Standing,
    effects: VecDeque<Effect>,
    /// The time of what happened last, until all its effects were polled.
    clock: Option<Instant>,
}

impl Hub {
    /// Starts a hub that nobody is connected to. Without an idle timeout it never leaves by itself.
    pub fn new(now: Instant, limits: Limits, idle_timeout: Option<Duration>, program: Program) -> Self {
        Self {
            limits,
            program,
            started: now,
            connections: Connections::new(),
            peers: Peers::new(),
            companions: Companions::new(),
            asks: Asks::new(),
            backlogs: Backlogs::new(),
            seats: Seats::default(),
            settling: Settling::new(now),
            loops: Loops::default(),
            paces: Paces::new(),
            idle: Idle::new(now, idle_timeout),
            watchers: Watchers::default(),
            reached: Reached::default(),
            standing: Standing::default(),
            effects: VecDeque::new(),
            clock: None,
        }
    }

    /// Takes note of something that happened. A message is to be handed in only when the effects of what was before were
    /// all polled.
    pub fn handle(&mut self, now: Instant, input: Input) {
        self.clock = Some(now);
        match input {
            Input::Connected { conn } => self.handle_connected(now, conn),
            Input::Looked { conn, kinship } => self.connections.set_kinship(conn, kinship),
            Input::Received { conn, message } => self.handle_message(now, conn, message),
            Input::Malformed { conn, error } => self.handle_malformed(now, conn, &error),
            Input::Disconnected { conn } => self.handle_disconnected(now, conn),
            Input::ProcessEnded { conn } => self.handle_process_ended(now, conn),
            Input::Congested { conn } => self.handle_congested(conn),
            Input::Drained { conn } => self.backlogs.handle_drained(conn),
            Input::ClientEnded { process } => self.handle_client_ended(now, process),
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.clock = Some(now);
        if !self.settling.handle_timeout(now) {
            self.do_what_is_due(now);
        }
    }

    fn do_what_is_due(&mut self, now: Instant) {
        while let Some(conn) = self.connections.pop_silent(now) {
            self.close(now, conn, CloseReason::NoHello);
        }
        while let Some(ask_id) = self.asks.pop_timed_out(now) {
            self.end_ask(now, ask_id, Ending::TimedOut);
        }
        while let Some(tag) = self.peers.pop_gone(now) {
            self.handle_gone(now, tag);
        }
        self.end_orphans(now);
        let kept_until = self.peers.poll_timeout().filter(|_| self.is_between_channels());
        if self.idle.handle_timeout(now, kept_until) {
            self.effects.push_back(Effect::Exit);
        }
    }

    /// Returns the next effect that is to be performed.
    ///
    /// Where much is to be done, as at the end of the settling, it is done step by step as its effects are polled, so that
    /// they never pile up.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        while self.effects.is_empty() && self.go_on() {}
        let effect = self.effects.pop_front();
        if effect.is_none() {
            self.clock = None;
        }
        effect
    }

    /// Does one step of what is left to do. Returns whether there was one.
    fn go_on(&mut self) -> bool {
        let Some(now) = self.clock else { return false };
        if let Some((conn, ask_id)) = self.backlogs.pop_ready() {
            self.send_held(now, conn, ask_id);
        } else if let Some(deferred) = self.settling.pop_due() {
            self.retry(now, deferred);
        } else if self.settling.finish() {
            for (ask_id, peer) in self.settling.take_unclaimed() {
                self.send(peer, HubMessage::Closed { ask_id });
            }
            self.tell_who_has_no_waiter();
            self.retry_waiting(now, |_| true);
            self.do_what_is_due(now);
        } else {
            return false;
        }
        true
    }

    /// Returns when [`Hub::handle_timeout`] is to be called next, and what for; to be asked when all effects were polled.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        if self.settling.is_ending() {
            return None;
        }
        [
            (self.settling.poll_timeout(), "settling"),
            (self.connections.poll_timeout(), "hello"),
            (self.asks.poll_timeout(), "ask"),
            (self.peers.poll_timeout(), "gone"),
            (self.companions.poll_timeout(), "orphaned"),
            (self.idle.poll_timeout(), "idle"),
        ]
        .into_iter()
        .filter_map(|(at, what)| Some((at?, what)))
        .min_by_key(|(at, _)| *at)
    }

    /// Returns whether a client of a former hub may still be coming back.
    pub const fn is_settling(&self) -> bool {
        self.settling.is_on()
    }

    /// Takes note of how the hub's program stands.
    pub const fn set_standing(&mut self, standing: Standing) {
        self.standing = standing;
    }

    /// Counts that a reader was too slow for the limit `queued_bytes`, which is watched outside of the rules.
    pub fn count_slow_reader(&mut self) {
        self.reached.count("queued_bytes");
    }

    /// Returns whether something is kept for the successor of a channel that has left: two seconds at most.
    pub fn is_between_channels(&self) -> bool {
        self.seats.has_estates()
    }

    /// Returns whether nothing of any client is left but what is remembered of ended asks.
    pub fn is_quiet(&self) -> bool {
        self.asks.is_quiet()
            && !self.seats.has_estates()
            && self.connections.is_empty()
            && self.backlogs.is_empty()
            && self.watchers.is_empty()
            && self.peers.all().next().is_none()
    }

    /// Returns whether a connection has said a hello that was accepted. Before it, only a small frame is to be read of it.
    pub fn has_greeted(&self, conn: ConnId) -> bool {
        self.connections.has_greeted(conn)
    }

    /// Returns how many bytes of texts the hub holds for a connection that takes nothing at present.
    pub fn waiting_bytes(&self, conn: ConnId) -> usize {
        usize::try_from(self.backlogs.bytes(conn)).unwrap_or(usize::MAX)
    }

    fn handle_congested(&mut self, conn: ConnId) {
        if self.connections.is_open(conn) {
            self.backlogs.handle_congested(conn);
        }
    }

    fn handle_message(&mut self, now: Instant, conn: ConnId, message: ClientMessage) {
        if !self.connections.is_open(conn) {
            return;
        }
        if self.companions.contains(conn) {
            return self.handle_companion_message(now, conn, message);
        }
        if self.seats.peer_of(conn).is_some() {
            return self.handle_second_message(now, conn, message);
        }
        let Some(tag) = self.connections.client(conn) else {
            return self.handle_first_message(now, conn, message);
        };
        match message {
            ClientMessage::Hello(hello) => self.refuse(conn, hello.id, refusal::already_registered()),
            ClientMessage::Peers { id } => self.answer_peers(now, conn, tag, id),
            ClientMessage::Status { id } => self.answer_status(now, conn, id),
            ClientMessage::Watch { id, text } => self.handle_watch(now, conn, tag, id, text),
            ClientMessage::Ask(ask) => self.handle_ask(now, conn, tag, ask),
            ClientMessage::Broadcast(broadcast) => self.handle_broadcast(now, conn, tag, broadcast),
            ClientMessage::Reply(reply) => self.handle_reply(now, conn, tag, reply),
            ClientMessage::Rename { id, name } => self.handle_rename(conn, tag, id, &name),
            ClientMessage::Progress { ask_id, state, asker } => self.handle_progress(now, tag, ask_id, state, asker),
            ClientMessage::Taken { ask_id, by } => self.handle_taken(now, tag, ask_id, by),
            ClientMessage::Withdraw { ask_id } => self.handle_withdraw(now, tag, ask_id),
            ClientMessage::Presence(presence) => {
                if self.peers.set_presence(tag, presence) {
                    self.tell_presence(tag);
                }
            }
            ClientMessage::Named { name } => self.handle_named(tag, &name),
            ClientMessage::Offer(offer) => self.handle_offer(tag, offer),
            ClientMessage::Verdict(verdict) => self.handle_verdict(tag, verdict),
            ClientMessage::Answer { to, answer } => self.handle_answer(tag, to, *answer),
            ClientMessage::Bequest { bequest } => self.handle_bequest(now, tag, bequest),
            ClientMessage::Holding { .. } => {}
            ClientMessage::Bye {} => self.handle_bye(now, conn, tag),
        }
    }

    /// Handles a request again that waited, if the connection that it came on is still its client's. An ask that a former
    /// hub had accepted is opened in any case while its asker is waited for: it may be answered meanwhile.
    fn retry(&mut self, now: Instant, waiting: Deferred) {
        let Deferred { tag, conn, .. } = waiting;
        let is_here = self.peers.conn(tag) == Some(conn) || self.seats.peer_of(conn) == Some(tag);
        let message = waiting.aged(now);
        if is_here {
            self.handle_message(now, conn, message);
        } else if let ClientMessage::Ask(ask) = message
            && ask.bound.is_some()
            && self.peers.get(tag).is_some()
        {
            self.handle_ask(now, conn, tag, ask);
        }
    }

    /// Lets a request wait for the end of the settling, as far as there is room.
    fn defer(&mut self, now: Instant, conn: ConnId, tag: PeerTag, id: RequestId, message: ClientMessage) {
        let deferred = Deferred { tag, conn, since: now, message };
        let waiting = self.settling.broadcasts_of(tag);
        if matches!(deferred.message, ClientMessage::Broadcast(_)) && waiting >= BROADCASTS_WAITING_MAX {
            self.reached.count("broadcasts_waiting");
            return self.refuse(conn, id, refusal::too_many_waiting(waiting));
        }
        match self.check_room(deferred.text(), deferred.bytes(), deferred.was_said_before()) {
            Ok(()) => self.settling.defer(deferred),
            Err(error) => {
                self.reached.count("held_bytes");
                self.refuse(conn, id, error);
            }
        }
    }

    fn send_to(&mut self, conn: ConnId, message: HubMessage) {
        if self.connections.is_open(conn) {
            self.effects.push_back(Effect::Send { conn, message });
        }
    }

    /// Sends to a client, if it is connected.
    fn send(&mut self, tag: PeerTag, message: HubMessage) {
        if let Some(conn) = self.peers.conn(tag) {
            self.send_to(conn, message);
        }
    }

    fn refuse(&mut self, conn: ConnId, id: RequestId, error: Refusal) {
        tracing::debug!(conn = conn.0, code = %error.code, "refused a request");
        self.send_to(conn, HubMessage::Error { id: Some(id), error });
    }
}
