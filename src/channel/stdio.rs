//! Standard input and output: lines in, lines out, on one thread and without waiting.
//!
//! Node, and so Claude Code, gives a server socket pairs; others give pipes. Both are watched. A client that closes both
//! streams at once is gone: what it wrote last may be left unread.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::pin::Pin;

use rustix::fs::{FileType, fstat};
use rustix::io::Errno;
use serde::Serialize;

use super::mcp::line::{Line, Lines};
use crate::client::CallId;
use crate::watched::{self, Stream};

/// The bytes that one read asks for.
const READ_BYTES: usize = 8 * 1024;

/// The most bytes of an empty write buffer that are kept.
const KEPT_BYTES: usize = 16 * 1024;

/// What a line was that is written by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// The result of this call.
    Result(CallId),
    /// A channel event.
    Event,
    /// Another answer.
    Other,
}

/// Both streams.
pub struct Stdio {
    input: Stream,
    lines: Lines,
    output: OwnedFd,
    buffer: Vec<u8>,
    /// The lines in the buffer, with how many bytes of output there are at the end of each.
    unwritten: VecDeque<(u64, Written)>,
    /// How many bytes of output were written.
    written: u64,
    /// Done when nobody has the other end of the output any more.
    abandoned: Pin<Box<dyn Future<Output = ()>>>,
    is_over: bool,
}

impl fmt::Debug for Stdio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stdio").field("is_over", &self.is_over).finish_non_exhaustive()
    }
}

impl Stdio {
    /// Returns this process's streams. To be called within a runtime.
    ///
    /// Socket pairs and pipes are read and written as they are. A terminal or a file is read by a thread and written directly.
    ///
    /// # Errors
    /// A stream is closed or cannot be made non-blocking.
    pub fn of_process() -> io::Result<Self> {
        let input = open_input(io::stdin().as_fd())?;
        let output = open_output(io::stdout().as_fd())?;
        Ok(Self {
            input,
            lines: Lines::default(),
            abandoned: Box::pin(watched::abandoned(&output)),
            output,
            buffer: Vec::new(),
            unwritten: VecDeque::new(),
            written: 0,
            is_over: false,
        })
    }

    /// Returns whether the client is gone.
    pub const fn is_over(&self) -> bool {
        self.is_over
    }

    /// Returns how many answers are not written yet.
    pub fn unwritten(&self) -> usize {
        self.unwritten.len()
    }

    /// Waits until something can be read or written, or the client is gone. While nothing more is wanted (`is_full`), only
    /// the end of the input counts. Cancel-safe.
    pub async fn ready(&mut self, is_full: bool) {
        let can_write = !self.buffer.is_empty();
        tokio::select! {
            biased;
            () = self.input.readable(), if !is_full => {}
            () = watched::writable(&self.output), if can_write => {}
            () = &mut self.abandoned => self.is_over = true,
            // Behind all that nobody reads now.
            () = self.input.ended(), if is_full => self.is_over = true,
        }
    }

    /// Reads what is there.
    pub fn read(&mut self) {
        let mut room = [MaybeUninit::uninit(); READ_BYTES];
        match self.input.try_read(&mut room) {
            Ok([]) => self.is_over = true,
            Ok(bytes) => self.lines.push(bytes),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot read the client any more");
                self.is_over = true;
            }
        }
    }

    /// Takes the next line that was read.
    pub fn next_line(&mut self) -> Option<Line> {
        self.lines.next_line()
    }

    /// Adds a line to what is to be written.
    pub fn push(&mut self, message: &impl Serialize, what: Written) {
        if serde_json::to_writer(&mut self.buffer, message).is_ok() {
            self.buffer.push(b'\n');
            let end = self.written + u64::try_from(self.buffer.len()).unwrap_or(u64::MAX);
            self.unwritten.push_back((end, what));
        }
    }

    /// Writes as much as the client takes. Returns what is written by now.
    pub fn write(&mut self) -> impl Iterator<Item = Written> + use<> {
        let mut taken = 0;
        while taken < self.buffer.len() && !self.is_over {
            match rustix::io::write(&self.output, &self.buffer[taken..]) {
                Ok(n) => taken += n,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(error) => {
                    tracing::debug!(%error, "the client takes nothing any more");
                    self.is_over = true;
                }
            }
        }
        self.buffer.drain(..taken);
        if self.buffer.is_empty() && self.buffer.capacity() > KEPT_BYTES {
            self.buffer = Vec::new();
        }
        self.written += u64::try_from(taken).unwrap_or(u64::MAX);
        let whole = self.unwritten.partition_point(|(end, _)| *end <= self.written);
        let whole: Vec<(u64, Written)> = self.unwritten.drain(..whole).collect();
        whole.into_iter().map(|(_, what)| what)
    }

    /// Waits until the client takes more.
    pub async fn writable(&self) {
        watched::writable(&self.output).await;
    }
}

/// Opens what the client's bytes come from. A terminal or a file, which cannot be waited for, is read by a thread.
fn open_input(fd: BorrowedFd<'_>) -> io::Result<Stream> {
    let owned = fd.try_clone_to_owned()?;
    if can_be_waited_for(&owned)? {
        return Stream::new(owned);
    }
    let (ours, mut theirs) = UnixStream::pair()?;
    let mut file = File::from(owned);
    std::thread::Builder::new().name("stdin".into()).spawn(move || io::copy(&mut file, &mut theirs))?;
    Stream::new(ours)
}

/// Opens where bytes go to the client. A terminal or a file takes what is written at once.
fn open_output(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let fd = fd.try_clone_to_owned()?;
    if can_be_waited_for(&fd)? {
        rustix::io::ioctl_fionbio(&fd, true)?;
    }
    Ok(fd)
}

fn can_be_waited_for(fd: &OwnedFd) -> io::Result<bool> {
    Ok(matches!(FileType::from_raw_mode(fstat(fd)?.st_mode), FileType::Socket | FileType::Fifo))
}
