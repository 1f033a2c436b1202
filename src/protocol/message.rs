//! The messages: what a client says to the hub, and what the hub says to a client.

use serde::{Deserialize, Serialize};

use super::companion::{CompanionFacts, Offer, Receipt, Verdict};
use super::error::{ErrorCode, Refusal};
use super::id::{AskId, BroadcastId, PeerKey, PeerTag};
use super::name::PeerName;

/// Chosen by the client for each request; its one answer carries it back.
pub type RequestId = u64;

/// What a client says. Variants with an `id` are requests and get exactly one answer; the others are notices and get none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ClientMessage {
    /// Introduces the client; the first message of a connection. Answered by [`HubMessage::Welcome`].
    Hello(Box<Hello>),
    /// Wants the list of peers. Answered by [`HubMessage::Peers`].
    Peers {
        /// The request's id.
        id: RequestId,
    },
    /// Wants the hub's state. Answered by [`HubMessage::Status`].
    Status {
        /// The request's id.
        id: RequestId,
    },
    /// Asks a peer. Answered by [`HubMessage::Accepted`]; saying it again is harmless.
    Ask(AskRequest),
    /// Asks every other peer. Answered by [`HubMessage::BroadcastAccepted`]; saying it again is harmless.
    Broadcast(BroadcastRequest),
    /// Answers an ask. Answered by [`HubMessage::Replied`] once the asker's client has taken the reply.
    Reply(ReplyRequest),
    /// Wants another name. Answered by [`HubMessage::Renamed`].
    Rename {
        /// The request's id.
        id: RequestId,
        /// The wanted name; the hub makes a slug of it.
        name: String,
    },
    /// Tells how far a received ask has come. Said again after a reconnect for every received ask that is open.
    Progress {
        /// The ask.
        ask_id: AskId,
        /// How far it has come in this session.
        state: AskState,
    },
    /// Tells that the asker's client has taken the reply of this ask. Said again after a reconnect for the latest ones.
    Taken {
        /// The ask.
        ask_id: AskId,
        /// The tag of the peer whose reply was taken.
        by: PeerTag,
    },
    /// Ends an ask of the caller's own: nobody waits for it any more.
    Withdraw {
        /// The ask.
        ask_id: AskId,
    },
    /// Tells what the session does now and how it can be woken.
    Presence(Presence),
    /// Tells the name that the session's user gave it in its client; one that is held gets a suffix.
    Named {
        /// The wanted name; the hub makes a slug of it.
        name: String,
    },
    /// Gives a companion of this session text that it may have to show.
    Offer(Offer),
    /// Tells, as a companion, that an offer has arrived and is kept until the verdict.
    Holding {
        /// The batch.
        batch: u64,
    },
    /// Tells a companion whether to show the batch that it holds, and end, or to forget it.
    Verdict(Verdict),
    /// Leaves in order: what is open ends at once, nobody waits for a reconnect.
    Bye {},
}

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
    /// How long its asks stay open, in milliseconds from now.
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

/// What the hub says. Variants with an `id` answer a request; the others are events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum HubMessage {
    /// The client is registered.
    Welcome(Welcome),
    /// The peers, without the caller.
    Peers(PeersAnswer),
    /// The hub's state.
    Status(StatusAnswer),
    /// The hub has the ask.
    Accepted(Accepted),
    /// The hub has the broadcast's asks.
    BroadcastAccepted(BroadcastAccepted),
    /// The asker's client has taken the reply.
    Replied {
        /// The request's id.
        id: RequestId,
        /// The ask that was answered.
        ask_id: AskId,
        /// Who has the answer now.
        to: String,
    },
    /// The session's name: the answer to a rename, or without `id` the hub's own doing.
    Renamed {
        /// The request's id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<RequestId>,
        /// The name that the session has now.
        name: PeerName,
    },
    /// A request was refused, or without `id` a frame was no message.
    Error {
        /// The request's id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<RequestId>,
        /// Why, and what to do.
        error: Refusal,
    },
    /// Somebody asks this session. May come again after a reconnect: the id tells.
    Ask(AskEvent),
    /// An ask of the caller's own was answered. Comes again until it is [taken](ClientMessage::Taken).
    Reply(ReplyEvent),
    /// An ask of the caller's own has ended without a reply.
    Failed(FailedEvent),
    /// An ask that this session received has ended: nobody waits for its reply any more.
    Closed {
        /// The ask.
        ask_id: AskId,
    },
    /// Which waiter this session has now.
    Waiter {
        /// The waiter's tag; none where there is no waiter.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tag: Option<PeerTag>,
    },
    /// A hook of this session has come and can show text. It waits for a second or so.
    Hook {
        /// The hook's tag.
        by: PeerTag,
        /// What its client is about to put before the model.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        receipts: Vec<Receipt>,
    },
    /// A hook has left.
    HookGone {
        /// The hook's tag.
        by: PeerTag,
    },
    /// A companion has a batch and waits for the verdict.
    Holding {
        /// The companion's tag.
        by: PeerTag,
        /// The batch.
        batch: u64,
    },
    /// Text that this companion may have to show.
    Offer {
        /// The batch.
        batch: u64,
        /// The text.
        text: String,
    },
    /// Whether this companion shows the batch that it holds, and ends, or forgets it.
    Verdict {
        /// The batch; without one there is nothing to show.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        batch: Option<u64>,
        /// Whether it shows it.
        show: bool,
    },
    /// This companion is not needed any more: it ends, unless it holds a batch.
    End {},
}

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
    /// The asked peer's tag, to be said in [`AskRequest::bound`] after a reconnect.
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
}

/// An ask was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyEvent {
    /// The ask.
    pub ask_id: AskId,
    /// Who answers: stamped by the hub, never said by a client.
    pub from: PeerName,
    /// The tag of the peer that answers, to be said in [`ClientMessage::Taken`].
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
