//! What of the asker's end passes from one channel of a session to the next.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::broadcasts::OpenBroadcast;
use super::{DEADLINE_SLACK, EndedAsk, OpenAsk, Sent, Taken, Timer, millis_left, say_ask};
use crate::client::Tally;
use crate::client::outgoing::Outgoing;
use crate::protocol::{AskId, Bequest, ClientMessage, PeerTag};

impl Sent {
    /// Forgets what was accepted: another channel of the session has it, and sees to its end.
    pub(in crate::client) fn release(&mut self) {
        let accepted: Vec<AskId> = self.asks.iter().filter(|(_, ask)| ask.call.is_none()).map(|(id, _)| *id).collect();
        accepted.into_iter().for_each(|id| drop(self.drop_ask(id)));
        self.broadcasts.retain(|_, broadcast| broadcast.call.is_some());
    }

    /// Tells the hub that nobody waits for what it may have and has not accepted yet.
    pub(in crate::client) fn withdraw_unaccepted(&self, out: &mut Outgoing) {
        for (ask_id, _) in self.asks.iter().filter(|(_, ask)| ask.call.is_some()) {
            out.notice(ClientMessage::Withdraw { ask_id: *ask_id });
        }
    }

    /// Returns whom a hub has accepted an own ask for.
    pub(in crate::client) fn bound(&self, id: AskId) -> Option<PeerTag> {
        self.asks.get(&id)?.bound
    }

    /// Returns what is open and was accepted, and what was taken that its repliers may not know of.
    pub(in crate::client) fn bequests(&mut self, now: Instant) -> Vec<Bequest> {
        let mut all = Vec::new();
        for (id, ask) in &self.asks {
            let Some(bound) = ask.bound.filter(|_| ask.call.is_none()) else { continue };
            all.push(Bequest::Ask {
                ask_id: *id,
                to: ask.to.clone(),
                question: ask.question.as_ref().map(|question| question.to_string()),
                timeout_ms: millis_left(now, ask.deadline),
                bound,
                state: ask.state,
                broadcast_id: ask.broadcast,
            });
        }
        for broadcast in self.broadcasts.values().filter(|broadcast| broadcast.call.is_none()) {
            let Tally { broadcast_id, asked, replied, timed_out, gone, refused } = broadcast.tally;
            all.push(Bequest::Broadcast { broadcast_id, asked, replied, timed_out, gone, refused });
        }
        let unknown = self.taken().filter(|(_, taken)| !taken.known);
        all.extend(unknown.map(|(ask_id, taken)| Bequest::Taken { ask_id: *ask_id, by: taken.by }));
        all
    }

    /// Takes over what another channel of the session left: from here on this client is the guarantor.
    pub(in crate::client) fn inherit(&mut self, now: Instant, waited: Duration, bequest: Bequest, out: &mut Outgoing) {
        match bequest {
            Bequest::Ask { ask_id, to, question, timeout_ms, bound, state, broadcast_id } => {
                if self.asks.contains_key(&ask_id) || self.ended.contains_key(&ask_id) {
                    return;
                }
                let deadline = now + Duration::from_millis(timeout_ms).saturating_sub(waited);
                let (question, bound) = (question.map(Into::into), Some(bound));
                let ask =
                    OpenAsk { to, question, started: now, deadline, broadcast: broadcast_id, bound, state, call: None };
                self.timers.set(Timer::Deadline(ask_id), deadline + DEADLINE_SLACK);
                say_ask(now, ask_id, &ask, out);
                self.asks.insert(ask_id, ask);
            }
            Bequest::Broadcast { broadcast_id, asked, replied, timed_out, gone, refused } => {
                let open = self.asks.values().filter(|ask| ask.broadcast == Some(broadcast_id)).count() as u64;
                let tally = Tally { broadcast_id, asked, replied, timed_out, gone, refused };
                let (question, timeout) = (Rc::from(""), Duration::ZERO);
                let broadcast = OpenBroadcast { question, started: now, timeout, call: None, tally, open };
                self.broadcasts.entry(broadcast_id).or_insert(broadcast);
                self.close_broadcast(broadcast_id, out);
            }
            Bequest::Taken { ask_id, by } => {
                self.remember(
                    ask_id,
                    now,
                    EndedAsk { taken: Some(Taken { by, said: now, known: false }), withdrawn: false },
                );
                out.notice(ClientMessage::Taken { ask_id, by });
            }
            Bequest::Reply { .. } | Bequest::Received { .. } | Bequest::Message { .. } => {}
        }
    }
}
