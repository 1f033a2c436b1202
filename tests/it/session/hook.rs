//! The hooks as Claude Code runs them: they add what waits, tell what is shown, and are silent about everything else.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::claude_code::{hook, prompt, session, wait_for_peer};
use crate::support::hub_process::{HubProcess, RawClient};
use crate::support::mcp::Session;

fn stage() -> (HubProcess, TempDir, Session, RawClient) {
    let hub = HubProcess::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("backend")).unwrap();
    hub.settle();
    let session = session(&hub, &folder.path().join("backend"), folder.path()).start();
    let mut asker = hub.session("asker");
    wait_for_peer(&mut asker, "backend", "wakes_by", "next_prompt");
    (hub, folder, session, asker)
}

fn ask(asker: &mut RawClient, number: u64, question: &str, timeout_ms: u64) -> String {
    let ask_id = relay::protocol::AskId::from_bits(number).to_string();
    asker.say(&json!({"type": "ask", "id": number, "ask_id": ask_id, "to": "backend", "question": question, "timeout_ms": timeout_ms}));
    assert_eq!(asker.hear()["type"], "accepted");
    ask_id
}

#[test]
fn a_prompt_gets_what_waits_once() {
    let (hub, _folder, session, mut asker) = stage();
    ask(&mut asker, 1, "one", 60_000);
    let context = prompt(&hub, "hello").unwrap();
    assert!(context.contains("<relay-message kind=\"ask\" from=\"asker\"") && context.contains("\none\n"), "{context}");
    assert_eq!(prompt(&hub, "hello"), None);
    assert!(session.call("relay_peers", json!({})).ok().get("messages").is_none());
}

#[test]
fn a_prompt_gets_what_waits_while_no_hub_is_there() {
    let (mut hub, _folder, session, mut asker) = stage();
    ask(&mut asker, 1, "one", 60_000);
    hub.kill();
    let context = prompt(&hub, "hello").unwrap();
    assert!(context.contains("\none\n"), "{context}");
    assert_eq!(prompt(&hub, "hello"), None);
    drop(session);
}

#[test]
fn a_tool_call_gets_what_waits_and_a_relay_tool_where_no_hook_follows() {
    let (hub, _folder, session, mut asker) = stage();
    ask(&mut asker, 1, "one", 60_000);
    let input = json!({"hook_event_name": "PostToolUse", "tool_name": "Bash", "tool_input": {}, "tool_response": {}});
    let output = hook(&hub, &input).unwrap();
    assert_eq!(output["hookSpecificOutput"]["hookEventName"], "PostToolUse");
    assert!(output.to_string().contains("one"));
    assert_eq!(hook(&hub, &input), None);
    ask(&mut asker, 2, "two", 60_000);
    assert!(session.call("relay_peers", json!({})).ok().get("messages").is_none(), "a hook has come before");
    let messages = session.call("relay_peers", json!({})).ok()["messages"].take();
    assert!(messages.to_string().contains("two") && !messages.to_string().contains("one"), "{messages}");
    assert_eq!(hook(&hub, &input), None);
}

#[test]
fn a_transcript_tells_which_events_were_put_into_a_turn() {
    let (hub, folder, session, mut asker) = stage();
    let ask_id = ask(&mut asker, 1, "one", 1500);
    prompt(&hub, "hello").unwrap();
    let event = format!(
        "<channel source=\"plugin:relay:relay\" kind=\"ask\" from=\"asker\" ask_id=\"{ask_id}\">\none\n</channel>"
    );
    let line = json!({"type": "attachment", "attachment": {"type": "queued_command", "prompt": event, "origin": {"kind": "channel", "server": "plugin:relay:relay"}}});
    let transcript = folder.path().join("transcript.jsonl");
    std::fs::write(&transcript, format!("{}{line}\n", "x".repeat(300_000) + "\n")).unwrap();
    let input = json!({"hook_event_name": "PostToolUse", "tool_name": "Bash", "transcript_path": transcript});
    assert_eq!(hook(&hub, &input), None);
    assert_eq!(asker.hear()["state"], "shown");
    drop(session);
}

#[test]
fn a_receipt_of_the_client_turns_handed_over_into_shown() {
    let (hub, _folder, _session, mut asker) = stage();
    for (number, reports) in [(1, true), (2, false)] {
        let ask_id = ask(&mut asker, number, "one", 1500);
        prompt(&hub, "hello").unwrap();
        if reports {
            let shown = format!(
                "<channel source=\"plugin:relay:relay\" kind=\"ask\" from=\"asker\" ask_id=\"{ask_id}\">\none\n</channel>"
            );
            assert_eq!(prompt(&hub, &shown), None);
        }
        let failed = asker.hear();
        let state = if reports { "shown" } else { "handed_over" };
        assert_eq!((&failed["code"], &failed["state"]), (&json!("timeout"), &json!(state)), "{failed}");
    }
}

#[test]
fn a_hook_is_silent_and_quick_without_a_hub_or_a_channel_and_with_any_input() {
    let (mut hub, _folder, session, _asker) = stage();
    let started = Instant::now();
    for input in [json!({}), json!([]), json!({"hook_event_name": "Stop"}), json!({"hook_event_name": 7})] {
        assert_eq!(hook(&hub, &input), None, "{input}");
    }
    session.close();
    session.wait();
    assert_eq!(prompt(&hub, "hello"), None);
    hub.kill();
    assert_eq!(prompt(&hub, "hello"), None);
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
}

fn write_record(config: &Path, record: &Value) {
    std::fs::create_dir_all(config.join("sessions")).unwrap();
    std::fs::write(config.join(format!("sessions/{}.json", std::process::id())), record.to_string()).unwrap();
}

#[test]
fn the_clients_own_file_tells_the_name_and_the_activity_within_a_second() {
    let hub = HubProcess::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let record =
        |name: &str, status: &str| json!({"sessionId": "1", "name": name, "nameSource": "user", "status": status});
    write_record(folder.path(), &record("Carol", "idle"));
    let session = session(&hub, folder.path(), folder.path()).start();
    let mut other = hub.session("other");
    wait_for_peer(&mut other, "carol", "status", "idle");
    for (name, status, shown) in
        [("alpha", "busy", "alpha"), ("other", "idle", "other-2"), ("Beta 2", "busy", "beta-2")]
    {
        write_record(folder.path(), &record(name, status));
        let written = Instant::now();
        wait_for_peer(&mut other, shown, "status", status);
        assert!(written.elapsed() < Duration::from_secs(1), "{:?}", written.elapsed());
    }
    // A name that the user gave here wins until the client has another one.
    session.call("relay_rename", json!({"name": "gamma"})).ok();
    write_record(folder.path(), &record("Beta 2", "idle"));
    wait_for_peer(&mut other, "gamma", "status", "idle");
}
