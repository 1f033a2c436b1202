//! An MCP client that is no known agent: it is asked nothing, and its session is the channel's own process.

use super::kind::{Kind, Profile};
use crate::process::{self, Process};

/// What is the same in all its sessions.
pub const PROFILE: Profile = Profile { id: "mcp", shown: "another MCP client" };

/// Nothing is known of it.
#[derive(Debug)]
pub struct Other(Process);

impl Default for Other {
    fn default() -> Self {
        Self(process::own())
    }
}

impl Kind for Other {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn process(&self) -> Process {
        self.0
    }
}
