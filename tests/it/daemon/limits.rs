//! What nobody can make a real hub hold, what is told to whoever tries, and that others are served meanwhile.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::hub_process::{HubProcess, RawClient};
use crate::support::stage::Stage;

/// What a hub may have had resident at most, whatever was done to it.
const PEAK_KIB: u64 = 64 * 1024;

/// The most bytes of a text.
const BODY: usize = relay::protocol::BODY_MAX_BYTES;

/// Neither pace nor loops: what is left are the bounds of size.
const UNPACED: [&str; 4] = ["--limit", "rate=off", "--limit", "loop=off"];

fn ask(n: u64, to: &str, question: &str) -> Value {
    let ask_id = relay::protocol::AskId::from_bits(n);
    json!({"type": "ask", "id": n, "ask_id": ask_id, "to": to, "question": question, "timeout_ms": 60_000})
}

/// Two sessions that must not notice what others do.
struct Pair {
    asker: RawClient,
    asked: RawClient,
    n: u64,
}

impl Pair {
    fn of(hub: &HubProcess) -> Self {
        Self { asker: hub.session("quiet-asker"), asked: hub.session("quiet-asked"), n: 1 << 40 }
    }

    /// An ask and its answer go through.
    fn talk(&mut self) {
        self.n += 1;
        self.asker.say(&ask(self.n, "quiet-asked", "still there?"));
        assert_eq!(self.asker.hear()["type"], "accepted");
        let event = self.asked.hear();
        assert_eq!(event["question"], "still there?", "{event}");
        self.asked.say(&json!({"type": "reply", "id": 2, "ask_id": event["ask_id"], "text": "yes"}));
        let reply = self.asker.hear();
        assert_eq!(reply["text"], "yes", "{reply}");
        self.asker.say(&json!({"type": "taken", "ask_id": reply["ask_id"], "by": reply["by"]}));
        assert_eq!(self.asked.hear()["type"], "replied");
    }
}

#[test]
fn a_broadcast_that_eighty_sessions_answer_at_once_and_at_length_is_answered_by_all_of_them() {
    let stage = Stage::settled(&[]);
    let mut sessions: Vec<RawClient> = (0..80).map(|n| stage.hub.session(&format!("s{n}"))).collect();
    let mut broadcast = stage.relayctl(&["broadcast", "--timeout", "60s", "what are you doing?"]);
    let broadcast = broadcast.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let asked: Vec<Value> = sessions.iter_mut().map(RawClient::hear).collect();
    let text = "x".repeat(BODY);
    for (session, event) in sessions.iter_mut().zip(&asked) {
        session.say(&json!({"type": "reply", "id": 2, "ask_id": event["ask_id"], "text": text}));
    }
    let output = broadcast.wait_with_output().unwrap();
    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && talk.ends_with("80 asked: 80 answered\n"), "{}: {talk}", output.status);
    assert!(output.stdout.len() > 80 * BODY);
    for session in &mut sessions {
        assert_eq!(session.hear()["type"], "replied");
    }
    assert!(!stage.hub.log().contains("cut a connection"), "{}", stage.hub.log());
}

#[test]
fn what_is_held_for_a_session_that_comes_back_is_said_again_as_it_reads_it() {
    let hub = HubProcess::start(&UNPACED);
    let mut askers = [hub.session("alice"), hub.session("bob")];
    let mut carol = hub.session("carol");
    let text = "x".repeat(BODY);
    for n in 0..96 {
        let asker = &mut askers[n as usize % 2];
        asker.say(&ask(n, "carol", &text));
        assert_eq!(asker.hear()["type"], "accepted");
        // It does not say that it has it.
        assert_eq!(carol.hear()["type"], "ask");
    }
    drop(carol);
    let mut carol = hub.session("carol");
    for n in 0..96 {
        let event = carol.hear();
        assert_eq!((&event["type"], &event["ask_id"]), (&json!("ask"), &ask(n, "", "")["ask_id"]));
    }
    carol.say(&json!({"type": "status", "id": 3}));
    assert_eq!(carol.hear()["open_asks"], 96, "nothing comes twice");
    assert!(!hub.log().contains("cut a connection"), "{}", hub.log());
}

#[test]
fn whoever_asks_for_many_long_lists_gets_them_as_fast_as_they_are_read_and_does_not_grow_the_hub() {
    const REQUESTS: u64 = 200;
    let hub = HubProcess::start(&[]);
    let _sessions: Vec<RawClient> = (0..300).map(|n| hub.session(&format!("{n}-{}", "x".repeat(900)))).collect();
    let mut pair = Pair::of(&hub);
    let mut reader = hub.session("reader");
    let requests: String = (0..REQUESTS).map(|id| format!("{{\"type\":\"peers\",\"id\":{id}}}\n")).collect();
    reader.write(requests.as_bytes()).unwrap();
    for _ in 0..10 {
        pair.talk();
    }
    for id in 0..REQUESTS {
        let answer = reader.hear();
        assert_eq!((&answer["type"], &answer["id"]), (&json!("peers"), &json!(id)));
    }
    pair.talk();
    assert!(hub.peak_kib() < PEAK_KIB, "{} KiB", hub.peak_kib());
}

#[test]
fn a_first_frame_is_small_until_a_hello_was_accepted() {
    let hub = HubProcess::start(&[]);
    let mut stranger = hub.connect();
    stranger.say(&json!({"type": "peers", "id": 1}));
    assert_eq!(stranger.hear_refusal().0, "not_registered");
    stranger.write(&vec![b' '; 16 * 1024]).unwrap();
    let (code, message, _) = stranger.hear_refusal();
    assert_eq!((code.as_str(), message.as_str()), ("too_large", "a frame is longer than 16384 bytes"));
    stranger.expect_end();
}

#[test]
fn a_frame_of_a_client_may_be_longer_than_a_hello() {
    let hub = HubProcess::start(&[]);
    let (mut pair, mut client) = (Pair::of(&hub), hub.session("long"));
    // As long as a hello may be, and not finished: the hub has read it when the others have talked.
    client.write(&vec![b' '; 16 * 1024]).unwrap();
    pair.talk();
    client.say(&json!({"type": "peers", "id": 7}));
    let answer = client.hear();
    assert_eq!((&answer["type"], &answer["id"]), (&json!("peers"), &json!(7)));
}

#[test]
fn frames_that_never_end_are_given_up_oldest_first_and_others_go_on() {
    let hub = HubProcess::start(&[]);
    let mut pair = Pair::of(&hub);
    let part = vec![b' '; 500 * 1024];
    let mut clients: Vec<RawClient> = (0..40).map(|n| hub.session(&format!("s{n}"))).collect();
    for client in &mut clients {
        client.write(&part).unwrap();
        pair.talk();
    }
    for client in &mut clients[..6] {
        let (code, message, next) = client.hear_refusal();
        assert_eq!((code.as_str(), next.as_str()), ("rate_limited", "connect again, and write each frame at once"));
        assert!(
            message.ends_with(" bytes of unfinished frames wait in the hub and the limit is 16777216"),
            "{message}"
        );
        client.expect_end();
    }
    for client in &mut clients[8..] {
        client.write(b"{\"type\":\"status\",\"id\":2}\n").unwrap();
        assert_eq!(client.hear()["type"], "status");
    }
    assert!(hub.peak_kib() < PEAK_KIB, "{} KiB", hub.peak_kib());
}

/// Returns a tool that wants to be told of everything, texts included.
fn watcher(hub: &HubProcess) -> RawClient {
    let mut client = hub.connect();
    client.say(&json!({
        "type": "hello", "id": 1, "versions": {"min": 1, "max": 1}, "key": "f".repeat(32), "program": "test 1",
        "kind": "control",
    }));
    assert_eq!(client.hear()["type"], "welcome");
    client.say(&json!({"type": "watch", "id": 2, "text": true}));
    assert_eq!(client.hear()["type"], "watching");
    client
}

/// Offers a session that never reads these many texts of the full length.
fn offer(asker: &mut RawClient, numbers: std::ops::Range<u64>, text: &str) {
    for n in numbers {
        let ask_id = relay::protocol::AskId::from_bits(n);
        let frame = format!(
            "{{\"type\":\"ask\",\"id\":{n},\"ask_id\":\"{ask_id}\",\"to\":\"mute\",\"question\":\"{text}\",\"timeout_ms\":60000}}\n\
             {{\"type\":\"withdraw\",\"ask_id\":\"{ask_id}\"}}\n"
        );
        asker.write(frame.as_bytes()).unwrap();
        asker.hear();
    }
}

#[test]
fn a_session_that_never_reads_and_is_offered_a_gigabyte_does_not_grow_the_hub() {
    let hub = HubProcess::start(&UNPACED);
    hub.settle();
    let mut pair = Pair::of(&hub);
    let mut asker = hub.session("asker");
    let (_mute, _watcher) = (hub.session("mute"), watcher(&hub));
    let text = "x".repeat(BODY);
    for first in (0..(1 << 30) / BODY as u64).step_by(256) {
        offer(&mut asker, first..first + 256, &text);
        pair.talk();
    }
    assert!(hub.peak_kib() < PEAK_KIB, "{} KiB", hub.peak_kib());
    // What is held anyway waits where it is held; what a watcher is told is not, and it is cut.
    assert_eq!(hub.log().matches("its reader is too slow").count(), 1, "{}", hub.log());
}

#[test]
fn all_that_waited_for_a_hub_to_settle_is_answered_and_does_not_grow_it() {
    const BROADCASTS: u64 = relay::hub::limits::BROADCASTS_WAITING_MAX as u64;
    let hub = HubProcess::start(&UNPACED);
    let mut sessions: Vec<RawClient> = (0..60).map(|n| hub.session(&format!("s{n}"))).collect();
    for (session, n) in sessions.iter_mut().zip(0u64..) {
        for id in n * BROADCASTS..(n + 1) * BROADCASTS {
            let broadcast = relay::protocol::BroadcastId::from_bits(id);
            session.say(&json!({
                "type": "broadcast", "id": id, "broadcast_id": broadcast, "question": "?", "timeout_ms": 60_000,
            }));
        }
    }
    for session in &mut sessions {
        let mut answered = 0;
        while answered < BROADCASTS {
            let message = session.hear();
            if message["type"] == "broadcast_accepted" {
                assert_eq!(
                    ["asks", "refused"].map(|list| message[list].as_array().unwrap().len()).iter().sum::<usize>(),
                    59
                );
                answered += 1;
            }
        }
    }
    // Half of it are the open asks; all the answers at once would be more than the rest.
    assert!(hub.peak_kib() < 40 * 1024, "{} KiB", hub.peak_kib());
}

#[test]
fn a_stuck_reader_is_cut_within_seconds_and_a_slow_one_never() {
    let hub = HubProcess::start(&["--limit", "queued_bytes=1000000", "--limit", "rate=off"]);
    hub.settle();
    let mut asker = hub.session("asker");
    let (stuck, mut slow) = (hub.session("stuck"), hub.session("slow"));
    let reader = std::thread::spawn(move || {
        for n in 0..20 {
            std::thread::sleep(Duration::from_millis(150));
            assert_eq!(slow.hear()["ask_id"], ask(2 * n + 1, "", "")["ask_id"]);
        }
        slow
    });
    let text = "x".repeat(BODY);
    for n in 0..40 {
        asker.say(&ask(n, ["stuck", "slow"][n as usize % 2], &text));
        assert_eq!(asker.hear()["type"], "accepted");
    }
    hub.wait_for_log("its reader is too slow");
    for _ in 0..20 {
        let failed = asker.hear();
        assert_eq!((&failed["type"], &failed["code"]), (&json!("failed"), &json!("peer_gone")));
    }
    let mut slow = reader.join().unwrap();
    drop(stuck);
    slow.say(&json!({"type": "status", "id": 2}));
    assert_eq!(slow.hear()["refused"]["queued_bytes"], 1);
}

/// Starts a hub whose process may have so many open files, as `ulimit` sets it.
fn hub_with_files(ulimit: &str) -> HubProcess {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("relay-hub");
    let script = format!("#!/bin/sh\nulimit {ulimit}\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_relay-hub"));
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    HubProcess::start_program(&program, &UNPACED)
}

#[test]
fn a_hub_raises_its_limit_of_open_files_to_what_its_connections_need() {
    let hub = hub_with_files("-Sn 256");
    // A socket that listens is not yet a hub that runs: the limit is raised in between.
    let _served = hub.session("s");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", hub.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(line.split_whitespace().nth(3), Some("2112"), "{line}");
}

#[test]
fn whoever_does_not_fit_into_the_open_files_is_told_and_the_log_is_not_flooded() {
    let hub = hub_with_files("-n 128");
    let mut pair = Pair::of(&hub);
    let mut clients: Vec<RawClient> = (0..62).map(|n| hub.session(&format!("s{n}"))).collect();
    let refused: Vec<RawClient> = (0..300).map(|_| hub.connect()).collect();
    for mut client in refused {
        let (code, message, next) = client.hear_refusal();
        assert_eq!((code.as_str(), message.as_str()), ("rate_limited", "the hub has 64 connections; the limit is 64"));
        assert!(next.contains("raise the limit: relay-hub --limit connections="), "{next}");
        client.expect_end();
    }
    pair.talk();
    let mut leaver = clients.pop().unwrap();
    leaver.say(&json!({"type": "bye"}));
    leaver.expect_end();
    let mut late = hub.session("late");
    late.say(&json!({"type": "status", "id": 2}));
    assert_eq!(late.hear()["connections"], 64);
    let log = hub.log();
    assert!(!log.contains("could not accept"), "{log}");
    assert!(log.matches("TooManyConnections").count() < 10, "{log}");
}

#[test]
fn a_storm_of_clients_that_connect_and_leave_exhausts_nothing() {
    let hub = hub_with_files("-n 128");
    let mut pair = Pair::of(&hub);
    let socket = hub.socket();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 0..500 {
                    let mut stream = UnixStream::connect(&socket).unwrap();
                    if n % 3 == 0 {
                        let _refused_meanwhile = stream.write_all(b"{\"type\":\"peers\",\"id\":1}\n{\"type\"");
                    }
                }
            });
        }
        for _ in 0..50 {
            pair.talk();
        }
    });
    pair.talk();
    assert!(!hub.log().contains("could not accept"), "{}", hub.log());
}
