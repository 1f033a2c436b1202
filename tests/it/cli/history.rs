//! `relayctl history` out of the daily files of a hub that no service manager has started.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::hub_process::RawClient;

const RELAYCTL: &str = env!("CARGO_BIN_EXE_relayctl");

#[test]
fn the_files_of_a_hub_in_the_background_tell_what_was_asked() {
    let home = tempfile::tempdir().unwrap();
    let socket = home.path().join("run/hub.sock");
    let relayctl = |arguments: &[&str]| {
        let mut command = Command::new(RELAYCTL);
        command.args(arguments).env("HOME", home.path()).env("RELAY_SOCKET", &socket).stdin(Stdio::null());
        command.env_remove("XDG_STATE_HOME").env_remove("RELAY_LOG");
        command
    };
    // As `relayctl hub start` starts it, which is not for where a service manager is.
    let mut hub = Command::new(env!("CARGO_BIN_EXE_relay-hub"));
    hub.args(["--detached", "--socket"]).arg(&socket).env("HOME", home.path()).env_remove("XDG_STATE_HOME");
    let mut hub = hub.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while !socket.exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let mut backend = RawClient::connect(&socket);
    backend.say(&json!({
        "type": "hello", "id": 1, "versions": relay::protocol::VERSIONS, "program": "test 1", "kind": "session",
        "session": {"pid": 1, "start": 1, "thread": "backend"}, "agent": "test", "cwd": "/test/backend",
        "status": "idle", "wakes_by": "channel",
    }));
    assert_eq!(backend.hear()["type"], "welcome");
    let asked = relayctl(&["ask", "backend", "a secret question"]).stdout(Stdio::piped()).spawn().unwrap();
    let ask = std::iter::repeat_with(|| backend.hear()).find(|message| message["type"] == "ask").unwrap();
    backend.say(&json!({"type": "reply", "id": 3, "ask_id": ask["ask_id"], "text": "a secret answer"}));
    assert_eq!(asked.wait_with_output().unwrap().stdout, b"a secret answer\n");
    while backend.hear()["type"] != "replied" {}

    // The hub logs what has happened when it has nothing else to do, and all of it before it leaves.
    rustix::process::kill_process(rustix::process::Pid::from_child(&hub), rustix::process::Signal::TERM).unwrap();
    assert!(hub.wait().unwrap().success());
    let files = home.path().join(".local/state/relay");
    let told = relayctl(&["history", "--json", "--files", files.to_str().unwrap()]).output().unwrap();
    let lines = String::from_utf8(told.stdout).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), &lines[0]["ask_id"], &lines[0]["outcome"]), (2, &ask["ask_id"], &json!("reply")));
    assert_eq!(
        (&lines[0]["from"], &lines[0]["to"], &lines[1]["replied"]),
        (&json!("shell"), &json!("backend"), &json!(1))
    );
    assert!(!format!("{lines:?}").contains("secret"));
}
