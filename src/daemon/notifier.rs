//! What the service manager is told: ready, status, watchdog, stopping. Silent where there is none that listens.
//!
//! A manager that stands still reads nothing, and the kernel keeps ten datagrams for it (`net.unix.max_dgram_qlen`). The hub
//! must not stand still with it, as it would in `sd_notify::notify`, so what is not taken at once is told later.

use std::ffi::OsString;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use crate::hub::StatusLine;

/// The least time between two status lines, which are for people, and before what was not taken is told again.
const PAUSE: Duration = Duration::from_secs(1);

/// The connection to the service manager, as `sd_notify(3)` has it.
#[derive(Debug)]
pub(super) struct Notifier {
    /// Where it listens, if it does.
    socket: Option<OsString>,
    ping_every: Option<Duration>,
    next_ping: Option<Instant>,
    /// What was told last; nothing before it was told that the hub is ready.
    told: Option<StatusLine>,
    /// Before this the next status is not told.
    status_from: Option<Instant>,
    status_waits: bool,
    /// Whether the last attempt to tell it something failed.
    fails: bool,
}

impl Notifier {
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
            fails: false,
        }
    }

    /// Tells that connections are served, and the status if it has changed, not more often than people read it: what comes
    /// too early or is not taken is to be told again at [`Notifier::poll_timeout`].
    pub(super) fn status(&mut self, now: Instant, status_line: StatusLine) {
        let has_changed = self.socket.is_some() && self.told != Some(status_line);
        self.status_waits = has_changed && self.status_from.is_some_and(|from| now < from);
        if !has_changed || self.status_waits {
            return;
        }
        let status = status_line.to_string();
        let state = [NotifyState::Ready, NotifyState::Status(&status)];
        let is_taken = self.tell(if self.told.is_none() { &state } else { &state[1..] });
        self.status_waits = !is_taken;
        if is_taken {
            self.told = Some(status_line);
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
            self.next_ping = self.ping_every.map(|every| now + if is_taken { every } else { every.min(PAUSE) });
        }
    }

    /// Tells that no more connections are accepted: a start that is wanted from here on waits for the exit, as it does
    /// anyway, only later, where this is not taken.
    pub(super) fn stopping(&mut self) {
        self.tell(&[NotifyState::Stopping]);
    }

    /// Tells the service manager, and returns whether it need not be told again.
    fn tell(&mut self, state: &[NotifyState<'_>]) -> bool {
        let Some(socket) = &self.socket else { return true };
        let lines: String = state.iter().map(|state| state.to_string() + "\n").collect();
        let send = || {
            let datagram = UnixDatagram::unbound()?;
            datagram.set_nonblocking(true)?;
            datagram.send_to(lines.as_bytes(), socket)
        };
        let sent = send();
        let failed_before = std::mem::replace(&mut self.fails, sent.is_err());
        if let Err(error) = &sent
            && !failed_before
        {
            tracing::warn!(%error, "could not tell the service manager, which is told again");
        }
        sent.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{Hub, HubInfo, Limits};

    #[test]
    fn what_a_manager_that_stands_still_does_not_take_is_told_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let (manager, full) = (UnixDatagram::bind(&path).unwrap(), UnixDatagram::unbound().unwrap());
        [&manager, &full].into_iter().for_each(|socket| socket.set_nonblocking(true).unwrap());
        while full.send_to(b"x", &path).is_ok() {}
        let (now, every) = (Instant::now(), PAUSE * 15);
        let status_line = Hub::new(now, Limits::default(), None, HubInfo { version: "1", pid: 1 }).status_line();
        let mut notifier = Notifier { socket: Some(path.into()), ping_every: None, next_ping: None, ..Notifier::new() };
        let again = now + PAUSE;
        notifier.status(now, status_line);
        assert_eq!(notifier.poll_timeout(), Some(again));
        (notifier.ping_every, notifier.next_ping) = (Some(every), Some(now));
        notifier.handle_timeout(now);
        assert_eq!((notifier.poll_timeout(), notifier.next_ping), (Some(again), Some(again)));

        let mut said = [0; 100];
        while manager.recv(&mut said).is_ok() {}
        notifier.status(again, status_line);
        notifier.handle_timeout(again);
        let mut hear = || manager.recv(&mut said).ok().map(|n| String::from_utf8_lossy(&said[..n]).into_owned());
        assert_eq!(hear().as_deref(), Some("READY=1\nSTATUS=0 sessions, 0 open asks\n"));
        assert_eq!(hear().as_deref(), Some("WATCHDOG=1\n"));
        assert_eq!((hear(), notifier.poll_timeout()), (None, Some(again + every)));
    }
}
