//! A question to everybody: becomes one ask for each peer that is there.

use std::time::Instant;

use super::delivery::{NewAsk, check_text, check_timeout};
use super::{ConnId, Hub, refusal};
use crate::protocol::{
    AskId, BroadcastAccepted, BroadcastAsk, BroadcastRefusal, BroadcastRequest, ClientMessage, HubMessage, PeerTag,
};

impl Hub {
    /// Opens an ask for every other peer. Waits for the end of the settling, when everybody who comes back is there.
    ///
    /// The hub keeps nothing of a broadcast but its asks: its tally is counted by the asker's client, whom no death of
    /// a hub makes forget.
    pub(super) fn handle_broadcast(&mut self, now: Instant, conn: ConnId, tag: PeerTag, broadcast: BroadcastRequest) {
        if let Err(error) = check_text(&broadcast.question).and_then(|()| check_timeout(broadcast.timeout_ms)) {
            self.count_too_large(&error);
            return self.refuse(conn, broadcast.id, error);
        }
        if self.settling.is_on() {
            return self.defer(now, conn, tag, broadcast.id, ClientMessage::Broadcast(broadcast));
        }
        let mut asks = Vec::new();
        let mut refused = Vec::new();
        let mut known = Vec::new();
        for asked in self.peers.others(tag) {
            let Some(peer) = self.peers.get(asked) else { continue };
            let ask_id = AskId::of_broadcast(broadcast.broadcast_id, &peer.key);
            let Some(to) = self.peers.name(asked).cloned() else { continue };
            let state = match self.asks.get(ask_id) {
                Some(ask) if ask.asker != tag => Err(refusal::id_in_use(ask_id)),
                Some(ask) => {
                    known.push(ask_id);
                    Ok(ask.state)
                }
                None => self.open_ask(
                    now,
                    NewAsk {
                        id: ask_id,
                        asker: tag,
                        asked,
                        question: &broadcast.question,
                        timeout_ms: broadcast.timeout_ms,
                        broadcast: Some(broadcast.broadcast_id),
                        accepted_before: false,
                    },
                ),
            };
            match state {
                Ok(state) => asks.push(BroadcastAsk { to, ask_id, tag: asked, state }),
                Err(error) => refused.push(BroadcastRefusal { to, error }),
            }
        }
        if let (Some(peer), Some(ask)) = (self.peers.get_mut(tag), asks.first()) {
            peer.last_broadcast = Some(ask.ask_id);
        }
        let accepted = BroadcastAccepted { id: broadcast.id, broadcast_id: broadcast.broadcast_id, asks, refused };
        self.send_to(conn, HubMessage::BroadcastAccepted(accepted));
        for ask_id in known {
            self.tell_end(now, ask_id);
        }
    }
}
