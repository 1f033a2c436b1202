//! What a real hub answers on its socket: every refusal, and bad input that no other peer may notice.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use relay::protocol::ErrorCode;
use serde_json::{Value, json};

use crate::support::hub_process::{HubProcess, RawClient, SOON};

const HUB: [&str; 0] = [];

fn ask(id: u64, ask_id: u64, to: &str, timeout_ms: u64) -> Value {
    let ask_id = relay::protocol::AskId::from_bits(ask_id);
    json!({"type": "ask", "id": id, "ask_id": ask_id, "to": to, "question": "why?", "timeout_ms": timeout_ms})
}

/// Two sessions that must not notice what others do: an ask and its answer go through within the time.
fn assert_undisturbed(asker: &mut RawClient, asked: &mut RawClient, to: &str, ask_id: u64) {
    let started = Instant::now();
    asker.say(&ask(100, ask_id, to, 60_000));
    assert_eq!(asker.hear()["type"], "accepted");
    let event = asked.hear();
    assert_eq!(event["type"], "ask", "{event}");
    asked.say(&json!({"type": "reply", "id": 100, "ask_id": event["ask_id"], "text": "because"}));
    let reply = asker.hear();
    assert_eq!(reply["text"], "because", "{reply}");
    asker.say(&json!({"type": "taken", "ask_id": reply["ask_id"], "by": reply["by"]}));
    assert_eq!(asked.hear()["type"], "replied");
    assert!(started.elapsed() < SOON);
}

#[test]
fn an_ask_goes_its_way_and_its_answer_comes_back() {
    let hub = HubProcess::start(&HUB);
    let (mut alice, mut bob) = (hub.session("alice"), hub.session("Bob's App"));
    alice.say(&ask(2, 1, "Bob's App", 60_000));
    let accepted = alice.hear();
    assert_eq!((&accepted["to"], &accepted["state"]), (&json!("bob-s-app"), &json!("accepted")));
    let event = bob.hear();
    assert_eq!((&event["type"], &event["from"], &event["question"]), (&json!("ask"), &json!("alice"), &json!("why?")));
    bob.say(&json!({"type": "progress", "ask_id": event["ask_id"], "state": "handed_over"}));
    bob.say(&json!({"type": "reply", "id": 2, "ask_id": event["ask_id"], "text": "so"}));
    let reply = alice.hear();
    assert_eq!((&reply["type"], &reply["from"], &reply["text"]), (&json!("reply"), &json!("bob-s-app"), &json!("so")));
    bob.expect_silence(Duration::from_millis(50));
    alice.say(&json!({"type": "taken", "ask_id": reply["ask_id"], "by": reply["by"]}));
    assert_eq!(bob.hear(), json!({"type": "replied", "id": 2, "ask_id": reply["ask_id"], "to": "alice"}));
}

#[test]
fn every_refusal_of_the_hub_is_reached_and_says_what_to_do() {
    let hub = HubProcess::start(&["--limit", "open_asks=3"]);
    hub.settle();
    let mut seen = BTreeSet::new();
    let mut expect = |client: &mut RawClient, code: &str, says: &str| {
        let (got, message, next) = client.hear_refusal();
        assert_eq!(got, code, "{message}");
        assert!(message.contains(says), "{message}");
        assert!(!next.is_empty());
        seen.insert(got);
    };

    let mut stranger = hub.connect();
    stranger.say(&json!({"type": "peers", "id": 1}));
    expect(&mut stranger, "not_registered", "peers needs a hello first");
    stranger.say(&json!({
        "type": "hello", "id": 2, "versions": {"min": 90, "max": 99}, "key": "0".repeat(32), "program": "future 9",
        "kind": "control",
    }));
    expect(&mut stranger, "protocol_mismatch", "future 9 speaks protocol 90 to 99");
    stranger.expect_end();

    let (mut alice, mut bob) = (hub.session("alice"), hub.session("bob"));
    alice.say(&json!({
        "type": "hello", "id": 2, "versions": {"min": 1, "max": 2}, "key": "1".repeat(32), "program": "test 1",
        "kind": "control",
    }));
    expect(&mut alice, "already_registered", "sent hello before");
    alice.say(&json!({"type": "dance", "id": 3}));
    expect(&mut alice, "bad_msg", "no request has the type \"dance\"");
    alice.say(&ask(4, 1, "nobody", 60_000));
    expect(&mut alice, "peer_not_found", "no session is named nobody");
    alice.say(&ask(5, 2, "alice", 60_000));
    expect(&mut alice, "bad_args", "alice is this session itself");
    alice.say(&ask(6, 3, "bob", 0));
    expect(&mut alice, "bad_args", "out of bounds: 1 to 86400 s");
    alice.say(&json!({"type": "rename", "id": 7, "name": "bob"}));
    expect(&mut alice, "name_taken", "another session is named bob");
    alice.say(&json!({"type": "rename", "id": 8, "name": "everyone"}));
    expect(&mut alice, "bad_args", "reserved");
    alice.say(&json!({"type": "reply", "id": 9, "ask_id": "0000-0000-0009", "text": "hm"}));
    expect(&mut alice, "unknown_ask", "no open ask 0000-0000-0009");
    let mut long = ask(10, 4, "bob", 60_000);
    long["question"] = json!("x".repeat(65_537));
    alice.say(&long);
    expect(&mut alice, "too_large", "65537 bytes; the limit is 65536");

    for n in 10..13 {
        alice.say(&ask(n, n, "bob", 60_000));
        assert_eq!(alice.hear()["type"], "accepted");
        assert_eq!(bob.hear()["type"], "ask");
    }
    alice.say(&ask(20, 20, "bob", 60_000));
    expect(&mut alice, "rate_limited", "waits for 3 replies; the limit is 3");
    let mut carol = hub.session("carol");
    carol.say(&ask(2, 21, "bob", 60_000));
    expect(&mut carol, "peer_busy", "3 asks wait for bob; the limit is 3");

    bob.say(&json!({"type": "bye"}));
    bob.expect_end();
    for _ in 10..13 {
        let failed = alice.hear();
        assert_eq!((&failed["type"], &failed["code"]), (&json!("failed"), &json!("peer_gone")));
        seen.insert("peer_gone".to_owned());
    }
    alice.say(&ask(30, 30, "carol", 50));
    assert_eq!(alice.hear()["type"], "accepted");
    let failed = alice.hear();
    assert_eq!((&failed["type"], &failed["code"]), (&json!("failed"), &json!("timeout")));
    seen.insert("timeout".to_owned());

    seen.insert(loop_of_two(&hub));
    // No hub is needed for this one: the channel's and the shell's tests reach it.
    seen.insert("hub_unreachable".to_owned());
    // Those of other machines are met where there are some: tests/it/bridge.
    let of_machines = [ErrorCode::MachineUnreachable, ErrorCode::NotAllowed, ErrorCode::Unconfirmed];
    let others = ErrorCode::ALL.into_iter().filter(|code| !of_machines.contains(code));
    assert_eq!(seen, others.map(|code| code.to_string()).collect());
}

/// Two sessions that ask back whenever they are asked, until one of them is refused; returns the code.
fn loop_of_two(hub: &HubProcess) -> String {
    let mut sessions = [hub.session("ping"), hub.session("pong")];
    for n in 0..60 {
        let from = n % 2;
        sessions[from].say(&ask(2, 1000 + n as u64, ["pong", "ping"][from], 60_000));
        let answer = sessions[from].hear();
        if answer["type"] == "error" {
            return answer["code"].as_str().unwrap().to_owned();
        }
        let event = sessions[1 - from].hear();
        sessions[1 - from].say(&json!({"type": "reply", "id": 3, "ask_id": event["ask_id"], "text": "and you?"}));
        let reply = sessions[from].hear();
        sessions[from].say(&json!({"type": "taken", "ask_id": reply["ask_id"], "by": reply["by"]}));
        assert_eq!(sessions[1 - from].hear()["type"], "replied");
    }
    panic!("60 asks went round");
}

#[test]
fn bad_input_gets_its_answer_and_no_other_peer_notices() {
    let hub = HubProcess::start(&HUB);
    let (mut alice, mut bob) = (hub.session("alice"), hub.session("bob"));
    let mut ask_id = 1;
    let mut undisturbed = || {
        assert_undisturbed(&mut alice, &mut bob, "bob", ask_id);
        ask_id += 1;
    };

    for (bytes, code) in [
        (b"garbage\n".as_slice(), "bad_msg"),
        (b"[1,2]\n", "bad_msg"),
        (b"\xff\xfe{}\n", "bad_msg"),
        (b"\n", "bad_msg"),
        (&[b'x'; 16 * 1024], "too_large"),
    ] {
        let mut client = hub.connect();
        client.write(bytes).unwrap();
        assert_eq!(client.hear_refusal().0, code);
        client.expect_end();
        undisturbed();
    }

    let mut half = hub.connect();
    half.write(b"{\"type\":\"hel").unwrap();
    drop(half);
    hub.wait_for_log("dropped half a frame");
    undisturbed();

    let mut registered = hub.session("carol");
    for message in [
        json!({"type": "ask", "id": "two", "ask_id": "0000-0000-0001", "to": "bob", "question": "", "timeout_ms": 1}),
        json!({"type": "ask", "id": 2, "ask_id": "0000-0000-0001", "to": "bob", "question": 5, "timeout_ms": 1}),
        json!({"type": "ask", "id": 2, "ask_id": "not an id", "to": "bob", "question": "?", "timeout_ms": 1}),
        json!({"type": "ask", "id": 2, "ask_id": "0000-0000-0001", "to": "bob", "question": "?", "timeout_ms": -1}),
        json!({"type": "reply"}),
        json!({"type": 7, "id": 2}),
        json!({"id": 2}),
    ] {
        registered.say(&message);
        assert_eq!(registered.hear_refusal().0, "bad_msg", "{message}");
    }
    undisturbed();
    registered.write(&vec![b' '; 512 * 1024]).unwrap();
    assert_eq!(registered.hear_refusal().0, "too_large");
    undisturbed();
}

#[test]
fn a_frame_may_come_byte_by_byte() {
    let hub = HubProcess::start(&HUB);
    let mut client = hub.session("slow");
    for byte in b"{\"type\":\"status\",\"id\":2}\n" {
        client.write(&[*byte]).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(client.hear()["id"], 2);
}

#[test]
fn a_thousand_connections_that_say_nothing_are_closed_and_nobody_waits_for_them() {
    let hub = HubProcess::start(&HUB);
    let (mut alice, mut bob) = (hub.session("alice"), hub.session("bob"));
    let silent: Vec<RawClient> = (0..1000).map(|_| hub.connect()).collect();
    assert_undisturbed(&mut alice, &mut bob, "bob", 1);
    for mut client in silent {
        client.expect_end();
    }
    hub.wait_for_log("NoHello");
    assert_undisturbed(&mut alice, &mut bob, "bob", 2);
}

#[test]
fn more_connections_than_the_limit_are_told_so() {
    let hub = HubProcess::start(&["--limit", "connections=3"]);
    let (mut alice, mut bob) = (hub.session("alice"), hub.session("bob"));
    let _third = hub.session("carol");
    let mut fourth = hub.connect();
    let (code, message, _) = fourth.hear_refusal();
    assert_eq!(code, "rate_limited");
    assert!(message.contains("the limit is 3"), "{message}");
    fourth.expect_end();
    assert_undisturbed(&mut alice, &mut bob, "bob", 1);
}

#[test]
fn a_reader_that_is_too_slow_is_cut_and_the_hub_stays_small() {
    let hub = HubProcess::start(&["--limit", "rate=off", "--limit", "loop=off", "--limit", "queued_bytes=1000000"]);
    let (mut alice, mut bob) = (hub.session("alice"), hub.session("bob"));
    let _never_reads = hub.session("mute");
    let question = "x".repeat(60_000);
    for n in 0..200 {
        let mut message = ask(2, 1000 + n, "mute", 60_000);
        message["question"] = json!(question);
        alice.say(&message);
        let answer = alice.hear();
        if answer["type"] == "error" {
            break;
        }
    }
    hub.wait_for_log("its reader is too slow");
    assert!(hub.resident_kib() < 64 * 1024, "{} KiB", hub.resident_kib());
    bob.say(&json!({"type": "status", "id": 2}));
    assert_eq!(bob.hear()["type"], "status");
}

#[test]
fn a_client_that_floods_waits_and_others_do_not() {
    let hub = HubProcess::start(&["--limit", "rate=off", "--limit", "loop=off"]);
    let (mut alice, mut bob) = (hub.session("alice"), hub.session("bob"));
    let mut flooder = hub.session("flooder");
    let flood: String = (0..20_000).map(|id| format!("{{\"type\":\"peers\",\"id\":{id}}}\n")).collect();
    let writer = std::thread::spawn(move || flooder.write(flood.as_bytes()));
    for n in 1..20 {
        assert_undisturbed(&mut alice, &mut bob, "bob", n);
    }
    // Its answers fill what it does not read: it is cut or still writing, and either way nobody else noticed.
    drop(hub);
    let _cut = writer.join().unwrap();
}

#[test]
fn a_lost_connection_of_a_living_process_is_waited_for() {
    let hub = HubProcess::start(&HUB);
    hub.settle();
    let (mut alice, bob) = (hub.session("alice"), hub.session("bob"));
    alice.say(&ask(2, 1, "bob", 60_000));
    assert_eq!(alice.hear()["type"], "accepted");
    drop(bob);
    alice.expect_silence(Duration::from_millis(500));
    let mut bob = hub.session("bob");
    let event = bob.hear();
    assert_eq!(event["question"], "why?", "the question was not handed over: it comes again");
    drop(bob);
    let failed = alice.hear();
    assert_eq!(failed["code"], "peer_gone");
}

#[test]
fn newer_of_two_connections_of_a_session_stays() {
    let hub = HubProcess::start(&HUB);
    let mut older = hub.session("alice");
    let mut newer = hub.session("alice");
    assert_eq!(older.hear_refusal().0, "already_registered");
    older.expect_end();
    newer.say(&json!({"type": "peers", "id": 2}));
    let answer = newer.hear();
    assert_eq!((&answer["you"], &answer["peers"]), (&json!("alice"), &json!([])));
}
