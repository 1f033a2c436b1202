//! What a watcher of the traffic is told: the whole state, then each change.

use serde::{Deserialize, Serialize};

use super::error::ErrorCode;
use super::id::{AskId, BroadcastId};
use super::name::{MachineName, PeerName};
use super::session::Presence;
use super::state::{AskKind, AskOutcome, AskState};
use super::view::{AskView, MachineView, PeerView};

/// The whole state, which the events that follow change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watching {
    /// The hub's program version.
    pub hub: String,
    /// The hub's process id: another one after a reconnect says that the hub was restarted.
    pub pid: u32,
    /// Whether the hub is in its grace period and may not know every peer yet.
    pub settling: bool,
    /// The peers, by name.
    pub peers: Vec<PeerView>,
    /// The linked machines, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub machines: Vec<MachineView>,
    /// The open asks, in the order in which they were accepted.
    pub asks: Vec<AskView>,
}

/// One change of the traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Watched {
    /// A peer has come.
    PeerCame {
        /// It.
        peer: PeerView,
    },
    /// A peer has gone.
    PeerLeft {
        /// The name that it had.
        name: PeerName,
    },
    /// A peer has another name.
    PeerRenamed {
        /// The name that it had.
        former: PeerName,
        /// The name that it has.
        name: PeerName,
    },
    /// A peer works elsewhere, does something else, or can be woken in another way.
    PeerChanged {
        /// Its name.
        name: PeerName,
        /// What holds of it now.
        #[serde(flatten)]
        presence: Presence,
    },
    /// A linked machine has come, can be reached or cannot any more.
    MachineChanged(MachineView),
    /// A machine is linked with this one no more.
    MachineLeft {
        /// Its name here.
        name: MachineName,
    },
    /// An ask was accepted.
    AskOpened(AskView),
    /// An ask has come further.
    AskAdvanced {
        /// The ask.
        ask_id: AskId,
        /// Who asks.
        from: String,
        /// Who is asked.
        to: String,
        /// How far it has come.
        state: AskState,
    },
    /// An ask was not accepted.
    AskRefused {
        /// Who asks.
        from: String,
        /// Who was to be asked.
        to: String,
        /// Why.
        code: ErrorCode,
    },
    /// An ask has ended.
    AskEnded {
        /// The ask.
        ask_id: AskId,
        /// Who asked.
        from: String,
        /// Who was asked.
        to: String,
        /// The broadcast that it belonged to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        broadcast_id: Option<BroadcastId>,
        /// Whether it was a tell.
        #[serde(default, skip_serializing_if = "AskKind::is_ask")]
        kind: AskKind,
        /// How it ended.
        outcome: AskOutcome,
        /// How far it had come.
        state: AskState,
        /// How long this hub had it, in milliseconds.
        latency_ms: u64,
        /// The reply: only for a watcher that wants texts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reply: Option<String>,
    },
}
