//! The way of an ask: from its acceptance to its one end.

use std::time::Duration;

use relay::hub::{CloseReason, Effect, GONE_WAIT, Input};
use relay::protocol::{
    Activity, Answer, AskId, AskState, BroadcastId, ClientMessage, Event, HubMessage, Notice, Presence, Wake,
};

use crate::support::hub::{Actor, Stage, ask, hello, id, presence, progress, session, withdraw};

const NONE: [&str; 0] = [];

/// A stage with an asker `web` and an asked `api`.
fn pair() -> (Stage, Actor, Actor) {
    let mut stage = Stage::new();
    let (web, api) = (stage.session("/w/web"), stage.session("/w/api"));
    stage.hush();
    (stage, web, api)
}

#[test]
fn ask_is_answered_and_its_reply_taken() {
    let (mut stage, web, api) = pair();
    stage.ask(web, 1, "api", "ready?");
    assert_eq!(stage.heard(web), ["accepted for api: Accepted"]);
    assert_eq!(stage.heard(api), ["web asks: ready? (60 s)"]);
    stage.reply(api, id(1), "yes");
    assert_eq!(stage.heard(web), ["api answers: yes"]);
    assert_eq!(stage.heard(api), NONE, "nobody says accepted before the asker has it");
    stage.taken(web, id(1), api);
    assert_eq!(stage.heard(api), ["web has the reply"]);
    stage.pass(Duration::from_secs(200));
    assert_eq!((stage.heard(web), stage.heard(api)), (vec![], vec![]));
}

#[test]
fn question_from_the_shell_says_so() {
    let mut stage = Stage::new();
    let (tool, api) = (stage.tool(), stage.session("/w/api"));
    stage.hush();
    stage.ask(tool, 1, "api", "ready?");
    assert_eq!(stage.heard(api), ["shell asks: ready? (60 s)"]);
}

#[test]
fn ask_that_times_out_says_how_far_it_came() {
    let (mut stage, web, api) = pair();
    stage.ask(web, 1, "api", "ready?");
    stage.say(api.conn, progress(1, AskState::Shown));
    stage.say(api.conn, progress(1, AskState::HandedOver));
    stage.hush();
    stage.pass(Duration::from_millis(59_999));
    assert_eq!(stage.heard(web), NONE);
    stage.pass(Duration::from_millis(1));
    assert_eq!(stage.heard(web), ["failed: timeout after Shown"]);
    assert_eq!(stage.heard(api), ["closed"]);
}

#[test]
fn ask_to_a_session_that_cannot_be_woken_is_held() {
    let (mut stage, web, api) = pair();
    let presence = presence("/w/api", Activity::Idle, Wake::NextPrompt);
    stage.say(api.conn, ClientMessage::Notice(Notice::Presence(presence)));
    stage.ask(web, 1, "api", "ready?");
    assert_eq!(stage.heard(web), ["accepted for api: Held"]);
}

#[test]
fn late_reply_is_refused_and_not_delivered() {
    let (mut stage, web, api) = pair();
    stage.ask(web, 1, "api", "ready?");
    stage.pass(Duration::from_secs(60));
    stage.hush();
    stage.reply(api, id(1), "yes");
    assert_eq!(stage.heard(api), ["refused: unknown_ask"]);
    assert_eq!(stage.heard(web), NONE);
}

#[test]
fn reply_that_nobody_takes_is_refused_in_the_end() {
    let (mut stage, web, api) = pair();
    stage.ask(web, 1, "api", "ready?");
    stage.pass(Duration::from_secs(59));
    stage.reply(api, id(1), "yes");
    stage.hush();
    stage.pass(Duration::from_secs(2));
    assert_eq!(stage.heard(api), NONE, "its asker decides whether it came in time");
    stage.pass(Duration::from_secs(1));
    assert_eq!(stage.heard(api), ["refused: unknown_ask"]);
    assert_eq!(stage.heard(web), ["failed: timeout after Shown"]);
}

#[test]
fn reply_taken_while_the_hub_did_not_run_is_taken() {
    let (mut stage, web, api) = pair();
    stage.ask(web, 1, "api", "ready?");
    stage.reply(api, id(1), "yes");
    stage.hush();
    // Its timers are due before it has read what came meanwhile.
    stage.now += Duration::from_secs(600);
    stage.hub.handle_timeout(stage.now);
    stage.taken(web, id(1), api);
    assert_eq!(stage.heard(api), ["web has the reply"]);
    assert_eq!(stage.heard(web), [""; 0]);
}

#[test]
fn reply_for_another_session_is_refused() {
    let (mut stage, web, _api) = pair();
    let (db, tool) = (stage.session("/w/db"), stage.tool());
    stage.ask(web, 1, "api", "ready?");
    stage.hush();
    stage.reply(db, id(1), "yes");
    stage.reply(web, id(1), "yes");
    stage.reply(tool, id(1), "yes");
    assert_eq!(stage.heard(db), ["refused: unknown_ask"]);
    assert_eq!(stage.heard(web), ["refused: unknown_ask"]);
    assert_eq!(stage.heard(tool), ["refused: not_registered"]);
}

#[test]
fn session_that_says_bye_is_gone_at_once() {
    let (mut stage, web, api) = pair();
    stage.ask(web, 1, "api", "ready?");
    stage.ask(api, 2, "web", "and you?");
    stage.hush();
    stage.bye(api);
    assert_eq!(stage.closed(api.conn), Some(CloseReason::Bye));
    assert_eq!(stage.heard(web), ["failed: peer_gone after Accepted", "closed"]);
}

#[test]
fn lost_session_is_gone_after_a_wait_or_its_process_end() {
    let (mut stage, web, api) = pair();
    stage.ask(web, 1, "api", "ready?");
    stage.lose(api);
    stage.hush();
    stage.pass(GONE_WAIT - Duration::from_millis(1));
    assert_eq!(stage.heard(web), NONE);
    stage.pass(Duration::from_millis(1));
    assert_eq!(stage.heard(web), ["failed: peer_gone after Accepted"]);

    let (mut stage, web, api) = pair();
    stage.ask(web, 1, "api", "ready?");
    stage.lose(api);
    stage.hush();
    stage.tell(Input::ProcessEnded { conn: api.conn });
    assert_eq!(stage.heard(web), ["failed: peer_gone after Accepted"]);
}

#[test]
fn session_that_is_back_in_time_is_told_what_it_missed() {
    let (mut stage, web, api) = pair();
    stage.lose(api);
    stage.ask(web, 1, "api", "ready?");
    stage.pass(GONE_WAIT / 2);
    let back = stage.back(api, "/w/api", Some("api"));
    assert_eq!(stage.heard(back), ["welcome, api", "web asks: ready? (59 s)"]);
    stage.tell(Input::ProcessEnded { conn: api.conn });
    stage.pass(GONE_WAIT);
    stage.lose(web);
    stage.reply(back, id(1), "yes");
    let web = stage.back(web, "/w/web", Some("web"));
    assert_eq!(stage.heard(web), ["welcome, web", "api answers: yes"]);
}

#[test]
fn withdrawn_ask_takes_no_reply() {
    let (mut stage, web, api) = pair();
    stage.ask(web, 1, "api", "ready?");
    stage.ask(web, 2, "api", "sure?");
    stage.reply(api, id(2), "yes");
    stage.hush();
    stage.say(web.conn, withdraw(1));
    stage.say(web.conn, withdraw(2));
    stage.reply(api, id(1), "yes");
    assert_eq!(stage.heard(api), ["closed", "refused: unknown_ask", "refused: unknown_ask"]);
    assert_eq!(stage.heard(web), NONE);
}

#[test]
fn ask_sent_again_meets_itself() {
    let (mut stage, web, api) = pair();
    stage.ask(web, 1, "api", "ready?");
    stage.ask(web, 1, "api", "ready?");
    assert_eq!(stage.heard(web), ["accepted for api: Accepted", "accepted for api: Accepted"]);
    assert_eq!(stage.heard(api), ["web asks: ready? (60 s)"], "asked once");
    stage.reply(api, id(1), "yes");
    stage.ask(web, 1, "api", "ready?");
    assert_eq!(stage.heard(web), ["api answers: yes", "accepted for api: Shown", "api answers: yes"]);
    stage.taken(web, id(1), api);
    stage.ask(web, 1, "api", "ready?");
    assert_eq!(stage.heard(web), ["refused: unknown_ask"]);
    stage.ask(api, 1, "web", "mine?");
    assert_eq!(stage.heard(api), ["web has the reply", "refused: bad_args"]);
}

#[test]
fn ask_sent_again_after_its_end_meets_its_end() {
    let (mut stage, web, _api) = pair();
    stage.ask(web, 1, "api", "ready?");
    stage.pass(Duration::from_secs(60));
    stage.hush();
    stage.ask(web, 1, "api", "ready?");
    assert_eq!(stage.heard(web), ["accepted for api: Accepted", "failed: timeout after Accepted"]);
}

#[test]
fn reply_sent_again_on_another_connection_is_answered_there() {
    let (mut stage, web, api) = pair();
    stage.ask(web, 1, "api", "ready?");
    stage.reply(api, id(1), "yes");
    stage.hush();
    stage.reply(api, id(1), "yes");
    assert_eq!(stage.heard(api), ["refused: unknown_ask"], "it is on its way already");
    let back = stage.back(api, "/w/api", None);
    stage.hush();
    stage.reply(back, id(1), "yes");
    assert_eq!(stage.heard(back), NONE);
    stage.taken(web, id(1), api);
    assert_eq!(stage.heard(back), ["web has the reply"]);
}

#[test]
fn reply_sent_again_is_answered_alike() {
    let (mut stage, web, api) = pair();
    stage.ask(web, 1, "api", "ready?");
    stage.reply(api, id(1), "yes");
    stage.taken(web, id(1), api);
    stage.hush();
    stage.reply(api, id(1), "yes");
    assert_eq!(stage.heard(api), ["web has the reply"]);
    assert_eq!(stage.heard(web), NONE);
}

#[test]
fn a_broadcast_asks_everybody_else_once_under_ids_of_its_own() {
    let (mut stage, web, api) = pair();
    let (db, tool) = (stage.session("/w/db"), stage.tool());
    stage.hush();
    stage.broadcast(web, 1, "who is there?");
    stage.broadcast(web, 1, "who is there?");
    assert_eq!(stage.heard(web), ["broadcast to: api, db", "broadcast to: api, db"]);
    assert_eq!(stage.heard(api), ["web asks: who is there? (60 s)"]);
    assert_eq!(stage.heard(db), ["web asks: who is there? (60 s)"]);
    assert_eq!(stage.heard(tool), NONE);
    let of = |actor: Actor| AskId::of_broadcast(BroadcastId::from_bits(1), actor.tag);
    stage.reply(db, of(db), "me");
    stage.reply(api, of(db), "me");
    assert_eq!(stage.heard(web), ["db answers: me"]);
    assert_eq!(stage.heard(api), ["refused: unknown_ask"]);
}

#[test]
fn a_broadcast_to_nobody_is_accepted() {
    let mut stage = Stage::new();
    let web = stage.session("/w/web");
    stage.hush();
    stage.broadcast(web, 1, "who is there?");
    assert_eq!(stage.heard(web), ["broadcast to: "]);
}

#[test]
fn a_second_connection_of_a_client_takes_the_place_of_the_first() {
    let (mut stage, web, api) = pair();
    let again = stage.back(api, "/w/api", Some("api"));
    assert_eq!(stage.closed(api.conn), Some(CloseReason::Superseded));
    stage.say(web.conn, ask(1, "api", "ready?", 60_000));
    assert_eq!(stage.heard(api), ["refused: already_registered"]);
    assert_eq!(stage.heard(again), ["welcome, api", "web asks: ready? (60 s)"]);
    stage.lose(api);
    stage.pass(GONE_WAIT * 2);
    assert_eq!(stage.heard(web), ["accepted for api: Accepted"], "nobody is gone");
}

#[test]
fn an_earlier_connection_whose_hello_is_read_late_takes_no_place() {
    let (mut stage, web, api) = pair();
    let (earlier, later) = (stage.connect(), stage.back(api, "/w/api", Some("api")));
    stage.say(earlier, hello("test 1", session(api.number, "/w/api", Some("api"))));
    assert_eq!(stage.closed(earlier), Some(CloseReason::Superseded));
    assert_eq!(stage.closed(later.conn), None);
    stage.say(web.conn, ask(1, "api", "ready?", 60_000));
    assert_eq!(stage.heard(later), ["welcome, api", "web asks: ready? (60 s)"]);
}

/// What holds of a session that stands at a dialog.
fn at_a_dialog() -> ClientMessage {
    let waiting_for = Some("permission prompt".to_owned());
    let presence = Presence { waiting_for, ..presence("/w/api/v2", Activity::Waiting, Wake::Channel) };
    ClientMessage::Notice(Notice::Presence(presence))
}

#[test]
fn accepted_says_where_the_session_works_and_what_it_waits_for() {
    let (mut stage, web, api) = pair();
    stage.say(api.conn, at_a_dialog());
    stage.ask(web, 1, "api", "ready?");
    let Some(Answer::Accepted(accepted)) = stage.answers(web.conn).pop() else { panic!("not accepted") };
    assert_eq!((accepted.cwd.as_str(), accepted.status), ("/w/api/v2", Activity::Waiting));
    assert_eq!(accepted.waiting_for.as_deref(), Some("permission prompt"));
}

#[test]
fn timeout_says_what_the_session_waits_for_at_that_time() {
    let (mut stage, web, api) = pair();
    stage.ask(web, 1, "api", "ready?");
    stage.ask(web, 2, "api", "ready?");
    stage.say(api.conn, at_a_dialog());
    stage.pass(Duration::from_secs(59));
    stage.say(web.conn, withdraw(2));
    stage.hush();
    stage.pass(Duration::from_secs(1));
    let Some(HubMessage::Event(Event::Failed(failed))) = stage.messages(web.conn).pop() else { panic!("no failure") };
    assert_eq!(failed.waiting_for.as_deref(), Some("permission prompt"));
}

#[test]
fn asked_session_is_written_to_before_the_asker() {
    let (mut stage, web, api) = pair();
    stage.hub.handle(stage.now, Input::Received { conn: web.conn, message: ask(1, "api", "ready?", 60_000) });
    let mut order = Vec::new();
    while let Some(effect) = stage.hub.poll_effect() {
        order.extend(if let Effect::Send { conn, .. } = effect { Some(conn) } else { None });
    }
    assert_eq!(order, [api.conn, web.conn]);
}
