//! How many bytes of texts are held, and of whom.
//!
//! Questions, replies and parked values are counted apart, each up to the limit `held_bytes`: whatever is asked, there is
//! room for replies. Of each, one client has a fixed share, [`SHARES`] of which make the whole.

use std::collections::BTreeMap;

use super::limits::{Limits, RETURNING_FACTOR, SHARES};
use super::refusals::{self, Refused, Texts};
use crate::protocol::ClientTag;

/// Bytes of one kind of texts, in all and of each client. Invariant: a client that holds nothing is not here.
#[derive(Debug, Clone)]
pub(super) struct Quota {
    texts: Texts,
    all: u64,
    by_client: BTreeMap<ClientTag, u64>,
}

impl Quota {
    /// Returns the state in which nothing is held.
    pub(super) const fn new(texts: Texts) -> Self {
        Self { texts, all: 0, by_client: BTreeMap::new() }
    }

    /// Checks that there is room for a client's text of so many bytes. What a client sends again that a former hub had is
    /// not bound to its share.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn check(
        &self,
        limits: &Limits,
        client: ClientTag,
        bytes: u64,
        is_returning: bool,
    ) -> Result<(), Refused> {
        let most = limits.held_bytes.saturating_mul(if is_returning { RETURNING_FACTOR } else { 1 });
        let (own, share) = (self.of(client), most / SHARES);
        if !is_returning && own + bytes > share {
            Err(refusals::over_share(self.texts, bytes, own, share, most))
        } else if self.all + bytes > most {
            Err(refusals::no_room(self.texts, bytes, self.all, most))
        } else {
            Ok(())
        }
    }

    /// Counts a client's bytes in.
    pub(super) fn add(&mut self, client: ClientTag, bytes: u64) {
        if bytes > 0 {
            self.all += bytes;
            *self.by_client.entry(client).or_default() += bytes;
        }
    }

    /// Counts a client's bytes out.
    pub(super) fn take(&mut self, client: ClientTag, bytes: u64) {
        self.all -= bytes;
        if let Some(own) = self.by_client.get_mut(&client) {
            *own -= bytes;
            if *own == 0 {
                self.by_client.remove(&client);
            }
        }
    }

    /// Returns how many bytes of a client are held.
    fn of(&self, client: ClientTag) -> u64 {
        self.by_client.get(&client).copied().unwrap_or_default()
    }

    /// Returns whether nothing of any client is held.
    pub(super) fn is_empty(&self) -> bool {
        self.all == 0 && self.by_client.is_empty()
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
    fn quota_is_empty_once_all_is_counted_out() {
        let (a, b) = (client(1), client(2));
        let mut quota = Quota::new(Texts::Questions);
        quota.add(a, 0);
        assert!(quota.is_empty(), "who holds nothing is not counted");
        for (client, bytes) in [(a, 5), (b, 7), (a, 2), (b, 0)] {
            quota.add(client, bytes);
        }
        assert_eq!((quota.all, quota.of(a), quota.of(b)), (14, 7, 7));
        quota.take(a, 7);
        quota.take(b, 3);
        assert_eq!((quota.all, quota.of(a), quota.of(b)), (4, 0, 4));
        quota.take(b, 4);
        assert!(quota.is_empty());
    }

    #[test]
    fn quota_gives_each_client_its_share_and_no_more_than_there_is() {
        let limits = Limits { held_bytes: 30, ..Limits::default() };
        let mut quota = Quota::new(Texts::Questions);
        for number in 1..=3 {
            assert!(quota.check(&limits, client(number), 10, false).is_ok());
            quota.add(client(number), 10);
            let error = quota.check(&limits, client(number), 1, false).unwrap_err().error;
            assert!(
                error.message.contains("already has 10 bytes of unread questions; its share is 10 of 30"),
                "{error}"
            );
        }
        let error = quota.check(&limits, client(4), 1, false).unwrap_err().error;
        assert!(error.message.contains("holds 30 bytes of unread questions; the limit is 30"), "{error}");
        assert!(quota.check(&limits, client(1), 60, true).is_ok(), "what a former hub had may come again");
        assert!(quota.check(&limits, client(1), 61, true).is_err());
    }
}
