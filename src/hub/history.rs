//! The hub's record of who asked or told whom and how it ended: log lines with fields of their own.
//!
//! `relayctl history` reads them from the log. Texts have a target of their own, which is off unless a person turns it on
//! ([`crate::logging`] says how). Nothing is made where nobody logs it.

use super::peers::Peers;
use crate::protocol::{AskId, AskKind, AskOutcome, AskState, ClientTag};

/// The target of the lines without texts.
pub const TARGET: &str = "relay::history";

/// The target of the texts.
pub const TEXT_TARGET: &str = "relay::text";

/// Records that an ask or a tell was accepted, which may stay open for so long.
pub(super) fn ask(
    peers: &Peers,
    id: AskId,
    kind: AskKind,
    (asker, asked): (ClientTag, ClientTag),
    timeout_ms: u64,
    text: &str,
) {
    let (from, to) = (peers.sender(asker), peers.sender(asked));
    match kind {
        AskKind::Ask => tracing::info!(target: TARGET, ask_id = %id, from, to, timeout_ms, "ask"),
        AskKind::Tell => tracing::info!(target: TARGET, ask_id = %id, from, to, timeout_ms, "tell"),
    }
    tracing::info!(target: TEXT_TARGET, ask_id = %id, question = text, "question");
}

/// Records that an ask has ended, this long after it was accepted.
pub(super) fn outcome(
    peers: &Peers,
    id: AskId,
    (asker, asked): (ClientTag, ClientTag),
    outcome: AskOutcome,
    state: AskState,
    duration_ms: u64,
    reply: Option<&str>,
) {
    tracing::info!(
        target: TARGET,
        ask_id = %id,
        from = peers.sender(asker),
        to = peers.sender(asked),
        outcome = outcome_word(outcome),
        state = state_word(state),
        duration_ms,
        "outcome"
    );
    if let Some(reply) = reply {
        tracing::info!(target: TEXT_TARGET, ask_id = %id, reply, "reply");
    }
}

const fn outcome_word(outcome: AskOutcome) -> &'static str {
    match outcome {
        AskOutcome::Reply => "reply",
        AskOutcome::Shown => "shown",
        AskOutcome::HandedOver => "handed_over",
        AskOutcome::Timeout => "timeout",
        AskOutcome::PeerGone => "peer_gone",
        AskOutcome::Withdrawn => "withdrawn",
    }
}

const fn state_word(state: AskState) -> &'static str {
    match state {
        AskState::Accepted => "accepted",
        AskState::Held => "held",
        AskState::HandedOver => "handed_over",
        AskState::Shown => "shown",
    }
}
