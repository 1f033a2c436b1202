//! Finds the hub that a service manager runs.

use std::fs;

use rustix::process::Pid;

use super::user_manager::{UserManager, first_process};

/// Finds the hub: the processes of its unit, which are in one control group.
pub(crate) struct HubFinder {
    group: String,
}

impl HubFinder {
    /// Takes the unit's control group; it must have been started once.
    pub(crate) fn new(manager: &UserManager) -> Self {
        let group = manager.property("relay.service", "ControlGroup");
        assert!(group.len() > 1, "the unit has no control group: {group:?}");
        Self { group }
    }

    /// Returns the hub that runs now.
    pub(crate) fn find(&self) -> Option<Pid> {
        let pid = first_process(&self.group)?;
        // Before it executes the hub the process is still the service manager.
        let program = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
        // Of a program that was replaced the name goes on.
        program.file_name()?.to_str()?.starts_with("relay-hub").then(|| Pid::from_raw(pid.cast_signed()))?
    }
}
