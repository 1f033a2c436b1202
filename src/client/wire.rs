//! Moves bytes between a socket that is ready and buffers.

use std::io;
use std::mem::MaybeUninit;

use crate::protocol::codec::FrameBuffer;
use crate::watched::Stream;

/// How many bytes are read at once.
const READ_BYTES: usize = 8 * 1024;

/// Reads what is there. Returns whether the stream has ended or failed: what came before that counts, since a hub's last
/// word is often followed by the end of the connection.
pub(crate) fn read(stream: &Stream, input: &mut FrameBuffer) -> bool {
    let mut room = [MaybeUninit::uninit(); READ_BYTES];
    loop {
        match stream.try_read(&mut room) {
            Ok([]) => return true,
            Ok(bytes) => input.push(bytes),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(error) => {
                tracing::debug!(%error, "the hub cannot be read");
                return true;
            }
        }
    }
}

/// Writes as much as the socket takes.
///
/// # Errors
/// The connection is over.
pub(crate) fn write(stream: &Stream, output: &mut Vec<u8>) -> io::Result<()> {
    while !output.is_empty() {
        match stream.try_write(output) {
            Ok(n) => drop(output.drain(..n)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
