//! What a model sends with a tool call, checked in one place. Pure.
//!
//! A refusal names the argument, what was there and its bounds, so that the model's next try is right.

use std::time::Duration;

use serde_json::Value;

use super::{ASK, BROADCAST, PEERS, RENAME, REPLY, TELL};
use crate::client::Call;
use crate::object::Object;
use crate::protocol::{
    AskId, Audience, BODY_MAX_BYTES, BroadcastId, ErrorCode, NameError, PeerName, Refusal, SHELL, TIMEOUT_DEFAULT_S,
    TIMEOUT_MAX_S,
};

/// The ids that a call may need: made where the call was read, so that it is the same ask wherever it is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewIds {
    /// For an ask or a tell.
    pub ask_id: AskId,
    /// For a broadcast.
    pub broadcast_id: BroadcastId,
}

impl NewIds {
    /// Returns fresh random ids.
    pub fn random() -> Self {
        // A call makes one of them, so both may have the same number.
        let ask_id = AskId::random();
        Self { ask_id, broadcast_id: BroadcastId::like(ask_id) }
    }
}

/// Says why a tool call cannot be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No tool has this name: a mistake of the MCP client, not of the model.
    #[error("unknown tool: {0}")]
    UnknownTool(String),
    /// The arguments are wrong.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Reads a tool call. `new_ids` is called where the call makes an ask.
///
/// # Errors
/// No tool has this name, or an argument is missing, unknown, of a wrong type or out of its bounds.
pub fn parse(tool: &str, arguments: Object, new_ids: impl FnOnce() -> NewIds) -> Result<Call, CallError> {
    let mut arguments = Arguments { tool, given: arguments };
    let call = match tool {
        PEERS => Call::Peers,
        ASK => Call::Ask {
            to: arguments.address("to")?,
            question: arguments.body("question")?,
            timeout: arguments.timeout("timeout_seconds")?,
            ask_id: new_ids().ask_id,
        },
        TELL => Call::Tell {
            to: arguments.address("to")?,
            text: arguments.body("text")?,
            timeout: arguments.timeout("timeout_seconds")?,
            tell_id: new_ids().ask_id,
        },
        REPLY => Call::Reply { ask_id: arguments.ask_id("ask_id")?, text: arguments.body("text")? },
        BROADCAST => Call::Broadcast {
            question: arguments.body("question")?,
            audience: Audience {
                to: arguments.addresses("to")?,
                folder: arguments.folder("folder")?,
                machines: arguments.machines("machines")?,
            },
            timeout: arguments.timeout("timeout_seconds")?,
            broadcast_id: new_ids().broadcast_id,
        },
        RENAME => Call::Rename { name: arguments.name("name")? },
        _ => return Err(CallError::UnknownTool(tool.to_owned())),
    };
    arguments.none_left()?;
    Ok(call)
}

struct Arguments<'a> {
    tool: &'a str,
    given: Object,
}

impl Arguments<'_> {
    fn text(&mut self, argument: &str) -> Result<String, Refusal> {
        let text = match self.given.remove(argument) {
            None => return Err(self.bad(argument, "is missing", "a non-empty text")),
            Some(Value::String(text)) => text,
            Some(other) => return Err(self.bad(argument, &format!("is {}", kind(&other)), "a non-empty text")),
        };
        if text.trim().is_empty() {
            return Err(self.bad(argument, "is empty", "a non-empty text"));
        }
        Ok(text)
    }

    fn body(&mut self, argument: &str) -> Result<String, Refusal> {
        let text = self.text(argument)?;
        if text.len() > BODY_MAX_BYTES {
            return Err(Refusal::new(
                ErrorCode::TooLarge,
                format!("{argument} has {} bytes; the limit is {BODY_MAX_BYTES}", text.len()),
                "put the text into a file and send its path; to a session on another machine (name@machine) send less, or use git or scp",
            ));
        }
        Ok(text)
    }

    fn address(&mut self, argument: &str) -> Result<String, Refusal> {
        let to = self.text(argument)?;
        Self::unreserved(argument, to)
    }

    /// Returns a list of addresses; none where it is not given.
    fn addresses(&mut self, argument: &str) -> Result<Option<Vec<String>>, Refusal> {
        let wanted = "a list of names with at least one; without it and folder, all are asked";
        let Some(list) = self.names(argument, wanted)? else { return Ok(None) };
        list.into_iter().map(|to| Self::unreserved(argument, to)).collect::<Result<_, _>>().map(Some)
    }

    /// Returns a list of machines; none where it is not given. `all` is one of them.
    fn machines(&mut self, argument: &str) -> Result<Option<Vec<String>>, Refusal> {
        self.names(
            argument,
            "a list of machines with at least one, or [\"all\"]; without it only this machine is meant",
        )
    }

    /// Returns a list of names; none where it is not given. An empty one would leave open whether it means everybody.
    fn names(&mut self, argument: &str, wanted: &str) -> Result<Option<Vec<String>>, Refusal> {
        let list = match self.given.remove(argument) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Array(list)) => list,
            Some(other) => return Err(self.bad(argument, &format!("is {}", kind(&other)), wanted)),
        };
        if list.is_empty() {
            return Err(self.bad(argument, "is empty", wanted));
        }
        let address = |value: Value| match value.as_str() {
            Some(to) if !to.trim().is_empty() => Ok(to.to_owned()),
            Some(_) | None => Err(self.bad(argument, &format!("has {} in it", kind(&value)), wanted)),
        };
        list.into_iter().map(address).collect::<Result<_, _>>().map(Some)
    }

    /// Returns a folder; none where it is not given.
    fn folder(&mut self, argument: &str) -> Result<Option<String>, Refusal> {
        if matches!(self.given.get(argument), None | Some(Value::Null)) {
            self.given.remove(argument);
            return Ok(None);
        }
        let folder = self.text(argument)?;
        if folder.starts_with('/') {
            Ok(Some(folder))
        } else {
            Err(self.bad(argument, &format!("is {folder:?}"), "an absolute path, which begins with /"))
        }
    }

    fn unreserved(argument: &str, to: String) -> Result<String, Refusal> {
        if PeerName::parse(&to) != Err(NameError::Reserved) {
            return Ok(to);
        }
        // A reserved name is one word, so that its letters say which.
        let name: String = to.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect();
        let (what, next) = match name.as_str() {
            SHELL => ("a command line and cannot be asked", "to answer its question, call relay_reply with its ask_id"),
            "all" | "everyone" => ("no session", "call relay_broadcast to ask every session"),
            _ => ("no peer", "call relay_peers to see who can be asked"),
        };
        Err(Refusal::new(ErrorCode::BadArgs, format!("{argument} is {to:?}, which is {what}"), next))
    }

    fn name(&mut self, argument: &str) -> Result<String, Refusal> {
        let name = self.text(argument)?;
        match PeerName::parse(&name) {
            Ok(_) => Ok(name),
            Err(error) => Err(self.bad(argument, &format!("is {name:?}: {error}"), "letters and digits, not reserved")),
        }
    }

    /// A malformed id is an ask that nobody knows: the model has mistyped it.
    fn ask_id(&mut self, argument: &str) -> Result<AskId, Refusal> {
        let text = self.text(argument)?;
        text.parse().map_err(|error| {
            Refusal::new(
                ErrorCode::UnknownAsk,
                format!("no ask has the id {text:?}: {error}"),
                "copy the ask_id from the question that you answer and call relay_reply again",
            )
        })
    }

    fn timeout(&mut self, argument: &str) -> Result<Duration, Refusal> {
        let seconds = match self.given.remove(argument) {
            None | Some(Value::Null) => TIMEOUT_DEFAULT_S,
            Some(value) => {
                let seconds = value.as_u64().filter(|seconds| (1..=TIMEOUT_MAX_S).contains(seconds));
                seconds.ok_or_else(|| {
                    let range = format!("a whole number of seconds from 1 to {TIMEOUT_MAX_S}");
                    let wanted = format!("{range}; without it, {TIMEOUT_DEFAULT_S}");
                    self.bad(argument, &format!("is {}", shown(&value)), &wanted)
                })?
            }
        };
        Ok(Duration::from_secs(seconds))
    }

    fn none_left(&self) -> Result<(), Refusal> {
        let Some(argument) = self.given.keys().next() else { return Ok(()) };
        let takes = match self.tool {
            ASK => "to, question and timeout_seconds",
            TELL => "to, text and timeout_seconds",
            REPLY => "ask_id and text",
            BROADCAST => "question, to, folder and timeout_seconds",
            RENAME => "name",
            _ => "no arguments",
        };
        let problem = format!("{} has no argument {argument:?}; it takes {takes}", self.tool);
        Err(Refusal::new(ErrorCode::BadArgs, problem, format!("call {} again without it", self.tool)))
    }

    fn bad(&self, argument: &str, problem: &str, wanted: &str) -> Refusal {
        Refusal::new(
            ErrorCode::BadArgs,
            format!("{argument} {problem}; it must be {wanted}"),
            format!("call {} again with a good {argument}", self.tool),
        )
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => kind(value).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const IDS: NewIds = NewIds { ask_id: AskId::from_bits(7), broadcast_id: BroadcastId::from_bits(8) };

    fn parsed(tool: &str, arguments: Value) -> Result<Call, CallError> {
        parse(tool, serde_json::from_value(arguments).unwrap(), || IDS)
    }

    fn refusal(tool: &str, arguments: Value) -> Refusal {
        match parsed(tool, arguments) {
            Err(CallError::Refused(refusal)) => refusal,
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn tool_arguments_that_are_good_make_a_call() {
        assert_eq!(parsed(PEERS, json!({})), Ok(Call::Peers));
        assert_eq!(
            parsed(ASK, json!({"to": "Backend API", "question": "ok?"})),
            Ok(Call::Ask {
                ask_id: IDS.ask_id,
                to: "Backend API".into(),
                question: "ok?".into(),
                timeout: Duration::from_secs(600)
            })
        );
        assert_eq!(
            parsed(TELL, json!({"to": "web", "text": "done", "timeout_seconds": 5})),
            Ok(Call::Tell {
                tell_id: IDS.ask_id,
                to: "web".into(),
                text: "done".into(),
                timeout: Duration::from_secs(5)
            })
        );
        assert_eq!(
            parsed(BROADCAST, json!({"question": "ok?", "timeout_seconds": 86400})),
            Ok(Call::Broadcast {
                broadcast_id: IDS.broadcast_id,
                audience: Audience::default(),
                question: "ok?".into(),
                timeout: Duration::from_secs(86400)
            })
        );
        let some = json!({"question": "ok?", "to": ["web", "API"], "folder": "/w"});
        let audience =
            Audience { to: Some(vec!["web".into(), "API".into()]), folder: Some("/w".into()), machines: None };
        assert!(matches!(parsed(BROADCAST, some), Ok(Call::Broadcast { audience: asked, .. }) if asked == audience));
        assert_eq!(
            parsed(REPLY, json!({"ask_id": "0000-0000-0001", "text": "yes"})),
            Ok(Call::Reply { ask_id: AskId::from_bits(1), text: "yes".into() })
        );
        assert_eq!(parsed(RENAME, json!({"name": "API"})), Ok(Call::Rename { name: "API".into() }));
    }

    #[test]
    fn tool_argument_that_is_bad_is_named_with_its_bounds() {
        let cases = [
            (ASK, json!({"question": "x"}), "to is missing; it must be a non-empty text"),
            (ASK, json!({"to": 7, "question": "x"}), "to is a number; it must be a non-empty text"),
            (ASK, json!({"to": "b", "question": " \n"}), "question is empty; it must be a non-empty text"),
            (REPLY, json!({"ask_id": "0000-0000-0001", "text": ""}), "text is empty; it must be a non-empty text"),
            (PEERS, json!({"all": true}), "relay_peers has no argument \"all\"; it takes no arguments"),
            (RENAME, json!({"name": "you"}), "this name is reserved"),
            (RENAME, json!({"name": "--"}), "at least one letter or digit"),
            (ASK, json!({"to": "Everyone", "question": "x"}), "to is \"Everyone\", which is no session"),
            (BROADCAST, json!({"question": "x", "to": []}), "to is empty; it must be a list of names"),
            (BROADCAST, json!({"question": "x", "to": "web"}), "to is a text; it must be a list of names"),
            (BROADCAST, json!({"question": "x", "to": ["web", 7]}), "to has a number in it"),
            (BROADCAST, json!({"question": "x", "to": ["all"]}), "to is \"all\", which is no session"),
            (BROADCAST, json!({"question": "x", "folder": "src"}), "folder is \"src\"; it must be an absolute path"),
        ];
        for (tool, arguments, message) in cases {
            let refusal = refusal(tool, arguments);
            assert_eq!(refusal.code, ErrorCode::BadArgs);
            assert!(refusal.message.contains(message), "{}", refusal.message);
        }
        for timeout in [json!(0), json!(86401), json!(-1), json!(1.5), json!("60")] {
            let refusal = refusal(BROADCAST, json!({"question": "x", "timeout_seconds": timeout}));
            assert_eq!(refusal.code, ErrorCode::BadArgs);
            assert!(refusal.message.contains("from 1 to 86400"), "{}", refusal.message);
        }
    }

    #[test]
    fn reserved_address_leads_to_the_tool_that_was_meant() {
        let cases = [
            ("All", "relay_broadcast"),
            ("everyone!", "relay_broadcast"),
            ("shell", "relay_reply"),
            ("hub", "relay_peers"),
            (" You ", "relay_peers"),
        ];
        for (to, tool) in cases {
            let refusal = refusal(ASK, json!({"to": to, "question": "x"}));
            assert_eq!(refusal.code, ErrorCode::BadArgs, "{to}");
            assert!(refusal.next.contains(tool), "{to}: {}", refusal.next);
        }
        let everybody = parsed(ASK, json!({"to": "everybody", "question": "x"}));
        assert!(everybody.is_ok(), "a session may have this name: {everybody:?}");
    }

    #[test]
    fn long_text_is_too_large_with_both_numbers() {
        let refusal = refusal(BROADCAST, json!({"question": "x".repeat(65537)}));
        assert_eq!(refusal.code, ErrorCode::TooLarge);
        assert!(refusal.message.contains("65537") && refusal.message.contains("65536"), "{}", refusal.message);
        assert!(refusal.next.contains("file"));
        assert!(parsed(BROADCAST, json!({"question": "x".repeat(65536)})).is_ok());
    }

    #[test]
    fn mistyped_id_is_an_unknown_ask() {
        let refusal = refusal(REPLY, json!({"ask_id": "k3v9-x2mq", "text": "yes"}));
        assert_eq!(refusal.code, ErrorCode::UnknownAsk);
        assert!(refusal.next.contains("copy the ask_id"));
    }

    #[test]
    fn unknown_tool_is_the_clients_mistake() {
        assert_eq!(parsed("relay_shout", json!({})), Err(CallError::UnknownTool("relay_shout".into())));
    }
}
