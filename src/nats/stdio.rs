//! Standard input and output of the transport: lines in, lines out, on one thread and without waiting.

use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;

use rustix::fs::{FileType, fstat};
use rustix::io::Errno;

use super::line::{Incoming, Line, Lines, State};
use super::queue::Queue;
use crate::watched::{self, Stream};

/// The bytes that one read asks for.
const READ_BYTES: usize = 16 * 1024;

/// Both streams and what is in between, which outlive each connection.
#[derive(Debug)]
pub(super) struct Stdio {
    input: OwnedFd,
    output: OwnedFd,
    lines: Lines,
    queue: Queue,
}

impl Stdio {
    /// Returns this process's streams.
    ///
    /// # Errors
    /// The input cannot be waited for: it is neither a pipe nor a socket.
    pub(super) fn of_process() -> io::Result<Self> {
        let input = io::stdin().as_fd().try_clone_to_owned()?;
        let output = io::stdout().as_fd().try_clone_to_owned()?;
        if !can_be_waited_for(&input)? {
            return Err(io::Error::other("the input is another kind of file"));
        }
        if can_be_waited_for(&output)? {
            rustix::io::ioctl_fionbio(&output, true)?;
        }
        Ok(Self { input, output, lines: Lines::default(), queue: Queue::default() })
    }

    /// Says how it stands with the server: written as far as there is room, else when there is.
    pub(super) fn say(&mut self, state: State) {
        self.queue.push_state(state);
        // Whoever has closed the other end is found out where the streams are watched.
        let _later = self.write();
    }

    /// Returns the streams, watched by the runtime that this is called within.
    ///
    /// # Errors
    /// The system cannot watch them.
    pub(super) fn watch(&mut self) -> io::Result<Watched<'_>> {
        let input = Stream::new(self.input.try_clone()?)?;
        let abandoned = Box::pin(watched::abandoned(&self.output));
        Ok(Watched { input, abandoned, is_over: false, stdio: self })
    }

    fn write(&mut self) -> io::Result<()> {
        while !self.queue.bytes().is_empty() {
            match rustix::io::write(&self.output, self.queue.bytes()) {
                Ok(n) => {
                    if let Some(dropped) = self.queue.written(n) {
                        tracing::warn!(dropped, "lines were dropped, since nobody read them");
                    }
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// The streams while one runtime watches them.
pub(super) struct Watched<'a> {
    input: Stream,
    abandoned: Pin<Box<dyn Future<Output = ()>>>,
    is_over: bool,
    stdio: &'a mut Stdio,
}

impl fmt::Debug for Watched<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("is_over", &self.is_over).finish_non_exhaustive()
    }
}

impl Watched<'_> {
    /// Returns whether the program that started this one is gone, or wants no more of it.
    pub(super) const fn is_over(&self) -> bool {
        self.is_over
    }

    /// Waits until something was read or written, or it is over. Where enough waits to be sent, only the end of the input
    /// counts. Cancel-safe.
    pub(super) async fn turn(&mut self) {
        let is_full = self.stdio.lines.is_full();
        let is_waiting = !self.stdio.queue.bytes().is_empty();
        let can_read = tokio::select! {
            biased;
            () = self.input.readable(), if !is_full => true,
            () = watched::writable(&self.stdio.output), if is_waiting => false,
            () = &mut self.abandoned => {
                self.is_over = true;
                false
            }
            // Behind all that nobody reads now.
            () = self.input.ended(), if is_full => {
                self.is_over = true;
                false
            }
        };
        if can_read {
            let mut room = [MaybeUninit::uninit(); READ_BYTES];
            let read = self.input.try_read(&mut room);
            take(read, &mut self.stdio.lines, &mut self.is_over);
        }
        self.write();
    }

    /// Waits until it is over; what is read meanwhile is dropped. Cancel-safe.
    pub(super) async fn over(&mut self) {
        while !self.is_over {
            self.turn().await;
            self.stdio.lines.drop_all();
        }
    }

    /// Drops what was written to this program up to now.
    pub(super) fn drop_unread(&mut self) {
        let mut room = [MaybeUninit::uninit(); READ_BYTES];
        // The runtime may not have been told of it yet.
        while !self.is_over && take(self.input.read_now(&mut room), &mut self.stdio.lines, &mut self.is_over) {
            self.stdio.lines.drop_all();
        }
        self.stdio.lines.drop_all();
    }

    /// Takes the next line that was read.
    pub(super) fn next_line(&mut self) -> Option<Line> {
        self.stdio.lines.next_line()
    }

    /// Says how it stands with the server.
    pub(super) fn say(&mut self, state: State) {
        self.stdio.queue.push_state(state);
        self.write();
    }

    /// Passes on what has come; to be followed by `write`.
    pub(super) fn pass_on(&mut self, mail: &Incoming<'_>) {
        if self.stdio.queue.push_mail(mail) {
            tracing::warn!("lines that come are dropped until those before them are read");
        }
    }

    /// Writes as much as is taken.
    pub(super) fn write(&mut self) {
        if let Err(error) = self.stdio.write() {
            tracing::debug!(%error, "nobody takes lines any more");
            self.is_over = true;
        }
    }
}

/// Takes what was read. Returns whether there may be more.
fn take(read: io::Result<&[u8]>, lines: &mut Lines, is_over: &mut bool) -> bool {
    match read {
        Ok([]) => *is_over = true,
        Ok(bytes) => {
            lines.push(bytes);
            return true;
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
        Err(error) => {
            tracing::warn!(%error, "standard input cannot be read any more");
            *is_over = true;
        }
    }
    false
}

fn can_be_waited_for(fd: &OwnedFd) -> io::Result<bool> {
    Ok(matches!(FileType::from_raw_mode(fstat(fd)?.st_mode), FileType::Socket | FileType::Fifo))
}
