//! A second relay server of the session: its connection to the first one, to which it hands its tool calls.

use std::io;
use std::path::Path;

use super::address;
use super::frame::{CallResult, ChannelMessage, Hello, ReaderMessage, Role};
use crate::protocol::codec::{FrameBuffer, HUB_FRAME_MAX_BYTES, decode, encode};
use crate::watched::Stream;

/// The connection to the session's channel.
#[derive(Debug)]
pub struct Proxy {
    stream: Stream,
    input: FrameBuffer,
    output: Vec<u8>,
}

impl Proxy {
    /// Connects to the session's channel. To be called within a runtime.
    ///
    /// # Errors
    /// Nobody listens there, another user could, or the system refuses.
    pub fn connect(address: &Path) -> io::Result<Self> {
        address::check(address)?;
        let stream = Stream::connect(address)?;
        let mut proxy = Self { stream, input: FrameBuffer::default(), output: Vec::new() };
        proxy.send(&ReaderMessage::Hello(Hello::new(Role::Proxy)));
        Ok(proxy)
    }

    /// Sends a message, at once as far as the connection takes it. One that is broken is told of by the next turn.
    pub fn send(&mut self, message: &ReaderMessage) {
        encode(message, &mut self.output);
        let _broken = self.write();
    }

    /// Waits until the connection can be read, or written again. Cancel-safe.
    pub async fn ready(&self) {
        tokio::select! {
            () = self.stream.readable() => {}
            () = self.stream.writable(), if !self.output.is_empty() => {}
        }
    }

    /// Writes what is left to be written, and reads all that is there.
    ///
    /// # Errors
    /// The connection has ended: the channel has gone.
    pub fn turn(&mut self, results: &mut Vec<CallResult>) -> io::Result<()> {
        self.write()?;
        let end = self.read();
        while let Some(frame) = self.input.next_frame(HUB_FRAME_MAX_BYTES) {
            match frame.and_then(decode) {
                Ok(ChannelMessage::Result(result)) => results.push(result),
                Ok(ChannelMessage::Deliver(_) | ChannelMessage::End) => {}
                Err(error) if error.is_fatal() => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
                Err(_newer_than_this_program) => {}
            }
        }
        end
    }

    fn read(&mut self) -> io::Result<()> {
        match self.stream.read_to(|bytes| self.input.push(bytes))? {
            true => Err(io::ErrorKind::UnexpectedEof.into()),
            false => Ok(()),
        }
    }

    fn write(&mut self) -> io::Result<()> {
        self.stream.write_from(&mut self.output)
    }
}
