//! What a program may want of the hub, and what it is answered.

use std::time::Duration;

use serde::Serialize;

use crate::protocol::{
    Activity, AskId, AskKind, AskState, Audience, AudienceView, BroadcastAsk, BroadcastId, BroadcastRefusal, PeerName,
    Peers, Status, Watching,
};

/// Names one call of a program on its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// The id of an ask or a tell, by the name under which its asker knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageId {
    /// Of an ask.
    AskId(AskId),
    /// Of a tell.
    TellId(AskId),
}

impl MessageId {
    /// Returns the id with its name.
    pub const fn of(id: AskId, kind: AskKind) -> Self {
        match kind {
            AskKind::Ask => Self::AskId(id),
            AskKind::Tell => Self::TellId(id),
        }
    }
}

/// What a program may want of the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// The list of peers.
    Peers,
    /// The hub's state.
    Status,
    /// The traffic, from now on until the client leaves.
    Watch {
        /// Whether questions and replies are wanted as well.
        text: bool,
    },
    /// An ask.
    Ask {
        /// Its id, random and new: chance comes in as an argument, as time does.
        ask_id: AskId,
        /// The address.
        to: String,
        /// The text.
        question: String,
        /// How long it stays open.
        timeout: Duration,
    },
    /// A text that wants no reply.
    Tell {
        /// Its id, random and new.
        tell_id: AskId,
        /// The address.
        to: String,
        /// The text.
        text: String,
        /// How long it stays open.
        timeout: Duration,
    },
    /// A broadcast.
    Broadcast {
        /// Its id, random and new.
        broadcast_id: BroadcastId,
        /// Whom it is for.
        audience: Audience,
        /// The text.
        question: String,
        /// How long its asks stay open.
        timeout: Duration,
    },
    /// Whom a broadcast would ask.
    Audience(Audience),
    /// A reply.
    Reply {
        /// The ask that is answered.
        ask_id: AskId,
        /// The text.
        text: String,
    },
    /// Another name.
    Rename {
        /// The wanted name.
        name: String,
    },
}

/// What a call was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallAnswer {
    /// The answer to [`Call::Peers`].
    Peers(Peers),
    /// The answer to [`Call::Status`].
    Status(Box<Status>),
    /// The answer to [`Call::Watch`].
    Watching(Box<Watching>),
    /// The answer to [`Call::Ask`] and [`Call::Tell`].
    Asked(AcceptedAsk),
    /// The answer to [`Call::Broadcast`].
    Broadcasted(AcceptedBroadcast),
    /// The answer to [`Call::Audience`].
    Audience(AudienceView),
    /// The answer to [`Call::Reply`].
    Replied(SentReply),
    /// The answer to [`Call::Rename`].
    Renamed(PeerName),
}

impl CallAnswer {
    /// Returns the asks that the call has opened.
    pub fn asks(&self) -> Vec<AskId> {
        match self {
            Self::Asked(asked) => vec![asked.ask_id],
            Self::Broadcasted(broadcast) => broadcast.asks.iter().map(|asked| asked.ask_id).collect(),
            Self::Peers(_)
            | Self::Status(_)
            | Self::Watching(_)
            | Self::Audience(_)
            | Self::Replied(_)
            | Self::Renamed(_) => Vec::new(),
        }
    }
}

/// An ask that the hub has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedAsk {
    /// The ask.
    pub ask_id: AskId,
    /// Whether it is a tell.
    pub kind: AskKind,
    /// The name of the asked peer.
    pub to: PeerName,
    /// How far it has come.
    pub state: AskState,
    /// The folder that the asked session works in; none where the ask ended before its acceptance arrived.
    pub cwd: Option<String>,
    /// What the asked session does.
    pub status: Activity,
    /// What it waits for, where it stands at a dialog.
    pub waiting_for: Option<String>,
}

/// A broadcast whose asks the hub has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedBroadcast {
    /// The broadcast.
    pub broadcast_id: BroadcastId,
    /// The asks that were accepted.
    pub asks: Vec<BroadcastAsk>,
    /// The peers that could not be asked.
    pub refused: Vec<BroadcastRefusal>,
}

/// What became of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentReply {
    /// The ask that was answered.
    pub ask_id: AskId,
    /// Who asked.
    pub to: String,
    /// Whether the asker has it: `false` while it is kept and will be handed over, or its failure told.
    pub taken: bool,
}
