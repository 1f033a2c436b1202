//! When a tell ends, by the way on which it comes into its session: with a real channel, waiter and hooks.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::claude_code::{Waiter, prompt, session, wait_for_peer};
use crate::support::hub_process::{HubProcess, RawClient};
use crate::support::mcp::Session;

struct Stage {
    hub: HubProcess,
    _folder: TempDir,
    session: Session,
    teller: RawClient,
    waiter: Option<Waiter>,
}

fn stage(has_waiter: bool) -> Stage {
    let hub = HubProcess::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let backend = folder.path().join("backend");
    std::fs::create_dir(&backend).unwrap();
    hub.settle();
    let waiter = has_waiter.then(|| Waiter::start(&hub));
    let session = session(&hub, &backend, folder.path()).start();
    let mut teller = hub.session("teller");
    wait_for_peer(&mut teller, "backend", "wakes_by", if has_waiter { "waiter" } else { "next_prompt" });
    Stage { hub, _folder: folder, session, teller, waiter }
}

/// Tells, and returns the tell's id.
fn tell(teller: &mut RawClient, text: &str) -> String {
    let tell_id = relay::protocol::AskId::from_bits(7).to_string();
    teller.say(
        &json!({"type": "tell", "id": 1, "tell_id": tell_id, "to": "backend", "text": text, "timeout_ms": 60_000}),
    );
    assert_eq!(teller.hear()["type"], "accepted");
    tell_id
}

fn receipt(tell_id: &str, state: &str) -> Value {
    json!({"type": "receipt", "ask_id": tell_id, "state": state})
}

#[test]
fn tell_that_wakes_a_session_ends_only_when_it_goes_before_the_model() {
    let mut stage = stage(true);
    let tell_id = tell(&mut stage.teller, "The port is <b>8081</b>.");
    let (status, text) = stage.waiter.take().unwrap().end();
    assert_eq!(status, 2);
    let envelope =
        format!("<relay-message kind=\"tell\" from=\"teller\" tell_id=\"{tell_id}\">\nThe port is <b>8081</b>.\n");
    assert!(text.contains(&envelope) && text.contains("No answer is wanted"), "{text}");
    // What comes behind it shows that nothing was said of the tell before.
    stage.teller.say(&json!({"type": "peers", "id": 2}));
    assert_eq!(stage.teller.hear()["type"], "peers");
    let wake = format!("<task-notification>\n</task-notification>\n<system-reminder>\n{text}\n</system-reminder>");
    assert_eq!(prompt(&stage.hub, &wake), None);
    assert_eq!(stage.teller.hear(), receipt(&tell_id, "shown"));
}

#[test]
fn tell_that_a_hook_adds_to_a_turn_ends_as_handed_over() {
    let mut stage = stage(false);
    let tell_id = tell(&mut stage.teller, "done");
    let context = prompt(&stage.hub, "hello").unwrap();
    assert!(context.contains("kind=\"tell\"") && context.contains("\ndone\n"), "{context}");
    assert_eq!(stage.teller.hear(), receipt(&tell_id, "handed_over"));
    assert_eq!(prompt(&stage.hub, "hello"), None);
}

#[test]
fn tell_that_a_tool_result_brings_ends_as_handed_over_and_takes_no_reply() {
    let mut stage = stage(false);
    let tell_id = tell(&mut stage.teller, "done");
    let messages = stage.session.call("relay_peers", json!({})).ok()["messages"].take();
    assert!(messages.to_string().contains("done"), "{messages}");
    assert_eq!(stage.teller.hear(), receipt(&tell_id, "handed_over"));
    let refused = stage.session.call("relay_reply", json!({"ask_id": tell_id, "text": "thanks"}));
    assert_eq!(refused.code(), "unknown_ask");
    assert!(refused.json.to_string().contains("takes no answer"), "{}", refused.json);
}

#[test]
fn reply_to_a_tell_is_its_receipt() {
    let mut stage = stage(true);
    let tell_id = tell(&mut stage.teller, "done");
    stage.waiter.take().unwrap().end();
    assert_eq!(stage.session.call("relay_reply", json!({"ask_id": tell_id, "text": "ok"})).code(), "unknown_ask");
    assert_eq!(stage.teller.hear(), receipt(&tell_id, "shown"));
}
