//! A hub on a stage: clients come and speak, time passes, and each hears its lines.

#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks at what it is about")]
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use relay::hub::{CloseReason, ConnId, Effect, Hub, Input, Limits, Program, SETTLING};
use relay::protocol::{
    Activity, AskId, AskRequest, AskState, BroadcastId, BroadcastRequest, ClientKind, ClientMessage, Hello, HubMessage,
    PeerKey, PeerName, Presence, Refusal, ReplyRequest, SessionFacts, VERSIONS, Wake,
};

/// A hub, its clock, and what its clients have heard.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) hub: Hub,
    pub(crate) now: Instant,
    next_conn: u64,
    heard: BTreeMap<ConnId, Vec<HubMessage>>,
    closed: BTreeMap<ConnId, CloseReason>,
    pub(crate) has_left: bool,
}

/// A client on the stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Actor {
    pub(crate) conn: ConnId,
    pub(crate) key: PeerKey,
}

impl Actor {
    /// A client that a former hub knew and this one does not know yet.
    pub(crate) const fn away() -> Self {
        Self { conn: ConnId(u64::MAX), key: PeerKey::from_bytes([0xaa; 16]) }
    }
}

impl Stage {
    /// A hub that has settled long since.
    pub(crate) fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    pub(crate) fn with_limits(limits: Limits) -> Self {
        let mut stage = Self::settling(limits, None);
        stage.pass(SETTLING);
        stage
    }

    /// A hub that has just started.
    pub(crate) fn settling(limits: Limits, idle_timeout: Option<Duration>) -> Self {
        let now = Instant::now();
        let hub = Hub::new(now, limits, idle_timeout, Program { version: "0.0.0", pid: 1 });
        Self { hub, now, next_conn: 0, heard: BTreeMap::new(), closed: BTreeMap::new(), has_left: false }
    }

    pub(crate) fn connect(&mut self) -> ConnId {
        self.next_conn += 1;
        let conn = ConnId(self.next_conn);
        self.tell(Input::Connected { conn });
        conn
    }

    /// A session comes, in this folder; its welcome is left unheard.
    pub(crate) fn session(&mut self, folder: &str) -> Actor {
        self.next_session(folder, None)
    }

    /// A session comes back with its name under a new key, as after a hub's death.
    pub(crate) fn named(&mut self, folder: &str, name: &str) -> Actor {
        self.next_session(folder, Some(name))
    }

    fn next_session(&mut self, folder: &str, name: Option<&str>) -> Actor {
        let key = PeerKey::from_bytes([self.next_conn as u8 + 1; 16]);
        self.hello(key, channel(folder, name))
    }

    /// A person's tool comes.
    pub(crate) fn tool(&mut self) -> Actor {
        let key = PeerKey::from_bytes([self.next_conn as u8 + 1; 16]);
        self.hello(key, ClientKind::Control {})
    }

    pub(crate) fn hello(&mut self, key: PeerKey, kind: ClientKind) -> Actor {
        let conn = self.connect();
        let hello = Hello { id: 1, versions: VERSIONS, key, program: "test 1".to_owned(), kind };
        self.say(conn, ClientMessage::Hello(Box::new(hello)));
        Actor { conn, key }
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
        let (broadcast_id, question) = (BroadcastId::from_bits(n), question.to_owned());
        let request = BroadcastRequest { id: 70 + n, broadcast_id, question, timeout_ms: 60_000 };
        self.say(asker.conn, ClientMessage::Broadcast(request));
    }

    pub(crate) fn reply(&mut self, by: Actor, ask_id: AskId, text: &str) {
        let text = text.to_owned();
        self.say(by.conn, ClientMessage::Reply(ReplyRequest { id: 50, ask_id, text }));
    }

    pub(crate) fn taken(&mut self, asker: Actor, ask_id: AskId, by: Actor) {
        self.say(asker.conn, ClientMessage::Taken { ask_id, by: by.key.tag() });
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
                Effect::Watch { .. } => {}
                Effect::Exit => self.has_left = true,
            }
        }
    }

    /// Returns what a client has heard since it was asked last.
    pub(crate) fn messages(&mut self, conn: ConnId) -> Vec<HubMessage> {
        self.heard.remove(&conn).unwrap_or_default()
    }

    /// Returns the same in words.
    pub(crate) fn heard(&mut self, actor: Actor) -> Vec<String> {
        self.messages(actor.conn).iter().map(line).collect()
    }

    /// Returns the one refusal that a connection has heard since it was asked last.
    pub(crate) fn refusal(&mut self, conn: ConnId) -> Refusal {
        match self.messages(conn).pop() {
            Some(HubMessage::Error { error, .. }) => error,
            other => panic!("not refused: {other:?}"),
        }
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

pub(crate) fn ask(n: u64, to: &str, question: &str, timeout_ms: u64) -> ClientMessage {
    ClientMessage::Ask(AskRequest {
        id: 10 + n,
        ask_id: id(n),
        to: to.to_owned(),
        question: question.to_owned(),
        timeout_ms,
        bound: None,
        broadcast_id: None,
    })
}

/// The same ask as a client says it that had it accepted by a former hub.
pub(crate) fn ask_again(n: u64, to: Actor, question: &str) -> ClientMessage {
    match ask(n, "whoever", question, 60_000) {
        ClientMessage::Ask(ask) => ClientMessage::Ask(AskRequest { bound: Some(to.key.tag()), ..ask }),
        other => other,
    }
}

/// Tells how far an ask has come, and whom the session has it from.
pub(crate) fn progress(n: u64, state: AskState, asker: Option<Actor>) -> ClientMessage {
    ClientMessage::Progress { ask_id: id(n), state, asker: asker.map(|asker| asker.key.tag()) }
}

pub(crate) fn channel(folder: &str, name: Option<&str>) -> ClientKind {
    ClientKind::Channel(SessionFacts {
        name: name.map(|name| PeerName::parse(name).unwrap()),
        cwd: folder.to_owned(),
        branch: None,
        pid: 1,
        start: None,
        seat: None,
        client: None,
        presence: Presence { status: Activity::Idle, wakes_by: Wake::Channel },
    })
}

/// Says a message as a sentence, without what only programs need.
fn line(message: &HubMessage) -> String {
    match message {
        HubMessage::Welcome(welcome) => match &welcome.name {
            Some(name) => format!("welcome, {name}"),
            None => "welcome".to_owned(),
        },
        HubMessage::Peers(answer) => {
            let names: Vec<&str> = answer.peers.iter().map(|peer| peer.name.as_str()).collect();
            format!("peers: {}", names.join(", "))
        }
        HubMessage::Status(status) => format!("status: {} peers, {} open asks", status.peers, status.open_asks),
        HubMessage::Accepted(accepted) => format!("accepted for {}: {:?}", accepted.to, accepted.state),
        HubMessage::BroadcastAccepted(accepted) => {
            let mut parts: Vec<String> = accepted.asks.iter().map(|ask| ask.to.to_string()).collect();
            parts.extend(accepted.refused.iter().map(|refused| format!("not {} ({})", refused.to, refused.error.code)));
            format!("broadcast to: {}", parts.join(", "))
        }
        HubMessage::Replied { to, .. } => format!("{to} has the reply"),
        HubMessage::Renamed { name, .. } => format!("renamed {name}"),
        HubMessage::Error { error, .. } => format!("refused: {}", error.code),
        HubMessage::Ask(event) => format!("{} asks: {} ({} s)", event.from, event.question, event.timeout_ms / 1000),
        HubMessage::Reply(event) => format!("{} answers: {}", event.from, event.text),
        HubMessage::Failed(event) => format!("failed: {} after {:?}", event.code, event.state),
        HubMessage::Closed { .. } => "closed".to_owned(),
        other => format!("{other:?}"),
    }
}
