//! How far an ask has come, and how it ends.

use serde::{Deserialize, Serialize};

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
    /// The session's agent said that it goes before the model, or the session answered.
    Shown,
}

/// How an ask ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AskOutcome {
    /// Its asker has the reply.
    Reply,
    /// Its deadline passed.
    Timeout,
    /// The asked session went away.
    PeerGone,
    /// Its asker does not wait any more, or went away.
    Withdrawn,
}
