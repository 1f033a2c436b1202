//! The hub under a real `systemd --user`, with the units as they are shipped, when it breaks, hangs, or is replaced.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::support::hub_process::RawClient;
use crate::support::installed::{Installed, cpu_time, greet, hub_of, runs, signal, soon, within};
use crate::support::user_manager::user_manager;

/// Puts a shell script in the place of the hub.
fn replace_hub(relay: &Installed, script: &str) {
    let new = relay.program("relay-hub.new");
    fs::write(&new, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(new, relay.program("relay-hub")).unwrap();
}

fn mend(relay: &Installed) {
    relay.manager.install_programs(&[Path::new(env!("CARGO_BIN_EXE_relay-hub"))]);
}

#[test]
fn a_hub_that_fails_at_its_start_is_tried_again_at_leisure_until_it_is_mended() {
    let relay = Installed::with(user_manager!());
    let starts = relay.manager.home().join("starts");
    replace_hub(&relay, &format!("echo >> '{}'\nexit 1", starts.display()));
    let manager = relay.manager_pid();
    let cpu = cpu_time(manager);
    let mut patient = RawClient::over(relay.connect().unwrap());
    thread::sleep(Duration::from_secs(3));

    let cpu = cpu_time(manager) - cpu;
    assert!(cpu < Duration::from_secs(1), "the manager and its children were busy for {cpu:?} of three seconds");
    let starts = fs::read(starts).unwrap().len();
    assert!((1..=3).contains(&starts), "{starts} starts in three seconds");
    // systemd's own default is shorter, and on a busy machine not to be told from it by counting.
    assert_eq!(relay.manager.property("relay.service", "RestartUSec"), "200ms");
    assert_eq!(relay.manager.property("relay.socket", "ActiveState"), "active");

    mend(&relay);
    greet(&mut patient);
    let hub = hub_of(&mut patient);
    assert_eq!(relay.hub(), hub);
    assert_eq!(relay.manager.property("relay.socket", "Result"), "success");
}

#[test]
fn a_client_waits_while_the_program_is_missing_and_is_served_when_it_is_back() {
    let relay = Installed::with(user_manager!());
    fs::remove_file(relay.program("relay-hub")).unwrap();
    let mut patient = RawClient::over(relay.connect().unwrap());
    soon("a second attempt", || (relay.manager.property("relay.service", "NRestarts") != "0").then_some(()));
    mend(&relay);
    greet(&mut patient);
}

#[test]
fn a_socket_that_its_fuse_has_closed_is_opened_by_installing_again() {
    let relay = Installed::with(user_manager!());
    relay.drop_in_for("relay.socket", "[Socket]\nTriggerLimitBurst=5");
    // What no hub of ours does: it is ready, leaves in order, and leaves a client waiting.
    replace_hub(&relay, "exec systemd-notify --ready");
    let _never_served = relay.connect().unwrap();
    soon("the fuse", || (relay.manager.property("relay.socket", "Result") == "trigger-limit-hit").then_some(()));
    soon("the end", || (relay.manager.property("relay.socket", "ActiveState") == "failed").then_some(()));
    relay.connect().unwrap_err();

    mend(&relay);
    let said = relay.relayctl_ok("install-service");
    assert!(said.ends_with("installed with systemd --user: the hub starts when somebody connects\n"), "{said}");
    relay.hub();
}

#[test]
fn sessions_of_a_killed_hub_are_back_within_two_seconds_with_their_names() {
    let relay = Installed::with(user_manager!());
    let sessions = ["one", "two", "one"].map(|folder| relay.session(folder));
    soon("all sessions", || (relay.peers().len() == 3).then_some(()));
    sessions[1].call("relay_rename", json!({"name": "chef"})).ok();
    soon("every session", || {
        let mut names = relay.peers();
        names.sort();
        (names == ["chef", "one", "one-2"]).then_some(())
    });
    for _ in 0..3 {
        let hub = relay.hub();
        signal(hub, Signal::KILL);
        let killed = Instant::now();
        within(Duration::from_secs(2), "every session", || {
            let mut back = relay.peers();
            back.sort();
            (back == ["chef", "one", "one-2"]).then_some(())
        });
        assert!(killed.elapsed() < Duration::from_secs(2), "{:?}", killed.elapsed());
        assert_ne!(relay.hub(), hub);
    }
    let own = sessions.each_ref().map(|session| session.call("relay_peers", json!({})).ok()["you"].clone());
    assert_eq!(own, [json!("one"), json!("chef"), json!("one-2")]);
}

#[test]
fn a_hub_that_hangs_is_replaced_and_who_waited_is_served() {
    let relay = Installed::with(user_manager!());
    relay.hub();
    assert_eq!(relay.manager.property("relay.service", "WatchdogUSec"), "30s", "as it is shipped");
    relay.drop_in("WatchdogSec=1s");
    relay.manager.systemctl("restart relay.service");
    let _session = relay.session("cook");
    soon("the session", || (relay.peers() == ["cook"]).then_some(()));
    let hub = relay.hub();
    // As long as it pings it stays.
    thread::sleep(Duration::from_millis(2500));
    assert_eq!(relay.hub(), hub);

    signal(hub, Signal::STOP);
    let mut patient = RawClient::over(relay.connect().unwrap());
    greet(&mut patient);
    assert_ne!(hub_of(&mut patient), hub);
    assert!(!runs(hub));
    soon("the session", || (relay.peers() == ["cook"]).then_some(()));
    let journal = relay.manager.journal("relay.service");
    assert!(journal.contains("Watchdog timeout"), "{journal}");
}

#[test]
fn an_open_ask_is_answered_across_a_restart() {
    let relay = Installed::with(user_manager!());
    let [cook, waiter] = ["cook", "waiter"].map(|folder| relay.session(folder));
    soon("both sessions", || (relay.peers().len() == 2).then_some(()));
    let ask = waiter.call("relay_ask", json!({"to": "cook", "question": "ready?"})).ok();
    let asked = cook.event_of("ask");
    let hub = relay.hub();

    relay.manager.systemctl("restart relay.service");
    within(Duration::from_secs(2), "both sessions", || (relay.peers().len() == 2).then_some(()));
    assert_ne!(relay.hub(), hub);
    assert_eq!(relay.manager.property("relay.service", "Result"), "success");
    cook.call("relay_reply", json!({"ask_id": asked.get("ask_id"), "text": "in a minute"})).ok();
    let reply = waiter.event_of("reply");
    assert_eq!((reply.get("from"), reply.get("ask_id")), ("cook", ask["ask_id"].as_str().unwrap()));
    assert!(reply.content.starts_with("in a minute"), "{}", reply.content);
}

#[test]
fn tools_that_are_used_during_restarts_do_not_notice() {
    let relay = Installed::with(user_manager!());
    let done = AtomicBool::new(false);
    let used = thread::scope(|scope| {
        let tool = || {
            let (mut used, end) = (0, Instant::now() + Duration::from_secs(60));
            while !done.load(Ordering::Relaxed) && Instant::now() < end {
                relay.relayctl_ok("peers --json");
                used += 1;
            }
            used
        };
        let tools = [scope.spawn(tool), scope.spawn(tool)];
        for _ in 0..20 {
            thread::sleep(Duration::from_millis(50));
            relay.manager.systemctl("restart relay.service");
        }
        done.store(true, Ordering::Relaxed);
        tools.map(|tool| tool.join().unwrap())
    });
    assert!(used.iter().all(|used| *used > 5), "{used:?}");
}

#[test]
fn a_stopped_hub_is_started_by_whoever_comes_next() {
    let relay = Installed::with(user_manager!());
    let first = relay.hub();
    relay.manager.systemctl("stop relay.service");
    assert!(!runs(first));
    assert_eq!(relay.manager.property("relay.service", "ActiveState"), "inactive");
    assert_eq!(relay.manager.property("relay.socket", "SubState"), "listening");
    assert_ne!(relay.hub(), first);

    // A session comes at once.
    let _session = relay.session("cook");
    soon("the session", || (relay.peers() == ["cook"]).then_some(()));
    let second = relay.hub();
    relay.manager.systemctl("stop relay.service");
    within(Duration::from_secs(2), "the session", || (relay.peers() == ["cook"]).then_some(()));
    assert_ne!(relay.hub(), second);
}

#[test]
fn the_journal_has_the_hubs_entries_with_their_fields_and_nobodys_words() {
    const CANARY: &str = "canary-7f3a";
    let relay = Installed::with(user_manager!());
    relay.drop_in("Environment=RELAY_LOG=debug");
    let [cook, waiter] = ["cook", "waiter"].map(|folder| relay.session(folder));
    soon("both sessions", || (relay.peers().len() == 2).then_some(()));
    waiter.call("relay_ask", json!({"to": "cook", "question": format!("{CANARY} asked")})).ok();
    let asked = cook.event_of("ask");
    cook.call("relay_reply", json!({"ask_id": asked.get("ask_id"), "text": format!("{CANARY} replied")})).ok();
    waiter.event_of("reply");
    waiter.call("relay_broadcast", json!({"question": format!("{CANARY} broadcast")})).ok();
    cook.event_of("ask");
    // What is no message is logged, but not what it says.
    let mut stranger = relay.client();
    stranger.say(&json!({"type": "ask", "question": format!("{CANARY} broken")}));
    stranger.hear_refusal();
    stranger.write(format!("{CANARY} nonsense\n").as_bytes()).unwrap();
    stranger.hear_refusal();
    let hub = relay.hub();

    let started =
        soon("the first entry", || relay.journal().into_iter().find(|entry| entry["MESSAGE"] == "the hub has started"));
    assert_eq!(started["SYSLOG_IDENTIFIER"], "relay-hub");
    assert_eq!(started["_SYSTEMD_USER_UNIT"], "relay.service");
    // tracing-journald's mapping: what is INFO here is a notice there.
    assert_eq!(started["PRIORITY"], "5");
    assert_eq!(started["_PID"], hub.to_string());
    assert_eq!(started["INHERITED"], "true");
    assert_eq!(started["IDLE_TIMEOUT"], "5m");
    soon("a warning", || {
        relay.journal().into_iter().find(|entry| entry["PRIORITY"] == "4" && entry["CONN"].is_string())
    });
    let output = relay.manager.command("journalctl").args(["-o", "json", "--all"]).output().unwrap();
    let everything = String::from_utf8_lossy(&output.stdout);
    assert!(everything.contains("accepted a connection"), "debug entries are there");
    assert!(!everything.contains(CANARY), "{everything}");
}

#[test]
fn a_journal_that_hangs_does_not_make_the_hub_hang_and_learns_how_much_it_missed() {
    let relay = Installed::with(user_manager!());
    relay.drop_in("Environment=RELAY_LOG=debug");
    let Some(journal) = relay.manager.journal_pid() else {
        return crate::support::skip::skipped("a_journal_that_hangs", &"the journal is the machine's");
    };
    let hub = relay.hub();
    signal(journal, Signal::STOP);
    // Each of them is worth several entries; the queue of the journal has room for some hundreds at most.
    for _ in 0..1000 {
        assert_eq!(hub_of(&mut relay.client()), hub);
    }
    signal(journal, Signal::CONT);
    soon("the count of what was dropped", || {
        relay.hub();
        relay.journal().iter().any(|entry| entry["DROPPED"].is_string()).then_some(())
    });
    assert_eq!(relay.hub(), hub);
}
