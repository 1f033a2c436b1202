//! `relayctl ask` and `relayctl broadcast` with real sessions: what a script gets on each stream, and the exit code.

use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::mcp::Session;
use crate::support::stage::{Stage, ask, reply, run, seen, told};

const HUB: [&str; 0] = [];

fn end(child: Child) -> String {
    told(&child.wait_with_output().unwrap())
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn answered_is_0_and_the_answer_is_all_of_stdout() {
    let stage = Stage::new(&HUB);
    let backend = stage.session("Backend API");
    let child = stage.relayctl(&["ask", "Backend API", "is the build green?"]).spawn().unwrap();
    let question = backend.event();
    assert_eq!((question.kind(), question.get("from"), question.get("timeout_s")), ("ask", "shell", "120"));
    assert_eq!(reply(&backend, &question, "It is.\nSince noon.")["to"], "shell");
    insta::assert_snapshot!(end(child), @"
    exit status: 0
    --- stdout
    It is.
    Since noon.
    --- stderr
    ");

    let child = stage.relayctl(&["ask", "backend-api", "and now?", "--json"]).spawn().unwrap();
    let question = backend.event();
    reply(&backend, &question, "It is.");
    let output = child.wait_with_output().unwrap();
    let outcome: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!((&outcome["outcome"], &outcome["text"]), (&json!("reply"), &json!("It is.")));
}

#[test]
fn the_shell_is_no_peer() {
    let stage = Stage::settled(&HUB);
    let (web, backend) = (stage.session("web"), stage.session("backend"));
    let child = stage.relayctl(&["ask", "backend", "hm?"]).spawn().unwrap();
    let question = backend.event();
    stage.wait_for_peers(&web, |peers| peers.len() == 1 && peers[0]["name"] == "backend");
    let broadcast = web.call("relay_broadcast", json!({"question": "all?", "timeout_seconds": 60})).ok();
    assert_eq!(broadcast["asks"].as_array().unwrap().len(), 1, "{broadcast}");
    reply(&backend, &question, "hm");
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(0));
}

#[test]
fn refused_is_1() {
    let stage = Stage::settled(&["--limit", "open_asks=1"]);
    let (web, _backend) = (stage.session("web"), stage.held_session("backend"));
    ask(&web, "backend", "?", 60);
    insta::assert_snapshot!(run(stage.relayctl(&["ask", "backend", "?"])), @"
    exit status: 1
    --- stdout
    --- stderr
    error: 1 asks wait for backend; the limit is 1 (peer_busy)
    next: # ask again when it has answered some of them
    ");
}

#[test]
fn wrong_usage_is_2() {
    let stage = Stage::new(&HUB);
    assert!(run(stage.relayctl(&["ask", "backend"])).starts_with("exit status: 2\n"));
    assert!(run(stage.relayctl(&["ask", "backend", "?", "--timeout", "0s"])).starts_with("exit status: 2\n"));
    assert!(run(stage.relayctl(&["broadcast"])).starts_with("exit status: 2\n"));
    let address = "x".repeat(2000);
    assert!(run(stage.relayctl(&["ask", &address, "?"])).starts_with("exit status: 2\n"));
    for arguments in [["ask", "backend", ""].as_slice(), &["broadcast", ""], &["ask", "backend", "-"]] {
        insta::allow_duplicates! {
            insta::assert_snapshot!(run(stage.relayctl(arguments)), @"
            exit status: 2
            --- stdout
            --- stderr
            error: the question is empty (bad_args)
            next: # write it as an argument; with - it is read from standard input
            ");
        }
    }
}

#[test]
fn no_hub_is_3() {
    let mut stage = Stage::new(&HUB);
    stage.hub.kill();
    let socket = stage.hub.socket().display().to_string();
    for arguments in [["ask", "backend", "?"].as_slice(), &["broadcast", "?"]] {
        let told = run(stage.relayctl(arguments)).replace(&socket, "SOCKET");
        insta::allow_duplicates! {
            insta::assert_snapshot!(told, @"
            exit status: 3
            --- stdout
            --- stderr
            error: no hub listens: nobody answers at the socket SOCKET, where RELAY_SOCKET points (hub_unreachable)
            next: relayctl hub start --socket SOCKET
            ");
        }
    }
}

#[test]
fn timed_out_is_4() {
    let stage = Stage::new(&HUB);
    let _backend = stage.held_session("backend");
    let start = Instant::now();
    insta::assert_snapshot!(run(stage.relayctl(&["ask", "backend", "?", "--timeout", "1s"])), @"
    exit status: 4
    --- stdout
    --- stderr
    asked backend, which sees this at its next prompt only, waiting (1s)…
    error: backend did not answer within 1s: the question was held by the hub: nothing could wake the session, which has not seen it (timeout)
    next: # nothing wakes the session backend: type something there, then try again
    ");
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[test]
fn gone_is_5() {
    let stage = Stage::settled(&HUB);
    let backend = stage.session("backend");
    let child = stage.relayctl(&["ask", "backend", "?"]).spawn().unwrap();
    seen(&backend);
    backend.signal(Signal::KILL);
    insta::assert_snapshot!(end(child), @"
    exit status: 5
    --- stdout
    --- stderr
    error: backend went away before it answered: the question was delivered to the session; not confirmed that its model has read it (peer_gone)
    next: relayctl peers
    ");
}

#[test]
fn nobody_is_6() {
    let stage = Stage::settled(&HUB);
    insta::assert_snapshot!(run(stage.relayctl(&["ask", "backend", "?"])), @"
    exit status: 6
    --- stdout
    --- stderr
    error: no session is named backend (peer_not_found)
    next: relayctl peers
    ");
    insta::assert_snapshot!(run(stage.relayctl(&["broadcast", "?"])), @"
    exit status: 6
    --- stdout
    --- stderr
    error: nobody is connected (peer_not_found)
    next: # start claude in a project; without the plugin first: relayctl setup
    ");
}

/// What a session does with a question.
type Act = fn(&Session);

/// Broadcasts from the shell to sessions that act in turn.
fn broadcast(stage: &Stage, sessions: &[(&Session, Act)]) -> String {
    let child = stage.relayctl(&["broadcast", "who is there?", "--timeout", "2s"]).spawn().unwrap();
    for (session, act) in sessions {
        act(session);
    }
    end(child)
}

fn answers(session: &Session) {
    reply(session, &session.event(), "me");
}

fn leaves(session: &Session) {
    seen(session);
    session.close();
}

fn is_silent(session: &Session) {
    session.event();
}

#[test]
fn a_broadcast_exits_with_the_gravest_outcome() {
    let stage = Stage::settled(&["--limit", "open_asks=3"]);
    let (one, two) = (stage.session("one"), stage.session("two"));
    insta::assert_snapshot!(broadcast(&stage, &[(&one, answers), (&two, answers)]), @"
    exit status: 0
    --- stdout
    one: me
    two: me
    --- stderr
    2 asked: 2 answered
    ");

    // One that is asked as much as it may be refuses.
    let (asker, busy) = (stage.session("asker"), stage.held_session("busy"));
    for _ in 0..3 {
        ask(&asker, "busy", "?", 60);
    }
    insta::assert_snapshot!(broadcast(&stage, &[(&one, answers), (&two, answers), (&asker, answers)]), @"
    exit status: 1
    --- stdout
    one: me
    two: me
    asker: me
    --- stderr
    busy was not asked: 3 asks wait for busy; the limit is 3
    4 asked: 3 answered, 1 refused
    error: not everybody answered
    next: relayctl peers
    ");
    insta::assert_snapshot!(broadcast(&stage, &[(&one, answers), (&two, answers), (&asker, leaves)]), @"
    exit status: 5
    --- stdout
    one: me
    two: me
    --- stderr
    busy was not asked: 3 asks wait for busy; the limit is 3
    asker went away before it answered: the question was delivered to the session; not confirmed that its model has read it
    4 asked: 2 answered, 1 went away, 1 refused
    error: not everybody answered
    next: relayctl peers
    ");
    drop(busy);
    stage.wait_for_peers(&one, |peers| peers.len() == 1);
    let third = stage.session("three");
    insta::assert_snapshot!(broadcast(&stage, &[(&one, answers), (&two, leaves), (&third, is_silent)]), @"
    exit status: 4
    --- stdout
    one: me
    --- stderr
    two went away before it answered: the question was delivered to the session; not confirmed that its model has read it
    three did not answer within 2s: the question was delivered to the session; not confirmed that its model has read it
    3 asked: 1 answered, 1 timed out, 1 went away
    error: not everybody answered
    next: relayctl peers
    ");
}

#[test]
fn an_interrupted_ask_is_withdrawn() {
    let stage = Stage::new(&HUB);
    let backend = stage.session("backend");
    for way in [Signal::INT, Signal::TERM, Signal::HUP] {
        let child = stage.relayctl(&["ask", "backend", "?"]).spawn().unwrap();
        let question = backend.event();
        signal(&child, way);
        let start = Instant::now();
        // A loop of a shell ends only if its command dies of the signal.
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.signal(), output.stderr.as_slice()), (Some(way.as_raw()), b"".as_slice()));
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        let late = backend.call("relay_reply", json!({"ask_id": question.get("ask_id"), "text": "?"}));
        assert_eq!(late.code(), "unknown_ask");
        assert!(late.json["error"]["message"].as_str().unwrap().contains("withdrawn"), "{}", late.json);
    }
}

#[test]
fn a_killed_relayctl_leaves_nothing_open() {
    let stage = Stage::settled(&HUB);
    let (web, backend) = (stage.session("web"), stage.session("backend"));
    let mut child = stage.relayctl(&["ask", "backend", "?"]).spawn().unwrap();
    let question = backend.event();
    signal(&child, Signal::KILL);
    child.wait().unwrap();
    stage.wait_for_peers(&web, |peers| peers[0]["open_asks"]["received"] == 0);
    let late = backend.call("relay_reply", json!({"ask_id": question.get("ask_id"), "text": "?"}));
    assert_eq!(late.code(), "unknown_ask");
    let status = stage.relayctl(&["status", "--json"]).output().unwrap();
    assert!(String::from_utf8_lossy(&status.stdout).contains("\"open_asks\":0"), "{}", told(&status));
}

#[test]
fn an_ask_from_the_shell_outlives_the_hub() {
    let mut stage = Stage::new(&HUB);
    let backend = stage.session("backend");
    let child = stage.relayctl(&["ask", "backend", "?"]).spawn().unwrap();
    let question = backend.event();
    stage.hub.kill_and_restart(&HUB);
    assert_eq!(reply(&backend, &question, "still here")["state"], "accepted");
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), b"still here\n".as_slice()));
}
