//! Room for the connections among the process's open files.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How many descriptors are kept free of clients: for those that are refused, for the processes whose end is awaited, for
/// the listener, the log and the runtime.
pub(super) const SPARE: u64 = 64;

/// Raises the soft limit of open files so that these many connections fit, and returns how many do.
///
/// A service manager's filter of system calls may forbid it: its unit then sets the limit itself.
pub(super) fn make_room(connections: u64) -> u64 {
    let wanted = connections.saturating_add(SPARE);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let room = current.unwrap_or(u64::MAX);
    let raised = wanted.min(maximum.unwrap_or(u64::MAX));
    let fits = if raised <= room {
        room
    } else {
        match setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum }) {
            Ok(()) => raised,
            Err(error) => {
                tracing::warn!(%error, limit = room, wanted, "could not raise the limit of open files");
                room
            }
        }
    };
    // Where there is little, half of it is for clients.
    connections.min(fits - SPARE.min(fits / 2)).max(1)
}
