//! What a program may want of the hub, and what it is told.

use std::time::Duration;

use super::{Asked, Broadcasted, ClientEvent, Replied};
use crate::protocol::{AskId, BroadcastId, PeerName, PeersAnswer, Refusal, StatusAnswer, WatchingAnswer};

/// Names one call of a program on its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(pub u64);

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
    /// A broadcast.
    Broadcast {
        /// Its id, random and new.
        broadcast_id: BroadcastId,
        /// The text.
        question: String,
        /// How long its asks stay open.
        timeout: Duration,
    },
    /// An answer.
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
pub enum Answer {
    /// The answer to [`Call::Peers`].
    Peers(PeersAnswer),
    /// The answer to [`Call::Status`].
    Status(StatusAnswer),
    /// The answer to [`Call::Watch`].
    Watching(WatchingAnswer),
    /// The answer to [`Call::Ask`].
    Asked(Asked),
    /// The answer to [`Call::Broadcast`].
    Broadcasted(Broadcasted),
    /// The answer to [`Call::Reply`].
    Replied(Replied),
    /// The answer to [`Call::Rename`].
    Renamed(PeerName),
}

/// What the program is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// A call has its answer: exactly once a call.
    Answer {
        /// The call.
        call: CallId,
        /// The answer.
        result: Result<Answer, Refusal>,
    },
    /// Something happened.
    Event(ClientEvent),
}
