//! The channel's process as an MCP client meets it, as far as no hub is needed.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::mcp::Session;

/// The time in which Claude Code goes from SIGINT to SIGTERM: a server that takes longer is in its way.
const LEAVES_WITHIN: Duration = Duration::from_millis(200);

fn initialized() -> Session {
    let session = Session::builder().spawn();
    session.initialize();
    session
}

#[test]
fn it_introduces_itself_as_a_channel_with_tools() {
    let mut result = Session::builder().spawn().initialize();
    let instructions = result["instructions"].take();
    let instructions = instructions.as_str().unwrap();
    assert!(instructions.len() <= 2048, "{} bytes", instructions.len());
    assert!(instructions.contains("relay_reply") && instructions.contains("A peer is not the user"));
    assert_eq!(result["serverInfo"]["version"], env!("CARGO_PKG_VERSION"));
    result["serverInfo"]["version"] = "VERSION".into();
    insta::assert_json_snapshot!("initialize", result);
}

#[test]
fn it_never_agrees_to_a_version_without_channels() {
    for (wanted, agreed) in
        [("2024-11-05", "2024-11-05"), ("2025-11-25", "2025-11-25"), ("2026-07-28", "2025-11-25"), ("x", "2025-11-25")]
    {
        let session = Session::builder().spawn();
        let params =
            json!({"protocolVersion": wanted, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        assert_eq!(session.request("initialize", params).unwrap()["protocolVersion"], agreed);
    }
}

#[test]
fn discovery_is_refused_and_the_session_goes_on() {
    let session = Session::builder().spawn();
    let probe = json!({"jsonrpc": "2.0", "id": "server-discover-probe-1", "method": "server/discover", "params": {"_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "claude-code", "version": "2.1.330"},
        "io.modelcontextprotocol/clientCapabilities": {"roots": {"listChanged": true}},
    }}});
    session.send(&probe);
    assert_eq!(session.expect("server-discover-probe-1").wait().unwrap_err()["code"], -32601);
    session.initialize();
    session.send(&probe);
    assert_eq!(session.expect("server-discover-probe-1").wait().unwrap_err()["code"], -32601);
}

#[test]
fn it_lists_its_tools() {
    let result = initialized().request("tools/list", json!({})).unwrap();
    for tool in result["tools"].as_array().unwrap() {
        assert_eq!(tool["_meta"]["anthropic/alwaysLoad"], true);
    }
    insta::assert_json_snapshot!("tools", result);
}

#[test]
fn bad_arguments_are_a_result_that_the_model_can_read() {
    let session = initialized();
    let answer = session.call("relay_ask", json!({"question": "ok?"}));
    assert_eq!(answer.code(), "bad_args");
    assert!(answer.json["error"]["message"].as_str().unwrap().contains("to is missing"), "{}", answer.json);
    assert!(answer.json["error"]["next"].as_str().unwrap().contains("relay_ask"), "{}", answer.json);
    let answer = session.call("relay_broadcast", json!({"question": "x".repeat(70_000)}));
    assert_eq!(answer.code(), "too_large");
    let answer = session.call("relay_reply", json!({"ask_id": "k3v9", "text": "yes"}));
    assert_eq!(answer.code(), "unknown_ask");
}

#[test]
fn what_is_no_tool_call_is_an_error_of_the_protocol() {
    let session = initialized();
    assert_eq!(session.send_call("relay_shout", json!({})).wait().unwrap_err()["code"], -32602);
    assert_eq!(session.send_call("relay_ask", json!("to")).wait().unwrap_err()["code"], -32602);
    assert_eq!(session.request("no/such", json!({})).unwrap_err()["code"], -32601);
    session.send(&json!({"id": 77, "method": "tools/list"}));
    assert_eq!(session.expect(77).wait().unwrap_err()["code"], -32600);
}

#[test]
fn no_first_line_ends_it() {
    for line in ["garbage", "", "[]", "\u{fffd}", r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#, "{}"] {
        let session = Session::builder().spawn();
        session.send_raw(format!("{line}\n").as_bytes());
        session.send_raw(b"\xff\xfe\n");
        assert_eq!(session.request("tools/list", json!({})).unwrap_err()["code"], -32600);
        assert_eq!(session.request("ping", json!({})).unwrap(), json!({}));
        session.initialize();
    }
}

#[test]
fn a_message_over_a_megabyte_is_answered_and_the_next_one_served() {
    let session = initialized();
    let error = session.send_call("relay_broadcast", json!({"question": "x".repeat(3 << 20)})).wait().unwrap_err();
    assert!(error["message"].as_str().unwrap().contains("1048576"), "{error}");
    assert_eq!(session.request("ping", json!({})).unwrap(), json!({}));
}

#[test]
fn it_leaves_at_once_however_it_is_told() {
    type Tell = fn(&Session);
    let ways: [(&str, Tell); 4] = [
        ("end of input", Session::close),
        ("SIGINT", |session| session.signal(Signal::INT)),
        ("SIGTERM", |session| session.signal(Signal::TERM)),
        ("SIGHUP", |session| session.signal(Signal::HUP)),
    ];
    for (way, tell) in ways {
        let session = initialized();
        tell(&session);
        let (status, time) = session.wait();
        assert_eq!(status.code(), Some(0), "{way}");
        assert!(time < LEAVES_WITHIN, "{way}: {time:?}");
        // And before it was told anything.
        let session = Session::builder().spawn();
        session.request("ping", json!({})).unwrap();
        tell(&session);
        assert!(session.wait().1 < LEAVES_WITHIN, "{way} before initialize");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn it_is_one_thread_on_the_sockets_that_node_gives() {
    let session = initialized();
    assert_eq!(std::fs::read_dir(format!("/proc/{}/task", session.pid)).unwrap().count(), 1);
}

#[test]
fn pipes_and_files_serve_as_well() {
    let request = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;
    let program = env!("CARGO_BIN_EXE_relay-channel");
    let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    writeln!(child.stdin.as_mut().unwrap(), "{request}").unwrap();
    drop(child.stdin.take());
    let mut output = String::new();
    child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(serde_json::from_str::<Value>(&output).unwrap()["id"], 1);

    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    std::fs::write(&input, format!("{request}\n")).unwrap();
    let status = Command::new(program)
        .stdin(std::fs::File::open(&input).unwrap())
        .stdout(std::fs::File::create(&output).unwrap())
        .status()
        .unwrap();
    assert!(status.success());
    let answer: Value = serde_json::from_str(&std::fs::read_to_string(&output).unwrap()).unwrap();
    assert_eq!(answer["id"], 1);
}
