//! What the system says of a process: its start, its parent, its command line, its terminal, whether it runs. Reading only.

use std::ffi::OsString;
#[cfg(not(target_os = "linux"))]
use std::path::Path;
use std::path::PathBuf;

/// A process, told from a later one with the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// When it was started, in a unit of the system's own: clock ticks since the machine was started on Linux
    /// (proc_pid_stat(5)), else seconds. 0 where the system does not tell. In a container on Linux the container's number is
    /// in it: the first processes of two containers have one id, and often one tick.
    pub start: u64,
}

impl Process {
    /// Returns when it was started, as others than this program read it from the system.
    pub fn plain_start(self) -> u64 {
        self.start ^ container()
    }
}

/// Returns this process.
pub fn own() -> Process {
    let pid = std::process::id();
    of(pid).unwrap_or(Process { pid, start: 0 })
}

/// Returns the process that started this one; none where it has ended already or the system does not tell.
pub fn parent() -> Option<Process> {
    of(rustix::process::getppid()?.as_raw_nonzero().get().unsigned_abs())
}

/// Returns the process with this id; none where there is no such process or the system does not tell.
#[cfg(target_os = "linux")]
pub fn of(pid: u32) -> Option<Process> {
    let start: u64 = stat_fields(pid)?.split_ascii_whitespace().nth(19)?.parse().ok()?;
    Some(Process { pid, start: start ^ container() })
}

/// Returns the number of the process ids' namespace (pid_namespaces(7)), in the upper half; 0 outside of containers.
#[cfg(target_os = "linux")]
fn container() -> u64 {
    /// The machine's own namespace (`PROC_PID_INIT_INO` of the kernel's `include/linux/proc_ns.h`).
    const MACHINE: u64 = 0xEFFF_FFFC;
    static NUMBER: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    *NUMBER.get_or_init(|| {
        let link = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let number = link.to_str().and_then(|link| link.strip_prefix("pid:[")?.strip_suffix(']')?.parse().ok());
        number.filter(|number| *number != MACHINE).unwrap_or(0) << 32
    })
}

/// Returns 0: this system has no containers.
#[cfg(not(target_os = "linux"))]
const fn container() -> u64 {
    0
}

/// Returns the process with this id; none where there is no such process or the system does not tell.
#[cfg(not(target_os = "linux"))]
pub fn of(pid: u32) -> Option<Process> {
    look(pid, sysinfo::ProcessRefreshKind::nothing(), |process| Process { pid, start: process.start_time() })
}

/// Returns whether the process is stopped, as by Ctrl-Z or a debugger, and so shows nothing to anybody.
#[cfg(target_os = "linux")]
pub fn is_stopped(process: Process) -> bool {
    stat_fields(process.pid).is_some_and(|fields| fields.trim_start().starts_with(['T', 't']))
}

/// Returns whether the process is stopped, as by Ctrl-Z or a debugger, and so shows nothing to anybody.
#[cfg(not(target_os = "linux"))]
pub fn is_stopped(process: Process) -> bool {
    let stopped = |found: &sysinfo::Process| found.status() == sysinfo::ProcessStatus::Stop;
    look(process.pid, sysinfo::ProcessRefreshKind::nothing(), stopped).unwrap_or(false)
}

/// Returns a process's arguments; none where they cannot be read.
#[cfg(target_os = "linux")]
pub fn command_line(pid: u32) -> Vec<String> {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let text = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
    if text.is_empty() {
        return Vec::new();
    }
    text.split(|byte| *byte == 0).map(|argument| String::from_utf8_lossy(argument).into_owned()).collect()
}

/// Returns a process's arguments; none where they cannot be read.
#[cfg(not(target_os = "linux"))]
pub fn command_line(pid: u32) -> Vec<String> {
    let only_command = sysinfo::ProcessRefreshKind::nothing().with_cmd(sysinfo::UpdateKind::Always);
    let arguments = look(pid, only_command, |process| process.cmd().to_vec());
    arguments.unwrap_or_default().iter().map(shown).collect()
}

/// Returns the folder that the process works in; none where the system does not tell.
#[cfg(target_os = "linux")]
pub fn folder(pid: u32) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/cwd")).ok()
}

/// Returns the folder that the process works in; none where the system does not tell.
#[cfg(not(target_os = "linux"))]
pub fn folder(pid: u32) -> Option<PathBuf> {
    let only_folder = sysinfo::ProcessRefreshKind::nothing().with_cwd(sysinfo::UpdateKind::Always);
    look(pid, only_folder, |process| process.cwd().map(Path::to_owned)).flatten()
}

/// Returns whether the process writes to a terminal; none where the system does not tell.
#[cfg(target_os = "linux")]
pub fn writes_to_terminal(pid: u32) -> Option<bool> {
    let output = std::fs::read_link(format!("/proc/{pid}/fd/1")).ok()?.into_os_string();
    let output = shown(&output);
    Some(["/dev/pts/", "/dev/tty", "/dev/console"].iter().any(|terminal| output.starts_with(terminal)))
}

/// Returns whether the process writes to a terminal: this system does not tell.
#[cfg(not(target_os = "linux"))]
pub const fn writes_to_terminal(_pid: u32) -> Option<bool> {
    None
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

/// Returns the fields of `/proc/PID/stat` from the third on, the state. The second is the program's name in parentheses,
/// which may hold any character.
#[cfg(target_os = "linux")]
fn stat_fields(pid: u32) -> Option<String> {
    let mut stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let end = stat.rfind(')')?;
    Some(stat.split_off(end + 1))
}

#[cfg(not(target_os = "linux"))]
fn look<T>(pid: u32, what: sysinfo::ProcessRefreshKind, read: impl FnOnce(&sysinfo::Process) -> T) -> Option<T> {
    let looked_for = sysinfo::Pid::from_u32(pid);
    let mut system = sysinfo::System::new().ok()?;
    system.refresh_processes_specifics(sysinfo::ProcessesToUpdate::Some(&[looked_for]), false, what.without_tasks());
    system.process(looked_for).map(read)
}

fn shown(text: &OsString) -> String {
    text.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_is_told_from_a_later_one_with_its_id() {
        let (own, parent) = (own(), parent().unwrap());
        assert_eq!(of(own.pid), Some(own));
        assert!(own.start >= parent.start && parent.start > 0);
        assert_eq!(of(u32::MAX), None);
        assert!(shares_ids(parent.pid));
        assert!(!shares_ids(u32::MAX));
    }

    #[test]
    fn command_line_is_read_from_the_system() {
        assert_eq!(command_line(own().pid).first(), std::env::args().next().as_ref());
        assert!(command_line(u32::MAX).is_empty());
    }

    #[test]
    fn process_is_stopped_after_a_stop_signal() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = of(child.id()).unwrap();
        assert!(!is_stopped(process));
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
        while !is_stopped(process) {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
