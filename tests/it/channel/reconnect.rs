//! A channel outlives its hub: none there at the start, killed, its socket deleted and made again.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::mcp::Session;
use crate::support::stage::{Stage, ask, name, reply};

const HUB: [&str; 0] = [];

/// The longest that a channel may need to find a hub that is back.
const BACK_WITHIN: Duration = Duration::from_secs(2);

/// Waits until a session's tools work again.
#[track_caller]
fn wait_until_back(session: &Session) {
    let start = Instant::now();
    while session.call("relay_peers", json!({})).is_error {
        assert!(start.elapsed() < BACK_WITHIN, "it is not back");
    }
    assert!(start.elapsed() < BACK_WITHIN, "{:?}", start.elapsed());
}

#[track_caller]
fn assert_they_talk(web: &Session, backend: &Session) {
    ask(web, "backend", "Back?", 60);
    reply(backend, &backend.event(), "Back.");
    assert_eq!(web.event().content, "Back.");
    assert_eq!((name(web).as_str(), name(backend).as_str()), ("web", "backend"));
}

#[test]
fn a_channel_without_a_hub_works_as_soon_as_one_comes() {
    let mut stage = Stage::new(&HUB);
    stage.hub.kill();
    std::fs::remove_dir_all(stage.hub.socket().parent().unwrap()).unwrap();
    let (web, backend) = (stage.start("web", "on"), stage.start("backend", "on"));
    assert_eq!(web.call("relay_ask", json!({"to": "backend", "question": "There?"})).code(), "hub_unreachable");
    stage.hub.start_again(&HUB);
    wait_until_back(&web);
    wait_until_back(&backend);
    assert_they_talk(&web, &backend);
}

#[test]
fn a_hub_that_is_killed_between_two_calls_is_not_missed() {
    let mut stage = Stage::new(&HUB);
    let (web, backend) = (stage.session("web"), stage.session("backend"));
    for round in 0..3 {
        stage.hub.kill_and_restart(&HUB);
        // No wait, no retry: the call itself finds the new hub.
        let asked = web.call("relay_ask", json!({"to": "backend", "question": format!("{round}?")})).ok();
        assert_eq!(asked["to"], "backend");
        let question = backend.event();
        assert!(question.content.starts_with(&format!("{round}?\n")), "{question:?}");
        stage.hub.kill_and_restart(&HUB);
        assert_eq!(reply(&backend, &question, "yes")["state"], "accepted");
        assert_eq!(web.event().content, "yes");
    }
    assert_they_talk(&web, &backend);
    for session in [&web, &backend] {
        assert_eq!(session.events_within(Duration::from_millis(300)), [], "nothing comes twice");
    }
}

#[test]
fn a_broadcast_outlives_its_hub_with_every_answer_and_one_tally() {
    let mut stage = Stage::settled(&HUB);
    let (lead, one, two) = (stage.session("lead"), stage.session("one"), stage.session("two"));
    lead.call("relay_broadcast", json!({"question": "Well?", "timeout_seconds": 60})).ok();
    let (first, second) = (one.event(), two.event());
    stage.hub.kill_and_restart(&HUB);
    reply(&one, &first, "1");
    stage.hub.kill_and_restart(&HUB);
    reply(&two, &second, "2");
    let told: Vec<String> =
        (0..3).map(|_| lead.event()).map(|event| event.kind().to_owned() + &event.content).collect();
    assert_eq!(told[..2], ["reply1", "reply2"]);
    assert!(told[2].starts_with("tally") && told[2].contains("Sessions asked: 2. Replied: 2."), "{told:?}");
    assert_eq!(lead.events_within(Duration::from_millis(300)), []);
}

#[test]
fn names_come_back_whoever_comes_first() {
    let mut stage = Stage::new(&HUB);
    let (first, second) = (stage.session("one/web"), stage.session("two/web"));
    let third = stage.session("three/web");
    third.call("relay_rename", json!({"name": "docs"})).ok();
    for _ in 0..3 {
        stage.hub.kill_and_restart(&HUB);
        assert_eq!([&second, &third, &first].map(name), ["web-2", "docs", "web"]);
    }
}

#[test]
fn hub_whose_socket_was_deleted_makes_room_for_the_next_one() {
    let mut stage = Stage::new(&HUB);
    let (web, backend) = (stage.session("web"), stage.session("backend"));
    std::fs::remove_file(stage.hub.socket()).unwrap();
    stage.hub.wait_for_log("the socket's path leads elsewhere");
    stage.hub.kill();
    stage.hub.start_again(&HUB);
    wait_until_back(&web);
    wait_until_back(&backend);
    assert_they_talk(&web, &backend);
}

#[test]
fn an_ask_ends_by_its_deadline_though_no_hub_comes_back() {
    let mut stage = Stage::new(&HUB);
    let (web, backend) = (stage.session("web"), stage.session("backend"));
    let start = Instant::now();
    let ask_id = ask(&web, "backend", "Quick?", 2);
    let question = backend.event();
    stage.hub.kill();
    let pending = reply(&backend, &question, "Too late for that.");
    assert_eq!(pending["state"], "pending");
    let end = web.event();
    assert_eq!((end.kind(), end.get("ask_id"), end.get("code")), ("failed", ask_id.as_str(), "timeout"));
    assert!(end.at - start < Duration::from_secs(3), "{:?}", end.at - start);
    // The reply was never taken, and its session is told so by the next hub: until then nobody can be certain.
    stage.hub.start_again(&HUB);
    let failed = backend.event_of("reply_failed");
    assert_eq!(failed.get("ask_id"), ask_id);
    assert_eq!(web.events_within(Duration::ZERO), []);
}
