//! The asks that are open: those whose session is to answer, and answered ones whose asker has not taken the reply yet.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::brakes::Link;
use super::super::effect::Caller;
use super::super::quota::Quota;
use super::super::refusals::Texts;
use crate::deadlines::Deadlines;
use crate::protocol::{AskId, AskKind, AskOutcome, AskState, BroadcastId, ClientTag, OpenAsks, PeerName, Progress};

/// How long an answered ask still waits for its asker, who decides which came first, once the hub has noticed that its
/// deadline is past: what the asker said while the hub did not run is read after that.
const TAKEN_WAIT: Duration = Duration::from_secs(2);

/// One open ask.
#[derive(Debug, Clone)]
pub(super) struct OpenAsk {
    /// Who asked whom, and what it followed from.
    pub(super) link: Link,
    /// What its asker wants.
    pub(super) kind: AskKind,
    /// The broadcast that it belongs to.
    pub(super) broadcast: Option<BroadcastId>,
    /// How far it has come.
    pub(super) state: AskState,
    /// Whether its session can tell no more of it.
    pub(super) is_final: bool,
    /// When its time is over here: [`PADDING`] later than for its asker where that is on another machine.
    pub(super) deadline: Instant,
    /// How much later that is.
    pub(super) padding: Duration,
    /// Whom to tell when the asked session's machine has it; none once it has, or where that is this machine.
    pub(super) offer: Option<Offer>,
    /// Where it stands.
    pub(super) phase: Phase,
    /// Its place in the order in which the hub accepted asks.
    pub(super) number: u64,
}

/// How long an ask stays open here after its asker on another machine has stopped waiting: a reply may be in flight.
pub(super) const PADDING: Duration = Duration::from_secs(30);

/// How long the asked session's machine may take to say that it has an ask.
pub(super) const OFFER_WAIT: Duration = Duration::from_secs(4);

/// How long it may take where a broadcast waits for it.
pub(super) const BROADCAST_OFFER_WAIT: Duration = Duration::from_secs(2);

/// Who waits until another machine has an ask.
#[derive(Debug, Clone, Copy)]
pub(super) enum Offer {
    /// The asker.
    Ask(Caller),
    /// The broadcast that it belongs to.
    Broadcast(BroadcastId),
}

/// Where an open ask stands.
#[derive(Debug, Clone)]
pub(super) enum Phase {
    /// Waits for the asked session. The question is held until that session's client has it.
    Asked {
        /// The text.
        question: Option<String>,
    },
    /// Waits for the asker's client to take the reply.
    Answered(Box<HeldReply>),
}

/// A reply that the asker's client has not taken yet.
#[derive(Debug, Clone)]
pub(super) struct HeldReply {
    /// The text.
    pub(super) text: String,
    /// The name of the session that replies.
    pub(super) from: PeerName,
    /// The request that is answered when the reply is taken.
    pub(super) caller: Caller,
    /// Whether the ask's deadline is past and its asker is waited for.
    pub(super) is_overdue: bool,
}

impl OpenAsk {
    /// Returns how many bytes of text it holds.
    pub(super) fn bytes(&self) -> usize {
        match &self.phase {
            Phase::Asked { question } => question.as_ref().map_or(0, String::len),
            Phase::Answered(reply) => reply.text.len(),
        }
    }

    /// Returns how it has ended, if it is a tell that has come to its session.
    pub(super) const fn arrival(&self) -> Option<AskOutcome> {
        match (self.kind, self.state) {
            (AskKind::Tell, AskState::Shown) => Some(AskOutcome::Shown),
            (AskKind::Tell, AskState::HandedOver) if self.is_final => Some(AskOutcome::HandedOver),
            (AskKind::Ask | AskKind::Tell, _) => None,
        }
    }

    /// Returns how long its asker still waits, in milliseconds.
    pub(super) fn left_ms(&self, now: Instant) -> u64 {
        let left = self.deadline.saturating_duration_since(now).saturating_sub(self.padding);
        u64::try_from(left.as_millis()).unwrap_or(u64::MAX)
    }
}

/// What is open of one client, by number. Invariant: a client without an open ask has no entry.
#[derive(Debug, Clone, Default)]
struct OfClient {
    sent: BTreeMap<u64, AskId>,
    received: BTreeMap<u64, AskId>,
}

/// The table. Invariant: all its parts speak of exactly the asks in `by_id`.
#[derive(Debug, Clone)]
pub(super) struct OpenTable {
    by_id: BTreeMap<AskId, Box<OpenAsk>>,
    by_client: BTreeMap<ClientTag, OfClient>,
    due: Deadlines<AskId>,
    /// The texts of questions, by asker; those of asks that wait for the end of the grace period as well.
    pub(super) questions: Quota,
    /// The texts of replies, by asker; those that wait for the end of the grace period by replier.
    pub(super) replies: Quota,
    last_number: u64,
}

impl OpenTable {
    /// Returns an empty table.
    pub(super) const fn new() -> Self {
        Self {
            by_id: BTreeMap::new(),
            by_client: BTreeMap::new(),
            due: Deadlines::new(),
            questions: Quota::new(Texts::Questions),
            replies: Quota::new(Texts::Replies),
            last_number: 0,
        }
    }

    /// Returns an ask.
    pub(super) fn get(&self, id: AskId) -> Option<&OpenAsk> {
        self.by_id.get(&id).map(Box::as_ref)
    }

    /// Returns an ask for counting what followed from it.
    pub(super) fn link_mut(&mut self, id: AskId) -> Option<&mut Link> {
        self.by_id.get_mut(&id).map(|ask| &mut ask.link)
    }

    /// Returns how many asks are open.
    pub(super) fn len(&self) -> u64 {
        self.by_id.len() as u64
    }

    /// Returns how many asks of a client are open.
    pub(super) fn counts(&self, tag: ClientTag) -> OpenAsks {
        let count = |of: &OfClient| OpenAsks { sent: of.sent.len() as u64, received: of.received.len() as u64 };
        self.by_client.get(&tag).map(count).unwrap_or_default()
    }

    /// Returns the asks that a client sent, in the order of their acceptance.
    pub(super) fn sent_by(&self, tag: ClientTag) -> Vec<AskId> {
        self.by_client.get(&tag).map(|of| of.sent.values().copied().collect()).unwrap_or_default()
    }

    /// Returns the asks that a session received, in the order of their acceptance.
    pub(super) fn received_by(&self, tag: ClientTag) -> Vec<AskId> {
        self.by_client.get(&tag).map(|of| of.received.values().copied().collect()).unwrap_or_default()
    }

    /// Returns all asks in the order of their acceptance.
    pub(super) fn in_order(&self) -> Vec<(AskId, &OpenAsk)> {
        let mut asks: Vec<_> = self.by_id.iter().map(|(id, ask)| (*id, ask.as_ref())).collect();
        asks.sort_by_key(|(_, ask)| ask.number);
        asks
    }

    /// Adds an ask whose id is new, and returns the number that it is given here.
    pub(super) fn insert(&mut self, id: AskId, mut ask: OpenAsk) -> u64 {
        debug_assert!(!self.by_id.contains_key(&id), "an id names one ask");
        self.last_number += 1;
        ask.number = self.last_number;
        self.by_client.entry(ask.link.asker).or_default().sent.insert(ask.number, id);
        self.by_client.entry(ask.link.asked).or_default().received.insert(ask.number, id);
        self.questions.add(ask.link.asker, ask.bytes() as u64);
        self.due.set(id, ask.deadline);
        self.by_id.insert(id, Box::new(ask));
        self.last_number
    }

    /// Gives an ask until then to be taken by the asked session's machine.
    pub(super) fn set_due(&mut self, id: AskId, at: Instant) {
        if let Some(ask) = self.by_id.get(&id) {
            self.due.set(id, at.min(ask.deadline));
        }
    }

    /// Puts another caller in the place of the one that waits until the asked session's machine has an ask.
    pub(super) fn offer_again(&mut self, id: AskId, offer: Offer) {
        if let Some(ask) = self.by_id.get_mut(&id) {
            ask.offer = Some(offer);
        }
    }

    /// Records that the asked session's machine has an ask, and returns who waits for that.
    pub(super) fn take_offer(&mut self, id: AskId) -> Option<Offer> {
        let ask = self.by_id.get_mut(&id)?;
        let offer = ask.offer.take()?;
        self.due.set(id, ask.deadline);
        Some(offer)
    }

    /// Records how far an ask has come; never backwards. Gives up the question: the client that tells of it has it.
    /// Returns whether it has come further.
    pub(super) fn advance(&mut self, progress: Progress) -> bool {
        let Some(ask) = self.by_id.get_mut(&progress.ask_id) else { return false };
        let is_further = progress.state > ask.state;
        ask.state = ask.state.max(progress.state);
        ask.is_final |= progress.is_final;
        if let Phase::Asked { question } = &mut ask.phase
            && let Some(question) = question.take()
        {
            self.questions.take(ask.link.asker, question.len() as u64);
        }
        is_further
    }

    /// Puts a reply to an ask that waits for its session.
    pub(super) fn answer(&mut self, id: AskId, reply: HeldReply) {
        let Some(ask) = self.by_id.get_mut(&id) else { return };
        self.questions.take(ask.link.asker, ask.bytes() as u64);
        ask.state = AskState::Shown;
        ask.phase = Phase::Answered(Box::new(reply));
        self.replies.add(ask.link.asker, ask.bytes() as u64);
    }

    /// Records that the reply of an answered ask was sent again, in another request.
    pub(super) fn answer_again(&mut self, id: AskId, from: PeerName, caller: Caller) {
        if let Some(ask) = self.by_id.get_mut(&id)
            && let Phase::Answered(reply) = &mut ask.phase
        {
            (reply.from, reply.caller) = (from, caller);
        }
    }

    /// Takes an ask out.
    pub(super) fn remove(&mut self, id: AskId) -> Option<Box<OpenAsk>> {
        let ask = self.by_id.remove(&id)?;
        let (asker, asked) = (ask.link.asker, ask.link.asked);
        match ask.phase {
            Phase::Asked { .. } => self.questions.take(asker, ask.bytes() as u64),
            Phase::Answered(_) => self.replies.take(asker, ask.bytes() as u64),
        }
        self.due.clear(&id);
        for tag in [asker, asked] {
            if let Some(of) = self.by_client.get_mut(&tag) {
                of.sent.remove(&ask.number);
                of.received.remove(&ask.number);
                if of.sent.is_empty() && of.received.is_empty() {
                    self.by_client.remove(&tag);
                }
            }
        }
        Some(ask)
    }

    /// Returns one ask whose time is over. Lets an answered one wait a little.
    pub(super) fn pop_timed_out(&mut self, now: Instant) -> Option<AskId> {
        while let Some(id) = self.due.pop_due(now) {
            match self.by_id.get_mut(&id).map(|ask| &mut ask.phase) {
                Some(Phase::Answered(reply)) if !reply.is_overdue => {
                    reply.is_overdue = true;
                    self.due.set(id, now + TAKEN_WAIT);
                }
                Some(Phase::Asked { .. } | Phase::Answered(_)) => return Some(id),
                None => {}
            }
        }
        None
    }

    /// Returns when the time of the next ask is over.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.due.next()
    }

    /// Returns whether nothing of any client is left.
    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty() && self.by_client.is_empty() && self.questions.is_empty() && self.replies.is_empty()
    }
}
