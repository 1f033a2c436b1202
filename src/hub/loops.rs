//! Rings of asks: sessions that keep asking each other, in pairs or in larger rings.

use super::asks::Asks;
use super::limits::{CHAIN_MAX, RING_ROUNDS};
use crate::protocol::{AskId, PeerTag};

/// Returns whether one more ask of this pair would go round a ring once too often.
///
/// An ask's parent is what its asker had received last when it asked: a session that asks because it was asked makes a
/// chain. Where the same peer asks the same peer again and again along one chain, the chain goes round.
pub(super) fn closes_ring(asks: &Asks, parent: Option<AskId>, asker: PeerTag, asked: PeerTag) -> bool {
    let ancestors = std::iter::successors(parent, |id| asks.get(*id)?.parent).take(CHAIN_MAX);
    let rounds = ancestors
        .filter_map(|id| asks.get(id))
        .filter(|ancestor| ancestor.asker == asker && ancestor.asked == asked)
        .count();
    rounds >= RING_ROUNDS
}
