//! A good record, and one for each promise that is broken: the checker must bite.

use serde_json::json;

use super::*;
use crate::support::record::Life;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn call(tool: &'static str, arguments: Value, sent: u64, at: u64, json: Value) -> Called {
    let is_error = json.get("error").is_some();
    Called { tool, arguments, sent: ms(sent), answer: Some(Answered { at: ms(at), json, is_error }) }
}

fn event(at: u64, content: &str, meta: &[(&str, &str)]) -> Shown {
    let meta = meta.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Shown { at: ms(at), content: content.to_owned(), meta }
}

fn peers(you: &str, others: &[&str], sent: u64) -> Called {
    let peers: Vec<Value> = others.iter().map(|name| json!({"name": name})).collect();
    call("relay_peers", json!({}), sent, sent + 5, json!({"you": you, "peers": peers}))
}

fn unknown_ask() -> Value {
    json!({"error": {"code": "unknown_ask"}})
}

fn ask(to: &str, question: &str, sent: u64, id: &str) -> Called {
    let arguments = json!({"to": to, "question": question, "timeout_seconds": 3});
    call("relay_ask", arguments, sent, sent + 10, json!({"ask_id": id, "to": to, "state": "accepted"}))
}

/// `a` tells `c`.
fn tell(text: &str, sent: u64, id: &str) -> Called {
    let arguments = json!({"to": "c", "text": text, "timeout_seconds": 3});
    call("relay_tell", arguments, sent, sent + 10, json!({"tell_id": id, "to": "c", "state": "accepted"}))
}

fn told(at: u64, text: &str, id: &str) -> Shown {
    event(at, text, &[("kind", "tell"), ("from", "a"), ("tell_id", id)])
}

fn question(at: u64, text: &str, id: &str) -> Shown {
    event(at, text, &[("kind", "ask"), ("from", "a"), ("ask_id", id)])
}

fn reply(id: &str, text: &str, sent: u64, json: Value) -> Called {
    call("relay_reply", json!({"ask_id": id, "text": text}), sent, sent + 10, json)
}

/// `a` asks `b` (answered), `c` (silent) and everybody (one answers, one is late), and one ask fails for want of a hub.
fn asker() -> Log {
    Log {
        name: "a".into(),
        calls: vec![
            peers("a", &["b", "c"], 100),
            ask("b", "q1", 1000, "i1"),
            ask("c", "q2", 1000, "i2"),
            call(
                "relay_broadcast",
                json!({"question": "q3", "timeout_seconds": 2}),
                10_000,
                10_010,
                json!({"broadcast_id": "B", "refused": [], "asks": [{"to": "b", "ask_id": "i3"}, {"to": "c", "ask_id": "i4"}]}),
            ),
            call(
                "relay_ask",
                json!({"to": "b", "question": "q5"}),
                4999,
                9999,
                json!({"error": {"code": "hub_unreachable"}}),
            ),
            tell("t1", 1500, "j1"),
            peers("a", &["b", "c"], 5300),
        ],
        events: vec![
            event(1030, "r1", &[("kind", "reply"), ("from", "b"), ("ask_id", "i1")]),
            event(4001, "no", &[("kind", "failed"), ("from", "c"), ("ask_id", "i2"), ("code", "timeout")]),
            event(11_000, "r3", &[("kind", "reply"), ("from", "b"), ("ask_id", "i3"), ("broadcast_id", "B")]),
            event(
                12_001,
                "no",
                &[("kind", "failed"), ("from", "c"), ("ask_id", "i4"), ("code", "timeout"), ("broadcast_id", "B")],
            ),
            event(
                12_002,
                "",
                &[
                    ("kind", "tally"),
                    ("broadcast_id", "B"),
                    ("asked", "2"),
                    ("replied", "1"),
                    ("timed_out", "1"),
                    ("gone", "0"),
                    ("refused", "0"),
                ],
            ),
        ],
    }
}

/// The hub is killed at 5 s and at 5.2 s.
fn good() -> Record {
    let b = Log {
        name: "b".into(),
        calls: vec![
            peers("b", &["a", "c"], 100),
            reply("i1", "r1", 1020, json!({"state": "accepted"})),
            reply("i3", "r3", 10_500, json!({"state": "pending"})),
            reply("i5", "r5", 6000, unknown_ask()),
            peers("b", &["a", "c"], 5900),
        ],
        events: vec![question(1012, "q1", "i1"), question(5010, "q5", "i5"), question(10_012, "q3", "i3")],
    };
    let c = Log {
        name: "c".into(),
        calls: vec![
            peers("c", &["a", "b"], 100),
            reply("i4", "r4", 12_100, unknown_ask()),
            peers("c", &["a", "b"], 5900),
        ],
        events: vec![question(1012, "q2", "i2"), question(10_012, "q3", "i4"), told(1512, "t1", "j1")],
    };
    let lives =
        [(0, 5000), (5100, 5200), (5210, 20_000)].map(|(from, until)| Life { from: ms(from), until: ms(until) });
    Record {
        sessions: vec![asker(), b, c],
        lives: lives.to_vec(),
        waited: Vec::new(),
        asked_until: ms(16_000),
        end: ms(20_000),
    }
}

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

/// Plants something in the good record, and expects to be told so.
#[track_caller]
fn bites(says: &str, plant: impl FnOnce(&mut Record)) {
    let mut record = good();
    plant(&mut record);
    let found = violations(&record);
    assert!(found.iter().any(|violation| violation.contains(says)), "{says:?} is not in {found:#?}");
}

#[test]
fn a_good_record_is_without_blame() {
    assert_eq!(violations(&good()), Vec::<String>::new());
}

#[test]
fn what_processes_waited_for_is_granted_and_no_more() {
    let late = |waited_by_then: u64| {
        let mut record = good();
        record.sessions[A].events[1].at = ms(5100);
        record.waited = vec![(ms(3900), ms(900)), (ms(5150), ms(900 + waited_by_then)), (ms(9000), ms(9000))];
        violations(&record)
    };
    assert_eq!(late(100), Vec::<String>::new());
    assert!(late(90)[0].contains("ended only at 5.1s"));
}

#[test]
fn the_time_until_a_hub_is_started_is_granted_and_no_more() {
    let late = |from: u64| {
        let mut record = good();
        record.lives[2].from = ms(from);
        for log in &mut record.sessions {
            let back = log.calls.last_mut().unwrap();
            (back.sent, back.answer.as_mut().unwrap().at) = (ms(8000), ms(8005));
        }
        violations(&record)
    };
    assert_eq!(late(6005), Vec::<String>::new());
    assert!(late(6000)[0].contains("a was not back 2s after the start of a hub at 6s"));
    // In its last moments, when nobody lists any more, a hub is not expected to have been asked.
    assert_eq!(late(14_001), Vec::<String>::new());
    let mut record = good();
    record.lives.pop();
    assert!(violations(&record).iter().any(|found| found.contains("no hub in the end")));
}

#[test]
fn a_hub_that_died_before_it_owed_anything_is_not_blamed() {
    let lost = |until: u64| {
        let mut record = good();
        record.lives[0].until = ms(until);
        record.sessions[C].events.remove(0);
        violations(&record)
    };
    assert_eq!(lost(3509), Vec::<String>::new());
    assert!(lost(3510)[0].contains("c was not shown"));
}

#[test]
fn an_ask_without_an_outcome_with_two_or_a_late_one() {
    bites("has 0 outcomes", |record| drop(record.sessions[A].events.remove(0)));
    bites("has 2 outcomes", |record| {
        let again = record.sessions[A].events[0].clone();
        record.sessions[A].events.push(again);
    });
    bites("has 2 outcomes", |record| {
        record.sessions[A].events.push(event(
            2000,
            "",
            &[("kind", "failed"), ("from", "b"), ("ask_id", "i1"), ("code", "timeout")],
        ));
    });
    bites("ended only at 5.1s", |record| record.sessions[A].events[1].at = ms(5100));
    bites("timed out early", |record| record.sessions[A].events[1].at = ms(3900));
    bites("two asks have the id i1", |record| {
        let again = record.sessions[A].calls[1].clone();
        record.sessions[A].calls.push(again);
    });
}

#[test]
fn an_outcome_that_is_false() {
    bites("though its peer lives", |record| {
        record.sessions[A].events[1].meta.insert("code".into(), "peer_gone".into());
    });
    bites("ended as another", |record| {
        record.sessions[A].events[1].meta.insert("from".into(), "b".into());
    });
    bites("what it had not asked", |record| {
        record.sessions[B].events.push(event(1, "", &[("kind", "failed"), ("ask_id", "i2")]));
    });
}

#[test]
fn a_question_that_is_shown_twice_to_another_or_not_at_all() {
    bites("again at", |record| {
        let mut again = record.sessions[B].events[0].clone();
        again.meta.insert("ask_id".into(), "i9".into());
        record.sessions[B].events.push(again);
    });
    bites("was shown to somebody else", |record| {
        let stray = record.sessions[B].events[0].clone();
        record.sessions[C].events.push(stray);
    });
    bites("nobody asked b", |record| record.sessions[B].events[0].content = "q9".into());
    bites("nobody asked b", |record| {
        record.sessions[B].events[0].meta.insert("from".into(), "c".into());
    });
    bites("c was not shown \"q2\" (i2) by 3.51s", |record| drop(record.sessions[C].events.remove(0)));
}

#[test]
fn a_reply_that_is_lost_invented_or_falsely_reported() {
    bites("it must have arrived", |record| record.sessions[A].events[0].content = "r0".into());
    bites("a reply that nobody said", |record| record.sessions[A].events[0].content = "r0".into());
    bites("it must arrive or be told", |record| record.sessions[A].events[2].content = "r0".into());
    let told = |id: &str| event(12_000, "", &[("kind", "reply_failed"), ("ask_id", id)]);
    bites("it must arrive or be told", |record| record.sessions[B].events.push(told("i3")));
    bites("it must have arrived", |record| record.sessions[B].events.push(told("i1")));
    bites("it must not arrive", |record| {
        record.sessions[B].calls[1] = call(
            "relay_reply",
            json!({"ask_id": "i1", "text": "r1"}),
            1020,
            4500,
            json!({"error": {"code": "unknown_ask"}}),
        );
    });
    bites("refused before its deadline", |record| record.sessions[C].calls[1].answer.as_mut().unwrap().at = ms(11_900));
    bites("lost though the hub lived", |record| {
        record.sessions[C].calls.push(call(
            "relay_reply",
            json!({"ask_id": "i2", "text": "r2"}),
            1100,
            1110,
            json!({"state": "pending"}),
        ));
        record.sessions[C].events.push(told("i2"));
    });
}

#[test]
fn a_tell_that_is_lost_repeated_or_said_to_have_failed() {
    let failed =
        |at, code: &str| event(at, "", &[("kind", "failed"), ("from", "c"), ("tell_id", "j1"), ("code", code)]);
    bites("was lost without a word", |record| drop(record.sessions[C].events.pop()));
    bites("had not come by 4.01s", |record| record.sessions[C].events[2].at = ms(4100));
    for (session, text) in [(C, "t1"), (B, "t1")] {
        bites("shown [", |record| record.sessions[session].events.push(told(2000, text, "j1")));
    }
    bites("shown [", |record| record.sessions[C].events[2].content = "t9".into());
    bites("though the hub lived", |record| record.sessions[A].events.push(failed(4501, "timeout")));
    bites("failed too late", |record| record.sessions[A].events.push(failed(5600, "timeout")));
    for end in [failed(4400, "timeout"), failed(4501, "peer_gone")] {
        bites("there was time and its peer lives", |record| record.sessions[A].events.push(end));
    }
}

#[test]
fn a_tally_that_is_missing_false_or_early() {
    bites("has 0 tallies", |record| drop(record.sessions[A].events.pop()));
    bites("has 2 tallies", |record| {
        let again = record.sessions[A].events[4].clone();
        record.sessions[A].events.push(again);
    });
    bites("true are", |record| {
        record.sessions[A].events[4].meta.insert("replied".into(), "2".into());
    });
    bites("closed before its last outcome", |record| record.sessions[A].events[4].at = ms(11_500));
    bites("did not reach everybody", |record| {
        record.sessions[A].calls[3].answer.as_mut().unwrap().json["asks"].as_array_mut().unwrap().pop();
    });
    bites("the tally of what it had not asked", |record| {
        record.sessions[B].events.push(event(1, "", &[("kind", "tally"), ("broadcast_id", "X")]));
    });
}

#[test]
fn a_name_that_changes_and_a_session_that_is_missing() {
    let peers_of = |you: &str, others: &[&str]| peers(you, others, 15_000);
    bites("a at 15s saw", |record| record.sessions[A].calls.push(peers_of("a-2", &["b", "c"])));
    bites("a at 15s saw", |record| record.sessions[A].calls.push(peers_of("a", &["b", "c-2"])));
    bites("a at 15s saw", |record| record.sessions[A].calls.push(peers_of("a", &["b", "b"])));
    bites("a at 15s saw", |record| record.sessions[A].calls.push(peers_of("a", &["b"])));
    let mut record = good();
    let mut settling = peers_of("a", &["b"]);
    settling.answer.as_mut().unwrap().json["settling"] = true.into();
    record.sessions[A].calls.push(settling);
    assert_eq!(violations(&record), Vec::<String>::new(), "a hub that settles need not know everybody");
}

#[test]
fn a_channel_that_does_not_come_back_and_a_call_that_hangs() {
    bites("b was not back 2s after the start of a hub at 5.21s", |record| drop(record.sessions[B].calls.pop()));
    bites("b was not back 2s after the start of a hub at 5.21s", |record| {
        record.sessions[B].calls.last_mut().unwrap().answer.as_mut().unwrap().at = ms(7300);
    });
    bites("was never answered", |record| record.sessions[A].calls[0].answer = None);
    bites("was answered after", |record| record.sessions[A].calls[4].answer.as_mut().unwrap().at = ms(12_000));
    bites("was refused", |record| {
        record.sessions[A].calls[4].answer.as_mut().unwrap().json = json!({"error": {"code": "peer_not_found"}});
    });
}
