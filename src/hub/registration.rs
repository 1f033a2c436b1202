//! How clients come and go: accepted, hello, rename, bye, lost, gone.

use std::time::Instant;

use super::asks::{Ending, Phase};
use super::companions::{Client, Companion, Role};
use super::peers::{GONE_WAIT, Registered};
use super::{CloseReason, ConnId, Effect, Hub, Kinship, refusal};
use crate::protocol::codec::FrameError;
use crate::protocol::{
    AskEvent, AskId, ClientKind, ClientMessage, Hello, HubMessage, PeerName, PeerTag, Place, Refusal, ReplyEvent,
    RequestId, VERSIONS, WatchedEvent, Welcome,
};

/// The most bytes that are kept of a client's program, branch or MCP client.
const PROGRAM_MAX_BYTES: usize = 256;

/// The most bytes that are kept of a session's folder.
const CWD_MAX_BYTES: usize = 1024;

impl Hub {
    pub(super) fn handle_connected(&mut self, now: Instant, conn: ConnId) {
        self.connections.insert(now, conn);
        self.idle.handle_connections(now, self.connections.len());
        if self.connections.len() as u64 > self.limits.connections {
            let error = refusal::too_many_connections(&self.limits);
            self.reached.count("connections");
            self.send_to(conn, HubMessage::Error { id: None, error });
            self.close(now, conn, CloseReason::TooManyConnections);
        }
    }

    pub(super) fn handle_malformed(&mut self, now: Instant, conn: ConnId, error: &FrameError) {
        match error {
            FrameError::TooLong { .. } => self.reached.count("frame_bytes"),
            FrameError::Crowded { .. } => self.reached.count("unfinished_bytes"),
            FrameError::NotUtf8 | FrameError::NotAnObject(_) | FrameError::NotAMessage { .. } => {}
        }
        self.send_to(conn, HubMessage::Error { id: error.request_id(), error: error.refusal() });
        if error.is_fatal() {
            self.close(now, conn, CloseReason::Malformed);
        }
    }

    pub(super) fn handle_first_message(&mut self, now: Instant, conn: ConnId, message: ClientMessage) {
        let (id, kind) = (message.request_id(), message.kind());
        if self.seats.is_waiting(conn) && message != (ClientMessage::Bye {}) {
            return;
        }
        if let ClientMessage::Hello(hello) = message {
            return self.handle_hello(now, conn, *hello);
        }
        if message == (ClientMessage::Bye {}) {
            return self.close(now, conn, CloseReason::Bye);
        }
        self.send_to(conn, HubMessage::Error { id, error: refusal::not_registered(kind) });
    }

    pub(super) fn handle_hello(&mut self, now: Instant, conn: ConnId, mut hello: Hello) {
        let id = hello.id;
        bound_facts(&mut hello);
        let Some(version) = VERSIONS.common(hello.versions) else {
            self.refuse(conn, id, refusal::protocol_mismatch(hello.versions, &hello.program));
            return self.close(now, conn, CloseReason::ProtocolMismatch);
        };
        let settling = self.settling.is_on();
        let kinship = self.connections.take_kinship(conn);
        if let Kinship::Refuted { pid } = kinship
            && let Err(error) = disown(&mut hello.kind, pid)
        {
            return self.refuse(conn, id, error);
        }
        let is_proven = kinship == Kinship::Proven;
        let client = hello.kind.process().map(|process| Client { process, is_proven });
        if let (ClientKind::Waiter(facts) | ClientKind::Hook(facts), Some(client)) = (&hello.kind, client) {
            let role = if matches!(hello.kind, ClientKind::Waiter(_)) { Role::Waiter } else { Role::Hook };
            let companion = Companion::new(hello.key.tag(), role, client, facts.clone());
            return self.take_in(now, conn, id, version, companion);
        }
        let mut heir = None;
        if let Some(client) = client {
            let Some((seated, former)) = self.seat(now, conn, client, version, hello) else { return };
            (hello, heir) = (seated, former);
            if heir.is_none() {
                self.succeed(client, &mut hello);
            }
        }
        let key = hello.key;
        let Registered { tag, superseded, displaced, resumed } = self.peers.register(now, conn, hello, settling);
        if let Some(old) = superseded.filter(|old| *old != conn) {
            self.connections.remove(old);
            self.backlogs.forget(old);
            self.watchers.remove(old);
            self.effects.push_back(Effect::Close { conn: old, reason: CloseReason::Superseded });
        }
        self.connections.set_client(conn, tag);
        self.connections.forget_lost(tag);
        let name = self.peers.name(tag).cloned();
        let turn = self.seat_of(tag).map_or(0, |seat| seat.turn);
        let place = heir.map(|_| Place::Heir { key, turn });
        tracing::info!(conn = conn.0, peer = name.as_ref().map(PeerName::as_str), resumed, "a client has come");
        self.send_to(
            conn,
            HubMessage::Welcome(Welcome { id, version, name, hub: self.program.version.to_owned(), settling, place }),
        );
        if heir.is_some() {
            self.bequeath(now, tag);
        } else {
            self.seats.forget(tag);
        }
        if let Some((other, name)) = displaced {
            if let Some(former) = self.peers.name(tag).cloned() {
                self.tell_renamed(&former, &name);
            }
            self.send(other, HubMessage::Renamed { id: None, name });
        }
        if resumed {
            self.say_again(conn, tag);
        } else {
            self.tell_peer_came(now, tag);
        }
        self.retry_for_newcomer(now, tag);
        self.handle_channel_came(now, client, tag);
        if let Some(client) = client {
            self.retry_waiting(now, |waiting| waiting == client);
        }
    }

    /// Takes a companion in.
    fn take_in(&mut self, now: Instant, conn: ConnId, id: RequestId, version: u32, companion: Companion) {
        self.connections.set_greeted(conn);
        let (hub, settling) = (self.program.version.to_owned(), self.settling.is_on());
        self.send_to(conn, HubMessage::Welcome(Welcome { id, version, name: None, hub, settling, place: None }));
        self.handle_companion(now, conn, companion);
    }

    /// Tells a client that is back what its lost connection may have swallowed, as fast as it takes it.
    fn say_again(&mut self, conn: ConnId, tag: PeerTag) {
        for ask_id in self.asks.received_by(tag).into_iter().chain(self.asks.sent_by(tag)) {
            self.hold_back(conn, ask_id);
        }
    }

    /// Sends an open ask whose question was not handed over yet to the asked session.
    pub(super) fn send_question(&mut self, now: Instant, ask_id: AskId) {
        let conn = self.asks.get(ask_id).and_then(|ask| self.peers.conn(ask.asked));
        conn.into_iter().for_each(|conn| self.send_or_hold(now, conn, ask_id));
    }

    /// Sends a reply that was not taken yet to its asker.
    pub(super) fn send_answer(&mut self, now: Instant, ask_id: AskId) {
        let conn = self.asks.get(ask_id).and_then(|ask| self.peers.conn(ask.asker));
        conn.into_iter().for_each(|conn| self.send_or_hold(now, conn, ask_id));
    }

    fn send_or_hold(&mut self, now: Instant, conn: ConnId, ask_id: AskId) {
        if self.backlogs.is_waited_for(conn) {
            self.hold_back(conn, ask_id);
        } else {
            self.send_held(now, conn, ask_id);
        }
    }

    fn hold_back(&mut self, conn: ConnId, ask_id: AskId) {
        if let Some(ask) = self.asks.get(ask_id) {
            self.backlogs.push(conn, ask.number, ask_id, ask.phase.held_bytes());
        }
    }

    /// Sends what is held of an ask and meant for this connection's client: the question or the reply.
    pub(super) fn send_held(&mut self, now: Instant, conn: ConnId, ask_id: AskId) {
        let Some(ask) = self.asks.get(ask_id) else { return };
        let message = match &ask.phase {
            Phase::Open { question: Some(question) } if self.peers.conn(ask.asked) == Some(conn) => {
                let Some(asker) = self.peers.get(ask.asker) else { return };
                let left = ask.deadline().saturating_duration_since(now);
                HubMessage::Ask(AskEvent {
                    ask_id,
                    from: asker.sender(),
                    question: question.to_string(),
                    timeout_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
                    broadcast_id: ask.broadcast,
                    asker: Some(ask.asker),
                })
            }
            Phase::Answered(answer) if self.peers.conn(ask.asker) == Some(conn) => {
                let (from, text) = (answer.from.clone(), answer.text.clone());
                HubMessage::Reply(ReplyEvent { ask_id, from, by: ask.asked, text })
            }
            Phase::Open { .. } | Phase::Answered(_) | Phase::Ended { .. } => return,
        };
        self.send_to(conn, message);
    }

    /// Handles asks again that waited for this peer to come.
    fn retry_for_newcomer(&mut self, now: Instant, tag: PeerTag) {
        let Some(name) = self.peers.name(tag).cloned().filter(|_| self.settling.is_on()) else { return };
        let ready = self.settling.take(|deferred| {
            let ClientMessage::Ask(ask) = &deferred.message else { return false };
            match ask.bound {
                Some(bound) => bound == tag,
                None => PeerName::parse(&ask.to).is_ok_and(|to| to == name),
            }
        });
        ready.into_iter().for_each(|deferred| self.retry(now, deferred));
    }

    pub(super) fn handle_rename(&mut self, conn: ConnId, tag: PeerTag, id: RequestId, name: &str) {
        let Some(own) = self.peers.name(tag).cloned() else {
            return self.refuse(conn, id, refusal::only_sessions("have a name"));
        };
        match self.peers.rename(tag, name) {
            Ok(name) => {
                tracing::info!(peer = name.as_str(), former = own.as_str(), "a peer was renamed");
                self.tell_renamed(&own, &name);
                self.send_to(conn, HubMessage::Renamed { id: Some(id), name });
            }
            Err(error) => self.refuse(conn, id, refusal::rename(&error, own.as_str())),
        }
    }

    /// Follows the name that the session's user gave it in its client.
    pub(super) fn handle_named(&mut self, tag: PeerTag, wanted: &str) {
        let Some(former) = self.peers.name(tag).cloned() else { return };
        if let Some(name) = self.peers.rename_freely(tag, wanted) {
            self.tell_renamed(&former, &name);
            tracing::info!(peer = name.as_str(), "a peer was renamed by its client");
            self.send(tag, HubMessage::Renamed { id: None, name });
        }
    }

    pub(super) fn handle_bye(&mut self, now: Instant, conn: ConnId, tag: PeerTag) {
        self.close(now, conn, CloseReason::Bye);
        if self.seat_of(tag).is_some() {
            self.handle_seat_left(now, tag, true);
        } else {
            self.forget(now, tag);
        }
    }

    pub(super) fn handle_disconnected(&mut self, now: Instant, conn: ConnId) {
        if !self.connections.is_open(conn) {
            return;
        }
        self.watchers.remove(conn);
        self.backlogs.forget(conn);
        self.handle_companion_left(conn);
        self.seats.remove(conn);
        if let Some(tag) = self.connections.remove(conn) {
            let settled = self.settling.poll_timeout().unwrap_or(now);
            self.peers.handle_lost(tag, conn, (now + GONE_WAIT).max(settled));
            self.connections.remember_lost(conn, tag);
            self.handle_seat_left(now, tag, false);
        }
        self.idle.handle_connections(now, self.connections.len());
    }

    pub(super) fn handle_process_ended(&mut self, now: Instant, conn: ConnId) {
        if let Some(tag) = self.connections.lost_client(conn)
            && self.peers.get(tag).is_some_and(|peer| peer.conn.is_none())
        {
            match self.seat_of(tag) {
                Some(_) => self.end_seat(now, tag),
                None => self.forget(now, tag),
            }
        }
    }

    /// Closes a connection. Its client, if it has one, is waited for or forgotten by the caller.
    pub(super) fn close(&mut self, now: Instant, conn: ConnId, reason: CloseReason) {
        if !self.connections.is_open(conn) {
            return;
        }
        self.watchers.remove(conn);
        self.backlogs.forget(conn);
        self.handle_companion_left(conn);
        self.seats.remove(conn);
        if let Some(tag) = self.connections.remove(conn) {
            self.peers.handle_lost(tag, conn, now + GONE_WAIT);
        }
        self.effects.push_back(Effect::Close { conn, reason });
        self.idle.handle_connections(now, self.connections.len());
    }

    /// Removes a client for good: what it was asked has failed, what it asked is withdrawn.
    pub(super) fn forget(&mut self, now: Instant, tag: PeerTag) {
        for ask_id in self.asks.received_by(tag) {
            let answered = self.asks.get(ask_id).is_some_and(|ask| matches!(ask.phase, Phase::Answered(_)));
            if !answered {
                self.end_ask(now, ask_id, Ending::PeerGone);
            }
        }
        for ask_id in self.asks.sent_by(tag) {
            self.end_ask(now, ask_id, Ending::Withdrawn);
        }
        self.connections.forget_lost(tag);
        self.seats.forget(tag);
        let successor = self.handle_channel_gone(now, tag);
        if let Some(peer) = self.peers.forget(tag) {
            tracing::info!(peer = peer.sender(), "a client has gone");
            if let Some(session) = peer.session {
                let name = session.name.clone();
                self.tell_watchers(|_| Some(WatchedEvent::PeerLeft { name }));
                if let Some(successor) = successor {
                    self.bequeath_name(successor, session.name);
                }
            }
        }
    }
}

/// Takes the client process from what a client says of itself that was not started by it: a channel is then a session
/// without companions, with its own process id.
///
/// # Errors
/// A companion is nothing without that process.
fn disown(kind: &mut ClientKind, own: u32) -> Result<(), Refusal> {
    match kind {
        ClientKind::Channel(facts) => {
            tracing::warn!(pid = own, client = facts.pid, "a session names a client process that did not start it");
            facts.pid = own;
            (facts.start, facts.seat) = (None, None);
            Ok(())
        }
        ClientKind::Waiter(facts) | ClientKind::Hook(facts) => Err(refusal::no_descendant(facts.process.pid, own)),
        ClientKind::Control {} => Ok(()),
    }
}

/// Cuts what a client says of itself to what people read: it is kept, listed to everybody and shown on terminals.
fn bound_facts(hello: &mut Hello) {
    let bound = |text: &mut String, max: usize| {
        if text.len() > max || text.contains(char::is_control) {
            *text = text.chars().filter(|c| !c.is_control()).take(max / 4).collect();
        }
    };
    bound(&mut hello.program, PROGRAM_MAX_BYTES);
    if let ClientKind::Channel(facts) = &mut hello.kind {
        bound(&mut facts.cwd, CWD_MAX_BYTES);
        for text in [&mut facts.branch, &mut facts.client].into_iter().flatten() {
            bound(text, PROGRAM_MAX_BYTES);
        }
    }
}
