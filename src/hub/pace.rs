//! How fast may be asked: the generic cell rate algorithm, for pairs and for each asker alone.

use std::time::{Duration, Instant};

use super::limits::{CLIENT_PACE, PAIR_PACE, Pace, SHELL_PACE};
use crate::deadlines::Deadlines;
use crate::protocol::PeerTag;

/// Who asks, or is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Party {
    /// The person's tools, all together.
    Shell,
    /// A session.
    Session(PeerTag),
}

/// Says which pace an ask would break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooFast {
    /// The pace.
    pub(super) pace: Pace,
    /// Who asks.
    pub(super) asker: Party,
    /// Whether it is the pair's, not the asker's own.
    pub(super) pair: bool,
    /// How long to wait until one more may come.
    pub(super) wait: Duration,
}

/// The theoretical arrival times of the algorithm. A key whose time has passed is as good as absent and is dropped.
#[derive(Debug, Clone)]
pub(super) struct Paces {
    arrivals: Deadlines<(Party, Party)>,
}

impl Paces {
    /// Returns paces that nobody has used yet.
    pub(super) const fn new() -> Self {
        Self { arrivals: Deadlines::new() }
    }

    /// Counts one ask, unless it would break a pace.
    pub(super) fn take(&mut self, now: Instant, asker: Party, asked: PeerTag) -> Result<(), TooFast> {
        while self.arrivals.pop_due(now).is_some() {}
        let asked = Party::Session(asked);
        let pair = (asker.min(asked), asker.max(asked));
        let own = (asker, asker);
        let pair_pace = if asker == Party::Shell { SHELL_PACE } else { PAIR_PACE };
        let too_fast = |pair| move |(pace, wait)| TooFast { pace, asker, pair, wait };
        let pair_at = self.next_arrival(now, pair, pair_pace).map_err(too_fast(true))?;
        let own_at = self.next_arrival(now, own, CLIENT_PACE).map_err(too_fast(false))?;
        self.arrivals.set(pair, pair_at);
        self.arrivals.set(own, own_at);
        Ok(())
    }

    /// Returns the next arrival time, or the pace that is broken and how long to wait.
    fn next_arrival(&self, now: Instant, key: (Party, Party), pace: Pace) -> Result<Instant, (Pace, Duration)> {
        let next = self.arrivals.get(&key).map_or(now, |at| at.max(now)) + pace.interval;
        let ahead = next - now;
        let room = pace.interval * pace.burst;
        if ahead > room { Err((pace, ahead - room)) } else { Ok(next) }
    }

    /// Returns how many keys are held: those that were used lately.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.arrivals.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::PeerKey;

    #[test]
    fn a_burst_passes_and_then_the_pace() {
        let (a, b) = (PeerKey::from_bytes([1; 16]).tag(), PeerKey::from_bytes([2; 16]).tag());
        let start = Instant::now();
        let mut paces = Paces::new();
        for n in 0..PAIR_PACE.burst {
            let (from, to) = if n % 2 == 0 { (a, b) } else { (b, a) };
            assert_eq!(paces.take(start, Party::Session(from), to), Ok(()));
        }
        let refused = paces.take(start, Party::Session(a), b).unwrap_err();
        assert!(refused.pair);
        assert_eq!(refused.wait, PAIR_PACE.interval);
        assert_eq!(paces.take(start + refused.wait, Party::Session(a), b), Ok(()));
        assert!(paces.take(start + refused.wait, Party::Session(b), a).is_err());
    }

    #[test]
    fn what_was_not_used_lately_is_not_held() {
        let (a, b) = (PeerKey::from_bytes([1; 16]).tag(), PeerKey::from_bytes([2; 16]).tag());
        let start = Instant::now();
        let mut paces = Paces::new();
        paces.take(start, Party::Session(a), b).unwrap();
        assert_eq!(paces.len(), 2);
        paces.take(start + Duration::from_secs(60), Party::Session(b), b).unwrap();
        assert_eq!(paces.len(), 1);
    }
}
