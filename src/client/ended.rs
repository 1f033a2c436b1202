//! Asks that have ended, remembered so that what comes late of them is known. Pure.

use std::collections::{BTreeMap, VecDeque};

use crate::protocol::AskId;

/// The most ended asks that are remembered.
pub(super) const REMEMBERED_MAX: usize = 4096;

/// The ended asks that are remembered: the oldest is forgotten for the newest.
///
/// No id is ever given to a second ask, so none is remembered too long, and none has a time of its own.
#[derive(Debug, Clone)]
pub(super) struct EndedAsks<T> {
    by_id: BTreeMap<AskId, T>,
    /// The ids in the order in which the asks ended.
    order: VecDeque<AskId>,
}

impl<T> EndedAsks<T> {
    /// Returns a table without asks.
    pub(super) const fn new() -> Self {
        Self { by_id: BTreeMap::new(), order: VecDeque::new() }
    }

    /// Remembers an ask that has ended.
    pub(super) fn insert(&mut self, id: AskId, ended: T) {
        if self.by_id.insert(id, ended).is_some() {
            return;
        }
        self.order.push_back(id);
        if self.order.len() > REMEMBERED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_id.remove(&oldest);
        }
    }

    /// Returns what is known of an ended ask.
    pub(super) fn get(&self, id: AskId) -> Option<&T> {
        self.by_id.get(&id)
    }

    /// Returns what is known of an ended ask, to be changed.
    pub(super) fn get_mut(&mut self, id: AskId) -> Option<&mut T> {
        self.by_id.get_mut(&id)
    }

    /// Returns the remembered asks, those first that ended last.
    pub(super) fn newest(&self) -> impl Iterator<Item = (AskId, &T)> {
        self.order.iter().rev().filter_map(|id| Some((*id, self.by_id.get(id)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oldest_ended_ask_is_forgotten_first() {
        let mut ended = EndedAsks::new();
        let last = REMEMBERED_MAX as u64 + 2;
        for bits in 1..=last {
            ended.insert(AskId::from_bits(bits), bits);
            ended.insert(AskId::from_bits(bits), bits);
        }
        let left: Vec<u64> = ended.newest().map(|(_, bits)| *bits).collect();
        assert_eq!(left, (3..=last).rev().collect::<Vec<_>>());
        assert_eq!(ended.by_id.len(), REMEMBERED_MAX);
        assert_eq!((ended.get(AskId::from_bits(2)), ended.get(AskId::from_bits(3))), (None, Some(&3)));
    }
}
