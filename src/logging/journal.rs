//! The journal, without waiting for one that does not read.
//!
//! tracing-journald sends each event from the thread that logs it, on a socket that blocks when the journal does not
//! read: a journal that hangs would stop the hub, and the watchdog would kill it. So each event first asks whether the
//! journal has room, and is dropped and counted if not. What the history of asks is made of waits a moment for a journal that
//! is only slow: its queue may have room for no more than ten entries (net.unix.max_dgram_qlen).

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, Filter};
use tracing_subscriber::registry::LookupSpan;

use super::{HISTORY_TARGET, TEXT_TARGET};

/// Where the journal reads (systemd-journald.service(8)); tracing-journald sends to the same.
const SOCKET: &str = "/run/systemd/journal/socket";

/// Returns the layer that sends events to the journal, under the program's name and with their fields' own names.
///
/// # Errors
/// There is no journal.
pub(super) fn layer<S>(program: &'static str) -> io::Result<impl Layer<S>>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let room = Room::of(Path::new(SOCKET), program)?;
    let journal = tracing_journald::layer()?.with_field_prefix(None).with_syslog_identifier(program.to_owned());
    Ok(journal.with_filter(room))
}

/// How long an event of the history waits for room, unless the last one has waited in vain.
const WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

const NO_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// Lets events through as long as the journal has room for them.
struct Room {
    /// Connected, so that it is writable only while the journal's queue is not full (unix_dgram_poll in
    /// net/unix/af_unix.c).
    journal: UnixDatagram,
    program: &'static str,
    dropped: AtomicU64,
    /// Whether an event has waited in vain, and there was no room since.
    is_stuck: AtomicBool,
}

impl Room {
    fn of(socket: &Path, program: &'static str) -> io::Result<Self> {
        let journal = UnixDatagram::unbound()?;
        journal.connect(socket)?;
        journal.set_nonblocking(true)?;
        Ok(Self { journal, program, dropped: AtomicU64::new(0), is_stuck: AtomicBool::new(false) })
    }

    /// Returns whether an event of this target can be sent. The first one that can is preceded by how many could not.
    fn is_there(&self, target: &str) -> bool {
        let mut wanted = [PollFd::new(&self.journal, PollFlags::OUT)];
        let waits = [HISTORY_TARGET, TEXT_TARGET].contains(&target) && !self.is_stuck.load(Ordering::Relaxed);
        let is_full = poll(&mut wanted, Some(if waits { &WAIT } else { &NO_WAIT })) == Ok(0);
        if waits || !is_full {
            self.is_stuck.store(is_full, Ordering::Relaxed);
        }
        if is_full {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let (program, text) = (self.program, "log entries were dropped, since the journal did not take them");
            let entry = format!(
                "PRIORITY=4\nSYSLOG_IDENTIFIER={program}\nTARGET={HISTORY_TARGET}\nDROPPED={dropped}\nMESSAGE={dropped} {text}\n"
            );
            if self.journal.send(entry.as_bytes()).is_err() {
                self.dropped.fetch_add(dropped, Ordering::Relaxed);
            }
        }
        true
    }
}

impl<S> Filter<S> for Room {
    fn enabled(&self, _metadata: &Metadata<'_>, _context: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _context: &Context<'_, S>) -> bool {
        self.is_there(event.metadata().target())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_that_hangs_costs_entries_and_no_time_and_is_told_how_many() {
        let directory = tempfile::tempdir().unwrap();
        let journal = UnixDatagram::bind(directory.path().join("journal")).unwrap();
        journal.set_nonblocking(true).unwrap();
        let room = Room::of(&directory.path().join("journal"), "relay-hub").unwrap();

        // Others fill the queue, whose length is the kernel's (net.unix.max_dgram_qlen).
        let other = UnixDatagram::unbound().unwrap();
        other.set_nonblocking(true).unwrap();
        assert!(room.is_there("relay::daemon"));
        while other.send_to(b"x", directory.path().join("journal")).is_ok() {}
        // Only the first of these waits at all.
        for target in ["relay::daemon", HISTORY_TARGET, HISTORY_TARGET] {
            assert!(!room.is_there(target));
        }
        assert!(room.is_stuck.load(Ordering::Relaxed));

        let mut entry = [0; 512];
        while journal.recv(&mut entry).is_ok() {}
        assert!(room.is_there("relay::daemon"));
        let length = journal.recv(&mut entry).unwrap();
        let text = std::str::from_utf8(&entry[..length]).unwrap();
        assert!(text.contains("\nDROPPED=3\n") && text.contains("SYSLOG_IDENTIFIER=relay-hub\n"), "{text}");
        assert!(room.is_there("relay::daemon"));
        journal.recv(&mut entry).unwrap_err();
    }

    #[test]
    fn what_the_history_is_made_of_waits_for_a_journal_that_is_slow() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let journal = UnixDatagram::bind(&path).unwrap();
        let room = Room::of(&path, "relay-hub").unwrap();
        let other = UnixDatagram::unbound().unwrap();
        other.set_nonblocking(true).unwrap();
        while other.send_to(b"x", &path).is_ok() {}
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(std::time::Duration::from_millis(5));
                journal.set_nonblocking(true).unwrap();
                while journal.recv(&mut [0; 8]).is_ok() {}
            });
            assert!(room.is_there(HISTORY_TARGET));
        });
        assert_eq!(room.dropped.load(Ordering::Relaxed), 0);
    }
}
