//! Whether channel events reach the session: nothing says so, but a receipt or the start of a turn does.

use std::time::{Duration, Instant};

use super::entry::Entry;
use crate::protocol::Activity;

/// How long an idle session may take to start a turn after a channel event: it takes less than half a second.
const TURN_WAIT: Duration = Duration::from_secs(3);

/// How late a timer comes at the most in a process that runs.
const LATE: Duration = Duration::from_secs(1);

/// The most events that are kept in mind.
const KEPT_MAX: usize = 16;

/// The channel events of a route that has not been seen to work.
#[derive(Debug)]
pub(super) struct Unproven {
    /// Whether an event was seen to arrive: nothing is kept in mind from then on.
    proven: bool,
    /// Whether the session's client runs our hooks, so that a receipt would come.
    hooks_work: bool,
    activity: Activity,
    unseen: Vec<Entry>,
    due: Option<Instant>,
}

impl Default for Unproven {
    fn default() -> Self {
        Self { proven: false, hooks_work: false, activity: Activity::Unknown, unseen: Vec::new(), due: None }
    }
}

impl Unproven {
    /// Records that a hook or a waiter was there.
    pub(super) fn handle_hooks_work(&mut self) {
        self.hooks_work = true;
    }

    /// Returns whether a receipt would come of an event that went before the model.
    pub(super) const fn has_receipts(&self) -> bool {
        self.hooks_work
    }

    /// Records what the session does. One that is not known to be idle is never repeated to.
    pub(super) fn handle_activity(&mut self, activity: Activity) {
        self.activity = activity;
        if activity != Activity::Idle {
            self.forget();
        }
    }

    /// Records a channel event that was written.
    pub(super) fn handle_written(&mut self, now: Instant, entry: Entry) {
        if !self.proven && self.hooks_work && self.activity == Activity::Idle && self.unseen.len() < KEPT_MAX {
            self.unseen.push(entry);
            self.due = Some(now + TURN_WAIT);
        }
    }

    /// Records a receipt. Returns whether it proves that channel events arrive.
    pub(super) fn handle_receipt(&mut self, id: &str) -> bool {
        let seen = self.unseen.iter().any(|entry| entry.message.id() == Some(id));
        if seen {
            self.proven = true;
            self.forget();
        }
        seen
    }

    fn forget(&mut self) {
        self.unseen = Vec::new();
        self.due = None;
    }

    /// Returns the events that were not seen, marked as repeats, when they are due.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Option<Vec<Entry>> {
        let due = self.due.filter(|due| *due <= now)?;
        if now > due + LATE {
            // This process did not run, and so perhaps did not the session's: the wait begins anew.
            self.due = Some(now + TURN_WAIT);
            return None;
        }
        self.due = None;
        let mut unseen = std::mem::take(&mut self.unseen);
        for entry in &mut unseen {
            entry.message.mark_repeated();
        }
        Some(unseen)
    }

    /// Returns when [`Unproven::handle_timeout`] is to be called.
    pub(super) const fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }
}
