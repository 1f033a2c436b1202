//! MCP as a server speaks it on one connection: JSON-RPC lines in, JSON-RPC lines out. Pure.
//!
//! Every request gets exactly one answer, unless it was cancelled. A request that cannot be understood is answered by its id
//! wherever one can be found in it. The newest protocol version is that of 2025-11-25: later ones have no unasked
//! notifications, and so no channels.
//!
//! **Invariant:** what a client makes the channel hold belongs to an open request or to an answer that it does not read. Of
//! both together there are at most [`OPEN_MAX`]; then nothing more is read, and the client has to wait.

mod error;
pub mod line;
pub mod repair;

use rmcp::model::{
    Implementation, InitializeResult, JsonObject, ListToolsResult, ProtocolVersion, RequestId, ServerCapabilities,
};
use serde::Serialize;
use serde_json::{Value, json};

pub use self::error::OPEN_MAX;
use self::error::{INVALID_PARAMS, INVALID_REQUEST, error};
use self::line::{Line, Message};
use super::notification::{self, Message as Shown};
use super::tools;
use crate::agent::McpClient;
use crate::client::CallId;
use crate::object::Object;

/// The server's name in `initialize`.
pub const SERVER_NAME: &str = "claude-relay";

/// The capability that makes a server a channel.
const CHANNEL_CAPABILITY: &str = "claude/channel";

/// What the channel has to do for the client.
#[derive(Debug, Clone, PartialEq)]
pub enum Incoming {
    /// The client says who it is, and waits for [`welcome`].
    Initialize(Initialize),
    /// The client is ready for what it has not asked for.
    Ready,
    /// The client was answered with the tools.
    ToolsListed,
    /// The model calls a tool: [`Mcp::answer`] ends it.
    Call {
        /// The call.
        call: CallId,
        /// The tool's name.
        tool: String,
        /// The arguments.
        arguments: Object,
        /// What the client says with it.
        meta: Object,
    },
    /// Nobody waits for this call any more: [`Mcp::answer`] ends it all the same.
    Cancelled(CallId),
}

/// The client's first request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Initialize {
    id: RequestId,
    version: String,
    /// What it says of itself.
    pub client: McpClient,
}

/// The result of a tool call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolResult {
    /// One JSON object, as text.
    pub json: String,
    /// Whether it tells of an error.
    pub is_error: bool,
}

#[derive(Debug)]
struct OpenCall {
    call: CallId,
    id: RequestId,
    is_cancelled: bool,
}

/// One connection's state.
#[derive(Debug, Default)]
pub struct Mcp {
    initialized: bool,
    ready: bool,
    open: Vec<OpenCall>,
    calls: u64,
}

impl Mcp {
    /// Returns how many calls are open.
    pub fn open_calls(&self) -> usize {
        self.open.len()
    }

    /// Handles a line. Each answer that can be given at once is handed to `answer`.
    pub fn handle_line(&mut self, line: &Line, mut answer: impl FnMut(&Value)) -> Option<Incoming> {
        match line::read(line, self.initialized) {
            Message::Call { id, tool, arguments, meta } => {
                let call = self.handle_call(id, &tool, answer)?;
                Some(Incoming::Call { call, tool, arguments, meta })
            }
            Message::Initialize { id, version, client } => {
                self.initialized = true;
                Some(Incoming::Initialize(Initialize { id, version, client }))
            }
            Message::ListTools { id } => {
                answer(&result(&id, &without_type(&ListToolsResult::with_all_items(tools::definitions()))));
                Some(Incoming::ToolsListed)
            }
            Message::Ready if !std::mem::replace(&mut self.ready, true) => Some(Incoming::Ready),
            Message::Ready => None,
            Message::Cancelled(id) => {
                let open = self.open.iter_mut().find(|open| open.id == id && !open.is_cancelled)?;
                open.is_cancelled = true;
                Some(Incoming::Cancelled(open.call))
            }
            Message::Answers(answers) => {
                answers.iter().for_each(answer);
                None
            }
            Message::Dropped(why) => {
                tracing::debug!(why, "dropped an incoming line");
                None
            }
        }
    }

    fn handle_call(&mut self, id: RequestId, tool: &str, mut answer: impl FnMut(&Value)) -> Option<CallId> {
        let refused = if self.open.iter().any(|open| open.id == id) {
            Some((INVALID_REQUEST, "another request with this id is not yet answered".to_owned()))
        } else {
            (!tools::is_tool(tool)).then(|| (INVALID_PARAMS, format!("unknown tool: {tool}")))
        };
        if let Some((code, message)) = refused {
            answer(&error(&id.into_json_value(), code, &message));
            return None;
        }
        self.calls += 1;
        let call = CallId(self.calls);
        self.open.push(OpenCall { call, id, is_cancelled: false });
        Some(call)
    }

    /// Ends a call. Returns the answer; none where the call was cancelled.
    pub fn answer(&mut self, call: CallId, result: ToolResult) -> Option<impl Serialize + use<>> {
        let at = self.open.iter().position(|open| open.call == call)?;
        let OpenCall { id, is_cancelled, .. } = self.open.swap_remove(at);
        let content = [TextBlock { kind: "text", text: result.json }];
        let result = CallResult { content, is_error: result.is_error };
        (!is_cancelled).then_some(Response { jsonrpc: VERSION, id, result })
    }
}

/// The version of JSON-RPC.
const VERSION: &str = "2.0";

/// A response of JSON-RPC.
#[derive(Serialize)]
struct Response<T> {
    jsonrpc: &'static str,
    id: RequestId,
    result: T,
}

/// The result of `tools/call`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CallResult {
    content: [TextBlock; 1],
    is_error: bool,
}

#[derive(Serialize)]
struct TextBlock {
    #[serde(rename = "type")]
    kind: &'static str,
    text: String,
}

/// A notification of JSON-RPC.
#[derive(Serialize)]
struct Notification<T> {
    jsonrpc: &'static str,
    method: &'static str,
    params: T,
}

/// Returns the notification that Claude Code turns into a channel event.
pub fn channel_event(message: &Shown) -> impl Serialize {
    Notification { jsonrpc: VERSION, method: notification::METHOD, params: message }
}

/// Returns the answer to the client's first request.
pub fn welcome(initialize: &Initialize, instructions: &str) -> Value {
    result(&initialize.id, &initialize_result(&initialize.version, instructions))
}

fn initialize_result(wanted: &str, instructions: &str) -> Value {
    let known = ProtocolVersion::known_up_to(&ProtocolVersion::V_2025_11_25);
    let version = known.iter().find(|version| version.as_str() == wanted).unwrap_or(&ProtocolVersion::V_2025_11_25);
    let experimental = [(CHANNEL_CAPABILITY.to_owned(), JsonObject::new())].into();
    let capabilities = ServerCapabilities::builder().enable_experimental_with(experimental).enable_tools().build();
    let result = InitializeResult::new(capabilities)
        .with_protocol_version(version.clone())
        .with_server_info(Implementation::new(SERVER_NAME, env!("CARGO_PKG_VERSION")))
        .with_instructions(instructions);
    without_type(&result)
}

/// Returns a result without the member that only later versions have.
fn without_type(result: &impl Serialize) -> Value {
    let mut json = serde_json::to_value(result).unwrap_or_default();
    if let Value::Object(members) = &mut json {
        members.shift_remove("resultType");
    }
    json
}

fn result(id: &RequestId, result: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "result": result})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle(mcp: &mut Mcp, line: &str) -> (Option<Incoming>, Vec<Value>) {
        let mut answers = Vec::new();
        let incoming = mcp.handle_line(&Line::Whole(line.as_bytes().to_vec()), |answer| answers.push(answer.clone()));
        (incoming, answers)
    }

    fn initialize(version: &str) -> (Mcp, Value) {
        let mut mcp = Mcp::default();
        let line = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{"protocolVersion":"{version}","capabilities":{{}},"clientInfo":{{"name":"claude-code","version":"2.1.330"}}}}}}"#
        );
        let (Some(Incoming::Initialize(initialize)), _) = handle(&mut mcp, &line) else { panic!("not understood") };
        let client = McpClient { name: "claude-code".to_owned(), version: "2.1.330".to_owned() };
        assert_eq!(initialize.client, client);
        (mcp, welcome(&initialize, "be kind"))
    }

    fn call(id: &str, tool: &str) -> String {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{{}}}}}}"#)
    }

    #[test]
    fn protocol_version_is_the_wanted_one_or_the_newest_with_channels() {
        for (wanted, spoken) in [("2025-06-18", "2025-06-18"), ("2026-07-28", "2025-11-25"), ("junk", "2025-11-25")] {
            let (_, answer) = initialize(wanted);
            assert_eq!(answer["result"]["protocolVersion"], spoken);
            assert_eq!((&answer["id"], &answer["result"]["instructions"]), (&json!(1), &json!("be kind")));
            assert_eq!(answer["result"]["capabilities"], json!({"experimental": {"claude/channel": {}}, "tools": {}}));
            assert!(answer["result"].get("resultType").is_none());
        }
    }

    #[test]
    fn call_is_answered_once_by_its_id() {
        let (mut mcp, _) = initialize("2025-11-25");
        let (incoming, answers) = handle(&mut mcp, &call("\"a\"", tools::PEERS));
        assert!(answers.is_empty() && matches!(incoming, Some(Incoming::Call { call: CallId(1), .. })));
        let (again, answers) = handle(&mut mcp, &call("\"a\"", tools::PEERS));
        assert_eq!((again, answers[0]["error"]["code"].as_i64()), (None, Some(-32600)));
        let result = ToolResult { json: r#"{"you":null}"#.to_owned(), is_error: false };
        let answer = serde_json::to_value(mcp.answer(CallId(1), result.clone()).unwrap()).unwrap();
        assert_eq!(answer["id"], "a");
        assert_eq!(
            answer["result"],
            json!({"content": [{"type": "text", "text": "{\"you\":null}"}], "isError": false})
        );
        assert!(mcp.answer(CallId(1), result).is_none());
    }

    #[test]
    fn cancelled_call_is_told_once_and_not_answered() {
        let (mut mcp, _) = initialize("2025-11-25");
        handle(&mut mcp, &call("7", tools::PEERS));
        let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}"#;
        assert_eq!(handle(&mut mcp, cancel).0, Some(Incoming::Cancelled(CallId(1))));
        assert_eq!(handle(&mut mcp, cancel).0, None);
        assert_eq!(mcp.open_calls(), 1);
        assert!(mcp.answer(CallId(1), ToolResult { json: "{}".to_owned(), is_error: false }).is_none());
        assert_eq!(mcp.open_calls(), 0);
    }

    #[test]
    fn unknown_tool_is_the_clients_mistake() {
        let (mut mcp, _) = initialize("2025-11-25");
        let (incoming, answers) = handle(&mut mcp, &call("7", "relay_shout"));
        assert_eq!((incoming, answers[0]["error"]["code"].as_i64()), (None, Some(-32602)));
    }

    #[test]
    fn tools_are_listed_and_the_client_is_ready_once() {
        let (mut mcp, _) = initialize("2025-11-25");
        let (incoming, answers) = handle(&mut mcp, r#"{"jsonrpc":"2.0","id":2,"method":"tools/list"}"#);
        assert_eq!(incoming, Some(Incoming::ToolsListed));
        assert_eq!(answers[0]["result"]["tools"].as_array().map(Vec::len), Some(tools::definitions().len()));
        let ready = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        assert_eq!(handle(&mut mcp, ready).0, Some(Incoming::Ready));
        assert_eq!(handle(&mut mcp, ready).0, None);
    }
}
