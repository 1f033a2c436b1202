//! The messages on a session's socket.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::object::Object;
use crate::protocol::table::{frames_without_ids, messages};
use crate::protocol::{Activity, AskId, BroadcastId};

/// The most ids in one message.
pub const IDS_MAX: usize = 256;

messages! {
    /// What a session's channel is told by the session's other processes.
    pub enum ReaderMessage {
        /// Who connects.
        "hello" since 1 => Hello(hello: Hello),
        /// The reader shows this batch, or a proxy's client has this call's result.
        "taken" since 1 => Taken(taken: Taken),
        /// These messages went before the model.
        "shown" since 1 => Shown(shown: Shown),
        /// These messages were taken and will not go before the model.
        "lost" since 1 => Lost(lost: Lost),
        /// What the session does, and where.
        "presence" since 1 => Presence(presence: PluginPresence),
        /// The name that the session's user gave it.
        "named" since 1 => Named(named: Named),
        /// A tool call.
        "call" since 1 => Call(call: Box<ProxyCall>),
        /// Nobody waits for this call any more.
        "cancel" since 1 => Cancel(cancel: Cancel),
    }
}

messages! {
    /// What a session's channel says to the session's other processes.
    pub enum ChannelMessage {
        /// Messages to be shown.
        "deliver" since 1 => Deliver(deliver: Deliver),
        /// The result of a tool call.
        "result" since 1 => Result(result: CallResult),
        /// Nothing is left to do.
        "end" since 1 => End,
    }
}

/// What a process is to the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Waits until there is something to wake the session with, shows it and ends.
    Waiter,
    /// Runs in a turn: shows what waits and ends.
    Hook,
    /// Runs inside the agent.
    Plugin,
    /// Another relay server of the session.
    Proxy,
}

/// Who connects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// What it is to the session.
    pub role: Role,
    /// The messages that went before the model, as far as this process knows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shown: Vec<String>,
    /// The messages that go before it now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub showing: Vec<String>,
    /// Whether this process must not be given messages.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub receipts_only: bool,
    /// Where in a turn this process runs, in an agent that starts one before each request to its model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
}

/// A point in a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// A turn begins: what hooks added to the one before and no request had is lost.
    Begin,
    /// A tool has run.
    Tool,
    /// A request is made: it has what hooks have added in this turn.
    Request,
}

impl Hello {
    /// Returns the greeting of a process that brings no receipts.
    pub const fn new(role: Role) -> Self {
        Self { role, shown: Vec::new(), showing: Vec::new(), receipts_only: false, stage: None }
    }
}

/// A batch is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// The batch.
    pub batch: u64,
}

/// Messages went before the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Their ids.
    pub ids: Vec<String>,
}

/// Messages that the agent has lost, with an interrupted turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// Their ids.
    pub ids: Vec<String>,
}

/// What a plugin says of the session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginPresence {
    /// What it does.
    pub status: Activity,
    /// The dialog that it stands at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
    /// The folder that it works in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<PathBuf>,
}

/// A name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// The name.
    pub name: String,
}

/// A tool call of a proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyCall {
    /// The call's number, the proxy's own.
    pub id: u64,
    /// The tool's name.
    pub tool: String,
    /// Its arguments.
    pub arguments: Object,
    /// The id of the ask that the call may make.
    pub ask_id: AskId,
    /// The id of the broadcast that the call may make.
    pub broadcast_id: BroadcastId,
}

/// A call that nobody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    /// The call.
    pub id: u64,
}

/// Messages to be shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deliver {
    /// Names the batch on this connection.
    pub batch: u64,
    /// All that is to be shown.
    pub text: String,
    /// The ids of the messages in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
}

/// The result of a tool call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallResult {
    /// The call.
    pub id: u64,
    /// The tool's result, one JSON object.
    pub result: Value,
    /// Whether it tells of an error.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_error: bool,
}

frames_without_ids!(ReaderMessage, ChannelMessage);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::codec::{decode, encode};

    #[test]
    fn frame_is_written_as_the_specification_shows() {
        let hello = ReaderMessage::Hello(Hello::new(Role::Plugin));
        let deliver = ChannelMessage::Deliver(Deliver { batch: 1, text: "hi".to_owned(), ids: vec!["a".to_owned()] });
        let mut out = Vec::new();
        encode(&hello, &mut out);
        encode(&ReaderMessage::Taken(Taken { batch: 1 }), &mut out);
        encode(&deliver, &mut out);
        encode(&ChannelMessage::End, &mut out);
        let expected = "{\"type\":\"hello\",\"role\":\"plugin\"}\n{\"type\":\"taken\",\"batch\":1}\n\
                        {\"type\":\"deliver\",\"batch\":1,\"text\":\"hi\",\"ids\":[\"a\"]}\n{\"type\":\"end\"}\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert_eq!(decode::<ChannelMessage>(b"{\"type\":\"end\",\"more\":1}").unwrap(), ChannelMessage::End);
    }

    #[test]
    fn frame_kinds_are_those_of_the_specification() {
        let page = include_str!("../session.rs");
        for (kind, _) in ReaderMessage::KINDS.iter().chain(ChannelMessage::KINDS) {
            assert!(page.contains(&format!("| `{kind}` |")), "{kind}");
        }
    }
}
