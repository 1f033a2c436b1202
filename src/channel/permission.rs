//! `relay-channel allow`: answers Claude Code's hook `PreToolUse` for the plugin's own tools, so that no permission dialog
//! stands in a session that nobody looks at: a question is answered, and asked, without one.
//!
//! What goes to a session on another machine is left to Claude Code's own rules; where its setting `isolatePeerMachines` is
//! on, the user is asked each time. `docs/security.md` says what that means. `RELAY_ALLOW_TOOLS=off` leaves every decision to
//! Claude Code's own rules; a rule that denies holds in any case. Seen in 2.1.197 and 2.1.330, in manual and in auto mode.

use std::env;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Deserialize;
use serde_json::{Value, json};

use super::tools;
use crate::agent::claude_code::{ALLOW_VARIABLE, PLUGIN_TOOLS, allows_tools, isolates_machines};

/// The most bytes of the client's input that are looked at.
const INPUT_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// What Claude Code says of the call, as far as it matters.
#[derive(Debug, Deserialize)]
struct Input {
    tool_name: String,
    #[serde(default)]
    tool_input: Value,
    cwd: Option<PathBuf>,
}

/// Returns the JSON that decides about the call of this tool with these arguments; none where Claude Code's own rules decide:
/// it is not ours, goes to another machine, or `switch` turns us off. `isolates` says whether the user wants to be asked
/// before anything goes to another machine.
pub fn answer(tool: &str, arguments: &Value, switch: Option<&str>, isolates: impl FnOnce() -> bool) -> Option<String> {
    let tool = tool.strip_prefix(PLUGIN_TOOLS).filter(|tool| tools::is_tool(tool))?;
    if leaves_the_machine(tool, arguments) {
        return isolates().then(|| decision("ask", "this goes to another machine (isolatePeerMachines)"));
    }
    let reason = format!("claude-relay's own tool ({ALLOW_VARIABLE}=off asks each time)");
    allows_tools(switch).then(|| decision("allow", &reason))
}

/// Returns whether the call sends something to a session on another machine. A reply goes to whoever has asked.
fn leaves_the_machine(tool: &str, arguments: &Value) -> bool {
    let names_a_machine = || arguments["to"].to_string().contains('@');
    match tool {
        tools::ASK | tools::TELL => names_a_machine(),
        tools::BROADCAST => names_a_machine() || !arguments["machines"].is_null(),
        _ => false,
    }
}

fn decision(decision: &str, reason: &str) -> String {
    let output = json!({"hookSpecificOutput": {
        "hookEventName": "PreToolUse",
        "permissionDecision": decision,
        "permissionDecisionReason": reason,
    }});
    output.to_string()
}

/// Answers the call on standard input. Silent on everything else: what cannot be read is Claude Code's to decide.
pub fn run() -> ExitCode {
    let mut bytes = Vec::new();
    let read = io::stdin().take(INPUT_MAX_BYTES).read_to_end(&mut bytes);
    let input = read.ok().and_then(|_| serde_json::from_slice::<Input>(&bytes).ok());
    let switch = env::var(ALLOW_VARIABLE).ok();
    let project = env::var_os("CLAUDE_PROJECT_DIR").map(PathBuf::from);
    if let Some(input) = input {
        let folders: Vec<&Path> = [&project, &input.cwd].into_iter().filter_map(Option::as_deref).collect();
        let isolates = || isolates_machines(&folders);
        if let Some(text) = answer(&input.tool_name, &input.tool_input, switch.as_deref(), isolates) {
            let _client_has_gone = writeln!(io::stdout(), "{text}");
        }
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFIX: &str = "mcp__plugin_relay_relay__";

    fn decided(tool: &str, arguments: &Value, isolates: bool) -> Option<String> {
        let text = answer(&format!("{PREFIX}{tool}"), arguments, None, || isolates)?;
        let output: Value = serde_json::from_str(&text).unwrap();
        Some(output["hookSpecificOutput"]["permissionDecision"].as_str().unwrap().to_owned())
    }

    #[test]
    fn only_the_plugins_own_tools_are_allowed() {
        let allowed = answer("mcp__plugin_relay_relay__relay_reply", &Value::Null, None, || true).unwrap();
        assert!(allowed.contains(r#""permissionDecision":"allow""#), "{allowed}");
        for other in
            ["Bash", "mcp__relay__relay_ask", "mcp__plugin_relay_relay__", "mcp__plugin_relay_relay2__relay_ask"]
        {
            assert_eq!(answer(other, &json!({"to": "a@b"}), None, || true), None, "{other}");
        }
    }

    #[test]
    fn the_switch_leaves_the_decision_to_claude_code() {
        let tool = "mcp__plugin_relay_relay__relay_ask";
        for (switch, is_allowed) in [("off", false), ("OFF", false), ("0", false), ("on", true), ("", true)] {
            let here = json!({"to": "backend"});
            assert_eq!(answer(tool, &here, Some(switch), || true).is_some(), is_allowed, "{switch}");
            let there = json!({"to": "backend@desk"});
            assert_eq!(answer(tool, &there, Some(switch), || false), None, "{switch}");
            assert!(answer(tool, &there, Some(switch), || true).is_some(), "{switch}");
        }
    }

    #[test]
    fn what_goes_to_another_machine_is_not_allowed_by_us() {
        for (tool, arguments) in [
            ("relay_ask", json!({"to": "backend@desk", "question": "?"})),
            ("relay_ask", json!({"to": "Backend API@desk"})),
            ("relay_ask", json!({"to": ["backend@desk"]})),
            ("relay_tell", json!({"to": "shell@desk", "text": "!"})),
            ("relay_broadcast", json!({"question": "?", "to": ["web", "backend@desk"]})),
            ("relay_broadcast", json!({"question": "?", "machines": ["all"]})),
            ("relay_broadcast", json!({"question": "?", "machines": "desk"})),
        ] {
            assert_eq!(decided(tool, &arguments, false), None, "{arguments}");
            assert_eq!(decided(tool, &arguments, true).as_deref(), Some("ask"), "{arguments}");
        }
    }

    #[test]
    fn what_stays_and_every_reply_is_allowed_by_us() {
        for (tool, arguments) in [
            ("relay_ask", json!({"to": "backend", "question": "mail a@b.c?"})),
            ("relay_tell", json!({"to": "backend", "text": "see a@b.c"})),
            ("relay_broadcast", json!({"question": "who is a@b.c?", "to": ["web"]})),
            ("relay_broadcast", json!({"question": "?", "machines": null})),
            ("relay_reply", json!({"ask_id": "k3v9-x2mq-7bd4", "text": "a@b.c"})),
            ("relay_peers", json!({})),
            ("relay_rename", json!({"name": "a@b"})),
        ] {
            for isolates in [false, true] {
                assert_eq!(decided(tool, &arguments, isolates).as_deref(), Some("allow"), "{arguments}");
            }
        }
    }
}
