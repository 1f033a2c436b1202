//! The rules of the hub: who is there, who asks whom, and how each ask ends. Pure and synchronous.
//!
//! Time comes in as an argument, what happened comes in as an [`Input`], and what is to be done goes out as
//! [`Effect`]s. Nothing here knows of sockets, clocks or processes, and nothing can fail: a bad request becomes an
//! answer, an effect that fails in the world comes back as an input.
//!
//! [`Hub`] dispatches. The tables own what is in them, and put what they want done into the `Outbox`.
//!
//! # Invariants
//! - An accepted ask ends in exactly one of: its reply is taken, it times out, its peer is gone, it is withdrawn. A tell
//!   ends so, or when its peer was shown it, but takes no reply.
//! - No effect names a connection that has been closed or lost.
//! - Two peers never have the same name.
//! - After [`Hub::handle_timeout`] with the time of [`Hub::poll_timeout`], the next timeout is later.
//! - All that a client can make the hub hold is bounded by [`Limits`].

mod asking;
mod asks;
mod brakes;
mod broadcast;
mod check;
mod connections;
mod effect;
mod grace;
pub mod history;
mod idle;
mod input;
pub mod limits;
mod names;
mod overview;
mod peers;
mod quota;
mod rate;
mod refusals;
mod watch;

use std::time::{Duration, Instant};

use self::asks::Asks;
use self::connections::Connections;
use self::effect::{Caller, Outbox};
use self::grace::{Deferred, Grace};
use self::history::Detail;
use self::idle::Idle;
use self::overview::Overview;
use self::peers::{Peers, REMOTE_WAIT};
use self::refusals::Refused;
use crate::protocol::codec::FrameError;
use crate::protocol::{
    Answer, AskKind, ClientMessage, ClientTag, Hello, Notice, OpenAsks, Renamed, Request, RequestId, SessionId,
    VERSIONS, Watch, Welcome,
};

pub use self::asks::REMEMBERED;
pub use self::connections::{ConnId, HELLO_WAIT};
pub use self::effect::{CloseReason, Effect};
pub use self::grace::GRACE;
pub use self::input::Input;
pub use self::limits::Limits;
pub use self::overview::{HubInfo, ProgramStatus, StatusLine};
pub use self::peers::GONE_WAIT;

/// The hub's state and rules.
#[derive(Debug, Clone)]
pub struct Hub {
    limits: Limits,
    overview: Overview,
    connections: Connections,
    peers: Peers,
    asks: Asks,
    grace: Grace,
    idle: Idle,
    out: Outbox,
    /// The time of what happened last, until all its effects were polled.
    clock: Option<Instant>,
}

impl Hub {
    /// Starts a hub that nobody is connected to. Without an idle timeout it never leaves by itself.
    pub fn new(now: Instant, limits: Limits, idle_timeout: Option<Duration>, info: HubInfo) -> Self {
        Self {
            limits,
            overview: Overview { info, program: ProgramStatus::default(), started: now },
            connections: Connections::new(),
            peers: Peers::new(),
            asks: Asks::new(now),
            grace: Grace::new(now),
            idle: Idle::new(now, idle_timeout),
            out: Outbox::default(),
            clock: None,
        }
    }

    /// Handles something that happened. A message is to be handed in only when the effects of what was before were all
    /// polled.
    pub fn handle(&mut self, now: Instant, input: Input) {
        self.clock = Some(now);
        match (self.connections.find(input.conn()), input) {
            (_, Input::Connected { conn }) => self.handle_connected(now, conn),
            (_, Input::ProcessEnded { conn }) => {
                self.connections.lost_client(conn).into_iter().for_each(|tag| self.leave(now, tag));
            }
            (Some(open), Input::Received { conn, message }) => self.handle_message(now, conn, open.client, message),
            (Some(_), Input::Malformed { conn, error }) => self.handle_malformed(now, conn, &error),
            (Some(_), Input::Disconnected { conn }) => self.lose(now, conn),
            (Some(_), Input::Congested { conn }) => self.asks.pending_mut().handle_congested(conn),
            (Some(_), Input::Drained { conn }) => self.asks.pending_mut().handle_drained(conn),
            (None, _) => {}
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.clock = Some(now);
        if !self.grace.handle_timeout(now, &mut self.asks) {
            self.do_what_is_due(now);
        }
    }

    fn do_what_is_due(&mut self, now: Instant) {
        while let Some(conn) = self.connections.pop_silent(now) {
            self.close(now, conn, CloseReason::NoHello);
        }
        self.asks.handle_timeout(now, &self.peers, &mut self.out);
        while let Some(tag) = self.peers.pop_gone(now) {
            let OpenAsks { sent, received } = self.asks.counts(tag);
            if self.peers.is_remote(tag) && sent + received > 0 {
                self.peers.wait(tag, now + REMOTE_WAIT);
            } else {
                self.leave(now, tag);
            }
        }
        let kept_until = self.peers.poll_timeout().filter(|_| self.is_between_channels());
        if self.idle.handle_timeout(now, kept_until) {
            self.out.push(Effect::Exit);
        }
    }

    /// Returns the next effect that is to be performed.
    ///
    /// Where much is to be done, as at the end of the grace period, it is done step by step as its effects are polled, so
    /// that they never pile up.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        while self.out.is_empty() && self.go_on() {}
        let effect = self.out.pop();
        if effect.is_none() {
            self.clock = None;
        }
        effect
    }

    /// Does one step of what is left to do. Returns whether there was one.
    fn go_on(&mut self) -> bool {
        let Some(now) = self.clock else { return false };
        if self.asks.send_pending(now, &self.peers, &mut self.out) {
            return true;
        }
        if let Some(deferred) = self.grace.pop_due() {
            self.retry(now, deferred);
            return true;
        }
        let has_finished = self.grace.finish();
        if has_finished {
            self.asks.close_reported(&self.peers, &mut self.out);
            self.do_what_is_due(now);
        }
        has_finished
    }

    /// Returns when [`Hub::handle_timeout`] is to be called next, and what for; to be asked when all effects were polled.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        if self.grace.is_ending() {
            return None;
        }
        [
            (self.grace.poll_timeout(), "grace"),
            (self.connections.poll_timeout(), "hello"),
            (self.asks.poll_timeout(), "ask"),
            (self.peers.poll_timeout(), "gone"),
            (self.idle.poll_timeout(), "idle"),
        ]
        .into_iter()
        .filter_map(|(at, what)| Some((at?, what)))
        .min_by_key(|(at, _)| *at)
    }

    /// Returns whether a client of a former hub may still be coming back.
    pub const fn is_in_grace(&self) -> bool {
        self.grace.is_on()
    }

    /// Records what `status` says of the hub's program.
    pub const fn set_program_status(&mut self, program: ProgramStatus) {
        self.overview.program = program;
    }

    /// Sets how much is recorded of the asks from here on: nothing before this is called.
    pub const fn set_recorded(&mut self, detail: Detail) {
        self.out.set_recorded(detail);
    }

    /// Counts that a reader was too slow for the limit `queued_bytes`, which is watched outside of the rules.
    pub fn count_slow_reader(&mut self) {
        self.out.count_limit("queued_bytes");
    }

    /// Returns whether a value is kept for the next channel of a session: two seconds at most once its channel has left.
    pub fn is_between_channels(&self) -> bool {
        self.peers.has_parked()
    }

    /// Returns whether nothing of any client is left but what is remembered of ended asks.
    pub fn is_quiet(&self) -> bool {
        self.connections.is_empty() && self.peers.is_empty() && self.asks.is_quiet() && self.out.watchers().is_empty()
    }

    /// Returns whether a connection has said a hello that was accepted. Before it, only a small frame is to be read of it.
    pub fn has_greeted(&self, conn: ConnId) -> bool {
        self.connections.client(conn).is_some()
    }

    /// Returns the session on this connection: its agent is waited for when the connection is lost.
    pub fn agent(&self, conn: ConnId) -> Option<&SessionId> {
        self.peers.session_id(self.connections.client(conn)?)
    }

    /// Returns how many bytes of texts the hub holds for a connection that takes nothing at present.
    pub fn waiting_bytes(&self, conn: ConnId) -> usize {
        self.asks.pending().bytes(conn)
    }

    /// Returns what the service manager is told of the hub's state.
    pub fn status_line(&self) -> StatusLine {
        StatusLine::new(&self.peers, &self.asks)
    }

    fn handle_connected(&mut self, now: Instant, conn: ConnId) {
        self.connections.insert(now, conn);
        self.idle.handle_connections(now, self.connections.len());
        if self.connections.len() as u64 > self.limits.connections {
            self.out.refuse_stranger(conn, None, refusals::too_many_connections(&self.limits));
            self.close(now, conn, CloseReason::TooManyConnections);
        }
    }

    fn handle_malformed(&mut self, now: Instant, conn: ConnId, error: &FrameError) {
        self.out.refuse_stranger(conn, error.request_id(), refusals::malformed(error));
        if error.is_fatal() {
            self.close(now, conn, CloseReason::Malformed);
        }
    }

    fn handle_message(&mut self, now: Instant, conn: ConnId, client: Option<ClientTag>, message: ClientMessage) {
        match (message, client) {
            (ClientMessage::Request(id, Request::Hello(hello)), None) => self.handle_hello(now, conn, id, *hello),
            (ClientMessage::Notice(Notice::Bye), None) => self.close(now, conn, CloseReason::Bye),
            (ClientMessage::Request(id, request), None) => {
                self.out.refuse_stranger(conn, Some(id), refusals::not_registered(request.kind()));
            }
            (ClientMessage::Notice(notice), None) => {
                self.out.refuse_stranger(conn, None, refusals::not_registered(notice.kind()));
            }
            (ClientMessage::Request(id, request), Some(tag)) => {
                let caller = Caller { tag, conn: Some(conn), id };
                if let Err(refused) = self.handle_request(now, caller, request) {
                    self.out.refuse(caller, refused);
                }
            }
            (ClientMessage::Notice(notice), Some(tag)) => self.handle_notice(now, conn, tag, notice),
        }
    }

    fn handle_request(&mut self, now: Instant, caller: Caller, request: Request) -> Result<(), Refused> {
        match request {
            Request::Hello(_) => Err(refusals::already_registered()),
            Request::Peers => {
                let peers = Overview::peers(now, &self.peers, &self.asks, self.grace.is_on(), caller.tag);
                self.out.answer(caller, Answer::Peers(peers));
                Ok(())
            }
            Request::Status => {
                let (connections, settling) = (&self.connections, self.grace.is_on());
                let status = self.overview.status(now, connections, &self.peers, &self.asks, settling, &self.out);
                self.out.answer(caller, Answer::Status(Box::new(status)));
                Ok(())
            }
            Request::Watch(watch) => self.handle_watch(now, caller, watch),
            Request::Ask(ask) => self.handle_ask(now, caller, AskKind::Ask, ask),
            Request::Tell(tell) => self.handle_ask(now, caller, AskKind::Tell, tell.into()),
            Request::Broadcast(broadcast) => self.handle_broadcast(now, caller, broadcast),
            Request::Audience(audience) => self.handle_audience(caller, &audience),
            Request::Reply(reply) => self.handle_reply(now, caller, reply),
            Request::Rename(rename) => {
                if self.peers.is_remote(caller.tag) {
                    return Err(refusals::only_here("be renamed"));
                }
                let name = self.peers.rename(caller.tag, &rename.name, &mut self.out)?;
                self.out.answer(caller, Answer::Renamed(Renamed { name }));
                Ok(())
            }
        }
    }

    fn handle_notice(&mut self, now: Instant, conn: ConnId, tag: ClientTag, notice: Notice) {
        match notice {
            Notice::Progress(progress) => self.handle_progress(now, tag, progress),
            Notice::Taken(taken) => self.handle_taken(now, tag, taken),
            Notice::Withdraw(withdraw) => self.handle_withdraw(now, tag, withdraw.ask_id),
            Notice::Decline(decline) => self.handle_decline(now, tag, decline),
            Notice::Reach(reach) => self.peers.set_reachable(now, tag, reach.reachable, &mut self.out),
            Notice::Presence(presence) => self.peers.set_presence(now, tag, presence, &mut self.out),
            Notice::Named(named) => self.peers.follow_name(tag, &named.name, &mut self.out),
            Notice::Park(park) => {
                if let Err(refused) = self.peers.park(&self.limits, tag, park.value) {
                    tracing::warn!(peer = self.peers.sender(tag), error = %refused.error, "dropped a parked value");
                    self.out.count(&refused);
                }
            }
            Notice::Bye => self.handle_bye(now, conn, tag),
        }
    }

    fn handle_hello(&mut self, now: Instant, conn: ConnId, id: RequestId, hello: Hello) {
        let Some(version) = VERSIONS.common(hello.versions) else {
            let refused = refusals::protocol_mismatch(hello.versions, &hello.program);
            self.out.refuse_stranger(conn, Some(id), refused);
            return self.close(now, conn, CloseReason::ProtocolMismatch);
        };
        // What was said on an older connection may be read last.
        if self.peers.conn(hello.kind.tag()).is_some_and(|present| present > conn) {
            self.out.refuse_stranger(conn, Some(id), refusals::superseded());
            return self.close(now, conn, CloseReason::Superseded);
        }
        let settling = self.grace.is_on();
        let arrival = self.peers.hello(now, conn, hello, settling, &mut self.out);
        let tag = arrival.tag;
        if let Some(old) = arrival.superseded {
            self.out.refuse_stranger(old, None, refusals::superseded());
            self.close(now, old, CloseReason::Superseded);
        }
        self.connections.set_client(conn, tag);
        tracing::info!(conn = conn.0, peer = self.peers.sender(tag), is_back = arrival.is_back, "a client has come");
        let welcome = Welcome {
            version,
            name: self.peers.name(tag).cloned(),
            hub: self.overview.info.version.to_owned(),
            hub_pid: self.overview.info.pid,
            settling,
            sent: self.asks.own(now, &self.peers, tag),
            parked: arrival.parked,
        };
        let caller = Caller { tag, conn: Some(conn), id };
        self.out.answer(caller, Answer::Welcome(Box::new(welcome)));
        if arrival.is_back {
            self.asks.resend(&self.peers, tag);
        } else {
            let counts = self.asks.counts(tag);
            self.out.watched(|| self.peers.came(now, tag, counts));
        }
        if settling {
            let peers = &self.peers;
            let is_for_it = |deferred: &Deferred| deferred.ask().is_some_and(|ask| peers.resolve(ask) == Ok(tag));
            let ready = self.grace.take(is_for_it, &mut self.asks);
            ready.into_iter().for_each(|deferred| self.retry(now, deferred));
        }
    }

    fn handle_watch(&mut self, now: Instant, caller: Caller, watch: Watch) -> Result<(), Refused> {
        if self.peers.name(caller.tag).is_some() {
            return Err(refusals::only_control("watch"));
        }
        if let Some(conn) = caller.conn {
            self.out.watchers_mut().insert(conn, watch.text)?;
        }
        let watching = self.overview.watching(now, &self.peers, &self.asks, self.grace.is_on(), caller.tag);
        self.out.answer(caller, Answer::Watching(Box::new(watching)));
        Ok(())
    }

    /// Lets a client leave in order, unless it parked a value for the session's next channel.
    fn handle_bye(&mut self, now: Instant, conn: ConnId, tag: ClientTag) {
        self.close(now, conn, CloseReason::Bye);
        match self.peers.parked_by(tag) {
            Some(session) => self.out.push(Effect::AwaitAgent { conn, session }),
            None => self.leave(now, tag),
        }
    }

    /// Closes a connection.
    fn close(&mut self, now: Instant, conn: ConnId, reason: CloseReason) {
        self.lose(now, conn);
        self.out.push(Effect::Close { conn, reason });
    }

    /// Forgets a connection that is over. Its client is waited for, unless it has another one.
    fn lose(&mut self, now: Instant, conn: ConnId) {
        self.asks.pending_mut().forget(conn);
        self.out.watchers_mut().remove(conn);
        if let Some(tag) = self.connections.remove(conn)
            && self.peers.conn(tag) == Some(conn)
        {
            if self.peers.is_remote(tag) {
                self.peers.set_reachable(now, tag, false, &mut self.out);
                self.peers.wait(tag, now + REMOTE_WAIT);
            } else {
                self.peers.wait(tag, now + GONE_WAIT);
                self.connections.remember_lost(conn, tag);
            }
        }
        self.idle.handle_connections(now, self.connections.len());
    }

    /// Removes a client for good, whichever way it went.
    fn leave(&mut self, now: Instant, tag: ClientTag) {
        self.grace.take(|deferred| deferred.caller.tag == tag, &mut self.asks);
        self.asks.peer_left(now, &self.peers, tag, &mut self.out);
        self.connections.forget_lost(tag);
        self.peers.remove(tag, &mut self.out);
    }
}
