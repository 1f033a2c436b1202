//! An MCP client that is no known agent: it is asked nothing, and its session is the channel's own process.

/// The agent's short name on the wire.
pub const ID: &str = "mcp";

/// Nothing is known of it.
#[derive(Debug)]
pub struct Other;
