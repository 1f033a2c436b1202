//! What the service manager is told: ready, status, watchdog, stopping. Silent where there is none that listens.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// The least time between two status lines: they are for people.
const STATUS_PAUSE: Duration = Duration::from_secs(1);

/// The connection to the service manager, as `sd_notify(3)` has it.
#[derive(Debug)]
pub(super) struct Readiness {
    listened_to: bool,
    ping_every: Option<Duration>,
    next_ping: Option<Instant>,
    status: String,
    status_at: Option<Instant>,
}

impl Readiness {
    /// Looks whether a service manager listens and wants pings.
    pub(super) fn new() -> Self {
        // Half of the interval, as sd_watchdog_enabled(3) advises.
        let ping_every = sd_notify::watchdog_enabled().map(|interval| interval / 2);
        Self {
            listened_to: std::env::var_os("NOTIFY_SOCKET").is_some(),
            ping_every,
            next_ping: ping_every.map(|every| Instant::now() + every),
            status: String::new(),
            status_at: None,
        }
    }

    /// Tells that connections are served.
    pub(super) fn ready(&mut self, status: &str) {
        self.tell(&[NotifyState::Ready, NotifyState::Status(status)]);
        status.clone_into(&mut self.status);
    }

    /// Tells the status if it has changed, not more often than people read it.
    pub(super) fn status(&mut self, status: &str) {
        let now = Instant::now();
        let due = self.status_at.is_none_or(|at| now.saturating_duration_since(at) >= STATUS_PAUSE);
        if self.listened_to && due && self.status != status {
            self.tell(&[NotifyState::Status(status)]);
            status.clone_into(&mut self.status);
            self.status_at = Some(now);
        }
    }

    /// Returns when the watchdog wants to hear next.
    pub(super) const fn next_ping(&self) -> Option<Instant> {
        self.next_ping
    }

    /// Tells the watchdog that the hub is alive.
    pub(super) fn ping(&mut self) {
        self.tell(&[NotifyState::Watchdog]);
        self.next_ping = self.ping_every.map(|every| Instant::now() + every);
    }

    /// Tells that no more connections are accepted: a start that is wanted from here on waits for the exit.
    pub(super) fn stopping(&self) {
        self.tell(&[NotifyState::Stopping]);
    }

    fn tell(&self, state: &[NotifyState<'_>]) {
        if self.listened_to
            && let Err(error) = sd_notify::notify(state)
        {
            tracing::warn!(%error, "could not tell the service manager");
        }
    }
}
