//! The hub's rules once more, stupid on purpose: lists that are searched from the start, nothing indexed, nothing saved.

mod asks;

use std::time::{Duration, Instant};

use relay::hub::{CloseReason, ConnId, Input};
use relay::protocol::codec::FrameError;
use relay::protocol::{
    AskId, AskRequest, AskState, BroadcastId, ClientKind, ClientMessage, ErrorCode, Hello, HubMessage, NameError,
    PeerKey, PeerName, PeerTag, PeerView, PeersAnswer, Refusal, RequestId, SessionFacts, VERSIONS, Welcome,
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
    Open { its_client_has_it: bool },
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
    /// When it is over for the hub.
    over_at: Instant,
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
    claims: Vec<(PeerTag, AskId, AskState, Option<PeerTag>)>,
    pub(crate) out: Vec<Out>,
}

fn error(code: ErrorCode) -> Refusal {
    Refusal::new(code, "", "")
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
            // It knows of no companions.
            Input::Looked { .. } => {}
            Input::Connected { conn } => {
                self.conns.push((conn, None, now + 5 * SECOND));
                if self.conns.len() > self.max_connections {
                    self.say(conn, HubMessage::Error { id: None, error: error(ErrorCode::RateLimited) });
                    self.close(now, conn, CloseReason::TooManyConnections);
                }
            }
            // Only of sessions with seats, which the model's are not.
            Input::ClientEnded { .. } => {}
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
            // The model's connections take everything.
            Input::Congested { .. } | Input::Drained { .. } => {}
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
            ClientMessage::Progress { ask_id, state, asker } => self.progress(now, tag, ask_id, state, asker),
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

    fn hello(&mut self, now: Instant, conn: ConnId, hello: Hello) {
        let Some(version) = VERSIONS.common(hello.versions) else {
            self.refuse(conn, hello.id, ErrorCode::ProtocolMismatch);
            return self.close(now, conn, CloseReason::ProtocolMismatch);
        };
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
        let (id, hub, place) = (hello.id, "m".into(), None);
        self.say(conn, HubMessage::Welcome(Welcome { id, version, name: name.clone(), hub, settling, place }));
        if let Some((holder, name)) = displaced {
            self.tell(holder, HubMessage::Renamed { id: None, name });
        }
        if known {
            for ask in self.asks.clone() {
                if ask.asked == tag {
                    self.send_question(now, ask.id);
                } else if ask.asker == tag && matches!(ask.phase, Phase::Answered { .. }) {
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
            let Some(client) = self.client(tag) else { continue };
            match message {
                message if client.conn == Some(conn) => self.receive(now, conn, message),
                ClientMessage::Ask(ask) if ask.bound.is_some() => self.handle_ask(now, conn, tag, ask),
                _ => {}
            }
        }
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

    /// Returns when something is to be said next, if nothing happens before.
    pub(crate) fn due(&self) -> Option<Instant> {
        let settled = self.settling.then_some(self.settled_at);
        let hellos = self.conns.iter().filter(|(_, owner, _)| owner.is_none()).map(|(.., until)| *until);
        let asks = self.asks.iter().filter(|ask| ask.ended_at.is_none()).map(|ask| ask.over_at);
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
            for (tag, ask_id, ..) in std::mem::take(&mut self.claims) {
                self.tell(tag, HubMessage::Closed { ask_id });
            }
        }
        for (conn, owner, until) in self.conns.clone() {
            if owner.is_none() && until <= now {
                self.close(now, conn, CloseReason::NoHello);
            }
        }
        let mut over: Vec<_> = self.asks.iter().map(|ask| (ask.over_at, ask.id)).collect();
        over.sort();
        for (_, id) in over.into_iter().filter(|(at, _)| *at <= now) {
            // An answered one gives its asker two seconds more.
            match self.ask(id).unwrap() {
                ask if matches!(ask.phase, Phase::Answered { .. }) && ask.over_at == ask.deadline => {
                    ask.over_at = now + 2 * SECOND;
                }
                _ => self.end(now, id, Phase::TimedOut),
            }
        }
        self.asks.retain(|ask| ask.ended_at.is_none_or(|at| at.max(ask.deadline) + 60 * SECOND > now));
        let mut gone: Vec<_> = self.clients.iter().map(|client| (client.gone_at, client.key.tag())).collect();
        gone.sort();
        for (_, tag) in gone.into_iter().filter(|(at, _)| at.is_some_and(|at| at <= now)) {
            self.forget(now, tag);
        }
    }
}
