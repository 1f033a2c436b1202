//! How many bytes of texts are held, and of whom.
//!
//! Questions and replies are counted apart, each up to the limit: whatever is asked, there is room for replies. Of either,
//! one client may hold no more than what is left: one that takes all it can gets half, the next one half of the rest, and
//! there is always something left for somebody who holds little.

use std::collections::BTreeMap;

use super::Hub;
use super::limits::RETURNING_FACTOR;
use super::refusal;
use crate::protocol::{PeerTag, Refusal};

/// Bytes of texts, in all and of each client. Invariant: a client that holds nothing is not here.
#[derive(Debug, Clone)]
pub(super) struct Held {
    all: u64,
    by_client: BTreeMap<PeerTag, u64>,
}

impl Held {
    /// Returns the state in which nothing is held.
    pub(super) const fn new() -> Self {
        Self { all: 0, by_client: BTreeMap::new() }
    }

    /// Counts a client's bytes in.
    pub(super) fn add(&mut self, client: PeerTag, bytes: u64) {
        if bytes > 0 {
            self.all += bytes;
            *self.by_client.entry(client).or_default() += bytes;
        }
    }

    /// Counts a client's bytes out.
    pub(super) fn take(&mut self, client: PeerTag, bytes: u64) {
        self.all -= bytes;
        if let Some(own) = self.by_client.get_mut(&client) {
            *own -= bytes;
            if *own == 0 {
                self.by_client.remove(&client);
            }
        }
    }

    /// Returns how many bytes are held in all.
    pub(super) const fn all(&self) -> u64 {
        self.all
    }

    /// Returns how many bytes of a client are held.
    pub(super) fn of(&self, client: PeerTag) -> u64 {
        self.by_client.get(&client).copied().unwrap_or_default()
    }

    /// Returns whether nothing of any client is held.
    pub(super) fn is_empty(&self) -> bool {
        self.all == 0 && self.by_client.is_empty()
    }
}

/// What a text is, and who answers for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Text {
    /// A question by this client.
    Question(PeerTag),
    /// A reply that is for this client, or by it as long as it is not known whom it is for.
    Reply(PeerTag),
}

impl Hub {
    /// Checks that there is room for a text of so many bytes. What a client says again that a former hub had is not bound
    /// to its share.
    ///
    /// # Errors
    /// There is none: the refusal.
    pub(super) fn check_room(&self, text: Text, bytes: u64, was_said_before: bool) -> Result<(), Refusal> {
        let (client, held) = match text {
            Text::Question(client) => (client, [&self.asks.questions, &self.settling.questions]),
            Text::Reply(client) => (client, [&self.asks.replies, &self.settling.replies]),
        };
        let all = held.iter().map(|held| held.all()).sum::<u64>();
        let own = held.iter().map(|held| held.of(client)).sum::<u64>();
        let limit = self.most_held(was_said_before);
        let share = limit.saturating_sub(all);
        if bytes + if was_said_before { 0 } else { own } <= share {
            return Ok(());
        }
        Err(refusal::no_room(text, bytes, own, all, limit))
    }

    /// Returns how many bytes may be held: more for what clients say again to a hub that settles.
    const fn most_held(&self, was_said_before: bool) -> u64 {
        let factor = if was_said_before { RETURNING_FACTOR } else { 1 };
        self.limits.held_bytes.saturating_mul(factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::PeerKey;

    #[test]
    fn what_is_counted_in_and_out_again_leaves_nothing() {
        let (a, b) = (PeerKey::from_bytes([1; 16]).tag(), PeerKey::from_bytes([2; 16]).tag());
        let mut held = Held::new();
        held.add(a, 0);
        assert!(held.is_empty(), "who holds nothing is not counted");
        for (client, bytes) in [(a, 5), (b, 7), (a, 2), (b, 0)] {
            held.add(client, bytes);
        }
        assert_eq!((held.all(), held.of(a), held.of(b)), (14, 7, 7));
        held.take(a, 7);
        held.take(b, 3);
        assert_eq!((held.all(), held.of(a), held.of(b)), (4, 0, 4));
        held.take(b, 4);
        assert!(held.is_empty());
    }
}
