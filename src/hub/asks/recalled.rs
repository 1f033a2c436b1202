//! How much is remembered of asks that former hubs knew.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use super::REMEMBERED;
use crate::protocol::PeerTag;

/// The most asks of former hubs that are remembered, in all and of one asker: its client has no more to say of.
const MAX: usize = 65_536;
const EACH_MAX: usize = 4096;

/// How many asks of former hubs are remembered of each asker. They have a bound of their own, or what anybody says of
/// asks that no hub knows would make this one forget those that it knew.
#[derive(Debug, Clone)]
pub(super) struct Recalled {
    /// Until when each is remembered, and whose it is: the oldest first.
    until: VecDeque<(Instant, PeerTag)>,
    counts: BTreeMap<PeerTag, usize>,
}

impl Recalled {
    /// Returns the state in which none is remembered.
    pub(super) const fn new() -> Self {
        Self { until: VecDeque::new(), counts: BTreeMap::new() }
    }

    /// Counts one more, if there is room. Returns whether there is.
    pub(super) fn add(&mut self, now: Instant, asker: PeerTag) -> bool {
        while let Some((_, asker)) = self.until.pop_front_if(|(until, _)| *until <= now) {
            if let Some(count) = self.counts.get_mut(&asker) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&asker);
                }
            }
        }
        let is_room = self.until.len() < MAX && self.counts.get(&asker).is_none_or(|n| *n < EACH_MAX);
        if is_room {
            self.until.push_back((now + REMEMBERED, asker));
            *self.counts.entry(asker).or_default() += 1;
        }
        is_room
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::protocol::PeerKey;

    fn peer(number: u8) -> PeerTag {
        PeerKey::from_bytes([number; 16]).tag()
    }

    #[test]
    fn asks_of_former_hubs_are_remembered_for_a_while_of_each_asker_and_in_all_within_bounds() {
        let (now, mut recalled) = (Instant::now(), Recalled::new());
        let askers = (MAX / EACH_MAX) as u8;
        for asker in 0..askers {
            let remembered = (0..EACH_MAX + 2).filter(|_| recalled.add(now, peer(asker))).count();
            assert_eq!(remembered, EACH_MAX);
        }
        assert!(!recalled.add(now, peer(askers)), "one who has said nothing yet finds no room in all");
        assert!(!recalled.add(now + REMEMBERED - Duration::from_millis(1), peer(askers)));
        let later = now + REMEMBERED;
        assert!(recalled.add(later, peer(askers)));
        assert_eq!((recalled.until.len(), recalled.counts.len()), (1, 1), "nothing is left of what was forgotten");

        let (now, mut recalled) = (Instant::now(), Recalled::new());
        recalled.add(now, peer(1));
        recalled.add(now, peer(1));
        (2..EACH_MAX).for_each(|_| assert!(recalled.add(now + Duration::from_secs(1), peer(1))));
        let later = (0..3).map(|_| recalled.add(now + REMEMBERED, peer(1))).collect::<Vec<_>>();
        assert_eq!(later, [true, true, false], "as many as were forgotten");
    }
}
