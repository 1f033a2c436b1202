//! What passes between the channels of one session: who of them is the peer, and what one leaves to the next.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::id::{AskId, BroadcastId, PeerKey, PeerTag};
use super::request::AskState;

/// Says that the process of a channel's hello is its client's, so that another channel of it serves the same session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    /// How often the session's identity has passed from one channel to the next.
    #[serde(default)]
    pub turn: u32,
    /// Whether the channel was its session's second before its connection was lost.
    #[serde(default)]
    pub second: bool,
}

/// What a channel is in its session, where it is not simply the peer that it was or asked to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Place {
    /// Another channel of the session is the peer: what this one asks is asked by that one.
    Second,
    /// It has succeeded the session's last channel, and goes on under that one's identity.
    Heir {
        /// The key that it says in each hello from now on.
        key: PeerKey,
        /// The turn that goes with it.
        turn: u32,
    },
}

/// Where a received ask stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It waits for the session.
    #[default]
    Open,
    /// The asker's client has taken the session's reply.
    Answered,
    /// Nobody waits for it any more.
    Closed,
}

/// One thing that a channel leaves to the channel that succeeds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Bequest {
    /// An own ask without an outcome.
    Ask {
        /// The ask.
        ask_id: AskId,
        /// Whom it was asked.
        to: String,
        /// The text; without it the ask cannot be said again to another hub.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        question: Option<String>,
        /// How long it stays open, in milliseconds.
        timeout_ms: u64,
        /// Whom a hub has accepted it for.
        bound: PeerTag,
        /// How far it has come.
        state: AskState,
        /// The broadcast that it belongs to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        broadcast_id: Option<BroadcastId>,
    },
    /// The tally so far of an own broadcast, behind its open asks.
    Broadcast {
        /// The broadcast.
        broadcast_id: BroadcastId,
        /// The peers that were there.
        asked: u64,
        /// The asks that were answered.
        replied: u64,
        /// The asks that timed out.
        timed_out: u64,
        /// The asks whose peer went away.
        gone: u64,
        /// The peers that could not be asked.
        refused: u64,
    },
    /// A reply to an own ask that was taken, of which its replier may not know yet.
    Taken {
        /// The ask.
        ask_id: AskId,
        /// The tag of the peer whose reply was taken.
        by: PeerTag,
    },
    /// A reply of the session that was not taken yet.
    Reply {
        /// The ask that is answered.
        ask_id: AskId,
        /// Who asked.
        to: String,
        /// The text.
        text: String,
    },
    /// A received ask that the session was given before, also one that has ended: it may be said again. The hub says so of
    /// open ones.
    Received {
        /// The ask.
        ask_id: AskId,
        /// Who asks.
        from: String,
        /// Whom the session has it from: [`AskEvent::asker`](super::AskEvent::asker).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        asker: Option<PeerTag>,
        /// How long the asker still waits, in milliseconds.
        timeout_ms: u64,
        /// How far it has come.
        state: AskState,
        /// Where it stands.
        #[serde(default)]
        standing: Standing,
    },
    /// A message that the session was not shown yet.
    Message {
        /// The received ask that it is; none for what became of own asks.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ask_id: Option<AskId>,
        /// The text, as it is to be shown.
        content: String,
        /// What it is: text values only.
        meta: Map<String, Value>,
    },
}

impl Bequest {
    /// Returns the received ask that it is the message of.
    pub const fn message_of(&self) -> Option<AskId> {
        if let Self::Message { ask_id, .. } = self { *ask_id } else { None }
    }

    /// Returns the own ask that it is.
    pub const fn own_ask(&self) -> Option<AskId> {
        if let Self::Ask { ask_id, .. } = self { Some(*ask_id) } else { None }
    }

    /// Returns how many bytes of texts it has.
    pub fn text_bytes(&self) -> usize {
        match self {
            Self::Ask { question, .. } => question.as_ref().map_or(0, String::len),
            Self::Reply { text, .. } => text.len(),
            Self::Message { content, .. } => content.len(),
            Self::Broadcast { .. } | Self::Taken { .. } | Self::Received { .. } => 0,
        }
    }
}
