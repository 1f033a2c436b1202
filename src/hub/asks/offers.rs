//! Asks to other machines: their askers are answered when the asked session's machine has said that it has them, or that it
//! does not take them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::Asks;
use super::open::Offer;
use crate::hub::effect::{Caller, Outbox};
use crate::hub::peers::Peers;
use crate::hub::refusals::{self, Refused};
use crate::protocol::{
    Answer, AskId, AskOutcome, AskState, BroadcastAccepted, BroadcastAsk, BroadcastRefusal, ClientTag, Closed, Decline,
    ErrorCode, Event, Watched,
};

impl Asks {
    /// Answers a broadcast, at once or when the machines have these asks or refuse them.
    pub(in crate::hub) fn answer_broadcast(
        &mut self,
        caller: Caller,
        answer: BroadcastAccepted,
        missing: BTreeSet<AskId>,
        out: &mut Outbox,
    ) {
        self.collecting.insert(caller, answer, missing, out);
    }

    /// Returns whether an ask waits for its machine to have it.
    pub(in crate::hub) fn is_offered(&self, id: AskId) -> bool {
        self.open.get(id).is_some_and(|ask| ask.offer.is_some())
    }

    /// Records that the asked session's machine has an ask, and how far it has come there: its asker is answered, if it waits
    /// for that.
    pub(super) fn confirm(&mut self, now: Instant, peers: &Peers, id: AskId, come: AskState, out: &mut Outbox) {
        let Some(offer) = self.open.take_offer(id) else { return };
        self.announce(now, peers, id, out);
        let Some(ask) = self.open.get(id) else { return };
        let (tag, state) = (ask.link.asked, ask.state.max(come));
        match offer {
            Offer::Ask(caller) => {
                let accepted = peers.accepted(id, tag, state, peers.sender(tag));
                out.answer(peers.still(caller), Answer::Accepted(accepted));
            }
            Offer::Broadcast(broadcast) => {
                let Some(to) = peers.name(tag).cloned() else { return };
                let settled = Ok(BroadcastAsk { to, ask_id: id, tag, state });
                let known = self.collecting.settle(peers, broadcast, id, settled, out);
                known.into_iter().for_each(|id| self.tell_end(now, peers, id, out));
            }
        }
    }

    /// Ends an ask that the asked session's machine does not take; one that it had taken only where its session has gone.
    /// One that was answered here ends where the asker's machine does not know what became of the reply.
    pub(in crate::hub) fn decline(
        &mut self,
        now: Instant,
        peers: &Peers,
        tag: ClientTag,
        decline: Decline,
        out: &mut Outbox,
    ) {
        let Decline { ask_id, error } = decline;
        let Some(ask) = self.open.get(ask_id).filter(|_| peers.is_remote(tag)) else { return };
        if error.code == ErrorCode::Unconfirmed {
            return self.end_own(now, peers, tag, ask_id, AskOutcome::Unconfirmed, out);
        }
        if ask.link.asked != tag {
            return;
        }
        if ask.offer.is_some() {
            self.reject(now, peers, ask_id, error.into(), out);
        } else if matches!(error.code, ErrorCode::PeerGone | ErrorCode::PeerNotFound) {
            self.end(now, peers, ask_id, AskOutcome::PeerGone, out);
        }
    }

    /// Takes an ask back that was not accepted, and tells its asker why.
    pub(super) fn reject(&mut self, now: Instant, peers: &Peers, id: AskId, refused: Refused, out: &mut Outbox) {
        let Some(ask) = self.open.remove(id) else { return };
        let (asker, asked) = (ask.link.asker, ask.link.asked);
        for conn in [asker, asked].into_iter().filter_map(|tag| peers.conn(tag)) {
            self.pending.take_back(conn, ask.number, id);
        }
        out.event(peers.conn(asked), Event::Closed(Closed { ask_id: id }));
        out.watched(|| {
            let [from, to] = [asker, asked].map(|tag| peers.sender(tag).to_owned());
            Some(Watched::AskRefused { from, to, code: refused.error.code })
        });
        match ask.offer {
            Some(Offer::Ask(caller)) => out.refuse(peers.still(caller), refused),
            Some(Offer::Broadcast(broadcast)) => {
                out.count(&refused);
                let settled = Err(BroadcastRefusal { to: peers.sender(asked).to_owned(), error: refused.error });
                let known = self.collecting.settle(peers, broadcast, id, settled, out);
                known.into_iter().for_each(|id| self.tell_end(now, peers, id, out));
            }
            None => {}
        }
    }

    /// Returns why an ask is not accepted that ended before the asked session's machine had it.
    pub(super) fn never_accepted(&self, peers: &Peers, id: AskId, outcome: AskOutcome) -> Refused {
        let to = self.open.get(id).map_or("the session", |ask| peers.sender(ask.link.asked));
        match outcome {
            AskOutcome::PeerGone => refusals::peer_gone(to),
            AskOutcome::Withdrawn => refusals::unknown_ask(id, Some((outcome, Duration::ZERO))),
            AskOutcome::Timeout
            | AskOutcome::Reply
            | AskOutcome::Shown
            | AskOutcome::HandedOver
            | AskOutcome::Unconfirmed => refusals::not_confirmed(to),
        }
    }
}
