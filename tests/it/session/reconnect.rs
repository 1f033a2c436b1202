//! A session is one peer, whatever channels its client starts: one after the other (`/mcp`, Reconnect), or two at once.
//!
//! This test process is the sessions' client, so each hub has one such session. The others are clients of their own.

use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::claude_code;
use crate::support::mcp::{Builder, Session};
use crate::support::stage::{Stage, ask, name, reply};

/// How long a test looks whether something comes that must not.
const QUIET: Duration = Duration::from_millis(300);

/// Returns a channel of the session named `web`, about to be started, with channel events `on` or `off`.
fn web(stage: &Stage, channel: &str) -> Builder {
    let folder = stage.folders().join("web");
    std::fs::create_dir_all(&folder).unwrap();
    claude_code::session(&stage.hub, &folder, stage.folders()).env("RELAY_CHANNEL", channel)
}

/// Starts a channel of the session and waits until it knows its place.
fn start(stage: &Stage, channel: &str) -> Session {
    let session = web(stage, channel).start();
    session.call("relay_peers", json!({})).ok();
    session
}

/// Ends a channel as Claude Code does.
fn leave(channel: Session) {
    channel.signal(Signal::INT);
    channel.wait();
    std::thread::sleep(Duration::from_millis(200));
}

/// Ends a channel, and starts the next one a moment later.
fn reconnect(stage: &Stage, old: Session, channel: &str) -> Session {
    leave(old);
    start(stage, channel)
}

/// Returns the names that a session sees.
fn peers(of: &Session) -> Vec<String> {
    let listed = of.call("relay_peers", json!({})).ok();
    listed["peers"].as_array().unwrap().iter().map(|peer| peer["name"].as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn assert_nothing_more(sessions: &[&Session]) {
    for session in sessions {
        assert_eq!(session.events_within(QUIET), []);
    }
}

#[test]
fn a_new_channel_has_the_name_and_the_asks_of_the_last_one() {
    let stage = Stage::new(&[]);
    let backend = stage.session("backend");
    let old = start(&stage, "on");
    old.call("relay_rename", json!({"name": "front"})).ok();
    let sent = ask(&old, "backend", "Is it green?", 60);
    let question = backend.event();
    let received = ask(&backend, "front", "Which port?", 60);
    assert_eq!(old.event().get("ask_id"), received);

    let new = reconnect(&stage, old, "on");
    assert_eq!((name(&new).as_str(), peers(&backend)), ("front", vec!["front".to_owned()]));
    assert_eq!(reply(&backend, &question, "It is.")["state"], "accepted");
    let outcome = new.event();
    assert_eq!((outcome.kind(), outcome.get("ask_id"), outcome.content.as_str()), ("reply", sent.as_str(), "It is."));
    let answered = new.call("relay_reply", json!({"ask_id": received, "text": "8080."})).ok();
    assert_eq!((&answered["state"], &answered["to"]), (&json!("accepted"), &json!("backend")));
    assert_eq!(backend.event().content, "8080.");
    assert_nothing_more(&[&new, &backend]);
}

#[test]
fn what_the_last_channel_had_not_shown_is_shown_by_the_next_one_and_only_once() {
    let stage = Stage::new(&[]);
    let backend = stage.session("backend");
    let old = start(&stage, "off");
    ask(&old, "backend", "Is it green?", 60);
    reply(&backend, &backend.event(), "It is.");
    let received = ask(&backend, "web", "Which port?", 60);

    // One in between that calls no tool shows nothing.
    leave(old);
    let middle = web(&stage, "off").start();
    std::thread::sleep(QUIET);
    leave(middle);
    let new = web(&stage, "off").start();
    std::thread::sleep(QUIET);
    let shown = |result: Value| result["messages"].to_string();
    let mut all = shown(new.call("relay_peers", json!({})).ok());
    all.push_str(&shown(new.call("relay_peers", json!({})).ok()));
    assert_eq!((all.matches("It is.").count(), all.matches("Which port?").count()), (1, 1), "{all}");
    assert_eq!(new.call("relay_reply", json!({"ask_id": received, "text": "8080."})).ok()["state"], "accepted");
    assert_eq!(backend.event().content, "8080.");
}

#[test]
fn a_deadline_and_a_tally_pass_to_the_next_channel() {
    let stage = Stage::settled(&[]);
    let (one, two) = (stage.session("one"), stage.session("two"));
    let old = start(&stage, "on");
    let sent = Instant::now();
    let quick = ask(&old, "one", "Quick?", 3);
    let _ignored = one.event();
    old.call("relay_broadcast", json!({"question": "Well?", "timeout_seconds": 60})).ok();
    let (first, second) = (one.event(), two.event());
    reply(&one, &first, "1");
    assert_eq!(old.event().content, "1");

    let new = reconnect(&stage, old, "on");
    let end = new.event();
    assert_eq!((end.kind(), end.get("ask_id"), end.get("code")), ("failed", quick.as_str(), "timeout"));
    assert!((end.at - sent).as_millis().abs_diff(3000) < 1000, "{:?}", end.at - sent);
    reply(&two, &second, "2");
    assert_eq!(new.event().content, "2");
    let tally = new.event();
    assert!(tally.content.contains("Sessions asked: 2. Replied: 2."), "{tally:?}");
    assert_nothing_more(&[&new]);
}

#[test]
fn what_was_taken_over_outlives_the_hub() {
    let mut stage = Stage::new(&[]);
    let backend = stage.session("backend");
    let old = start(&stage, "on");
    ask(&old, "backend", "Before?", 60);
    let before = backend.event();
    let received = ask(&backend, "web", "Which port?", 60);
    old.event();
    stage.hub.kill_and_restart(&[]);
    ask(&old, "backend", "After?", 60);
    let after = backend.event();

    let new = reconnect(&stage, old, "on");
    stage.hub.kill_and_restart(&[]);
    reply(&backend, &before, "1");
    reply(&backend, &after, "2");
    assert_eq!([new.event().content, new.event().content], ["1", "2"]);
    stage.hub.kill_and_restart(&[]);
    new.call("relay_reply", json!({"ask_id": received, "text": "8080."})).ok();
    assert_eq!(backend.event().content, "8080.");
    assert_eq!((name(&new).as_str(), peers(&backend)), ("web", vec!["web".to_owned()]));
    assert_nothing_more(&[&new, &backend]);
}

#[test]
fn after_a_killed_channel_the_next_one_has_its_name_and_what_the_hub_knows_of_its_asks() {
    let stage = Stage::new(&[]);
    let backend = stage.session("backend");
    let old = start(&stage, "on");
    old.call("relay_rename", json!({"name": "front"})).ok();
    ask(&old, "backend", "Is it green?", 60);
    let question = backend.event();
    let received = ask(&backend, "front", "Which port?", 60);
    old.event();
    old.call("relay_peers", json!({})).ok();
    old.signal(Signal::KILL);
    old.wait();

    let new = start(&stage, "off");
    assert_eq!(name(&new), "front");
    new.call("relay_reply", json!({"ask_id": received, "text": "8080."})).ok();
    assert_eq!(backend.event().content, "8080.");
    reply(&backend, &question, "It is.");
    let messages = new.call("relay_peers", json!({})).ok()["messages"].to_string();
    assert!(messages.contains("It is."), "{messages}");

    // The text of what is held was with the killed channel alone: such an ask ends with its deadline.
    let held = ask(&backend, "front", "And which host?", 3);
    std::thread::sleep(QUIET);
    new.signal(Signal::KILL);
    new.wait();
    let last = start(&stage, "on");
    let end = backend.event();
    assert_eq!((end.get("ask_id"), end.get("code"), end.get("state")), (held.as_str(), "timeout", "held"));
    assert_eq!(name(&last), "front");
    assert_nothing_more(&[&last, &backend]);
}

#[test]
fn nobody_is_waited_for_longer_than_two_seconds_and_not_at_all_once_the_client_has_ended() {
    let stage = Stage::settled(&[]);
    let backend = stage.session("backend");
    let old = start(&stage, "on");
    ask(&old, "backend", "Hm?", 60);
    let question = backend.event();
    let unanswered = ask(&backend, "web", "Well?", 60);
    old.event();
    old.close();
    let left = Instant::now();
    let end = backend.event();
    assert_eq!((end.get("code"), end.get("ask_id")), ("peer_gone", unanswered.as_str()));
    assert!(end.at - left < Duration::from_secs(4), "{:?}", end.at - left);
    let late = backend.call("relay_reply", json!({"ask_id": question.get("ask_id"), "text": "What?"}));
    assert_eq!(late.code(), "unknown_ask");

    // This client is a shell, which is killed; its channel sees the end of its input.
    let script = "exec 3<&0; \"$0\" <&3 3<&- & exec 3<&- <&-; wait";
    let mut shell = Command::new("sh");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_relay-channel")]);
    shell.env("CLAUDECODE", "1").env("CLAUDE_CODE_ENTRYPOINT", "cli").env("RELAY_CHANNEL", "on");
    let folder = stage.folders().join("web");
    let client = Session::builder_of(shell).socket(&stage.hub.socket()).cwd(&folder).start();
    client.call("relay_peers", json!({})).ok();
    ask(&backend, "web", "Well?", 60);
    client.event();
    client.signal(Signal::KILL);
    client.wait();
    client.close();
    let left = Instant::now();
    let end = backend.event();
    assert_eq!(end.get("code"), "peer_gone");
    assert!(end.at - left < Duration::from_millis(1500), "not after two seconds: {:?}", end.at - left);
}

#[test]
fn two_channels_at_once_are_one_peer_with_two_servers() {
    let mut stage = Stage::settled(&[]);
    let backend = stage.session("backend");
    let first = start(&stage, "on");
    let second = start(&stage, "on");
    assert_eq!(peers(&backend), ["web"]);
    for server in [&first, &second] {
        assert_eq!((name(server).as_str(), peers(server)), ("web", vec!["backend".to_owned()]));
        assert_eq!(server.call("relay_ask", json!({"to": "web", "question": "Me?"})).code(), "bad_args");
        assert_eq!(server.call("relay_ask", json!({"to": "nobody", "question": "You?"})).code(), "peer_not_found");
    }

    // Whichever server is asked: the question is shown once, and the outcome comes once, to the same session.
    for server in [&first, &second] {
        let sent = ask(server, "backend", "Is it green?", 60);
        let question = backend.event();
        assert_eq!((question.get("ask_id"), question.get("from")), (sent.as_str(), "web"));
        reply(&backend, &question, "It is.");
        assert_eq!((first.event().get("ask_id"), second.event_within(QUIET)), (sent.as_str(), None));

        let received = ask(&backend, "web", "Which port?", 60);
        assert_eq!((first.event().get("ask_id"), second.event_within(QUIET)), (received.as_str(), None));
        server.call("relay_reply", json!({"ask_id": received, "text": "8080."})).ok();
        assert_eq!(backend.event().content, "8080.");
        let again = first.call("relay_reply", json!({"ask_id": received, "text": "8081."}));
        assert_eq!(again.code(), "unknown_ask");
    }

    // A broadcast reaches the session once, and one of its second server reaches the others.
    let asked = backend.call("relay_broadcast", json!({"question": "Well?", "timeout_seconds": 60})).ok();
    assert_eq!(asked["asks"].as_array().unwrap().len(), 1);
    second.call("relay_reply", json!({"ask_id": first.event().get("ask_id"), "text": "Well."})).ok();
    assert_eq!([backend.event().kind().to_owned(), backend.event().kind().to_owned()], ["reply", "tally"]);
    let asked = second.call("relay_broadcast", json!({"question": "And you?", "timeout_seconds": 60})).ok();
    assert_eq!(asked["asks"][0]["to"], "backend");
    reply(&backend, &backend.event(), "Fine.");
    assert_eq!([first.event().kind().to_owned(), first.event().kind().to_owned()], ["reply", "tally"]);

    second.call("relay_rename", json!({"name": "front"})).ok();
    assert_eq!([name(&first), name(&second)], ["front", "front"]);

    // A new hub finds the same peer, whoever comes first.
    let open = ask(&second, "backend", "Still there?", 60);
    let question = backend.event();
    stage.hub.kill_and_restart(&[]);
    assert_eq!([name(&first), name(&second)], ["front", "front"]);
    assert_eq!(peers(&backend), ["front"]);
    reply(&backend, &question, "Yes.");
    assert_eq!(first.event().get("ask_id"), open);
    assert_nothing_more(&[&first, &second, &backend]);
}

#[test]
fn when_the_first_of_two_channels_goes_the_second_is_the_peer_with_all_that_was_open() {
    for signal in [Signal::INT, Signal::KILL] {
        let stage = Stage::settled(&[]);
        let backend = stage.session("backend");
        let (first, second) = (start(&stage, "on"), start(&stage, "on"));
        let sent = [ask(&first, "backend", "One?", 60), ask(&second, "backend", "Two?", 60)];
        let questions = [backend.event(), backend.event()];
        let received = ask(&backend, "web", "Which port?", 60);
        first.event();
        first.call("relay_peers", json!({})).ok();
        first.signal(signal);
        first.wait();

        for (question, sent) in questions.iter().zip(sent) {
            reply(&backend, question, "Yes.");
            assert_eq!(second.event().get("ask_id"), sent, "{signal:?}");
        }
        second.call("relay_reply", json!({"ask_id": received, "text": "8080."})).ok();
        assert_eq!(backend.event().content, "8080.");
        assert_eq!((name(&second).as_str(), peers(&backend)), ("web", vec!["web".to_owned()]));
        assert_nothing_more(&[&second, &backend]);
    }
}
