//! What an incoming line is: a message, something that is answered on the spot, or nothing. Pure.

use memchr::memchr;
use rmcp::model::{
    CallToolRequestMethod, CallToolRequestParams, ClientNotification, ClientRequest, JsonRpcMessage, JsonRpcVersion2_0,
    RequestId, RequestMetaObject,
};
use rmcp::service::{RoleServer, RxJsonRpcMessage};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::{INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, OPEN_MAX, PARSE_ERROR, error};
use super::repair::repair;
use crate::agent::McpClient;
use crate::object::Object;

/// The longest line, in bytes. A question of 64 KiB fits, however its characters are escaped.
pub const LINE_MAX_BYTES: usize = 1024 * 1024;

/// How much of a longer line is kept from either end, to find its request's id.
const ENDS_BYTES: usize = 256;

const DISCOVER: &str = "server/discover";

/// Why nothing else is answered before.
const FIRST: &str = "the first request is initialize";

/// A line, whole or too long to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// The bytes without the newline.
    Whole(Vec<u8>),
    /// Its two ends, which may hold the id of the request that it was.
    TooLong {
        /// The first bytes.
        head: Vec<u8>,
        /// The last bytes.
        tail: Vec<u8>,
    },
}

/// Cuts a byte stream into lines and keeps at most one line in memory, and no more than its limit.
#[derive(Debug, Default)]
pub struct Lines {
    bytes: Vec<u8>,
    /// Up to where `bytes` is known to hold no newline.
    searched: usize,
    /// The head of the line that is being skipped, since it is too long.
    skipped: Option<Vec<u8>>,
}

impl Lines {
    /// Adds bytes that were read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes the next line; `None` where more bytes are needed.
    pub fn next_line(&mut self) -> Option<Line> {
        let Some(offset) = memchr(b'\n', &self.bytes[self.searched..]) else {
            self.searched = self.bytes.len();
            if self.skipped.is_some() || self.searched > LINE_MAX_BYTES {
                let tail = self.bytes.split_off(self.bytes.len().saturating_sub(ENDS_BYTES));
                let head = std::mem::replace(&mut self.bytes, tail);
                self.skipped.get_or_insert_with(|| head[..ENDS_BYTES.min(head.len())].to_vec());
                self.searched = self.bytes.len();
            }
            return None;
        };
        let rest = self.bytes.split_off(self.searched + offset + 1);
        let mut line = std::mem::replace(&mut self.bytes, rest);
        self.searched = 0;
        line.pop();
        if let Some(head) = self.skipped.take() {
            let tail = line.split_off(line.len().saturating_sub(ENDS_BYTES));
            return Some(Line::TooLong { head, tail });
        }
        if line.len() > LINE_MAX_BYTES {
            let tail = line.split_off(line.len() - ENDS_BYTES);
            line.truncate(ENDS_BYTES);
            return Some(Line::TooLong { head: line, tail });
        }
        Some(Line::Whole(line))
    }
}

/// What an incoming line is.
#[derive(Debug)]
pub enum Message {
    /// A tool call.
    Call {
        /// Its id.
        id: RequestId,
        /// The tool's name.
        tool: String,
        /// The arguments.
        arguments: Object,
        /// What the client says with it.
        meta: Object,
    },
    /// The first request.
    Initialize {
        /// Its id.
        id: RequestId,
        /// The protocol version that the client wants.
        version: String,
        /// The client.
        client: McpClient,
    },
    /// The client wants the tools.
    ListTools {
        /// The request's id.
        id: RequestId,
    },
    /// The client is ready.
    Ready,
    /// Nobody waits for this request any more.
    Cancelled(RequestId),
    /// Answered at once, with these JSON-RPC messages.
    Answers(Vec<Value>),
    /// Nobody waits for an answer.
    Dropped(&'static str),
}

/// Reads a line. `initialized` tells whether `initialize` has come.
///
/// `server/discover` is unknown here: a client that met the newer lifecycle would have no channels, since that has no
/// place for unasked notifications. Claude Code 2.1.330 probes with it before `initialize`.
pub fn read(line: &Line, initialized: bool) -> Message {
    let bytes = match line {
        Line::Whole(bytes) => bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii(),
        Line::TooLong { head, tail } => {
            let Some(id) = id_of_ends(head, tail) else { return Message::Dropped("too long") };
            let limit =
                format!("a message has at most {LINE_MAX_BYTES} bytes; put the text into a file and send its path");
            return Message::Answers(vec![error(&id, INVALID_REQUEST, &limit)]);
        }
    };
    if bytes.is_empty() {
        return Message::Dropped("empty");
    }
    if let Some(message) = parse(bytes) {
        return understand(message, initialized);
    }
    let repaired = repair(bytes);
    match parse(&repaired) {
        Some(message) => understand(message, initialized),
        None => malformed(&repaired),
    }
}

fn parse(bytes: &[u8]) -> Option<Parsed> {
    let call = serde_json::from_slice(bytes).map(Parsed::Call).ok();
    call.or_else(|| serde_json::from_slice(bytes).ok().map(|message| Parsed::Other(Box::new(message))))
}

/// A line that is a JSON-RPC message.
enum Parsed {
    Call(ToolCall),
    Other(Box<RxJsonRpcMessage<RoleServer>>),
}

fn understand(message: Parsed, initialized: bool) -> Message {
    let request = match message {
        Parsed::Call(ToolCall { id, params, .. }) if initialized => {
            let ToolCallParams { name, arguments, meta } = params;
            let (arguments, meta) = (arguments.unwrap_or_default(), meta.unwrap_or_default());
            return Message::Call { id, tool: name, arguments, meta };
        }
        Parsed::Call(call) => return refused(&call.id, INVALID_REQUEST, FIRST),
        Parsed::Other(message) => match *message {
            JsonRpcMessage::Request(request) => request,
            JsonRpcMessage::Notification(_) if !initialized => return Message::Dropped("before initialize"),
            JsonRpcMessage::Notification(notification) => return notified(notification.notification),
            JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_) => {
                return Message::Dropped("the answer to what nobody has asked");
            }
        },
    };
    let id = request.id;
    #[expect(clippy::wildcard_enum_match_arm, reason = "a server has no use for the other kinds of MCP")]
    match request.request {
        ClientRequest::PingRequest(_) => Message::Answers(vec![json!({"jsonrpc": "2.0", "id": id, "result": {}})]),
        ClientRequest::DiscoverRequest(_) => refused(&id, METHOD_NOT_FOUND, DISCOVER),
        // A known method is read as a custom one when its parameters are not what they should be.
        ClientRequest::CustomRequest(custom) if matches!(custom.method.as_str(), "initialize" | "tools/call") => {
            refused(&id, INVALID_PARAMS, &format!("the parameters of {} are malformed", custom.method))
        }
        ClientRequest::CustomRequest(custom) if custom.method == DISCOVER => refused(&id, METHOD_NOT_FOUND, DISCOVER),
        ClientRequest::InitializeRequest(request) => {
            let params = request.params;
            let client = McpClient { name: params.client_info.name, version: params.client_info.version };
            Message::Initialize { id, version: params.protocol_version.as_str().to_owned(), client }
        }
        _ if !initialized => refused(&id, INVALID_REQUEST, FIRST),
        ClientRequest::ListToolsRequest(_) => Message::ListTools { id },
        ClientRequest::CallToolRequest(mut request) => {
            // Where rmcp reads a whole message, it puts `_meta` beside the parameters.
            let beside = request.extensions.remove::<RequestMetaObject>();
            request.params.meta = request.params.meta.or(beside);
            let CallToolRequestParams { name, arguments, meta, .. } = request.params;
            let arguments = arguments.into_iter().flatten().collect();
            let meta = meta.into_iter().flat_map(|meta| meta.0.0).collect();
            Message::Call { id, tool: name.into_owned(), arguments, meta }
        }
        other => refused(&id, METHOD_NOT_FOUND, other.method()),
    }
}

fn refused(id: &RequestId, code: i32, message: &str) -> Message {
    Message::Answers(vec![error(&id.clone().into_json_value(), code, message)])
}

fn notified(notification: ClientNotification) -> Message {
    if let ClientNotification::CancelledNotification(cancelled) = notification {
        return cancelled.params.request_id.map_or(Message::Dropped("cancels nothing"), Message::Cancelled);
    }
    let is_ready = matches!(notification, ClientNotification::InitializedNotification(_));
    if is_ready { Message::Ready } else { Message::Dropped("changes nothing") }
}

/// What nearly every line is. rmcp tries one kind of message after the other, which takes several times as long.
#[derive(Deserialize)]
struct ToolCall {
    #[serde(rename = "jsonrpc")]
    _version: JsonRpcVersion2_0,
    id: RequestId,
    #[serde(rename = "method")]
    _method: CallToolRequestMethod,
    params: ToolCallParams,
}

#[derive(Deserialize)]
struct ToolCallParams {
    name: String,
    arguments: Option<Object>,
    #[serde(rename = "_meta")]
    meta: Option<Object>,
}

/// Answers the requests that can be recognised in JSON that is no message: of a batch no more than may be open.
fn malformed(bytes: &[u8]) -> Message {
    let requests = match serde_json::from_slice::<Value>(bytes) {
        Ok(Value::Array(batch)) => batch,
        Ok(value) => vec![value],
        Err(_) => {
            let head = &bytes[..bytes.len().min(ENDS_BYTES)];
            let tail = &bytes[bytes.len().saturating_sub(ENDS_BYTES)..];
            return match id_of_ends(head, tail) {
                Some(id) => Message::Answers(vec![error(&id, PARSE_ERROR, "the line is not JSON")]),
                None => Message::Dropped("not JSON"),
            };
        }
    };
    let is_id = |id: &&Value| id.is_string() || id.is_number();
    let answers: Vec<Value> = requests
        .iter()
        .filter(|request| request.get("method").is_some())
        .filter_map(|request| request.get("id").filter(is_id))
        .map(|id| error(id, INVALID_REQUEST, "not a JSON-RPC 2.0 request on a line of its own"))
        .take(OPEN_MAX)
        .collect();
    if answers.is_empty() { Message::Dropped("not a JSON-RPC message") } else { Message::Answers(answers) }
}

/// Finds a request's id in the ends of its line, where clients write it: behind the version, or last.
///
/// Quotes inside a JSON text are escaped, so peer text cannot look like a key with its quotes.
fn id_of_ends(head: &[u8], tail: &[u8]) -> Option<Value> {
    let (head, tail) = (String::from_utf8_lossy(head), String::from_utf8_lossy(tail));
    let value = |text: &str| serde_json::Deserializer::from_str(text).into_iter::<Value>().next()?.ok();
    let last = tail.rfind("\"id\":").filter(|at| *at == 0 || !tail[..*at].ends_with('\\')).and_then(|at| {
        let rest = tail[at + 5..].trim_end().strip_suffix('}')?;
        serde_json::from_str::<Value>(rest).ok()
    });
    let first = || {
        let object = head.trim_start().strip_prefix('{')?.trim_start();
        let object = object.strip_prefix("\"jsonrpc\":\"2.0\",").unwrap_or(object);
        value(object.strip_prefix("\"id\":")?)
    };
    last.or_else(first).filter(|id| id.is_string() || id.is_number())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answer(text: &str, initialized: bool) -> Vec<(Value, i64)> {
        let incoming = read(&Line::Whole(text.as_bytes().to_vec()), initialized);
        let Message::Answers(answers) = incoming else { panic!("not answered: {incoming:?}") };
        answers.iter().map(|answer| (answer["id"].clone(), answer["error"]["code"].as_i64().unwrap())).collect()
    }

    fn incoming(text: &str) -> Message {
        read(&Line::Whole(text.as_bytes().to_vec()), true)
    }

    fn is_dropped(text: &str, initialized: bool) -> bool {
        matches!(read(&Line::Whole(text.as_bytes().to_vec()), initialized), Message::Dropped(_))
    }

    fn is_message(text: &str, initialized: bool) -> bool {
        matches!(read(&Line::Whole(text.as_bytes().to_vec()), initialized), Message::Initialize { .. })
    }

    const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;

    #[test]
    fn line_before_initialize_does_not_end_the_server() {
        assert!(is_dropped("garbage", false));
        assert!(is_dropped("", false));
        assert!(is_dropped("\u{feff}", false));
        assert!(is_dropped(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#, false));
        assert!(is_dropped(r#"{"jsonrpc":"2.0","id":4,"result":{}}"#, false));
        assert_eq!(answer(r#"{"jsonrpc":"2.0","id":4,"method":"tools/list"}"#, false), [(json!(4), -32600)]);
        assert!(is_message(INITIALIZE, false));
        assert!(is_message(&format!("\u{feff}{INITIALIZE}\r"), false));
    }

    #[test]
    fn discovery_is_an_unknown_method_at_any_time() {
        let probe = r#"{"jsonrpc":"2.0","id":"server-discover-probe-1","method":"server/discover","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"claude-code","version":"2.1.330"},"io.modelcontextprotocol/clientCapabilities":{}}}}"#;
        for text in [probe, r#"{"jsonrpc":"2.0","id":"server-discover-probe-1","method":"server/discover"}"#] {
            for initialized in [false, true] {
                assert_eq!(answer(text, initialized), [(json!("server-discover-probe-1"), -32601)]);
            }
        }
    }

    #[test]
    fn ping_is_answered_at_any_time() {
        let ping = Line::Whole(br#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#.to_vec());
        for initialized in [false, true] {
            let Message::Answers(answers) = read(&ping, initialized) else { panic!("not answered") };
            assert_eq!(answers, [json!({"jsonrpc": "2.0", "id": "p", "result": {}})]);
        }
    }

    #[test]
    fn notifications_that_matter_are_two() {
        assert!(matches!(incoming(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#), Message::Ready));
        let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7,"reason":"x"}}"#;
        assert!(matches!(incoming(cancel), Message::Cancelled(RequestId::Number(7))));
        for nothing in [
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/other"}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":7,"error":{"code":1,"message":""}}"#,
        ] {
            assert!(is_dropped(nothing, true), "{nothing}");
        }
    }

    #[test]
    fn batch_is_answered_up_to_what_may_be_open() {
        let request = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
        assert_eq!(answer(&format!("[{}]", [request; 3 * OPEN_MAX].join(",")), true).len(), OPEN_MAX);
    }

    #[test]
    fn malformed_request_is_answered_by_its_id() {
        assert_eq!(answer(r#"{"id":7,"method":"tools/list"}"#, true), [(json!(7), -32600)]);
        assert_eq!(answer(r#"{"jsonrpc":"2.0","id":1.5,"method":"tools/list"}"#, true), [(json!(1.5), -32600)]);
        assert_eq!(
            answer(r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":2,"method":"ping"}]"#, true),
            [(json!(1), -32600), (json!(2), -32600)]
        );
        assert_eq!(
            answer(r#"{"jsonrpc":"2.0","id":8,"method":"tools/call","params":{"name":"x","arguments":"y"}}"#, true),
            [(json!(8), -32602)]
        );
        assert!(is_dropped(r#"{"jsonrpc":"2.0","id":null,"method":"tools/list"}"#, true));
        assert!(is_dropped("[]", true));
    }

    #[test]
    fn tool_call_is_read_as_rmcp_reads_it() {
        for text in [
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"relay_peers"}}"#,
            r#"{"method":"tools/call","params":{"name":"x","arguments":{"a":[1,{"b":"\u0000"}]},"more":1},"id":"i","jsonrpc":"2.0"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","_meta":{"progressToken":3,"claudecode/toolUseId":"t"}}}"#,
        ] {
            let ours = understand(Parsed::Call(serde_json::from_slice(text.as_bytes()).unwrap()), true);
            let theirs = understand(Parsed::Other(Box::new(serde_json::from_str(text).unwrap())), true);
            assert!(matches!(ours, Message::Call { .. }));
            assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
        }
        for other in [
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#,
            r#"{"jsonrpc":"1.0","id":1,"method":"tools/call","params":{"name":"x"}}"#,
            r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"x"}}"#,
        ] {
            assert!(serde_json::from_slice::<ToolCall>(other.as_bytes()).is_err(), "{other}");
        }
    }

    #[test]
    fn half_a_surrogate_pair_and_a_bad_byte_become_a_replacement_character() {
        let start = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"relay_ask","arguments":{"q":""#;
        for bad in [b"done \\ud83d".as_slice(), b"done \xff"] {
            let line = [start.as_bytes(), bad, br#""}}}"#].concat();
            let Message::Call { arguments, .. } = read(&Line::Whole(line), true) else { panic!("no call") };
            assert_eq!(arguments.get("q").unwrap(), "done \u{fffd}");
        }
    }

    #[test]
    fn line_that_is_no_json_is_answered_by_its_id() {
        assert_eq!(answer(r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"#, true), [(json!(7), -32700)]);
        assert_eq!(answer(r#"{"method":"tools/call",,"jsonrpc":"2.0","id":"a"}"#, true), [(json!("a"), -32700)]);
    }

    fn lines(bytes: &[u8]) -> Vec<Line> {
        let mut lines = Lines::default();
        let mut all = Vec::new();
        for part in bytes.chunks(8192) {
            lines.push(part);
            all.extend(std::iter::from_fn(|| lines.next_line()));
            assert!(lines.bytes.len() <= LINE_MAX_BYTES + 8192);
        }
        all
    }

    #[test]
    fn line_over_the_limit_is_refused_by_its_id_and_the_next_one_read() {
        let long = "x".repeat(2 * LINE_MAX_BYTES);
        for request in [
            format!(r#"{{"method":"tools/call","params":{{"q":"{long}"}},"jsonrpc":"2.0","id":"a-9"}}"#),
            format!(r#"{{"jsonrpc":"2.0","id":"a-9","method":"tools/call","params":{{"q":"{long}"}}}}"#),
        ] {
            let lines = lines(format!("{request}\nnext\n").as_bytes());
            assert_eq!(lines.len(), 2);
            assert_eq!(lines[1], Line::Whole(b"next".to_vec()));
            let Message::Answers(answers) = read(&lines[0], true) else { panic!("not answered") };
            assert_eq!(answers[0]["id"], "a-9");
        }
        let forged = format!(r#"{{"method":"x","params":{{"q":"{long}\"id\":3}}"#);
        assert!(matches!(read(&lines(format!("{forged}\n").as_bytes())[0], true), Message::Dropped(_)));
    }

    proptest! {
        #[test]
        fn no_line_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), initialized in any::<bool>()) {
            read(&Line::Whole(bytes.clone()), initialized);
            read(&Line::TooLong { head: bytes.clone(), tail: bytes }, initialized);
        }
    }
}
