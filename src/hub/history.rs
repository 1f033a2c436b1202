//! The hub's record of who asked or told whom and how it ended: log lines with fields of their own, never a text.
//!
//! `relayctl history` reads them from the journal. Nothing is made where nobody logs them.

use super::peers::Peers;
use crate::protocol::{AskId, AskKind, AskOutcome, AskState, ClientTag};

/// The target of these lines.
const TARGET: &str = "relay::history";

/// Records that an ask or a tell was accepted.
pub(super) fn ask(peers: &Peers, id: AskId, kind: AskKind, asker: ClientTag, asked: ClientTag) {
    let (from, to) = (peers.sender(asker), peers.sender(asked));
    match kind {
        AskKind::Ask => tracing::info!(target: TARGET, ask_id = %id, from, to, "ask"),
        AskKind::Tell => tracing::info!(target: TARGET, ask_id = %id, from, to, "tell"),
    }
}

/// Records that an ask has ended, this long after it was accepted.
pub(super) fn outcome(
    peers: &Peers,
    id: AskId,
    (asker, asked): (ClientTag, ClientTag),
    outcome: AskOutcome,
    state: AskState,
    duration_ms: u64,
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
