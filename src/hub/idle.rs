//! When the hub may leave: nobody has been connected for a while.

use std::time::{Duration, Instant};

/// Watches how many connections there are. Without a timeout the hub never leaves by itself.
#[derive(Debug, Clone)]
pub(super) struct Idle {
    timeout: Option<Duration>,
    deadline: Option<Instant>,
}

impl Idle {
    /// Starts watching a hub without connections: a hub that nobody ever greets must leave as well.
    pub(super) fn new(now: Instant, timeout: Option<Duration>) -> Self {
        Self { timeout, deadline: timeout.map(|timeout| now + timeout) }
    }

    /// Takes note of how many connections there are.
    pub(super) fn handle_connections(&mut self, now: Instant, n_connections: usize) {
        if n_connections > 0 {
            self.deadline = None;
        } else if self.deadline.is_none() {
            self.deadline = self.timeout.map(|timeout| now + timeout);
        }
    }

    /// Returns when the hub leaves if nothing comes before.
    pub(super) const fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    /// Returns whether the hub is to leave, once. `kept_until`: how long it keeps something for somebody who may come.
    pub(super) fn handle_timeout(&mut self, now: Instant, kept_until: Option<Instant>) -> bool {
        self.deadline = self.deadline.map(|at| kept_until.map_or(at, |until| at.max(until)));
        let due = self.deadline.is_some_and(|at| at <= now);
        if due {
            self.deadline = None;
            self.timeout = None;
        }
        due
    }
}
