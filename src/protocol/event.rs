//! What the hub tells without a request.

use serde::{Deserialize, Serialize};

use super::answer::Renamed;
use super::chain::Chain;
use super::error::{ErrorCode, Refusal};
use super::id::{AskId, BroadcastId, ClientTag};
use super::name::PeerName;
use super::notice::Progress;
use super::state::AskState;
use super::table::messages;
use super::watch::Watched;

messages! {
    /// What the hub tells a client.
    pub enum Event {
        /// Another session or the shell asks this session. May come again after a reconnect: the id tells.
        "ask" since 1 => Asked(asked: Asked),
        /// Another session or the shell tells this session something. May come again after a reconnect: the id tells.
        "tell" since 1 => Told(told: Told),
        /// An ask of the client's own was answered. Comes again until it is `taken`.
        "reply" since 1 => Reply(reply: ReplyEvent),
        /// A tell of the client's own has ended well.
        "receipt" since 1 => Receipt(receipt: Receipt),
        /// An ask of the client's own has ended without a reply.
        "failed" since 1 => Failed(failed: Failed),
        /// An ask of the client's own has come further: only to a remote client, whose machine it tells the asker's.
        "advanced" since 1 => Advanced(advanced: Progress),
        /// An ask that this session received has ended: nobody waits for its reply any more.
        "closed" since 1 => Closed(closed: Closed),
        /// The session has another name, without having asked for it.
        "renamed" since 1 => Renamed(renamed: Renamed),
        /// The watched traffic has changed.
        "watched" since 1 => Watched(watched: Box<Watched>),
        /// A frame was no message, or no place is left for this connection.
        "error" since 1 => Error(error: Refusal),
    }
}

/// A question for this session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The ask.
    pub ask_id: AskId,
    /// Who asks: stamped by the hub, never said by a client.
    pub from: String,
    /// The text.
    pub question: String,
    /// How long the asker still waits, in milliseconds.
    pub timeout_ms: u64,
    /// The broadcast that the ask belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broadcast_id: Option<BroadcastId>,
    /// The asking session, whatever its name is by now: only to a remote client; none of the shell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_tag: Option<ClientTag>,
    /// What the ask follows from: only to a remote client, whose machine goes on with it.
    #[serde(default, skip_serializing_if = "Chain::is_empty")]
    pub chain: Chain,
}

/// A text for this session that wants no reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The tell: the `ask_id` of all that is said about it.
    pub tell_id: AskId,
    /// Who tells: stamped by the hub, never said by a client.
    pub from: String,
    /// The text.
    pub text: String,
    /// How long the teller still waits to know that it was shown, in milliseconds.
    pub timeout_ms: u64,
    /// The telling session, as in [`Asked::from_tag`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_tag: Option<ClientTag>,
    /// What the tell follows from, as in [`Asked::chain`].
    #[serde(default, skip_serializing_if = "Chain::is_empty")]
    pub chain: Chain,
}

/// The reply to an ask of the client's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyEvent {
    /// The ask.
    pub ask_id: AskId,
    /// Who answers: stamped by the hub, never said by a client.
    pub from: PeerName,
    /// The tag of the peer that answers, to be sent in [`Taken::by`](super::Taken::by).
    pub by: ClientTag,
    /// The text.
    pub text: String,
}

/// The end of a tell that came to its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The tell.
    pub ask_id: AskId,
    /// `shown`; `handed_over` where the session cannot say more.
    pub state: AskState,
}

/// The end of an ask that was not answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// The ask.
    pub ask_id: AskId,
    /// `timeout` or `peer_gone`.
    pub code: ErrorCode,
    /// How far the ask had come.
    pub state: AskState,
    /// What the asked session waits for, if it stands at a dialog: `permission prompt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
    /// Since when nothing was heard of the asked session's machine, in seconds; none where it is reachable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreachable_s: Option<u64>,
}

/// The end of a received ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// The ask.
    pub ask_id: AskId,
}
