//! The end of a process that is no child: a descriptor that can be read when it has come. pidfd_open(2), kqueue(2).

use std::io;
use std::os::fd::OwnedFd;

use crate::process::{self, Process};

/// Returns a descriptor that can be read once this process has ended; none where it has ended already.
///
/// # Errors
/// The system cannot tell of the end of another process.
pub fn process_end(process: Process) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = i32::try_from(process.pid).ok().and_then(rustix::process::Pid::from_raw) else { return Ok(None) };
    let end = open(pid)?;
    // Before it was watched the id may have gone to another process.
    let is_it = process.start == 0 || process::of(process.pid).is_some_and(|found| found.start == process.start);
    Ok(end.filter(|_| is_it))
}

#[cfg(target_os = "linux")]
fn open(pid: rustix::process::Pid) -> io::Result<Option<OwnedFd>> {
    use rustix::process::{PidfdFlags, pidfd_open};
    match pidfd_open(pid, PidfdFlags::NONBLOCK) {
        Ok(end) => Ok(Some(end)),
        Err(rustix::io::Errno::SRCH) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn open(pid: rustix::process::Pid) -> io::Result<Option<OwnedFd>> {
    let queue = super::kernel_queue::new()?;
    match super::kernel_queue::watch_process(&queue, pid) {
        Ok(()) => Ok(Some(queue)),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    #[test]
    fn end_of_a_process_is_told_and_of_none_that_has_ended() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = process::of(child.id()).unwrap();
        let other = Process { start: process.start + 1, ..process };
        assert!(process_end(other).unwrap().is_none());
        let end = process_end(process).unwrap().unwrap();
        let is_told = |seconds| {
            let mut fds = [PollFd::new(&end, PollFlags::IN)];
            poll(&mut fds, Some(&Timespec { tv_sec: seconds, tv_nsec: 0 })).unwrap() > 0
        };
        assert!(!is_told(0));
        child.kill().unwrap();
        assert!(is_told(20));
        child.wait().unwrap();
        assert!(process_end(process).unwrap().is_none());
    }
}
