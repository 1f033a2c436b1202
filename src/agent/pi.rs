//! pi: how it is recognised. Its extension (`packaging/pi`) tells the rest over the session's socket.
//!
//! Its process calls itself `pi`, whatever its command line was: so a run without a conversation (`pi -p`) is told from a
//! session by whether it writes to a terminal, or by [`declared::VARIABLE`] where its user sets it. Seen in 1.6.0.

use super::declared::{self, Declared};
use super::kind::{Kind, Profile, Surroundings};
use crate::process::Process;

/// What is the same in all its sessions.
pub const PROFILE: Profile = Profile { id: "pi", shown: "pi" };

/// The name of its MCP client.
const CLIENT: &str = "pi";

/// pi.
#[derive(Debug)]
pub struct Pi {
    process: Process,
    is_interactive: bool,
}

impl Pi {
    /// Recognises it by its MCP client.
    pub fn recognise(seen: &Surroundings<'_>) -> Option<Box<dyn Kind>> {
        (seen.client.name == CLIENT).then(|| {
            let is_interactive = match declared::of(seen) {
                Some(Declared::Run) => false,
                Some(Declared::Session(_)) => true,
                None => seen.terminal != Some(false),
            };
            Box::new(Self { process: seen.parent, is_interactive }) as Box<dyn Kind>
        })
    }
}

impl Kind for Pi {
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
        "mcp__relay__"
    }
}
