//! One accepted connection: its socket, the bytes that came in and are no frame yet, and those that are still to be written.

use std::io;
use std::mem::MaybeUninit;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use tokio::net::UnixStream;

use crate::fault;
use crate::protocol::codec::{FrameBuffer, FrameError, decode, encode};
use crate::protocol::{ClientMessage, HubMessage};
use crate::watched::Stream;

/// How many bytes are read at once, and of one connection in a turn. Most frames fit, so that few are unfinished at a time.
pub(super) const READ_BYTES: usize = 64 * 1024;

/// The most bytes of a buffer that are kept when it runs empty.
const KEPT_BYTES: usize = 4 * 1024;

/// Bytes of one connection, or of all of them together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Bytes {
    /// Of frames that have not ended.
    pub(super) unread: usize,
    /// That wait to be written.
    pub(super) queued: usize,
}

impl Bytes {
    /// Puts one part of the numbers in place of another.
    pub(super) fn replace(&mut self, part: Self, with: Self) {
        self.unread = self.unread - part.unread + with.unread;
        self.queued = self.queued - part.queued + with.queued;
    }
}

/// What a read has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filled {
    /// Bytes.
    Some,
    /// Nothing is there.
    Nothing,
    /// The client has ended its side, in the middle of a frame with this many bytes.
    End(usize),
}

/// A connection as the hub's loop sees it.
#[derive(Debug)]
pub(super) struct Connection {
    /// None after the system could not watch it any more.
    socket: Option<Stream>,
    waker: Waker,
    /// The id of the process that connected, where the system tells.
    pub(super) pid: Option<u32>,
    input: FrameBuffer,
    /// Since when an unfinished frame is held.
    unfinished: Option<Instant>,
    output: Vec<u8>,
    /// Since when the socket has taken nothing of what waits. It is watched for room meanwhile.
    stuck: Option<Instant>,
    /// Whether it is on the list of those that are read in the next turn.
    pub(super) is_to_read: bool,
    /// Whether it is on the list of those that are written to at the end of the turn.
    pub(super) is_to_write: bool,
    /// Whether so much waits to be written to it that nothing more is read from it.
    pub(super) is_congested: bool,
    /// What of it is part of the numbers of all connections.
    pub(super) counted: Bytes,
}

impl Connection {
    /// Returns a connection that was accepted. Its waker is woken when the socket has something to read, or, where it was
    /// full, takes more.
    pub(super) fn new(socket: Stream, pid: Option<u32>, waker: Waker) -> Self {
        Self {
            socket: Some(socket),
            waker,
            pid,
            input: FrameBuffer::default(),
            unfinished: None,
            output: Vec::new(),
            stuck: None,
            is_to_read: false,
            is_to_write: false,
            is_congested: false,
            counted: Bytes::default(),
        }
    }

    /// Takes the next message of those that were read; `None` where more must be read.
    ///
    /// # Errors
    /// What comes next is no message.
    pub(super) fn next_message(&mut self, now: Instant, limit: usize) -> Option<Result<ClientMessage, FrameError>> {
        let next = self.input.next_frame(limit).map(|frame| frame.and_then(decode));
        if next.is_some() || self.input.pending_bytes() == 0 {
            self.unfinished = None;
        } else {
            self.unfinished.get_or_insert(now);
        }
        next
    }

    /// Reads once, as far as there is room.
    ///
    /// # Errors
    /// The connection is broken.
    pub(super) fn fill(&mut self, room: &mut [MaybeUninit<u8>]) -> io::Result<Filled> {
        match self.socket()?.try_read(room) {
            Ok([]) => Ok(Filled::End(self.input.pending_bytes())),
            Ok(bytes) => {
                self.input.push(bytes);
                Ok(Filled::Some)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Filled::Nothing),
            Err(error) => Err(error),
        }
    }

    /// Returns whether there may be something to read. If there is nothing, the waker is woken once there is.
    pub(super) fn poll_readable(&self) -> Poll<()> {
        let mut context = Context::from_waker(&self.waker);
        self.socket.as_ref().map_or(Poll::Ready(()), |socket| socket.poll_readable(&mut context))
    }

    /// Returns whether the socket was full and takes more now. If it is full, the waker is woken once it takes more.
    pub(super) fn poll_has_room_again(&self) -> Poll<()> {
        let mut context = Context::from_waker(&self.waker);
        match &self.socket {
            Some(socket) if self.stuck.is_some() => socket.poll_writable(&mut context),
            _ => Poll::Pending,
        }
    }

    /// Returns since when an unfinished frame is held.
    pub(super) const fn unfinished(&self) -> Option<Instant> {
        self.unfinished
    }

    /// Queues a message, and returns its length.
    pub(super) fn push(&mut self, message: &HubMessage) -> usize {
        let before = self.output.len();
        encode(message, &mut self.output);
        if fault::BUILT_IN {
            self.pass_points(before);
        }
        self.output.len() - before
    }

    /// Dies with nothing, with half or with all of the last frame written, where a test wants that.
    fn pass_points(&mut self, start: usize) {
        let kind = fault::kind_of(&self.output[start..]).to_owned();
        fault::pass_kind("effect", &kind);
        if fault::reach("half", &kind) {
            self.output.truncate(usize::midpoint(start, self.output.len()));
            self.flush_last();
            fault::die();
        }
        if fault::reach("written", &kind) {
            self.flush_last();
            fault::die();
        }
    }

    /// Returns how many bytes wait to be written.
    pub(super) const fn queued(&self) -> usize {
        self.output.len()
    }

    /// Returns since when the socket has taken nothing of what waits; `None` where nothing waits.
    pub(super) const fn stuck(&self) -> Option<Instant> {
        self.stuck
    }

    /// Writes once, and has the socket watched for room as long as it does not take everything.
    ///
    /// # Errors
    /// The connection is broken.
    pub(super) fn flush(&mut self, now: Instant) -> io::Result<()> {
        if self.output.is_empty() {
            return Ok(());
        }
        match self.socket()?.try_write(&self.output) {
            Ok(n) if n == self.output.len() => {
                self.output.clear();
                if self.output.capacity() > KEPT_BYTES {
                    self.output = Vec::new();
                }
                self.watch_for_room(None)
            }
            // It takes a part only where it is full then.
            Ok(n) => {
                self.output.drain(..n);
                self.watch_for_room(Some(now))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.watch_for_room(self.stuck.or(Some(now))),
            Err(error) => Err(error),
        }
    }

    fn watch_for_room(&mut self, stuck: Option<Instant>) -> io::Result<()> {
        if stuck.is_some() != self.stuck.is_some() {
            self.socket = self.socket.take().map(|socket| socket.watched_for_room(stuck.is_some())).transpose()?;
            // Watched anew, it wakes nobody yet.
            if self.poll_readable().is_ready() {
                self.waker.wake_by_ref();
            }
        }
        self.stuck = stuck;
        if self.poll_has_room_again().is_ready() {
            self.waker.wake_by_ref();
        }
        Ok(())
    }

    /// Writes as much as the socket takes at once, for the last time.
    pub(super) fn flush_last(&mut self) {
        while !self.output.is_empty() {
            match self.socket().and_then(|socket| socket.try_write(&self.output)) {
                Ok(n) => drop(self.output.drain(..n)),
                Err(_full_or_broken) => return,
            }
        }
    }

    /// Returns the bytes that it holds.
    pub(super) fn bytes(&self) -> Bytes {
        Bytes { unread: self.input.pending_bytes(), queued: self.output.len() }
    }

    fn socket(&self) -> io::Result<&Stream> {
        self.socket.as_ref().ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

/// Asks the kernel whose the process at the other end is, before a byte is read, and returns its id, where it tells.
///
/// # Errors
/// The process belongs to another user (root included), or the kernel does not tell.
pub(super) fn admit(stream: &UnixStream) -> io::Result<Option<u32>> {
    let credentials = stream.peer_cred()?;
    let own = rustix::process::geteuid().as_raw();
    if credentials.uid() == own {
        // A process that this one cannot see, as in another container, has the id 0.
        Ok(credentials.pid().and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0))
    } else {
        let message = format!("it belongs to uid {} and this hub serves uid {own} only", credentials.uid());
        Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
    }
}
