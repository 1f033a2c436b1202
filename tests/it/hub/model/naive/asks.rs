//! What the model knows of asks: how they open, what becomes of them, how they end.

use std::time::{Duration, Instant};

use relay::hub::ConnId;
use relay::protocol::{
    Accepted, AskEvent, AskId, AskRequest, AskState, BroadcastAccepted, BroadcastAsk, BroadcastId, BroadcastRefusal,
    BroadcastRequest, ClientMessage, ErrorCode, FailedEvent, HubMessage, OpenAsks, PeerName, PeerTag, ReplyEvent,
    ReplyRequest, Wake,
};

use super::{Ask, Naive, Phase, Waiting, error};

fn check(text: &str, timeout_ms: u64) -> Result<(), ErrorCode> {
    match text.len() {
        _ if text.trim().is_empty() => Err(ErrorCode::BadArgs),
        65_537.. => Err(ErrorCode::TooLarge),
        _ if !(1..=86_400_000).contains(&timeout_ms) => Err(ErrorCode::BadArgs),
        _ => Ok(()),
    }
}

impl Naive {
    pub(super) fn taken(&mut self, now: Instant, tag: PeerTag, id: AskId, asked: PeerTag) {
        match self.ask(id).map(|ask| ask.asker) {
            Some(asker) if asker == tag => self.end(now, id, Phase::Replied),
            Some(_) => {}
            None if self.is_anothers(id, asked, tag) => {}
            None => {
                let (question, state, phase) = (String::new(), AskState::Shown, Phase::Replied);
                let (deadline, over_at, ended_at) = (now, now, Some(now));
                self.asks.push(Ask {
                    id,
                    asker: tag,
                    asked,
                    question,
                    broadcast: None,
                    state,
                    deadline,
                    over_at,
                    phase,
                    ended_at,
                });
                self.retry_replies(now, id);
            }
        }
    }

    pub(super) fn withdraw(&mut self, now: Instant, tag: PeerTag, id: AskId) {
        if self.ask(id).is_some_and(|ask| ask.asker == tag) {
            self.end(now, id, Phase::Withdrawn);
        }
        let own = |w: &Waiting| w.tag == tag && matches!(&w.message, ClientMessage::Ask(ask) if ask.ask_id == id);
        for waiting in self.take_waiting(own) {
            if let ClientMessage::Ask(ask) = waiting.message {
                self.refuse(waiting.conn, ask.id, ErrorCode::UnknownAsk);
            }
        }
    }

    pub(super) fn retry_replies(&mut self, now: Instant, id: AskId) {
        let ready = self.take_waiting(|w| matches!(&w.message, ClientMessage::Reply(reply) if reply.ask_id == id));
        self.retry(now, ready);
    }

    pub(super) fn open_of(&self, tag: PeerTag) -> OpenAsks {
        let open = || self.asks.iter().filter(|ask| ask.ended_at.is_none());
        let sent = open().filter(|ask| ask.asker == tag).count() as u64;
        OpenAsks { sent, received: open().filter(|ask| ask.asked == tag).count() as u64 }
    }

    pub(super) fn handle_ask(&mut self, now: Instant, conn: ConnId, tag: PeerTag, ask: AskRequest) {
        if let Err(code) = check(&ask.question, ask.timeout_ms) {
            return self.refuse(conn, ask.id, code);
        }
        if let Some(known) = self.ask(ask.ask_id).cloned() {
            return match known.phase {
                _ if known.asker != tag => self.refuse(conn, ask.id, ErrorCode::BadArgs),
                Phase::Replied | Phase::Withdrawn => self.refuse(conn, ask.id, ErrorCode::UnknownAsk),
                _ => {
                    self.accept(conn, &ask, known.asked, known.state);
                    self.tell_end(ask.ask_id);
                }
            };
        }
        let name = PeerName::parse(&ask.to).ok();
        let asked = match ask.bound {
            Some(bound) => self.name(bound).map(|_| bound),
            None => name.as_ref().and_then(|name| self.find(name)),
        };
        match asked {
            Some(asked) if asked == tag => self.refuse(conn, ask.id, ErrorCode::BadArgs),
            Some(asked) => {
                let said_again = self.settling && ask.bound.is_some();
                let (until, question) = (now + Duration::from_millis(ask.timeout_ms), ask.question.clone());
                match self.open(now, (ask.ask_id, tag, asked), question, until, ask.broadcast_id, said_again) {
                    Ok(state) => self.accept(conn, &ask, asked, state),
                    Err(code) => self.refuse(conn, ask.id, code),
                }
                if self.settling {
                    self.retry_replies(now, ask.ask_id);
                }
            }
            None if self.settling && (ask.bound.is_some() || name.is_some()) => {
                self.waiting.push(Waiting { tag, conn, since: now, message: ClientMessage::Ask(ask) });
            }
            None if ask.bound.is_some() => self.refuse(conn, ask.id, ErrorCode::PeerGone),
            None => self.refuse(conn, ask.id, ErrorCode::PeerNotFound),
        }
    }

    fn accept(&mut self, conn: ConnId, ask: &AskRequest, tag: PeerTag, state: AskState) {
        let to = self.name(tag).unwrap_or_else(|| PeerName::of_folder(&ask.to));
        self.say(conn, HubMessage::Accepted(Accepted { id: ask.id, ask_id: ask.ask_id, to, tag, state }));
    }

    /// Returns whether this session says that it has the ask from somebody else.
    fn is_anothers(&self, id: AskId, asked: PeerTag, asker: PeerTag) -> bool {
        let mut claims = self.claims.iter().filter(|(tag, ask, ..)| (*tag, *ask) == (asked, id));
        claims.any(|(.., claimed)| claimed.is_some_and(|known| known != asker))
    }

    fn open(
        &mut self,
        now: Instant,
        (id, asker, asked): (AskId, PeerTag, PeerTag),
        question: String,
        deadline: Instant,
        broadcast: Option<BroadcastId>,
        said_again: bool,
    ) -> Result<AskState, ErrorCode> {
        if self.is_anothers(id, asked, asker) {
            return Err(ErrorCode::BadArgs);
        }
        if !said_again && self.open_of(asker).sent >= self.max_open {
            return Err(ErrorCode::RateLimited);
        }
        if !said_again && self.open_of(asked).received >= self.max_open {
            return Err(ErrorCode::PeerBusy);
        }
        let claimed = self.claims.iter().position(|(tag, ask, ..)| *tag == asked && *ask == id);
        let claim = claimed.map(|at| self.claims.remove(at).2);
        let wakes = self.client(asked).and_then(|client| client.facts.as_ref()).map(|facts| facts.presence.wakes_by);
        let first = if wakes == Some(Wake::NextPrompt) { AskState::Held } else { AskState::Accepted };
        let state = claim.unwrap_or(first);
        let phase = Phase::Open { its_client_has_it: claim.is_some() };
        let (over_at, ended_at) = (deadline, None);
        self.asks.push(Ask { id, asker, asked, question, broadcast, state, deadline, over_at, phase, ended_at });
        if claim.is_none() {
            self.send_question(now, id);
        }
        Ok(state)
    }

    pub(super) fn send_question(&mut self, now: Instant, id: AskId) {
        let ask = self.ask(id).unwrap().clone();
        if ask.phase == (Phase::Open { its_client_has_it: false })
            && let Some(from) = self.sender(ask.asker)
        {
            let timeout_ms = (ask.deadline.saturating_duration_since(now)).as_millis() as u64;
            let (question, broadcast_id) = (ask.question, ask.broadcast);
            let (ask_id, asker) = (id, Some(ask.asker));
            let event = AskEvent { ask_id, from, question, timeout_ms, broadcast_id, asker };
            self.tell(ask.asked, HubMessage::Ask(event));
        }
    }

    pub(super) fn tell_end(&mut self, id: AskId) {
        let Ask { asker, asked, state, phase, .. } = self.ask(id).unwrap().clone();
        let failed = |code| HubMessage::Failed(FailedEvent { ask_id: id, code, state });
        match phase {
            Phase::Answered { text, from, .. } => {
                self.tell(asker, HubMessage::Reply(ReplyEvent { ask_id: id, from, by: asked, text }));
            }
            Phase::TimedOut => self.tell(asker, failed(ErrorCode::Timeout)),
            Phase::Gone => self.tell(asker, failed(ErrorCode::PeerGone)),
            Phase::Open { .. } | Phase::Replied | Phase::Withdrawn => {}
        }
    }

    pub(super) fn handle_broadcast(&mut self, now: Instant, conn: ConnId, tag: PeerTag, broadcast: BroadcastRequest) {
        let BroadcastRequest { id, broadcast_id, ref question, timeout_ms } = broadcast;
        if let Err(code) = check(question, timeout_ms) {
            return self.refuse(conn, id, code);
        }
        if self.settling {
            let message = ClientMessage::Broadcast(broadcast);
            return self.waiting.push(Waiting { tag, conn, since: now, message });
        }
        let all = self.clients.iter().filter(|client| client.key.tag() != tag);
        let mut all: Vec<_> = all.filter_map(|client| Some((client.name.clone()?, client.key))).collect();
        all.sort();
        let (mut asks, mut refused, mut known) = (vec![], vec![], vec![]);
        for (to, key) in all {
            let (ask_id, asked) = (AskId::of_broadcast(broadcast_id, &key), key.tag());
            let opened = match self.ask(ask_id).map(|ask| (ask.asker, ask.state)) {
                Some((asker, _)) if asker != tag => Err(ErrorCode::BadArgs),
                Some((_, state)) => {
                    known.push(ask_id);
                    Ok(state)
                }
                None => {
                    let until = now + Duration::from_millis(timeout_ms);
                    self.open(now, (ask_id, tag, asked), question.clone(), until, Some(broadcast_id), false)
                }
            };
            match opened {
                Ok(state) => asks.push(BroadcastAsk { to, ask_id, tag: asked, state }),
                Err(code) => refused.push(BroadcastRefusal { to, error: error(code) }),
            }
        }
        self.say(conn, HubMessage::BroadcastAccepted(BroadcastAccepted { id, broadcast_id, asks, refused }));
        known.into_iter().for_each(|id| self.tell_end(id));
    }

    pub(super) fn reply(&mut self, now: Instant, conn: ConnId, tag: PeerTag, reply: ReplyRequest) {
        let (id, ask_id) = (reply.id, reply.ask_id);
        let Some(from) = self.name(tag) else { return self.refuse(conn, id, ErrorCode::NotRegistered) };
        if let Err(code) = check(&reply.text, 1) {
            return self.refuse(conn, id, code);
        }
        let Some(ask) = self.ask(ask_id) else {
            if self.settling {
                return self.waiting.push(Waiting { tag, conn, since: now, message: ClientMessage::Reply(reply) });
            }
            return self.refuse(conn, id, ErrorCode::UnknownAsk);
        };
        match ask.phase.clone() {
            _ if ask.asked != tag => self.refuse(conn, id, ErrorCode::UnknownAsk),
            Phase::Open { .. } => {
                ask.state = AskState::Shown;
                ask.phase = Phase::Answered { text: reply.text, from, request: (conn, id) };
                self.tell_end(ask_id);
            }
            Phase::Answered { request, .. } if request.0 == conn => self.refuse(conn, id, ErrorCode::UnknownAsk),
            Phase::Answered { text, .. } => ask.phase = Phase::Answered { text, from, request: (conn, id) },
            Phase::Replied => {
                let asker = ask.asker;
                let to = self.sender(asker).unwrap_or_else(|| "a session that has ended".to_owned());
                self.say(conn, HubMessage::Replied { id, ask_id, to });
            }
            Phase::TimedOut | Phase::Gone | Phase::Withdrawn => self.refuse(conn, id, ErrorCode::UnknownAsk),
        }
    }

    pub(super) fn progress(
        &mut self,
        now: Instant,
        tag: PeerTag,
        ask_id: AskId,
        state: AskState,
        asker: Option<PeerTag>,
    ) {
        let settling = self.settling;
        let known = self.ask(ask_id).map(|ask| (ask.asker, ask.asked));
        if known.is_some_and(|(by, asked)| asked == tag && asker.is_some_and(|asker| asker != by)) {
            self.end(now, ask_id, Phase::Gone);
            self.asks.retain(|ask| ask.id != ask_id);
        }
        match self.ask(ask_id) {
            Some(ask) if ask.asked == tag && ask.ended_at.is_none() => {
                ask.state = ask.state.max(state);
                if let Phase::Open { its_client_has_it } = &mut ask.phase {
                    *its_client_has_it = true;
                }
            }
            None if settling => {
                let old = self.claims.iter().position(|(peer, ask, ..)| *peer == tag && *ask == ask_id);
                let own = self.claims.iter().filter(|(peer, ..)| *peer == tag).count() as u64;
                match old {
                    Some(old) => self.claims[old] = (tag, ask_id, state, asker),
                    None if own < self.max_open => self.claims.push((tag, ask_id, state, asker)),
                    None => {}
                }
            }
            Some(_) | None => self.tell(tag, HubMessage::Closed { ask_id }),
        }
    }

    pub(super) fn end(&mut self, now: Instant, id: AskId, how: Phase) {
        let ask = self.ask(id).unwrap();
        if ask.ended_at.is_some() {
            return;
        }
        let (asker, asked) = (ask.asker, ask.asked);
        ask.ended_at = Some(now);
        let before = std::mem::replace(&mut ask.phase, how.clone());
        self.tell_end(id);
        match before {
            Phase::Answered { request: (conn, request), .. } if how == Phase::Replied => {
                let to = self.sender(asker).unwrap_or_else(|| "a session that has ended".to_owned());
                self.say(conn, HubMessage::Replied { id: request, ask_id: id, to });
            }
            Phase::Answered { request: (conn, request), .. } => self.refuse(conn, request, ErrorCode::UnknownAsk),
            _ => self.tell(asked, HubMessage::Closed { ask_id: id }),
        }
    }

    pub(super) fn forget(&mut self, now: Instant, tag: PeerTag) {
        for ask in self.asks.clone() {
            if ask.asked == tag && matches!(ask.phase, Phase::Open { .. }) {
                self.end(now, ask.id, Phase::Gone);
            }
        }
        for ask in self.asks.clone().into_iter().filter(|ask| ask.asker == tag) {
            self.end(now, ask.id, Phase::Withdrawn);
        }
        self.clients.retain(|client| client.key.tag() != tag);
    }
}
