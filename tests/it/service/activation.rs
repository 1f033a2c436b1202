//! The hub under a real `systemd --user`, with the units as they are shipped: how it starts, leaves and comes again.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::hub_process::RawClient;
use crate::support::installed::{Installed, greet, hub_of, is_there, runs, soon, within};
use crate::support::user_manager::user_manager;

/// Returns every path below `root`.
fn files(root: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(root).into_iter().flatten().map(Result::unwrap) {
        found.insert(entry.path());
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        }
    }
    found
}

#[test]
fn the_first_connect_starts_the_hub_and_the_service_manager_knows_how_it_is() {
    let relay = Installed::with(user_manager!());
    let mode = |path: &Path| fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(relay.socket().parent().unwrap()), mode(&relay.socket())), (0o700, 0o600));
    assert_eq!(relay.manager.property("relay.socket", "SubState"), "listening");
    assert_eq!(relay.manager.property("relay.service", "ActiveState"), "inactive");
    assert_eq!(relay.manager.property("relay.service", "MainPID"), "0");

    let status = relay.relayctl_ok("status -v");
    assert!(status.contains("relay.service is active (running)"), "{status}");
    assert!(status.contains("relay.socket is active (running), enabled"), "{status}");
    assert_eq!(relay.manager.property("relay.service", "MainPID"), relay.hub().to_string());
    // Type=notify is active only after READY=1; a unit whose type systemd did not know would be `simple`.
    assert_eq!(relay.manager.property("relay.service", "Type"), "notify");
    assert_eq!(relay.manager.property("relay.service", "StatusText"), "0 sessions, 0 open asks");

    // With the settling over nothing else happens that the line could wait for.
    soon("the end of the settling", || {
        relay.relayctl_ok("status --json").contains(r#""settling":false"#).then_some(())
    });
    let [_cook, _waiter] = ["cook", "waiter"].map(|folder| relay.session(folder));
    within(Duration::from_secs(3), "the status of both sessions", || {
        (relay.manager.property("relay.service", "StatusText") == "2 sessions, 0 open asks").then_some(())
    });
    let peers = relay.relayctl_ok("peers");
    assert!(peers.contains("cook") && peers.contains("waiter"), "{peers}");
}

#[test]
fn installing_again_changes_nothing_and_says_so() {
    let relay = Installed::with(user_manager!());
    let hub = relay.hub();
    let units = relay.manager.home().join(".config/systemd/user");
    let before: Vec<_> = ["relay.socket", "relay.service"].map(|unit| fs::metadata(units.join(unit)).unwrap()).into();
    assert_eq!(relay.relayctl_ok("install-service"), "installed with systemd --user before: nothing to do\n");
    for (before, unit) in before.iter().zip(["relay.socket", "relay.service"]) {
        let now = fs::metadata(units.join(unit)).unwrap();
        assert_eq!(before.modified().unwrap(), now.modified().unwrap(), "{unit}");
    }
    assert_eq!(relay.hub(), hub, "the hub that ran is not disturbed");

    for unit in ["relay.socket", "relay.service"] {
        let verify = ["--user", "verify"];
        let output = relay.manager.command("systemd-analyze").args(verify).arg(units.join(unit)).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{unit}");
    }
}

#[test]
fn uninstalling_leaves_nothing_of_a_hub_that_is_in_use() {
    let manager = user_manager!();
    let runtime_dir = manager.outside(manager.runtime_dir());
    let (home, runtime) = (files(manager.home()), files(&runtime_dir));
    let relay = Installed::with(manager);
    let (hub, session) = (relay.hub(), relay.session("cook"));
    soon("the session", || (relay.peers() == ["cook"]).then_some(()));

    let said = relay.relayctl_ok("uninstall-service");
    assert!(said.ends_with("removed from systemd --user\n"), "{said}");
    // The session looks for a hub all the time, and must not bring one back.
    thread::sleep(Duration::from_secs(2));
    assert!(!runs(hub), "the hub still runs");
    assert!(session.is_alive());
    assert_eq!(relay.manager.systemctl("list-units --all --plain --no-legend relay.*"), "");
    // The session's own socket goes with the session.
    let sockets = runtime_dir.join("relay");
    let mut left = files(&runtime_dir);
    left.retain(|path| !Path::new(path).starts_with(&sockets) || path.ends_with("hub.sock"));
    assert_eq!(left, runtime);
    let mut left = files(relay.manager.home());
    // The user's directory of configuration stays, as programs expect it; the folder is the session's.
    left.retain(|path| !path.ends_with(".config") && !path.ends_with("cook"));
    assert_eq!(left, home);

    assert_eq!(relay.relayctl_ok("uninstall-service"), "not installed with systemd --user: nothing to do\n");
    let code = relay.relayctl("peers").status.code();
    assert_eq!(code, Some(3), "no hub is reachable");
}

#[test]
fn a_hundred_clients_that_come_at_once_to_no_hub_are_all_served_by_one() {
    let relay = Installed::with(user_manager!());
    let start = Barrier::new(100);
    let served: Vec<_> = thread::scope(|scope| {
        let client = || {
            start.wait();
            let mut client = relay.client();
            (hub_of(&mut client), client)
        };
        let clients: Vec<_> = (0..100).map(|_| scope.spawn(client)).collect();
        // Nobody leaves before all are served.
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let hubs: BTreeSet<u32> = served.iter().map(|(hub, _)| *hub).collect();
    assert_eq!(hubs.len(), 1, "{hubs:?}");
    let started = relay.journal().iter().filter(|entry| entry["MESSAGE"] == "the hub has started").count();
    assert_eq!(started, 1);
}

#[test]
fn an_idle_hub_leaves_and_the_next_client_has_another_a_thousand_times() {
    let relay = Installed::with(user_manager!());
    relay.hub_arguments("--idle-timeout 10ms");
    let mut last = None;
    for cycle in 0..1000 {
        let started = Instant::now();
        let mut client = RawClient::over(relay.connect().unwrap_or_else(|error| panic!("cycle {cycle}: {error}")));
        greet(&mut client);
        let hub = hub_of(&mut client);
        assert_ne!(last.replace(hub), Some(hub), "cycle {cycle}");
        drop(client);
        let end = Instant::now() + Duration::from_secs(5);
        while runs(hub) {
            assert!(Instant::now() < end, "the hub does not leave in cycle {cycle}");
            thread::sleep(Duration::from_micros(300));
        }
        // The unit's fuse is 500 activations in ten seconds, which a fast machine could reach.
        thread::sleep(Duration::from_millis(21).saturating_sub(started.elapsed()));
    }
    assert_eq!(relay.manager.property("relay.socket", "ActiveState"), "active");
    assert_eq!(relay.manager.property("relay.socket", "Result"), "success");
    assert_eq!(relay.manager.property("relay.service", "NRestarts"), "0");
    assert!(is_there(&relay.socket()));
}

#[test]
fn a_client_that_comes_at_any_moment_around_the_exit_is_served() {
    const IDLE: Duration = Duration::from_millis(10);
    let relay = Installed::with(user_manager!());
    relay.hub_arguments("--idle-timeout 10ms");
    let (mut met_the_old, mut met_a_new) = (0, 0);
    for _round in 0..4 {
        // From 5 ms before the exit is due to 5 ms after.
        for quarter_ms in 0..=40 {
            let at = IDLE - Duration::from_millis(5) + Duration::from_micros(250 * quarter_ms);
            let mut client = relay.client();
            let hub = hub_of(&mut client);
            drop(client);
            let left = Instant::now();
            // A sleep alone is not as exact as the steps are small.
            thread::sleep(at.saturating_sub(Duration::from_millis(1)));
            while left.elapsed() < at {
                std::hint::spin_loop();
            }
            if hub_of(&mut relay.client()) == hub { met_the_old += 1 } else { met_a_new += 1 }
        }
    }
    assert!(met_the_old > 0 && met_a_new > 0, "the exit was not hit: {met_the_old} before, {met_a_new} after");
    assert_eq!(relay.manager.property("relay.socket", "Result"), "success");
}
