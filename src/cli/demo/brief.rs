//! The demo in short: who asks whom what, and how it ends. Pure.

use serde_json::Value;

use super::session::{Shown, ToolResult};

/// Returns what a tool call comes to; nothing where it is told when it arrives.
pub(super) fn call(tool: &str, arguments: &Value, result: &ToolResult) -> Option<String> {
    let argument = |key: &str| arguments.get(key).and_then(Value::as_str).unwrap_or_default();
    let said = match tool {
        "relay_peers" => {
            let peers = result.value["peers"].as_array().into_iter().flatten();
            let names: Vec<&str> = peers.filter_map(|peer| peer["name"].as_str()).collect();
            format!("sees {}", names.join(" and "))
        }
        "relay_ask" => {
            let seconds = arguments.get("timeout_seconds").map(|seconds| format!(" (for {seconds} s)"));
            format!("asks {}{}: {}", argument("to"), seconds.unwrap_or_default(), argument("question"))
        }
        "relay_broadcast" => format!("asks everybody: {}", argument("question")),
        "relay_rename" => format!("calls itself {}", argument("name")),
        "relay_reply" if !result.is_error => return None,
        "relay_reply" => format!("answers: {}", argument("text")),
        _ => tool.to_owned(),
    };
    Some(if result.is_error { format!("{said}\nrefused: {}", result.text("/error/code")) } else { said })
}

/// Returns what a session is shown and who does it; nothing of a question, which was told when it was asked.
pub(super) fn event<'a>(who: &'a str, shown: &'a Shown) -> Option<(&'a str, String)> {
    let from = shown.meta("from");
    match shown.meta("kind") {
        "reply" => Some((from, format!("answers {who}: {}", shown.content.trim_end()))),
        "failed" if shown.meta("code") == "timeout" => Some((who, format!("is told: {from} did not answer in time"))),
        "failed" => Some((who, format!("is told: {from} went away before it answered"))),
        "tally" => {
            let count = |key: &str| shown.meta(key).to_owned();
            let counts = ["asked", "replied", "timed_out", "gone"]
                .map(|key| format!("{} {}", count(key), key.replace('_', " ")));
            Some((who, format!("is told the tally: {}", counts.join(", "))))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn result(value: Value, is_error: bool) -> ToolResult {
        ToolResult { value, is_error }
    }

    #[test]
    fn call_is_told_in_one_line_and_a_refusal_below_it() {
        let done = result(json!({}), false);
        let ask = json!({ "to": "backend", "question": "Green?", "timeout_seconds": 1 });
        assert_eq!(call("relay_ask", &ask, &done).unwrap(), "asks backend (for 1 s): Green?");
        assert_eq!(call("relay_reply", &json!({ "text": "yes" }), &done), None);
        let refused = result(json!({ "error": { "code": "unknown_ask" } }), true);
        let said = call("relay_reply", &json!({ "text": "yes" }), &refused).unwrap();
        assert_eq!(said, "answers: yes\nrefused: unknown_ask");
        let peers = result(json!({ "peers": [{ "name": "backend" }, { "name": "docs" }] }), false);
        assert_eq!(call("relay_peers", &json!({}), &peers).unwrap(), "sees backend and docs");
    }

    #[test]
    fn answer_is_told_when_it_has_arrived() {
        let shown = |pairs: &[(&str, &str)]| Shown {
            content: "8080\n".to_owned(),
            meta: pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        };
        let told = |pairs| event("frontend", &shown(pairs)).map(|(who, said)| format!("{who} {said}"));
        assert_eq!(told(&[("kind", "ask"), ("from", "backend")]), None);
        assert_eq!(told(&[("kind", "reply"), ("from", "backend")]).unwrap(), "backend answers frontend: 8080");
        let gone = told(&[("kind", "failed"), ("from", "backend"), ("code", "peer_gone")]).unwrap();
        assert_eq!(gone, "frontend is told: backend went away before it answered");
    }
}
