//! What one frame is: a request or a notice of a client, an answer or an event of the hub.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::Error as _;

use super::answer::Answer;
use super::event::Event;
use super::notice::Notice;
use super::request::Request;

/// Chosen by the client for each request; its one answer carries it back.
pub type RequestId = u64;

/// What a client says. A frame with an `id` is a request and gets exactly one answer, one without is a notice and gets none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientMessage {
    /// Wants an answer.
    Request(RequestId, Request),
    /// Wants none.
    Notice(Notice),
}

/// What the hub says. A frame with an `id` answers the request with that id, one without is an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HubMessage {
    /// Answers a request.
    Answer(RequestId, Answer),
    /// Tells what happened.
    Event(Event),
}

/// The members that every frame may have.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    id: Option<RequestId>,
}

/// A message that is the content of one frame.
pub trait Frame: Sized {
    /// Appends the message as one JSON object without a newline.
    fn write(&self, out: &mut Vec<u8>);

    /// Reads the message from a frame that is a JSON object.
    ///
    /// # Errors
    /// No message has this `type`, or its members are missing or malformed.
    fn read(frame: &str) -> Result<Self, serde_json::Error>;
}

impl ClientMessage {
    /// Returns the `type` on the wire.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Request(_, request) => request.kind(),
            Self::Notice(notice) => notice.kind(),
        }
    }
}

impl HubMessage {
    /// Returns the `type` on the wire.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Answer(_, answer) => answer.kind(),
            Self::Event(event) => event.kind(),
        }
    }
}

impl Frame for ClientMessage {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Request(id, request) => write(out, request.kind(), Some(*id), |out| request.write_members(out)),
            Self::Notice(notice) => write(out, notice.kind(), None, |out| notice.write_members(out)),
        }
    }

    fn read(frame: &str) -> Result<Self, serde_json::Error> {
        let head: Head<'_> = serde_json::from_str(frame)?;
        match head.id {
            Some(id) => Ok(Self::Request(id, known(Request::read(&head.kind, frame), "request", &head.kind)?)),
            None => Ok(Self::Notice(known(Notice::read(&head.kind, frame), "notice", &head.kind)?)),
        }
    }
}

impl Frame for HubMessage {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Answer(id, answer) => write(out, answer.kind(), Some(*id), |out| answer.write_members(out)),
            Self::Event(event) => write(out, event.kind(), None, |out| event.write_members(out)),
        }
    }

    fn read(frame: &str) -> Result<Self, serde_json::Error> {
        let head: Head<'_> = serde_json::from_str(frame)?;
        match head.id {
            Some(id) => Ok(Self::Answer(id, known(Answer::read(&head.kind, frame), "answer", &head.kind)?)),
            None => Ok(Self::Event(known(Event::read(&head.kind, frame), "event", &head.kind)?)),
        }
    }
}

fn write(out: &mut Vec<u8>, kind: &str, id: Option<RequestId>, members: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.push(b'"');
    if let Some(id) = id {
        out.extend_from_slice(b",\"id\":");
        out.extend_from_slice(itoa::Buffer::new().format(id).as_bytes());
    }
    members(out);
    out.push(b'}');
}

fn known<T>(read: Option<Result<T, serde_json::Error>>, what: &str, kind: &str) -> Result<T, serde_json::Error> {
    read.unwrap_or_else(|| Err(serde_json::Error::custom(format!("no {what} has the type {kind:?}"))))
}

#[cfg(test)]
mod tests {
    use super::super::{AskId, ErrorCode, Refusal};
    use super::*;

    fn written(message: &impl Frame) -> String {
        let mut out = Vec::new();
        message.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn frame_has_type_then_id_then_members() {
        let ask_id = AskId::from_bits(0);
        let withdraw = ClientMessage::Notice(Notice::Withdraw(super::super::Withdraw { ask_id }));
        assert_eq!(written(&withdraw), r#"{"type":"withdraw","ask_id":"0000-0000-0000"}"#);
        assert_eq!(written(&ClientMessage::Request(7, Request::Peers)), r#"{"type":"peers","id":7}"#);
        assert_eq!(written(&ClientMessage::Notice(Notice::Bye)), r#"{"type":"bye"}"#);
    }

    #[test]
    fn frame_with_an_id_is_an_answer_and_without_an_event() {
        let error = Refusal::new(ErrorCode::BadMsg, "no", "yes");
        let (answer, event) =
            (HubMessage::Answer(3, Answer::Error(error.clone())), HubMessage::Event(Event::Error(error)));
        for message in [answer, event] {
            assert_eq!(HubMessage::read(&written(&message)).unwrap(), message);
        }
    }

    #[test]
    fn frame_of_an_unknown_type_is_named() {
        let error = ClientMessage::read(r#"{"type":"dance","id":1}"#).unwrap_err().to_string();
        assert_eq!(error, r#"no request has the type "dance""#);
        assert!(ClientMessage::read(r#"{"type":"ask"}"#).is_err());
    }
}
