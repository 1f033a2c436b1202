//! Hubs that were left behind: of a program that is not there any more, and not the one that answers.

use std::fs;

use super::finding::Finding;

/// What the kernel puts behind the path of a program whose file has gone (proc_pid_exe(5)).
const GONE: &str = "/relay-hub (deleted)";

/// Looks at the user's processes, where the system shows their programs. A service manager's own hub makes room by
/// itself, so what is left was started by hand.
pub(super) fn check(uid: u32, answering: Option<u32>) -> Option<Finding> {
    let left: Vec<u32> = hubs_without_a_program(uid).into_iter().filter(|pid| Some(*pid) != answering).collect();
    let pids: Vec<String> = left.iter().map(u32::to_string).collect();
    let what = format!("a hub of a program that was replaced or removed still runs: process {}", pids.join(", "));
    (!left.is_empty()).then(|| Finding::warn("leftover-hub", what, format!("kill {}", pids.join(" "))))
}

fn hubs_without_a_program(uid: u32) -> Vec<u32> {
    use std::os::unix::fs::MetadataExt;
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.metadata().is_ok_and(|found| found.uid() == uid))
        .filter(|entry| fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe.to_string_lossy().ends_with(GONE)))
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}
