//! The bodies of what clients say: who they are, what they ask and answer.

use serde::{Deserialize, Serialize};

use super::companion::{ClientProcess, CompanionFacts};
use super::id::{AskId, BroadcastId, PeerKey, PeerTag};
use super::message::RequestId;
use super::name::PeerName;
use super::succession::Seat;

/// Who a client is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The request's id.
    pub id: RequestId,
    /// The protocol versions that the client speaks.
    pub versions: VersionRange,
    /// The client's secret identity, the same at every reconnect.
    pub key: PeerKey,
    /// The client's program and version, for people: `relay-channel 0.1.0`.
    pub program: String,
    /// What the client is.
    #[serde(flatten)]
    pub kind: ClientKind,
}

/// What a client is, and what only such a client says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ClientKind {
    /// A session's channel: becomes a peer.
    Channel(SessionFacts),
    /// A person's or a script's tool: may ask, cannot be asked.
    Control {},
    /// A session's waiter: its end wakes the session.
    Waiter(CompanionFacts),
    /// A hook of a session's client: runs for a moment and can add text to a turn.
    Hook(CompanionFacts),
}

impl ClientKind {
    /// Returns the process of the session's client that the client names, if it names one.
    pub fn process(&self) -> Option<ClientProcess> {
        match self {
            Self::Channel(facts) => facts.start.map(|start| ClientProcess { pid: facts.pid, start }),
            Self::Waiter(facts) | Self::Hook(facts) => Some(facts.process),
            Self::Control {} => None,
        }
    }
}

/// What a channel says of its session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionFacts {
    /// The name that the session had before, or that its user gave it; without one the folder names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<PeerName>,
    /// The folder that the session works in.
    pub cwd: String,
    /// The branch that is checked out there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The process id of the session's client, or of the channel itself where there is no such client.
    pub pid: u32,
    /// When that process was started ([`ClientProcess::start`](super::ClientProcess::start)): without it the session can
    /// have no companions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<u64>,
    /// Whether, and how, the channel sits in a session that may have others: only where the process is the client's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seat: Option<Seat>,
    /// The MCP client and its version, for people: `claude-code 2.1.330`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// What the session does now and how it can be woken.
    #[serde(flatten)]
    pub presence: Presence,
}

/// What a session does now and how it can be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// Whether the session is in the middle of a turn.
    pub status: Activity,
    /// The best route into the session.
    pub wakes_by: Wake,
}

/// Whether a session is in the middle of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activity {
    /// It waits for its user.
    Idle,
    /// Its model works.
    Busy,
    /// Nothing tells.
    Unknown,
}

/// How a session can be made to see a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wake {
    /// A channel event starts a turn.
    Channel,
    /// The waiter of the plugin's hooks starts a turn.
    Waiter,
    /// Nothing starts a turn: the session sees it at its next prompt or relay tool call.
    NextPrompt,
}

/// How far an open ask has come. The order is the order of progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AskState {
    /// The hub has it.
    Accepted,
    /// The session cannot be woken now: it sees the ask at its next prompt or relay tool call.
    Held,
    /// It was written to a route into the session.
    HandedOver,
    /// The session's client said that it goes before the model, or the session answered.
    Shown,
}

/// A range of protocol versions, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRange {
    /// The oldest version.
    pub min: u32,
    /// The newest version.
    pub max: u32,
}

impl VersionRange {
    /// Returns the newest version that both ranges hold.
    pub fn common(self, other: Self) -> Option<u32> {
        let newest = self.max.min(other.max);
        (newest >= self.min.max(other.min)).then_some(newest)
    }
}

/// One ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskRequest {
    /// The request's id.
    pub id: RequestId,
    /// The ask's id, made by the asker's client.
    pub ask_id: AskId,
    /// The address; the hub makes a slug of it.
    pub to: String,
    /// The text, at most [`BODY_MAX_BYTES`](super::BODY_MAX_BYTES).
    pub question: String,
    /// How long the ask stays open, in milliseconds from now.
    pub timeout_ms: u64,
    /// Whom a hub has accepted this ask for before: said after a reconnect, and decides where a name has changed hands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<PeerTag>,
    /// The broadcast that the ask belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broadcast_id: Option<BroadcastId>,
}

/// One question to everybody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BroadcastRequest {
    /// The request's id.
    pub id: RequestId,
    /// The broadcast's id, made by the asker's client.
    pub broadcast_id: BroadcastId,
    /// The text, at most [`BODY_MAX_BYTES`](super::BODY_MAX_BYTES).
    pub question: String,
    /// How long its asks stay open, in milliseconds from when the hub opens them: a hub that settles waits with that.
    pub timeout_ms: u64,
}

/// The answer to an ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyRequest {
    /// The request's id.
    pub id: RequestId,
    /// The ask that is answered.
    pub ask_id: AskId,
    /// The text, at most [`BODY_MAX_BYTES`](super::BODY_MAX_BYTES).
    pub text: String,
}
