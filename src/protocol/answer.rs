//! What the hub answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::Refusal;
use super::id::{AskId, BroadcastId, ClientTag};
use super::name::PeerName;
use super::session::Activity;
use super::state::{AskKind, AskState};
use super::table::messages;
use super::version::VersionRange;
use super::view::{MachineView, PeerView};
use super::watch::Watching;

messages! {
    /// What the hub answers to a request.
    pub enum Answer {
        /// The client is registered.
        "welcome" since 1 => Welcome(welcome: Box<Welcome>),
        /// The peers, without the caller.
        "peers" since 1 => Peers(peers: Peers),
        /// The hub's state.
        "status" since 1 => Status(status: Box<Status>),
        /// The whole traffic as it is now; the event `watched` tells each change from here on.
        "watching" since 1 => Watching(watching: Box<Watching>),
        /// The hub has the ask.
        "accepted" since 1 => Accepted(accepted: Accepted),
        /// The hub has the broadcast's asks.
        "broadcast_accepted" since 1 => BroadcastAccepted(accepted: BroadcastAccepted),
        /// Whom a broadcast would ask.
        "audience" since 1 => Audience(audience: AudienceView),
        /// The asker's client has taken the reply.
        "replied" since 1 => Replied(replied: Replied),
        /// The session's new name.
        "renamed" since 1 => Renamed(renamed: Renamed),
        /// The request was refused.
        "error" since 1 => Error(error: Refusal),
    }
}

/// The client is registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The protocol version that is spoken from here on.
    pub version: u32,
    /// The name that the session has; none for a client that is no peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<PeerName>,
    /// The hub's program version.
    pub hub: String,
    /// The hub's process: another one is another hub, which knows only what it is told again.
    #[serde(default)]
    pub hub_pid: u32,
    /// Whether the hub is in its grace period and may not know every peer yet.
    pub settling: bool,
    /// The client's own asks that the hub knows and that are open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sent: Vec<OwnAsk>,
    /// What the session's channel before this one has parked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parked: Option<Value>,
}

/// An open ask of a client that is back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnAsk {
    /// The ask.
    pub ask_id: AskId,
    /// The name of the asked peer.
    pub to: PeerName,
    /// The asked peer's tag.
    pub tag: ClientTag,
    /// How far it has come.
    pub state: AskState,
    /// How long it stays open, in milliseconds.
    pub timeout_ms: u64,
    /// The broadcast that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broadcast_id: Option<BroadcastId>,
    /// Whether it is a tell.
    #[serde(default, skip_serializing_if = "AskKind::is_ask")]
    pub kind: AskKind,
}

/// The peers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peers {
    /// The caller's own name; none for a client that is no peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub you: Option<PeerName>,
    /// The others, by name.
    pub peers: Vec<PeerView>,
    /// The linked machines, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub machines: Vec<MachineView>,
    /// Whether the hub is in its grace period and may not know every peer yet.
    pub settling: bool,
}

/// The hub's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The hub's program version.
    pub hub: String,
    /// The hub's process id.
    pub pid: u32,
    /// The protocol versions that the hub speaks.
    pub versions: VersionRange,
    /// Since when the hub runs, in seconds.
    pub uptime_s: u64,
    /// Whether the hub is in its grace period and may not know every peer yet.
    pub settling: bool,
    /// Open connections, the caller's included.
    pub connections: u64,
    /// Peers.
    pub peers: u64,
    /// Open asks.
    pub open_asks: u64,
    /// The programs of the connected clients and how many there are of each.
    pub programs: BTreeMap<String, u64>,
    /// Whether a service manager holds the socket and starts the next hub.
    #[serde(default)]
    pub activated: bool,
    /// Whether the file that the hub was started from is another one by now.
    #[serde(default)]
    pub replaced: bool,
    /// The linked machines, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub machines: Vec<MachineView>,
    /// The limits that were reached, and how often each refused something.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<String, u64>,
}

/// The hub has an ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The ask.
    pub ask_id: AskId,
    /// The name of the asked peer.
    pub to: PeerName,
    /// The asked peer's tag, to be sent in [`Ask::bound`](super::Ask::bound) after a reconnect.
    pub tag: ClientTag,
    /// How far the ask has come.
    pub state: AskState,
    /// The folder that the asked session works in.
    pub cwd: String,
    /// What the asked session does.
    pub status: Activity,
    /// What it waits for, where it stands at a dialog.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
}

/// The hub has a broadcast's asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BroadcastAccepted {
    /// The broadcast.
    pub broadcast_id: BroadcastId,
    /// The asks that were accepted.
    pub asks: Vec<BroadcastAsk>,
    /// The peers that could not be asked.
    pub refused: Vec<BroadcastRefusal>,
}

/// Whom a broadcast would ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudienceView {
    /// Their names.
    pub names: Vec<PeerName>,
    /// The addresses that are no peer's.
    pub refused: Vec<BroadcastRefusal>,
    /// Whether the hub is in its grace period and may not know every peer yet.
    pub settling: bool,
}

/// One accepted ask of a broadcast.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BroadcastAsk {
    /// The name of the asked peer.
    pub to: PeerName,
    /// The ask.
    pub ask_id: AskId,
    /// The asked peer's tag.
    pub tag: ClientTag,
    /// How far the ask has come.
    pub state: AskState,
}

/// One peer that a broadcast could not reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BroadcastRefusal {
    /// The peer's name; the address where it is no peer's.
    pub to: String,
    /// Why.
    pub error: Refusal,
}

/// A reply has arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replied {
    /// The ask that was answered.
    pub ask_id: AskId,
    /// Who has the reply now.
    pub to: String,
}

/// A session's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renamed {
    /// The name that the session has now.
    pub name: PeerName,
}
