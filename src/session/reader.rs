//! The other end of the session's socket, for a process that waits for nothing else meanwhile. Blocking.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use super::address;
use super::frame::{ChannelMessage, Deliver, ReaderMessage, Taken};
use crate::protocol::codec::{FrameBuffer, HUB_FRAME_MAX_BYTES, decode, encode};

/// The bytes that one read asks for.
const READ_BYTES: usize = 16 * 1024;

/// A connection to the session's channel.
#[derive(Debug)]
pub struct Reader {
    stream: UnixStream,
    input: FrameBuffer,
}

impl Reader {
    /// Connects and says this.
    ///
    /// # Errors
    /// Nobody listens there, another user could, or the system refuses.
    pub fn connect(address: &Path, hello: ReaderMessage) -> io::Result<Self> {
        address::check(address)?;
        let mut reader = Self { stream: UnixStream::connect(address)?, input: FrameBuffer::default() };
        reader.send(&hello)?;
        Ok(reader)
    }

    /// Sends a message.
    ///
    /// # Errors
    /// The channel does not read it any more.
    pub fn send(&mut self, message: &ReaderMessage) -> io::Result<()> {
        let mut bytes = Vec::new();
        encode(message, &mut bytes);
        self.stream.write_all(&bytes)
    }

    /// Says that a batch is shown. If that cannot be said, another one shows it.
    ///
    /// # Errors
    /// The channel does not read it any more.
    pub fn take(&mut self, deliver: Deliver) -> io::Result<String> {
        self.send(&ReaderMessage::Taken(Taken { batch: deliver.batch }))?;
        Ok(deliver.text)
    }

    /// Returns the next message; waits no longer than this long for it.
    ///
    /// # Errors
    /// The connection has ended, or the time is over.
    pub fn receive(&mut self, patience: Duration) -> io::Result<ChannelMessage> {
        let until = Instant::now() + patience;
        loop {
            if let Some(message) = self.next_message()? {
                return Ok(message);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(left))?;
            self.read()?;
        }
    }

    /// Reads what is there, waiting for some of it.
    ///
    /// # Errors
    /// The connection has ended.
    pub fn read(&mut self) -> io::Result<()> {
        let mut bytes = [0; READ_BYTES];
        match self.stream.read(&mut bytes)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            n => {
                self.input.push(&bytes[..n]);
                Ok(())
            }
        }
    }

    /// Returns the next message that was read and that this program knows.
    ///
    /// # Errors
    /// What was read is none.
    pub fn next_message(&mut self) -> io::Result<Option<ChannelMessage>> {
        while let Some(frame) = self.input.next_frame(HUB_FRAME_MAX_BYTES) {
            match frame.and_then(decode) {
                Ok(message) => return Ok(Some(message)),
                Err(error) if error.is_fatal() => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
                Err(_newer_than_this_program) => {}
            }
        }
        Ok(None)
    }
}

impl AsFd for Reader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
