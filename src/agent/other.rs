//! An MCP client that is no known agent: it is asked nothing. Its session is the channel's own process, where its
//! configuration says no other ([`Declared`]).

use super::declared::{self, Declared};
use super::kind::{Kind, Profile, Surroundings};
use crate::process::{self, Process};

/// What is the same in all its sessions.
pub const PROFILE: Profile = Profile { id: "mcp", shown: "another MCP client" };

/// Nothing is known of it but what its configuration says.
#[derive(Debug)]
pub struct Other {
    process: Process,
    declared: Declared,
}

impl Default for Other {
    fn default() -> Self {
        Self { process: process::own(), declared: Declared::Session(None) }
    }
}

impl Other {
    /// Recognises an agent by what its configuration says alone.
    pub fn recognise(seen: &Surroundings<'_>) -> Option<Box<dyn Kind>> {
        Some(Box::new(Self { process: seen.parent, declared: declared::of(seen)? }))
    }
}

impl Kind for Other {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn process(&self) -> Process {
        self.process
    }

    fn thread(&self) -> Option<&str> {
        match &self.declared {
            Declared::Session(thread) => thread.as_deref(),
            Declared::Run => None,
        }
    }

    fn is_interactive(&self) -> bool {
        self.declared != Declared::Run
    }
}
