//! opencode: how it is recognised. Its plugin (`packaging/opencode`) tells the rest over the session's socket.
//!
//! One process is one session, whose plugin knows its conversations. Seen in 1.18.33.

use super::kind::{Kind, Profile, Surroundings};
use crate::process::Process;

/// What is the same in all its sessions.
pub const PROFILE: Profile = Profile { id: "opencode", shown: "opencode" };

/// The name of its MCP client.
const CLIENT: &str = "opencode";

/// The subcommands that start servers and have no person before them.
const UNATTENDED: [&str; 4] = ["run", "mcp", "debug", "github"];

/// opencode, as its command line shows it.
#[derive(Debug)]
pub struct Opencode {
    process: Process,
    is_interactive: bool,
}

impl Opencode {
    /// Recognises it by its MCP client.
    pub fn recognise(seen: &Surroundings<'_>) -> Option<Box<dyn Kind>> {
        (seen.client.name == CLIENT).then(|| {
            let mut words = seen.arguments(is_program).iter().filter(|word| !word.starts_with('-'));
            let is_interactive = !words.next().is_some_and(|word| UNATTENDED.contains(&word.as_str()));
            Box::new(Self { process: seen.parent, is_interactive }) as Box<dyn Kind>
        })
    }
}

/// Returns whether an argument is its program: npm's package has `opencode.exe` on every system.
fn is_program(argument: &str) -> bool {
    argument.rsplit('/').next().is_some_and(|name| name.starts_with("opencode"))
}

impl Kind for Opencode {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn process(&self) -> Process {
        self.process
    }

    fn is_interactive(&self) -> bool {
        self.is_interactive
    }

    fn tool_prefix(&self) -> &'static str {
        "relay_"
    }
}

#[cfg(test)]
mod tests {
    use super::super::kind::tests::seen;
    use super::*;

    #[test]
    fn run_without_a_person_is_seen_in_the_command_line() {
        for (command, expected) in [
            ("opencode", true),
            ("/x/opencode-ai/bin/opencode.exe --continue", true),
            ("opencode /srv/project", true),
            ("opencode serve", true),
            ("opencode run hello", false),
            ("opencode --print-logs run hello", false),
            ("opencode mcp list", false),
        ] {
            let found = seen(CLIENT, command, Opencode::recognise).unwrap();
            assert_eq!(found.is_interactive(), expected, "{command}");
        }
        assert!(seen("other", "opencode", Opencode::recognise).is_none());
    }
}
