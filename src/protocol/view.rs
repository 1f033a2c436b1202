//! Sessions and asks as others see them.

use serde::{Deserialize, Serialize};

use super::id::{AskId, BroadcastId, ClientTag};
use super::name::{MachineName, PeerName};
use super::session::Presence;
use super::state::{AskKind, AskState};

/// A peer as others see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerView {
    /// Its name.
    pub name: PeerName,
    /// Its tag; for programs, not for models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<ClientTag>,
    /// The machine that it runs on, by its name here; none on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<MachineName>,
    /// Its agent's process id; none of a session on another machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Its agent: `claude-code`, `codex`.
    pub agent: String,
    /// Its MCP client and version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Whether its machine can be reached; none of a session on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reachable: Option<bool>,
    /// Where it works, what it does and how it can be woken.
    #[serde(flatten)]
    pub presence: Presence,
    /// For how long it has done that, as far as this hub knows, in seconds.
    pub status_s: u64,
    /// Since when this hub knows it, in seconds.
    pub connected_s: u64,
    /// Its open asks.
    pub open_asks: OpenAsks,
}

/// Another machine that is linked with this one, as this one sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineView {
    /// Its name here.
    pub name: MachineName,
    /// Whether it can be reached.
    pub reachable: bool,
    /// Since when that is so, as far as this hub knows, in seconds.
    pub since_s: u64,
    /// How many of its sessions are known here.
    pub sessions: u64,
}

/// How many asks of a peer are open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenAsks {
    /// Asks that it waits for.
    pub sent: u64,
    /// Asks that wait for it.
    pub received: u64,
}

/// An open ask as a watcher sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskView {
    /// The ask.
    pub ask_id: AskId,
    /// Who asks.
    pub from: String,
    /// Who is asked.
    pub to: String,
    /// The broadcast that the ask belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broadcast_id: Option<BroadcastId>,
    /// Whether it is a tell.
    #[serde(default, skip_serializing_if = "AskKind::is_ask")]
    pub kind: AskKind,
    /// How far it has come.
    pub state: AskState,
    /// Since when this hub has it, in milliseconds.
    pub age_ms: u64,
    /// How long its asker still waits, in milliseconds.
    pub timeout_ms: u64,
    /// The question, or the text of a tell: only for a watcher that wants texts, and only while the hub holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
}
