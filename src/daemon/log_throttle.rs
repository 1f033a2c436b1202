//! What is logged at most once a second of each kind, so that no client can flood the log.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The least time between two lines of a kind.
const PAUSE: Duration = Duration::from_secs(1);

/// The kinds that were logged, when, and how many were passed over since.
#[derive(Debug)]
pub(super) struct LogThrottle<K> {
    logged: BTreeMap<K, (Instant, u64)>,
}

impl<K: Ord> LogThrottle<K> {
    pub(super) const fn new() -> Self {
        Self { logged: BTreeMap::new() }
    }

    /// Returns whether one of this kind is to be logged now; with it, how many were not since the last one.
    pub(super) fn pass(&mut self, now: Instant, kind: K) -> Option<u64> {
        match self.logged.get_mut(&kind) {
            Some((last, suppressed)) if now.saturating_duration_since(*last) < PAUSE => {
                *suppressed += 1;
                None
            }
            known => {
                let suppressed = known.map_or(0, |(_, suppressed)| *suppressed);
                self.logged.insert(kind, (now, 0));
                Some(suppressed)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_throttle_passes_one_of_a_kind_each_second() {
        let (start, mut throttle) = (Instant::now(), LogThrottle::new());
        assert_eq!(throttle.pass(start, "a"), Some(0));
        assert_eq!(throttle.pass(start, "b"), Some(0));
        assert_eq!(throttle.pass(start, "a"), None);
        assert_eq!(throttle.pass(start + PAUSE / 2, "a"), None);
        assert_eq!(throttle.pass(start + PAUSE, "a"), Some(2));
        assert_eq!(throttle.pass(start + PAUSE * 9, "a"), Some(0));
    }
}
