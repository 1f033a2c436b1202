//! An ordered set of keys that each have one deadline.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// Keys with their deadlines. Setting, clearing and taking cost the logarithm of the set's size.
#[derive(Debug, Clone)]
pub(crate) struct Deadlines<K> {
    by_time: BTreeSet<(Instant, K)>,
    by_key: BTreeMap<K, Instant>,
}

impl<K: Ord + Copy> Deadlines<K> {
    /// Returns an empty set.
    pub(crate) const fn new() -> Self {
        Self { by_time: BTreeSet::new(), by_key: BTreeMap::new() }
    }

    /// Gives the key this deadline, in place of an older one.
    pub(crate) fn set(&mut self, key: K, at: Instant) {
        self.clear(&key);
        self.by_key.insert(key, at);
        self.by_time.insert((at, key));
    }

    /// Takes the key's deadline away.
    pub(crate) fn clear(&mut self, key: &K) {
        if let Some(at) = self.by_key.remove(key) {
            self.by_time.remove(&(at, *key));
        }
    }

    /// Returns the key's deadline.
    pub(crate) fn get(&self, key: &K) -> Option<Instant> {
        self.by_key.get(key).copied()
    }

    /// Returns the earliest deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes one key whose deadline has come.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<K> {
        let (at, key) = *self.by_time.first()?;
        if at > now {
            return None;
        }
        self.clear(&key);
        Some(key)
    }

    /// Returns how many keys have a deadline.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }
}
