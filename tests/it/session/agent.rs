//! An agent that is added over the session's socket: a script that no file of `src/agent` knows.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::support::mcp::Session;
use crate::support::stage::{Stage, ask, reply, seen};

/// The script, running.
struct Agent {
    process: Child,
    output: BufReader<ChildStdout>,
}

impl Agent {
    fn start(stage: &Stage, session: &str) -> Self {
        let folder = stage.folders().join("robot");
        std::fs::create_dir_all(&folder).unwrap();
        let mut python = Command::new("python3");
        python.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/session/agent.py"));
        python.arg(env!("CARGO_BIN_EXE_relay-channel")).current_dir(folder);
        python.env("RELAY_SOCKET", stage.hub.socket()).env("RELAY_SESSION", session);
        let mut process = python.stdout(Stdio::piped()).spawn().expect("python3 runs");
        let output = BufReader::new(process.stdout.take().unwrap());
        Self { process, output }
    }

    /// Returns the next text that the agent's model was shown.
    fn shown(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _has_ended = self.process.kill();
        self.process.wait().unwrap();
    }
}

/// A stage with the script as a peer, and a session beside it.
fn stage() -> (Stage, Session, Agent, Value) {
    let stage = Stage::settled(&[]);
    let web = stage.session("web");
    let agent = Agent::start(&stage, "session");
    let is_there = |peers: &[Value]| peers.iter().any(|peer| peer["wakes_by"] == "plugin" && peer["status"] == "idle");
    let peers = stage.wait_for_peers(&web, is_there);
    let peer = peers["peers"][0].clone();
    (stage, web, agent, peer)
}

#[test]
fn script_is_a_session_with_the_name_and_the_state_that_it_says() {
    let (_stage, _web, agent, peer) = stage();
    assert_eq!((&peer["name"], &peer["client"]), (&json!("scripted-agent"), &json!("scripted 1")));
    assert_eq!(peer["pid"], agent.process.id(), "the session is the agent's process, not the channel's");
    assert!(peer["cwd"].as_str().unwrap().ends_with("/robot"), "{peer}");
}

#[test]
fn script_answers_is_shown_what_became_of_its_own_ask_and_goes_with_its_process() {
    let (stage, web, mut agent, _peer) = stage();
    let answered = stage.relayctl(&["ask", "scripted-agent", "ask web"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&answered.stdout), "lost 0 times\n");
    assert!(agent.shown().contains("kind=\"ask\" from=\"shell\""));
    reply(&web, &seen(&web), "8080");
    let outcome = agent.shown();
    assert!(outcome.contains("kind=\"reply\" from=\"web\"") && outcome.contains(" 8080 "), "{outcome}");
    ask(&web, "scripted-agent", "Are you silent?", 600);
    assert!(agent.shown().contains("Are you silent?"));
    drop(agent);
    assert_eq!(web.event_of("failed").get("code"), "peer_gone");
}

#[test]
fn what_the_agent_lost_is_given_again_and_is_not_said_to_be_shown() {
    let (_stage, web, mut agent, _peer) = stage();
    ask(&web, "scripted-agent", "interrupt 2", 600);
    assert!(agent.shown().contains("interrupt 2"));
    assert_eq!(web.event_of("reply").content, "lost 2 times");
    ask(&web, "scripted-agent", "interrupt 9", 1);
    let failed = web.event_of("failed");
    assert_eq!((failed.get("code"), failed.get("state")), ("timeout", "handed_over"));
    ask(&web, "scripted-agent", "silent", 1);
    let failed = web.event_of("failed");
    assert_eq!((failed.get("code"), failed.get("state")), ("timeout", "shown"));
    assert!(agent.shown().contains("silent"), "what was lost again and again is not given any more");
}

#[test]
fn run_without_a_person_is_no_peer_and_its_plugin_is_sent_away() {
    let stage = Stage::settled(&[]);
    let web = stage.session("web");
    let mut agent = Agent::start(&stage, "run");
    assert!(agent.process.wait().unwrap().success());
    assert_eq!(web.call("relay_peers", json!({})).ok()["peers"], json!([]));
}
