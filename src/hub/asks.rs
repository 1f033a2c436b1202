//! The table of asks: open ones, answered ones whose asker has not taken the reply yet, and ended ones that are remembered.

mod recalled;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use siphasher::sip::SipHasher24;

use self::recalled::Recalled;
use super::ConnId;
use super::held::Held;
use super::limits::CHAIN_MAX;
use super::loops::Course;
use crate::deadlines::Deadlines;
use crate::protocol::{AskId, AskState, BroadcastId, OpenAsks, PeerName, PeerTag, RequestId};

/// How long an ended ask is remembered beyond its deadline, so that what is said again about it meets its end.
pub const REMEMBERED: Duration = Duration::from_secs(60);

/// How long before it is forgotten an ended ask gets a timer. The others are looked through for such, seldom: a timer
/// takes nearly as much room as an ask.
const SOON: Duration = Duration::from_secs(10);

/// How long an answered ask still waits for its asker, who decides which came first, once the hub has noticed that its
/// deadline is past: what the asker said while the hub did not run is read after that.
const ANSWER_WAIT: Duration = Duration::from_secs(2);

/// The most ended asks that are remembered; beyond it the oldest are forgotten.
const REMEMBERED_MAX: usize = 65_536;

/// One ask: small, since nearly all that are in the table have ended.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    /// Who asked.
    pub(super) asker: PeerTag,
    /// Who was asked.
    pub(super) asked: PeerTag,
    /// The broadcast that it belongs to.
    pub(super) broadcast: Option<BroadcastId>,
    /// How far it has come.
    pub(super) state: AskState,
    /// The ask that its asker had received last: the chain of asks that loops are looked for in.
    pub(super) parent: Option<AskId>,
    /// How the chain went up to here.
    pub(super) course: Course,
    /// How many asks were made in answer to those that it led to.
    pub(super) wake: u32,
    /// When this hub accepted it.
    pub(super) opened: Instant,
    /// How long its asker waits from then on.
    pub(super) timeout_ms: u32,
    /// Where it stands.
    pub(super) phase: Phase,
    /// Its place in the order in which the hub accepted asks.
    pub(super) number: u64,
    /// What the reply was that was taken, as far as it takes to know it again.
    pub(super) reply: Option<NonZeroU64>,
    /// Whether its deadline is past and its asker is waited for to take the answer.
    pub(super) is_overdue: bool,
}

impl Ask {
    /// Returns when its asker stops waiting.
    pub(super) fn deadline(&self) -> Instant {
        self.opened + Duration::from_millis(self.timeout_ms.into())
    }

    /// Returns whether a reply with another text was taken.
    pub(super) fn was_answered_otherwise(&self, text: &str) -> bool {
        self.reply.is_some_and(|reply| digest(text) != Some(reply))
    }

    /// Returns until when it is remembered, if it has ended.
    fn remembered_until(&self) -> Option<Instant> {
        match self.phase {
            Phase::Ended { at, .. } => Some(self.deadline().max(at) + REMEMBERED),
            Phase::Open { .. } | Phase::Answered(_) => None,
        }
    }
}

fn digest(text: &str) -> Option<NonZeroU64> {
    NonZeroU64::new(SipHasher24::new().hash(text.as_bytes()))
}

/// Where an ask stands.
#[derive(Debug, Clone)]
pub(super) enum Phase {
    /// Waits for the asked session. The question is held until that session's client has it.
    Open {
        /// The text.
        question: Option<Box<str>>,
    },
    /// Waits for the asker's client to take the reply.
    Answered(Box<Answer>),
    /// Is over.
    Ended {
        /// How.
        ending: Ending,
        /// When.
        at: Instant,
    },
}

/// A reply that the asker's client has not taken yet.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    /// The text.
    pub(super) text: String,
    /// The name of the peer that answers.
    pub(super) from: PeerName,
    /// The request that is answered when the reply is taken.
    pub(super) request: (ConnId, RequestId),
}

/// How an ask ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The asker's client took the reply.
    Replied,
    /// Its deadline passed.
    TimedOut,
    /// The asked peer went away.
    PeerGone,
    /// The asker does not want it any more, or went away.
    Withdrawn,
}

/// The table. Invariant: `sent`, `received`, `counts` and `n_open` speak of exactly those asks that have not ended.
#[derive(Debug, Clone)]
pub(super) struct Asks {
    by_id: BTreeMap<AskId, Box<Ask>>,
    sent: BTreeSet<(PeerTag, AskId)>,
    received: BTreeSet<(PeerTag, AskId)>,
    counts: BTreeMap<PeerTag, OpenAsks>,
    /// When something is due of the open ones, and of those that are forgotten soon.
    timers: Deadlines<AskId>,
    /// Those that ended last, in the order of their ends; those of former hubs left out.
    ended: VecDeque<AskId>,
    /// When those without a timer are looked through, at the time of the first of them.
    look_at: Option<Instant>,
    recalled: Recalled,
    n_open: u64,
    /// The texts of open asks, by asker.
    pub(super) questions: Held,
    /// The texts of answers that were not taken yet, by asker.
    pub(super) replies: Held,
    next_number: u64,
}

impl Asks {
    /// Returns an empty table.
    pub(super) const fn new() -> Self {
        Self {
            by_id: BTreeMap::new(),
            sent: BTreeSet::new(),
            received: BTreeSet::new(),
            counts: BTreeMap::new(),
            timers: Deadlines::new(),
            ended: VecDeque::new(),
            look_at: None,
            recalled: Recalled::new(),
            n_open: 0,
            questions: Held::new(),
            replies: Held::new(),
            next_number: 0,
        }
    }

    /// Returns an ask, ended ones that are remembered included.
    pub(super) fn get(&self, id: AskId) -> Option<&Ask> {
        self.by_id.get(&id).map(Box::as_ref)
    }

    /// Returns how many asks of a client are open.
    pub(super) fn open_of(&self, tag: PeerTag) -> OpenAsks {
        self.counts.get(&tag).copied().unwrap_or_default()
    }

    /// Returns how many asks are open.
    pub(super) const fn n_open(&self) -> u64 {
        self.n_open
    }

    /// Returns the open asks that a client sent, in the order of their acceptance.
    pub(super) fn sent_by(&self, tag: PeerTag) -> Vec<AskId> {
        self.in_order(&self.sent, tag)
    }

    /// Returns the asks that a client sent and that have failed since then, in the order of their acceptance.
    pub(super) fn failed_since(&self, tag: PeerTag, since: Instant) -> Vec<AskId> {
        let has_failed = |ask: &Ask| match ask.phase {
            Phase::Ended { ending: Ending::TimedOut | Ending::PeerGone, at } => at >= since,
            Phase::Open { .. } | Phase::Answered(_) | Phase::Ended { .. } => false,
        };
        let concerns = |ask: &Ask| ask.asker == tag && has_failed(ask);
        let mut ids: Vec<AskId> = self.by_id.iter().filter(|(_, ask)| concerns(ask)).map(|(id, _)| *id).collect();
        ids.sort_by_key(|id| self.by_id.get(id).map(|ask| ask.number));
        ids
    }

    /// Returns the open asks that a peer received, in the order of their acceptance.
    pub(super) fn received_by(&self, tag: PeerTag) -> Vec<AskId> {
        self.in_order(&self.received, tag)
    }

    /// Returns all open asks, in the order of their acceptance.
    pub(super) fn open_in_order(&self) -> Vec<AskId> {
        let mut ids: Vec<AskId> = self.received.iter().map(|(_, id)| *id).collect();
        ids.sort_by_key(|id| self.by_id.get(id).map(|ask| ask.number));
        ids
    }

    fn in_order(&self, index: &BTreeSet<(PeerTag, AskId)>, tag: PeerTag) -> Vec<AskId> {
        let range = (tag, AskId::from_bits(0))..=(tag, AskId::from_bits(u64::MAX));
        let mut ids: Vec<AskId> = index.range(range).map(|(_, id)| *id).collect();
        ids.sort_by_key(|id| self.by_id.get(id).map(|ask| ask.number));
        ids
    }

    /// Adds an open ask. The id must be new.
    pub(super) fn open(&mut self, id: AskId, ask: Ask) {
        debug_assert!(!self.by_id.contains_key(&id), "an id names one ask");
        self.sent.insert((ask.asker, id));
        self.received.insert((ask.asked, id));
        self.counts.entry(ask.asker).or_default().sent += 1;
        self.counts.entry(ask.asked).or_default().received += 1;
        self.n_open += 1;
        self.questions.add(ask.asker, ask.phase.held_bytes());
        self.timers.set(id, ask.deadline());
        self.next_number += 1;
        self.by_id.insert(id, Box::new(Ask { number: self.next_number, ..ask }));
    }

    /// Returns an ask's parent, that one's parent and so on, as far as loops are looked for.
    pub(super) fn chain_from(&self, parent: Option<AskId>) -> impl Iterator<Item = (AskId, &Ask)> {
        let ids = std::iter::successors(parent, |id| self.get(*id)?.parent);
        ids.map_while(|id| Some((id, self.get(id)?))).take(CHAIN_MAX)
    }

    /// Counts an ask with this parent in the wake of those before it. What one session asks in answer to one ask is no
    /// such: it may have much to ask.
    pub(super) fn count_wake(&mut self, parent: Option<AskId>) {
        for id in self.chain_from(parent).skip(1).map(|(id, _)| id).collect::<Vec<_>>() {
            self.by_id.get_mut(&id).into_iter().for_each(|ask| ask.wake += 1);
        }
    }

    /// Takes note of how far an open ask has come; never backwards. Gives up the question: whoever tells has it.
    /// Returns whether it has come further.
    pub(super) fn advance(&mut self, id: AskId, state: AskState) -> bool {
        let Some(ask) = self.by_id.get_mut(&id) else { return false };
        let further = state > ask.state;
        ask.state = ask.state.max(state);
        if let Phase::Open { question } = &mut ask.phase
            && let Some(question) = question.take()
        {
            self.questions.take(ask.asker, question.len() as u64);
        }
        further
    }

    /// Puts an answer to an open ask, or the same answer said again on another connection.
    pub(super) fn answer(&mut self, id: AskId, answer: Answer) {
        let Some(ask) = self.by_id.get_mut(&id) else { return };
        let phase = std::mem::replace(&mut ask.phase, Phase::Answered(Box::new(answer)));
        ask.state = AskState::Shown;
        let (asker, bytes) = (ask.asker, ask.phase.held_bytes());
        self.let_go(asker, &phase);
        self.replies.add(asker, bytes);
    }

    /// Counts out what an ask held.
    fn let_go(&mut self, asker: PeerTag, phase: &Phase) {
        match phase {
            Phase::Open { .. } => self.questions.take(asker, phase.held_bytes()),
            Phase::Answered(_) => self.replies.take(asker, phase.held_bytes()),
            Phase::Ended { .. } => {}
        }
    }

    /// Ends an ask that has not ended, and returns where it stood.
    pub(super) fn end(&mut self, now: Instant, id: AskId, ending: Ending) -> Option<Phase> {
        let ask = self.by_id.get_mut(&id).filter(|ask| !matches!(ask.phase, Phase::Ended { .. }))?;
        let phase = std::mem::replace(&mut ask.phase, Phase::Ended { ending, at: now });
        if let (Ending::Replied, Phase::Answered(answer)) = (ending, &phase) {
            ask.reply = digest(&answer.text);
        }
        let (asker, asked, until) = (ask.asker, ask.asked, ask.remembered_until());
        self.timers.clear(&id);
        self.let_go(asker, &phase);
        self.n_open -= 1;
        self.sent.remove(&(asker, id));
        self.received.remove(&(asked, id));
        self.uncount(asker, |open| open.sent -= 1);
        self.uncount(asked, |open| open.received -= 1);
        self.remember(id);
        self.look_by(until);
        Some(phase)
    }

    /// Forgets an ask that has ended.
    pub(super) fn forget(&mut self, id: AskId) {
        if self.by_id.get(&id).is_some_and(|ask| matches!(ask.phase, Phase::Ended { .. })) {
            self.by_id.remove(&id);
            self.timers.clear(&id);
        }
    }

    /// Remembers an ask of a former hub as one whose reply was taken, of as many as are remembered so for one asker and in
    /// all. Returns whether it is.
    pub(super) fn remember_replied(&mut self, now: Instant, id: AskId, asker: PeerTag, asked: PeerTag) -> bool {
        if self.by_id.contains_key(&id) || !self.recalled.add(now, asker) {
            return false;
        }
        self.next_number += 1;
        let ask = Ask {
            asker,
            asked,
            broadcast: None,
            state: AskState::Shown,
            parent: None,
            course: Course::default(),
            wake: 0,
            opened: now,
            timeout_ms: 0,
            phase: Phase::Ended { ending: Ending::Replied, at: now },
            number: self.next_number,
            reply: None,
            is_overdue: false,
        };
        self.look_by(ask.remembered_until());
        self.by_id.insert(id, Box::new(ask));
        true
    }

    fn uncount(&mut self, tag: PeerTag, change: impl FnOnce(&mut OpenAsks)) {
        if let Some(open) = self.counts.get_mut(&tag) {
            change(open);
            if *open == OpenAsks::default() {
                self.counts.remove(&tag);
            }
        }
    }

    fn remember(&mut self, id: AskId) {
        self.ended.push_back(id);
        if self.ended.len() > REMEMBERED_MAX
            && let Some(oldest) = self.ended.pop_front()
        {
            self.forget(oldest);
        }
    }

    fn look_by(&mut self, until: Option<Instant>) {
        self.look_at = self.look_at.into_iter().chain(until).min();
    }

    /// Gives those that are forgotten soon their timers.
    fn look_through(&mut self, now: Instant) {
        let mut later = None;
        for (id, ask) in &self.by_id {
            match ask.remembered_until() {
                Some(until) if until <= now + SOON => self.timers.set(*id, until),
                until => later = later.into_iter().chain(until).min(),
            }
        }
        self.look_at = later;
    }

    /// Returns when something is due next.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next().into_iter().chain(self.look_at).min()
    }

    /// Takes one ask that has timed out. Forgets ended ones whose time has come, and lets answered ones wait a little.
    pub(super) fn pop_timed_out(&mut self, now: Instant) -> Option<AskId> {
        if self.look_at.is_some_and(|at| at <= now) {
            self.look_through(now);
        }
        while let Some(id) = self.timers.pop_due(now) {
            let Some(ask) = self.by_id.get_mut(&id) else { continue };
            match ask.phase {
                Phase::Ended { .. } => drop(self.by_id.remove(&id)),
                Phase::Answered(_) if !std::mem::replace(&mut ask.is_overdue, true) => {
                    self.timers.set(id, now + ANSWER_WAIT);
                }
                Phase::Open { .. } | Phase::Answered(_) => return Some(id),
            }
        }
        None
    }

    /// Returns whether nothing of any client is open: what must hold when all have left.
    pub(super) fn is_quiet(&self) -> bool {
        self.n_open == 0
            && self.questions.is_empty()
            && self.replies.is_empty()
            && self.sent.is_empty()
            && self.received.is_empty()
            && self.counts.is_empty()
    }
}

impl Phase {
    /// Returns how many bytes of text it holds.
    pub(super) fn held_bytes(&self) -> u64 {
        match self {
            Self::Open { question } => question.as_ref().map_or(0, |question| question.len()) as u64,
            Self::Answered(answer) => answer.text.len() as u64,
            Self::Ended { .. } => 0,
        }
    }
}

#[cfg(test)]
mod tests;
