//! What a client says of itself: who it is, and for a session where it works, what it does and how it can be woken.

use serde::{Deserialize, Serialize};

use super::id::{ClientKey, ClientTag, SessionId};
use super::name::{MachineName, PeerName};

/// What a client is, and what only such a client says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ClientKind {
    /// A session's channel: becomes a peer.
    Session(Box<SessionFacts>),
    /// A person's or a script's tool: may ask, cannot be asked.
    Control {
        /// The client's own random key, the same at every reconnect.
        key: ClientKey,
    },
    /// A session on another machine, or that machine's shell, for which a bridge speaks.
    Remote(Box<RemoteFacts>),
}

impl ClientKind {
    /// Returns the tag of the client: the same on every connection.
    pub fn tag(&self) -> ClientTag {
        match self {
            Self::Session(facts) => facts.session.tag(),
            Self::Control { key } => key.tag(),
            Self::Remote(facts) => facts.tag(),
        }
    }
}

/// What a channel says of its session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionFacts {
    /// The session's identity.
    pub session: SessionId,
    /// The name that the session had before, or that its user gave it; without one the folder names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<PeerName>,
    /// The agent that runs the session: `claude-code`, `codex`, `mcp` where it is none that is known.
    pub agent: String,
    /// The MCP client and its version, for people: `claude-code 2.1.330`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// What holds of the session at this moment.
    #[serde(flatten)]
    pub presence: Presence,
}

/// What a bridge says of a session on another machine, or of that machine's shell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteFacts {
    /// The machine, by its name here.
    pub machine: MachineName,
    /// The session; none for the machine's shell, which may ask and cannot be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<RemoteSession>,
}

impl RemoteFacts {
    /// Returns the tag of the client: another machine's session never has the tag of one here.
    pub fn tag(&self) -> ClientTag {
        self.machine.tag_of(self.session.as_ref().map(|session| session.id))
    }
}

/// A session as its own machine knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteSession {
    /// Its tag there.
    pub id: ClientTag,
    /// Its name there.
    pub name: PeerName,
    /// Its agent.
    pub agent: String,
    /// Its MCP client and version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// What it does and how it can be woken; where it works, if its machine tells.
    #[serde(flatten)]
    pub presence: Presence,
}

/// What holds of a session at this moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// The folder that it works in.
    pub cwd: String,
    /// The branch that is checked out there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// What it does.
    pub status: Activity,
    /// What it waits for, where it stands at a dialog: `permission prompt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
    /// The best way into it.
    pub wakes_by: Wake,
}

/// What a session does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activity {
    /// It has ended its turn: the next prompt or message starts another.
    Idle,
    /// Its model works.
    Busy,
    /// It stands at a dialog until its user decides.
    Waiting,
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
    /// The agent's daemon starts a turn.
    Turn,
    /// The agent's own inbox starts a turn.
    Inbox,
    /// A plugin inside the agent starts a turn.
    Plugin,
    /// Nothing starts a turn: the session sees it at its next prompt or relay tool call.
    NextPrompt,
}
