//! Whose an ask, a name and an identity is: what everybody else says of it changes nothing.

use relay::hub::{CloseReason, GONE_WAIT, Input};
use relay::protocol::AskState;

use crate::support::hub::{Actor, Stage, ask_again, id, progress, withdraw};

const NONE: [&str; 0] = [];

/// A settled hub with an asker, an asked session and a stranger; the asker has asked.
fn asked() -> (Stage, Actor, Actor, Actor) {
    let mut stage = Stage::new();
    let (web, api, eve) = (stage.session("/w/web"), stage.session("/w/api"), stage.session("/w/eve"));
    stage.ask(web, 1, "api", "ready?");
    stage.hush();
    (stage, web, api, eve)
}

#[test]
fn reply_of_another_than_the_asked_session_is_refused() {
    let (mut stage, web, api, eve) = asked();
    stage.reply(eve, id(1), "no");
    stage.reply(web, id(1), "no");
    assert_eq!(stage.heard(eve), ["refused: unknown_ask"]);
    assert_eq!(stage.heard(web), ["refused: unknown_ask"], "not even the one who asks");
    stage.reply(api, id(1), "yes");
    assert_eq!(stage.heard(web), ["api answers: yes"]);
}

#[test]
fn progress_of_another_than_the_asked_session_is_ignored() {
    let (mut stage, web, api, eve) = asked();
    for stranger in [eve, web] {
        stage.say(stranger.conn, progress(1, AskState::Shown));
        assert_eq!(stage.heard(stranger), ["closed"], "it has no such ask");
    }
    stage.say(web.conn, ask_again(1, api, "ready?"));
    assert_eq!(stage.heard(web), ["accepted for api: Accepted"]);
    stage.say(api.conn, progress(1, AskState::HandedOver));
    stage.say(web.conn, ask_again(1, api, "ready?"));
    assert_eq!(stage.heard(web), ["accepted for api: HandedOver"]);
}

#[test]
fn ask_is_withdrawn_and_its_reply_taken_by_its_asker_only() {
    let (mut stage, web, api, eve) = asked();
    for stranger in [eve, api] {
        stage.say(stranger.conn, withdraw(1));
        stage.taken(stranger, id(1), api);
    }
    stage.reply(api, id(1), "yes");
    for stranger in [eve, api] {
        stage.taken(stranger, id(1), api);
        stage.say(stranger.conn, withdraw(1));
    }
    assert_eq!(stage.heard(api), NONE, "its reply is not taken yet");
    assert_eq!(stage.heard(web), ["api answers: yes"]);
    stage.taken(web, id(1), api);
    assert_eq!(stage.heard(api), ["web has the reply"]);
}

#[test]
fn id_of_another_opens_no_ask_and_no_broadcast() {
    let (mut stage, web, api, eve) = asked();
    stage.say(eve.conn, ask_again(1, api, "ready?"));
    assert_eq!(stage.heard(eve), ["refused: bad_args"]);
    stage.broadcast(web, 5, "who is there?");
    assert_eq!(stage.heard(web), ["broadcast to: api, eve"]);
    stage.hush();
    stage.broadcast(eve, 5, "who is there?");
    assert_eq!(stage.heard(eve), ["web asks: who is there? (60 s)", "broadcast to: web, not api (bad_args)"][1..]);
    assert_eq!(stage.heard(api), NONE);
}

#[test]
fn newer_connection_of_an_identity_wins() {
    let (mut stage, web, api, _eve) = asked();
    let back = stage.back(api, "/w/api", None);
    assert_eq!(stage.closed(api.conn), Some(CloseReason::Superseded));
    assert_eq!(stage.heard(back), ["welcome, api", "web asks: ready? (60 s)"]);
    stage.reply(api, id(1), "no");
    stage.bye(api);
    stage.lose(api);
    stage.tell(Input::ProcessEnded { conn: api.conn });
    stage.pass(GONE_WAIT * 2);
    assert_eq!(stage.heard(web), NONE, "what the older one says, and its end, is nothing to the newer one");
    stage.reply(back, id(1), "yes");
    assert_eq!(stage.heard(web), ["api answers: yes"]);
}

#[test]
fn name_alone_resumes_nothing() {
    let (mut stage, web, api, _eve) = asked();
    stage.lose(api);
    let usurper = stage.named("/w/api", "api");
    assert_eq!(stage.heard(usurper), ["welcome, api-2"], "the name is the lost one's while it may come back");
    stage.reply(usurper, id(1), "no");
    assert_eq!(stage.heard(usurper), ["refused: unknown_ask"]);
    let back = stage.back(api, "/w/api", None);
    assert_eq!(stage.heard(back), ["welcome, api", "web asks: ready? (60 s)"]);
    assert_eq!(stage.heard(web), NONE);
}
