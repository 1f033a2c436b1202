//! The hub's rules once more, stupid on purpose: lists that are searched from the start, nothing indexed, nothing saved.

mod asks;

use std::time::{Duration, Instant};

use relay::hub::{CloseReason, ConnId, Input};
use relay::protocol::codec::FrameError;
use relay::protocol::{
    self, Answer, AskId, AskKind, AskState, BroadcastId, ClientKind, ClientMessage, ClientTag, Closed, ErrorCode,
    Event, Hello, HubMessage, NameError, Notice, PeerName, PeerView, Progress, Refusal, Renamed, Request, RequestId,
    SessionFacts, Tell, VERSIONS, Welcome,
};
use serde_json::Value;

/// What comes out: a message, or the end of a connection.
pub(crate) type Out = (ConnId, Result<HubMessage, CloseReason>);

const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Client {
    tag: ClientTag,
    conn: Option<ConnId>,
    lost: Vec<ConnId>,
    gone_at: Option<Instant>,
    name: Option<PeerName>,
    chosen: bool,
    facts: Option<Box<SessionFacts>>,
    parked: Option<Value>,
    since: Instant,
    status_since: Instant,
}

impl Client {
    fn set_facts(&mut self, now: Instant, facts: Option<Box<SessionFacts>>) {
        let doing = |facts: &Option<Box<SessionFacts>>| {
            facts.as_ref().map(|facts| (facts.presence.status, facts.presence.waiting_for.clone()))
        };
        if doing(&facts) != doing(&self.facts) {
            self.status_since = now;
        }
        self.facts = facts;
    }

    fn cwd(&self) -> &str {
        self.facts.as_ref().map_or("", |facts| &facts.presence.cwd)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Open { its_client_has_it: bool },
    Answered { text: String, from: PeerName, request: (ConnId, RequestId) },
    Replied,
    Arrived,
    TimedOut,
    Gone,
    Withdrawn,
}

#[derive(Debug, Clone)]
struct Ask {
    id: AskId,
    kind: AskKind,
    asker: ClientTag,
    asked: ClientTag,
    question: String,
    broadcast: Option<BroadcastId>,
    state: AskState,
    is_final: bool,
    deadline: Instant,
    /// When it is over for the hub.
    over_at: Instant,
    phase: Phase,
    ended_at: Option<Instant>,
}

#[derive(Debug, Clone)]
struct Waiting {
    tag: ClientTag,
    conn: ConnId,
    id: RequestId,
    since: Instant,
    request: Request,
}

/// The model.
#[derive(Debug)]
pub(crate) struct Naive {
    max_open: u64,
    max_connections: usize,
    start: Instant,
    settling: bool,
    /// Open connections, whose they are, and until when a hello is waited for.
    conns: Vec<(ConnId, Option<ClientTag>, Instant)>,
    clients: Vec<Client>,
    asks: Vec<Ask>,
    waiting: Vec<Waiting>,
    reported: Vec<(ClientTag, Progress)>,
    pub(crate) out: Vec<Out>,
    /// The connections whose sessions' agents are to be waited for.
    pub(crate) awaited: Vec<ConnId>,
}

fn error(code: ErrorCode) -> Refusal {
    Refusal::new(code, "", "")
}

impl Naive {
    pub(crate) fn new(now: Instant, max_open: u64, max_connections: u64) -> Self {
        Self {
            max_open,
            max_connections: max_connections as usize,
            start: now,
            settling: true,
            conns: vec![],
            clients: vec![],
            asks: vec![],
            waiting: vec![],
            reported: vec![],
            out: vec![],
            awaited: vec![],
        }
    }

    fn client(&mut self, tag: ClientTag) -> Option<&mut Client> {
        self.clients.iter_mut().find(|client| client.tag == tag)
    }

    fn name(&mut self, tag: ClientTag) -> Option<PeerName> {
        self.client(tag)?.name.clone()
    }

    fn sender(&mut self, tag: ClientTag) -> Option<String> {
        self.client(tag).map(|client| client.name.as_ref().map_or("shell".to_owned(), PeerName::to_string))
    }

    fn find(&self, name: &PeerName) -> Option<ClientTag> {
        self.clients.iter().find(|client| client.name.as_ref() == Some(name)).map(|client| client.tag)
    }

    fn ask(&mut self, id: AskId) -> Option<&mut Ask> {
        self.asks.iter_mut().find(|ask| ask.id == id)
    }

    fn is_open(&self, conn: ConnId) -> bool {
        self.conns.iter().any(|(open, ..)| *open == conn)
    }

    fn answer(&mut self, conn: ConnId, id: RequestId, answer: Answer) {
        self.say(conn, HubMessage::Answer(id, answer));
    }

    fn say(&mut self, conn: ConnId, message: HubMessage) {
        if self.is_open(conn) {
            self.out.push((conn, Ok(message)));
        }
    }

    fn tell(&mut self, tag: ClientTag, event: Event) {
        if let Some(conn) = self.client(tag).and_then(|client| client.conn) {
            self.say(conn, HubMessage::Event(event));
        }
    }

    fn refuse(&mut self, conn: ConnId, id: RequestId, code: ErrorCode) {
        self.answer(conn, id, Answer::Error(error(code)));
    }

    /// Refuses what may be no request.
    fn refuse_any(&mut self, conn: ConnId, id: Option<RequestId>, code: ErrorCode) {
        match id {
            Some(id) => self.refuse(conn, id, code),
            None => self.say(conn, HubMessage::Event(Event::Error(error(code)))),
        }
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
            client.lost = vec![conn];
        }
    }

    pub(crate) fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Connected { conn } => {
                self.conns.push((conn, None, now + 5 * SECOND));
                if self.conns.len() > self.max_connections {
                    self.refuse_any(conn, None, ErrorCode::RateLimited);
                    self.close(now, conn, CloseReason::TooManyConnections);
                }
            }
            Input::Malformed { conn, error: what } => {
                let too_long = matches!(what, FrameError::TooLong { .. });
                let code = if too_long { ErrorCode::TooLarge } else { ErrorCode::BadMsg };
                let id = if let FrameError::NotAMessage { id, .. } = what { id } else { None };
                self.refuse_any(conn, id, code);
                if !matches!(what, FrameError::NotAMessage { .. }) {
                    self.close(now, conn, CloseReason::Malformed);
                }
            }
            Input::Disconnected { conn } => self.lose(conn, now + 2 * SECOND),
            Input::ProcessEnded { conn } => {
                let gone = |client: &&Client| client.conn.is_none() && client.lost.contains(&conn);
                if let Some(tag) = self.clients.iter().find(gone).map(|client| client.tag) {
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
        match (message, owner) {
            (ClientMessage::Request(id, Request::Hello(hello)), None) => self.hello(now, conn, id, *hello),
            (ClientMessage::Notice(Notice::Bye), None) => self.close(now, conn, CloseReason::Bye),
            (ClientMessage::Request(id, _), None) => self.refuse(conn, id, ErrorCode::NotRegistered),
            (ClientMessage::Notice(_), None) => self.refuse_any(conn, None, ErrorCode::NotRegistered),
            (ClientMessage::Request(id, request), Some(tag)) => self.request(now, conn, tag, id, request),
            (ClientMessage::Notice(notice), Some(tag)) => self.notice(now, conn, tag, notice),
        }
    }

    fn request(&mut self, now: Instant, conn: ConnId, tag: ClientTag, id: RequestId, request: Request) {
        match request {
            Request::Hello(_) => self.refuse(conn, id, ErrorCode::AlreadyRegistered),
            Request::Peers => self.list(now, conn, tag, id),
            Request::Ask(ask) => self.handle_ask(now, conn, tag, id, AskKind::Ask, ask),
            Request::Tell(tell) => self.handle_ask(now, conn, tag, id, AskKind::Tell, tell.into()),
            Request::Broadcast(broadcast) => self.handle_broadcast(now, conn, tag, id, broadcast),
            Request::Audience(audience) => self.list_audience(conn, tag, id, &audience),
            Request::Reply(reply) => self.reply(now, conn, tag, id, reply),
            Request::Rename(rename) => match (self.name(tag), PeerName::parse(&rename.name)) {
                (None, _) => self.refuse(conn, id, ErrorCode::NotRegistered),
                (_, Err(NameError::Empty | NameError::Reserved | NameError::NoMachine)) => {
                    self.refuse(conn, id, ErrorCode::BadArgs)
                }
                (_, Ok(name)) if self.find(&name).is_some_and(|holder| holder != tag) => {
                    self.refuse(conn, id, ErrorCode::NameTaken);
                }
                (_, Ok(name)) => {
                    let client = self.client(tag).unwrap();
                    (client.name, client.chosen) = (Some(name.clone()), true);
                    self.answer(conn, id, Answer::Renamed(Renamed { name }));
                }
            },
            // What the model's clients do not want.
            Request::Status | Request::Watch(_) => {}
        }
    }

    fn notice(&mut self, now: Instant, conn: ConnId, tag: ClientTag, notice: Notice) {
        match notice {
            Notice::Progress(progress) => self.progress(now, tag, progress),
            Notice::Taken(taken) => self.taken(now, tag, taken.ask_id, taken.by),
            Notice::Withdraw(withdraw) => self.withdraw(now, tag, withdraw.ask_id),
            Notice::Presence(presence) => {
                if let Some(client) = self.client(tag)
                    && let Some(mut facts) = client.facts.clone()
                {
                    facts.presence = presence;
                    client.set_facts(now, Some(facts));
                }
            }
            Notice::Park(park) => {
                if let Some(client) = self.client(tag).filter(|client| client.name.is_some()) {
                    client.parked = Some(park.value);
                }
            }
            Notice::Bye => {
                self.close(now, conn, CloseReason::Bye);
                if self.client(tag).is_some_and(|client| client.parked.is_some()) {
                    self.awaited.push(conn);
                } else {
                    self.forget(now, tag);
                }
            }
            // What the model's clients do not say.
            Notice::Named(_) | Notice::Decline(_) | Notice::Reach(_) => {}
        }
    }

    fn has_later(&mut self, tag: ClientTag, conn: ConnId) -> bool {
        self.client(tag).and_then(|client| client.conn).is_some_and(|present| present > conn)
    }

    fn turn_away(&mut self, now: Instant, conn: ConnId, id: RequestId) {
        self.refuse(conn, id, ErrorCode::AlreadyRegistered);
        self.close(now, conn, CloseReason::Superseded);
    }

    fn hello(&mut self, now: Instant, conn: ConnId, id: RequestId, hello: Hello) {
        let Some(version) = VERSIONS.common(hello.versions) else {
            self.refuse(conn, id, ErrorCode::ProtocolMismatch);
            return self.close(now, conn, CloseReason::ProtocolMismatch);
        };
        let (tag, settling) = (hello.kind.tag(), self.settling);
        if self.has_later(tag, conn) {
            return self.turn_away(now, conn, id);
        }
        let mut parked = None;
        let facts = if let ClientKind::Session(facts) = hello.kind { Some(facts) } else { None };
        let (known, mut displaced) = (self.client(tag).is_some(), None);
        if known {
            let client = self.client(tag).unwrap();
            let old = client.conn.take();
            client.set_facts(now, facts);
            parked = client.parked.take();
            client.gone_at = None;
            client.lost.clear();
            if let Some(old) = old {
                self.say(old, HubMessage::Event(Event::Error(error(ErrorCode::AlreadyRegistered))));
                self.conns.retain(|(open, ..)| *open != old);
                self.out.push((old, Err(CloseReason::Superseded)));
            }
        } else {
            let wanted = facts
                .as_ref()
                .map(|facts| facts.name.clone().unwrap_or_else(|| PeerName::of_folder(&facts.presence.cwd)));
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
            let (conn, lost, gone_at, parked) = (None, vec![], None, None);
            let (since, status_since) = (now, now);
            self.clients.push(Client { tag, conn, lost, gone_at, name, chosen, facts, parked, since, status_since });
        }
        self.client(tag).unwrap().conn = Some(conn);
        self.conns.iter_mut().filter(|(open, ..)| *open == conn).for_each(|(_, owner, _)| *owner = Some(tag));
        let name = self.name(tag);
        let sent = self.own(now, tag);
        let welcome = Welcome { version, name: name.clone(), hub: "m".into(), hub_pid: 1, settling, sent, parked };
        self.answer(conn, id, Answer::Welcome(Box::new(welcome)));
        if let Some((holder, name)) = displaced {
            self.tell(holder, Event::Renamed(Renamed { name }));
        }
        if known {
            for ask in self.asks.clone() {
                if ask.asked == tag {
                    self.send_question(now, ask.id);
                } else if ask.asker == tag && matches!(ask.phase, Phase::Answered { .. }) {
                    self.tell_end(ask.id, None);
                }
            }
        }
        if settling && name.is_some() {
            let waiting = std::mem::take(&mut self.waiting);
            let is_for_it = |waiting: &Waiting| match &waiting.request {
                Request::Ask(ask) => self.find_asked(ask) == Some(tag),
                Request::Tell(tell) => self.find_asked(&tell.clone().into()) == Some(tag),
                _ => false,
            };
            let (ready, left) = waiting.into_iter().partition(is_for_it);
            self.waiting = left;
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
        for Waiting { tag, conn, id, since, mut request } in ready {
            let waited = (now - since).as_millis() as u64;
            if let Request::Ask(protocol::Ask { timeout_ms, .. }) | Request::Tell(Tell { timeout_ms, .. }) =
                &mut request
            {
                *timeout_ms = timeout_ms.saturating_sub(waited).max(1);
            }
            let Some(client) = self.client(tag) else { continue };
            match request {
                request if client.conn == Some(conn) => self.request(now, conn, tag, id, request),
                Request::Ask(ask) if ask.bound.is_some() => self.handle_ask(now, conn, tag, id, AskKind::Ask, ask),
                Request::Tell(tell) if tell.bound.is_some() => {
                    self.handle_ask(now, conn, tag, id, AskKind::Tell, tell.into());
                }
                _ => {}
            }
        }
    }

    fn list(&mut self, now: Instant, conn: ConnId, tag: ClientTag, id: RequestId) {
        let mut peers = vec![];
        for client in &self.clients {
            if let (Some(name), Some(facts)) = (client.name.clone(), client.facts.clone())
                && client.tag != tag
            {
                peers.push(PeerView {
                    name,
                    pid: Some(facts.session.pid),
                    agent: facts.agent,
                    client: facts.client,
                    presence: facts.presence,
                    status_s: (now - client.status_since).as_secs(),
                    connected_s: (now - client.since).as_secs(),
                    open_asks: self.open_of(client.tag),
                    machine: None,
                    reachable: None,
                    tag: Some(client.tag),
                });
            }
        }
        peers.sort_by(|a, b| a.name.cmp(&b.name));
        let you = self.name(tag);
        self.answer(
            conn,
            id,
            Answer::Peers(protocol::Peers { you, peers, settling: self.settling, machines: Vec::new() }),
        );
    }

    /// Returns when something is to be said next, if nothing happens before.
    pub(crate) fn due(&self) -> Option<Instant> {
        let settled = self.settling.then_some(self.start + 2 * SECOND);
        let hellos = self.conns.iter().filter(|(_, owner, _)| owner.is_none()).map(|(.., until)| *until);
        let asks = self.asks.iter().filter(|ask| ask.ended_at.is_none()).map(|ask| ask.over_at);
        let gone = self.clients.iter().filter_map(|client| client.gone_at);
        settled.into_iter().chain(hellos).chain(asks).chain(gone).min()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.settling && self.start + 2 * SECOND <= now {
            self.settling = false;
            let (replies, others) = self.waiting.drain(..).partition(|w| matches!(w.request, Request::Reply(_)));
            self.retry(now, others);
            self.retry(now, replies);
            self.reported.sort_by_key(|(tag, progress)| (*tag, progress.ask_id));
            for (tag, Progress { ask_id, .. }) in std::mem::take(&mut self.reported) {
                self.tell(tag, Event::Closed(Closed { ask_id }));
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
        // Ended ones are forgotten every ten seconds.
        let age = |at: Instant| (at - self.start).as_millis().div_ceil(10_000) * 10_000;
        let is_kept =
            |ask: &Ask| ask.ended_at.is_none_or(|at| age(at.max(ask.deadline) + 60 * SECOND) > age_of(now, self.start));
        self.asks.retain(is_kept);
        let mut gone: Vec<_> = self.clients.iter().map(|client| (client.gone_at, client.tag)).collect();
        gone.sort();
        for (_, tag) in gone.into_iter().filter(|(at, _)| at.is_some_and(|at| at <= now)) {
            self.forget(now, tag);
        }
    }
}

fn age_of(now: Instant, start: Instant) -> u128 {
    (now - start).as_millis()
}
