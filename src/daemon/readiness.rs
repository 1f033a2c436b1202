//! What the service manager is told: ready, status, watchdog, stopping. Silent where there is none that listens.
//!
//! A manager that stands still reads nothing, and the kernel keeps ten datagrams for it (`net.unix.max_dgram_qlen`). The hub
//! must not stand still with it, as it would in `sd_notify::notify`, so what is not taken at once is told later.

use std::ffi::OsString;
use std::fmt::Write;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use crate::fault;
use crate::hub::Headline;

/// The least time between two status lines, which are for people, and before what was not taken is told again.
const PAUSE: Duration = Duration::from_secs(1);

/// The connection to the service manager, as `sd_notify(3)` has it.
#[derive(Debug)]
pub(super) struct Readiness {
    /// Where it listens, if it does.
    socket: Option<OsString>,
    ping_every: Option<Duration>,
    next_ping: Option<Instant>,
    /// What was told last; nothing before it was told that the hub is ready.
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
            socket: std::env::var_os("NOTIFY_SOCKET"),
            ping_every,
            next_ping: ping_every.map(|every| Instant::now() + every),
            told: None,
            status_from: None,
            status_waits: false,
        }
    }

    /// Tells that connections are served, and the status if it has changed, not more often than people read it: what comes
    /// too early or is not taken is to be told again at [`Readiness::poll_timeout`].
    pub(super) fn status(&mut self, now: Instant, headline: Headline) {
        let has_changed = self.socket.is_some() && self.told != Some(headline);
        self.status_waits = has_changed && self.status_from.is_some_and(|from| now < from);
        if !has_changed || self.status_waits {
            return;
        }
        let status = headline.to_string();
        let state = [NotifyState::Ready, NotifyState::Status(&status)];
        let is_taken = self.tell(if self.told.is_none() { &state } else { &state[1..] });
        fault::pass("notify.status");
        self.status_waits = !is_taken;
        if is_taken {
            self.told = Some(headline);
        }
        self.status_from = Some(now + PAUSE);
    }

    /// Returns when the service manager wants to hear next: of a status that waits, or for its watchdog.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let status = self.status_from.filter(|_| self.status_waits);
        [self.next_ping, status].into_iter().flatten().min()
    }

    /// Tells the watchdog that the hub is alive, if it is time.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.next_ping.is_some_and(|at| at <= now) {
            let is_taken = self.tell(&[NotifyState::Watchdog]);
            fault::pass("notify.watchdog");
            self.next_ping = self.ping_every.map(|every| now + if is_taken { every } else { PAUSE });
        }
    }

    /// Tells that no more connections are accepted: a start that is wanted from here on waits for the exit, as it does
    /// anyway, only later, where this is not taken.
    pub(super) fn stopping(&self) {
        self.tell(&[NotifyState::Stopping]);
    }

    /// Tells the service manager, and returns whether there is nothing to be told again.
    fn tell(&self, state: &[NotifyState<'_>]) -> bool {
        let Some(socket) = &self.socket else { return true };
        let lines = state.iter().fold(String::new(), |mut lines, state| {
            let _infallible = writeln!(lines, "{state}");
            lines
        });
        let send = || {
            let datagram = UnixDatagram::unbound()?;
            datagram.set_nonblocking(true)?;
            datagram.send_to(lines.as_bytes(), socket)
        };
        match send() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) => {
                tracing::warn!(%error, "could not tell the service manager");
                true
            }
            Ok(_all) => true,
        }
    }
}
