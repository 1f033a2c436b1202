//! What happens to a hub, as plain values that can be logged, generated and replayed.

use super::ConnId;
use crate::protocol::codec::FrameError;
use crate::protocol::{ClientMessage, ClientProcess};

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A connection of the hub's own user was accepted.
    Connected {
        /// The connection.
        conn: ConnId,
    },
    /// The system was asked of the client process that the next message on this connection, a hello, names.
    Looked {
        /// The connection.
        conn: ConnId,
        /// How the connection's process stands to it.
        kinship: Kinship,
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
    /// The process behind a connection that was lost has ended.
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
    /// The process of a session's client has ended.
    ClientEnded {
        /// The process.
        process: ClientProcess,
    },
}

impl Input {
    /// Returns what has happened: of a message, its `type` on the wire.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Connected { .. } => "connected",
            Self::Looked { .. } => "looked",
            Self::Received { message, .. } => message.kind(),
            Self::Malformed { .. } => "malformed",
            Self::Disconnected { .. } => "disconnected",
            Self::ProcessEnded { .. } => "process_ended",
            Self::Congested { .. } => "congested",
            Self::Drained { .. } => "drained",
            Self::ClientEnded { .. } => "client_ended",
        }
    }
}

/// How the process that made a connection stands to the client process that its hello names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kinship {
    /// It is that process, or descends from it.
    Proven,
    /// The system does not tell: it has ended, or process ids mean something else to it, as in a container.
    #[default]
    Unknown,
    /// It does not descend from it.
    Refuted {
        /// The process id of the one that connected.
        pid: u32,
    },
}
