//! Who watches the traffic, and what they are told: first the whole state, then each change.
//!
//! Texts go to those only that want them. A watcher that reads too slowly is cut like every slow reader, comes back and
//! starts from the whole state again: nothing is queued for it beyond its connection's bound.

use std::collections::BTreeMap;
use std::time::Instant;

use super::asks::{Ending, Phase};
use super::limits::WATCHERS_MAX;
use super::{ConnId, Hub, refusal};
use crate::protocol::{
    AskId, AskOutcome, AskView, HubMessage, PeerName, PeerTag, RequestId, WatchedEvent, WatchingAnswer,
};

/// The connections that watch, and whether they want texts.
#[derive(Debug, Clone, Default)]
pub(super) struct Watchers(BTreeMap<ConnId, bool>);

impl Watchers {
    /// Adds a connection, or changes what it wants.
    pub(super) fn insert(&mut self, conn: ConnId, text: bool) {
        self.0.insert(conn, text);
    }

    /// Removes a connection that is over.
    pub(super) fn remove(&mut self, conn: ConnId) {
        self.0.remove(&conn);
    }

    /// Returns whether as many others watch as may.
    fn is_full(&self, conn: ConnId) -> bool {
        self.0.len() >= WATCHERS_MAX && !self.0.contains_key(&conn)
    }

    /// Returns whether nobody watches.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Hub {
    pub(super) fn handle_watch(&mut self, now: Instant, conn: ConnId, tag: PeerTag, id: RequestId, text: bool) {
        if self.peers.name(tag).is_some() {
            return self.refuse(conn, id, refusal::only_control("watch"));
        }
        if self.watchers.is_full(conn) {
            self.reached.count("watchers");
            return self.refuse(conn, id, refusal::too_many_watchers());
        }
        self.watchers.insert(conn, text);
        let peers = self.peers.others(tag);
        let asks = self.asks.open_in_order();
        let answer = WatchingAnswer {
            id,
            hub: self.program.version.to_owned(),
            pid: self.program.pid,
            settling: self.settling.is_on(),
            peers: peers.iter().filter_map(|peer| self.peers.view(now, *peer, self.asks.open_of(*peer))).collect(),
            asks: asks.into_iter().filter_map(|ask_id| self.ask_view(now, ask_id, false)).collect(),
        };
        self.send_to(conn, HubMessage::Watching(answer));
    }

    /// Tells those who watch. The event is made only if somebody does.
    pub(super) fn tell_watchers(&mut self, event: impl FnOnce(&Self) -> Option<WatchedEvent>) {
        if self.watchers.is_empty() {
            return;
        }
        let Some(event) = event(self) else { return };
        let watchers: Vec<(ConnId, bool)> = self.watchers.0.iter().map(|(conn, text)| (*conn, *text)).collect();
        for (conn, text) in watchers {
            let event = if text { event.clone() } else { without_text(event.clone()) };
            self.send_to(conn, HubMessage::Watched(event));
        }
    }

    pub(super) fn tell_peer_came(&mut self, now: Instant, tag: PeerTag) {
        self.tell_watchers(|hub| {
            let peer = hub.peers.view(now, tag, hub.asks.open_of(tag))?;
            Some(WatchedEvent::PeerCame { peer })
        });
    }

    pub(super) fn tell_renamed(&mut self, former: &PeerName, name: &PeerName) {
        if former != name {
            self.tell_watchers(|_| Some(WatchedEvent::PeerRenamed { former: former.clone(), name: name.clone() }));
        }
    }

    pub(super) fn tell_presence(&mut self, tag: PeerTag) {
        self.tell_watchers(|hub| {
            let session = hub.peers.get(tag)?.session.as_ref()?;
            Some(WatchedEvent::PeerChanged { name: session.name.clone(), presence: session.facts.presence })
        });
    }

    pub(super) fn tell_opened(&mut self, now: Instant, ask_id: AskId) {
        self.tell_watchers(|hub| hub.ask_view(now, ask_id, true).map(WatchedEvent::AskOpened));
    }

    pub(super) fn tell_advanced(&mut self, ask_id: AskId) {
        self.tell_watchers(|hub| {
            let ask = hub.asks.get(ask_id)?;
            let (from, to) = (hub.sender_of(ask.asker), hub.sender_of(ask.asked));
            Some(WatchedEvent::AskAdvanced { ask_id, from, to, state: ask.state })
        });
    }

    pub(super) fn tell_ended(&mut self, now: Instant, ask_id: AskId, ending: Ending, was: &Phase) {
        self.tell_watchers(|hub| {
            let ask = hub.asks.get(ask_id)?;
            let reply = match (ending, was) {
                (Ending::Replied, Phase::Answered(answer)) => Some(answer.text.clone()),
                _ => None,
            };
            Some(WatchedEvent::AskEnded {
                ask_id,
                from: hub.sender_of(ask.asker),
                to: hub.sender_of(ask.asked),
                broadcast_id: ask.broadcast,
                outcome: outcome(ending),
                state: ask.state,
                latency_ms: millis(now, ask.opened),
                reply,
            })
        });
    }

    fn ask_view(&self, now: Instant, ask_id: AskId, text: bool) -> Option<AskView> {
        let ask = self.asks.get(ask_id)?;
        let question = match &ask.phase {
            Phase::Open { question: Some(question) } if text => Some(question.to_string()),
            Phase::Open { .. } | Phase::Answered(_) | Phase::Ended { .. } => None,
        };
        Some(AskView {
            ask_id,
            from: self.sender_of(ask.asker),
            to: self.sender_of(ask.asked),
            broadcast_id: ask.broadcast,
            state: ask.state,
            age_ms: millis(now, ask.opened),
            timeout_ms: millis(ask.deadline(), now),
            question,
        })
    }
}

const fn outcome(ending: Ending) -> AskOutcome {
    match ending {
        Ending::Replied => AskOutcome::Reply,
        Ending::TimedOut => AskOutcome::Timeout,
        Ending::PeerGone => AskOutcome::PeerGone,
        Ending::Withdrawn => AskOutcome::Withdrawn,
    }
}

fn without_text(mut event: WatchedEvent) -> WatchedEvent {
    match &mut event {
        WatchedEvent::AskOpened(ask) => ask.question = None,
        WatchedEvent::AskEnded { reply, .. } => *reply = None,
        WatchedEvent::PeerCame { .. }
        | WatchedEvent::PeerLeft { .. }
        | WatchedEvent::PeerRenamed { .. }
        | WatchedEvent::PeerChanged { .. }
        | WatchedEvent::AskAdvanced { .. }
        | WatchedEvent::AskRefused { .. } => {}
    }
    event
}

fn millis(later: Instant, earlier: Instant) -> u64 {
    u64::try_from(later.saturating_duration_since(earlier).as_millis()).unwrap_or(u64::MAX)
}
