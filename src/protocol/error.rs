//! What is told to a client whose request is refused: a stable code, a sentence, and what to do next.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::id::AskId;
use super::name::MachineName;

/// A refusal's stable code. Programs match on it; people read the sentence beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// No peer has this name.
    PeerNotFound,
    /// The peer was there and its session has ended.
    PeerGone,
    /// The ask's deadline has passed without a reply.
    Timeout,
    /// Another peer has this name.
    NameTaken,
    /// The connection has not said `hello`, or not as a session, which this request needs.
    NotRegistered,
    /// The connection has said `hello` before.
    AlreadyRegistered,
    /// No open ask of the caller has this id: it ended, was withdrawn, or was never asked of the caller.
    UnknownAsk,
    /// The frame is no message of this protocol.
    BadMsg,
    /// No hub answers at the socket.
    HubUnreachable,
    /// An argument is missing or out of its bounds.
    BadArgs,
    /// The two sides have no protocol version in common.
    ProtocolMismatch,
    /// A text or a frame is over its limit.
    TooLarge,
    /// The caller sends more than it may.
    RateLimited,
    /// The peer has as many open asks as it may have.
    PeerBusy,
    /// Sessions keep asking each other in a ring.
    LoopDetected,
    /// The session's machine cannot be reached now.
    MachineUnreachable,
    /// The machine does not let the caller do that.
    NotAllowed,
    /// What knew whether the asker has the reply is lost, a link for good or a hub: it may have arrived.
    Unconfirmed,
}

impl ErrorCode {
    /// Every code, in the order of the documentation.
    pub const ALL: [Self; 18] = [
        Self::PeerNotFound,
        Self::PeerGone,
        Self::Timeout,
        Self::NameTaken,
        Self::NotRegistered,
        Self::AlreadyRegistered,
        Self::UnknownAsk,
        Self::BadMsg,
        Self::HubUnreachable,
        Self::BadArgs,
        Self::ProtocolMismatch,
        Self::TooLarge,
        Self::RateLimited,
        Self::PeerBusy,
        Self::LoopDetected,
        Self::MachineUnreachable,
        Self::NotAllowed,
        Self::Unconfirmed,
    ];

    /// Returns the code as it stands on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PeerNotFound => "peer_not_found",
            Self::PeerGone => "peer_gone",
            Self::Timeout => "timeout",
            Self::NameTaken => "name_taken",
            Self::NotRegistered => "not_registered",
            Self::AlreadyRegistered => "already_registered",
            Self::UnknownAsk => "unknown_ask",
            Self::BadMsg => "bad_msg",
            Self::HubUnreachable => "hub_unreachable",
            Self::BadArgs => "bad_args",
            Self::ProtocolMismatch => "protocol_mismatch",
            Self::TooLarge => "too_large",
            Self::RateLimited => "rate_limited",
            Self::PeerBusy => "peer_busy",
            Self::LoopDetected => "loop_detected",
            Self::MachineUnreachable => "machine_unreachable",
            Self::NotAllowed => "not_allowed",
            Self::Unconfirmed => "unconfirmed",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A request that was not done: what travels in an `error` message and in a tool's result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message} ({code})")]
pub struct Refusal {
    /// The stable code.
    pub code: ErrorCode,
    /// One sentence for a person, with the number and the limit where a limit was reached.
    pub message: String,
    /// What to do now; a command where there is one.
    pub next: String,
}

impl Refusal {
    /// Returns a refusal of these parts.
    pub fn new(code: ErrorCode, message: impl Into<String>, next: impl Into<String>) -> Self {
        Self { code, message: message.into(), next: next.into() }
    }

    /// Returns the refusal of what is for a machine that cannot be reached now.
    pub fn machine_unreachable(machine: &MachineName) -> Self {
        let message = format!("the machine {machine} cannot be reached now; nothing is kept for it");
        Self::new(ErrorCode::MachineUnreachable, message, format!("run: relayctl machines test {machine}"))
    }

    /// Returns the refusal of a reply to a tell.
    pub fn takes_no_reply(tell_id: AskId) -> Self {
        Self::new(
            ErrorCode::UnknownAsk,
            format!("{tell_id} is no question: its sender told something, and takes no answer to it"),
            "go on with your work; if that session must know something, tell or ask it yourself",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_on_the_wire_what_it_says() {
        for code in ErrorCode::ALL {
            assert_eq!(serde_json::to_string(&code).unwrap(), format!("\"{code}\""));
        }
    }
}
