//! The waiter as Claude Code starts it: it wakes its session once, and never outlives its use.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::claude_code::{Waiter, prompt, session, wait_for_peer};
use crate::support::hub_process::{HubProcess, RawClient, SOON};
use crate::support::mcp::Session;

fn ask(asker: &mut RawClient, number: u64, question: &str) -> Value {
    let ask_id = relay::protocol::AskId::from_bits(number);
    asker.say(&json!({"type": "ask", "id": number, "ask_id": ask_id, "to": "backend", "question": question, "timeout_ms": 60_000}));
    let accepted = asker.hear();
    assert_eq!(accepted["type"], "accepted", "{accepted}");
    accepted
}

struct Stage {
    hub: HubProcess,
    folder: TempDir,
    asker: RawClient,
}

/// A hub, a client that can ask, and a folder for a session named `backend`.
fn stage() -> Stage {
    let hub = HubProcess::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("backend")).unwrap();
    hub.settle();
    let asker = hub.session("asker");
    Stage { hub, folder, asker }
}

impl Stage {
    fn session(&self) -> Session {
        session(&self.hub, &self.folder.path().join("backend"), self.folder.path()).start()
    }
}

#[test]
fn a_waiter_wakes_its_session_with_the_question_and_with_the_answer() {
    let mut stage = stage();
    let mut waiter = Waiter::start(&stage.hub);
    let session = stage.session();
    wait_for_peer(&mut stage.asker, "backend", "wakes_by", "waiter");
    let accepted = ask(&mut stage.asker, 1, "why <b>?");
    assert_eq!(accepted["state"], "accepted");
    let (status, text) = waiter.end();
    assert_eq!(status, 2);
    let ask_id = accepted["ask_id"].as_str().unwrap();
    let envelope =
        format!("<relay-message kind=\"ask\" from=\"asker\" ask_id=\"{ask_id}\" timeout_s=\"60\">\nwhy <b>?\n");
    assert!(text.contains(&envelope) && text.ends_with("</relay-message>"), "{text}");

    let reply = session.call("relay_reply", json!({"ask_id": ask_id, "text": "because"}));
    assert!(reply.json.get("messages").is_none(), "{}", reply.json);
    assert_eq!(stage.asker.hear()["text"], "because");
}

#[test]
fn a_new_waiter_supersedes_the_older_which_ends_without_a_word() {
    let mut stage = stage();
    let session = stage.session();
    let mut waiters: Vec<Waiter> = Vec::new();
    for _ in 0..3 {
        waiters.push(Waiter::start(&stage.hub));
        wait_for_peer(&mut stage.asker, "backend", "wakes_by", "waiter");
        for older in waiters.iter_mut().rev().skip(1).take(1) {
            assert_eq!(older.end(), (0, String::new()));
        }
    }
    ask(&mut stage.asker, 1, "one");
    let (status, text) = waiters[2].end();
    assert_eq!((status, text.matches("\none\n").count()), (2, 1));
    drop(session);
}

#[test]
fn messages_wait_for_the_next_waiter_in_their_order_and_come_once() {
    let mut stage = stage();
    let session = stage.session();
    wait_for_peer(&mut stage.asker, "backend", "wakes_by", "next_prompt");
    assert_eq!(ask(&mut stage.asker, 1, "one")["state"], "held");
    ask(&mut stage.asker, 2, "two");
    let (status, text) = Waiter::start(&stage.hub).end();
    assert_eq!(status, 2);
    assert!(text.find("\none\n").unwrap() < text.find("\ntwo\n").unwrap(), "{text}");
    assert_eq!(prompt(&stage.hub, "hello"), None);
    assert!(session.call("relay_peers", json!({})).ok().get("messages").is_none());
    let mut next = Waiter::start(&stage.hub);
    wait_for_peer(&mut stage.asker, "backend", "wakes_by", "waiter");
    assert!(next.is_there());
}

#[test]
fn a_waiter_lives_through_the_death_of_the_hub() {
    let mut stage = stage();
    let session = stage.session();
    let mut waiter = Waiter::start(&stage.hub);
    wait_for_peer(&mut stage.asker, "backend", "wakes_by", "waiter");
    for number in 1..=3 {
        stage.hub.kill_and_restart(&[]);
        let mut asker = stage.hub.session("asker");
        wait_for_peer(&mut asker, "backend", "wakes_by", "waiter");
        assert!(waiter.is_there());
        ask(&mut asker, number, &format!("question {number}"));
        let (status, text) = waiter.end();
        assert_eq!((status, text.matches(&format!("\nquestion {number}\n")).count()), (2, 1), "{text}");
        assert_eq!(text.matches("<relay-message ").count(), 1, "{text}");
        waiter = Waiter::start(&stage.hub);
        wait_for_peer(&mut asker, "backend", "wakes_by", "waiter");
    }
    drop(session);
}

#[test]
fn an_idle_session_is_woken_by_what_waits_while_no_hub_is_there() {
    let mut stage = stage();
    let session = stage.session();
    wait_for_peer(&mut stage.asker, "backend", "wakes_by", "next_prompt");
    assert_eq!(ask(&mut stage.asker, 1, "one")["state"], "held");
    stage.hub.kill();
    let (status, text) = Waiter::start(&stage.hub).end();
    assert_eq!((status, text.matches("\none\n").count()), (2, 1), "{text}");
    drop(session);
}

#[test]
fn a_waiter_ends_with_its_session_whether_that_leaves_or_is_killed() {
    let hub = HubProcess::start(&[]);
    let script = "\"$0\" wait </dev/null & echo $!; read line";
    let mut client = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_relay-channel")])
        .env("RELAY_SOCKET", hub.socket())
        .env_remove("CLAUDE_CODE_ENTRYPOINT")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(client.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let waiter = Pid::from_raw(line.trim().parse().unwrap()).unwrap();
    hub.wait_for_log("accepted a connection");
    std::thread::sleep(Duration::from_millis(100));
    assert!(is_running(waiter));
    kill_process(Pid::from_child(&client), Signal::KILL).unwrap();
    client.wait().unwrap();
    let killed = Instant::now();
    while is_running(waiter) {
        assert!(killed.elapsed() < Duration::from_secs(2), "the waiter outlives its client");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// An orphan that has ended may stay as a zombie, where nobody takes orphans in.
fn is_running(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    test_kill_process(pid).is_ok() && !stat.contains(") Z ")
}

#[test]
fn waiter_outlives_its_channel_and_wakes_for_the_next_one() {
    let mut stage = stage();
    let session = stage.session();
    let mut waiter = Waiter::start(&stage.hub);
    wait_for_peer(&mut stage.asker, "backend", "wakes_by", "waiter");
    session.close();
    session.wait();
    std::thread::sleep(Duration::from_secs(3));
    assert!(waiter.is_there(), "its agent lives");
    let _next = stage.session();
    wait_for_peer(&mut stage.asker, "backend", "wakes_by", "waiter");
    ask(&mut stage.asker, 1, "still awake?");
    let (status, text) = waiter.end();
    assert!(status == 2 && text.contains("still awake?"), "{status}: {text}");
}

#[test]
fn an_idle_waiter_and_channel_never_wake_up() {
    let mut stage = stage();
    let session = stage.session();
    let waiter = Waiter::start(&stage.hub);
    wait_for_peer(&mut stage.asker, "backend", "wakes_by", "waiter");
    std::thread::sleep(Duration::from_secs(1));
    let pids = [session.pid, waiter.pid()];
    let before = pids.map(switches);
    std::thread::sleep(SOON / 2);
    assert_eq!(pids.map(switches), before);
}

/// Returns how often a process has gone to sleep.
fn switches(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn asks_are_shown_once_and_answered_once_with_the_hub_killed_at_random() {
    const ASKS: usize = 40;
    const LIMITS: [&str; 4] = ["--limit", "rate=off", "--limit", "loop=off"];
    let mut hub = HubProcess::start(&LIMITS);
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("backend")).unwrap();
    let asker = Session::builder().socket(&hub.socket()).env("RELAY_CHANNEL", "on").cwd(folder.path()).start();
    let answerer = session(&hub, &folder.path().join("backend"), folder.path()).start();
    hub.settle();
    let socket = hub.socket();
    let shown = std::thread::scope(|scope| {
        // The session: each time that it is woken it answers what it was shown, and the turn's end starts a waiter.
        let session = scope.spawn(|| {
            let mut shown = Vec::new();
            while shown.len() < ASKS {
                let (status, text) = Waiter::start_at(&socket).end();
                assert_eq!(status, 2, "a waiter has ended while it was needed");
                let ids = |text: &str| -> Vec<String> {
                    let tags = text.split("<relay-message ").skip(1).filter_map(|tag| tag.split_once(" ask_id=\""));
                    tags.map(|(_, rest)| rest.split('"').next().unwrap().to_owned()).collect()
                };
                let mut new = ids(&text);
                while let Some(ask_id) = new.pop() {
                    let result = answerer.call("relay_reply", json!({"ask_id": ask_id, "text": ask_id})).ok();
                    // Where no hook has come since the last call, what waits goes with the result.
                    let messages = result["messages"].as_array().into_iter().flatten();
                    messages.for_each(|message| new.extend(ids(message.as_str().unwrap())));
                    shown.push(ask_id);
                }
            }
            shown
        });
        let killer = scope.spawn(move || {
            // No pattern with the asks: a different moment of their way each time.
            for pause in [300, 770, 1210, 90, 1630, 410] {
                std::thread::sleep(Duration::from_millis(pause));
                hub.kill_and_restart(&LIMITS);
            }
            hub
        });
        for number in 0..ASKS {
            let asked =
                asker.call("relay_ask", json!({"to": "backend", "question": format!("question {number}")})).ok();
            assert!(asked["ask_id"].is_string(), "{asked}");
            std::thread::sleep(Duration::from_millis(100));
        }
        let shown = session.join().unwrap();
        let _hub = killer.join().unwrap();
        let mut answered: Vec<String> = (0..ASKS)
            .map(|_| {
                let event = asker.event_of("reply");
                assert_eq!(event.get("ask_id"), event.content);
                event.content
            })
            .collect();
        answered.sort();
        answered.dedup();
        assert_eq!(answered.len(), ASKS);
        assert_eq!(asker.events_within(Duration::from_secs(1)), []);
        shown
    });
    let mut once = shown.clone();
    once.sort();
    once.dedup();
    assert_eq!((once.len(), shown.len()), (ASKS, ASKS), "a message was shown twice");
}
