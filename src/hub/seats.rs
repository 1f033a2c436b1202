//! The channels of one session: which one is the peer, which are its seconds, and what passes from one to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::asks::{Ending, Phase};
use super::companions::Client;
use super::{CloseReason, ConnId, Effect, Hub, Kinship, refusal};
use crate::protocol::{
    AskId, AskState, Bequest, ClientKind, ClientMessage, ClientProcess, Hello, HubMessage, PeerTag, Place, Seat,
    Standing, Welcome,
};

/// What a bequest takes beside its texts, in bytes.
const BEQUEST_BYTES: u64 = 256;

/// A channel that is no peer, since its session has one.
#[derive(Debug, Clone, Copy)]
struct Second {
    tag: PeerTag,
    peer: PeerTag,
}

/// What a channel has left that is gone or whose connection is lost.
#[derive(Debug, Clone)]
struct Estate {
    since: Instant,
    /// Whether the channel is gone for good, so that another may succeed it.
    ended: bool,
    /// Whether it said bye, and so what was open.
    left: bool,
    items: Vec<(Instant, Bequest)>,
}

/// What a channel that says hello is to be.
enum Arrival {
    /// The peer: a new one, or the one that is back.
    Peer,
    /// A second beside the peer.
    Second(PeerTag),
    /// The successor of the last one.
    Heir(PeerTag),
    /// Nobody knows yet.
    Wait,
    /// Nothing: another has succeeded it.
    Late,
}

/// The seats of all sessions. Invariant: a connection is in at most one of `seconds` and `waiting`.
#[derive(Debug, Clone, Default)]
pub(super) struct Seats {
    seconds: BTreeMap<ConnId, Second>,
    waiting: BTreeMap<ConnId, (Client, Hello)>,
    estates: BTreeMap<PeerTag, Estate>,
    bytes: u64,
}

impl Seats {
    /// Returns the peer as whose second this connection speaks.
    pub(super) fn peer_of(&self, conn: ConnId) -> Option<PeerTag> {
        self.seconds.get(&conn).map(|second| second.peer)
    }

    /// Returns whether this connection has said hello and waits for its welcome.
    pub(super) fn is_waiting(&self, conn: ConnId) -> bool {
        self.waiting.contains_key(&conn)
    }

    /// Returns whether something is kept for a channel that may come.
    pub(super) fn has_estates(&self) -> bool {
        !self.estates.is_empty()
    }

    /// Returns whether a channel is gone for good and only its seat is kept.
    pub(super) fn has_ended(&self, tag: PeerTag) -> bool {
        self.estates.get(&tag).is_some_and(|estate| estate.ended)
    }

    /// Forgets a connection that is over.
    pub(super) fn remove(&mut self, conn: ConnId) {
        self.seconds.remove(&conn);
        self.waiting.remove(&conn);
    }

    /// Forgets what a channel left.
    pub(super) fn forget(&mut self, tag: PeerTag) {
        self.take(tag);
    }

    fn take(&mut self, tag: PeerTag) -> Option<Estate> {
        let estate = self.estates.remove(&tag)?;
        self.bytes -= estate.items.iter().map(|(_, item)| cost(item)).sum::<u64>();
        Some(estate)
    }

    fn estate(&mut self, now: Instant, tag: PeerTag) -> &mut Estate {
        self.estates.entry(tag).or_insert(Estate { since: now, ended: false, left: false, items: Vec::new() })
    }

    fn seconds_of(&self, peer: PeerTag) -> Vec<ConnId> {
        self.seconds.iter().filter(|(_, second)| second.peer == peer).map(|(conn, _)| *conn).collect()
    }

    fn take_waiting(&mut self, which: impl Fn(Client) -> bool) -> Vec<(ConnId, (Client, Hello))> {
        self.waiting.extract_if(.., |_, (client, _)| which(*client)).collect()
    }
}

fn cost(item: &Bequest) -> u64 {
    item.text_bytes() as u64 + BEQUEST_BYTES
}

impl Hub {
    /// Seats a channel that says hello. Returns the hello with which it is registered as the peer, and whom it succeeds;
    /// none where it is no peer.
    pub(super) fn seat(
        &mut self,
        now: Instant,
        conn: ConnId,
        client: Client,
        version: u32,
        mut hello: Hello,
    ) -> Option<(Hello, Option<PeerTag>)> {
        let ClientKind::Channel(facts) = &mut hello.kind else { return Some((hello, None)) };
        let Some(seat) = &mut facts.seat else { return Some((hello, None)) };
        match self.arrival(client, hello.key.tag(), *seat) {
            Arrival::Peer => Some((hello, None)),
            Arrival::Heir(former) => {
                let turn = self.seat_of(former).map_or(0, |seat| seat.turn) + 1;
                *seat = Seat { turn, second: false };
                hello.key = self.peers.get(former)?.key;
                Some((hello, Some(former)))
            }
            Arrival::Second(peer) => {
                self.connections.set_greeted(conn);
                self.seats.seconds.insert(conn, Second { tag: hello.key.tag(), peer });
                let (name, settling) = (self.peers.name(peer).cloned(), self.settling.is_on());
                let (hub, place) = (self.program.version.to_owned(), Some(Place::Second));
                self.send_to(conn, HubMessage::Welcome(Welcome { id: hello.id, version, name, hub, settling, place }));
                None
            }
            Arrival::Wait => {
                self.connections.set_greeted(conn);
                self.seats.waiting.insert(conn, (client, hello));
                None
            }
            Arrival::Late => {
                self.refuse(conn, hello.id, refusal::succeeded());
                self.close(now, conn, CloseReason::Superseded);
                None
            }
        }
    }

    fn arrival(&self, client: Client, own: PeerTag, seat: Seat) -> Arrival {
        let Some(peer) = self.companions.channel(client) else {
            // Its peer may be coming back to this hub.
            return if seat.second && self.settling.is_on() { Arrival::Wait } else { Arrival::Peer };
        };
        let Some(theirs) = self.seat_of(peer) else { return Arrival::Peer };
        if peer == own {
            return if theirs.turn > seat.turn { Arrival::Late } else { Arrival::Peer };
        }
        if self.peers.conn(peer).is_some() {
            return Arrival::Second(peer);
        }
        if self.seats.has_ended(peer) { Arrival::Heir(peer) } else { Arrival::Wait }
    }

    /// Returns the seat of a peer that has one.
    pub(super) fn seat_of(&self, tag: PeerTag) -> Option<Seat> {
        self.peers.get(tag)?.session.as_ref()?.facts.seat
    }

    /// Takes note that the connection of a peer with a seat is over; `left`: that it said bye.
    pub(super) fn handle_seat_left(&mut self, now: Instant, tag: PeerTag, left: bool) {
        if self.seat_of(tag).is_none() {
            return;
        }
        self.seats.estate(now, tag).left = left;
        for second in self.seats.seconds_of(tag) {
            self.close(now, second, CloseReason::Superseded);
        }
        if left {
            self.end_seat(now, tag);
        }
    }

    /// Takes note that a channel with a seat is gone for good: whoever waits for its seat has it.
    pub(super) fn end_seat(&mut self, now: Instant, tag: PeerTag) {
        self.seats.estate(now, tag).ended = true;
        let Some(client) = self.companions.client(tag) else { return };
        self.effects.push_back(Effect::Watch { process: client.process });
        self.retry_waiting(now, |waiting| waiting == client);
    }

    /// Takes note of the end of a client: nobody succeeds its channel any more.
    pub(super) fn handle_client_ended(&mut self, now: Instant, process: ClientProcess) {
        for is_proven in [true, false] {
            if let Some(tag) = self.companions.channel(Client { process, is_proven })
                && self.peers.conn(tag).is_none()
            {
                self.forget(now, tag);
            }
        }
    }

    /// Forgets a peer that was waited for in vain, unless another channel waits for its seat.
    pub(super) fn handle_gone(&mut self, now: Instant, tag: PeerTag) {
        let client = self.companions.client(tag).filter(|_| self.seat_of(tag).is_some());
        if let Some(client) = client
            && self.seats.waiting.values().any(|(waiting, _)| *waiting == client)
        {
            return self.end_seat(now, tag);
        }
        self.forget(now, tag);
    }

    /// Hears the hellos again that waited for these sessions' peers.
    pub(super) fn retry_waiting(&mut self, now: Instant, which: impl Fn(Client) -> bool) {
        for (conn, (client, hello)) in self.seats.take_waiting(which) {
            let kinship = if client.is_proven { Kinship::Proven } else { Kinship::Unknown };
            self.connections.set_kinship(conn, kinship);
            self.handle_hello(now, conn, hello);
        }
    }

    /// Keeps what a leaving peer leaves, as far as there is room.
    pub(super) fn handle_bequest(&mut self, now: Instant, tag: PeerTag, bequest: Bequest) {
        if self.seat_of(tag).is_none() {
            return;
        }
        if self.seats.bytes + cost(&bequest) > self.limits.held_bytes {
            tracing::warn!(held = self.seats.bytes, "dropped what a channel left to its successor: too much is held");
            return self.reached.count("held_bytes");
        }
        self.seats.bytes += cost(&bequest);
        self.seats.estate(now, tag).items.push((now, bequest));
    }

    /// Gives a successor what its forerunner left, and what this hub knows of its asks: received ones before the messages
    /// that are about them, sent ones before the tallies that count them.
    pub(super) fn bequeath(&mut self, now: Instant, tag: PeerTag) {
        let Some(Estate { since, left, items, .. }) = self.seats.take(tag) else { return };
        let with_message: BTreeSet<AskId> = items.iter().filter_map(|(_, item)| item.message_of()).collect();
        for ask_id in self.asks.received_by(tag) {
            self.pass_on_received(now, tag, ask_id, with_message.contains(&ask_id));
        }
        let said: BTreeSet<AskId> = items.iter().filter_map(|(_, item)| item.own_ask()).collect();
        for ask_id in self.untold(tag, since, left).into_iter().filter(|id| !said.contains(id)) {
            if let Some(bequest) = self.sent_ask(now, ask_id) {
                self.send(tag, HubMessage::Bequest { waited_ms: 0, bequest });
            }
        }
        for (at, bequest) in items {
            let is_open = |id| self.asks.get(id).is_some_and(|ask| !matches!(ask.phase, Phase::Ended { .. }));
            if bequest.message_of().is_none_or(is_open) {
                let waited_ms = millis(now.saturating_duration_since(at));
                self.send(tag, HubMessage::Bequest { waited_ms, bequest });
            }
        }
        let failed = self.asks.failed_since(tag, since);
        said.into_iter().chain(failed).for_each(|ask_id| self.tell_end(now, ask_id));
    }

    /// Returns the sent asks of which a channel that has gone may not have told an end, in the order of their acceptance.
    fn untold(&self, tag: PeerTag, since: Instant, left: bool) -> Vec<AskId> {
        let mut ids = self.asks.sent_by(tag);
        if !left {
            ids.extend(self.asks.failed_since(tag, since));
            // Those whose time was over it has ended by itself.
            ids.retain(|id| self.asks.get(*id).is_some_and(|ask| ask.deadline() >= since));
        }
        ids
    }

    /// Tells a successor of a received ask whose question its session was given, or is about to be given. One whose text
    /// went with the forerunner is over; one that this hub still has the text of is sent as any other.
    fn pass_on_received(&mut self, now: Instant, tag: PeerTag, ask_id: AskId, has_message: bool) {
        let Some(ask) = self.asks.get(ask_id) else { return };
        let is_here = matches!(&ask.phase, Phase::Open { question: Some(_) });
        if has_message || (ask.state >= AskState::HandedOver && !is_here) {
            let (from, asker, state) = (self.sender_of(ask.asker), Some(ask.asker), ask.state);
            let timeout_ms = millis(ask.deadline().saturating_duration_since(now));
            self.asks.advance(ask_id, state);
            let bequest = Bequest::Received { ask_id, from, asker, timeout_ms, state, standing: Standing::Open };
            self.send(tag, HubMessage::Bequest { waited_ms: 0, bequest });
        } else if !is_here {
            self.end_ask(now, ask_id, Ending::PeerGone);
        }
    }

    /// Returns what this hub knows of a sent ask.
    fn sent_ask(&self, now: Instant, ask_id: AskId) -> Option<Bequest> {
        let ask = self.asks.get(ask_id)?;
        let question =
            if let Phase::Open { question: Some(text) } = &ask.phase { Some(text.to_string()) } else { None };
        Some(Bequest::Ask {
            ask_id,
            to: self.sender_of(ask.asked),
            question,
            timeout_ms: millis(ask.deadline().saturating_duration_since(now)).max(1),
            bound: ask.asked,
            state: ask.state,
            broadcast_id: ask.broadcast,
        })
    }

    /// Handles what a second says: it speaks for its session's peer.
    pub(super) fn handle_second_message(&mut self, now: Instant, conn: ConnId, message: ClientMessage) {
        let Some(Second { tag: by, peer, .. }) = self.seats.seconds.get(&conn).copied() else { return };
        match message {
            ClientMessage::Hello(hello) => self.refuse(conn, hello.id, refusal::already_registered()),
            ClientMessage::Peers { id } => self.answer_peers(now, conn, peer, id),
            ClientMessage::Status { id } => self.answer_status(now, conn, id),
            ClientMessage::Reply(reply) => self.handle_reply(now, conn, peer, reply),
            ClientMessage::Rename { id, name } => {
                let former = self.peers.name(peer).cloned();
                self.handle_rename(conn, peer, id, &name);
                if let Some(name) = self.peers.name(peer).cloned().filter(|name| Some(name) != former.as_ref()) {
                    self.send(peer, HubMessage::Renamed { id: None, name });
                }
            }
            ClientMessage::Ask(_) | ClientMessage::Broadcast(_) | ClientMessage::Withdraw { .. } => {
                self.send(peer, HubMessage::Call { by, request: Box::new(message) });
            }
            ClientMessage::Bequest { bequest } => self.send(peer, HubMessage::Bequest { waited_ms: 0, bequest }),
            ClientMessage::Watch { id, .. } => self.refuse(conn, id, refusal::only_control("watch")),
            ClientMessage::Bye {} => self.close(now, conn, CloseReason::Bye),
            // The peer says these of its session.
            ClientMessage::Progress { .. }
            | ClientMessage::Taken { .. }
            | ClientMessage::Presence(_)
            | ClientMessage::Named { .. }
            | ClientMessage::Offer(_)
            | ClientMessage::Holding { .. }
            | ClientMessage::Verdict(_)
            | ClientMessage::Answer { .. } => {}
        }
    }

    /// Carries a peer's answer to its second.
    pub(super) fn handle_answer(&mut self, peer: PeerTag, to: PeerTag, answer: HubMessage) {
        let conn = self.seats.seconds.iter().find(|(_, second)| second.peer == peer && second.tag == to);
        if let Some(conn) = conn.map(|(conn, _)| *conn) {
            self.send_to(conn, answer);
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
