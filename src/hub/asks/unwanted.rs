//! The asks that nobody waits for and that are neither open nor ended here: a late reply to one has not arrived, and will not.

use std::collections::VecDeque;

use crate::protocol::AskId;

/// The most that are remembered.
const REMEMBERED_MAX: usize = 1024;

/// The latest of them: asks that were taken back before their machine had said that it has them, and those of a former hub
/// whose askers have told this one that they do not wait.
#[derive(Debug, Clone, Default)]
pub(super) struct UnwantedAsks(VecDeque<AskId>);

impl UnwantedAsks {
    /// Adds one, once; the oldest is forgotten for it.
    pub(super) fn insert(&mut self, id: AskId) {
        if self.contains(id) {
            return;
        }
        if self.0.len() >= REMEMBERED_MAX {
            self.0.pop_front();
        }
        self.0.push_back(id);
    }

    /// Returns whether an ask is one.
    pub(super) fn contains(&self, id: AskId) -> bool {
        self.0.contains(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oldest_unwanted_ask_is_forgotten_first() {
        let mut unwanted = UnwantedAsks::default();
        let ids = (0..=REMEMBERED_MAX as u64).map(AskId::from_bits);
        ids.flat_map(|id| [id, id]).for_each(|id| unwanted.insert(id));
        let known = [0, 1, REMEMBERED_MAX as u64].map(|bits| unwanted.contains(AskId::from_bits(bits)));
        assert_eq!((known, unwanted.0.len()), ([false, true, true], REMEMBERED_MAX));
    }
}
