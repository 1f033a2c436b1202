//! How long to wait between attempts to connect: doubling, with jitter, below the hub's grace period. Pure.

use std::time::{Duration, Instant};

/// The longest pause between two attempts, which fits into the hub's grace period once and a half.
pub const RECONNECT_CAP: Duration = Duration::from_millis(1200);

/// The shortest pause after a failed attempt.
const FIRST: Duration = Duration::from_millis(20);

/// How long a connection must have lasted for the next attempt to be made without a pause.
const STEADY: Duration = Duration::from_secs(1);

/// Counts failed attempts.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Returns how long to wait before the next attempt. `jitter` is a random number.
    pub(crate) fn next_pause(&mut self, jitter: u32) -> Duration {
        if self.failures == 0 {
            self.failures = 1;
            return Duration::ZERO;
        }
        let longest = FIRST.saturating_mul(1 << (self.failures - 1).min(10)).min(RECONNECT_CAP);
        self.failures += 1;
        longest / 2 + (longest / 2).mul_f64(f64::from(jitter) / f64::from(u32::MAX))
    }

    /// Records the end of a connection that had been welcomed at `since`.
    pub(crate) fn handle_lost(&mut self, now: Instant, since: Option<Instant>) {
        if since.is_some_and(|since| now.saturating_duration_since(since) >= STEADY) {
            self.failures = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_cap_and_start_anew_after_a_steady_connection() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next_pause(0), Duration::ZERO);
        assert_eq!(backoff.next_pause(u32::MAX), FIRST);
        assert_eq!(backoff.next_pause(0), FIRST);
        let last = (0..40).map(|_| backoff.next_pause(u32::MAX)).last().unwrap();
        assert_eq!(last, RECONNECT_CAP);
        let now = Instant::now();
        backoff.handle_lost(now, Some(now));
        assert!(backoff.next_pause(0) > Duration::ZERO);
        backoff.handle_lost(now + STEADY, Some(now));
        assert_eq!(backoff.next_pause(0), Duration::ZERO);
    }
}
