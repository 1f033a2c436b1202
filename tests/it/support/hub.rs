//! A hub on a stage: clients come and speak, time passes, and each hears its lines.

#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks at what it is about")]
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use relay::hub::history::{Detail, Record};
use relay::hub::{CloseReason, ConnId, Effect, GRACE, Hub, HubInfo, Input, Limits};
use relay::protocol::{
    Activity, Answer, Ask, AskId, AskState, Audience, Broadcast, BroadcastId, Chain, ClientKey, ClientKind,
    ClientMessage, ClientTag, Event, Hello, HubMessage, Named, Notice, Park, PeerName, Presence, Progress, Refusal,
    Rename, Reply, Request, SessionFacts, SessionId, Taken, Tell, VERSIONS, Wake, Watch, Withdraw,
};

/// A hub, its clock, and what its clients have heard.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) hub: Hub,
    pub(crate) now: Instant,
    next_conn: u64,
    heard: BTreeMap<ConnId, Vec<HubMessage>>,
    closed: BTreeMap<ConnId, CloseReason>,
    /// The sessions whose agents' ends the hub wants to be told of, by the connections that their channels had.
    pub(crate) awaited: BTreeMap<ConnId, SessionId>,
    /// What the hub has recorded, once that is wanted.
    records: Vec<Record>,
    pub(crate) has_left: bool,
}

/// A client on the stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Actor {
    pub(crate) conn: ConnId,
    pub(crate) tag: ClientTag,
    pub(crate) number: u32,
}

impl Actor {
    /// A session that a former hub knew and this one does not know yet.
    pub(crate) fn away() -> Self {
        let number = 0xaaaa;
        Self { conn: ConnId(u64::MAX), tag: session_id(number).tag(), number }
    }
}

impl Stage {
    /// A hub whose grace period is long over.
    pub(crate) fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    pub(crate) fn with_limits(limits: Limits) -> Self {
        let mut stage = Self::in_grace(limits, None);
        stage.pass(GRACE);
        stage
    }

    /// A hub that has just started.
    pub(crate) fn in_grace(limits: Limits, idle_timeout: Option<Duration>) -> Self {
        let now = Instant::now();
        Self {
            hub: Hub::new(now, limits, idle_timeout, HubInfo { version: "0.0.0", pid: 1 }),
            now,
            next_conn: 0,
            heard: BTreeMap::new(),
            closed: BTreeMap::new(),
            awaited: BTreeMap::new(),
            records: Vec::new(),
            has_left: false,
        }
    }

    pub(crate) fn connect(&mut self) -> ConnId {
        self.next_conn += 1;
        let conn = ConnId(self.next_conn);
        self.tell(Input::Connected { conn });
        conn
    }

    /// A session comes, in this folder; its welcome is left unheard.
    pub(crate) fn session(&mut self, folder: &str) -> Actor {
        let number = self.next_number();
        self.hello(number, session(number, folder, None))
    }

    /// A session comes back with its name, as after a hub's death.
    pub(crate) fn named(&mut self, folder: &str, name: &str) -> Actor {
        let number = self.next_number();
        self.hello(number, session(number, folder, Some(name)))
    }

    /// A session that was here before comes on a new connection.
    pub(crate) fn back(&mut self, actor: Actor, folder: &str, name: Option<&str>) -> Actor {
        self.hello(actor.number, session(actor.number, folder, name))
    }

    /// A person's tool comes.
    pub(crate) fn tool(&mut self) -> Actor {
        let number = self.next_number();
        self.hello(number, tool(number))
    }

    fn next_number(&self) -> u32 {
        self.next_conn as u32 + 1
    }

    pub(crate) fn hello(&mut self, number: u32, kind: ClientKind) -> Actor {
        let (conn, tag) = (self.connect(), kind.tag());
        self.say(conn, hello("test 1", kind));
        Actor { conn, tag, number }
    }

    pub(crate) fn tell(&mut self, input: Input) {
        self.hub.handle(self.now, input);
        self.collect();
    }

    pub(crate) fn say(&mut self, conn: ConnId, message: ClientMessage) {
        self.tell(Input::Received { conn, message });
    }

    /// Asks with the id of this number, for a minute.
    pub(crate) fn ask(&mut self, asker: Actor, n: u64, to: &str, question: &str) {
        self.say(asker.conn, ask(n, to, question, 60_000));
    }

    pub(crate) fn broadcast(&mut self, asker: Actor, n: u64, question: &str) {
        self.broadcast_to(asker, n, question, Audience::default());
    }

    pub(crate) fn broadcast_to(&mut self, asker: Actor, n: u64, question: &str, audience: Audience) {
        let (broadcast_id, question) = (BroadcastId::from_bits(n), question.to_owned());
        let request = Broadcast { broadcast_id, question, timeout_ms: 60_000, audience };
        self.say(asker.conn, ClientMessage::Request(70 + n, Request::Broadcast(request)));
    }

    pub(crate) fn reply(&mut self, by: Actor, ask_id: AskId, text: &str) {
        let text = text.to_owned();
        self.say(by.conn, ClientMessage::Request(50, Request::Reply(Reply { ask_id, text })));
    }

    pub(crate) fn taken(&mut self, asker: Actor, ask_id: AskId, by: Actor) {
        self.say(asker.conn, ClientMessage::Notice(Notice::Taken(Taken { ask_id, by: by.tag })));
    }

    pub(crate) fn bye(&mut self, actor: Actor) {
        self.say(actor.conn, ClientMessage::Notice(Notice::Bye));
    }

    /// A connection breaks.
    pub(crate) fn lose(&mut self, actor: Actor) {
        self.tell(Input::Disconnected { conn: actor.conn });
    }

    /// Lets time pass, and the hub do what is due at its time.
    pub(crate) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some((at, what)) = self.hub.poll_timeout().filter(|(at, _)| *at <= until) {
            self.now = at;
            self.hub.handle_timeout(at);
            assert!(self.hub.poll_timeout().is_none_or(|(next, _)| next > at), "{what} spins");
            self.collect();
        }
        self.now = until;
    }

    /// Lets everybody hear what the hub has to say.
    pub(crate) fn collect(&mut self) {
        while let Some(effect) = self.hub.poll_effect() {
            match effect {
                Effect::Send { conn, message } => self.heard.entry(conn).or_default().push(message),
                Effect::Close { conn, reason } => assert_eq!(self.closed.insert(conn, reason), None),
                Effect::AwaitAgent { conn, session } => assert_eq!(self.awaited.insert(conn, session), None),
                Effect::Record(record) => self.records.push(record),
                Effect::Exit => self.has_left = true,
            }
        }
    }

    /// Has the hub record what happens to asks from here on.
    pub(crate) fn record(&mut self, detail: Detail) {
        self.hub.set_recorded(detail);
    }

    /// Returns what it has recorded since it was asked last.
    pub(crate) fn records(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.records)
    }

    /// Returns what a client has heard since it was asked last.
    pub(crate) fn messages(&mut self, conn: ConnId) -> Vec<HubMessage> {
        self.heard.remove(&conn).unwrap_or_default()
    }

    /// Returns the answers among it.
    pub(crate) fn answers(&mut self, conn: ConnId) -> Vec<Answer> {
        let answer = |message| if let HubMessage::Answer(_, answer) = message { Some(answer) } else { None };
        self.messages(conn).into_iter().filter_map(answer).collect()
    }

    /// Returns the same in words.
    pub(crate) fn heard(&mut self, actor: Actor) -> Vec<String> {
        self.messages(actor.conn).iter().map(line).collect()
    }

    /// Returns the one refusal that a connection has heard since it was asked last.
    pub(crate) fn refusal(&mut self, conn: ConnId) -> Refusal {
        match self.messages(conn).pop() {
            Some(HubMessage::Answer(_, Answer::Error(error)) | HubMessage::Event(Event::Error(error))) => error,
            other => panic!("not refused: {other:?}"),
        }
    }

    /// Returns whether the last ask of a client was accepted.
    pub(crate) fn is_accepted(&mut self, asker: Actor) -> bool {
        self.answers(asker.conn).iter().any(|answer| matches!(answer, Answer::Accepted(_)))
    }

    pub(crate) fn closed(&self, conn: ConnId) -> Option<CloseReason> {
        self.closed.get(&conn).copied()
    }

    /// Forgets what everybody has heard until now.
    pub(crate) fn hush(&mut self) {
        self.heard.clear();
    }
}

pub(crate) fn id(n: u64) -> AskId {
    AskId::from_bits(n)
}

pub(crate) fn hello(program: &str, kind: ClientKind) -> ClientMessage {
    let hello = Hello { versions: VERSIONS, program: program.to_owned(), kind };
    ClientMessage::Request(1, Request::Hello(Box::new(hello)))
}

pub(crate) fn ask(n: u64, to: &str, question: &str, timeout_ms: u64) -> ClientMessage {
    let (to, question) = (to.to_owned(), question.to_owned());
    let ask = Ask { ask_id: id(n), to, question, timeout_ms, bound: None, broadcast_id: None, chain: Chain::default() };
    ClientMessage::Request(10 + n, Request::Ask(ask))
}

/// The same ask as a client sends it that had it accepted by a former hub.
pub(crate) fn ask_again(n: u64, to: Actor, question: &str) -> ClientMessage {
    match ask(n, "whoever", question, 60_000) {
        ClientMessage::Request(id, Request::Ask(ask)) => {
            ClientMessage::Request(id, Request::Ask(Ask { bound: Some(to.tag), ..ask }))
        }
        other => other,
    }
}

/// Tells a text with the id of this number, for a minute; `bound` as a client sends it again.
pub(crate) fn tell(n: u64, to: &str, text: &str, bound: Option<Actor>) -> ClientMessage {
    let (tell_id, to, text) = (id(n), to.to_owned(), text.to_owned());
    let tell =
        Tell { tell_id, to, text, timeout_ms: 60_000, bound: bound.map(|actor| actor.tag), chain: Chain::default() };
    ClientMessage::Request(10 + n, Request::Tell(tell))
}

/// Tells that an ask has come so far and that nothing further can be told.
pub(crate) fn final_progress(n: u64, state: AskState) -> ClientMessage {
    ClientMessage::Notice(Notice::Progress(Progress { ask_id: id(n), state, is_final: true }))
}

/// Tells how far an ask has come.
pub(crate) fn progress(n: u64, state: AskState) -> ClientMessage {
    ClientMessage::Notice(Notice::Progress(Progress { ask_id: id(n), state, is_final: false }))
}

pub(crate) fn withdraw(n: u64) -> ClientMessage {
    ClientMessage::Notice(Notice::Withdraw(Withdraw { ask_id: id(n) }))
}

pub(crate) fn park(value: serde_json::Value) -> ClientMessage {
    ClientMessage::Notice(Notice::Park(Park { value }))
}

pub(crate) fn rename(name: &str) -> ClientMessage {
    ClientMessage::Request(9, Request::Rename(Rename { name: name.to_owned() }))
}

pub(crate) fn named(name: &str) -> ClientMessage {
    ClientMessage::Notice(Notice::Named(Named { name: name.to_owned() }))
}

pub(crate) fn watch(text: bool) -> ClientMessage {
    ClientMessage::Request(2, Request::Watch(Watch { text }))
}

pub(crate) fn peers() -> ClientMessage {
    ClientMessage::Request(3, Request::Peers)
}

pub(crate) fn session_id(number: u32) -> SessionId {
    SessionId { pid: number, start: 1, thread: None }
}

pub(crate) fn presence(folder: &str, status: Activity, wakes_by: Wake) -> Presence {
    Presence { cwd: folder.to_owned(), branch: None, status, waiting_for: None, wakes_by }
}

pub(crate) fn session(number: u32, folder: &str, name: Option<&str>) -> ClientKind {
    ClientKind::Session(Box::new(SessionFacts {
        session: session_id(number),
        name: name.map(|name| PeerName::parse(name).unwrap()),
        agent: "claude-code".to_owned(),
        client: None,
        presence: presence(folder, Activity::Idle, Wake::Channel),
    }))
}

pub(crate) fn tool(number: u32) -> ClientKind {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    ClientKind::Control { key: ClientKey::from_bytes(bytes) }
}

/// Says a message as a sentence, without what only programs need.
fn line(message: &HubMessage) -> String {
    match message {
        HubMessage::Answer(_, answer) => answer_line(answer),
        HubMessage::Event(Event::Asked(event)) => {
            format!("{} asks: {} ({} s)", event.from, event.question, event.timeout_ms / 1000)
        }
        HubMessage::Event(Event::Told(event)) => format!("{} tells: {}", event.from, event.text),
        HubMessage::Event(Event::Receipt(receipt)) => format!("receipt: {:?}", receipt.state),
        HubMessage::Event(Event::Reply(event)) => format!("{} answers: {}", event.from, event.text),
        HubMessage::Event(Event::Failed(event)) => format!("failed: {} after {:?}", event.code, event.state),
        HubMessage::Event(Event::Closed(_)) => "closed".to_owned(),
        HubMessage::Event(Event::Renamed(renamed)) => format!("renamed {}", renamed.name),
        HubMessage::Event(Event::Error(error)) => format!("refused: {}", error.code),
        HubMessage::Event(other) => format!("{other:?}"),
    }
}

fn answer_line(answer: &Answer) -> String {
    match answer {
        Answer::Welcome(welcome) => match &welcome.name {
            Some(name) => format!("welcome, {name}"),
            None => "welcome".to_owned(),
        },
        Answer::Peers(answer) => {
            let names: Vec<&str> = answer.peers.iter().map(|peer| peer.name.as_str()).collect();
            format!("peers: {}", names.join(", "))
        }
        Answer::Accepted(accepted) => format!("accepted for {}: {:?}", accepted.to, accepted.state),
        Answer::BroadcastAccepted(accepted) => {
            let mut parts: Vec<String> = accepted.asks.iter().map(|ask| ask.to.to_string()).collect();
            parts.extend(accepted.refused.iter().map(|refused| format!("not {} ({})", refused.to, refused.error.code)));
            format!("broadcast to: {}", parts.join(", "))
        }
        Answer::Replied(replied) => format!("{} has the reply", replied.to),
        Answer::Renamed(renamed) => format!("renamed {}", renamed.name),
        Answer::Error(error) => format!("refused: {}", error.code),
        other => format!("{other:?}"),
    }
}
