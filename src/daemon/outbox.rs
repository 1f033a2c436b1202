//! What is still to be written to one connection.

use std::io;
use std::rc::Rc;
use std::time::Instant;

use tokio::sync::mpsc;

use super::Event;
use super::stream::{Count, Stream, Watch};
use crate::fault;
use crate::hub::ConnId;
use crate::protocol::HubMessage;
use crate::protocol::codec::encode;

/// The most bytes of a buffer that are kept when it runs empty.
const KEPT_BYTES: usize = 4 * 1024;

/// A connection's bytes on their way out.
#[derive(Debug)]
pub(super) struct Outbox {
    conn: ConnId,
    stream: Rc<Stream>,
    bytes: Vec<u8>,
    /// How many of `bytes` were written.
    written: usize,
    /// Since when the socket has taken nothing of what waits.
    stuck: Option<Instant>,
    /// How many bytes of this connection are part of `all`.
    counted: usize,
    /// The bytes that wait for all connections.
    all: Count,
    /// Tells when the socket takes bytes again.
    watch: Option<Watch>,
}

impl Outbox {
    /// Returns the outbox of a new connection, whose bytes are part of this number.
    pub(super) const fn new(conn: ConnId, stream: Rc<Stream>, all: Count) -> Self {
        Self { conn, stream, bytes: Vec::new(), written: 0, stuck: None, counted: 0, all, watch: None }
    }

    /// Queues a message, and returns its length.
    pub(super) fn push(&mut self, message: &HubMessage) -> usize {
        let before = self.bytes.len();
        encode(message, &mut self.bytes);
        if fault::BUILT_IN {
            self.pass_points(before);
        }
        self.count();
        self.bytes.len() - before
    }

    /// Dies with nothing, with half or with all of the last frame written, where a test wants that.
    fn pass_points(&mut self, start: usize) {
        let kind = fault::kind_of(&self.bytes[start..]).to_owned();
        fault::pass_kind("queued", &kind);
        if fault::reach("half", &kind) {
            self.bytes.truncate(usize::midpoint(start, self.bytes.len()));
            self.flush_last();
            fault::die();
        }
        if fault::reach("written", &kind) {
            self.flush_last();
            fault::die();
        }
    }

    /// Returns how many bytes wait.
    pub(super) const fn queued(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// Returns since when the socket has taken nothing of what waits; `None` where nothing waits.
    pub(super) const fn stuck(&self) -> Option<Instant> {
        self.stuck
    }

    /// Takes note that the socket takes bytes again.
    pub(super) fn handle_writable(&mut self) {
        self.watch = None;
    }

    /// Writes as much as the socket takes, and sees to it that the owner hears when it takes more.
    ///
    /// # Errors
    /// The connection is broken.
    pub(super) fn flush(&mut self, now: Instant, events: &mpsc::Sender<Event>) -> io::Result<()> {
        if self.watch.is_some() {
            return Ok(());
        }
        while self.queued() > 0 {
            match self.stream.try_write(&self.bytes[self.written..]) {
                Ok(n) => self.written += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    fault::pass("flush.full");
                    self.watch = Some(self.stream.watch_writable(events.clone(), Event::Writable(self.conn)));
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        if self.queued() == 0 {
            self.stuck = None;
        } else if self.written > 0 || self.stuck.is_none() {
            self.stuck = Some(now);
        }
        self.bytes.drain(..self.written);
        self.written = 0;
        if self.bytes.is_empty() && self.bytes.capacity() > KEPT_BYTES {
            self.bytes = Vec::new();
        }
        self.count();
        Ok(())
    }

    /// Writes as much as the socket takes at once, for the last time.
    pub(super) fn flush_last(&mut self) {
        while self.queued() > 0 {
            match self.stream.try_write(&self.bytes[self.written..]) {
                Ok(n) => self.written += n,
                Err(_full_or_broken) => return,
            }
        }
    }

    fn count(&mut self) {
        let queued = self.queued();
        self.all.replace(self.counted, queued);
        self.counted = queued;
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.all.replace(self.counted, 0);
    }
}
