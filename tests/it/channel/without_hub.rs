//! The channel where no hub listens: it stays, says what is wrong, and leaves as fast as ever.

use std::time::Duration;

use serde_json::json;

use crate::support::mcp::Session;

#[test]
fn every_tool_says_that_no_hub_answers_and_how_to_repair_it() {
    let session = Session::builder().start();
    let calls = [
        ("relay_peers", json!({})),
        ("relay_ask", json!({"to": "backend", "question": "ok?"})),
        ("relay_broadcast", json!({"question": "ok?"})),
        ("relay_rename", json!({"name": "api"})),
    ];
    for (tool, arguments) in calls {
        let answer = session.call(tool, arguments);
        assert_eq!(answer.code(), "hub_unreachable", "{tool}");
        assert!(answer.json["error"]["next"].as_str().is_some_and(|next| !next.is_empty()), "{tool}");
    }
    assert!(session.is_alive());
}

#[test]
fn a_pending_call_does_not_hold_it() {
    let ways: [fn(&Session); 2] = [Session::close, |session| session.signal(rustix::process::Signal::INT)];
    for tell in ways {
        let session = Session::builder().start();
        session.send_call("relay_peers", json!({}));
        tell(&session);
        let (status, time) = session.wait();
        assert_eq!(status.code(), Some(0));
        assert!(time < Duration::from_millis(200), "{time:?}");
    }
}
