//! Lines in, lines out, without waiting: a connection to the hub, a transport's standard input and output, or whoever has
//! connected to the bridge.

use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Waker};

use crate::protocol::Frame;
use crate::protocol::codec::{FrameBuffer, FrameError, encode};
use crate::watched::Stream;

/// The most bytes that wait to be written. Whoever reads so slowly is cut: what it was to be told is said again.
const QUEUED_MAX: usize = 16 * 1024 * 1024;

/// The most bytes of an empty buffer that are kept.
const KEPT_BYTES: usize = 4 * 1024;

/// A stream of lines in both directions.
#[derive(Debug)]
pub(super) struct Lines {
    /// None once the system could not watch it any more; so is `output`.
    input: Option<Stream>,
    output: Option<Stream>,
    /// Whether what is read and what is written is one socket.
    is_socket: bool,
    waker: Waker,
    is_watched_for_room: bool,
    unread: FrameBuffer,
    unwritten: Vec<u8>,
}

impl Lines {
    /// Returns the lines of a socket. The waker is woken when something can be read, or written again.
    pub(super) fn of_socket(socket: Stream, waker: Waker) -> Self {
        Self::new(Some(socket), None, true, waker)
    }

    /// Returns the lines of two pipes.
    ///
    /// # Errors
    /// The system cannot watch them.
    pub(super) fn of_pipes(input: OwnedFd, output: OwnedFd, waker: Waker) -> io::Result<Self> {
        Ok(Self::new(Some(Stream::new(input)?), Some(Stream::new(output)?), false, waker))
    }

    /// Returns the lines that come out of a pipe.
    ///
    /// # Errors
    /// The system cannot watch it.
    pub(super) fn of_pipe(input: OwnedFd, waker: Waker) -> io::Result<Self> {
        Ok(Self::new(Some(Stream::new(input)?), None, false, waker))
    }

    fn new(input: Option<Stream>, output: Option<Stream>, is_socket: bool, waker: Waker) -> Self {
        let lines = Self {
            input,
            output,
            is_socket,
            waker,
            is_watched_for_room: false,
            unread: FrameBuffer::default(),
            unwritten: Vec::new(),
        };
        lines.watch_for_input();
        lines
    }

    /// Has the waker woken when something can be read; at once if it can.
    fn watch_for_input(&self) {
        if let Some(input) = &self.input
            && input.poll_readable(&mut Context::from_waker(&self.waker)).is_ready()
        {
            self.waker.wake_by_ref();
        }
    }

    /// Reads what is there. Returns whether the other side has ended; what it said before is kept.
    pub(super) fn read(&mut self) -> bool {
        let (Some(input), unread) = (&self.input, &mut self.unread) else { return true };
        let is_over = input.read_to(|bytes| unread.push(bytes)).unwrap_or(true);
        if !is_over {
            self.watch_for_input();
        }
        is_over
    }

    /// Takes the next line, of at most so many bytes.
    ///
    /// # Errors
    /// It is longer: nothing after it can be trusted.
    pub(super) fn next(&mut self, limit: usize) -> Option<Result<&[u8], FrameError>> {
        self.unread.next_frame(limit)
    }

    /// Adds a message to what is to be written.
    pub(super) fn push<T: Frame>(&mut self, message: &T) {
        encode(message, &mut self.unwritten);
    }

    /// Adds bytes to what is to be written.
    pub(super) fn push_bytes(&mut self, bytes: &[u8]) {
        self.unwritten.extend_from_slice(bytes);
    }

    /// Writes as much as is taken.
    ///
    /// # Errors
    /// The connection is broken, or its reader is too slow.
    pub(super) fn write(&mut self) -> io::Result<()> {
        let output = if self.is_socket { &self.input } else { &self.output };
        let output = output.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        output.write_from(&mut self.unwritten)?;
        if self.unwritten.len() > QUEUED_MAX {
            return Err(io::Error::other("its reader is too slow"));
        }
        if self.unwritten.is_empty() && self.unwritten.capacity() > KEPT_BYTES {
            self.unwritten = Vec::new();
        }
        self.watch_for_room(!self.unwritten.is_empty())
    }

    /// Returns whether everything was written.
    pub(super) const fn is_written(&self) -> bool {
        self.unwritten.is_empty()
    }

    fn watch_for_room(&mut self, wanted: bool) -> io::Result<()> {
        let output = if self.is_socket { &mut self.input } else { &mut self.output };
        if wanted != std::mem::replace(&mut self.is_watched_for_room, wanted) {
            *output = output.take().map(|stream| stream.watched_for_room(wanted)).transpose()?;
            self.watch_for_input();
        }
        let output = if self.is_socket { &self.input } else { &self.output };
        if wanted
            && let Some(output) = output
            && output.poll_writable(&mut Context::from_waker(&self.waker)).is_ready()
        {
            self.waker.wake_by_ref();
        }
        Ok(())
    }
}
