//! Own broadcasts: each is sent until its acceptance, then its tally is counted. Pure.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::client::call::CallId;
use crate::client::event::{End, Tally};
use crate::client::outgoing::{Outgoing, Purpose};
use crate::client::parked::{Parked, ParkedBroadcast, Room};
use crate::protocol::{Audience, Broadcast, BroadcastAccepted, BroadcastId, ErrorCode, Request};

/// A broadcast of the program's.
#[derive(Debug)]
pub(in crate::client) struct NewBroadcast {
    pub(in crate::client) id: BroadcastId,
    pub(in crate::client) audience: Audience,
    pub(in crate::client) question: String,
    pub(in crate::client) timeout: Duration,
}

/// One broadcast.
#[derive(Debug, Clone)]
struct OpenBroadcast {
    /// The text; none where the channel before this one had no room to park it.
    question: Option<Rc<String>>,
    /// Whom it is for; of no account once it is accepted.
    audience: Audience,
    started: Instant,
    /// The time of its asks. It begins when the hub opens them, which a hub in its grace period does late.
    timeout: Duration,
    /// The call that waits for its acceptance.
    call: Option<CallId>,
    tally: Tally,
    open: u64,
}

/// Own broadcasts that are not accepted yet or have open asks.
#[derive(Debug, Clone, Default)]
pub(super) struct Broadcasts(BTreeMap<BroadcastId, OpenBroadcast>);

/// What a broadcast's acceptance is for.
pub(super) struct AcceptedBy {
    pub(super) call: CallId,
    pub(super) question: Option<Rc<String>>,
    pub(super) timeout: Duration,
}

impl Broadcasts {
    /// Sends a broadcast.
    pub(super) fn start(&mut self, now: Instant, call: CallId, new: NewBroadcast, out: &mut Outgoing) {
        let NewBroadcast { id, audience, question, timeout } = new;
        let tally = Tally { broadcast_id: id, asked: 0, replied: 0, timed_out: 0, gone: 0, refused: 0 };
        let question = Some(Rc::new(question));
        let broadcast = OpenBroadcast { question, audience, started: now, timeout, call: Some(call), tally, open: 0 };
        broadcast.send(out);
        self.0.insert(id, broadcast);
    }

    /// Sends those again that no hub has accepted.
    pub(super) fn resend(&self, out: &mut Outgoing) {
        self.0.values().filter(|broadcast| broadcast.call.is_some()).for_each(|broadcast| broadcast.send(out));
    }

    /// Returns those that no hub has accepted, with the time of their calls.
    pub(super) fn unaccepted(&self) -> impl Iterator<Item = (BroadcastId, Instant)> {
        self.0.iter().filter(|(_, broadcast)| broadcast.call.is_some()).map(|(id, broadcast)| (*id, broadcast.started))
    }

    /// Returns whether no hub has accepted this one.
    pub(super) fn is_unaccepted(&self, id: BroadcastId) -> bool {
        self.0.get(&id).is_some_and(|broadcast| broadcast.call.is_some())
    }

    /// Records an acceptance. Returns what it is for, unless its call was answered before.
    pub(super) fn accept(&mut self, accepted: &BroadcastAccepted) -> Option<AcceptedBy> {
        let broadcast = self.0.get_mut(&accepted.broadcast_id)?;
        let call = broadcast.call.take()?;
        broadcast.open = accepted.asks.len() as u64;
        broadcast.tally.refused = accepted.refused.len() as u64;
        broadcast.tally.asked = broadcast.open + broadcast.tally.refused;
        Some(AcceptedBy { call, question: broadcast.question.clone(), timeout: broadcast.timeout })
    }

    /// Forgets one that was not accepted. Returns the call that waits for it.
    pub(super) fn refuse(&mut self, id: BroadcastId) -> Option<CallId> {
        let call = self.0.get(&id)?.call?;
        self.0.remove(&id);
        Some(call)
    }

    /// Forgets those that a hub has accepted.
    pub(super) fn release(&mut self) {
        self.0.retain(|_, broadcast| broadcast.call.is_some());
    }

    /// Counts the end of an ask.
    pub(super) fn count(&mut self, id: BroadcastId, end: &End) {
        let Some(broadcast) = self.0.get_mut(&id) else { return };
        broadcast.open -= 1;
        let tally = &mut broadcast.tally;
        match end {
            End::Reply { .. } | End::Arrived { .. } => tally.replied += 1,
            End::Failed { code: ErrorCode::PeerGone, .. } => tally.gone += 1,
            End::Failed { .. } => tally.timed_out += 1,
        }
    }

    /// Takes an ask out of the count that nobody waits for any more.
    pub(super) fn discount(&mut self, id: BroadcastId) {
        if let Some(broadcast) = self.0.get_mut(&id) {
            broadcast.open -= 1;
            broadcast.tally.asked -= 1;
        }
    }

    /// Forgets a broadcast of which nothing is open. Returns its tally; none where nobody was asked, or something is open.
    pub(super) fn close(&mut self, id: BroadcastId) -> Option<Tally> {
        let broadcast = self.0.get(&id).filter(|broadcast| broadcast.call.is_none() && broadcast.open == 0)?;
        let tally = broadcast.tally;
        self.0.remove(&id);
        (tally.asked > 0).then_some(tally)
    }

    /// Parks the tallies, and which broadcasts no hub has accepted.
    pub(super) fn park(&self, parked: &mut Parked, room: &mut Room) {
        parked.unaccepted.extend(self.unaccepted().map(|(id, _)| id).filter(|id| room.take(id)));
        for broadcast in self.0.values().filter(|broadcast| broadcast.call.is_none()) {
            let Tally { broadcast_id, replied, timed_out, gone, refused, .. } = broadcast.tally;
            let broadcast = ParkedBroadcast { broadcast_id, replied, timed_out, gone, refused, question: None };
            if room.take(&broadcast) {
                parked.broadcasts.push(broadcast);
            }
        }
    }

    /// Adds texts to the parked tallies.
    pub(super) fn park_texts(&self, parked: &mut Parked, room: &mut Room) {
        for parked in &mut parked.broadcasts {
            let question = self.0.get(&parked.broadcast_id).and_then(|broadcast| broadcast.question.as_ref());
            parked.question = question.and_then(|question| room.take_text(question));
        }
    }

    /// Takes a tally over, with so many asks open. Returns the text for its asks.
    pub(super) fn adopt(&mut self, now: Instant, parked: ParkedBroadcast, open: u64) -> Option<Rc<String>> {
        let ParkedBroadcast { broadcast_id, replied, timed_out, gone, refused, question } = parked;
        let asked = replied + timed_out + gone + refused + open;
        let tally = Tally { broadcast_id, asked, replied, timed_out, gone, refused };
        let (question, timeout) = (question.map(Rc::new), Duration::ZERO);
        let (audience, call) = (Audience::default(), None);
        let broadcast =
            OpenBroadcast { question: question.clone(), audience, started: now, timeout, call, tally, open };
        self.0.insert(broadcast_id, broadcast);
        question
    }
}

impl OpenBroadcast {
    fn send(&self, out: &mut Outgoing) {
        let broadcast_id = self.tally.broadcast_id;
        out.request(Purpose::Broadcast(broadcast_id), || {
            Request::Broadcast(Broadcast {
                broadcast_id,
                question: self.question.as_deref().cloned().unwrap_or_default(),
                timeout_ms: u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX),
                audience: self.audience.clone(),
            })
        });
    }
}
