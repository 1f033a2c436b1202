//! The hub's rules once more, stupid on purpose: lists that are searched from the start, nothing indexed, nothing saved.

use std::time::{Duration, Instant};

use relay::hub::{CloseReason, ConnId, Input};
use relay::protocol::codec::FrameError;
use relay::protocol::{
    Accepted, AskEvent, AskId, AskRequest, AskState, BroadcastAccepted, BroadcastAsk, BroadcastId, BroadcastRefusal,
    BroadcastRequest, ClientKind, ClientMessage, ErrorCode, FailedEvent, Hello, HubMessage, NameError, OpenAsks,
    PeerKey, PeerName, PeerTag, PeerView, PeersAnswer, Refusal, ReplyEvent, ReplyRequest, RequestId, SessionFacts,
    VERSIONS, Wake, Welcome,
};

/// What comes out: a message, or the end of a connection.
pub(crate) type Out = (ConnId, Result<HubMessage, CloseReason>);

const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Client {
    key: PeerKey,
    conn: Option<ConnId>,
    lost: Vec<ConnId>,
    gone_at: Option<Instant>,
    name: Option<PeerName>,
    chosen: bool,
    facts: Option<SessionFacts>,
    since: Instant,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Open { shown_to_route: bool },
    Answered { text: String, from: PeerName, request: (ConnId, RequestId) },
    Replied,
    TimedOut,
    Gone,
    Withdrawn,
}

#[derive(Debug, Clone)]
struct Ask {
    id: AskId,
    asker: PeerTag,
    asked: PeerTag,
    question: String,
    broadcast: Option<BroadcastId>,
    state: AskState,
    deadline: Instant,
    phase: Phase,
    ended_at: Option<Instant>,
}

#[derive(Debug, Clone)]
struct Waiting {
    tag: PeerTag,
    conn: ConnId,
    since: Instant,
    message: ClientMessage,
}

/// The model.
#[derive(Debug)]
pub(crate) struct Naive {
    max_open: u64,
    max_connections: usize,
    settled_at: Instant,
    settling: bool,
    /// Open connections, whose they are, and until when a hello is waited for.
    conns: Vec<(ConnId, Option<PeerTag>, Instant)>,
    clients: Vec<Client>,
    asks: Vec<Ask>,
    waiting: Vec<Waiting>,
    claims: Vec<(PeerTag, AskId, AskState)>,
    pub(crate) out: Vec<Out>,
}

fn error(code: ErrorCode) -> Refusal {
    Refusal::new(code, "", "")
}

fn check(text: &str, timeout_ms: u64) -> Result<(), ErrorCode> {
    match text.len() {
        _ if text.trim().is_empty() => Err(ErrorCode::BadArgs),
        65_537.. => Err(ErrorCode::TooLarge),
        _ if !(1..=86_400_000).contains(&timeout_ms) => Err(ErrorCode::BadArgs),
        _ => Ok(()),
    }
}

impl Naive {
    pub(crate) fn new(now: Instant, max_open: u64, max_connections: u64) -> Self {
        Self {
            max_open,
            max_connections: max_connections as usize,
            settled_at: now + 2 * SECOND,
            settling: true,
            conns: vec![],
            clients: vec![],
            asks: vec![],
            waiting: vec![],
            claims: vec![],
            out: vec![],
        }
    }

    fn client(&mut self, tag: PeerTag) -> Option<&mut Client> {
        self.clients.iter_mut().find(|client| client.key.tag() == tag)
    }

    fn name(&mut self, tag: PeerTag) -> Option<PeerName> {
        self.client(tag)?.name.clone()
    }

    fn sender(&mut self, tag: PeerTag) -> Option<String> {
        self.client(tag).map(|client| client.name.as_ref().map_or("shell".to_owned(), PeerName::to_string))
    }

    fn find(&self, name: &PeerName) -> Option<PeerTag> {
        self.clients.iter().find(|client| client.name.as_ref() == Some(name)).map(|client| client.key.tag())
    }

    fn ask(&mut self, id: AskId) -> Option<&mut Ask> {
        self.asks.iter_mut().find(|ask| ask.id == id)
    }

    fn is_open(&self, conn: ConnId) -> bool {
        self.conns.iter().any(|(open, ..)| *open == conn)
    }

    fn say(&mut self, conn: ConnId, message: HubMessage) {
        if self.is_open(conn) {
            self.out.push((conn, Ok(message)));
        }
    }

    fn tell(&mut self, tag: PeerTag, message: HubMessage) {
        if let Some(conn) = self.client(tag).and_then(|client| client.conn) {
            self.say(conn, message);
        }
    }

    fn refuse(&mut self, conn: ConnId, id: RequestId, code: ErrorCode) {
        self.say(conn, HubMessage::Error { id: Some(id), error: error(code) });
    }

    fn close(&mut self, now: Instant, conn: ConnId, reason: CloseReason) {
        if self.is_open(conn) {
            self.lose(conn, now + 2 * SECOND);
            self.out.push((conn, Err(reason)));
        }
    }

    fn lose(&mut self, conn: ConnId, until: Instant) {
        self.conns.retain(|(open, ..)| *open != conn);
        for client in self.clients.iter_mut().filter(|client| client.conn == Some(conn)) {
            client.conn = None;
            client.gone_at = Some(until);
        }
    }

    pub(crate) fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Connected { conn } => {
                self.conns.push((conn, None, now + 5 * SECOND));
                if self.conns.len() > self.max_connections {
                    self.say(conn, HubMessage::Error { id: None, error: error(ErrorCode::RateLimited) });
                    self.close(now, conn, CloseReason::TooManyConnections);
                }
            }
            Input::Malformed { conn, error: what } => {
                let too_long = matches!(what, FrameError::TooLong { .. });
                let code = if too_long { ErrorCode::TooLarge } else { ErrorCode::BadMsg };
                let id = if let FrameError::NotAMessage { id, .. } = what { id } else { None };
                self.say(conn, HubMessage::Error { id, error: error(code) });
                if !matches!(what, FrameError::NotAMessage { .. }) {
                    self.close(now, conn, CloseReason::Malformed);
                }
            }
            Input::Disconnected { conn } => {
                let owner = self.conns.iter().find(|(open, ..)| *open == conn).and_then(|(_, tag, _)| *tag);
                let settled = if self.settling { self.settled_at } else { now };
                self.lose(conn, settled.max(now + 2 * SECOND));
                if let Some(client) = owner.and_then(|tag| self.client(tag)) {
                    client.lost.push(conn);
                }
            }
            Input::ProcessEnded { conn } => {
                let gone = |client: &&Client| client.conn.is_none() && client.lost.contains(&conn);
                if let Some(tag) = self.clients.iter().find(gone).map(|client| client.key.tag()) {
                    self.forget(now, tag);
                }
            }
            Input::Received { conn, message } => self.receive(now, conn, message),
        }
    }

    fn receive(&mut self, now: Instant, conn: ConnId, message: ClientMessage) {
        let Some((_, owner, _)) = self.conns.iter().find(|(open, ..)| *open == conn).copied() else { return };
        let id = match &message {
            ClientMessage::Hello(hello) => Some(hello.id),
            ClientMessage::Peers { id } | ClientMessage::Status { id } | ClientMessage::Rename { id, .. } => Some(*id),
            ClientMessage::Ask(ask) => Some(ask.id),
            ClientMessage::Broadcast(broadcast) => Some(broadcast.id),
            ClientMessage::Reply(reply) => Some(reply.id),
            _ => None,
        };
        let Some(tag) = owner else {
            return match message {
                ClientMessage::Hello(hello) => self.hello(now, conn, *hello),
                ClientMessage::Bye {} => self.close(now, conn, CloseReason::Bye),
                _ => self.say(conn, HubMessage::Error { id, error: error(ErrorCode::NotRegistered) }),
            };
        };
        match message {
            ClientMessage::Hello(hello) => self.refuse(conn, hello.id, ErrorCode::AlreadyRegistered),
            ClientMessage::Peers { id } => self.list(now, conn, tag, id),
            ClientMessage::Ask(ask) => self.handle_ask(now, conn, tag, ask),
            ClientMessage::Broadcast(broadcast) => self.handle_broadcast(now, conn, tag, broadcast),
            ClientMessage::Reply(reply) => self.reply(now, conn, tag, reply),
            ClientMessage::Rename { id, name } => match (self.name(tag), PeerName::parse(&name)) {
                (None, _) => self.refuse(conn, id, ErrorCode::NotRegistered),
                (_, Err(NameError::Empty | NameError::Reserved)) => self.refuse(conn, id, ErrorCode::BadArgs),
                (_, Ok(name)) if self.find(&name).is_some_and(|holder| holder != tag) => {
                    self.refuse(conn, id, ErrorCode::NameTaken);
                }
                (_, Ok(name)) => {
                    let client = self.client(tag).unwrap();
                    (client.name, client.chosen) = (Some(name.clone()), true);
                    self.say(conn, HubMessage::Renamed { id: Some(id), name });
                }
            },
            ClientMessage::Progress { ask_id, state } => self.progress(tag, ask_id, state),
            ClientMessage::Taken { ask_id, by } => self.taken(now, tag, ask_id, by),
            ClientMessage::Withdraw { ask_id } => self.withdraw(now, tag, ask_id),
            ClientMessage::Presence(presence) => {
                if let Some(facts) = self.client(tag).and_then(|client| client.facts.as_mut()) {
                    facts.presence = presence;
                }
            }
            ClientMessage::Bye {} => {
                self.close(now, conn, CloseReason::Bye);
                self.forget(now, tag);
            }
            // What the model's clients do not say.
            _ => {}
        }
    }

    fn taken(&mut self, now: Instant, tag: PeerTag, id: AskId, asked: PeerTag) {
        match self.ask(id).map(|ask| ask.asker) {
            Some(asker) if asker == tag => self.end(now, id, Phase::Replied),
            Some(_) => {}
            None => {
                let (question, state, phase) = (String::new(), AskState::Shown, Phase::Replied);
                let (deadline, ended_at) = (now, Some(now));
                self.asks.push(Ask {
                    id,
                    asker: tag,
                    asked,
                    question,
                    broadcast: None,
                    state,
                    deadline,
                    phase,
                    ended_at,
                });
                self.retry_replies(now, id);
            }
        }
    }

    fn withdraw(&mut self, now: Instant, tag: PeerTag, id: AskId) {
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

    fn hello(&mut self, now: Instant, conn: ConnId, hello: Hello) {
        if VERSIONS.common(hello.versions).is_none() {
            self.refuse(conn, hello.id, ErrorCode::ProtocolMismatch);
            return self.close(now, conn, CloseReason::ProtocolMismatch);
        }
        let (tag, settling) = (hello.key.tag(), self.settling);
        let facts = if let ClientKind::Channel(facts) = hello.kind { Some(facts) } else { None };
        let known = self.client(tag).is_some();
        let mut displaced = None;
        if known {
            let client = self.client(tag).unwrap();
            let old = client.conn.take();
            client.facts = facts;
            client.gone_at = None;
            client.lost.clear();
            if let Some(old) = old {
                self.conns.retain(|(open, ..)| *open != old);
                self.out.push((old, Err(CloseReason::Superseded)));
            }
        } else {
            let wanted =
                facts.as_ref().map(|facts| facts.name.clone().unwrap_or_else(|| PeerName::of_folder(&facts.cwd)));
            let chosen = facts.as_ref().is_some_and(|facts| facts.name.is_some());
            let holder = wanted.as_ref().and_then(|name| self.find(name));
            if let Some(holder) = holder.filter(|_| chosen && settling)
                && !self.client(holder).unwrap().chosen
            {
                let other = self.free(wanted.clone().unwrap());
                self.client(holder).unwrap().name = Some(other.clone());
                displaced = Some((holder, other));
            }
            let name = wanted.map(|wanted| self.free(wanted));
            let (conn, lost, gone_at, key) = (None, vec![], None, hello.key);
            self.clients.push(Client { key, conn, lost, gone_at, name, chosen, facts, since: now });
        }
        self.client(tag).unwrap().conn = Some(conn);
        self.conns.iter_mut().filter(|(open, ..)| *open == conn).for_each(|(_, owner, _)| *owner = Some(tag));
        let name = self.name(tag);
        self.say(
            conn,
            HubMessage::Welcome(Welcome { id: hello.id, version: 1, name: name.clone(), hub: "m".into(), settling }),
        );
        if let Some((holder, name)) = displaced {
            self.tell(holder, HubMessage::Renamed { id: None, name });
        }
        if known {
            for ask in self.asks.clone() {
                if ask.asked == tag {
                    self.send_question(now, ask.id);
                }
            }
            for ask in self.asks.clone().into_iter().filter(|ask| ask.asker == tag) {
                if matches!(ask.phase, Phase::Answered { .. }) {
                    self.tell_end(ask.id);
                }
            }
        }
        if settling && name.is_some() {
            let for_it = |waiting: &Waiting| match &waiting.message {
                ClientMessage::Ask(AskRequest { bound: Some(bound), .. }) => *bound == tag,
                ClientMessage::Ask(ask) => PeerName::parse(&ask.to).ok() == name,
                _ => false,
            };
            let ready = self.take_waiting(for_it);
            self.retry(now, ready);
        }
    }

    fn free(&self, wanted: PeerName) -> PeerName {
        let mut all = std::iter::once(wanted.clone()).chain((2..).map(|n| wanted.with_suffix(n)));
        all.find(|name| self.find(name).is_none()).unwrap()
    }

    fn take_waiting(&mut self, ready: impl Fn(&Waiting) -> bool) -> Vec<Waiting> {
        let (taken, left) = self.waiting.drain(..).partition(ready);
        self.waiting = left;
        taken
    }

    fn retry(&mut self, now: Instant, ready: Vec<Waiting>) {
        for Waiting { tag, conn, since, mut message } in ready {
            let waited = (now - since).as_millis() as u64;
            if let ClientMessage::Ask(AskRequest { timeout_ms, .. }) = &mut message {
                *timeout_ms = timeout_ms.saturating_sub(waited).max(1);
            }
            if self.client(tag).is_some_and(|client| client.conn == Some(conn)) {
                self.receive(now, conn, message);
            }
        }
    }

    fn retry_replies(&mut self, now: Instant, id: AskId) {
        let ready = self.take_waiting(|w| matches!(&w.message, ClientMessage::Reply(reply) if reply.ask_id == id));
        self.retry(now, ready);
    }

    fn list(&mut self, now: Instant, conn: ConnId, tag: PeerTag, id: RequestId) {
        let mut peers = vec![];
        for client in &self.clients {
            if let (Some(name), Some(facts)) = (client.name.clone(), client.facts.clone())
                && client.key.tag() != tag
            {
                peers.push(PeerView {
                    name,
                    cwd: facts.cwd,
                    branch: facts.branch,
                    pid: facts.pid,
                    client: facts.client,
                    presence: facts.presence,
                    connected_s: (now - client.since).as_secs(),
                    open_asks: self.open_of(client.key.tag()),
                });
            }
        }
        peers.sort_by(|a, b| a.name.cmp(&b.name));
        let you = self.name(tag);
        self.say(conn, HubMessage::Peers(PeersAnswer { id, you, peers, settling: self.settling }));
    }

    fn open_of(&self, tag: PeerTag) -> OpenAsks {
        let open = || self.asks.iter().filter(|ask| ask.ended_at.is_none());
        let sent = open().filter(|ask| ask.asker == tag).count() as u64;
        OpenAsks { sent, received: open().filter(|ask| ask.asked == tag).count() as u64 }
    }

    fn handle_ask(&mut self, now: Instant, conn: ConnId, tag: PeerTag, ask: AskRequest) {
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
                let (until, question) = (now + Duration::from_millis(ask.timeout_ms), ask.question.clone());
                match self.open(now, (ask.ask_id, tag, asked), question, until, ask.broadcast_id) {
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

    fn open(
        &mut self,
        now: Instant,
        (id, asker, asked): (AskId, PeerTag, PeerTag),
        question: String,
        deadline: Instant,
        broadcast: Option<BroadcastId>,
    ) -> Result<AskState, ErrorCode> {
        if self.open_of(asker).sent >= self.max_open {
            return Err(ErrorCode::RateLimited);
        }
        if self.open_of(asked).received >= self.max_open {
            return Err(ErrorCode::PeerBusy);
        }
        let claimed = self.claims.iter().position(|(tag, ask, _)| *tag == asked && *ask == id);
        let claim = claimed.map(|at| self.claims.remove(at).2);
        let wakes = self.client(asked).and_then(|client| client.facts.as_ref()).map(|facts| facts.presence.wakes_by);
        let first = if wakes == Some(Wake::NextPrompt) { AskState::Held } else { AskState::Accepted };
        let state = claim.unwrap_or(first);
        let phase = Phase::Open { shown_to_route: state >= AskState::HandedOver };
        self.asks.push(Ask { id, asker, asked, question, broadcast, state, deadline, phase, ended_at: None });
        if claim.is_none() {
            self.send_question(now, id);
        }
        Ok(state)
    }

    fn send_question(&mut self, now: Instant, id: AskId) {
        let ask = self.ask(id).unwrap().clone();
        if ask.phase == (Phase::Open { shown_to_route: false })
            && let Some(from) = self.sender(ask.asker)
        {
            let timeout_ms = (ask.deadline.saturating_duration_since(now)).as_millis() as u64;
            let (question, broadcast_id) = (ask.question, ask.broadcast);
            self.tell(ask.asked, HubMessage::Ask(AskEvent { ask_id: id, from, question, timeout_ms, broadcast_id }));
        }
    }

    fn tell_end(&mut self, id: AskId) {
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

    fn handle_broadcast(&mut self, now: Instant, conn: ConnId, tag: PeerTag, broadcast: BroadcastRequest) {
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
            let opened = match self.ask(ask_id).map(|ask| ask.state) {
                Some(state) => {
                    known.push(ask_id);
                    Ok(state)
                }
                None => {
                    let until = now + Duration::from_millis(timeout_ms);
                    self.open(now, (ask_id, tag, asked), question.clone(), until, Some(broadcast_id))
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

    fn reply(&mut self, now: Instant, conn: ConnId, tag: PeerTag, reply: ReplyRequest) {
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

    fn progress(&mut self, tag: PeerTag, ask_id: AskId, state: AskState) {
        let settling = self.settling;
        match self.ask(ask_id) {
            Some(ask) if ask.asked == tag && ask.ended_at.is_none() => {
                ask.state = ask.state.max(state);
                if let Phase::Open { shown_to_route } = &mut ask.phase {
                    *shown_to_route = ask.state >= AskState::HandedOver;
                }
            }
            None if settling => {
                let old = self.claims.iter().position(|(peer, ask, _)| *peer == tag && *ask == ask_id);
                let own = self.claims.iter().filter(|(peer, ..)| *peer == tag).count() as u64;
                match old {
                    Some(old) => self.claims[old].2 = state,
                    None if own < self.max_open => self.claims.push((tag, ask_id, state)),
                    None => {}
                }
            }
            Some(_) | None => self.tell(tag, HubMessage::Closed { ask_id }),
        }
    }

    fn end(&mut self, now: Instant, id: AskId, how: Phase) {
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

    fn forget(&mut self, now: Instant, tag: PeerTag) {
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

    /// Returns when an open ask is over for the hub: an answered one gives its asker two seconds more.
    fn over_at(ask: &Ask) -> Instant {
        let answered = matches!(ask.phase, Phase::Answered { .. });
        if answered { ask.deadline + 2 * SECOND } else { ask.deadline }
    }

    /// Returns when something is to be said next, if nothing happens before.
    pub(crate) fn due(&self) -> Option<Instant> {
        let settled = self.settling.then_some(self.settled_at);
        let hellos = self.conns.iter().filter(|(_, owner, _)| owner.is_none()).map(|(.., until)| *until);
        let asks = self.asks.iter().filter(|ask| ask.ended_at.is_none()).map(Self::over_at);
        let gone = self.clients.iter().filter_map(|client| client.gone_at);
        settled.into_iter().chain(hellos).chain(asks).chain(gone).min()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.settling && self.settled_at <= now {
            self.settling = false;
            let (replies, others) = self.waiting.drain(..).partition(|w| matches!(w.message, ClientMessage::Reply(_)));
            self.retry(now, others);
            self.retry(now, replies);
            self.claims.sort();
            for (tag, ask_id, _) in std::mem::take(&mut self.claims) {
                self.tell(tag, HubMessage::Closed { ask_id });
            }
        }
        for (conn, owner, until) in self.conns.clone() {
            if owner.is_none() && until <= now {
                self.close(now, conn, CloseReason::NoHello);
            }
        }
        let mut over: Vec<_> = self.asks.iter().map(|ask| (ask.deadline, ask.id, Self::over_at(ask))).collect();
        over.sort();
        for (_, id, _) in over.into_iter().filter(|(.., at)| *at <= now) {
            self.end(now, id, Phase::TimedOut);
        }
        self.asks.retain(|ask| ask.ended_at.is_none_or(|at| at.max(ask.deadline) + 60 * SECOND > now));
        let mut gone: Vec<_> = self.clients.iter().map(|client| (client.gone_at, client.key.tag())).collect();
        gone.sort();
        for (_, tag) in gone.into_iter().filter(|(at, _)| at.is_some_and(|at| at <= now)) {
            self.forget(now, tag);
        }
    }
}
