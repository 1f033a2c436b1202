//! Finds the hub that a service manager runs.

use std::fs;
use std::path::PathBuf;

use rustix::process::Pid;

use super::user_manager::UserManager;

/// Finds the hub: the processes of its unit, which are in one control group.
pub(crate) struct HubFinder {
    processes: PathBuf,
}

impl HubFinder {
    /// Takes the unit's control group; it must have been started once.
    pub(crate) fn new(manager: &UserManager) -> Self {
        let group = manager.property("relay.service", "ControlGroup");
        let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"];
        let files = roots.map(|root| PathBuf::from(format!("{root}{group}/cgroup.procs")));
        Self { processes: files.into_iter().find(|file| file.exists()).expect("the unit has a control group") }
    }

    /// Returns the hub that runs now.
    pub(crate) fn find(&self) -> Option<Pid> {
        let listed = fs::read_to_string(&self.processes).ok()?;
        let pid = Pid::from_raw(listed.lines().next()?.parse().ok()?)?;
        // Before it executes the hub the process is still the service manager.
        let program = fs::read_link(format!("/proc/{}/exe", pid.as_raw_nonzero())).ok()?;
        // Of a program that was replaced the name goes on.
        program.file_name()?.to_str()?.starts_with("relay-hub").then_some(pid)
    }
}
