//! Broadcasts whose answers wait until other machines have taken or refused their asks.

use std::collections::{BTreeMap, BTreeSet};

use crate::hub::effect::{Caller, Outbox};
use crate::hub::peers::Peers;
use crate::protocol::{Answer, AskId, BroadcastAccepted, BroadcastAsk, BroadcastId, BroadcastRefusal};

/// A broadcast some of whose asks other machines have not taken or refused yet.
#[derive(Debug, Clone)]
struct Collecting {
    caller: Caller,
    answer: BroadcastAccepted,
    missing: BTreeSet<AskId>,
}

/// The broadcasts whose answers wait for other machines. Invariant: none is here that waits for nothing.
#[derive(Debug, Clone, Default)]
pub(super) struct CollectingBroadcasts(BTreeMap<BroadcastId, Collecting>);

impl CollectingBroadcasts {
    /// Answers a broadcast, at once or when these asks were taken or refused.
    pub(super) fn insert(
        &mut self,
        caller: Caller,
        answer: BroadcastAccepted,
        missing: BTreeSet<AskId>,
        out: &mut Outbox,
    ) {
        if missing.is_empty() {
            out.answer(caller, Answer::BroadcastAccepted(answer));
        } else {
            self.0.insert(answer.broadcast_id, Collecting { caller, answer, missing });
        }
    }

    /// Records what came of one ask. Returns the asks of the broadcast if it is answered with that: what they had come to
    /// before is to be told again, since their asker did not know them.
    pub(super) fn settle(
        &mut self,
        peers: &Peers,
        id: BroadcastId,
        ask_id: AskId,
        settled: Result<BroadcastAsk, BroadcastRefusal>,
        out: &mut Outbox,
    ) -> Vec<AskId> {
        let Some(collecting) = self.0.get_mut(&id) else { return Vec::new() };
        if !collecting.missing.remove(&ask_id) {
            return Vec::new();
        }
        match settled {
            Ok(ask) => collecting.answer.asks.push(ask),
            Err(refusal) => collecting.answer.refused.push(refusal),
        }
        if !collecting.missing.is_empty() {
            return Vec::new();
        }
        let Some(Collecting { caller, answer, .. }) = self.0.remove(&id) else { return Vec::new() };
        let asks = answer.asks.iter().map(|ask| ask.ask_id).collect();
        out.answer(peers.still(caller), Answer::BroadcastAccepted(answer));
        asks
    }

    /// Returns whether no broadcast waits.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
