//! The hub's record of who asked or told whom and how it ended. Pure: the shell logs what the rules record.
//!
//! `relayctl history` reads it from the log. Texts have a target of their own, which is off unless a person turns it on
//! ([`crate::logging`] says how). Nothing is made that nobody logs.

use crate::protocol::{AskId, AskKind, AskOutcome, AskState};

/// The target of the lines without texts.
pub const TARGET: &str = "relay::history";

/// The target of the texts.
pub const TEXT_TARGET: &str = "relay::text";

/// How much of the asks is recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// Nothing.
    #[default]
    Nothing,
    /// Who asked whom, and how it ended.
    Asks,
    /// The texts of questions and answers as well.
    Texts,
}

/// What happened to an ask or a tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The ask.
    pub ask_id: AskId,
    /// Who asked.
    pub from: String,
    /// Who was asked.
    pub to: String,
    /// What.
    pub what: Recorded,
}

/// What may happen to an ask or a tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recorded {
    /// It was accepted.
    Accepted {
        /// Whether an answer is wanted.
        kind: AskKind,
        /// How long it may stay open, in milliseconds.
        timeout_ms: u64,
        /// The question, where texts are recorded.
        question: Option<String>,
    },
    /// It has ended.
    Ended {
        /// How.
        outcome: AskOutcome,
        /// How far it had come.
        state: AskState,
        /// How long after its acceptance, in milliseconds.
        duration_ms: u64,
        /// The reply, where there is one and texts are recorded.
        reply: Option<String>,
    },
}
