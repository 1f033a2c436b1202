//! What is known of another machine.

use std::time::{Duration, Instant};

use crate::protocol::MachineName;

/// How long a remote client without a connection is kept while nothing of it is open.
pub(in crate::hub) const REMOTE_WAIT: Duration = Duration::from_mins(10);

/// What a client has of the machine that it stands for.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    pub(super) name: MachineName,
    /// Who its shell's messages are from.
    pub(super) sender: String,
    /// Whether its bridge says that it can be reached.
    pub(super) is_reachable: bool,
    /// Since when that is so.
    pub(super) since: Instant,
}

impl Machine {
    /// Returns a machine that cannot be reached yet.
    pub(super) fn new(now: Instant, name: MachineName) -> Self {
        Self { sender: name.shell(), name, is_reachable: false, since: now }
    }
}
