//! A question to everybody: becomes one ask for each session that is there.

use std::time::Instant;

use super::asks::{Asks, NewAsk};
use super::effect::{Caller, Outbox};
use super::limits::Limits;
use super::peers::Peers;
use crate::protocol::{Answer, AskId, Broadcast, BroadcastAccepted, BroadcastAsk, BroadcastRefusal};

/// Opens an ask for every other session.
///
/// The hub keeps nothing of a broadcast but its asks: its tally is counted by the asker's client, whom no death of a hub
/// makes forget.
pub(super) fn open(
    now: Instant,
    asks: &mut Asks,
    peers: &Peers,
    limits: &Limits,
    caller: Caller,
    broadcast: &Broadcast,
    out: &mut Outbox,
) {
    let (id, asker) = (broadcast.broadcast_id, caller.tag);
    let cause = asks.cause_of(now, asker, true);
    let (mut accepted, mut refused, mut known) = (Vec::new(), Vec::new(), Vec::new());
    let mut opened = Vec::new();
    for tag in peers.others(asker) {
        let Some(to) = peers.name(tag).cloned() else { continue };
        let ask_id = AskId::of_broadcast(id, tag);
        let state = if asks.contains(ask_id) {
            let own = asks.known(ask_id, asker);
            known.extend(own.is_ok().then_some(ask_id));
            own.map(|(_, state)| state)
        } else {
            let new = NewAsk {
                id: ask_id,
                asker,
                asked: tag,
                question: broadcast.question.clone(),
                timeout_ms: broadcast.timeout_ms,
                broadcast: Some(id),
                cause,
                is_returning: false,
            };
            asks.open(now, peers, limits, new, out).inspect(|_| opened.push((tag, ask_id)))
        };
        match state {
            Ok(state) => accepted.push(BroadcastAsk { to, ask_id, tag, state }),
            Err(error) => {
                out.count(&error);
                refused.push(BroadcastRefusal { to, error: error.error });
            }
        }
    }
    asks.record_broadcast(limits, asker, cause, &opened);
    let accepted = BroadcastAccepted { broadcast_id: id, asks: accepted, refused };
    out.answer(caller, Answer::BroadcastAccepted(accepted));
    for ask_id in known {
        asks.tell_end(now, peers, ask_id, out);
    }
}
