//! What the system says of a process: when it was started, and by whom. Reading only.

use crate::protocol::ClientProcess;

/// A process and the one that started it, or that took its place when that one ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descent {
    /// The process.
    pub process: ClientProcess,
    /// Its parent's process id; 0 where it has none that can be seen.
    pub parent: u32,
}

/// Returns the process with this id; none where there is no such process or the system does not tell.
pub fn of(pid: u32) -> Option<ClientProcess> {
    descent(pid).map(|descent| descent.process)
}

/// Returns the process with this id and its parent; none where there is no such process or the system does not tell.
///
/// Reads fields 4 and 22 of `/proc/PID/stat`; the start is in clock ticks since the machine was started
/// (proc_pid_stat(5)).
#[cfg(target_os = "linux")]
pub fn descent(pid: u32) -> Option<Descent> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, which may hold any character.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    let start = fields.nth(17)?.parse().ok()?;
    Some(Descent { process: ClientProcess { pid, start }, parent })
}

/// Returns the process with this id and its parent; none where there is no such process or the system does not tell.
#[cfg(not(target_os = "linux"))]
pub fn descent(pid: u32) -> Option<Descent> {
    use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};
    let looked_for = Pid::from_u32(pid);
    let mut system = System::new().ok()?;
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[looked_for]), false, ProcessRefreshKind::nothing());
    let found = system.process(looked_for)?;
    let parent = found.parent().map_or(0, Pid::as_u32);
    Some(Descent { process: ClientProcess { pid, start: found.start_time() }, parent })
}

/// Returns whether process ids mean the same to that process and to this one. They do not where one of them is in a
/// container (pid_namespaces(7)): `/proc/PID/status` then has an id for each namespace between them.
#[cfg(target_os = "linux")]
pub fn shares_ids(pid: u32) -> bool {
    let namespaces = |process: &str| {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
        Some(ids.split_ascii_whitespace().count())
    };
    namespaces(&pid.to_string()).is_some_and(|theirs| Some(theirs) == namespaces("self"))
}

/// Returns whether process ids mean the same to that process and to this one: this system has only one kind.
#[cfg(not(target_os = "linux"))]
pub const fn shares_ids(_pid: u32) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_a_later_one_with_its_id() {
        let own = descent(std::process::id()).unwrap();
        let parent = of(own.parent).unwrap();
        assert_eq!(rustix::process::getppid().unwrap().as_raw_nonzero().get().unsigned_abs(), own.parent);
        assert!(own.process.start >= parent.start);
        assert_eq!(of(u32::MAX), None);
        assert!(shares_ids(own.parent));
        assert!(!shares_ids(u32::MAX));
    }
}
