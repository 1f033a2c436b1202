//! How own asks ended, as long as a hub may not have acted on it. Pure.

use std::mem;
use std::time::{Duration, Instant};

use crate::client::ended::REMEMBERED_MAX;
use crate::client::outgoing::Outgoing;
use crate::protocol::{AskId, Notice, Taken, Withdraw};

/// How long a connection must last after the hub was told of an end, until everybody who needs to knows.
pub const KNOWN_AFTER: Duration = Duration::from_secs(10);

/// Ends that every new hub is told of again, until one connection has lasted long enough after it.
///
/// They are kept in two generations instead of a time for each: what was sent before the present one began is forgotten
/// once the present one is old enough.
#[derive(Debug, Clone, Default)]
pub(super) struct Unconfirmed {
    older: Ends,
    newer: Ends,
    /// When `newer` began; none while the connection is down.
    since: Option<Instant>,
}

#[derive(Debug, Clone, Default)]
struct Ends {
    taken: Vec<Taken>,
    withdrawn: Vec<AskId>,
}

impl Unconfirmed {
    /// Adds a reply that was taken, of which the hub is told now.
    pub(super) fn add_taken(&mut self, now: Instant, taken: Taken) {
        self.forget_known(now);
        self.newer.taken.push(taken);
    }

    /// Adds an ask that nobody waits for any more, of which the hub is told now, if it is there.
    pub(super) fn add_withdrawn(&mut self, id: AskId) {
        self.newer.withdrawn.push(id);
        if self.newer.withdrawn.len() >= REMEMBERED_MAX {
            self.older = mem::take(&mut self.newer);
        }
    }

    fn forget_known(&mut self, now: Instant) {
        let is_known = self.since.is_some_and(|since| now.saturating_duration_since(since) >= KNOWN_AFTER);
        if is_known || self.newer.taken.len() >= REMEMBERED_MAX {
            self.older = mem::take(&mut self.newer);
            self.since = self.since.map(|_| now);
        }
    }

    /// Records that the connection is down: nothing becomes known meanwhile.
    pub(super) fn handle_disconnected(&mut self, now: Instant) {
        if self.since.is_some() {
            self.forget_known(now);
            self.since = None;
        }
    }

    /// Tells a hub that has welcomed the client of all of them.
    pub(super) fn resend(&mut self, now: Instant, out: &mut Outgoing) {
        let newer = mem::take(&mut self.newer);
        self.older.taken.extend(newer.taken);
        self.older.withdrawn.extend(newer.withdrawn);
        self.since = Some(now);
        for taken in &self.older.taken {
            out.notice(Notice::Taken(*taken));
        }
        for ask_id in &self.older.withdrawn {
            out.notice(Notice::Withdraw(Withdraw { ask_id: *ask_id }));
        }
    }

    /// Returns the replies that were taken of which their repliers may not know.
    pub(super) fn taken(&mut self, now: Instant) -> impl Iterator<Item = Taken> {
        self.forget_known(now);
        self.older.taken.iter().chain(&self.newer.taken).copied()
    }
}
