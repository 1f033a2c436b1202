//! `relayctl wait`, `ask --wait-for` and `peers --waiting`, with a real hub and peers that say what they do.

use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::hub_process::{RawClient, SOON};
use crate::support::stage::Stage;

const HUB: [&str; 0] = [];

fn told(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n--- stdout\n{}--- stderr\n{}", output.status, text(&output.stdout), text(&output.stderr))
}

fn run(mut command: Command) -> String {
    told(&command.output().unwrap())
}

fn presence(peer: &mut RawClient, status: &str, waiting_for: Option<&str>) {
    let mut presence = json!({"type": "presence", "cwd": "/test/backend", "status": status, "wakes_by": "waiter"});
    if let Some(dialog) = waiting_for {
        presence["waiting_for"] = dialog.into();
    }
    peer.say(&presence);
    // An answer says that the hub has it.
    peer.say(&json!({"type": "peers", "id": 90}));
    peer.hear();
}

/// Waits until the command has come to the hub, so that what follows is what it waits for.
fn until_it_waits(stage: &Stage, child: &mut Child) {
    let mut observer = stage.hub.session("observer");
    let end = Instant::now() + SOON;
    loop {
        observer.say(&json!({"type": "status", "id": 91}));
        let status = observer.hear();
        if status["programs"].as_object().unwrap().keys().any(|program| program.starts_with("relayctl")) {
            return;
        }
        assert!(Instant::now() < end && child.try_wait().unwrap().is_none(), "{status}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn session_that_comes_is_waited_for() {
    let stage = Stage::settled(&HUB);
    let mut child = stage.relayctl(&["wait", "backend", "--timeout", "20s", "--json"]).spawn().unwrap();
    until_it_waits(&stage, &mut child);
    let _backend = stage.hub.session("backend");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let peer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&peer["type"], &peer["name"]), (&json!("peer"), &json!("backend")));
}

#[test]
fn session_that_ends_its_turn_is_waited_for_also_where_the_hub_dies_meanwhile() {
    let mut stage = Stage::settled(&HUB);
    let mut backend = stage.hub.session("backend");
    presence(&mut backend, "busy", None);
    let mut child = stage.relayctl(&["wait", "backend", "--idle", "--timeout", "30s"]).spawn().unwrap();
    until_it_waits(&stage, &mut child);
    stage.hub.kill_and_restart(&HUB);
    let mut backend = stage.hub.session("backend");
    presence(&mut backend, "busy", None);
    until_it_waits(&stage, &mut child);
    assert_eq!(child.try_wait().unwrap(), None);
    presence(&mut backend, "idle", None);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn wait_in_vain_is_4_and_says_what_was_seen() {
    let stage = Stage::settled(&HUB);
    let mut backend = stage.hub.session("backend");
    presence(&mut backend, "waiting", Some("permission prompt"));
    insta::assert_snapshot!(run(stage.relayctl(&["wait", "backend", "--idle", "--timeout", "1s"])), @"
    exit status: 4
    --- stdout
    --- stderr
    error: backend was there and not idle within 1s: it waits for its user: permission prompt (timeout)
    next: relayctl peers
    ");
    insta::assert_snapshot!(run(stage.relayctl(&["wait", "backnd", "--timeout", "1s"])), @"
    exit status: 4
    --- stdout
    --- stderr
    error: backnd was not there within 1s: no session is named backnd; similar names: backend (timeout)
    next: relayctl peers
    ");
    insta::assert_snapshot!(run(stage.relayctl(&["wait", "all"])), @"
    exit status: 6
    --- stdout
    --- stderr
    error: all names no session; a broadcast asks every session (peer_not_found)
    next: relayctl peers
    ");
}

#[test]
fn ask_waits_for_a_session_that_is_busy_and_asks_nothing_in_vain() {
    let stage = Stage::settled(&HUB);
    let mut backend = stage.hub.session("backend");
    presence(&mut backend, "busy", None);
    let told = run(stage.relayctl(&["ask", "backend", "ready?", "--wait-for", "1s"]));
    assert!(told.starts_with("exit status: 4\n") && told.contains("it is busy"), "{told}");
    let mut child = stage.relayctl(&["ask", "backend", "ready?", "--wait-for", "20s"]).spawn().unwrap();
    until_it_waits(&stage, &mut child);
    backend.say(&json!({"type": "presence", "cwd": "/test/backend", "status": "idle", "wakes_by": "waiter"}));
    let asked = backend.hear();
    assert_eq!((&asked["type"], &asked["from"]), (&json!("ask"), &json!("shell")), "the first one was not asked");
    backend.say(&json!({"type": "reply", "id": 5, "ask_id": asked["ask_id"], "text": "Yes."}));
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"Yes.\n"[..]));
}

#[test]
fn those_that_wait_for_their_user_are_listed_and_a_failure_says_so() {
    let stage = Stage::settled(&HUB);
    let (mut backend, _web) = (stage.hub.session("backend"), stage.hub.session("web"));
    insta::assert_snapshot!(run(stage.relayctl(&["peers", "--waiting"])), @"
    exit status: 0
    --- stdout
    --- stderr
    no session waits for its user
    ");
    presence(&mut backend, "waiting", Some("permission prompt"));
    let told = run(stage.relayctl(&["peers", "--waiting"]));
    assert!(told.contains("waiting: permission prompt") && !told.contains("web"), "{told}");
    insta::assert_snapshot!(run(stage.relayctl(&["ask", "backend", "ready?", "--timeout", "1s"])), @"
    exit status: 4
    --- stdout
    --- stderr
    error: backend did not answer within 1s: the question was accepted by the hub; not confirmed that it was delivered to the session; backend waits for its user: permission prompt (timeout)
    next: # go to the session backend and decide what it waits for (permission prompt)
    ");
}
