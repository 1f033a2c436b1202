//! The limits that were reached: for the person who wonders why something was refused.

use std::collections::BTreeMap;

/// How often each limit has refused something. Names are those of `docs/operations.md`.
#[derive(Debug, Clone, Default)]
pub(super) struct Reached(BTreeMap<&'static str, u64>);

impl Reached {
    /// Counts one refusal.
    pub(super) fn count(&mut self, limit: &'static str) {
        *self.0.entry(limit).or_default() += 1;
    }

    /// Returns the counts by the limits' names.
    pub(super) fn counts(&self) -> BTreeMap<String, u64> {
        self.0.iter().map(|(limit, n)| ((*limit).to_owned(), *n)).collect()
    }
}
