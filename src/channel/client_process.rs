//! The process of the session's client: when it was started, and its end.
//!
//! A channel, a waiter and a hook are children of the client's process, through `exec`, and belong together by it.

use std::io;

use rustix::process::Pid;

use crate::protocol::ClientProcess;

/// Returns the process that started this one; none where it has ended already or the system does not tell.
pub fn parent() -> Option<ClientProcess> {
    let pid = rustix::process::getppid()?.as_raw_nonzero().get().unsigned_abs();
    of(pid)
}

/// Returns the process with this id; none where there is no such process.
pub fn of(pid: u32) -> Option<ClientProcess> {
    start_of(pid).map(|start| ClientProcess { pid, start })
}

/// Reads field 22 of `/proc/PID/stat`, in clock ticks since the machine was started (proc_pid_stat(5)).
#[cfg(target_os = "linux")]
fn start_of(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, which may hold any character.
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(not(target_os = "linux"))]
fn start_of(pid: u32) -> Option<u64> {
    use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System};
    let pid = sysinfo::Pid::from_u32(pid);
    let mut system = System::new().ok()?;
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, ProcessRefreshKind::nothing());
    system.process(pid).map(sysinfo::Process::start_time)
}

/// Waits until the process that started this one has ended.
///
/// # Errors
/// The system cannot tell of the end of another process.
#[cfg(target_os = "linux")]
pub async fn parent_ended(parent: ClientProcess) -> io::Result<()> {
    use rustix::process::{PidfdFlags, pidfd_open};
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    let Some(pid) = i32::try_from(parent.pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
    let process = match pidfd_open(pid, PidfdFlags::NONBLOCK) {
        Ok(process) => process,
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    #[expect(deprecated, reason = "its successor is unsafe for what may change its descriptor; this one does not")]
    let process = AsyncFd::with_interest(process, Interest::READABLE)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_a_later_one_with_its_id() {
        let parent = parent().unwrap();
        assert_eq!(of(parent.pid), Some(parent));
        assert!(of(std::process::id()).unwrap().start >= parent.start);
        assert_eq!(of(u32::MAX), None);
    }
}
