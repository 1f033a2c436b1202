//! Framing: one JSON object a line, with a hard limit on a line's length. Pure: bytes in, frames out.

use memchr::memchr;

use super::error::{ErrorCode, Refusal};
use super::frame::Frame;

/// The longest frame in bytes, its newline included.
///
/// A text of [`BODY_MAX_BYTES`](super::BODY_MAX_BYTES) made of control characters grows sixfold in JSON and still fits.
pub const FRAME_MAX_BYTES: usize = 512 * 1024;

/// The longest first frame of a connection, which can only be a `hello`, in bytes.
pub const HELLO_MAX_BYTES: usize = 16 * 1024;

/// The longest frame of the hub's own in bytes: a list of the most peers that there may be fits.
pub const HUB_FRAME_MAX_BYTES: usize = 16 * 1024 * 1024;

/// The most characters that an error says of what is wrong with a frame.
const REASON_MAX_CHARS: usize = 300;

/// The most bytes of a receive buffer that are kept when it runs empty.
const KEPT_BYTES: usize = 4 * 1024;

/// Says why bytes are no frame. All but the last leave no way to find the next frame: the connection ends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The line is longer than the limit, in bytes.
    #[error("a frame is longer than {limit} bytes")]
    TooLong {
        /// The limit that was passed.
        limit: usize,
    },
    /// The line was not finished while too many other lines were not finished either.
    #[error("{bytes} bytes of unfinished frames wait in the hub and the limit is {limit}")]
    Crowded {
        /// How many bytes of unfinished lines wait, in all.
        bytes: usize,
        /// How many may be.
        limit: usize,
    },
    /// The line is not UTF-8.
    #[error("a frame is not UTF-8")]
    NotUtf8,
    /// The line is not a JSON object.
    #[error("a frame is not a JSON object: {0}")]
    NotAnObject(String),
    /// The object is no message of this protocol; the connection goes on.
    #[error("not a message of this protocol: {reason}")]
    NotAMessage {
        /// The `id` that the object had, so that the error can name it.
        id: Option<u64>,
        /// What was expected and what was there.
        reason: String,
    },
}

impl FrameError {
    /// Returns whether the connection must end, since the next frame cannot be found or trusted.
    pub const fn is_fatal(&self) -> bool {
        !matches!(self, Self::NotAMessage { .. })
    }

    /// Returns in a few words what is wrong, without a word of what was sent: for logs.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "a frame over its limit",
            Self::Crowded { .. } => "an unfinished frame, one of too many",
            Self::NotUtf8 => "a frame that is not UTF-8",
            Self::NotAnObject(_) => "a frame that is not a JSON object",
            Self::NotAMessage { .. } => "an object that is no message",
        }
    }

    /// Returns the `id` of the request that was meant, where it could be read.
    pub const fn request_id(&self) -> Option<u64> {
        match self {
            Self::NotAMessage { id, .. } => *id,
            Self::TooLong { .. } | Self::Crowded { .. } | Self::NotUtf8 | Self::NotAnObject(_) => None,
        }
    }

    /// Returns what the sender of the frame is told.
    pub fn refusal(&self) -> Refusal {
        let (code, next) = match self {
            Self::TooLong { .. } => (ErrorCode::TooLarge, "put the text into a file and send its path"),
            Self::Crowded { .. } => (ErrorCode::RateLimited, "connect again, and write each frame at once"),
            Self::NotUtf8 | Self::NotAnObject(_) | Self::NotAMessage { .. } => {
                (ErrorCode::BadMsg, "send one JSON object a line, as the protocol's documentation says")
            }
        };
        Refusal::new(code, self.to_string(), next)
    }
}

/// Cuts a byte stream into frames.
#[derive(Debug, Clone, Default)]
pub struct FrameBuffer {
    bytes: Vec<u8>,
    /// Where the first frame that was not yet taken begins.
    start: usize,
    /// Up to where `bytes` is known to hold no newline.
    searched: usize,
}

impl FrameBuffer {
    /// Adds bytes that were read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes the next whole frame, without its newline; `None` where more bytes are needed.
    ///
    /// # Errors
    /// The frame is longer than `limit` bytes; it is an error as soon as that is known, before its newline is seen.
    pub fn next_frame(&mut self, limit: usize) -> Option<Result<&[u8], FrameError>> {
        let Some(offset) = memchr(b'\n', &self.bytes[self.searched..]) else {
            self.searched = self.bytes.len();
            if self.searched - self.start >= limit {
                return Some(Err(FrameError::TooLong { limit }));
            }
            self.reclaim();
            return None;
        };
        let (from, to) = (self.start, self.searched + offset);
        self.start = to + 1;
        self.searched = to + 1;
        if to + 1 - from > limit {
            return Some(Err(FrameError::TooLong { limit }));
        }
        Some(Ok(&self.bytes[from..to]))
    }

    /// Returns how many bytes of an unfinished frame are held.
    pub fn pending_bytes(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Forgets the taken frames, and gives memory back where a large one was among them.
    fn reclaim(&mut self) {
        self.bytes.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        if self.bytes.is_empty() && self.bytes.capacity() > KEPT_BYTES {
            self.bytes = Vec::new();
        }
    }
}

/// Reads a frame as a message.
///
/// # Errors
/// The frame is not UTF-8, not a JSON object, or not a message of this protocol.
pub fn decode<T: Frame>(frame: &[u8]) -> Result<T, FrameError> {
    let text = std::str::from_utf8(frame).map_err(|_| FrameError::NotUtf8)?;
    if !text.trim_start().starts_with('{') {
        // Serde would take an array for an object, field by field.
        return Err(FrameError::NotAnObject("it does not begin with {".to_owned()));
    }
    T::read(text).map_err(|error| {
        let object: Result<serde_json::Map<String, serde_json::Value>, _> = serde_json::from_str(text);
        match object {
            Err(error) => FrameError::NotAnObject(shortened(&error)),
            Ok(object) => FrameError::NotAMessage {
                id: object.get("id").and_then(serde_json::Value::as_u64),
                reason: shortened(&error),
            },
        }
    })
}

/// An error quotes what it met, which may be as long as a frame.
fn shortened(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.char_indices().nth(REASON_MAX_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Appends a message to `out` as one frame with its newline.
pub fn encode<T: Frame>(message: &T, out: &mut Vec<u8>) {
    message.write(out);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ClientMessage;
    use proptest::prelude::*;

    fn frames(buffer: &mut FrameBuffer, limit: usize) -> Vec<Result<Vec<u8>, FrameError>> {
        let mut all = Vec::new();
        while let Some(frame) = buffer.next_frame(limit) {
            let stop = frame.is_err();
            all.push(frame.map(<[u8]>::to_vec));
            if stop {
                break;
            }
        }
        all
    }

    #[test]
    fn frame_over_the_limit_is_known_before_its_end() {
        let mut buffer = FrameBuffer::default();
        buffer.push(&[b'x'; 9]);
        assert_eq!(buffer.next_frame(10), None);
        buffer.push(b"x");
        assert_eq!(buffer.next_frame(10), Some(Err(FrameError::TooLong { limit: 10 })));
        let mut buffer = FrameBuffer::default();
        buffer.push(b"123456789\n");
        assert_eq!(buffer.next_frame(10), Some(Ok(b"123456789".as_slice())));
    }

    #[test]
    fn bytes_that_are_no_message_are_named() {
        assert_eq!(decode::<ClientMessage>(b"\xff").unwrap_err(), FrameError::NotUtf8);
        assert!(matches!(decode::<ClientMessage>(b"[1]").unwrap_err(), FrameError::NotAnObject(_)));
        assert!(matches!(decode::<ClientMessage>(b"{\"id\":").unwrap_err(), FrameError::NotAnObject(_)));
        let error = decode::<ClientMessage>(b"{\"id\":4,\"type\":\"ask\"}").unwrap_err();
        assert_eq!(error.request_id(), Some(4));
        assert!(!error.is_fatal());
    }

    proptest! {
        #[test]
        fn frames_do_not_depend_on_how_bytes_arrive(
            lines in prop::collection::vec("[a-z]{0,20}", 0..20),
            cuts in prop::collection::vec(1usize..9, 1..40),
        ) {
            let stream: Vec<u8> = lines.iter().flat_map(|line| format!("{line}\n").into_bytes()).collect();
            let mut buffer = FrameBuffer::default();
            let mut seen = Vec::new();
            let mut rest = stream.as_slice();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (head, tail) = rest.split_at((*cut).min(rest.len()));
                buffer.push(head);
                rest = tail;
                seen.extend(frames(&mut buffer, 64).into_iter().map(|frame| String::from_utf8(frame.unwrap()).unwrap()));
            }
            prop_assert_eq!(seen, lines);
            prop_assert_eq!(buffer.pending_bytes(), 0);
        }
    }
}
