//! The bodies of what the hub says: answers and events.

use serde::{Deserialize, Serialize};

use super::error::{ErrorCode, Refusal};
use super::id::{AskId, BroadcastId, PeerTag};
use super::message::RequestId;
use super::name::PeerName;
use super::request::{AskState, Presence, VersionRange};
use super::succession::Place;

/// The answer to `hello`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The request's id.
    pub id: RequestId,
    /// The protocol version that is spoken from here on.
    pub version: u32,
    /// The name that the session has; none for a client that is no peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<PeerName>,
    /// The hub's program version.
    pub hub: String,
    /// Whether the hub has just started and may not know every peer yet.
    pub settling: bool,
    /// What the channel is in its session, where that is something special.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

/// The answer to `peers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeersAnswer {
    /// The request's id.
    pub id: RequestId,
    /// The caller's own name; none for a client that is no peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub you: Option<PeerName>,
    /// The others, by name.
    pub peers: Vec<PeerView>,
    /// Whether the hub has just started and may not know every peer yet.
    pub settling: bool,
}

/// A peer as others see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerView {
    /// Its name.
    pub name: PeerName,
    /// The folder that it works in.
    pub cwd: String,
    /// The branch that is checked out there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// Its client's process id.
    pub pid: u32,
    /// Its MCP client and version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// What it does now and how it can be woken.
    #[serde(flatten)]
    pub presence: Presence,
    /// Since when this hub knows it, in seconds.
    pub connected_s: u64,
    /// Its open asks.
    pub open_asks: OpenAsks,
}

/// How many asks of a peer are open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenAsks {
    /// Asks that it waits for.
    pub sent: u64,
    /// Asks that wait for it.
    pub received: u64,
}

/// The answer to `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusAnswer {
    /// The request's id.
    pub id: RequestId,
    /// The hub's program version.
    pub hub: String,
    /// The hub's process id.
    pub pid: u32,
    /// The protocol versions that the hub speaks.
    pub versions: VersionRange,
    /// Since when the hub runs, in seconds.
    pub uptime_s: u64,
    /// Whether the hub has just started and may not know every peer yet.
    pub settling: bool,
    /// Open connections, the caller's included.
    pub connections: u64,
    /// Peers.
    pub peers: u64,
    /// Open asks.
    pub open_asks: u64,
    /// The programs of the connected clients and how many there are of each.
    pub programs: std::collections::BTreeMap<String, u64>,
    /// Whether a service manager holds the socket and starts the next hub.
    #[serde(default)]
    pub activated: bool,
    /// Whether the file that the hub was started from is another one by now.
    #[serde(default)]
    pub replaced: bool,
    /// The limits that were reached, and how often each refused something.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub refused: std::collections::BTreeMap<String, u64>,
}

/// The hub has an ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The request's id.
    pub id: RequestId,
    /// The ask.
    pub ask_id: AskId,
    /// The name of the asked peer.
    pub to: PeerName,
    /// The asked peer's tag, to be said in [`AskRequest::bound`](super::AskRequest::bound) after a reconnect.
    pub tag: PeerTag,
    /// How far the ask has come.
    pub state: AskState,
}

/// The hub has a broadcast's asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BroadcastAccepted {
    /// The request's id.
    pub id: RequestId,
    /// The broadcast.
    pub broadcast_id: BroadcastId,
    /// The asks that were accepted.
    pub asks: Vec<BroadcastAsk>,
    /// The peers that could not be asked.
    pub refused: Vec<BroadcastRefusal>,
}

/// One accepted ask of a broadcast.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BroadcastAsk {
    /// The name of the asked peer.
    pub to: PeerName,
    /// The ask.
    pub ask_id: AskId,
    /// The asked peer's tag.
    pub tag: PeerTag,
    /// How far the ask has come.
    pub state: AskState,
}

/// One peer that a broadcast could not reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BroadcastRefusal {
    /// The peer's name.
    pub to: PeerName,
    /// Why.
    pub error: Refusal,
}

/// Somebody asks this session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskEvent {
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
    /// The asker's tag, to be said in [`ClientMessage::Progress`](super::ClientMessage::Progress).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asker: Option<PeerTag>,
}

/// An ask was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyEvent {
    /// The ask.
    pub ask_id: AskId,
    /// Who answers: stamped by the hub, never said by a client.
    pub from: PeerName,
    /// The tag of the peer that answers, to be said in [`ClientMessage::Taken`](super::ClientMessage::Taken).
    pub by: PeerTag,
    /// The text.
    pub text: String,
}

/// An ask has ended without a reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedEvent {
    /// The ask.
    pub ask_id: AskId,
    /// `timeout` or `peer_gone`.
    pub code: ErrorCode,
    /// How far the ask had come.
    pub state: AskState,
}
