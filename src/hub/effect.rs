//! What a hub wants done.

use super::ConnId;
use crate::protocol::{ClientProcess, HubMessage};

/// Something to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Write this message.
    Send {
        /// The connection.
        conn: ConnId,
        /// The message.
        message: HubMessage,
    },
    /// Write what is still to be written, then close. The connection is over for the hub.
    Close {
        /// The connection.
        conn: ConnId,
        /// Why, for the log.
        reason: CloseReason,
    },
    /// Tell when this client has ended, if it does within [`GONE_WAIT`](super::GONE_WAIT): its channel has gone, and another may succeed it.
    Watch {
        /// The client's process.
        process: ClientProcess,
    },
    /// Leave: nobody has been connected for the idle timeout.
    Exit,
}

/// Why the hub closes a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CloseReason {
    /// It said no hello in time.
    NoHello,
    /// Its bytes cannot be cut into messages.
    Malformed,
    /// No protocol version is common.
    ProtocolMismatch,
    /// A newer connection of the same client took its place.
    Superseded,
    /// The client said bye.
    Bye,
    /// There are more connections than the limit allows.
    TooManyConnections,
    /// It is a companion whose channel has been gone for too long.
    Orphaned,
}
