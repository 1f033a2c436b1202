//! What of the asker's end passes from one channel of a session to the next. Pure.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::{DEADLINE_SLACK, Ended, OpenAsk, Sent, Timer, millis_left};
use crate::client::outgoing::Outgoing;
use crate::client::parked::{KEPT_MAX, Parked, ParkedAsk, Room};
use crate::protocol::{Notice, OwnAsk, PeerName, Withdraw};

impl Sent {
    /// Tells the hub that nobody waits for what it may have and has not accepted yet.
    pub(in crate::client) fn withdraw_unaccepted(&self, out: &mut Outgoing) {
        for (ask_id, _) in self.asks.iter().filter(|(_, ask)| ask.call.is_some()) {
            out.notice(Notice::Withdraw(Withdraw { ask_id: *ask_id }));
        }
    }

    /// Parks what is open and was accepted, without texts, and what was taken.
    pub(in crate::client) fn park(&mut self, now: Instant, parked: &mut Parked, room: &mut Room) {
        self.broadcasts.park(parked, room);
        parked.taken.extend(self.unconfirmed.taken(now).filter(|taken| room.take(taken)));
        for (id, ask) in self.asks.iter().filter(|(_, ask)| ask.call.is_none()) {
            let Some(tag) = ask.bound else { continue };
            let own = OwnAsk {
                ask_id: *id,
                to: PeerName::parse(&ask.to).unwrap_or_else(|_| PeerName::of_folder(&ask.to)),
                tag,
                state: ask.state,
                timeout_ms: millis_left(now, ask.deadline),
                broadcast_id: ask.broadcast,
                kind: ask.kind,
            };
            if room.take(&own) {
                parked.sent.push(ParkedAsk { ask: own, question: None });
            }
        }
    }

    /// Parks the texts, as far as there is room.
    pub(in crate::client) fn park_texts(&self, parked: &mut Parked, room: &mut Room) {
        self.broadcasts.park_texts(parked, room);
        for parked in parked.sent.iter_mut().filter(|parked| parked.ask.broadcast_id.is_none()) {
            let question = self.asks.get(&parked.ask.ask_id).and_then(|ask| ask.question.as_ref());
            parked.question = question.and_then(|question| room.take_text(question));
        }
    }

    /// Takes over what the channel before this one has parked, and what the hub knows to be open: from here on this
    /// client is the guarantor.
    pub(in crate::client) fn adopt(
        &mut self,
        now: Instant,
        parked: &mut Parked,
        known: Vec<OwnAsk>,
        out: &mut Outgoing,
    ) {
        for taken in parked.taken.drain(..) {
            self.ended.insert(taken.ask_id, Ended::Taken);
            self.unconfirmed.add_taken(now, taken);
        }
        // A hub that stood still counts from when it read the ask, which may be later.
        let mut at_most = BTreeMap::new();
        for parked in parked.sent.drain(..) {
            if self.is_own(&parked.ask) {
                continue;
            }
            at_most.insert(parked.ask.ask_id, parked.ask.timeout_ms);
            let left = Duration::from_millis(parked.ask.timeout_ms) + DEADLINE_SLACK;
            self.adopt_ask(now, parked.ask, left.saturating_sub(KEPT_MAX), parked.question.map(Rc::new));
        }
        for own in known {
            if self.is_own(&own) {
                continue;
            }
            if own.broadcast_id.is_some_and(|id| parked.unaccepted.contains(&id)) {
                self.abandon(own.ask_id, out);
                continue;
            }
            let left_ms = at_most.get(&own.ask_id).map_or(own.timeout_ms, |most| own.timeout_ms.min(*most));
            let left = Duration::from_millis(left_ms) + DEADLINE_SLACK;
            let question = self.drop_ask(own.ask_id).and_then(|ask| ask.question);
            self.adopt_ask(now, own, left, question);
        }
        for broadcast in parked.broadcasts.drain(..) {
            let id = broadcast.broadcast_id;
            let asks = || self.asks.values().filter(|ask| ask.broadcast == Some(id));
            let question = self.broadcasts.adopt(now, broadcast, asks().count() as u64);
            self.asks
                .values_mut()
                .filter(|ask| ask.broadcast == Some(id))
                .for_each(|ask| ask.question = question.clone());
            self.close_broadcast(id, out);
        }
    }

    /// Returns whether a call of this client makes this ask: what it sends again is answered with how it stands.
    fn is_own(&self, own: &OwnAsk) -> bool {
        match own.broadcast_id {
            Some(id) => self.broadcasts.is_unaccepted(id),
            None => self.asks.get(&own.ask_id).is_some_and(|ask| ask.call.is_some()),
        }
    }

    /// Takes an ask over that is over after this time, its slack included.
    fn adopt_ask(&mut self, now: Instant, own: OwnAsk, left: Duration, question: Option<Rc<String>>) {
        if self.ended.get(own.ask_id).is_some() {
            return;
        }
        self.timers.set(Timer::Deadline(own.ask_id), now + left);
        let ask = OpenAsk {
            kind: own.kind,
            to: own.to.to_string(),
            question,
            started: now,
            deadline: now + left.saturating_sub(DEADLINE_SLACK),
            broadcast: own.broadcast_id,
            bound: Some(own.tag),
            state: own.state,
            call: None,
        };
        self.asks.insert(own.ask_id, ask);
    }

    /// Compares what the hub knows to be open with what is open: it may not have heard of an end.
    pub(in crate::client) fn reconcile(&mut self, known: Vec<OwnAsk>, out: &mut Outgoing) {
        for own in known {
            if let Some(ask) = self.asks.get_mut(&own.ask_id) {
                ask.state = ask.state.max(own.state);
            } else if self.ended.get(own.ask_id) != Some(&Ended::Taken)
                && own.broadcast_id.is_none_or(|id| !self.broadcasts.is_unaccepted(id))
            {
                out.notice(Notice::Withdraw(Withdraw { ask_id: own.ask_id }));
            }
        }
    }
}
