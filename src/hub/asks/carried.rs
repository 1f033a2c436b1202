//! What asks of other machines follow from there: kept for the chains that go on here.

use std::collections::{BTreeMap, VecDeque};

use crate::protocol::{AskId, Chain};

/// The most chains that are kept; beyond it the oldest is forgotten.
const CARRIED_MAX: usize = 1024;

/// The chains that came with asks, the latest ones. Invariant: `by_age` holds exactly the asks of `by_id`.
#[derive(Debug, Clone, Default)]
pub(super) struct CarriedChains {
    by_id: BTreeMap<AskId, Chain>,
    by_age: VecDeque<AskId>,
}

impl CarriedChains {
    /// Keeps what an ask follows from, if it does from something.
    pub(super) fn insert(&mut self, id: AskId, chain: Chain) {
        if chain.is_empty() {
            return;
        }
        if self.by_id.insert(id, chain).is_none() {
            self.by_age.push_back(id);
        }
        if self.by_age.len() > CARRIED_MAX
            && let Some(oldest) = self.by_age.pop_front()
        {
            self.by_id.remove(&oldest);
        }
    }

    /// Returns what an ask follows from on the machine that it came from.
    pub(super) fn get(&self, id: AskId) -> Option<&Chain> {
        self.by_id.get(&id)
    }
}
