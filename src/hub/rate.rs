//! How fast may be asked: the generic cell rate algorithm, for pairs and for each asker alone.

use std::time::{Duration, Instant};

use super::limits::{CLIENT_RATE, PAIR_RATE, Rate, SHELL_RATE};
use super::refusals::{self, Refused};
use crate::deadlines::Deadlines;
use crate::protocol::ClientTag;

/// Who asks, or is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Party {
    /// The person's tools, all together.
    Shell,
    /// A session.
    Session(ClientTag),
    /// Another machine: all its sessions together.
    Machine(ClientTag),
}

/// The theoretical arrival times of the algorithm. A key whose time has passed is as good as absent and is dropped.
#[derive(Debug, Clone)]
pub(super) struct RateLimiter {
    arrivals: Deadlines<(Party, Party)>,
}

impl RateLimiter {
    /// Returns a limiter that nobody has used yet.
    pub(super) const fn new() -> Self {
        Self { arrivals: Deadlines::new() }
    }

    /// Counts one ask.
    ///
    /// # Errors
    /// It would be over a rate; it is not counted.
    pub(super) fn take(&mut self, now: Instant, asker: Party, asked: ClientTag) -> Result<(), Refused> {
        while self.arrivals.pop_due(now).is_some() {}
        let asked = Party::Session(asked);
        let pair = (asker.min(asked), asker.max(asked));
        let own = (asker, asker);
        let (pair_rate, between, alone) = match asker {
            Party::Shell => (SHELL_RATE, "from the shell to this session", "from the shell"),
            Party::Session(_) => (PAIR_RATE, "between these two sessions", "from this session"),
            Party::Machine(_) => (PAIR_RATE, "from that machine to this session", "from that machine"),
        };
        let pair_at = self.next_arrival(now, pair, pair_rate, between)?;
        let own_at = self.next_arrival(now, own, CLIENT_RATE, alone)?;
        self.arrivals.set(pair, pair_at);
        self.arrivals.set(own, own_at);
        Ok(())
    }

    /// Returns the next arrival time.
    fn next_arrival(&self, now: Instant, key: (Party, Party), rate: Rate, between: &str) -> Result<Instant, Refused> {
        let next = self.arrivals.get(&key).map_or(now, |at| at.max(now)) + rate.interval;
        let wait = (next - now).saturating_sub(rate.interval * rate.burst);
        if wait > Duration::ZERO { Err(refusals::too_fast(rate, between, wait)) } else { Ok(next) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ClientKey;

    fn client(number: u8) -> ClientTag {
        ClientKey::from_bytes([number; 16]).tag()
    }

    #[test]
    fn pair_may_ask_in_a_burst_and_then_at_its_rate() {
        let (a, b) = (client(1), client(2));
        let start = Instant::now();
        let mut limiter = RateLimiter::new();
        for n in 0..PAIR_RATE.burst {
            let (from, to) = if n % 2 == 0 { (a, b) } else { (b, a) };
            assert_eq!(limiter.take(start, Party::Session(from), to), Ok(()));
        }
        let refused = limiter.take(start, Party::Session(a), b).unwrap_err();
        assert_eq!(refused, refusals::too_fast(PAIR_RATE, "between these two sessions", PAIR_RATE.interval));
        let later = start + PAIR_RATE.interval;
        assert_eq!(limiter.take(later, Party::Session(a), b), Ok(()));
        assert!(limiter.take(later, Party::Session(b), a).is_err());
    }

    #[test]
    fn limiter_forgets_what_was_not_used_lately() {
        let start = Instant::now();
        let mut limiter = RateLimiter::new();
        limiter.take(start, Party::Session(client(1)), client(2)).unwrap();
        assert_eq!(limiter.arrivals.len(), 2);
        limiter.take(start + Duration::from_secs(60), Party::Session(client(2)), client(2)).unwrap();
        assert_eq!(limiter.arrivals.len(), 1);
    }
}
