//! `relayctl setup --with-machines` with a real `systemd --user`: the bridge runs while a machine is configured, starts when a
//! link arrives, and goes without a trace.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::support::installed::{Installed, runs, soon};
use crate::support::user_manager::{UserManager, user_manager};

const BRIDGE: &str = env!("CARGO_BIN_EXE_relay-bridge");
const UNITS: [&str; 3] = ["relay-bridge.socket", "relay-bridge.path", "relay-bridge.service"];

/// Returns every file below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let below = entries.flat_map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { vec![entry.path()] });
    below.collect()
}

fn with_bridge(manager: UserManager) -> Installed {
    let relay = Installed::with(manager);
    relay.manager.install_programs(&[BRIDGE]);
    relay
}

fn bridge(relay: &Installed) -> u32 {
    relay.manager.property("relay-bridge.service", "MainPID").parse().unwrap()
}

#[test]
fn bridge_runs_while_a_machine_is_configured_and_comes_back_when_it_dies() {
    let relay = with_bridge(user_manager!());
    relay.relayctl_ok("install-service --with-machines");
    let again = relay.relayctl_ok("install-service --with-machines");
    assert!(again.contains("nothing to do"), "{again}");
    assert_eq!(bridge(&relay), 0, "nothing runs where no machine is configured");

    relay.relayctl_ok("machines add desk --exec cat");
    let first = soon("the bridge", || Some(bridge(&relay)).filter(|pid| *pid != 0));
    let listed = relay.relayctl_ok("machines");
    assert!(listed.contains("desk"), "{listed}");
    assert_eq!(bridge(&relay), first, "the file and the socket start one bridge");
    crate::support::installed::signal(first, rustix::process::Signal::KILL);
    soon("another bridge", || Some(bridge(&relay)).filter(|pid| *pid != 0 && *pid != first));

    // As after a login: what is configured is enough.
    relay.manager.systemctl("stop relay-bridge.path relay-bridge.socket relay-bridge.service");
    assert_eq!(bridge(&relay), 0);
    relay.manager.systemctl("start relay-bridge.path");
    soon("the bridge of a login", || Some(bridge(&relay)).filter(|pid| *pid != 0));
}

#[test]
fn a_link_that_arrives_starts_the_bridge() {
    let relay = with_bridge(user_manager!());
    relay.relayctl_ok("setup --with-machines");
    assert_eq!(bridge(&relay), 0);
    let mut command = relay.manager.command(relay.program("relay-bridge"));
    let mut stdio =
        command.args(["stdio", "--as", "laptop"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    soon("the bridge", || Some(bridge(&relay)).filter(|pid| *pid != 0));
    soon("the machine", || relay.relayctl_ok("machines --json").contains(r#""name":"laptop""#).then_some(()));
    drop(stdio.stdin.take());
    let ended = soon("the end of the pipe", || stdio.try_wait().unwrap());
    assert!(ended.success(), "{ended}");
}

#[test]
fn units_are_sound_and_go_without_a_trace() {
    let relay = with_bridge(user_manager!());
    let manager = &relay.manager;
    relay.relayctl_ok("setup --with-machines");
    let units = manager.home().join(".config/systemd/user");
    for unit in UNITS {
        let output =
            manager.command("systemd-analyze").args(["--user", "verify"]).arg(units.join(unit)).output().unwrap();
        // The page is not installed where the test is.
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.lines().all(|line| line.contains("relay-bridge(1)")), "{unit}: {said}");
    }
    let socket = manager.outside(&manager.runtime_dir().join("relay/bridge.sock"));
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&socket).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);

    relay.relayctl_ok("machines add desk --exec cat");
    let running = soon("the bridge", || Some(bridge(&relay)).filter(|pid| *pid != 0));
    relay.relayctl_ok("machines remove desk");
    relay.relayctl_ok("setup --undo");
    assert!(!runs(running), "the bridge still runs");
    assert_eq!(manager.systemctl("list-units --all --plain --no-legend relay*"), "");
    let left = files(&manager.outside(&manager.home().join(".config")));
    assert!(left.is_empty() && !socket.exists(), "{left:?}");
}
