//! The MCP server: what Claude Code asks of it becomes an [`Event`] for the channel, which owns everything else.

use std::borrow::Cow;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, DiscoverResult, ErrorData, Implementation,
    JsonObject, ListToolsResult, PaginatedRequestParams, ProtocolVersion, RequestId, ServerCapabilities, ServerConfig,
};
use rmcp::service::{NotificationContext, Peer, RequestContext, RoleServer};
use rmcp::{ErrorData as McpError, ServerHandler};
use serde_json::Value;
use tokio::sync::{mpsc::UnboundedSender, oneshot};

use super::neutralise;
use super::stdio::open::Place;
use super::tools;
use super::tools::arguments::{Call, CallError};
use crate::protocol::Refusal;

/// The server's name in `initialize`.
pub const SERVER_NAME: &str = "claude-relay";

/// The capability that makes a server a channel.
const CHANNEL_CAPABILITY: &str = "claude/channel";

/// What the model is told of the server as a whole. Claude Code cuts it at 2,048 characters.
pub const INSTRUCTIONS: &str = include_str!("instructions.md");

/// The most characters of an MCP client's name and version.
const CLIENT_MAX_CHARS: usize = 80;

/// Everything that can happen in the channel's process, from whatever side.
#[derive(Debug)]
pub enum Event {
    /// The MCP client is ready.
    Initialized {
        /// The way back to it.
        peer: Peer<RoleServer>,
    },
    /// The MCP client wants the tools.
    ToolsListed,
    /// The model calls a tool.
    Called {
        /// The JSON-RPC id.
        id: RequestId,
        /// What is to be done, or why it cannot be.
        call: Result<Call, Refusal>,
        /// Where the result goes.
        answer: oneshot::Sender<ToolResult>,
        /// The MCP client, which may call before it says that it is ready.
        peer: Peer<RoleServer>,
    },
    /// A tool call is done, but its result not yet sent.
    Done {
        /// The JSON-RPC id.
        id: RequestId,
        /// What it came to.
        answer: Result<tools::result::Answer, Refusal>,
    },
    /// The MCP client does not wait for this request any more.
    Cancelled(RequestId),
    /// The answer to the request of this place was written.
    Answered(Place),
    /// A channel event was written, or could not be.
    EventWritten(bool),
    /// The session's own file may have changed.
    SessionFileChanged,
    /// The MCP client is gone.
    Ended,
}

/// The result of a tool call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolResult {
    /// One JSON object.
    pub json: Value,
    /// Whether it tells of an error.
    pub is_error: bool,
}

impl From<ToolResult> for CallToolResponse {
    fn from(result: ToolResult) -> Self {
        let content = vec![ContentBlock::text(result.json.to_string())];
        let result = if result.is_error { CallToolResult::error(content) } else { CallToolResult::success(content) };
        result.into()
    }
}

/// rmcp's handler.
#[derive(Debug)]
pub struct Server {
    events: UnboundedSender<Event>,
}

impl Server {
    /// Returns a server that tells of everything here.
    pub fn new(events: UnboundedSender<Event>) -> Self {
        Self { events }
    }

    fn tell(&self, event: Event) {
        // The channel owns the receiver as long as the process lives.
        self.events.send(event).ok();
    }
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let experimental = [(CHANNEL_CAPABILITY.to_owned(), JsonObject::new())].into();
        let capabilities = ServerCapabilities::builder().enable_experimental_with(experimental).enable_tools().build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new(SERVER_NAME, env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }

    /// Later versions have no unasked notifications, and so no channels.
    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Cow::Borrowed(ProtocolVersion::known_up_to(&ProtocolVersion::V_2025_11_25))
    }

    async fn discover(&self, _: RequestContext<RoleServer>) -> Result<DiscoverResult, McpError> {
        Err(ErrorData::new(rmcp::model::ErrorCode::METHOD_NOT_FOUND, "server/discover", None))
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, McpError> {
        self.tell(Event::ToolsListed);
        Ok(ListToolsResult::with_all_items(tools::definitions()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, McpError> {
        let call = match tools::arguments::parse(&request.name, request.arguments.unwrap_or_default()) {
            Ok(call) => Ok(call),
            Err(CallError::Refused(refusal)) => Err(refusal),
            Err(error @ CallError::UnknownTool(_)) => return Err(ErrorData::invalid_params(error.to_string(), None)),
        };
        let (answer, result) = oneshot::channel();
        self.tell(Event::Called { id: context.id, call, answer, peer: context.peer });
        let result = result.await.map_err(|_| ErrorData::internal_error("the channel is leaving", None))?;
        Ok(result.into())
    }

    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        self.tell(Event::Initialized { peer: context.peer });
    }
}

/// Returns the MCP client's name and version, as it gives them.
pub(super) fn client_of(peer: &Peer<RoleServer>) -> Option<String> {
    let Implementation { name, version, .. } = &peer.peer_info()?.client_info;
    Some(neutralise::line(&format!("{name} {version}")).chars().take(CLIENT_MAX_CHARS).collect())
}
