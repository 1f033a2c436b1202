//! GitHub Copilot CLI: how it is recognised. Its extension (`packaging/plugin/extensions`) tells the rest over the session's
//! socket.
//!
//! One process holds several sessions after `/new`. A plugin's server starts in the plugin's folder and is told no other, but
//! is given Copilot's whole environment. Seen in 1.0.92 and 1.0.102.

use std::path::PathBuf;

use super::kind::{Kind, Profile, Surroundings, has_flag};
use crate::process::{self, Process};

/// What is the same in all its sessions.
pub const PROFILE: Profile = Profile { id: "copilot", shown: "Copilot" };

/// The name of its MCP client.
const CLIENT: &str = "copilot-cli";

/// The variable with its id of the session; the extension has the same in `SESSION_ID`.
const SESSION: &str = "COPILOT_AGENT_SESSION_ID";

/// The flags with which it answers one prompt and leaves.
const UNATTENDED: [&str; 2] = ["-p", "--prompt"];

/// Copilot, as its environment and its command line show it.
#[derive(Debug)]
pub struct Copilot {
    process: Process,
    thread: Option<String>,
    is_interactive: bool,
    folder: Option<PathBuf>,
}

impl Copilot {
    /// Recognises it by its MCP client.
    pub fn recognise(seen: &Surroundings<'_>) -> Option<Box<dyn Kind>> {
        if seen.client.name != CLIENT {
            return None;
        }
        let arguments = seen.arguments(|argument| argument.ends_with("copilot"));
        let started_in = process::folder(seen.parent.pid).or_else(|| (seen.value_of)("PWD").map(PathBuf::from));
        Some(Box::new(Self {
            process: seen.parent,
            thread: (seen.value_of)(SESSION),
            is_interactive: !has_flag(arguments, &UNATTENDED),
            folder: started_in,
        }))
    }
}

impl Kind for Copilot {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn process(&self) -> Process {
        self.process
    }

    fn thread(&self) -> Option<&str> {
        self.thread.as_deref()
    }

    fn is_interactive(&self) -> bool {
        self.is_interactive
    }

    fn start_folder(&self) -> Option<PathBuf> {
        self.folder.clone()
    }

    fn tool_prefix(&self) -> &'static str {
        "relay-"
    }
}

#[cfg(test)]
mod tests {
    use super::super::kind::tests::seen;
    use super::*;

    #[test]
    fn run_without_a_person_is_seen_in_the_command_line() {
        for (command, expected) in [
            ("copilot", true),
            ("/x/copilot-linux-x64/copilot --allow-tool relay", true),
            ("copilot -i hello", true),
            ("copilot -p hello", false),
            ("node /x/bin/copilot --prompt=hello", false),
        ] {
            let found = seen(CLIENT, command, Copilot::recognise).unwrap();
            assert_eq!(found.is_interactive(), expected, "{command}");
        }
        assert!(seen("claude-code", "copilot", Copilot::recognise).is_none());
    }
}
