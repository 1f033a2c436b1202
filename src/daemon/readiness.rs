//! What the service manager is told: ready, status, watchdog, stopping. Silent where there is none that listens.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use crate::fault;
use crate::hub::Headline;

/// The least time between two status lines: they are for people.
const STATUS_PAUSE: Duration = Duration::from_secs(1);

/// The connection to the service manager, as `sd_notify(3)` has it.
#[derive(Debug)]
pub(super) struct Readiness {
    listened_to: bool,
    ping_every: Option<Duration>,
    next_ping: Option<Instant>,
    /// What was told last.
    told: Option<Headline>,
    /// Before this the next status is not told.
    status_from: Option<Instant>,
    status_waits: bool,
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
            told: None,
            status_from: None,
            status_waits: false,
        }
    }

    /// Tells that connections are served.
    pub(super) fn ready(&mut self, headline: Headline) {
        self.tell(&[NotifyState::Ready, NotifyState::Status(&headline.to_string())]);
        self.told = Some(headline);
    }

    /// Tells the status if it has changed, not more often than people read it: what comes too early is to be told again
    /// at [`Readiness::poll_timeout`].
    pub(super) fn status(&mut self, now: Instant, headline: Headline) {
        let has_changed = self.listened_to && self.told != Some(headline);
        self.status_waits = has_changed && self.status_from.is_some_and(|from| now < from);
        if has_changed && !self.status_waits {
            self.tell(&[NotifyState::Status(&headline.to_string())]);
            fault::pass("notify.status");
            self.told = Some(headline);
            self.status_from = Some(now + STATUS_PAUSE);
        }
    }

    /// Returns when the service manager wants to hear next: of a status that waits, or for its watchdog.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let status = self.status_from.filter(|_| self.status_waits);
        [self.next_ping, status].into_iter().flatten().min()
    }

    /// Tells the watchdog that the hub is alive, if it is time.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.next_ping.is_some_and(|at| at <= now) {
            self.tell(&[NotifyState::Watchdog]);
            fault::pass("notify.watchdog");
            self.next_ping = self.ping_every.map(|every| now + every);
        }
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
