//! The first seconds of a hub's life, in which the clients of a former one come back.

use std::time::Duration;

use relay::hub::limits::BROADCASTS_WAITING_MAX;
use relay::hub::{GRACE, Input, Limits};
use relay::protocol::{Answer, AskState};

use crate::support::hub::{Actor, Stage, ask, ask_again, id, progress, withdraw};

const NONE: [&str; 0] = [];

fn start() -> (Stage, Actor) {
    let mut stage = Stage::in_grace(Limits::default(), None);
    let web = stage.named("/w/web", "web");
    stage.hush();
    (stage, web)
}

#[test]
fn ask_to_an_unknown_name_is_delivered_when_its_session_comes() {
    let (mut stage, web) = start();
    stage.ask(web, 1, "API", "ready?");
    stage.pass(GRACE / 2);
    assert_eq!(stage.heard(web), NONE);
    let api = stage.session("/w/api");
    assert_eq!(stage.heard(web), ["accepted for api: Accepted"]);
    assert_eq!(stage.heard(api), ["welcome, api", "web asks: ready? (59 s)"], "its time runs from its request");
}

#[test]
fn ask_to_a_name_that_never_comes_is_refused_at_the_end() {
    let (mut stage, web) = start();
    stage.ask(web, 1, "api", "ready?");
    stage.pass(GRACE - Duration::from_millis(1));
    assert_eq!(stage.heard(web), NONE);
    assert!(stage.hub.is_in_grace());
    stage.pass(Duration::from_millis(1));
    assert_eq!(stage.heard(web), ["refused: peer_not_found"]);
    assert!(!stage.hub.is_in_grace());
}

#[test]
fn address_that_can_be_nobodys_is_refused_at_once() {
    let (mut stage, web) = start();
    stage.ask(web, 1, "everyone", "ready?");
    stage.ask(web, 2, "--", "ready?");
    assert_eq!(stage.heard(web), ["refused: peer_not_found", "refused: peer_not_found"]);
}

#[test]
fn broadcast_waits_for_those_who_come_back() {
    let (mut stage, web) = start();
    stage.broadcast(web, 1, "who is there?");
    stage.pass(GRACE / 2);
    let api = stage.session("/w/api");
    assert_eq!(stage.heard(web), NONE);
    stage.pass(GRACE / 2);
    assert_eq!(stage.heard(web), ["broadcast to: api"]);
    assert_eq!(stage.heard(api), ["welcome, api", "web asks: who is there? (60 s)"]);
}

#[test]
fn name_that_is_brought_back_wins_over_a_newcomers() {
    let (mut stage, _web) = start();
    let newcomer = stage.session("/x/api");
    assert_eq!(stage.heard(newcomer), ["welcome, api"]);
    let api = stage.named("/w/api", "api");
    assert_eq!(stage.heard(api), ["welcome, api"]);
    assert_eq!(stage.heard(newcomer), ["renamed api-2"]);
    let third = stage.named("/y/api", "api");
    assert_eq!(stage.heard(third), ["welcome, api-3"], "between two that bring it the first one wins");
}

#[test]
fn name_is_safe_after_the_grace_period() {
    let mut stage = Stage::new();
    let newcomer = stage.session("/x/api");
    let late = stage.named("/w/api", "api");
    assert_eq!(stage.heard(late), ["welcome, api-2"]);
    assert_eq!(stage.heard(newcomer), ["welcome, api"]);
}

#[test]
fn ask_that_its_session_has_reported_is_not_sent_again() {
    let (mut stage, web) = start();
    let api = stage.named("/w/api", "api");
    stage.hush();
    stage.say(api.conn, progress(1, AskState::Shown));
    stage.say(web.conn, ask_again(1, api, "ready?"));
    assert_eq!(stage.heard(web), ["accepted for api: Shown"]);
    assert_eq!(stage.heard(api), NONE);
    stage.reply(api, id(1), "yes");
    assert_eq!(stage.heard(web), ["api answers: yes"]);
}

#[test]
fn asks_sent_again_in_a_row_make_no_loop() {
    let mut stage = Stage::in_grace(Limits::default(), None);
    let sessions: Vec<Actor> = (0..10).map(|n| stage.named(&format!("/w/s{n}"), &format!("s{n}"))).collect();
    for n in 0..60 {
        stage.say(sessions[n % 10].conn, ask_again(n as u64, sessions[(n + 1) % 10], "ready?"));
    }
    stage.pass(GRACE);
    stage.hush();
    stage.say(sessions[0].conn, ask(100, "s1", "and now?", 60_000));
    assert_eq!(stage.heard(sessions[0]), ["accepted for s1: Accepted"]);
}

#[test]
fn reported_ask_that_nobody_asks_is_closed_at_the_end() {
    let (mut stage, web) = start();
    let api = stage.named("/w/api", "api");
    stage.hush();
    stage.say(api.conn, progress(1, AskState::Shown));
    stage.say(web.conn, progress(1, AskState::Held));
    stage.pass(GRACE);
    assert_eq!(stage.heard(api), ["closed"]);
    assert_eq!(stage.heard(web), ["closed"]);
}

#[test]
fn accepted_ask_goes_to_its_session_whatever_its_name() {
    let (mut stage, web) = start();
    let api = Actor::away();
    stage.say(web.conn, ask_again(1, api, "ready?"));
    let impostor = stage.session("/w/whoever");
    let back = stage.back(api, "/w/api", Some("backend"));
    assert_eq!(stage.heard(impostor), ["welcome, whoever"]);
    assert_eq!(stage.heard(back), ["welcome, backend", "web asks: ready? (60 s)"]);
    assert_eq!(stage.heard(web), ["accepted for backend: Accepted"]);
}

#[test]
fn accepted_ask_whose_session_does_not_return_is_gone() {
    let (mut stage, web) = start();
    let api = Actor::away();
    stage.say(web.conn, ask_again(1, api, "ready?"));
    stage.pass(GRACE);
    assert_eq!(stage.heard(web), ["refused: peer_gone"]);
}

#[test]
fn reply_waits_until_its_ask_is_known_again() {
    let (mut stage, web) = start();
    let api = stage.named("/w/api", "api");
    stage.hush();
    stage.reply(api, id(1), "yes");
    assert_eq!(stage.heard(api), NONE);
    stage.say(web.conn, ask_again(1, api, "ready?"));
    assert_eq!(stage.heard(web), ["accepted for api: Accepted", "api answers: yes"]);
}

#[test]
fn reply_finds_its_ask_though_the_asker_was_lost_again() {
    let (mut stage, web) = start();
    let api = Actor::away();
    stage.say(web.conn, ask_again(1, api, "ready?"));
    stage.pass(GRACE / 2);
    stage.lose(web);
    let api = stage.back(api, "/w/api", Some("api"));
    stage.say(api.conn, progress(1, AskState::Shown));
    stage.reply(api, id(1), "yes");
    stage.hush();
    stage.pass(GRACE / 2);
    assert!(!stage.hub.is_in_grace());
    assert_eq!(stage.heard(api), NONE, "it waits for the asker, who is waited for");
    let web = stage.back(web, "/w/web", Some("web"));
    assert_eq!(stage.heard(web), ["welcome, web", "api answers: yes"]);
    stage.taken(web, id(1), api);
    assert_eq!(stage.heard(api), ["web has the reply"]);
}

#[test]
fn new_ask_of_a_lost_asker_is_its_own_to_send_again() {
    let (mut stage, web) = start();
    stage.ask(web, 1, "api", "ready?");
    stage.lose(web);
    let api = stage.session("/w/api");
    assert_eq!(stage.heard(api), ["welcome, api"]);
}

#[test]
fn reply_that_was_taken_from_a_former_hub_is_told_as_taken() {
    let (mut stage, web) = start();
    let api = stage.named("/w/api", "api");
    stage.hush();
    stage.reply(api, id(1), "yes");
    stage.taken(web, id(1), api);
    stage.reply(api, id(2), "yes");
    assert_eq!(stage.heard(api), ["web has the reply"]);
    stage.pass(GRACE);
    assert_eq!(stage.heard(api), ["refused: unknown_ask"], "nobody knows the other");
    assert_eq!(stage.heard(web), NONE);
}

#[test]
fn waiting_ask_is_withdrawn_by_its_asker_only() {
    let (mut stage, web) = start();
    let db = stage.session("/w/db");
    stage.hush();
    stage.ask(web, 1, "api", "ready?");
    stage.say(db.conn, withdraw(1));
    assert_eq!(stage.heard(web), NONE);
    stage.say(web.conn, withdraw(1));
    assert_eq!(stage.heard(web), ["refused: unknown_ask"], "a request has one answer");
    let api = stage.session("/w/api");
    assert_eq!(stage.heard(api), ["welcome, api"]);
}

#[test]
fn waiting_ask_loses_the_time_that_it_waits() {
    let (mut stage, web) = start();
    stage.say(web.conn, ask(1, "api", "ready?", 1500));
    stage.pass(Duration::from_secs(1));
    let api = stage.session("/w/api");
    stage.hush();
    stage.pass(Duration::from_millis(500));
    assert_eq!(stage.heard(web), ["failed: timeout after Accepted"]);
    assert_eq!(stage.heard(api), ["closed"]);
}

#[test]
fn accepted_ask_is_not_refused_by_the_next_hub_for_its_size() {
    let limits = Limits { open_asks: 2, held_bytes: 2000, ..Limits::default() };
    let mut stage = Stage::in_grace(limits, None);
    let web = stage.named("/w/web", "web");
    let away = Actor::away();
    stage.hush();
    let text = "x".repeat(700);
    // Its session is not back yet, then it is and has some of them, and the pace and the loop brake are not asked.
    for n in 0..3 {
        stage.say(web.conn, ask_again(n, away, &text));
    }
    assert_eq!(stage.heard(web), NONE);
    let api = stage.back(away, "/w/api", Some("api"));
    assert_eq!(stage.heard(web), ["accepted for api: Accepted"; 3]);
    for n in 0..100 {
        stage.say(api.conn, progress(n, AskState::Shown));
    }
    for n in 3..80 {
        stage.say(web.conn, ask_again(n, api, &text));
        let state = if n < 67 { "Shown" } else { "Accepted" };
        assert_eq!(stage.heard(web), [format!("accepted for api: {state}")], "ask {n}");
        stage.say(api.conn, progress(n, AskState::Shown));
    }
    // It is no way around the limits for what is new.
    stage.ask(web, 81, "api", "ready?");
    assert_eq!(stage.heard(web), ["refused: rate_limited"]);
    stage.pass(GRACE);
    stage.say(web.conn, ask_again(82, api, "ready?"));
    assert_eq!(stage.heard(web), ["refused: rate_limited"]);
}

#[test]
fn asks_sent_again_have_a_bound_as_well() {
    let limits = Limits { held_bytes: 2000, ..Limits::default() };
    let mut stage = Stage::in_grace(limits, None);
    let web = stage.named("/w/web", "web");
    stage.hush();
    let mut waits = |n| {
        stage.say(web.conn, ask_again(n, Actor::away(), &"x".repeat(700)));
        stage.heard(web) == NONE
    };
    let waiting = (0..100).take_while(|n| waits(*n)).count();
    assert!((4..8).contains(&waiting), "three times the limit, not {waiting} of 1.2 kB");
}

#[test]
fn waiting_broadcasts_are_bounded_and_handled_one_by_one() {
    let mut stage = Stage::in_grace(Limits { rate: false, ..Limits::default() }, None);
    let sessions: Vec<_> = (0..20).map(|n| stage.session(&format!("/w/s{n}"))).collect();
    stage.hush();
    for session in &sessions {
        for n in 0..BROADCASTS_WAITING_MAX as u64 {
            stage.broadcast(*session, n, "what are you doing?");
        }
        assert_eq!(stage.heard(*session), Vec::<String>::new());
    }
    stage.broadcast(sessions[0], 99, "what are you doing?");
    insta::assert_snapshot!(stage.refusal(sessions[0].conn).message, @"the hub has just started and waits for its sessions to come back; 16 broadcasts of this session wait for that, and the limit is 16");

    // The shell writes when it has polled a little: what is said meanwhile has not been made yet.
    stage.now += GRACE;
    stage.hub.handle_timeout(stage.now);
    let of_one_broadcast = 2 * sessions.len();
    let made = format!("{:?}", stage.hub).matches("Asked(").count();
    assert!(made <= of_one_broadcast, "{made} events at once");
    stage.collect();
    let answered = |stage: &mut Stage, conn| {
        let is_answer = |answer: &&Answer| matches!(answer, Answer::BroadcastAccepted(_));
        stage.answers(conn).iter().filter(is_answer).count()
    };
    for session in &sessions {
        assert_eq!(answered(&mut stage, session.conn), BROADCASTS_WAITING_MAX);
    }
}

#[test]
fn texts_for_a_congested_connection_wait_and_end_there() {
    let mut stage = Stage::new();
    let (web, api) = (stage.session("/w/web"), stage.session("/w/api"));
    stage.hush();
    stage.tell(Input::Congested { conn: api.conn });
    for n in 1..=3 {
        stage.ask(web, n, "api", "ready?");
    }
    assert_eq!(stage.heard(api), Vec::<String>::new());
    assert_eq!(stage.hub.waiting_bytes(api.conn), 3 * "ready?".len());
    stage.say(web.conn, withdraw(2));
    assert_eq!(stage.heard(api), ["closed"]);
    stage.tell(Input::Drained { conn: api.conn });
    assert_eq!(stage.heard(api), ["web asks: ready? (60 s)", "web asks: ready? (60 s)"]);

    stage.hush();
    stage.tell(Input::Congested { conn: web.conn });
    stage.reply(api, id(1), "yes");
    stage.reply(api, id(3), "no");
    assert_eq!(stage.heard(web), Vec::<String>::new());
    stage.tell(Input::Drained { conn: web.conn });
    assert_eq!(stage.heard(web), ["api answers: yes", "api answers: no"]);
    assert_eq!(stage.hub.waiting_bytes(web.conn), 0);
}
