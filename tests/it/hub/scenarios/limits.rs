//! What stops a storm, a ring, a slow or silent client; and what must not be stopped.

use std::time::Duration;

use relay::hub::{CloseReason, HELLO_WAIT, Limits};
use relay::protocol::{Answer, BODY_MAX_BYTES, ClientMessage, ErrorCode, Request};

use crate::support::hub::{Actor, Stage, ask, id, peers, tool, withdraw};

/// The most messages that a ring may make: what the interface promises.
const STORM_MAX: u64 = 60;

fn accepted(stage: &mut Stage, asker: Actor) -> bool {
    stage.is_accepted(asker)
}

/// Lets sessions ask each other in a ring, each as soon as it was asked, and returns how many asks were accepted.
fn ring(size: usize, pause: Duration, answers: bool) -> u64 {
    let mut stage = Stage::new();
    let folders: Vec<String> = (0..size).map(|n| format!("/w/s{n}")).collect();
    let sessions: Vec<Actor> = folders.iter().map(|folder| stage.session(folder)).collect();
    stage.hush();
    for n in 0..10_000 {
        let (asker, asked) = (n as usize % size, (n as usize + 1) % size);
        stage.say(sessions[asker].conn, ask(n, &format!("s{asked}"), "and you?", 3_600_000));
        if !accepted(&mut stage, sessions[asker]) {
            return n;
        }
        if answers {
            stage.reply(sessions[asked], id(n), "fine");
            stage.taken(sessions[asker], id(n), sessions[asked]);
        }
        stage.pass(pause);
    }
    panic!("a ring of {size} is never stopped");
}

#[test]
fn ring_of_sessions_is_stopped() {
    for size in [2, 3, 5] {
        for pause in [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(30)] {
            let made = ring(size, pause, false);
            assert!((1..=STORM_MAX).contains(&made), "{size} sessions, {pause:?}: {made} asks");
        }
        for pause in [Duration::ZERO, Duration::from_secs(5)] {
            let made = ring(size, pause, true);
            assert!((1..=STORM_MAX).contains(&made), "{size} sessions that answer, {pause:?}: {made} asks");
        }
    }
}

#[test]
fn status_counts_programs_and_texts_refused_for_their_size() {
    let mut stage = Stage::new();
    let (web, _api) = (stage.session("/w/web"), stage.session("/w/api"));
    stage.ask(web, 1, "api", &"x".repeat(BODY_MAX_BYTES + 1));
    for empty in [2, 3] {
        stage.ask(web, empty, "api", "");
    }
    stage.hush();
    stage.say(web.conn, ClientMessage::Request(7, Request::Status));
    let status = stage.answers(web.conn).pop();
    let Some(Answer::Status(status)) = status else { panic!("{status:?}") };
    assert_eq!(status.refused, [("text_bytes".to_owned(), 1)].into());
    assert_eq!(status.programs, [("test 1".to_owned(), 2)].into());
}

#[test]
fn storm_is_stopped_in_all_that_began_it_in_the_last_minute() {
    let mut stage = Stage::new();
    let [web, api, db, docs] = ["/w/web", "/w/api", "/w/db", "/w/docs"].map(|folder| stage.session(folder));
    stage.ask(web, 1, "api", "ready?");
    stage.ask(api, 2, "docs", "ready?");
    stage.pass(Duration::from_secs(20));
    stage.ask(api, 3, "db", "ready?");
    stage.ask(db, 4, "web", "ready?");
    stage.hush();
    let made = (100..200).take_while(|n| {
        stage.ask(web, *n, "api", "ready?");
        accepted(&mut stage, web)
    });
    let made = made.count();
    assert!((1..STORM_MAX as usize).contains(&made), "{made}");
    // What it was asked is older than the storm, and what the storm began with.
    stage.ask(docs, 300, "db", "ready?");
    assert_eq!(stage.refusal(docs.conn).code, ErrorCode::LoopDetected);
    let late = stage.session("/w/late");
    stage.hush();
    stage.ask(late, 301, "db", "ready?");
    assert!(accepted(&mut stage, late));
}

#[test]
fn storm_that_was_stopped_stays_so_while_another_is() {
    let mut stage = Stage::new();
    let rooms = [["a", "b", "c"], ["d", "e", "f"]].map(|room| room.map(|name| stage.session(&format!("/w/{name}"))));
    stage.hush();
    for ([first, second, third], names, n) in [(rooms[0], ["b", "c", "a"], 100), (rooms[1], ["e", "f", "d"], 300)] {
        stage.ask(first, n, names[0], "ready?");
        stage.ask(second, n + 1, names[1], "ready?");
        stage.hush();
        let stopped = (n + 2..n + 100).find(|n| {
            stage.ask(third, *n, names[2], "ready?");
            !accepted(&mut stage, third)
        });
        assert!(stopped.is_some());
    }
    stage.pass(Duration::from_secs(20));
    let third = rooms[0][2];
    stage.hush();
    stage.ask(third, 900, "a", "ready?");
    assert_eq!(stage.refusal(third.conn).code, ErrorCode::LoopDetected);
}

#[test]
fn pair_may_ask_in_a_burst_and_then_at_its_rate() {
    let mut stage = Stage::new();
    let (web, _api) = (stage.session("/w/web"), stage.session("/w/api"));
    stage.hush();
    let mut made = 0;
    while {
        stage.ask(web, made, "api", "ready?");
        accepted(&mut stage, web)
    } {
        made += 1;
    }
    assert_eq!(made, 40);
    stage.pass(Duration::from_millis(400));
    stage.ask(web, 100, "api", "ready?");
    assert!(accepted(&mut stage, web));
    stage.ask(web, 101, "api", "ready?");
    assert!(!accepted(&mut stage, web));
}

#[test]
fn shell_is_one_party_however_many_tools_it_runs() {
    let limits = Limits { connections: 10_000, ..Limits::default() };
    let mut stage = Stage::with_limits(limits);
    let (web, _api) = (stage.session("/w/web"), stage.session("/w/api"));
    let mut n = 0_u64;
    let mut run = |stage: &mut Stage, to: &str| {
        n += 1;
        let number = 1_000_000 + n as u32;
        let tool = stage.hello(number, tool(number));
        stage.ask(tool, n, to, "ready?");
        let is_accepted = accepted(stage, tool);
        stage.bye(tool);
        is_accepted
    };
    // Many jobs at once, as a matrix of CI or a hook for each file makes them; then a steady trickle for an hour.
    for job in 0..200 {
        assert!(run(&mut stage, "api"), "job {job}");
    }
    for second in 0..3600 {
        for _ in 0..5 {
            assert!(run(&mut stage, "api"), "second {second}");
        }
        stage.pass(Duration::from_secs(1));
        stage.hush();
    }
    let made = (0..1000).take_while(|_| run(&mut stage, "api")).count();
    assert_eq!(made, 256, "a loop of the shell is stopped, though each run of it is another client");
    assert!(run(&mut stage, "web"), "other sessions can be asked");
    stage.ask(web, 90_000, "api", "ready?");
    assert!(accepted(&mut stage, web), "and sessions ask that one");
}

#[test]
fn ordinary_use_meets_no_limit() {
    let mut stage = Stage::new();
    let sessions: Vec<Actor> = (0..10).map(|n| stage.session(&format!("/w/s{n}"))).collect();
    stage.hush();
    let mut n = 0;
    for second in 0..120u64 {
        for (own, asker) in sessions.iter().enumerate() {
            if second % 2 == 0 {
                // Chains four deep: whoever was asked asks the next one, and answers come back.
                let other = (own + 1 + (second as usize / 2) % 4) % 10;
                n += 1;
                stage.say(asker.conn, ask(n, &format!("s{other}"), "ready?", 60_000));
                assert!(accepted(&mut stage, *asker), "second {second}, session {own}");
                stage.reply(sessions[other], id(n), "yes");
                stage.taken(*asker, id(n), sessions[other]);
            }
            if second % 10 == own as u64 {
                stage.broadcast(*asker, second, "what are you doing?");
                let refused = stage.answers(asker.conn).into_iter().find_map(|answer| match answer {
                    Answer::BroadcastAccepted(accepted) => Some(accepted.refused),
                    _ => None,
                });
                assert_eq!(refused.map(|refused| refused.len()), Some(0), "second {second}, session {own}");
            }
        }
        stage.hush();
        stage.pass(Duration::from_secs(1));
    }
}

#[test]
fn connection_that_says_nothing_is_closed() {
    let mut stage = Stage::new();
    let conn = stage.connect();
    stage.say(conn, peers());
    stage.pass(HELLO_WAIT - Duration::from_millis(1));
    assert_eq!(stage.closed(conn), None);
    stage.pass(Duration::from_millis(1));
    assert_eq!(stage.closed(conn), Some(CloseReason::NoHello));
}

#[test]
fn hub_leaves_when_nobody_was_there_for_its_idle_timeout() {
    let idle = Duration::from_secs(300);
    let mut stage = Stage::in_grace(Limits::default(), Some(idle));
    stage.pass(idle - Duration::from_secs(1));
    let web = stage.session("/w/web");
    stage.pass(idle * 3);
    assert!(!stage.has_left, "somebody is there");
    stage.bye(web);
    stage.pass(idle - Duration::from_millis(1));
    assert!(!stage.has_left);
    stage.pass(Duration::from_millis(1));
    assert!(stage.has_left);

    let mut unused = Stage::in_grace(Limits::default(), Some(idle));
    unused.pass(idle);
    assert!(unused.has_left, "a hub that nobody ever greets leaves as well");
    let mut foreground = Stage::in_grace(Limits::default(), None);
    foreground.pass(idle * 100);
    assert!(!foreground.has_left);
}

#[test]
fn hub_that_slept_long_wakes_once() {
    let mut stage = Stage::in_grace(Limits::default(), Some(Duration::from_secs(10)));
    let (web, _api) = (stage.session("/w/web"), stage.session("/w/api"));
    for n in 0..20 {
        stage.say(web.conn, ask(n, "api", "ready?", 100 + n));
    }
    let _silent = stage.connect();
    // All of it is due at once: one call does it, and nothing is due again at the same time.
    stage.now += Duration::from_secs(3600);
    stage.hub.handle_timeout(stage.now);
    let next = stage.hub.poll_timeout();
    assert!(next.is_none_or(|(at, _)| at > stage.now), "{next:?} spins");
}

/// A hub that holds so many bytes of questions, and of replies; asks are neither paced nor counted.
fn with_room(held_bytes: u64) -> Stage {
    Stage::with_limits(Limits { held_bytes, rate: false, loops: false, ..Limits::default() })
}

/// Asks until that is refused, and returns how many were accepted.
fn fill(stage: &mut Stage, asker: Actor, first: u64, to: &str) -> u64 {
    let accepts = |stage: &mut Stage, n: u64| {
        stage.ask(asker, first + n, to, &"x".repeat(100));
        accepted(stage, asker)
    };
    (0..).find(|n| !accepts(stage, *n)).unwrap()
}

#[test]
fn greedy_sessions_leave_room_for_others() {
    let mut stage = with_room(16_000);
    let (web, api) = (stage.session("/w/web"), stage.session("/w/api"));
    let _mute = stage.session("/w/mute");
    stage.hush();
    let made = [web, api].map(|asker| fill(&mut stage, asker, asker.conn.0 * 1000, "mute"));
    assert_eq!(made, [53, 53], "a third for each");
    let late = stage.session("/w/late");
    stage.hush();
    stage.ask(late, 9000, "web", &"x".repeat(1500));
    assert!(accepted(&mut stage, late));
    // What was taken is given back.
    for n in 0..made[0] {
        stage.say(web.conn, withdraw(web.conn.0 * 1000 + n));
    }
    assert_eq!(fill(&mut stage, web, 5000, "mute"), 53);
}

#[test]
fn questions_take_no_room_of_replies_nor_idle_askers_of_others() {
    let mut stage = with_room(16_000);
    let (hog, web, api) = (stage.session("/w/hog"), stage.session("/w/web"), stage.session("/w/api"));
    let text = "x".repeat(100);
    for n in 0..100 {
        stage.ask(hog, n, "api", "?");
        stage.ask(web, 1000 + n, "api", "?");
    }
    fill(&mut stage, hog, 5000, "api");
    stage.hush();
    let refused = (0..100).find(|n| {
        stage.reply(api, id(*n), &text);
        !stage.messages(api.conn).is_empty()
    });
    assert_eq!(refused, Some(53), "the asker takes nothing: its share");
    for n in 1000..1100 {
        stage.reply(api, id(n), &text);
        stage.taken(web, id(n), api);
        assert_eq!(stage.heard(api), ["web has the reply"]);
    }
}

#[test]
fn open_asks_have_a_bound_in_all() {
    let mut stage = Stage::with_limits(Limits { open_asks: 2, loops: false, ..Limits::default() });
    let sessions: Vec<Actor> = (0..=33).map(|n| stage.session(&format!("/w/s{n}"))).collect();
    stage.hush();
    for n in 0..64 {
        stage.ask(sessions[n as usize / 2], n, &format!("s{}", n / 2 + 1), "ready?");
        assert!(accepted(&mut stage, sessions[n as usize / 2]), "ask {n}");
    }
    stage.ask(sessions[33], 99, "s0", "ready?");
    insta::assert_snapshot!(stage.refusal(sessions[33].conn).message, @"64 asks are open in all; the limit is 64");
}
