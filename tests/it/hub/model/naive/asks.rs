//! What the model knows of asks: how they open, what becomes of them, how they end.

use std::time::{Duration, Instant};

use relay::hub::ConnId;
use relay::protocol::{
    self, Accepted, Activity, Answer, AskId, AskKind, AskState, Asked, Audience, AudienceView, Broadcast,
    BroadcastAccepted, BroadcastAsk, BroadcastId, BroadcastRefusal, Chain, ClientTag, Closed, ErrorCode, Event, Failed,
    OpenAsks, OwnAsk, PeerName, Progress, Receipt, Replied, Reply, ReplyEvent, Request, RequestId, Told, Wake,
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

fn check_audience(audience: &Audience) -> Result<(), ErrorCode> {
    let is_wrong = audience.folder.as_ref().is_some_and(|folder| !folder.starts_with('/'));
    if is_wrong { Err(ErrorCode::BadArgs) } else { Ok(()) }
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
                    kind: AskKind::Ask,
                    asker: tag,
                    asked,
                    question,
                    broadcast: None,
                    state,
                    is_final: false,
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
        let is_it = |request: &Request| match request {
            Request::Ask(ask) => ask.ask_id == id,
            Request::Tell(tell) => tell.tell_id == id,
            _ => false,
        };
        let own = |w: &Waiting| w.tag == tag && is_it(&w.request);
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

    pub(super) fn handle_ask(
        &mut self,
        now: Instant,
        conn: ConnId,
        tag: ClientTag,
        id: RequestId,
        kind: AskKind,
        ask: protocol::Ask,
    ) {
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
                match self.open(now, kind, (ask.ask_id, tag, asked), question, until, ask.broadcast_id, said_again) {
                    Ok(state) => {
                        self.accept(conn, id, &ask, asked, state);
                        self.retry_replies(now, ask.ask_id);
                        self.end_if_arrived(now, ask.ask_id);
                    }
                    Err(code) => self.refuse(conn, id, code),
                }
            }
            None if self.settling && may_come(&ask) => {
                let request = match kind {
                    AskKind::Ask => Request::Ask(ask),
                    AskKind::Tell => Request::Tell(protocol::Tell {
                        tell_id: ask.ask_id,
                        to: ask.to,
                        text: ask.question,
                        timeout_ms: ask.timeout_ms,
                        bound: ask.bound,
                        chain: Chain::default(),
                    }),
                };
                self.waiting.push(Waiting { tag, conn, id, since: now, request });
            }
            None if ask.bound.is_some() => self.refuse(conn, id, ErrorCode::PeerGone),
            None => self.refuse(conn, id, ErrorCode::PeerNotFound),
        }
    }

    /// Of what has other characters in it, only a folder's name is an address.
    pub(super) fn find_asked(&mut self, ask: &protocol::Ask) -> Option<ClientTag> {
        match ask.bound {
            Some(bound) => self.name(bound).map(|_| bound),
            None => self.find_address(&ask.to),
        }
    }

    fn find_address(&self, to: &str) -> Option<ClientTag> {
        if to.contains('+') {
            let ends = format!("/{to}");
            let mut there = self.clients.iter().filter(|client| client.cwd().ends_with(&ends));
            return there.next().filter(|_| there.next().is_none()).map(|client| client.tag);
        }
        self.find(&PeerName::parse(to).ok()?)
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
                let (ask_id, tag, state, broadcast_id, kind) = (ask.id, ask.asked, ask.state, ask.broadcast, ask.kind);
                own.push(OwnAsk { ask_id, to, tag, state, timeout_ms, broadcast_id, kind });
            }
        }
        own
    }

    #[expect(clippy::too_many_arguments, reason = "what an ask consists of")]
    fn open(
        &mut self,
        now: Instant,
        kind: AskKind,
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
        let reported = self.reported.iter().position(|(tag, p)| *tag == asked && p.ask_id == id);
        let claim = reported.map(|at| self.reported.remove(at).1);
        let wakes = self.client(asked).and_then(|client| client.facts.as_ref()).map(|facts| facts.presence.wakes_by);
        let first = if wakes == Some(Wake::NextPrompt) { AskState::Held } else { AskState::Accepted };
        let state = claim.map_or(first, |claim| claim.state);
        let is_final = claim.is_some_and(|claim| claim.is_final);
        let phase = Phase::Open { its_client_has_it: claim.is_some() };
        let (over_at, ended_at) = (deadline, None);
        self.asks.push(Ask {
            id,
            kind,
            asker,
            asked,
            question,
            broadcast,
            state,
            is_final,
            deadline,
            over_at,
            phase,
            ended_at,
        });
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
            let event = match ask.kind {
                AskKind::Ask => Event::Asked(Asked {
                    ask_id: id,
                    from,
                    question,
                    timeout_ms,
                    broadcast_id,
                    from_tag: None,
                    chain: Chain::default(),
                }),
                AskKind::Tell => Event::Told(Told {
                    tell_id: id,
                    from,
                    text: question,
                    timeout_ms,
                    from_tag: None,
                    chain: Chain::default(),
                }),
            };
            self.tell(ask.asked, event);
        }
    }

    pub(super) fn tell_end(&mut self, id: AskId, waiting_for: Option<String>) {
        let Ask { asker, asked, state, phase, .. } = self.ask(id).unwrap().clone();
        let failed = |code| {
            Event::Failed(Failed { ask_id: id, code, state, waiting_for: waiting_for.clone(), unreachable_s: None })
        };
        match phase {
            Phase::Answered { text, from, .. } => {
                self.tell(asker, Event::Reply(ReplyEvent { ask_id: id, from, by: asked, text }));
            }
            Phase::TimedOut => self.tell(asker, failed(ErrorCode::Timeout)),
            Phase::Gone => self.tell(asker, failed(ErrorCode::PeerGone)),
            Phase::Arrived => self.tell(asker, Event::Receipt(Receipt { ask_id: id, state })),
            Phase::Open { .. } | Phase::Replied | Phase::Withdrawn => {}
        }
    }

    /// A tell is over when its session has seen it, or can say no more of it.
    fn end_if_arrived(&mut self, now: Instant, id: AskId) {
        let ask = self.ask(id).unwrap();
        let has_come = ask.state == AskState::Shown || ask.state == AskState::HandedOver && ask.is_final;
        if ask.kind == AskKind::Tell && has_come {
            self.end(now, id, Phase::Arrived);
        }
    }

    /// Whom a broadcast is for, by name, and which of its addresses are nobody's.
    fn audience(&mut self, tag: ClientTag, wanted: &Audience) -> (Vec<(PeerName, ClientTag)>, Vec<BroadcastRefusal>) {
        let (mut named, mut refused) = (vec![], vec![]);
        for to in wanted.to.clone().unwrap_or_default() {
            match self.find_address(&to) {
                Some(found) if found == tag => refused.push((to, ErrorCode::BadArgs)),
                Some(found) => named.push(found),
                None => refused.push((to, ErrorCode::PeerNotFound)),
            }
        }
        let mut all = vec![];
        for client in self.clients.iter().filter(|client| client.tag != tag) {
            let path: Vec<&str> = client.cwd().split('/').filter(|part| !part.is_empty()).collect();
            let is_below = wanted.folder.as_ref().is_some_and(|folder| {
                path.starts_with(&folder.split('/').filter(|part| !part.is_empty()).collect::<Vec<_>>())
            });
            if let Some(name) = client.name.clone()
                && (wanted.is_everybody() || named.contains(&client.tag) || is_below)
            {
                all.push((name, client.tag));
            }
        }
        all.sort();
        (all, refused.into_iter().map(|(to, code)| BroadcastRefusal { to, error: error(code) }).collect())
    }

    pub(super) fn list_audience(&mut self, conn: ConnId, tag: ClientTag, id: RequestId, wanted: &Audience) {
        if let Err(code) = check_audience(wanted) {
            return self.refuse(conn, id, code);
        }
        let (all, refused) = self.audience(tag, wanted);
        let names = all.into_iter().map(|(name, _)| name).collect();
        let view = AudienceView { names, refused, settling: self.settling };
        self.answer(conn, id, Answer::Audience(view));
    }

    pub(super) fn handle_broadcast(
        &mut self,
        now: Instant,
        conn: ConnId,
        tag: ClientTag,
        id: RequestId,
        broadcast: Broadcast,
    ) {
        let Broadcast { broadcast_id, ref question, timeout_ms, ref audience } = broadcast;
        if let Err(code) = check(question, timeout_ms).and_then(|()| check_audience(audience)) {
            return self.refuse(conn, id, code);
        }
        if self.settling {
            let request = Request::Broadcast(broadcast);
            return self.waiting.push(Waiting { tag, conn, id, since: now, request });
        }
        let (all, mut refused) = self.audience(tag, audience);
        let (mut asks, mut known) = (vec![], vec![]);
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
                    self.open(
                        now,
                        AskKind::Ask,
                        (ask_id, tag, asked),
                        question.clone(),
                        until,
                        Some(broadcast_id),
                        false,
                    )
                }
            };
            match opened {
                Ok(state) => asks.push(BroadcastAsk { to, ask_id, tag: asked, state }),
                Err(code) => refused.push(BroadcastRefusal { to: to.to_string(), error: error(code) }),
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
            Phase::Open { .. } if ask.kind == AskKind::Tell => self.refuse(conn, id, ErrorCode::UnknownAsk),
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
            Phase::Arrived | Phase::TimedOut | Phase::Gone | Phase::Withdrawn => {
                self.refuse(conn, id, ErrorCode::UnknownAsk);
            }
        }
    }

    pub(super) fn progress(&mut self, now: Instant, tag: ClientTag, progress: Progress) {
        let Progress { ask_id, state, is_final } = progress;
        let (settling, most) = (self.settling, self.max_open as usize * 32);
        match self.ask(ask_id) {
            Some(ask) if ask.asked == tag && ask.ended_at.is_none() => {
                ask.state = ask.state.max(state);
                ask.is_final |= is_final;
                if let Phase::Open { its_client_has_it } = &mut ask.phase {
                    *its_client_has_it = true;
                }
                self.end_if_arrived(now, ask_id);
            }
            None if settling => match self.reported.iter().position(|(peer, p)| *peer == tag && p.ask_id == ask_id) {
                Some(old) => self.reported[old] = (tag, progress),
                None if self.reported.len() < most => self.reported.push((tag, progress)),
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
