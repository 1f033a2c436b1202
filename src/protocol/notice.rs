//! What clients tell the hub: notices have no id and get no answer.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::Refusal;
use super::id::{AskId, ClientTag};
use super::session::Presence;
use super::state::AskState;
use super::table::messages;

messages! {
    /// What a client tells the hub.
    pub enum Notice {
        /// Tells how far a received ask has come. Sent again after a reconnect for every received ask that is open.
        "progress" since 1 => Progress(progress: Progress),
        /// Tells that the asker's client has taken the reply of this ask. Sent again after a reconnect for the latest ones.
        "taken" since 1 => Taken(taken: Taken),
        /// Ends an ask of the caller's own: nobody waits for it any more.
        "withdraw" since 1 => Withdraw(withdraw: Withdraw),
        /// Refuses a received ask for the other machine, tells that its session there has gone, or that nobody knows whether
        /// the asker there has the reply: only of a remote client.
        "decline" since 1 => Decline(decline: Decline),
        /// Tells whether the machine can be reached: only of a machine's shell, and nothing is known before it is told.
        "reach" since 1 => Reach(reach: Reach),
        /// Tells where the session works, what it does and how it can be woken.
        "presence" since 1 => Presence(presence: Presence),
        /// Tells the name that the session's user gave it in its agent; one that another peer has gets a suffix.
        "named" since 1 => Named(named: Named),
        /// Leaves a value for the session's next channel, just before `bye`.
        "park" since 1 => Park(park: Park),
        /// Leaves in order: what is open ends at once. After `park` the session is waited for until its agent's process has
        /// ended or its next channel has come, two seconds at most.
        "bye" since 1 => Bye,
    }
}

/// How far a received ask has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The ask.
    pub ask_id: AskId,
    /// How far it has come in this session.
    pub state: AskState,
    /// Whether nothing further can be told of it. A tell ends with that, and with `shown`.
    #[serde(default, rename = "final", skip_serializing_if = "std::ops::Not::not")]
    pub is_final: bool,
}

/// A reply has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// The ask.
    pub ask_id: AskId,
    /// The tag of the peer whose reply was taken.
    pub by: ClientTag,
}

/// An ask is not waited for any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdraw {
    /// The ask.
    pub ask_id: AskId,
}

/// An ask that is refused, or ended, for the other machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decline {
    /// The ask.
    pub ask_id: AskId,
    /// Why: `peer_gone` of an ask that was accepted, `unconfirmed` of one that was answered here.
    pub error: Refusal,
}

/// Whether a machine can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// Whether it can.
    pub reachable: bool,
}

/// A name that the session's user chose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// The wanted name; the hub makes a slug of it.
    pub name: String,
}

/// A value for the session's next channel. The hub does not read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Park {
    /// The value, at most [`PARKED_MAX_BYTES`](super::PARKED_MAX_BYTES) as JSON.
    pub value: Value,
}
