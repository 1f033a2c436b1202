//! A session's channel dies at each of its points, in the middle of asking and of being asked. Whoever it had to do with
//! is told the truth once, and soon; nothing of it is left.

use std::process::Command;
use std::time::Duration;

use relay::channel::inbox::FIRST_EVENT_DELAY;
use relay::fault;
use serde_json::{Value, json};

use crate::support::mcp::{Event, PATIENCE, Session};
use crate::support::stage::{Stage, ask, name};

/// How long the dying session is waited for: it may be dead already.
const MOMENT: Duration = Duration::from_millis(500);

/// Starts an agent that ends once its channel has died at this point, and has it ask, answer and list until it does.
fn live_until_death(stage: &Stage, docs: &Session, armed: &str) -> Option<String> {
    let cwd = stage.folders().join("web");
    std::fs::create_dir_all(&cwd).unwrap();
    let mut agent = Command::new("sh");
    agent.args(["-c", "\"$0\"; exit $?", env!("CARGO_BIN_EXE_relay-channel")]);
    agent.env("CLAUDECODE", "1").env("CLAUDE_CODE_ENTRYPOINT", "cli").env("RELAY_CHANNEL", "on");
    let environment = Session::builder_of(agent).cwd(&cwd).socket(&stage.hub.socket());
    let web = environment.env("RELAY_FAULT", armed).spawn();
    web.initialize();
    web.notify("notifications/initialized", json!({}));
    let mut asked = None;
    let call = |tool: &str, arguments: Value| {
        web.try_request("tools/call", json!({"name": tool, "arguments": arguments}), MOMENT)
    };
    if web.try_request("tools/list", json!({}), MOMENT).is_some() && call("relay_peers", json!({})).is_some() {
        for n in 0..5 {
            // Where it dies of this, the ask is refused.
            let arguments = json!({"to": "web", "question": format!("To web {n}?"), "timeout_seconds": 20});
            let answer = docs.call("relay_ask", arguments);
            asked = answer.json["ask_id"].as_str().map(str::to_owned);
            if call("relay_ask", json!({"to": "docs", "question": "From web?"})).is_none() {
                break;
            }
            let Some(question) = web.event_within(MOMENT * 4) else { break };
            if call("relay_reply", json!({"ask_id": question.get("ask_id"), "text": "From web."})).is_none() {
                break;
            }
        }
    }
    let (status, _) = web.wait();
    assert_eq!(status.code(), Some(128 + 9), "{armed}");
    asked
}

#[test]
fn a_channel_that_is_killed_at_any_point_leaves_nobody_waiting() {
    let stage = Stage::settled(&["--limit", "rate=off", "--limit", "loop=off"]);
    let docs = stage.session("docs");
    // Until then it is shown nothing, so an end that has come would be missed.
    std::thread::sleep(FIRST_EVENT_DELAY);
    for (point, passing) in fault::CHANNEL.iter().flat_map(|point| [(point, 1), (point, 3)]) {
        // A session whose hub stays connects once.
        let armed = format!("{point}:{}", if *point == "link.connected" { 1 } else { passing });
        let last = live_until_death(&stage, &docs, &armed);
        stage.wait_for_peers(&docs, |peers| peers.is_empty());

        // Everything that docs had asked has one end, and the last one the true one.
        let seen = docs.events_within(Duration::from_millis(100));
        let ends: Vec<&Event> = seen.iter().filter(|event| event.kind() != "ask").collect();
        let mut ids: Vec<&str> = ends.iter().map(|event| event.get("ask_id")).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), ends.len(), "{armed}: an ask has ended twice: {ends:?}");
        for end in &ends {
            assert!(end.kind() == "reply" || end.get("code") == "peer_gone", "{armed}: {end:?}");
        }
        if let Some(last) = last {
            assert!(ids.contains(&last.as_str()), "{armed}: {last} has no end: {ends:?}");
        }
        let listed = docs.call("relay_peers", json!({})).ok();
        assert_eq!(listed["peers"], json!([]), "{armed}");

        // What it had asked is nobody's any more: whoever answers is told so.
        for question in seen.iter().filter(|event| event.kind() == "ask") {
            let answer = docs.call("relay_reply", json!({"ask_id": question.get("ask_id"), "text": "To nobody."}));
            assert_eq!(answer.code(), "unknown_ask", "{armed}");
        }
    }

    // The name is free, and who has it now has nothing of those before.
    let web = stage.session("web");
    assert_eq!(name(&web), "web");
    ask(&docs, "web", "There?", 60);
    assert!(web.event().content.starts_with("There?"));
    assert_eq!(web.events_within(PATIENCE / 20), []);
}
