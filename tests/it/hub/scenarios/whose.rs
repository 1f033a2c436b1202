//! Whose an ask, a name and an identity is: what everybody else says of it changes nothing.

use std::time::Duration;

use relay::hub::{CloseReason, GONE_WAIT, Input, Limits, SETTLING};
use relay::protocol::{AskState, ClientKind, ClientMessage, HubMessage};

use crate::support::hub::{Actor, Stage, ask_again, channel, id, progress};

const NONE: [&str; 0] = [];

/// A settled hub with an asker, an asked session and a stranger; the asker has asked.
fn asked() -> (Stage, Actor, Actor, Actor) {
    let mut stage = Stage::new();
    let (web, api, eve) = (stage.session("/w/web"), stage.session("/w/api"), stage.session("/w/eve"));
    stage.ask(web, 1, "api", "ready?");
    stage.hush();
    (stage, web, api, eve)
}

/// The same three at a hub that has just started, which knows nothing of the ask.
fn restarted() -> (Stage, Actor, Actor, Actor) {
    let mut stage = Stage::settling(Limits::default(), None);
    let actors = (stage.named("/w/web", "web"), stage.named("/w/api", "api"), stage.named("/w/eve", "eve"));
    stage.hush();
    (stage, actors.0, actors.1, actors.2)
}

#[test]
fn nobody_but_the_asked_session_answers() {
    let (mut stage, web, api, eve) = asked();
    stage.reply(eve, id(1), "no");
    stage.reply(web, id(1), "no");
    assert_eq!(stage.heard(eve), ["refused: unknown_ask"]);
    assert_eq!(stage.heard(web), ["refused: unknown_ask"], "not even the one who asks");
    stage.reply(api, id(1), "yes");
    assert_eq!(stage.heard(web), ["api answers: yes"]);
}

#[test]
fn nobody_but_the_asked_session_tells_how_far_an_ask_has_come() {
    let (mut stage, web, api, eve) = asked();
    for stranger in [eve, web] {
        stage.say(stranger.conn, progress(1, AskState::Shown, None));
        stage.say(stranger.conn, progress(1, AskState::Shown, Some(stranger)));
        assert_eq!(stage.heard(stranger), ["closed", "closed"], "it has no such ask");
    }
    stage.say(web.conn, ask_again(1, api, "ready?"));
    assert_eq!(stage.heard(web), ["accepted for api: Accepted"]);
    stage.say(api.conn, progress(1, AskState::HandedOver, Some(web)));
    stage.say(web.conn, ask_again(1, api, "ready?"));
    assert_eq!(stage.heard(web), ["accepted for api: HandedOver"]);
}

#[test]
fn nobody_but_the_asker_withdraws_an_ask_or_takes_its_reply() {
    let (mut stage, web, api, eve) = asked();
    for stranger in [eve, api] {
        stage.say(stranger.conn, ClientMessage::Withdraw { ask_id: id(1) });
        stage.taken(stranger, id(1), api);
    }
    stage.reply(api, id(1), "yes");
    for stranger in [eve, api] {
        stage.taken(stranger, id(1), api);
        stage.say(stranger.conn, ClientMessage::Withdraw { ask_id: id(1) });
    }
    assert_eq!(stage.heard(api), NONE, "its reply is not taken yet");
    assert_eq!(stage.heard(web), ["api answers: yes"]);
    stage.taken(web, id(1), api);
    assert_eq!(stage.heard(api), ["web has the reply"]);
}

#[test]
fn an_id_of_another_opens_no_ask_and_no_broadcast() {
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
fn the_newer_connection_of_an_identity_wins_and_the_older_one_is_heard_no_more() {
    let (mut stage, web, api, _eve) = asked();
    let back = stage.hello(api.key, channel("/w/api", None));
    assert_eq!(stage.closed(api.conn), Some(CloseReason::Superseded));
    assert_eq!(stage.heard(back), ["welcome, api", "web asks: ready? (60 s)"]);
    stage.reply(api, id(1), "no");
    stage.say(api.conn, ClientMessage::Bye {});
    stage.tell(Input::Disconnected { conn: api.conn });
    stage.tell(Input::ProcessEnded { conn: api.conn });
    stage.pass(GONE_WAIT * 2);
    assert_eq!(stage.heard(web), NONE, "what the older one says, and its end, is nothing to the newer one");
    stage.reply(back, id(1), "yes");
    assert_eq!(stage.heard(web), ["api answers: yes"]);
}

#[test]
fn a_name_alone_resumes_nothing() {
    let (mut stage, web, api, _eve) = asked();
    stage.tell(Input::Disconnected { conn: api.conn });
    let usurper = stage.named("/w/api", "api");
    assert_eq!(stage.heard(usurper), ["welcome, api-2"], "the name is the lost one's while it may come back");
    stage.reply(usurper, id(1), "no");
    assert_eq!(stage.heard(usurper), ["refused: unknown_ask"]);
    let tool = stage.hello(usurper.key, ClientKind::Control {});
    stage.reply(tool, id(1), "no");
    assert_eq!(stage.heard(tool).last().map(String::as_str), Some("refused: unknown_ask"));
    let back = stage.hello(api.key, channel("/w/api", None));
    assert_eq!(stage.heard(back), ["welcome, api", "web asks: ready? (60 s)"]);
    assert_eq!(stage.heard(web), NONE);
}

#[test]
fn after_a_hubs_death_an_ask_is_its_askers_though_a_stranger_says_it_first() {
    let (mut stage, web, api, eve) = restarted();
    stage.say(eve.conn, ask_again(1, api, "ready?"));
    stage.say(web.conn, ask_again(1, api, "ready?"));
    assert_eq!(stage.heard(eve), ["accepted for api: Accepted"]);
    assert_eq!(stage.heard(web), ["refused: bad_args"], "its client says it again later");
    stage.say(api.conn, progress(1, AskState::Shown, Some(web)));
    assert_eq!(stage.heard(eve), ["failed: peer_gone after Accepted"]);
    stage.reply(api, id(1), "yes");
    stage.say(web.conn, ask_again(1, api, "ready?"));
    assert_eq!(stage.heard(web), ["accepted for api: Shown", "api answers: yes"]);
    assert_eq!(stage.heard(eve), NONE);
}

#[test]
fn after_a_hubs_death_an_ask_that_its_session_has_from_another_is_refused() {
    let (mut stage, web, api, eve) = restarted();
    stage.say(api.conn, progress(1, AskState::Shown, Some(web)));
    stage.reply(api, id(1), "yes");
    stage.say(eve.conn, ask_again(1, api, "ready?"));
    assert_eq!(stage.heard(eve), ["refused: bad_args"]);
    stage.say(web.conn, ask_again(1, api, "ready?"));
    assert_eq!(stage.heard(web), ["accepted for api: Shown", "api answers: yes"]);
}

#[test]
fn after_a_hubs_death_only_the_asker_says_that_a_reply_was_taken() {
    for stranger_comes_first in [true, false] {
        let (mut stage, web, api, eve) = restarted();
        if stranger_comes_first {
            stage.taken(eve, id(1), api);
        }
        stage.say(api.conn, progress(1, AskState::Shown, Some(web)));
        stage.reply(api, id(1), "yes");
        stage.taken(eve, id(1), api);
        assert_eq!(stage.heard(api).iter().filter(|line| line.contains("has the reply")).count(), 0);
        stage.say(web.conn, ask_again(1, api, "ready?"));
        assert_eq!(stage.heard(web), ["accepted for api: Shown", "api answers: yes"]);
        stage.taken(web, id(1), api);
        assert_eq!(stage.heard(api), ["web has the reply"]);
    }
}

#[test]
fn what_is_said_of_asks_that_no_hub_knows_makes_nobody_forget_his_own() {
    let (mut stage, web, api, eve) = asked();
    stage.reply(api, id(1), "yes");
    stage.taken(web, id(1), api);
    for n in 100..80_000 {
        stage.taken(eve, id(n), web);
    }
    stage.hush();
    stage.reply(api, id(1), "yes");
    assert_eq!(stage.heard(api), ["web has the reply"]);
    // Nor is more remembered of one than its client has to say.
    stage.reply(web, id(100), "taken?");
    stage.reply(web, id(5000), "taken?");
    assert_eq!(stage.heard(web), ["eve has the reply", "refused: unknown_ask"]);
    stage.pass(Duration::from_secs(61));
    stage.taken(eve, id(80_000), web);
    stage.reply(web, id(80_000), "taken?");
    assert_eq!(stage.heard(web), ["eve has the reply"], "there is room again");
}

#[test]
fn a_client_that_names_no_asker_is_believed_as_before() {
    let (mut stage, web, api, _eve) = restarted();
    stage.say(api.conn, progress(1, AskState::Shown, None));
    stage.say(web.conn, ask_again(1, api, "ready?"));
    assert_eq!(stage.heard(web), ["accepted for api: Shown"]);
    stage.say(api.conn, progress(1, AskState::Shown, None));
    stage.pass(SETTLING);
    assert!(!stage.messages(api.conn).iter().any(|message| matches!(message, HubMessage::Closed { .. })));
}
