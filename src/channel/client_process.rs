//! The process of the session's client, and its end.
//!
//! A channel, a waiter and a hook are children of the client's process, through `exec`, and belong together by it.

use std::io;

use rustix::process::Pid;

use crate::process;
use crate::protocol::ClientProcess;

/// Returns the process that started this one; none where it has ended already or the system does not tell.
pub fn parent() -> Option<ClientProcess> {
    let pid = rustix::process::getppid()?.as_raw_nonzero().get().unsigned_abs();
    process::of(pid)
}

/// Waits until the process that started this one has ended.
///
/// # Errors
/// The system cannot tell of the end of another process.
#[cfg(target_os = "linux")]
pub async fn parent_ended(parent: ClientProcess) -> io::Result<()> {
    use rustix::process::{PidfdFlags, pidfd_open};
    use tokio::io::Interest;

    use crate::watched::watch;

    let Some(pid) = i32::try_from(parent.pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
    let process = match pidfd_open(pid, PidfdFlags::NONBLOCK) {
        Ok(process) => process,
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let process = watch(process, Interest::READABLE)?;
    // Between the look at the parent and the descriptor the id may have gone to another process.
    if rustix::process::getppid() != Some(pid) {
        return Ok(());
    }
    process.readable().await.map(drop)
}

/// Waits until the process that started this one has ended: the system's way to be told of it (kqueue) has no safe
/// binding, so this looks once a second.
///
/// # Errors
/// None here.
#[cfg(not(target_os = "linux"))]
pub async fn parent_ended(parent: ClientProcess) -> io::Result<()> {
    let pid = i32::try_from(parent.pid).ok().and_then(Pid::from_raw);
    while pid.is_some() && rustix::process::getppid() == pid {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    Ok(())
}
