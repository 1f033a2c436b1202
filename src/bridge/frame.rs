//! The messages between the bridges of two machines: JSON objects, one a line. This page is their specification.
//!
//! # Epochs
//!
//! Each side draws a random *epoch* whenever the link is lost, and says it in `hello`. Every frame carries its sender's epoch
//! and, in `for`, the one that its sender knows of the other side; a frame of any other pair is of a link that is no more and
//! is dropped. A link is up for a side that has received a frame with its own epoch in `for`. Frames are numbered, and one that
//! another has overtaken is dropped as well.
//!
//! Nothing rests on a transport's word that it took a frame. What the other side has not answered is said again each second.
//!
//! # The way of an ask
//!
//! The *asking* side is the machine of the session that asks, the *asked* side that of the session which is asked.
//!
//! 1. The asking side says `ask` until it hears a `status` of it.
//! 2. The asked side says `status` whenever the ask has come further, until it hears `heard` with the same status, or a
//!    `outcome`.
//! 3. The asking side says `outcome` until it hears `closed`: the reply was taken by the asker's client, nobody waits for the
//!    ask any more, or a reply came to a hub that does not know the ask ([`Over`]). The asked side answers a `outcome` with `closed`, also of an ask that it does not know; but with
//!    `status` where it has a reply of which the asking side did not know when it said that nobody waits: whether a reply
//!    was in time is the asker's client's to say. It says nothing while it may not know yet what its hub has.
//!
//! When a link is up anew, the asking side says `ask` again, with an empty `text`, for what was open there: the asked side goes
//! on with what its session has.
//!
//! All may be said any number of times and after either side has been started anew: the hubs know which asks are open.
//!
//! | frame | says |
//! | --- | --- |
//! | `hello` | this side's versions |
//! | `beat` | this side is there, and says so again within `every_ms`; `echo` brings back what a `beat` had in `ping` |
//! | `sessions` | this side's sessions that the other side may see, all of them, and what it may do here |
//! | `sessions_heard` | the last `sessions` was received |
//! | `ask` | a session here asks a session there |
//! | `status` | how far an ask has come that the other side asked |
//! | `heard` | the last `status` was received |
//! | `outcome` | an ask of this side's is over |
//! | `closed` | the other side's ask is forgotten here |

use std::borrow::Cow;

use serde::de::Error as _;
use serde::{Deserialize, Serialize};

use crate::protocol::table::messages;
use crate::protocol::{
    AskId, AskKind, AskState, BroadcastId, Chain, ClientTag, Frame, PeerName, Refusal, RemoteSession, VersionRange,
};

/// The versions of these messages that this build speaks.
pub const VERSIONS: VersionRange = VersionRange { min: 1, max: 1 };

messages! {
    /// What one bridge says to another.
    pub enum LinkMessage {
        /// A link begins, or begins anew.
        "hello" since 1 => Hello(hello: LinkHello),
        /// The sender is there.
        "beat" since 1 => Beat(beat: Beat),
        /// The sender's sessions.
        "sessions" since 1 => Sessions(sessions: Sessions),
        /// The last list was received.
        "sessions_heard" since 1 => SessionsHeard(heard: SessionsHeard),
        /// A session of the sender's asks.
        "ask" since 1 => Ask(ask: Box<LinkAsk>),
        /// How far an ask of the receiver's has come.
        "status" since 1 => Status(status: Box<AskStatus>),
        /// The last status was received.
        "heard" since 1 => Heard(heard: Heard),
        /// An ask of the sender's is over.
        "outcome" since 1 => Outcome(outcome: LinkOutcome),
        /// The receiver's ask is forgotten.
        "closed" since 1 => Closed(closed: LinkClosed),
    }
}

/// Names one life of one side of a link; random.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Epoch(pub u32);

impl Epoch {
    /// Returns a new epoch.
    pub fn random() -> Self {
        #[expect(clippy::expect_used, reason = "without the system's random source no two links could be told apart")]
        Self(getrandom::u32().expect("the system's random source"))
    }
}

/// One frame: a message of a pair of epochs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkFrame {
    /// The sender's epoch.
    pub epoch: Epoch,
    /// The receiver's, as far as the sender knows.
    pub to: Option<Epoch>,
    /// Counts the sender's frames of this epoch.
    pub number: u64,
    /// The message.
    pub message: LinkMessage,
}

/// A link begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkHello {
    /// The versions of these messages that the sender speaks.
    pub versions: VersionRange,
    /// The sender's program and version, for people.
    pub program: String,
}

/// The sender is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// After which time at most the sender beats again, in milliseconds.
    pub every_ms: u64,
    /// A number that is wanted back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ping: Option<u64>,
    /// The number that was wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub echo: Option<u64>,
}

/// The sender's sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    /// Counts the lists of the sender.
    #[serde(rename = "list")]
    pub number: u64,
    /// Whether the sender's hub can be reached.
    pub hub: bool,
    /// Whether sessions may still be missing: nobody may be taken for gone.
    pub settling: bool,
    /// What the receiver may do on the sender's machine, for people: `ask`, `reply`, `hold`, `nothing`.
    #[serde(default)]
    pub may: String,
    /// The sessions.
    pub sessions: Vec<RemoteSession>,
}

/// A list was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionsHeard {
    /// Its number.
    #[serde(rename = "list")]
    pub number: u64,
}

/// A session of the sender's asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkAsk {
    /// The ask.
    pub ask_id: AskId,
    /// Whether it is a tell.
    #[serde(default, skip_serializing_if = "AskKind::is_ask")]
    pub kind: AskKind,
    /// The session that asks, by its tag at home; none for the shell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<ClientTag>,
    /// The session that is asked, by its tag at home.
    pub to: ClientTag,
    /// The text; empty where the asked side had it before.
    pub text: String,
    /// How long the asker still waits, in milliseconds.
    pub timeout_ms: u64,
    /// The broadcast that the ask belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broadcast_id: Option<BroadcastId>,
    /// What it follows from.
    #[serde(default, skip_serializing_if = "Chain::is_empty")]
    pub chain: Chain,
}

/// How far an ask has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskStatus {
    /// The ask.
    pub ask_id: AskId,
    /// The asked session, by its tag at home.
    pub by: ClientTag,
    /// The name that it has or had there: it may have gone, and the asking side may know nothing of it any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<PeerName>,
    /// How far.
    #[serde(flatten)]
    pub status: Status,
}

/// How far an ask has come on the machine of the asked session. The order is the order of progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Status {
    /// It was not accepted.
    Refused {
        /// Why.
        error: Refusal,
    },
    /// It is open.
    Open {
        /// How far it has come.
        state: AskState,
    },
    /// A tell came to its session.
    Arrived {
        /// `shown`; `handed_over` where the session cannot say more.
        state: AskState,
    },
    /// It was answered.
    Reply {
        /// The text.
        text: String,
    },
    /// Its session has gone.
    Gone,
    /// Its time is over, or nothing is known of it.
    Over,
}

/// The last status was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// The ask.
    pub ask_id: AskId,
    /// How far it had come; none where it had ended or was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<AskState>,
}

/// An ask is over for its asker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkOutcome {
    /// The ask.
    pub ask_id: AskId,
    /// How.
    pub over: Over,
}

/// How an ask is over for its asker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Over {
    /// The asker's client has taken a reply.
    Taken,
    /// Nobody waited for the reply that came.
    NotTaken,
    /// A reply came, and the asker's hub knows nothing of the ask: one before it may have passed on that reply.
    Unconfirmed,
    /// Nobody waits for a reply; none has come.
    Unanswered,
}

/// An ask is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkClosed {
    /// The ask.
    pub ask_id: AskId,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    epoch: Epoch,
    #[serde(default, rename = "for")]
    to: Option<Epoch>,
    number: u64,
}

impl Frame for LinkFrame {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"type\":\"");
        out.extend_from_slice(self.message.kind().as_bytes());
        out.extend_from_slice(b"\",\"epoch\":");
        out.extend_from_slice(itoa::Buffer::new().format(self.epoch.0).as_bytes());
        if let Some(Epoch(to)) = self.to {
            out.extend_from_slice(b",\"for\":");
            out.extend_from_slice(itoa::Buffer::new().format(to).as_bytes());
        }
        out.extend_from_slice(b",\"number\":");
        out.extend_from_slice(itoa::Buffer::new().format(self.number).as_bytes());
        self.message.write_members(out);
        out.push(b'}');
    }

    fn read(frame: &str) -> Result<Self, serde_json::Error> {
        let Head { kind, epoch, to, number } = serde_json::from_str(frame)?;
        let unknown = || Err(serde_json::Error::custom(format!("no message of a link has the type {kind:?}")));
        let message = LinkMessage::read(&kind, frame).unwrap_or_else(unknown)?;
        Ok(Self { epoch, to, number, message })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ClientKey;
    use crate::protocol::codec::{decode, encode};

    #[test]
    fn frame_survives_its_text() {
        let (ask_id, tag) = (AskId::from_bits(7), ClientKey::from_bytes([1; 16]).tag());
        let statuses = [Status::Gone, Status::Reply { text: "yes\n".into() }, Status::Open { state: AskState::Shown }];
        let ask = LinkAsk {
            ask_id,
            kind: AskKind::Tell,
            from: None,
            to: tag,
            text: "x".into(),
            timeout_ms: 5,
            broadcast_id: None,
            chain: Chain::default(),
        };
        let status = |status| {
            LinkMessage::Status(Box::new(AskStatus { ask_id, by: tag, name: PeerName::parse("api").ok(), status }))
        };
        let messages = statuses.map(status).into_iter().chain([LinkMessage::Ask(Box::new(ask))]);
        for message in messages {
            for to in [None, Some(Epoch(u32::MAX))] {
                let frame = LinkFrame { epoch: Epoch(3), to, number: u64::MAX, message: message.clone() };
                let mut bytes = Vec::new();
                encode(&frame, &mut bytes);
                bytes.pop();
                assert_eq!(decode::<LinkFrame>(&bytes).unwrap(), frame);
            }
        }
    }
}
