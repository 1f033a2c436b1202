//! `relayctl tell`, and asks and broadcasts to some: what a script gets on each stream, and the exit code.

use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::stage::{Stage, reply, run, told};

const HUB: [&str; 0] = [];

#[test]
fn tell_that_was_delivered_is_0_and_silent() {
    let stage = Stage::new(&HUB);
    let backend = stage.session("backend");
    insta::assert_snapshot!(run(stage.relayctl(&["tell", "backend", "the", "build", "is", "green"])), @"
    exit status: 0
    --- stdout
    --- stderr
    ");
    let event = backend.event();
    assert_eq!((event.kind(), event.get("from")), ("tell", "shell"));
    assert!(event.content.starts_with("the build is green\n"), "{}", event.content);

    let output = stage.relayctl(&["tell", "backend", "done", "--json"]).output().unwrap();
    let outcome: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&outcome["type"], &outcome["outcome"]), (&json!("outcome"), &json!("handed_over")));
    assert_eq!(outcome["tell_id"], backend.event_of("tell").get("tell_id"));

    let mut child = stage.relayctl(&["tell", "backend", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"from a pipe\n").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(backend.event().content.starts_with("from a pipe\n"));
}

#[test]
fn tell_that_was_not_delivered_has_the_exit_codes_of_an_ask() {
    let stage = Stage::settled(&HUB);
    let backend = stage.held_session("backend");
    insta::assert_snapshot!(run(stage.relayctl(&["tell", "backend", "done", "--timeout", "1s"])), @"
    exit status: 4
    --- stdout
    --- stderr
    told backend, which sees this at its next prompt only, waiting (1s)…
    error: backend did not see it within 1s, as far as is known: the message was held by the hub: nothing could wake the session, which has not seen it (timeout)
    next: # nothing wakes the session backend: type something there, then try again
    ");
    insta::assert_snapshot!(run(stage.relayctl(&["tell", "backnd", "done"])), @"
    exit status: 6
    --- stdout
    --- stderr
    error: no session is named backnd; similar names: backend (peer_not_found)
    next: relayctl peers
    ");
    insta::assert_snapshot!(run(stage.relayctl(&["tell", "backend", " "])), @"
    exit status: 2
    --- stdout
    --- stderr
    error: the message is empty (bad_args)
    next: # write it as an argument; with - it is read from standard input
    ");
    let child = stage.relayctl(&["tell", "backend", "done"]).spawn().unwrap();
    let web = stage.session("web");
    stage.wait_for_peers(&web, |peers| peers.iter().any(|peer| peer["open_asks"]["received"] == 1));
    drop(backend);
    insta::assert_snapshot!(told(&child.wait_with_output().unwrap()), @"
    exit status: 5
    --- stdout
    --- stderr
    told backend, which sees this at its next prompt only, waiting (2m)…
    error: backend went away before it was known to have seen it: the message was held by the hub: nothing could wake the session, which has not seen it (peer_gone)
    next: relayctl peers
    ");
}

#[test]
fn tell_that_is_interrupted_is_taken_back() {
    let stage = Stage::settled(&HUB);
    let (web, backend) = (stage.session("web"), stage.held_session("backend"));
    let mut child = stage.relayctl(&["tell", "backend", "done"]).spawn().unwrap();
    stage.wait_for_peers(&web, |peers| peers.iter().any(|peer| peer["open_asks"]["received"] == 1));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), None, "it dies of the signal");
    stage.wait_for_peers(&web, |peers| peers.iter().all(|peer| peer["open_asks"]["received"] == 0));
    assert!(backend.call("relay_peers", json!({})).ok().get("messages").is_none());
}

#[test]
fn several_are_asked_by_their_names_and_the_others_are_not() {
    let stage = Stage::settled(&HUB);
    let [web, api, ops] = ["web", "api", "ops"].map(|folder| stage.session(folder));
    for arguments in [["ask", "web,api", "ready?"].as_slice(), &["broadcast", "--to", "web, api", "ready?"]] {
        let child = stage.relayctl(arguments).spawn().unwrap();
        for session in [&api, &web] {
            let question = session.event();
            reply(session, &question, "yes");
        }
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let mut lines: Vec<&str> = std::str::from_utf8(&output.stdout).unwrap().lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["api: yes", "web: yes"]);
    }
    assert_eq!(ops.events_within(Duration::from_millis(200)), []);
    insta::assert_snapshot!(run(stage.relayctl(&["ask", "wbe,pai", "ready?"])), @"
    exit status: 6
    --- stdout
    --- stderr
    wbe was not asked: no session is named wbe; similar names: web
    pai was not asked: no session is named pai; similar names: api
    2 asked: 2 refused
    error: not everybody answered
    next: relayctl peers
    ");
}

#[test]
fn who_would_be_asked_is_listed_and_nobody_asked() {
    let stage = Stage::settled(&HUB);
    let sessions = ["web", "team/api", "team/docs"].map(|folder| stage.session(folder));
    let mut below = stage.relayctl(&["broadcast", "--list", "--in", "team"]);
    below.current_dir(stage.folders());
    insta::assert_snapshot!(run(below), @"
    exit status: 0
    --- stdout
    api
    docs
    --- stderr
    ");
    insta::assert_snapshot!(run(stage.relayctl(&["broadcast", "--list", "--to", "web,dosc"])), @"
    exit status: 1
    --- stdout
    web
    --- stderr
    dosc was not asked: no session is named dosc; similar names: docs
    error: not all of these sessions are there
    next: relayctl peers
    ");
    insta::assert_snapshot!(run(stage.relayctl(&["broadcast", "--list", "--in", "/nowhere"])), @"
    exit status: 6
    --- stdout
    --- stderr
    error: no session works in /nowhere or below it (peer_not_found)
    next: relayctl peers
    ");
    insta::assert_snapshot!(run(stage.relayctl(&["broadcast", "--list", "--json"])), @r#"
    exit status: 0
    --- stdout
    {"schema":1,"type":"audience","names":["api","docs","web"],"refused":[],"settling":false}
    --- stderr
    "#);
    for session in &sessions {
        assert_eq!(session.events_within(Duration::ZERO), []);
    }
}
