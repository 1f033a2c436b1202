//! What an operator sees of a real hub: the status, in time and when the service manager is slow, and the log.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::hub_process::HubProcess;
use crate::support::installed::PROGRAMS;
use crate::support::user_manager::{UserManager, user_manager};

const RELAYCTL: &str = env!("CARGO_BIN_EXE_relayctl");

fn relayctl(hub: &HubProcess, arguments: &[&str]) -> Command {
    let mut command = Command::new(RELAYCTL);
    command.args(arguments).env("RELAY_SOCKET", hub.socket());
    command
}

fn json(command: &mut Command) -> Value {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Makes a program of this name that does what the script says.
fn fake(directory: &Path, name: &str, script: &str) {
    let path = directory.join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn the_status_names_peers_programs_open_asks_and_the_limits_that_were_reached() {
    let hub = HubProcess::start(&["--limit", "open_asks=1"]);
    let (mut web, mut backend) = (hub.session("web"), hub.session("backend"));
    for (n, id) in ["k3v9-x2mq-7bd4", "k3v9-x2mq-7bd5"].iter().enumerate() {
        web.say(&json!({"type": "ask", "id": n, "ask_id": id, "to": "backend", "question": "?", "timeout_ms": 60_000}));
        web.hear();
    }
    backend.hear();
    let status = json(&mut relayctl(&hub, &["status", "--json"]));
    assert_eq!(status["names"], json!(["backend", "web"]));
    assert_eq!(status["programs"]["test 1"], 2, "{status}");
    assert_eq!((&status["open_asks"], &status["refused"]), (&json!(1), &json!({"open_asks": 1})), "{status}");
    assert_eq!((&status["activated"], &status["pid"]), (&json!(false), &json!(hub.pid())));
}

#[test]
fn a_service_manager_that_hangs_does_not_make_the_status_hang() {
    let hub = HubProcess::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    fake(directory.path(), "systemctl", "exec sleep 60");
    let started = Instant::now();
    let path = format!("{}:/usr/bin:/bin", directory.path().display());
    let output = relayctl(&hub, &["status", "-v"]).env("PATH", path).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("it did not answer within"), "{said}");
    assert!(said.contains("● relay works"), "{said}");
}

#[test]
fn where_no_hub_is_the_status_exits_with_3_and_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("hub.sock");
    let output = Command::new(RELAYCTL).args(["status", "--json"]).env("RELAY_SOCKET", &socket).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let lines: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["type"], &lines[0]["reachable"]), (&json!("status"), &json!(false)));
    assert_eq!(lines[1]["error"]["code"], "hub_unreachable");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.trim_end().lines().last().unwrap().starts_with("next: "), "{said}");
}

#[test]
fn a_hub_that_is_full_is_named_so_with_its_limit_and_what_to_do() {
    let hub = HubProcess::start(&["--limit", "connections=2"]);
    let (_web, _backend) = (hub.session("web"), hub.session("backend"));
    let output = relayctl(&hub, &["status"]).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(stdout, "✗ relay does not work: the hub has 2 connections; the limit is 2\n");
    insta::assert_snapshot!(stderr, @"
    error: the hub has 2 connections; the limit is 2 (rate_limited)
    next: # close sessions that are not needed, or raise the limit: relay-hub --limit connections=NUMBER, or RELAY_LIMITS=connections=NUMBER in the service's environment
    ");
}

fn install(manager: &UserManager) -> PathBuf {
    let bindir = manager.install_programs(&PROGRAMS);
    let output = manager.command(bindir.join("relayctl")).arg("install-service").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    bindir
}

#[test]
fn the_log_is_read_from_the_journal_and_has_no_text_of_a_message() {
    let manager = user_manager!();
    let relayctl = install(&manager).join("relayctl");
    let run = |arguments: &[&str]| {
        let output = manager.command(&relayctl).args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, _) = run(&["ask", "nobody", "a secret question"]);
    assert_eq!(code, Some(6));
    let (code, log) = run(&["logs", "--since", "1h"]);
    assert_eq!(code, Some(0));
    assert!(log.contains("info   relay-hub  the hub has started"), "{log}");
    assert!(log.contains("systemd  Listening on"), "{log}");
    assert!(!log.contains("secret"), "{log}");
    let (_, newest) = run(&["logs", "-n", "1", "--json"]);
    let newest: Value = serde_json::from_str(newest.trim()).unwrap();
    assert_eq!(newest["type"], "log");
    let (code, none) = run(&["logs", "--since", "2099-01-01"]);
    assert_eq!((code, none.as_str()), (Some(0), ""));
}

#[test]
fn the_log_is_followed_in_the_journal() {
    let manager = user_manager!();
    let relayctl = install(&manager).join("relayctl");
    let mut command = manager.command(&relayctl);
    let mut follow = command.args(["logs", "--follow", "--lines", "0"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines().map(Result::unwrap);
    // Entries from before the look has begun are not shown: one comes after it for certain.
    let found = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !found.load(Ordering::Relaxed) {
                assert!(manager.command(&relayctl).arg("peers").output().unwrap().status.success());
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        let shown = lines.any(|line| line.contains("relay-hub  a client has come"));
        found.store(true, Ordering::Relaxed);
        assert!(shown);
    });
    let _ended = follow.kill();
    let _reaped = follow.wait();
}

#[test]
fn an_idle_hub_is_started_by_the_look_and_the_status_says_so() {
    let manager = user_manager!();
    let relayctl = install(&manager).join("relayctl");
    let output = manager.command(&relayctl).args(["status", "-v"]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with("● relay works: no session has joined"), "{said}");
    assert!(said.contains("relay.socket is active (running), enabled"), "{said}");
}

#[test]
fn uninstalling_leaves_no_file_and_no_process_and_a_second_time_says_so() {
    let manager = user_manager!();
    let relayctl = install(&manager).join("relayctl");
    let run = |argument: &str| manager.command(&relayctl).arg(argument).output().unwrap();
    assert!(run("status").status.success());
    let hub: u32 = manager.property("relay.service", "MainPID").parse().unwrap();
    assert!(run("uninstall-service").status.success());
    assert!(!Path::new(&format!("/proc/{hub}")).exists());
    assert!(!manager.outside(&manager.runtime_dir().join("relay")).exists());
    assert!(!manager.home().join(".config/systemd").exists());
    let again = run("uninstall-service");
    assert_eq!(again.status.code(), Some(0));
    assert!(String::from_utf8(again.stderr).unwrap().contains("nothing to do"));
}
