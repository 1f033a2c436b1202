//! What the hub's loop waits for.

use crate::hub::ConnId;

/// What may have something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Somebody wants to connect.
    Acceptor,
    /// A signal has come.
    Shutdown,
    /// A deadline has come.
    Alarm,
    /// The process with this id has ended.
    Process(u32),
    /// A connection has bytes, room, or an end.
    Connection(ConnId),
}
