//! A session's channel ends and its client starts another: what the next one is told, and what the session's second may say.

use std::time::Duration;

use relay::hub::{CloseReason, GONE_WAIT, Input, Limits, SETTLING};
use relay::protocol::{Activity, AskState, Bequest, ClientKind, ClientMessage, HubMessage, PeerKey, Presence, Seat};
use relay::protocol::{SessionFacts, Wake};

use crate::support::hub::{Actor, Stage, id, progress};

const NONE: [&str; 0] = [];

/// A channel of the session of the client process 4711.
fn seated(stage: &mut Stage, number: u8, seat: Seat) -> Actor {
    let presence = Presence { status: Activity::Idle, wakes_by: Wake::Channel };
    let facts = SessionFacts {
        name: None,
        cwd: "/w/web".to_owned(),
        branch: None,
        pid: 4711,
        start: Some(1),
        seat: Some(seat),
        client: None,
        presence,
    };
    stage.hello(PeerKey::from_bytes([number; 16]), ClientKind::Channel(facts))
}

/// A seated session `web`, and `api`, which it may ask.
fn pair() -> (Stage, Actor, Actor) {
    let mut stage = Stage::new();
    let (web, api) = (seated(&mut stage, 0xc0, Seat::default()), stage.session("/w/api"));
    stage.hush();
    (stage, web, api)
}

/// The channel dies, and after this time its client starts another, which is told these things.
fn successor(stage: &mut Stage, dead: Actor, after: Duration) -> (Actor, Vec<String>) {
    stage.tell(Input::Disconnected { conn: dead.conn });
    stage.tell(Input::ProcessEnded { conn: dead.conn });
    stage.pass(after);
    let heir = seated(stage, 0xc1, Seat::default());
    let told = told(stage, heir);
    (Actor { key: dead.key, ..heir }, told)
}

fn told(stage: &mut Stage, heir: Actor) -> Vec<String> {
    let line = |message: HubMessage| match message {
        HubMessage::Bequest { bequest: Bequest::Ask { ask_id, state, .. }, .. } => {
            Some(format!("asked {ask_id} {state:?}"))
        }
        HubMessage::Bequest { bequest: Bequest::Received { ask_id, .. }, .. } => Some(format!("received {ask_id}")),
        HubMessage::Bequest { bequest: Bequest::Message { content, .. }, .. } => Some(content),
        HubMessage::Bequest { .. } => Some("something else".to_owned()),
        HubMessage::Failed(event) => Some(format!("failed {} {}", event.ask_id, event.code)),
        _ => None,
    };
    stage.messages(heir.conn).into_iter().filter_map(line).collect()
}

#[test]
fn what_has_failed_while_nobody_was_there_is_told_to_the_successor_and_nothing_older() {
    let (mut stage, web, api) = pair();
    let db = stage.session("/w/db");
    stage.ask(web, 1, "api", "before?");
    stage.ask(db, 7, "api", "mine?");
    stage.say(api.conn, ClientMessage::Bye {});
    assert_eq!(stage.heard(web).last().unwrap(), "failed: peer_gone after Accepted");
    stage.pass(Duration::from_secs(1));
    stage.ask(web, 2, "db", "ready?");
    let cache = stage.session("/w/cache");
    stage.ask(web, 3, "cache", "ready?");
    stage.ask(db, 8, "cache", "ready?");
    stage.tell(Input::Disconnected { conn: web.conn });
    stage.say(cache.conn, ClientMessage::Bye {});
    let (_, told) = successor(&mut stage, web, GONE_WAIT / 2);
    let (open, gone) = (id(2), id(3));
    let expected =
        [format!("asked {open} Accepted"), format!("asked {gone} Accepted"), format!("failed {gone} peer_gone")];
    assert_eq!(told, expected, "its own, in their order, and what failed before it had heard itself");
}

#[test]
fn what_a_channel_does_not_say_when_it_leaves_its_successor_hears_from_the_hub() {
    let (mut stage, web, api) = pair();
    stage.ask(web, 1, "api", "ready?");
    stage.ask(web, 2, "api", "and then?");
    let bequest = Bequest::Ask {
        ask_id: id(1),
        to: "api".to_owned(),
        question: None,
        timeout_ms: 60_000,
        bound: api.key.tag(),
        state: AskState::Accepted,
        broadcast_id: None,
    };
    stage.say(web.conn, ClientMessage::Bequest { bequest });
    stage.say(web.conn, ClientMessage::Bye {});
    stage.pass(Duration::from_secs(1));
    let heir = seated(&mut stage, 0xc1, Seat::default());
    let told = stage.messages(heir.conn).into_iter().filter_map(|message| match message {
        HubMessage::Bequest { waited_ms, bequest: Bequest::Ask { ask_id, timeout_ms, .. } } => {
            Some((ask_id, waited_ms, timeout_ms))
        }
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), [(id(2), 0, 59_000), (id(1), 1000, 60_000)], "each of them once");
}

#[test]
fn a_message_about_an_ask_that_has_ended_meanwhile_is_not_handed_on() {
    let (mut stage, web, api) = pair();
    stage.ask(api, 1, "web", "ready?");
    stage.ask(api, 2, "web", "and then?");
    for n in [1, 2] {
        stage.say(web.conn, progress(n, AskState::Held, None));
        let (content, meta) = (format!("question {n}"), serde_json::Map::new());
        stage
            .say(web.conn, ClientMessage::Bequest { bequest: Bequest::Message { ask_id: Some(id(n)), content, meta } });
    }
    stage.say(web.conn, ClientMessage::Bye {});
    stage.say(api.conn, ClientMessage::Withdraw { ask_id: id(1) });
    let heir = seated(&mut stage, 0xc1, Seat::default());
    assert_eq!(told(&mut stage, heir), [format!("received {}", id(2)), "question 2".to_owned()]);
}

#[test]
fn a_second_speaks_for_its_session_while_the_hub_settles_as_well() {
    let mut stage = Stage::settling(Limits::default(), None);
    let web = seated(&mut stage, 0xc0, Seat::default());
    let second = seated(&mut stage, 0xc1, Seat { turn: 0, second: true });
    stage.hush();
    stage.reply(second, id(1), "yes");
    assert_eq!(stage.heard(second), NONE, "its asker may be coming back");
    stage.pass(SETTLING);
    assert_eq!(stage.heard(second), ["refused: unknown_ask"]);
    assert_eq!(stage.heard(web), ["Waiter { tag: None }"]);
}

#[test]
fn a_session_that_its_second_renames_knows_its_name() {
    let (mut stage, web, _api) = pair();
    let second = seated(&mut stage, 0xc1, Seat::default());
    stage.hush();
    for told in [1, 0] {
        stage.say(second.conn, ClientMessage::Rename { id: 5, name: "front".to_owned() });
        assert_eq!(stage.heard(second), ["renamed front"]);
        assert_eq!(stage.heard(web), vec!["renamed front"; told]);
    }
}

#[test]
fn a_session_has_one_answer_whichever_channel_gives_it() {
    let (mut stage, web, api) = pair();
    let second = seated(&mut stage, 0xc1, Seat::default());
    stage.ask(api, 1, "web", "ready?");
    stage.say(web.conn, progress(1, AskState::Shown, None));
    stage.hush();
    stage.reply(second, id(1), "yes");
    stage.taken(api, id(1), web);
    assert_eq!(stage.heard(second), ["api has the reply"]);
    assert_eq!(stage.heard(web), ["closed"]);
    stage.reply(web, id(1), "yes");
    stage.reply(web, id(1), "no");
    assert_eq!(stage.heard(web), ["api has the reply", "refused: unknown_ask"]);
    stage.ask(api, 2, "web", "and now?");
    stage.hush();
    stage.reply(web, id(2), "no");
    stage.taken(api, id(2), web);
    assert_eq!(stage.heard(web), ["api has the reply"], "it knows that it has answered");
}

#[test]
fn a_question_that_went_with_its_channel_is_over() {
    let (mut stage, web, api) = pair();
    stage.ask(api, 1, "web", "ready?");
    stage.ask(api, 2, "web", "and then?");
    stage.say(web.conn, progress(1, AskState::Held, None));
    stage.say(web.conn, progress(2, AskState::HandedOver, None));
    stage.hush();
    let (_, told) = successor(&mut stage, web, GONE_WAIT / 2);
    assert_eq!(told, [format!("received {}", id(2))], "its session was given the other");
    assert_eq!(stage.heard(api), ["failed: peer_gone after Held"]);
}

#[test]
fn an_answer_goes_to_the_second_that_it_is_for() {
    let (mut stage, web, _api) = pair();
    let seconds = [0xc1, 0xc2, 0xc3].map(|number| seated(&mut stage, number, Seat::default()));
    stage.hush();
    let answer = Box::new(HubMessage::Replied { id: 5, ask_id: id(1), to: "api".to_owned() });
    stage.say(web.conn, ClientMessage::Answer { to: seconds[1].key.tag(), answer });
    assert_eq!(seconds.map(|second| stage.heard(second).len()), [0, 1, 0]);
}

#[test]
fn who_waits_for_its_place_is_heard_only_if_it_leaves() {
    let mut stage = Stage::settling(Limits::default(), None);
    let second = seated(&mut stage, 0xc1, Seat { turn: 0, second: true });
    stage.say(second.conn, ClientMessage::Peers { id: 3 });
    assert_eq!(stage.heard(second), NONE);
    stage.say(second.conn, ClientMessage::Bye {});
    assert_eq!(stage.closed(second.conn), Some(CloseReason::Bye));
}
