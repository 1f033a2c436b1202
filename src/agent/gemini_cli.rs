//! Gemini CLI: nothing starts a turn in an idle session. Hooks of its extension add messages to a turn that runs anyway, and
//! a relay tool call brings them. Seen in 0.61.0.

use super::kind::{Kind, Profile, Surroundings, has_flag};
use crate::process::Process;

/// What is the same in all its sessions.
pub const PROFILE: Profile = Profile { id: "gemini-cli", shown: "Gemini CLI" };

/// How the name of its MCP client begins.
const CLIENT: &str = "gemini-cli";

/// How our tools are called in it: server `relay`.
const TOOLS: &str = "mcp_relay_";

/// The subcommands and flags that start servers without a session.
const SUBCOMMANDS: [&str; 4] = ["mcp", "extensions", "skills", "hooks"];
const ONE_PROMPT: [&str; 4] = ["-p", "--prompt", "--output-format", "-o"];

/// Gemini CLI, as its process shows it.
#[derive(Debug)]
pub struct GeminiCli {
    process: Process,
    has_person: bool,
}

impl GeminiCli {
    /// Returns what is known of it, if it is the one that started this process.
    pub fn recognise(seen: &Surroundings<'_>) -> Option<Box<dyn Kind>> {
        if !seen.client.name.starts_with(CLIENT) {
            return None;
        }
        let is_program = |argument: &str| {
            argument.contains("/gemini-cli/") || argument.rsplit('/').next().is_some_and(|name| name == "gemini")
        };
        let arguments = seen.arguments(is_program);
        let is_subcommand = arguments.first().is_some_and(|first| SUBCOMMANDS.contains(&first.as_str()));
        let has_person = !is_subcommand && !has_flag(arguments, &ONE_PROMPT) && seen.terminal != Some(false);
        Some(Box::new(Self { process: seen.parent, has_person }))
    }
}

impl Kind for GeminiCli {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn process(&self) -> Process {
        self.process
    }

    fn is_interactive(&self) -> bool {
        self.has_person
    }

    fn tool_prefix(&self) -> &'static str {
        TOOLS
    }
}
