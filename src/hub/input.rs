//! What happens to a hub, as plain values that can be logged, generated and replayed.

use super::connections::ConnId;
use crate::protocol::ClientMessage;
use crate::protocol::codec::FrameError;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A connection of the hub's own user was accepted.
    Connected {
        /// The connection.
        conn: ConnId,
    },
    /// A message came in.
    Received {
        /// The connection.
        conn: ConnId,
        /// The message.
        message: ClientMessage,
    },
    /// Bytes came in that are no message.
    Malformed {
        /// The connection.
        conn: ConnId,
        /// What was wrong.
        error: FrameError,
    },
    /// The connection is over, for whatever reason but [`Effect::Close`](super::Effect::Close).
    Disconnected {
        /// The connection.
        conn: ConnId,
    },
    /// The process behind a connection that was lost has ended; of one that [`Effect::AwaitAgent`](super::Effect::AwaitAgent)
    /// named, its agent's.
    ProcessEnded {
        /// The lost connection.
        conn: ConnId,
    },
    /// So much waits to be written to the connection that it is to be sent no texts.
    Congested {
        /// The connection.
        conn: ConnId,
    },
    /// What waited was written: texts may be sent again.
    Drained {
        /// The connection.
        conn: ConnId,
    },
}

impl Input {
    /// Returns what has happened: of a message, its `type` on the wire.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Connected { .. } => "connected",
            Self::Received { message: ClientMessage::Request(_, request), .. } => request.kind(),
            Self::Received { message: ClientMessage::Notice(notice), .. } => notice.kind(),
            Self::Malformed { .. } => "malformed",
            Self::Disconnected { .. } => "disconnected",
            Self::ProcessEnded { .. } => "process_ended",
            Self::Congested { .. } => "congested",
            Self::Drained { .. } => "drained",
        }
    }

    /// Returns the connection that it is about.
    pub const fn conn(&self) -> ConnId {
        match self {
            Self::Connected { conn }
            | Self::Received { conn, .. }
            | Self::Malformed { conn, .. }
            | Self::Disconnected { conn }
            | Self::ProcessEnded { conn }
            | Self::Congested { conn }
            | Self::Drained { conn } => *conn,
        }
    }
}
