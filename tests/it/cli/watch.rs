//! What those hear who watch the hub, on the wire and from `relayctl watch`.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::hub_process::{HubProcess, RawClient};

const KEY: &str = "0123456789abcdef0123456789abcdef";

fn control(hub: &HubProcess) -> RawClient {
    let mut client = hub.connect();
    client.say(&json!({
        "type": "hello", "id": 1, "versions": {"min": 1, "max": 2}, "key": KEY, "program": "test 1", "kind": "control",
    }));
    assert_eq!(client.hear()["type"], "welcome");
    client
}

fn ask(client: &mut RawClient, id: &str, to: &str) {
    client.say(&json!({
        "type": "ask", "id": 9, "ask_id": id, "to": to, "question": "a secret question", "timeout_ms": 60_000,
    }));
}

/// Receives events until one of this kind.
#[track_caller]
fn event(client: &mut RawClient, what: &str) -> Value {
    loop {
        let message = client.hear();
        assert_eq!(message["type"], "watched", "{message}");
        if message["what"] == what {
            return message;
        }
    }
}

#[test]
fn a_watcher_hears_the_whole_state_first_and_then_each_change() {
    let hub = HubProcess::start(&[]);
    let mut backend = hub.session("backend");
    let mut web = hub.session("web");
    ask(&mut web, "k3v9-x2mq-7bd4", "backend");
    assert_eq!(web.hear()["type"], "accepted");
    assert_eq!(backend.hear()["type"], "ask");

    let mut watcher = control(&hub);
    watcher.say(&json!({"type": "watch", "id": 2}));
    let state = watcher.hear();
    assert_eq!((state["type"].as_str(), state["id"].as_u64()), (Some("watching"), Some(2)), "{state}");
    let names: Vec<&str> = state["peers"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["backend", "web"]);
    assert_eq!(state["pid"], hub.pid());
    let asks = state["asks"].as_array().unwrap();
    assert_eq!((asks.len(), &asks[0]["from"], &asks[0]["to"]), (1, &json!("web"), &json!("backend")), "{state}");

    backend.say(&json!({"type": "progress", "ask_id": "k3v9-x2mq-7bd4", "state": "handed_over"}));
    assert_eq!(event(&mut watcher, "ask_advanced")["state"], "handed_over");
    backend.say(&json!({"type": "reply", "id": 3, "ask_id": "k3v9-x2mq-7bd4", "text": "a secret answer"}));
    let reply = web.hear();
    web.say(&json!({"type": "taken", "ask_id": "k3v9-x2mq-7bd4", "by": reply["by"]}));
    let ended = event(&mut watcher, "ask_ended");
    assert_eq!((&ended["outcome"], &ended["from"], &ended["to"]), (&json!("reply"), &json!("web"), &json!("backend")));
    assert!(ended["latency_ms"].is_u64());

    let mut late = hub.session("late");
    assert_eq!(event(&mut watcher, "peer_came")["peer"]["name"], "late");
    late.say(&json!({"type": "presence", "cwd": "/w", "status": "busy", "wakes_by": "channel"}));
    assert_eq!(event(&mut watcher, "peer_changed")["status"], "busy");
    late.say(&json!({"type": "rename", "id": 4, "name": "punctual"}));
    let renamed = event(&mut watcher, "peer_renamed");
    assert_eq!((&renamed["former"], &renamed["name"]), (&json!("late"), &json!("punctual")));
    late.say(&json!({"type": "bye"}));
    assert_eq!(event(&mut watcher, "peer_left")["name"], "punctual");
}

#[test]
fn texts_are_told_only_to_those_that_want_them_and_never_to_a_session() {
    let hub = HubProcess::start(&[]);
    let mut backend = hub.session("backend");
    let mut web = hub.session("web");
    let mut quiet = control(&hub);
    quiet.say(&json!({"type": "watch", "id": 2}));
    assert_eq!(quiet.hear()["type"], "watching");
    let mut curious = hub.connect();
    let key = KEY.replace('0', "9");
    curious.say(&json!({
        "type": "hello", "id": 1, "versions": {"min": 1, "max": 2}, "key": key, "program": "test 1", "kind": "control",
    }));
    curious.hear();
    curious.say(&json!({"type": "watch", "id": 2, "text": true}));
    assert_eq!(curious.hear()["type"], "watching");

    ask(&mut web, "k3v9-x2mq-7bd4", "backend");
    assert_eq!(event(&mut curious, "ask_opened")["question"], "a secret question");
    assert_eq!(event(&mut quiet, "ask_opened")["question"], Value::Null);
    backend.say(&json!({"type": "reply", "id": 3, "ask_id": "k3v9-x2mq-7bd4", "text": "a secret answer"}));
    web.hear();
    let reply = web.hear();
    web.say(&json!({"type": "taken", "ask_id": "k3v9-x2mq-7bd4", "by": reply["by"]}));
    assert_eq!(event(&mut curious, "ask_ended")["reply"], "a secret answer");
    assert_eq!(event(&mut quiet, "ask_ended")["reply"], Value::Null);

    web.say(&json!({"type": "watch", "id": 5, "text": true}));
    let (code, message, _) = web.hear_refusal();
    assert_eq!(code, "not_registered");
    assert!(message.contains("only a person's tool can watch"), "{message}");
}

#[test]
fn a_watcher_that_reads_nothing_is_cut_and_the_hub_goes_on() {
    let hub = HubProcess::start(&["--limit", "queued_bytes=20000", "--limit", "rate=off", "--limit", "loop=off"]);
    let mut web = hub.session("web");
    let mut watcher = control(&hub);
    watcher.say(&json!({"type": "watch", "id": 2}));
    let wakes = ["channel", "next_prompt"];
    for n in 0..20_000 {
        web.say(&json!({"type": "presence", "cwd": "/w", "status": "busy", "wakes_by": wakes[n % 2]}));
    }
    hub.wait_for_log("its reader is too slow");
    web.say(&json!({"type": "status", "id": 3}));
    let status = web.hear();
    assert_eq!(status["refused"]["queued_bytes"], 1, "{status}");
}

struct Relayctl {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Relayctl {
    fn start(hub: &HubProcess, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_relayctl"));
        command.args(arguments).env("RELAY_SOCKET", hub.socket()).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line
    }

    fn line_with(&mut self, text: &str) -> String {
        loop {
            let line = self.line();
            assert_ne!(line, "", "no line with {text:?}");
            if line.contains(text) {
                return line;
            }
        }
    }
}

impl Drop for Relayctl {
    fn drop(&mut self) {
        let _already_ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[test]
fn watching_survives_a_hub_restart_and_says_so() {
    let mut hub = HubProcess::start(&[]);
    let mut watch = Relayctl::start(&hub, &["watch"]);
    watch.line_with("0 peers, 0 open asks");
    let _backend = hub.session("backend");
    watch.line_with("+ backend");
    let mut talk = BufReader::new(watch.child.stderr.take().unwrap()).lines();
    hub.kill();
    assert_eq!(talk.next().unwrap().unwrap(), "the hub is away, waiting for it…");
    hub.start_again(&[]);
    watch.line_with("hub restarted");
    let _web = hub.session("web");
    watch.line_with("+ web");
}

#[test]
fn an_interrupted_watch_dies_of_the_signal() {
    let hub = HubProcess::start(&[]);
    let mut watch = Relayctl::start(&hub, &["watch", "--json"]);
    let state: Value = serde_json::from_str(&watch.line()).unwrap();
    assert_eq!((&state["type"], &state["restarted"]), (&json!("watching"), &json!(false)));
    let pid = rustix::process::Pid::from_raw(i32::try_from(watch.child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(watch.child.wait().unwrap().signal(), Some(2));
}

#[test]
#[cfg(target_os = "linux")]
fn a_watch_that_nobody_reads_any_more_ends() {
    let hub = HubProcess::start(&[]);
    let script = format!("{} watch | head -n 1", env!("CARGO_BIN_EXE_relayctl"));
    let output = Command::new("sh").args(["-c", &script]).env("RELAY_SOCKET", hub.socket()).output().unwrap();
    assert!(output.status.success() && !output.stdout.is_empty(), "{output:?}");
}

#[test]
fn the_list_of_peers_is_shown_anew_when_it_changes() {
    let hub = HubProcess::start(&[]);
    let mut peers = Relayctl::start(&hub, &["peers", "--watch", "--json"]);
    let names = |line: String| {
        let list: Value = serde_json::from_str(&line).unwrap();
        list["peers"].as_array().unwrap().iter().map(|peer| peer["name"].to_string()).collect::<Vec<_>>()
    };
    assert!(names(peers.line()).is_empty());
    let mut web = hub.session("web");
    assert_eq!(names(peers.line()), ["\"web\""]);
    web.say(&json!({"type": "bye"}));
    std::thread::sleep(Duration::from_millis(50));
    assert!(names(peers.line()).is_empty());
}

#[test]
fn without_a_hub_there_is_nothing_to_watch() {
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_relayctl"))
        .args(["watch"])
        .env("RELAY_SOCKET", directory.path().join("hub.sock"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
}

#[test]
fn a_command_is_run_for_each_change_and_reads_it_as_json() {
    let hub = HubProcess::start(&[]);
    let mut backend = hub.session("backend");
    let mut watch = Relayctl::start(&hub, &["watch", "--exec", "cat; exit 3"]);
    // A change that comes before the watch is none: it is made until one is seen.
    let mut states = ["busy", "idle"].iter().cycle();
    let seen = std::thread::scope(|scope| {
        let line = scope.spawn(|| watch.line());
        while !line.is_finished() {
            let status = states.next().unwrap();
            backend.say(&json!({"type": "presence", "cwd": "/w", "status": status, "wakes_by": "channel"}));
            std::thread::sleep(Duration::from_millis(20));
        }
        line.join().unwrap()
    });
    let change: Value = serde_json::from_str(&seen).unwrap();
    assert_eq!(
        (&change["type"], &change["what"], &change["name"]),
        (&json!("watched"), &json!("peer_changed"), &json!("backend"))
    );
    let mut talk = BufReader::new(watch.child.stderr.take().unwrap()).lines();
    assert_eq!(talk.next().unwrap().unwrap(), "the command ended with exit status: 3");
}
