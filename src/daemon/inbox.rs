//! What comes in on one connection, read only as far as the owner wants it.

use std::io;
use std::mem::MaybeUninit;
use std::rc::Rc;
use std::time::Instant;

use tokio::sync::mpsc;

use super::Event;
use super::stream::{Count, Stream, Watch};
use crate::hub::ConnId;
use crate::protocol::ClientMessage;
use crate::protocol::codec::{FrameBuffer, FrameError, decode};

/// How many bytes are read at once.
const READ_BYTES: usize = 16 * 1024;

/// What a read has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filled {
    /// So many bytes.
    Bytes(usize),
    /// Nothing is there.
    Nothing,
    /// The client has ended its side, in the middle of a frame with this many bytes.
    End(usize),
}

/// A connection's bytes on their way in.
#[derive(Debug)]
pub(super) struct Inbox {
    conn: ConnId,
    stream: Rc<Stream>,
    buffer: FrameBuffer,
    /// Since when an unfinished frame is held.
    unfinished: Option<Instant>,
    /// How many bytes of this connection are part of `all`.
    counted: usize,
    /// The bytes that all connections hold.
    all: Count,
    watch: Option<Watch>,
}

impl Inbox {
    /// Returns the inbox of a new connection, whose bytes are part of this number.
    pub(super) fn new(conn: ConnId, stream: Rc<Stream>, all: Count) -> Self {
        Self { conn, stream, buffer: FrameBuffer::default(), unfinished: None, counted: 0, all, watch: None }
    }

    /// Takes the next message of those that were read; `None` where more must be read.
    ///
    /// # Errors
    /// What comes next is no message.
    pub(super) fn next(&mut self, limit: usize) -> Option<Result<ClientMessage, FrameError>> {
        let next = self.buffer.next_frame(limit).map(|frame| frame.and_then(decode));
        self.count();
        if next.is_some() || self.counted == 0 {
            self.unfinished = None;
        } else {
            self.unfinished.get_or_insert_with(Instant::now);
        }
        next
    }

    /// Reads what is there, at most [`READ_BYTES`]. The bytes lie on the stack, not with an idle connection.
    ///
    /// # Errors
    /// The connection is broken.
    pub(super) fn fill(&mut self) -> io::Result<Filled> {
        let mut room = [MaybeUninit::uninit(); READ_BYTES];
        match self.stream.try_read(&mut room) {
            Ok([]) => Ok(Filled::End(self.buffer.pending_bytes())),
            Ok(bytes) => {
                self.buffer.push(bytes);
                self.count();
                Ok(Filled::Bytes(bytes.len()))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Filled::Nothing),
            Err(error) => Err(error),
        }
    }

    /// Lets the owner hear when there is something to be read.
    pub(super) fn wait(&mut self, events: &mpsc::Sender<Event>) {
        self.watch = Some(self.stream.watch_readable(events.clone(), Event::Readable(self.conn)));
    }

    /// Takes note that the owner has heard.
    pub(super) fn handle_readable(&mut self) {
        self.watch = None;
    }

    /// Returns whether the owner will hear when there is something to be read.
    pub(super) const fn is_waiting(&self) -> bool {
        self.watch.is_some()
    }

    /// Returns since when an unfinished frame is held, and how many bytes of it.
    pub(super) fn unfinished(&self) -> Option<(Instant, usize)> {
        self.unfinished.map(|since| (since, self.counted))
    }

    fn count(&mut self) {
        let held = self.buffer.pending_bytes();
        self.all.replace(self.counted, held);
        self.counted = held;
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.all.replace(self.counted, 0);
    }
}
