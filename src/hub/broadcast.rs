//! A question to everybody or to some: becomes one ask for each session that is there.

use std::collections::BTreeSet;
use std::time::Instant;

use super::asks::{Asks, NewAsk, Opened};
use super::effect::{Caller, Outbox};
use super::limits::Limits;
use super::names;
use super::peers::Peers;
use super::refusals::{self, Refused};
use crate::protocol::{
    AskId, AskKind, Audience, AudienceView, Broadcast, BroadcastAccepted, BroadcastAsk, BroadcastRefusal, Chain,
    ClientTag,
};

/// What names every linked machine.
const EVERY_MACHINE: &str = "all";

/// Returns the sessions that a broadcast of this client is for, by name, and the addresses that are no other session's.
fn audience(peers: &Peers, asker: ClientTag, audience: &Audience) -> (Vec<ClientTag>, Vec<BroadcastRefusal>) {
    let (mut named, mut refused) = (BTreeSet::new(), Vec::new());
    let refusal = |to: &str, error: Refused| BroadcastRefusal { to: to.to_owned(), error: error.error };
    for to in audience.to.iter().flatten() {
        let found = peers.find(to).and_then(|tag| match tag == asker {
            true => Err(refusals::asks_itself(peers.sender(asker))),
            false => Ok(tag),
        });
        match found {
            Ok(tag) => drop(named.insert(tag)),
            Err(error) => refused.push(refusal(to, error)),
        }
    }
    for machine in audience.machines.iter().flatten() {
        match peers.sessions_at(Some(machine.as_str()).filter(|machine| *machine != EVERY_MACHINE)) {
            Some(sessions) => named.extend(sessions),
            None => refused.push(refusal(machine, refusals::no_such_machine(machine))),
        }
    }
    let is_below = |tag: &ClientTag| {
        let folder = audience.folder.as_deref();
        folder.is_some_and(|folder| peers.presence(*tag).is_some_and(|presence| names::is_in(&presence.cwd, folder)))
    };
    let is_meant = |tag: &ClientTag| !peers.is_remote(*tag) && (audience.is_everybody() || is_below(tag));
    let mut tags = peers.others(asker);
    tags.retain(|tag| named.contains(tag) || is_meant(tag));
    (tags, refused)
}

/// Returns whom a broadcast of this client would ask.
pub(super) fn list(peers: &Peers, asker: ClientTag, wanted: &Audience, settling: bool) -> AudienceView {
    let (tags, refused) = audience(peers, asker, wanted);
    AudienceView { names: tags.into_iter().filter_map(|tag| peers.name(tag).cloned()).collect(), refused, settling }
}

/// Opens an ask for every session that the broadcast is for.
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
    let (tags, mut refused) = audience(peers, asker, &broadcast.audience);
    let (mut accepted, mut known, mut opened) = (Vec::new(), Vec::new(), Vec::new());
    let mut missing = BTreeSet::new();
    for tag in tags {
        let Some(to) = peers.name(tag).cloned() else { continue };
        let ask_id = AskId::of_broadcast(id, tag);
        let state = if asks.is_offered(ask_id) {
            asks.known(ask_id, asker).map(|_| Opened::Offered)
        } else if asks.contains(ask_id) {
            let own = asks.known(ask_id, asker);
            known.extend(own.is_ok().then_some(ask_id));
            own.map(|(_, state)| Opened::Accepted(state))
        } else if let Some(machine) = peers.machine_of(tag).filter(|_| !peers.is_reachable(tag)) {
            Err(refusals::machine_unreachable(machine))
        } else {
            let new = NewAsk {
                id: ask_id,
                kind: AskKind::Ask,
                asker,
                asked: tag,
                question: broadcast.question.clone(),
                timeout_ms: broadcast.timeout_ms,
                broadcast: Some(id),
                cause,
                chain: Chain::default(),
                caller,
                is_returning: false,
                is_accepted: false,
            };
            asks.open(now, peers, limits, new, out).inspect(|_| opened.push((tag, ask_id)))
        };
        match state {
            Ok(Opened::Accepted(state)) => accepted.push(BroadcastAsk { to, ask_id, tag, state }),
            Ok(Opened::Offered) => drop(missing.insert(ask_id)),
            Err(error) => {
                out.count(&error);
                refused.push(BroadcastRefusal { to: to.to_string(), error: error.error });
            }
        }
    }
    asks.record_broadcast(limits, asker, cause, &opened);
    let accepted = BroadcastAccepted { broadcast_id: id, asks: accepted, refused };
    asks.answer_broadcast(caller, accepted, missing, out);
    for ask_id in known {
        asks.tell_end(now, peers, ask_id, out);
    }
}
