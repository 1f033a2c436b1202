//! The ledger of a session that may have several channels: what a second wants of the peer, and what one leaves to the
//! next. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::call::{Answer, Call, CallId, Output};
use super::ledger::Ledger;
use super::{ClientEvent, Inherited};
use crate::protocol::codec::encode;
use crate::protocol::{
    Accepted, AskId, Bequest, BroadcastAccepted, BroadcastAsk, BroadcastId, ClientKind, ClientMessage, HubMessage,
    PeerTag, Place, Refusal, RequestId, Seat,
};

/// The most bytes of frames with texts that a leaving channel leaves: it has a tenth of a second, and its successor must not
/// be taken for a slow reader. Over it texts are left out: of questions, which matters only if the hub dies as well, and of
/// messages, which say so.
const BEQUEST_MAX_BYTES: usize = 2 * 1024 * 1024;

/// How many answers to a second are remembered, for one that asks again.
const ANSWERS_MAX: usize = 64;

/// What a second's request is about: the same when it is said again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    Ask(AskId),
    Broadcast(BroadcastId),
}

/// A second's request that is not answered yet.
#[derive(Debug, Clone, Copy)]
struct Remote {
    by: PeerTag,
    id: RequestId,
    about: About,
}

/// What seconds want of this channel.
#[derive(Debug, Clone, Default)]
pub(super) struct Remotes {
    open: BTreeMap<CallId, Remote>,
    answers: VecDeque<(About, Result<Answer, Refusal>)>,
    last: u64,
}

impl Ledger {
    /// Returns the seat of this channel, if it has one.
    pub(super) fn seat(&mut self) -> Option<&mut Seat> {
        if let ClientKind::Channel(facts) = &mut self.config.kind { facts.seat.as_mut() } else { None }
    }

    /// Returns whether this channel is its session's second.
    pub(super) fn is_second(&mut self) -> bool {
        self.seat().is_some_and(|seat| seat.second)
    }

    /// Takes note of what this channel is in its session. A second gives what it holds to the peer, which asks for it.
    pub(super) fn take_place(&mut self, now: Instant, place: Option<Place>) {
        let was_second = self.is_second();
        let second = place == Some(Place::Second);
        if let Some(Place::Heir { key, turn }) = place {
            self.config.key = key;
            self.seat().into_iter().for_each(|seat| seat.turn = turn);
        }
        self.seat().into_iter().for_each(|seat| seat.second = second);
        if was_second != second {
            self.out.event(ClientEvent::Second(second));
        }
        if second {
            self.handle_leave(now, Vec::new());
            self.sent.release();
        }
    }

    /// Says what is open, and the messages that the session was not shown, to the channel that may succeed this one. What
    /// no hub has accepted yet is withdrawn: nobody was told of it.
    pub fn handle_leave(&mut self, now: Instant, messages: Vec<Bequest>) {
        if self.seat().is_none() {
            return;
        }
        if !self.is_second() {
            self.sent.withdraw_unaccepted(&mut self.out);
        }
        let mut left = BEQUEST_MAX_BYTES;
        for bequest in self.sent.bequests(now).into_iter().chain(self.received.bequests(now)).chain(messages) {
            let mut frame = Vec::new();
            encode(&bequest, &mut frame);
            let bequest = if frame.len() > left { shortened(bequest) } else { Some(bequest) };
            if let Some(bequest) = bequest {
                left = left.saturating_sub(frame.len());
                self.out.notice(ClientMessage::Bequest { bequest });
            }
        }
    }

    /// Takes over what another channel of the session has left.
    pub(super) fn inherit(&mut self, now: Instant, waited: Duration, bequest: Bequest) {
        match bequest {
            Bequest::Ask { .. } | Bequest::Broadcast { .. } | Bequest::Taken { .. } => {
                self.sent.inherit(now, waited, bequest, &mut self.out);
            }
            Bequest::Reply { ask_id, to, text } => self.received.inherit_reply(now, ask_id, to, text, &mut self.out),
            Bequest::Received { ask_id, .. } => {
                if self.received.inherit_ask(now, waited, bequest, &mut self.out) {
                    self.out.event(ClientEvent::Inherited(Inherited::Ask(ask_id)));
                }
            }
            Bequest::Message { ask_id, content, meta } => {
                self.out.event(ClientEvent::Inherited(Inherited::Message { ask_id, content, meta }));
            }
        }
    }

    /// Does what the session's second channel wants.
    pub(super) fn handle_remote(&mut self, now: Instant, by: PeerTag, request: ClientMessage) {
        let (id, about, call) = match request {
            ClientMessage::Ask(ask) => {
                let (ask_id, timeout) = (ask.ask_id, Duration::from_millis(ask.timeout_ms));
                let call = Call::Ask { ask_id, to: ask.to, question: ask.question, timeout };
                (ask.id, About::Ask(ask_id), call)
            }
            ClientMessage::Broadcast(broadcast) => {
                let (broadcast_id, question) = (broadcast.broadcast_id, broadcast.question);
                let timeout = Duration::from_millis(broadcast.timeout_ms);
                (broadcast.id, About::Broadcast(broadcast_id), Call::Broadcast { broadcast_id, question, timeout })
            }
            ClientMessage::Withdraw { ask_id } => return self.handle_withdraw(ask_id),
            // The hub does these itself, or passes over them.
            ClientMessage::Hello(_)
            | ClientMessage::Peers { .. }
            | ClientMessage::Status { .. }
            | ClientMessage::Watch { .. }
            | ClientMessage::Reply(_)
            | ClientMessage::Rename { .. }
            | ClientMessage::Progress { .. }
            | ClientMessage::Taken { .. }
            | ClientMessage::Presence(_)
            | ClientMessage::Named { .. }
            | ClientMessage::Offer(_)
            | ClientMessage::Holding { .. }
            | ClientMessage::Verdict(_)
            | ClientMessage::Answer { .. }
            | ClientMessage::Bequest { .. }
            | ClientMessage::Bye {} => return,
        };
        let remote = Remote { by, id, about };
        if let Some(known) = self.remotes.open.values_mut().find(|known| known.about == about) {
            *known = remote;
        } else if let Some((_, result)) = self.remotes.answers.iter().find(|(known, _)| *known == about) {
            let result = result.clone();
            self.answer_remote(remote, result);
        } else {
            self.remotes.last += 1;
            let call = (CallId(u64::MAX - self.remotes.last), call);
            self.remotes.open.insert(call.0, remote);
            self.handle_call(now, call.0, call.1);
        }
    }

    /// Passes the answer to a second's call on; returns any other output.
    pub(super) fn pass_on(&mut self, output: Output) -> Option<Output> {
        let Output::Answer { call, result } = output else { return Some(output) };
        let Some(remote) = self.remotes.open.remove(&call) else { return Some(Output::Answer { call, result }) };
        self.remotes.answers.push_back((remote.about, result.clone()));
        if self.remotes.answers.len() > ANSWERS_MAX {
            self.remotes.answers.pop_front();
        }
        self.answer_remote(remote, result);
        None
    }

    fn answer_remote(&mut self, remote: Remote, result: Result<Answer, Refusal>) {
        let Remote { by, id, .. } = remote;
        // Whom an ask is bound to is the guarantor's to know, which this channel is.
        let own = self.config.key.tag();
        let answer = match result {
            Ok(Answer::Asked(asked)) => {
                let tag = self.sent.bound(asked.ask_id).unwrap_or(own);
                HubMessage::Accepted(Accepted { id, ask_id: asked.ask_id, to: asked.to, tag, state: asked.state })
            }
            Ok(Answer::Broadcasted(broadcasted)) => HubMessage::BroadcastAccepted(BroadcastAccepted {
                id,
                broadcast_id: broadcasted.broadcast_id,
                asks: broadcasted
                    .asks
                    .into_iter()
                    .map(|ask| {
                        let tag = self.sent.bound(ask.ask_id).unwrap_or(own);
                        BroadcastAsk { to: ask.to, ask_id: ask.ask_id, tag, state: ask.state }
                    })
                    .collect(),
                refused: broadcasted.refused,
            }),
            Ok(_) => return,
            Err(error) => HubMessage::Error { id: Some(id), error },
        };
        self.out.notice(ClientMessage::Answer { to: by, answer: Box::new(answer) });
    }
}

/// Returns what is left of a bequest for which there is no room.
fn shortened(bequest: Bequest) -> Option<Bequest> {
    match bequest {
        Bequest::Ask { ask_id, to, timeout_ms, bound, state, broadcast_id, .. } => {
            Some(Bequest::Ask { ask_id, to, question: None, timeout_ms, bound, state, broadcast_id })
        }
        Bequest::Message { ask_id, content, meta } => {
            let content =
                format!("(The text of this message, {} bytes, was lost when its server left.)", content.len());
            Some(Bequest::Message { ask_id, content, meta })
        }
        // The hub has it, and tells it as long as it lives.
        Bequest::Reply { .. } => None,
        other @ (Bequest::Broadcast { .. } | Bequest::Taken { .. } | Bequest::Received { .. }) => Some(other),
    }
}

#[cfg(test)]
mod tests;
