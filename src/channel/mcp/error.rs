//! JSON-RPC's errors, and the bound on open requests. Pure.

use serde_json::{Value, json};

/// How many requests and unread answers there may be. A session's model calls about ten tools at a time, and the
/// cancellation behind the call that takes the last place is read as soon as any of them is answered, which takes seconds at
/// the most.
pub const OPEN_MAX: usize = 64;

// JSON-RPC 2.0, section 5.1.
pub(super) const INVALID_REQUEST: i32 = -32600;
pub(super) const METHOD_NOT_FOUND: i32 = -32601;
pub(super) const INVALID_PARAMS: i32 = -32602;
pub(super) const PARSE_ERROR: i32 = -32700;

/// Returns the error that answers the request with this id.
pub(super) fn error(id: &Value, code: i32, message: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
}
