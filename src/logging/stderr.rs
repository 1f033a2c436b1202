//! Standard error, without waiting for whoever reads it.
//!
//! A pipe that nobody reads and a terminal that was stopped block whoever writes to them. So a thread of its own writes,
//! from a bounded queue; what does not fit is dropped, and the next line that fits is preceded by how many were.
//! (tracing-appender has such a queue, but writes to standard output when it cannot be emptied at the end, which may lead
//! to the same pipe.)

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use chrono::{SecondsFormat, Utc};
use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

/// The most bytes of lines that wait to be written, unless it is a single one.
const QUEUED_MAX: usize = 256 * 1024;

/// How long a program that ends waits until its last lines are written.
const DRAIN_WAIT: Duration = Duration::from_millis(200);

enum Entry {
    Line(Vec<u8>),
    /// Everything before it was written.
    Mark(SyncSender<()>),
}

/// Takes lines and never waits.
pub(super) struct Queue {
    entries: Sender<Entry>,
    queued: Arc<AtomicUsize>,
    dropped: AtomicU64,
    /// The thread's work, until there is a line: a channel that has nothing to say is one thread.
    unstarted: Arc<Mutex<Option<Work>>>,
}

type Work = Box<dyn FnOnce() + Send>;

/// Waits a moment for what is still to be written when it is dropped.
pub(super) struct DrainGuard {
    entries: Sender<Entry>,
    unstarted: Arc<Mutex<Option<Work>>>,
}

impl std::fmt::Debug for DrainGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DrainGuard").finish_non_exhaustive()
    }
}

impl Queue {
    /// Returns a queue whose thread writes there, from the first line on.
    pub(super) fn new(mut out: impl Write + Send + 'static) -> (Self, DrainGuard) {
        let (entries, inbox) = channel();
        let queued = Arc::new(AtomicUsize::new(0));
        let written = Arc::clone(&queued);
        let work: Work = Box::new(move || {
            for entry in inbox {
                match entry {
                    Entry::Line(line) => {
                        // There is nobody to whom a log that cannot be written could be told.
                        let _unwritten = out.write_all(&line);
                        written.fetch_sub(line.len(), Ordering::Relaxed);
                    }
                    Entry::Mark(done) => drop(done),
                }
            }
        });
        let unstarted = Arc::new(Mutex::new(Some(work)));
        let guard = DrainGuard { entries: entries.clone(), unstarted: Arc::clone(&unstarted) };
        (Self { entries, queued, dropped: AtomicU64::new(0), unstarted }, guard)
    }

    fn take(&self, line: &[u8]) {
        let queued = self.queued.load(Ordering::Relaxed);
        if queued > 0 && queued + line.len() > QUEUED_MAX {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        match self.dropped.swap(0, Ordering::Relaxed) {
            0 => {}
            dropped => self.put(format!("{}\n", dropped_line(dropped)).into_bytes()),
        }
        self.put(line.to_vec());
    }

    fn put(&self, line: Vec<u8>) {
        if let Some(work) = self.unstarted.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Without a thread lines are dropped once the queue is full.
            let _no_thread = thread::Builder::new().name("log".to_owned()).spawn(work);
        }
        self.queued.fetch_add(line.len(), Ordering::Relaxed);
        // The thread ends with the last sender, which is this one.
        let _never_closed = self.entries.send(Entry::Line(line));
    }
}

fn dropped_line(dropped: u64) -> serde_json::Value {
    json!({
        "timestamp": Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true),
        "level": "WARN",
        "message": format!("{dropped} log entries were dropped, since nobody read them"),
        "dropped": dropped,
        "target": module_path!(),
    })
}

impl<'w> MakeWriter<'w> for Queue {
    type Writer = &'w Self;

    fn make_writer(&'w self) -> Self::Writer {
        self
    }
}

/// Takes a line: the subscriber writes each with one call.
impl Write for &Queue {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.take(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for DrainGuard {
    fn drop(&mut self) {
        if self.unstarted.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            return;
        }
        let (done, written) = sync_channel(1);
        if self.entries.send(Entry::Mark(done)).is_ok() {
            let _elapsed_or_written = written.recv_timeout(DRAIN_WAIT);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// Writes nothing until it is told to.
    struct Stuck {
        go: std::sync::mpsc::Receiver<()>,
        written: Arc<Mutex<Vec<u8>>>,
        goes: bool,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if !self.goes {
                self.goes = self.go.recv().is_ok();
            }
            self.written.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_does_not_read_costs_lines_and_no_time_and_is_told_how_many() {
        let (tell, go) = channel();
        let written = Arc::new(Mutex::new(Vec::new()));
        let (queue, guard) = Queue::new(Stuck { go, written: Arc::clone(&written), goes: false });
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        let fits = QUEUED_MAX / line.len();
        for _ in 0..fits + 3 {
            (&queue).write_all(&line).unwrap();
        }
        tell.send(()).unwrap();
        let end = Instant::now() + Duration::from_secs(10);
        while queue.queued.load(Ordering::Relaxed) > 0 {
            assert!(Instant::now() < end);
            thread::yield_now();
        }
        (&queue).write_all(b"here again\n").unwrap();
        drop(guard);
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        let rest: Vec<&str> = text.lines().skip(fits).collect();
        let [told, "here again"] = rest.as_slice() else { panic!("{rest:?}") };
        assert!(told.contains("3 log entries were dropped") && told.contains("\"dropped\":3"), "{told}");
    }

    #[test]
    fn a_program_that_ends_does_not_wait_for_a_reader_for_ever() {
        let (_tell, go) = channel();
        let (queue, guard) = Queue::new(Stuck { go, written: Arc::default(), goes: false });
        (&queue).write_all(b"a line\n").unwrap();
        let start = Instant::now();
        drop(guard);
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    }
}
