//! The asks that have ended and are remembered for a while, so that what is sent again about one meets its end.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::super::brakes::Link;
use crate::protocol::{AskId, AskOutcome, AskState};

/// How long at least an ended ask is remembered beyond its deadline.
pub const REMEMBERED: Duration = Duration::from_secs(60);

/// The most ended asks that are remembered; beyond it those are forgotten whose time would be over first.
const REMEMBERED_MAX: usize = 12_288;

/// Asks are forgotten at multiples of this, in milliseconds, so that a hub does not wake for each of many.
const STEP_MS: u64 = 10_000;

/// An ask that has ended. Times are milliseconds of the hub's life.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    /// Who asked whom, and what it followed from.
    pub(super) link: Link,
    /// How long after it was accepted it ended, at most some weeks.
    after_ms: u32,
    /// How.
    pub(super) outcome: AskOutcome,
    /// How far it had come.
    pub(super) state: AskState,
}

impl Ended {
    /// Returns an ask that has ended at this time.
    pub(super) fn new(link: Link, at_ms: u64, outcome: AskOutcome, state: AskState) -> Self {
        let after_ms = u32::try_from(at_ms.saturating_sub(link.opened_ms)).unwrap_or(u32::MAX);
        Self { link, after_ms, outcome, state }
    }

    /// Returns when it ended.
    pub(super) const fn at_ms(&self) -> u64 {
        self.link.opened_ms + self.after_ms as u64
    }
}

/// The table. Invariant: `by_time` holds exactly the asks of `by_id`, each when it is forgotten, and no empty queue.
#[derive(Debug, Clone)]
pub(super) struct EndedAsks {
    by_id: BTreeMap<AskId, Ended>,
    by_time: BTreeMap<u64, VecDeque<AskId>>,
}

impl EndedAsks {
    /// Returns an empty table.
    pub(super) const fn new() -> Self {
        Self { by_id: BTreeMap::new(), by_time: BTreeMap::new() }
    }

    /// Adds an ask whose id is new; `deadline_ms`: when its asker stops waiting.
    pub(super) fn insert(&mut self, id: AskId, ended: Ended, deadline_ms: u64) {
        let until = deadline_ms.max(ended.at_ms()) + u64::try_from(REMEMBERED.as_millis()).unwrap_or(u64::MAX);
        let until = until.div_ceil(STEP_MS) * STEP_MS;
        self.by_time.entry(until).or_default().push_back(id);
        self.by_id.insert(id, ended);
        if self.by_id.len() > REMEMBERED_MAX {
            self.pop();
        }
    }

    /// Returns an ask.
    pub(super) fn get(&self, id: AskId) -> Option<&Ended> {
        self.by_id.get(&id)
    }

    /// Returns an ask for counting what followed from it.
    pub(super) fn link_mut(&mut self, id: AskId) -> Option<&mut Link> {
        self.by_id.get_mut(&id).map(|ended| &mut ended.link)
    }

    /// Forgets the asks whose time is over.
    pub(super) fn handle_timeout(&mut self, now_ms: u64) {
        while self.poll_timeout().is_some_and(|until| until <= now_ms) {
            self.pop();
        }
    }

    /// Returns when the next ask is forgotten.
    pub(super) fn poll_timeout(&self) -> Option<u64> {
        self.by_time.first_key_value().map(|(until, _)| *until)
    }

    fn pop(&mut self) {
        let Some(mut first) = self.by_time.first_entry() else { return };
        if let Some(id) = first.get_mut().pop_front() {
            self.by_id.remove(&id);
        }
        if first.get().is_empty() {
            first.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{ClientKey, Course};

    fn id(n: u64) -> AskId {
        AskId::from_bits(n)
    }

    fn ended(at_ms: u64) -> Ended {
        let [asker, asked] = [1, 2].map(|number| ClientKey::from_bytes([number; 16]).tag());
        let link = Link { asker, asked, parent: None, opened_ms: 0, asks: 0, broadcasts: 0, course: Course::default() };
        Ended::new(link, at_ms, AskOutcome::Reply, AskState::Shown)
    }

    #[test]
    fn ended_asks_beyond_their_bound_are_forgotten_in_the_order_of_their_time() {
        let mut asks = EndedAsks::new();
        for n in 0..REMEMBERED_MAX as u64 + 3 {
            asks.insert(id(n), ended(0), 60_000);
        }
        let by_time: usize = asks.by_time.values().map(VecDeque::len).sum();
        assert_eq!((asks.by_id.len(), by_time), (REMEMBERED_MAX, REMEMBERED_MAX));
        assert!(asks.get(id(2)).is_none() && asks.get(id(3)).is_some());
        asks.handle_timeout(120_000);
        assert!(asks.by_id.is_empty() && asks.poll_timeout().is_none());
    }

    #[test]
    fn ended_ask_is_remembered_beyond_its_deadline_and_its_end() {
        let mut asks = EndedAsks::new();
        for (n, at_ms, deadline_ms) in [(1, 5, 86_400_000), (2, 70_000, 10_000), (3, 5, 60_000), (4, 5, 9_999)] {
            asks.insert(id(n), ended(at_ms), deadline_ms);
        }
        let known = |asks: &EndedAsks| (1..=4).filter(|n| asks.get(id(*n)).is_some()).collect::<Vec<_>>();
        for (now_ms, left) in
            [(69_999, vec![1, 2, 3, 4]), (70_000, vec![1, 2, 3]), (120_000, vec![1, 2]), (130_000, vec![1])]
        {
            asks.handle_timeout(now_ms);
            assert_eq!(known(&asks), left, "{now_ms}");
        }
        assert_eq!(asks.poll_timeout(), Some(86_460_000));
    }

    #[test]
    fn ended_ask_takes_little_room() {
        assert!(size_of::<Ended>() <= 48, "{}", size_of::<Ended>());
    }
}
