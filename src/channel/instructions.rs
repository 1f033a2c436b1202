//! What a model is told of the server as a whole. Pure.

/// The text, with our tools' short names. Claude Code cuts instructions at 2,048 characters.
const TEXT: &str = include_str!("instructions.md");

/// What stands before the list of tools.
const TOOLS: &str = "Tools\n";

/// Returns the instructions for an agent in which the full names of our tools begin so.
pub fn instructions(tool_prefix: &str) -> String {
    if tool_prefix.is_empty() {
        return TEXT.to_owned();
    }
    TEXT.replacen(TOOLS, &format!("Tools (their full names begin with {tool_prefix})\n"), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_fit_and_name_the_tools_as_the_agent_does() {
        assert!(!instructions("").contains("full names"));
        let text = instructions("mcp__plugin_relay_relay__");
        assert!(text.contains("full names begin with mcp__plugin_relay_relay__"), "{text}");
        assert!(text.len() <= 2048, "{} bytes", text.len());
    }
}
