//! What an MCP client says of itself: one of the ways to recognise an agent.

/// The most characters of an MCP client's name and version.
pub(super) const CLIENT_MAX_CHARS: usize = 80;

/// What the MCP client says of itself in `initialize`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct McpClient {
    /// Its name: `claude-code`.
    pub name: String,
    /// Its version: `2.1.330`.
    pub version: String,
}

impl McpClient {
    /// Returns name and version for people; none where the client says neither.
    pub fn shown(&self) -> Option<String> {
        let text: String = format!("{} {}", self.name, self.version).trim().chars().take(CLIENT_MAX_CHARS).collect();
        (!text.is_empty()).then_some(text)
    }
}
