//! Own broadcasts: until its acceptance each is said again, then its tally is counted.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::{DEADLINE_SLACK, OpenAsk, Sent, Timer};
use crate::client::call::{Answer, CallId};
use crate::client::outgoing::{Outgoing, Purpose};
use crate::client::{Asked, Broadcasted, ClientEvent, Tally};
use crate::protocol::{BroadcastAccepted, BroadcastId, BroadcastRequest, ClientMessage, Refusal};

/// One broadcast.
#[derive(Debug, Clone)]
pub(super) struct OpenBroadcast {
    pub(super) question: Rc<str>,
    pub(super) started: Instant,
    /// The time of its asks. It begins when the hub opens them, which a hub that settles does late.
    pub(super) timeout: Duration,
    pub(super) call: Option<CallId>,
    pub(super) tally: Tally,
    pub(super) open: u64,
}

impl Sent {
    #[expect(clippy::too_many_arguments, reason = "a call's three parts, its time and where its messages go")]
    pub(in crate::client) fn broadcast(
        &mut self,
        now: Instant,
        call: CallId,
        id: BroadcastId,
        question: String,
        timeout: Duration,
        patience: Duration,
        out: &mut Outgoing,
    ) {
        let broadcast = OpenBroadcast {
            question: question.into(),
            started: now,
            timeout,
            call: Some(call),
            tally: Tally { broadcast_id: id, asked: 0, replied: 0, timed_out: 0, gone: 0, refused: 0 },
            open: 0,
        };
        self.timers.set(Timer::BroadcastPatience(id), now + patience);
        say_broadcast(id, &broadcast, out);
        self.broadcasts.insert(id, broadcast);
    }

    pub(in crate::client) fn handle_broadcast_accepted(
        &mut self,
        now: Instant,
        accepted: BroadcastAccepted,
        is_guarantor: bool,
        out: &mut Outgoing,
    ) {
        let id = accepted.broadcast_id;
        self.timers.clear(&Timer::BroadcastPatience(id));
        let Some(broadcast) = self.broadcasts.get_mut(&id) else {
            for ask in &accepted.asks {
                out.notice(ClientMessage::Withdraw { ask_id: ask.ask_id });
            }
            return;
        };
        let Some(call) = broadcast.call.take() else { return };
        let question = Rc::clone(&broadcast.question);
        let asks: Vec<Asked> = accepted
            .asks
            .iter()
            .map(|ask| Asked { ask_id: ask.ask_id, to: ask.to.clone(), state: ask.state })
            .collect();
        broadcast.open = asks.len() as u64;
        broadcast.tally.refused = accepted.refused.len() as u64;
        broadcast.tally.asked = broadcast.open + broadcast.tally.refused;
        if !is_guarantor {
            self.broadcasts.remove(&id);
            let broadcasted = Broadcasted { broadcast_id: id, asks, refused: accepted.refused };
            return out.answer(call, Ok(Answer::Broadcasted(broadcasted)));
        }
        for ask in accepted.asks {
            let open = OpenAsk {
                to: ask.to.to_string(),
                question: Some(Rc::clone(&question)),
                started: now,
                deadline: now + broadcast.timeout,
                broadcast: Some(id),
                bound: Some(ask.tag),
                state: ask.state,
                call: None,
            };
            self.timers.set(Timer::Deadline(ask.ask_id), open.deadline + DEADLINE_SLACK);
            self.asks.insert(ask.ask_id, open);
        }
        let broadcasted = Broadcasted { broadcast_id: id, asks, refused: accepted.refused };
        out.answer(call, Ok(Answer::Broadcasted(broadcasted)));
        self.close_broadcast(id, out);
    }

    pub(in crate::client) fn handle_broadcast_refused(&mut self, id: BroadcastId, error: Refusal, out: &mut Outgoing) {
        self.timers.clear(&Timer::BroadcastPatience(id));
        if let Some(OpenBroadcast { call: Some(call), .. }) = self.broadcasts.remove(&id) {
            out.answer(call, Err(error));
        }
    }

    /// Tells a broadcast's tally once nothing of it is open. Where nobody was asked there is nothing to tell.
    pub(super) fn close_broadcast(&mut self, id: BroadcastId, out: &mut Outgoing) {
        if self.broadcasts.get(&id).is_some_and(|broadcast| broadcast.call.is_none() && broadcast.open == 0)
            && let Some(broadcast) = self.broadcasts.remove(&id)
            && broadcast.tally.asked > 0
        {
            out.event(ClientEvent::Tally(broadcast.tally));
        }
    }
}

pub(super) fn say_broadcast(broadcast_id: BroadcastId, broadcast: &OpenBroadcast, out: &mut Outgoing) {
    out.request(Purpose::Broadcast(broadcast_id), |id| {
        ClientMessage::Broadcast(BroadcastRequest {
            id,
            broadcast_id,
            question: broadcast.question.to_string(),
            timeout_ms: u64::try_from(broadcast.timeout.as_millis()).unwrap_or(u64::MAX),
        })
    });
}
