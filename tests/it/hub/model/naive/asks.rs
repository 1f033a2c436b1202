//! What the model knows of asks: how they open, what becomes of them, how they end.

use std::time::{Duration, Instant};

use relay::hub::ConnId;
use relay::protocol::{
    self, Accepted, Activity, Answer, AskId, AskState, Asked, Broadcast, BroadcastAccepted, BroadcastAsk, BroadcastId,
    BroadcastRefusal, ClientTag, Closed, ErrorCode, Event, Failed, OpenAsks, OwnAsk, PeerName, Progress, Replied,
    Reply, ReplyEvent, Request, RequestId, Wake,
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

/// Returns whether the session that is asked may be coming back.
fn may_come(ask: &protocol::Ask) -> bool {
    ask.bound.is_some() || ask.to.contains('+') || PeerName::parse(&ask.to).is_ok()
}

impl Naive {
    pub(super) fn taken(&mut self, now: Instant, tag: ClientTag, id: AskId, asked: ClientTag) {
        match self.ask(id).map(|ask| ask.asker) {
            Some(asker) if asker == tag => self.end(now, id, Phase::Replied),
            Some(_) => {}
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

    pub(super) fn withdraw(&mut self, now: Instant, tag: ClientTag, id: AskId) {
        if self.ask(id).is_some_and(|ask| ask.asker == tag) {
            self.end(now, id, Phase::Withdrawn);
        }
        let own = |w: &Waiting| w.tag == tag && matches!(&w.request, Request::Ask(ask) if ask.ask_id == id);
        for waiting in self.take_waiting(own) {
            self.refuse(waiting.conn, waiting.id, ErrorCode::UnknownAsk);
        }
    }

    pub(super) fn retry_replies(&mut self, now: Instant, id: AskId) {
        let ready = self.take_waiting(|w| matches!(&w.request, Request::Reply(reply) if reply.ask_id == id));
        self.retry(now, ready);
    }

    pub(super) fn open_of(&self, tag: ClientTag) -> OpenAsks {
        let open = || self.asks.iter().filter(|ask| ask.ended_at.is_none());
        let sent = open().filter(|ask| ask.asker == tag).count() as u64;
        OpenAsks { sent, received: open().filter(|ask| ask.asked == tag).count() as u64 }
    }

    pub(super) fn handle_ask(&mut self, now: Instant, conn: ConnId, tag: ClientTag, id: RequestId, ask: protocol::Ask) {
        if let Err(code) = check(&ask.question, ask.timeout_ms) {
            return self.refuse(conn, id, code);
        }
        if let Some(known) = self.ask(ask.ask_id).cloned() {
            return match known.phase {
                _ if known.asker != tag => self.refuse(conn, id, ErrorCode::BadArgs),
                Phase::Replied | Phase::Withdrawn => self.refuse(conn, id, ErrorCode::UnknownAsk),
                _ => {
                    self.accept(conn, id, &ask, known.asked, known.state);
                    self.tell_end(ask.ask_id, None);
                }
            };
        }
        let asked = self.find_asked(&ask);
        match asked {
            Some(asked) if asked == tag => self.refuse(conn, id, ErrorCode::BadArgs),
            Some(asked) => {
                let said_again = self.settling && ask.bound.is_some();
                let (until, question) = (now + Duration::from_millis(ask.timeout_ms), ask.question.clone());
                match self.open(now, (ask.ask_id, tag, asked), question, until, ask.broadcast_id, said_again) {
                    Ok(state) => {
                        self.accept(conn, id, &ask, asked, state);
                        self.retry_replies(now, ask.ask_id);
                    }
                    Err(code) => self.refuse(conn, id, code),
                }
            }
            None if self.settling && may_come(&ask) => {
                self.waiting.push(Waiting { tag, conn, id, since: now, request: Request::Ask(ask) });
            }
            None if ask.bound.is_some() => self.refuse(conn, id, ErrorCode::PeerGone),
            None => self.refuse(conn, id, ErrorCode::PeerNotFound),
        }
    }

    /// Of what has other characters in it, only a folder's name is an address.
    pub(super) fn find_asked(&mut self, ask: &protocol::Ask) -> Option<ClientTag> {
        match ask.bound {
            Some(bound) => self.name(bound).map(|_| bound),
            None if ask.to.contains('+') => {
                let ends = format!("/{}", ask.to);
                let mut there = self.clients.iter().filter(|client| client.cwd().ends_with(&ends));
                there.next().filter(|_| there.next().is_none()).map(|client| client.tag)
            }
            None => self.find(&PeerName::parse(&ask.to).ok()?),
        }
    }

    fn accept(&mut self, conn: ConnId, id: RequestId, ask: &protocol::Ask, tag: ClientTag, state: AskState) {
        let to = self.name(tag).unwrap_or_else(|| PeerName::of_folder(&ask.to));
        let presence = self.client(tag).and_then(|client| client.facts.clone()).map(|facts| facts.presence);
        let cwd = presence.as_ref().map_or(String::new(), |presence| presence.cwd.clone());
        let status = presence.as_ref().map_or(Activity::Unknown, |presence| presence.status);
        let waiting_for = presence.and_then(|presence| presence.waiting_for);
        let accepted = Accepted { ask_id: ask.ask_id, to, tag, state, cwd, status, waiting_for };
        self.answer(conn, id, Answer::Accepted(accepted));
    }

    /// Returns what a client that is back is told of its own open asks.
    pub(super) fn own(&mut self, now: Instant, tag: ClientTag) -> Vec<OwnAsk> {
        let open: Vec<Ask> =
            self.asks.iter().filter(|ask| ask.asker == tag && ask.ended_at.is_none()).cloned().collect();
        let mut own = vec![];
        for ask in open {
            if let Some(to) = self.name(ask.asked) {
                let timeout_ms = ask.deadline.saturating_duration_since(now).as_millis() as u64;
                let (ask_id, tag, state, broadcast_id) = (ask.id, ask.asked, ask.state, ask.broadcast);
                own.push(OwnAsk { ask_id, to, tag, state, timeout_ms, broadcast_id });
            }
        }
        own
    }

    fn open(
        &mut self,
        now: Instant,
        (id, asker, asked): (AskId, ClientTag, ClientTag),
        question: String,
        deadline: Instant,
        broadcast: Option<BroadcastId>,
        said_again: bool,
    ) -> Result<AskState, ErrorCode> {
        if !said_again && self.open_of(asker).sent >= self.max_open {
            return Err(ErrorCode::RateLimited);
        }
        if !said_again && self.open_of(asked).received >= self.max_open {
            return Err(ErrorCode::PeerBusy);
        }
        let reported = self.reported.iter().position(|(tag, ask, ..)| *tag == asked && *ask == id);
        let claim = reported.map(|at| self.reported.remove(at).2);
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
            let event = Asked { ask_id: id, from, question, timeout_ms, broadcast_id };
            self.tell(ask.asked, Event::Asked(event));
        }
    }

    pub(super) fn tell_end(&mut self, id: AskId, waiting_for: Option<String>) {
        let Ask { asker, asked, state, phase, .. } = self.ask(id).unwrap().clone();
        let failed = |code| Event::Failed(Failed { ask_id: id, code, state, waiting_for: waiting_for.clone() });
        match phase {
            Phase::Answered { text, from, .. } => {
                self.tell(asker, Event::Reply(ReplyEvent { ask_id: id, from, by: asked, text }));
            }
            Phase::TimedOut => self.tell(asker, failed(ErrorCode::Timeout)),
            Phase::Gone => self.tell(asker, failed(ErrorCode::PeerGone)),
            Phase::Open { .. } | Phase::Replied | Phase::Withdrawn => {}
        }
    }

    pub(super) fn handle_broadcast(
        &mut self,
        now: Instant,
        conn: ConnId,
        tag: ClientTag,
        id: RequestId,
        broadcast: Broadcast,
    ) {
        let Broadcast { broadcast_id, ref question, timeout_ms } = broadcast;
        if let Err(code) = check(question, timeout_ms) {
            return self.refuse(conn, id, code);
        }
        if self.settling {
            let request = Request::Broadcast(broadcast);
            return self.waiting.push(Waiting { tag, conn, id, since: now, request });
        }
        let all = self.clients.iter().filter(|client| client.tag != tag);
        let mut all: Vec<_> = all.filter_map(|client| Some((client.name.clone()?, client.tag))).collect();
        all.sort();
        let (mut asks, mut refused, mut known) = (vec![], vec![], vec![]);
        for (to, asked) in all {
            let ask_id = AskId::of_broadcast(broadcast_id, asked);
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
        let accepted = BroadcastAccepted { broadcast_id, asks, refused };
        self.answer(conn, id, Answer::BroadcastAccepted(accepted));
        known.into_iter().for_each(|id| self.tell_end(id, None));
    }

    pub(super) fn reply(&mut self, now: Instant, conn: ConnId, tag: ClientTag, id: RequestId, reply: Reply) {
        let ask_id = reply.ask_id;
        let Some(from) = self.name(tag) else { return self.refuse(conn, id, ErrorCode::NotRegistered) };
        if let Err(code) = check(&reply.text, 1) {
            return self.refuse(conn, id, code);
        }
        let Some(ask) = self.ask(ask_id) else {
            if self.settling {
                return self.waiting.push(Waiting { tag, conn, id, since: now, request: Request::Reply(reply) });
            }
            return self.refuse(conn, id, ErrorCode::UnknownAsk);
        };
        match ask.phase.clone() {
            _ if ask.asked != tag => self.refuse(conn, id, ErrorCode::UnknownAsk),
            Phase::Open { .. } => {
                ask.state = AskState::Shown;
                ask.phase = Phase::Answered { text: reply.text, from, request: (conn, id) };
                self.tell_end(ask_id, None);
            }
            Phase::Answered { request, .. } if request.0 == conn => self.refuse(conn, id, ErrorCode::UnknownAsk),
            Phase::Answered { text, .. } => ask.phase = Phase::Answered { text, from, request: (conn, id) },
            Phase::Replied => {
                let asker = ask.asker;
                let to = self.sender(asker).unwrap_or_else(|| "a session that has ended".to_owned());
                self.answer(conn, id, Answer::Replied(Replied { ask_id, to }));
            }
            Phase::TimedOut | Phase::Gone | Phase::Withdrawn => self.refuse(conn, id, ErrorCode::UnknownAsk),
        }
    }

    pub(super) fn progress(&mut self, tag: ClientTag, progress: Progress) {
        let Progress { ask_id, state } = progress;
        let (settling, most) = (self.settling, self.max_open as usize * 32);
        match self.ask(ask_id) {
            Some(ask) if ask.asked == tag && ask.ended_at.is_none() => {
                ask.state = ask.state.max(state);
                if let Phase::Open { its_client_has_it } = &mut ask.phase {
                    *its_client_has_it = true;
                }
            }
            None if settling => match self.reported.iter().position(|(peer, ask, _)| *peer == tag && *ask == ask_id) {
                Some(old) => self.reported[old] = (tag, ask_id, state),
                None if self.reported.len() < most => self.reported.push((tag, ask_id, state)),
                None => {}
            },
            Some(_) | None => self.tell(tag, Event::Closed(Closed { ask_id })),
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
        let presence = self.client(asked).and_then(|client| client.facts.clone()).map(|facts| facts.presence);
        let waits = presence.filter(|_| how == Phase::TimedOut).and_then(|presence| presence.waiting_for);
        self.tell_end(id, waits);
        match before {
            Phase::Answered { request: (conn, request), .. } if how == Phase::Replied => {
                let to = self.sender(asker).unwrap_or_else(|| "a session that has ended".to_owned());
                self.answer(conn, request, Answer::Replied(Replied { ask_id: id, to }));
            }
            Phase::Answered { request: (conn, request), .. } => self.refuse(conn, request, ErrorCode::UnknownAsk),
            _ => self.tell(asked, Event::Closed(Closed { ask_id: id })),
        }
    }

    pub(super) fn forget(&mut self, now: Instant, tag: ClientTag) {
        for ask in self.asks.clone() {
            if ask.asked == tag && matches!(ask.phase, Phase::Open { .. }) {
                self.end(now, ask.id, Phase::Gone);
            }
        }
        for ask in self.asks.clone().into_iter().filter(|ask| ask.asker == tag) {
            self.end(now, ask.id, Phase::Withdrawn);
        }
        self.clients.retain(|client| client.tag != tag);
        self.waiting.retain(|waiting| waiting.tag != tag);
    }
}
