//! A session's channel leaves and its agent starts another: what the next one gets, and what happens meanwhile.

use std::time::Duration;

use relay::hub::{CloseReason, GONE_WAIT, Input, Limits};
use relay::protocol::{Answer, AskState, PARKED_MAX_BYTES, Welcome};
use serde_json::{Value, json};

use crate::support::hub::{Actor, Stage, id, park, progress, session_id};

const NONE: [&str; 0] = [];

/// A session `web`, and `api`, which it may ask.
fn pair() -> (Stage, Actor, Actor) {
    let mut stage = Stage::new();
    let (web, api) = (stage.session("/w/web"), stage.session("/w/api"));
    stage.hush();
    (stage, web, api)
}

/// A channel parks this and leaves.
fn leave(stage: &mut Stage, actor: Actor, value: Value) {
    stage.say(actor.conn, park(value));
    stage.bye(actor);
    assert_eq!(stage.closed(actor.conn), Some(CloseReason::Bye));
}

fn welcome(stage: &mut Stage, actor: Actor) -> Box<Welcome> {
    match stage.answers(actor.conn).into_iter().next() {
        Some(Answer::Welcome(welcome)) => welcome,
        other => panic!("no welcome: {other:?}"),
    }
}

#[test]
fn parked_value_is_given_to_the_next_channel_once() {
    let (mut stage, web, _api) = pair();
    leave(&mut stage, web, json!({"a": [1]}));
    assert_eq!(stage.awaited.get(&web.conn), Some(&session_id(web.number)));
    assert!(stage.hub.is_between_channels());
    stage.pass(GONE_WAIT - Duration::from_millis(1));
    let next = stage.back(web, "/w/web", None);
    let welcomed = welcome(&mut stage, next);
    assert_eq!((welcomed.parked, welcomed.name.unwrap().as_str()), (Some(json!({"a": [1]})), "web"));
    assert!(!stage.hub.is_between_channels());
    let again = stage.back(web, "/w/web", None);
    assert_eq!(welcome(&mut stage, again).parked, None);
}

#[test]
fn parked_session_keeps_its_asks_and_questions_for_it_wait() {
    let (mut stage, web, api) = pair();
    stage.ask(web, 1, "api", "ready?");
    stage.ask(api, 2, "web", "and you?");
    stage.say(web.conn, progress(2, AskState::Shown));
    stage.hush();
    leave(&mut stage, web, json!(1));
    stage.reply(api, id(1), "yes");
    stage.ask(api, 3, "web", "still there?");
    assert_eq!(stage.heard(api), ["accepted for web: Accepted"]);
    let next = stage.back(web, "/w/web", None);
    let heard = stage.heard(next);
    assert_eq!(heard[1..], ["api answers: yes", "api asks: still there? (60 s)"], "{heard:?}");
    stage.reply(next, id(2), "yes, all along");
    assert_eq!(stage.heard(api), ["web answers: yes, all along"]);
}

#[test]
fn welcome_lists_the_open_asks_of_a_session_that_is_back() {
    let (mut stage, web, api) = pair();
    for n in 1..=3 {
        stage.ask(web, n, "api", "ready?");
    }
    stage.say(api.conn, progress(2, AskState::Shown));
    stage.reply(api, id(1), "yes");
    stage.taken(web, id(1), api);
    stage.pass(Duration::from_secs(10));
    stage.lose(web);
    let next = stage.back(web, "/w/web", None);
    let sent = welcome(&mut stage, next).sent;
    let sent: Vec<_> =
        sent.iter().map(|ask| (ask.ask_id, ask.to.as_str(), ask.tag, ask.state, ask.timeout_ms)).collect();
    let open = |n, state| (id(n), "api", api.tag, state, 50_000);
    assert_eq!(sent, [open(2, AskState::Shown), open(3, AskState::Accepted)]);
    let db = stage.session("/w/db");
    assert_eq!(welcome(&mut stage, db).sent, []);
}

#[test]
fn parked_session_is_gone_with_its_agent_or_after_a_wait() {
    for agent_ends in [true, false] {
        let (mut stage, web, api) = pair();
        stage.ask(api, 1, "web", "ready?");
        stage.hush();
        leave(&mut stage, web, json!(1));
        if agent_ends {
            stage.tell(Input::ProcessEnded { conn: web.conn });
        } else {
            stage.pass(GONE_WAIT - Duration::from_millis(1));
            assert_eq!(stage.heard(api), NONE);
            stage.pass(Duration::from_millis(1));
        }
        assert_eq!(stage.heard(api), ["failed: peer_gone after Accepted"]);
        let next = stage.back(web, "/w/web", None);
        assert_eq!(welcome(&mut stage, next).parked, None, "too late");
        stage.bye(next);
        stage.bye(api);
        assert!(stage.hub.is_quiet(), "{:?}", stage.hub);
    }
}

#[test]
fn parked_values_are_bounded_alone_and_together() {
    let mut stage = Stage::with_limits(Limits { held_bytes: 400, ..Limits::default() });
    let sessions: Vec<Actor> = (0..5).map(|n| stage.session(&format!("/w/s{n}"))).collect();
    for session in &sessions {
        leave(&mut stage, *session, json!("x".repeat(90)));
    }
    let kept = sessions.iter().filter(|session| stage.awaited.contains_key(&session.conn)).count();
    assert_eq!(kept, 4, "the fifth one left as any other");

    let (mut stage, web, _api) = pair();
    stage.say(web.conn, park(json!("x".repeat(PARKED_MAX_BYTES - 2))));
    assert!(stage.hub.is_between_channels());
    stage.say(web.conn, park(json!("x".repeat(PARKED_MAX_BYTES - 1))));
    assert!(!stage.hub.is_between_channels(), "a later value takes the place of an earlier one");
}

#[test]
fn control_client_parks_nothing() {
    let mut stage = Stage::new();
    let tool = stage.tool();
    leave(&mut stage, tool, json!(1));
    assert!(stage.awaited.is_empty() && stage.hub.is_quiet());
}
