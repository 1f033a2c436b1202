//! What clients want of the hub: each request has an id and gets exactly one answer.

use serde::{Deserialize, Serialize};

use super::chain::Chain;
use super::id::{AskId, BroadcastId, ClientTag};
use super::session::ClientKind;
use super::table::messages;
use super::version::VersionRange;

messages! {
    /// What a client wants of the hub.
    pub enum Request {
        /// Introduces the client; the first frame of a connection. Answered by `welcome`.
        "hello" since 1 => Hello(hello: Box<Hello>),
        /// Wants the list of peers. Answered by `peers`.
        "peers" since 1 => Peers,
        /// Wants the hub's state. Answered by `status`.
        "status" since 1 => Status,
        /// Wants the whole traffic and from then on every change. For control clients; answered by `watching`. A second
        /// one starts anew.
        "watch" since 1 => Watch(watch: Watch),
        /// Asks a peer. Answered by `accepted`; sent again it is harmless.
        "ask" since 1 => Ask(ask: Ask),
        /// Tells a peer something: an ask that ends when its session was shown it. Answered by `accepted`; sent again it is
        /// harmless.
        "tell" since 1 => Tell(tell: Tell),
        /// Asks every other peer, or some. Answered by `broadcast_accepted`; sent again it is harmless.
        "broadcast" since 1 => Broadcast(broadcast: Broadcast),
        /// Wants to know whom a broadcast would ask. Answered by `audience`; asks nobody.
        "audience" since 1 => Audience(audience: Audience),
        /// Replies to an ask. Answered by `replied` once the asker's client has taken the reply.
        "reply" since 1 => Reply(reply: Reply),
        /// Wants another name. Answered by `renamed`.
        "rename" since 1 => Rename(rename: Rename),
    }
}

/// Who a client is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The protocol versions that the client speaks.
    pub versions: VersionRange,
    /// The client's program and version, for people: `relay-channel 0.1.0`.
    pub program: String,
    /// What the client is.
    #[serde(flatten)]
    pub kind: ClientKind,
}

/// What a watcher wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// Whether questions and replies are told as well.
    #[serde(default)]
    pub text: bool,
}

/// One ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// The ask's id, made by the asker's client.
    pub ask_id: AskId,
    /// The address; the hub makes a slug of it. Bridges give `#` and the peer's tag.
    pub to: String,
    /// The text, at most [`BODY_MAX_BYTES`](super::BODY_MAX_BYTES). It may be empty where a bridge sends it with `bound`: then
    /// the ask is opened if its session tells its progress.
    pub question: String,
    /// How long the ask stays open, in milliseconds from now.
    pub timeout_ms: u64,
    /// Whom a hub has accepted this ask for before: sent after a reconnect, and decides where a name has changed hands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<ClientTag>,
    /// The broadcast that the ask belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broadcast_id: Option<BroadcastId>,
    /// What the ask follows from on the asker's machine: only of a remote client.
    #[serde(default, skip_serializing_if = "Chain::is_empty")]
    pub chain: Chain,
}

/// One text that wants no reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tell {
    /// The tell's id, made by the teller's client: the `ask_id` of all that is said about it.
    pub tell_id: AskId,
    /// The address; the hub makes a slug of it.
    pub to: String,
    /// The text, at most [`BODY_MAX_BYTES`](super::BODY_MAX_BYTES).
    pub text: String,
    /// How long the tell stays open, in milliseconds from now.
    pub timeout_ms: u64,
    /// Whom a hub has accepted this tell for before, as in [`Ask::bound`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<ClientTag>,
    /// What the tell follows from, as in [`Ask::chain`].
    #[serde(default, skip_serializing_if = "Chain::is_empty")]
    pub chain: Chain,
}

impl From<Tell> for Ask {
    fn from(tell: Tell) -> Self {
        let Tell { tell_id, to, text, timeout_ms, bound, chain } = tell;
        Self { ask_id: tell_id, to, question: text, timeout_ms, bound, broadcast_id: None, chain }
    }
}

/// One question to everybody, or to some.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broadcast {
    /// The broadcast's id, made by the asker's client.
    pub broadcast_id: BroadcastId,
    /// The text, at most [`BODY_MAX_BYTES`](super::BODY_MAX_BYTES).
    pub question: String,
    /// How long its asks stay open, in milliseconds from when the hub opens them: in its grace period a hub does so late.
    pub timeout_ms: u64,
    /// Whom it is for.
    #[serde(flatten)]
    pub audience: Audience,
}

/// Whom a broadcast is for: every other peer of this machine, unless a member says which.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audience {
    /// These peers, by their addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Vec<String>>,
    /// The peers that work in this folder or below it, beside those in `to`: an absolute path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// The peers on these machines as well, each by its name here; `all` for every one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machines: Option<Vec<String>>,
}

impl Audience {
    /// Returns whether it is everybody on this machine.
    pub const fn is_everybody(&self) -> bool {
        self.to.is_none() && self.folder.is_none()
    }
}

/// The reply to an ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The ask that is answered.
    pub ask_id: AskId,
    /// The text, at most [`BODY_MAX_BYTES`](super::BODY_MAX_BYTES).
    pub text: String,
}

/// Another name for the caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rename {
    /// The wanted name; the hub makes a slug of it.
    pub name: String,
}
