//! `relayctl setup --notify` with a real `systemd --user`: the notifier runs, watches, and goes without a trace.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::installed::{Installed, soon};
use crate::support::user_manager::user_manager;

/// Returns every file below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let below = entries.flat_map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { vec![entry.path()] });
    below.collect()
}

#[test]
fn notifier_is_set_up_watches_and_goes_without_a_trace() {
    let relay = Installed::with(user_manager!());
    relay.relayctl_ok("setup --notify");
    let manager = &relay.manager;
    assert_eq!(manager.systemctl("is-enabled relay-notify.service").trim(), "enabled");
    // The other one asks for the status.
    let both = concat!("\"relayctl ", env!("CARGO_PKG_VERSION"), "\":2");
    soon("the notifier at the hub", || relay.relayctl_ok("status --json").contains(both).then_some(()));
    let again = relay.relayctl_ok("setup --notify");
    assert!(again.contains("everything is set up already"), "{again}");
    let notifier = manager.property("relay-notify.service", "MainPID");
    relay.relayctl_ok("setup --undo");
    assert!(!Path::new(&format!("/proc/{notifier}")).exists());
    let left = files(&manager.outside(&manager.home().join(".config")));
    assert!(left.is_empty(), "{left:?}");
}
