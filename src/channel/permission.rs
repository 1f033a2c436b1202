//! `relay-channel allow`: answers Claude Code's hook `PreToolUse` for the plugin's own tools, so that no permission dialog
//! stands in a session that nobody looks at: a question is answered, and asked, without one.
//!
//! `docs/security.md` says what that means. `RELAY_ALLOW_TOOLS=off` leaves the decision to Claude Code's own rules; a rule
//! that denies holds in any case. Seen in 2.1.197 and 2.1.330, in manual and in auto mode.

use std::env;
use std::io::{self, Read, Write};
use std::process::ExitCode;

use serde::Deserialize;
use serde_json::json;

use super::tools;
use crate::agent::claude_code::{ALLOW_VARIABLE, PLUGIN_TOOLS, allows_tools};

/// The most bytes of the client's input that are looked at.
const INPUT_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// What Claude Code says of the call, as far as it matters.
#[derive(Debug, Deserialize)]
struct Input {
    tool_name: String,
}

/// Returns the JSON that allows the call of this tool; none where it is not ours, or where it is switched off.
pub fn answer(tool: &str, switch: Option<&str>) -> Option<String> {
    let is_own = tool.strip_prefix(PLUGIN_TOOLS).is_some_and(tools::is_tool);
    (is_own && allows_tools(switch)).then(|| {
        let decision = json!({"hookSpecificOutput": {
            "hookEventName": "PreToolUse",
            "permissionDecision": "allow",
            "permissionDecisionReason": format!("claude-relay's own tool ({ALLOW_VARIABLE}=off asks each time)"),
        }});
        decision.to_string()
    })
}

/// Answers the call on standard input. Silent on everything else: what cannot be read is Claude Code's to decide.
pub fn run() -> ExitCode {
    let mut bytes = Vec::new();
    let read = io::stdin().take(INPUT_MAX_BYTES).read_to_end(&mut bytes);
    let input = read.ok().and_then(|_| serde_json::from_slice::<Input>(&bytes).ok());
    let switch = env::var(ALLOW_VARIABLE).ok();
    if let Some(text) = input.and_then(|input| answer(&input.tool_name, switch.as_deref())) {
        let _client_has_gone = writeln!(io::stdout(), "{text}");
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_plugins_own_tools_are_allowed() {
        let allowed = answer("mcp__plugin_relay_relay__relay_reply", None).unwrap();
        assert!(allowed.contains(r#""permissionDecision":"allow""#), "{allowed}");
        for other in
            ["Bash", "mcp__relay__relay_ask", "mcp__plugin_relay_relay__", "mcp__plugin_relay_relay2__relay_ask"]
        {
            assert_eq!(answer(other, None), None, "{other}");
        }
    }

    #[test]
    fn the_switch_leaves_the_decision_to_claude_code() {
        let tool = "mcp__plugin_relay_relay__relay_ask";
        for (switch, is_allowed) in [("off", false), ("OFF", false), ("0", false), ("on", true), ("", true)] {
            assert_eq!(answer(tool, Some(switch)).is_some(), is_allowed, "{switch}");
        }
    }
}
