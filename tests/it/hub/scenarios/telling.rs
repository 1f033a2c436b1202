//! The way of a tell: it ends when its session was shown it, and takes no reply.

use relay::hub::{GONE_WAIT, GRACE, Limits};
use relay::protocol::{AskState, ErrorCode, Wake};
use std::time::Duration;

use crate::support::hub::{Actor, Stage, final_progress, id, presence, progress, tell, watch, withdraw};
use relay::protocol::{Activity, ClientMessage, Notice};

const NONE: [&str; 0] = [];

/// A stage with a teller `web` and a told `api`.
fn pair() -> (Stage, Actor, Actor) {
    let mut stage = Stage::new();
    let (web, api) = (stage.session("/w/web"), stage.session("/w/api"));
    stage.hush();
    (stage, web, api)
}

#[test]
fn tell_ends_once_when_its_session_was_shown_it() {
    let (mut stage, web, api) = pair();
    stage.say(web.conn, tell(1, "api", "done", None));
    assert_eq!(stage.heard(web), ["accepted for api: Accepted"]);
    assert_eq!(stage.heard(api), ["web tells: done"]);
    stage.say(api.conn, progress(1, AskState::HandedOver));
    assert_eq!((stage.heard(web), stage.heard(api)), (vec![], vec![]), "more is to come");
    stage.say(api.conn, progress(1, AskState::Shown));
    assert_eq!(stage.heard(web), ["receipt: Shown"]);
    assert_eq!(stage.heard(api), ["closed"]);
    stage.say(api.conn, progress(1, AskState::Shown));
    stage.pass(Duration::from_secs(200));
    assert_eq!(stage.heard(web), NONE);
}

#[test]
fn tell_ends_as_handed_over_where_its_session_can_say_no_more() {
    let (mut stage, web, api) = pair();
    stage.say(web.conn, tell(1, "api", "done", None));
    stage.say(api.conn, final_progress(1, AskState::HandedOver));
    assert_eq!(stage.heard(web), ["accepted for api: Accepted", "receipt: HandedOver"]);
}

#[test]
fn what_is_final_ends_no_ask_and_no_tell_that_was_not_handed_over() {
    let (mut stage, web, api) = pair();
    stage.ask(web, 1, "api", "ready?");
    stage.say(web.conn, tell(2, "api", "done", None));
    stage.hush();
    stage.say(api.conn, final_progress(1, AskState::Shown));
    stage.say(api.conn, final_progress(2, AskState::Held));
    assert_eq!(stage.heard(web), NONE);
    stage.reply(api, id(1), "yes");
    assert_eq!(stage.heard(web), ["api answers: yes"]);
}

#[test]
fn tell_takes_no_reply_while_it_is_open_nor_afterwards() {
    let (mut stage, web, api) = pair();
    stage.say(web.conn, tell(1, "api", "done", None));
    for state in [AskState::HandedOver, AskState::Shown] {
        stage.say(api.conn, progress(1, state));
        stage.hush();
        stage.reply(api, id(1), "thanks");
        let refusal = stage.refusal(api.conn);
        assert_eq!(refusal.code, ErrorCode::UnknownAsk);
        assert!(refusal.message.contains("takes no answer"), "{}", refusal.message);
        assert_eq!(stage.heard(web), NONE);
    }
}

#[test]
fn tell_that_is_not_shown_fails_as_an_ask_does() {
    let (mut stage, web, api) = pair();
    let waits = relay::protocol::Presence {
        waiting_for: Some("permission prompt".to_owned()),
        ..presence("/w/api", Activity::Waiting, Wake::NextPrompt)
    };
    stage.say(api.conn, ClientMessage::Notice(Notice::Presence(waits)));
    stage.say(web.conn, tell(1, "api", "done", None));
    assert_eq!(stage.heard(web), ["accepted for api: Held"]);
    stage.pass(Duration::from_secs(60));
    assert_eq!(stage.heard(web), ["failed: timeout after Held"]);
    stage.say(web.conn, tell(2, "api", "done", None));
    stage.bye(api);
    assert_eq!(stage.heard(web), ["accepted for api: Held", "failed: peer_gone after Held"]);
}

#[test]
fn tell_of_a_teller_that_leaves_is_over() {
    let (mut stage, web, api) = pair();
    stage.say(web.conn, tell(1, "api", "one", None));
    stage.say(web.conn, tell(2, "api", "two", None));
    stage.hush();
    stage.say(web.conn, withdraw(1));
    assert_eq!(stage.heard(api), ["closed"]);
    stage.lose(web);
    stage.pass(GONE_WAIT);
    assert_eq!(stage.heard(api), ["closed"]);
}

#[test]
fn tell_that_is_sent_again_meets_its_end_in_the_same_hub_and_in_the_next() {
    let (mut stage, web, api) = pair();
    stage.say(web.conn, tell(1, "api", "done", None));
    stage.say(api.conn, progress(1, AskState::Shown));
    stage.hush();
    stage.say(web.conn, tell(1, "api", "done", Some(api)));
    assert_eq!(stage.heard(web), ["accepted for api: Shown", "receipt: Shown"]);
    assert_eq!(stage.heard(api), NONE);

    // The next hub learns it from the told session: before its teller comes, or after.
    for session_first in [true, false] {
        let mut stage = Stage::in_grace(Limits::default(), None);
        let (web, api) = (stage.session("/w/web"), stage.session("/w/api"));
        stage.hush();
        if session_first {
            stage.say(api.conn, final_progress(1, AskState::HandedOver));
        }
        stage.say(web.conn, tell(1, "whoever", "done", Some(api)));
        if !session_first {
            assert_eq!(stage.heard(api), ["web tells: done"], "its client drops what it has had");
            stage.say(api.conn, final_progress(1, AskState::HandedOver));
        }
        let state = if session_first { "HandedOver" } else { "Accepted" };
        assert_eq!(stage.heard(web), [format!("accepted for api: {state}"), "receipt: HandedOver".to_owned()]);
        stage.pass(GRACE);
        assert_eq!(stage.heard(web), NONE);
    }
}

#[test]
fn tell_for_a_session_that_is_coming_back_waits_for_it() {
    let mut stage = Stage::in_grace(Limits::default(), None);
    let web = stage.session("/w/web");
    stage.hush();
    stage.say(web.conn, tell(1, "api", "done", None));
    assert_eq!(stage.heard(web), NONE);
    let api = stage.named("/w/api", "api");
    assert_eq!(stage.heard(web), ["accepted for api: Accepted"]);
    assert_eq!(stage.heard(api), ["welcome, api", "web tells: done"]);
    stage.say(web.conn, tell(2, "nobody", "done", None));
    stage.pass(GRACE);
    assert_eq!(stage.refusal(web.conn).code, ErrorCode::PeerNotFound);
}

#[test]
fn tells_meet_the_limits_of_asks() {
    let mut stage = Stage::with_limits(Limits { open_asks: 1, rate: false, ..Limits::default() });
    let (web, api) = (stage.session("/w/web"), stage.session("/w/api"));
    stage.hush();
    stage.ask(web, 1, "api", "ready?");
    stage.hush();
    stage.say(web.conn, tell(2, "api", "done", None));
    assert_eq!(stage.refusal(web.conn).code, ErrorCode::RateLimited);
    stage.say(web.conn, tell(3, "api", " ", None));
    assert_eq!(stage.refusal(web.conn).code, ErrorCode::BadArgs);
    assert_eq!(stage.heard(api), NONE);
}

#[test]
fn two_sessions_that_keep_telling_each_other_are_stopped() {
    let mut stage = Stage::with_limits(Limits { rate: false, ..Limits::default() });
    let (web, api) = (stage.session("/w/web"), stage.session("/w/api"));
    stage.hush();
    let told = (1..=1000).take_while(|n| {
        let (teller, to, told) = if n % 2 == 0 { (web, "api", api) } else { (api, "web", web) };
        stage.say(teller.conn, tell(*n, to, "again", None));
        let is_accepted = stage.is_accepted(teller);
        stage.say(told.conn, progress(*n, AskState::Shown));
        is_accepted
    });
    let n = told.count();
    assert!((2..100).contains(&n), "{n} tells went through");
}

#[test]
fn watcher_sees_that_it_is_a_tell_and_how_it_ended() {
    let (mut stage, web, api) = pair();
    let tool = stage.tool();
    stage.say(tool.conn, watch(true));
    stage.hush();
    stage.say(web.conn, tell(1, "api", "done", None));
    stage.say(api.conn, progress(1, AskState::Shown));
    let seen = stage.heard(tool).join("\n");
    for word in ["kind: Tell", "outcome: Shown", "question: Some(\"done\")"] {
        assert!(seen.contains(word), "{word}: {seen}");
    }
}
