//! The hub against a naive model of its rules, under random inputs: the same messages to the same connections, always.
//!
//! `PROPTEST_CASES=n` runs so many sequences.

#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks at what it is about")]
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod naive;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;
use relay::hub::{ConnId, Effect, Hub, HubInfo, Input, Limits};
use relay::protocol::codec::FrameError;
use relay::protocol::{
    Activity, Answer, Ask, AskId, AskState, Audience, BODY_MAX_BYTES, Broadcast, BroadcastId, Chain, ClientKey,
    ClientKind, ClientMessage, ClientTag, Event, Hello, HubMessage, Notice, Park, PeerName, Presence, Progress,
    Refusal, Rename, Reply, Request, SessionFacts, SessionId, Taken, Tell, VersionRange, Wake, Withdraw,
};
use serde_json::json;

use self::naive::{Naive, Out};

const DEFAULT_CASES: u32 = 25_000;
const STEPS: usize = 120;
const CLIENTS: u8 = 5;
const MAX_OPEN: u64 = 3;
const MAX_CONNECTIONS: u64 = 7;

/// One thing that happens. Connections are counted back from the newest.
#[derive(Debug, Clone)]
enum Op {
    Connect,
    Hello {
        back: usize,
        client: u8,
        versions: u32,
        named: Option<&'static str>,
        wakes_by: Wake,
    },
    Say {
        back: usize,
        message: ClientMessage,
    },
    /// The last message of any connection comes again, on this one.
    Again {
        back: usize,
    },
    Garbage {
        back: usize,
        error: FrameError,
    },
    Disconnect {
        back: usize,
    },
    ProcessEnd {
        back: usize,
    },
    Pass(Duration),
}

/// The first one is a person's tool, the others are sessions.
fn kind(client: u8, named: Option<&str>, wakes_by: Wake) -> ClientKind {
    if client == 0 {
        return ClientKind::Control { key: ClientKey::from_bytes([1; 16]) };
    }
    ClientKind::Session(Box::new(SessionFacts {
        session: SessionId { pid: client.into(), start: 1, thread: None },
        name: named.map(|name| PeerName::parse(name).unwrap()),
        agent: "claude-code".to_owned(),
        client: None,
        presence: presence(["/w/api", "/w/api", "/w/web", "/w/c++"][usize::from(client) % 4], wakes_by),
    }))
}

fn presence(cwd: &str, wakes_by: Wake) -> Presence {
    Presence { cwd: cwd.to_owned(), branch: None, status: Activity::Idle, waiting_for: None, wakes_by }
}

fn tag(client: u8) -> ClientTag {
    kind(client, None, Wake::Channel).tag()
}

fn client_tags() -> impl Strategy<Value = ClientTag> {
    (0..CLIENTS).prop_map(tag)
}

fn broadcasts() -> impl Strategy<Value = BroadcastId> {
    (0u64..2).prop_map(BroadcastId::from_bits)
}

/// Few ids, so that they meet: plain ones, and those that a broadcast's asks have.
fn asks() -> impl Strategy<Value = AskId> {
    let of_broadcast = (broadcasts(), 0..CLIENTS).prop_map(|(id, client)| AskId::of_broadcast(id, tag(client)));
    prop_oneof![3 => (0u64..6).prop_map(AskId::from_bits), 1 => of_broadcast]
}

fn states() -> impl Strategy<Value = AskState> {
    select(vec![AskState::Accepted, AskState::Held, AskState::HandedOver, AskState::Shown])
}

fn wakes() -> impl Strategy<Value = Wake> {
    select(vec![Wake::Channel, Wake::Waiter, Wake::NextPrompt])
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        30 => "[a-c]{1,3}",
        1 => Just(" ".to_owned()),
        1 => Just("x".repeat(BODY_MAX_BYTES)),
        1 => Just("x".repeat(BODY_MAX_BYTES + 1)),
    ]
}

fn timeouts() -> impl Strategy<Value = u64> {
    prop_oneof![1 => Just(0), 1 => Just(86_400_001), 10 => 1u64..4000, 10 => 10_000u64..30_000]
}

fn addresses() -> impl Strategy<Value = &'static str> {
    select(vec!["api", "API ", "api-2", "web", "new", "nobody", "all", "shell", "--", "c++"])
}

fn audiences() -> impl Strategy<Value = Audience> {
    let to = proptest::option::weighted(0.3, vec(addresses().prop_map(str::to_owned), 0..3));
    let folder = proptest::option::weighted(0.2, select(vec!["/w", "/w/api/", "/", "w"]).prop_map(str::to_owned));
    (to, folder).prop_map(|(to, folder)| Audience { to, folder, machines: None })
}

fn requests() -> impl Strategy<Value = Request> {
    let bound = || proptest::option::weighted(0.2, client_tags());
    let ask = (asks(), addresses(), texts(), timeouts(), bound(), proptest::option::weighted(0.1, broadcasts()))
        .prop_map(|(ask_id, to, question, timeout_ms, bound, broadcast_id)| {
            Request::Ask(Ask {
                ask_id,
                to: to.to_owned(),
                question,
                timeout_ms,
                bound,
                broadcast_id,
                chain: Chain::default(),
            })
        });
    let tell =
        (asks(), addresses(), texts(), timeouts(), bound()).prop_map(|(tell_id, to, text, timeout_ms, bound)| {
            Request::Tell(Tell { tell_id, to: to.to_owned(), text, timeout_ms, bound, chain: Chain::default() })
        });
    let broadcast =
        (broadcasts(), texts(), timeouts(), audiences()).prop_map(|(broadcast_id, question, timeout_ms, audience)| {
            Request::Broadcast(Broadcast { broadcast_id, question, timeout_ms, audience })
        });
    prop_oneof![
        12 => ask,
        6 => tell,
        3 => broadcast,
        9 => (asks(), texts()).prop_map(|(ask_id, text)| Request::Reply(Reply { ask_id, text })),
        2 => addresses().prop_map(|name| Request::Rename(Rename { name: name.to_owned() })),
        2 => Just(Request::Peers),
        2 => audiences().prop_map(Request::Audience),
    ]
}

fn notices() -> impl Strategy<Value = Notice> {
    let waiting = proptest::option::of(Just("permission prompt".to_owned()));
    let presence = (select(vec!["/w/api", "/w/c++"]), wakes(), waiting)
        .prop_map(|(cwd, wakes_by, waiting_for)| Presence { waiting_for, ..presence(cwd, wakes_by) });
    prop_oneof![
        6 => (asks(), states(), proptest::bool::ANY)
            .prop_map(|(ask_id, state, is_final)| Notice::Progress(Progress { ask_id, state, is_final })),
        6 => (asks(), client_tags()).prop_map(|(ask_id, by)| Notice::Taken(Taken { ask_id, by })),
        2 => asks().prop_map(|ask_id| Notice::Withdraw(Withdraw { ask_id })),
        2 => presence.prop_map(Notice::Presence),
        2 => (0..3).prop_map(|n| Notice::Park(Park { value: json!(n) })),
        2 => Just(Notice::Bye),
    ]
}

fn messages() -> impl Strategy<Value = ClientMessage> {
    prop_oneof![
        28 => (1u64..9, requests()).prop_map(|(id, request)| ClientMessage::Request(id, request)),
        20 => notices().prop_map(ClientMessage::Notice),
    ]
}

fn ops() -> impl Strategy<Value = Op> {
    let back = || 0usize..8;
    let named = proptest::option::weighted(0.3, select(vec!["api", "web", "api-2"]));
    let hello = (back(), 0..CLIENTS, prop_oneof![9 => Just(1u32), 1 => Just(0), 1 => Just(3)], named, wakes());
    let error = select(vec![
        FrameError::TooLong { limit: 9 },
        FrameError::NotUtf8,
        FrameError::NotAMessage { id: Some(4), reason: "what".to_owned() },
        FrameError::NotAMessage { id: None, reason: "what".to_owned() },
    ]);
    let times = prop_oneof![0u64..30, 100u64..2500, 4000u64..20_000, Just(70_000)];
    prop_oneof![
        4 => Just(Op::Connect),
        7 => hello.prop_map(|(back, client, versions, named, wakes_by)| Op::Hello { back, client, versions, named, wakes_by }),
        30 => (back(), messages()).prop_map(|(back, message)| Op::Say { back, message }),
        3 => back().prop_map(|back| Op::Again { back }),
        1 => (back(), error).prop_map(|(back, error)| Op::Garbage { back, error }),
        2 => back().prop_map(|back| Op::Disconnect { back }),
        1 => back().prop_map(|back| Op::ProcessEnd { back }),
        5 => times.prop_map(|ms| Op::Pass(Duration::from_millis(ms))),
    ]
}

/// The hub, its model, and a second hub that must do the same as the first.
struct Trial {
    now: Instant,
    hub: Hub,
    twin: Hub,
    model: Naive,
    open: BTreeSet<ConnId>,
    made: u64,
    last: ClientMessage,
}

impl Trial {
    fn new() -> Self {
        let now = Instant::now();
        let limits = Limits {
            open_asks: MAX_OPEN,
            connections: MAX_CONNECTIONS,
            rate: false,
            loops: false,
            ..Limits::default()
        };
        let hub = || Hub::new(now, limits.clone(), None, HubInfo { version: "m", pid: 1 });
        let model = Naive::new(now, MAX_OPEN, MAX_CONNECTIONS);
        Self {
            now,
            hub: hub(),
            twin: hub(),
            model,
            open: BTreeSet::new(),
            made: 0,
            last: ClientMessage::Notice(Notice::Bye),
        }
    }

    fn conn(&self, back: usize) -> ConnId {
        ConnId(self.made.saturating_sub(back as u64))
    }

    fn perform(&mut self, op: Op) {
        let input = match op {
            Op::Connect => {
                self.made += 1;
                let conn = ConnId(self.made);
                self.open.insert(conn);
                Input::Connected { conn }
            }
            Op::Hello { back, client, versions, named, wakes_by } => {
                let (kind, program) = (kind(client, named, wakes_by), "p".to_owned());
                let hello = Hello { versions: VersionRange { min: versions, max: versions }, program, kind };
                let message = ClientMessage::Request(1, Request::Hello(Box::new(hello)));
                Input::Received { conn: self.conn(back), message }
            }
            Op::Say { back, message } => {
                self.last = message.clone();
                Input::Received { conn: self.conn(back), message }
            }
            Op::Again { back } => Input::Received { conn: self.conn(back), message: self.last.clone() },
            Op::Garbage { back, error } => Input::Malformed { conn: self.conn(back), error },
            Op::Disconnect { back } => {
                self.open.remove(&self.conn(back));
                Input::Disconnected { conn: self.conn(back) }
            }
            Op::ProcessEnd { back } => Input::ProcessEnded { conn: self.conn(back) },
            Op::Pass(time) => return self.pass(time),
        };
        self.hub.handle(self.now, input.clone());
        self.twin.handle(self.now, input.clone());
        self.model.handle(self.now, input.clone());
        self.compare(&input);
    }

    /// Lets time pass, with every timeout at its time.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some((at, what)) = self.hub.poll_timeout().filter(|(at, _)| *at <= until) {
            assert!(self.model.due().is_none_or(|due| at <= due), "the hub would sleep too long");
            self.now = at;
            self.hub.handle_timeout(at);
            self.twin.handle_timeout(at);
            self.model.handle_timeout(at);
            self.compare(&what);
            assert!(self.hub.poll_timeout().is_none_or(|(next, _)| next > at), "{what} spins");
        }
        self.now = until;
    }

    /// Checks that the hub and its model did the same for each connection, and that nothing names a closed one.
    fn compare(&mut self, cause: &dyn std::fmt::Debug) {
        let (mut done, mut awaited) = (Vec::new(), Vec::new());
        while let Some(effect) = self.hub.poll_effect() {
            assert_eq!(self.twin.poll_effect().as_ref(), Some(&effect), "the same inputs, other effects");
            match effect {
                Effect::Send { conn, message } => done.push((conn, Ok(without_words(message)))),
                Effect::Close { conn, reason } => done.push((conn, Err(reason))),
                Effect::AwaitAgent { conn, .. } => awaited.push(conn),
                Effect::Record(_) => panic!("nobody logs"),
                Effect::Exit => panic!("nobody told this hub to leave"),
            }
        }
        assert_eq!(self.twin.poll_effect(), None, "the same inputs, other effects");
        for (conn, what) in &done {
            assert!(self.open.contains(conn), "{conn:?} is closed and {what:?} goes there");
            if what.is_err() {
                self.open.remove(conn);
            }
        }
        assert_eq!(awaited, std::mem::take(&mut self.model.awaited), "after {cause:?}");
        let mut wanted = std::mem::take(&mut self.model.out);
        let by_connection = |out: &Out| out.0;
        done.sort_by_key(by_connection);
        wanted.sort_by_key(by_connection);
        assert_eq!(done, wanted, "hub (left) and model (right) after {cause:?}");
    }

    /// Lets everybody leave in one way or another.
    fn end(mut self) {
        for conn in self.open.clone() {
            self.perform(match conn.0 % 3 {
                0 => Op::Say { back: (self.made - conn.0) as usize, message: ClientMessage::Notice(Notice::Bye) },
                1 => Op::Garbage { back: (self.made - conn.0) as usize, error: FrameError::NotUtf8 },
                _ => Op::Disconnect { back: (self.made - conn.0) as usize },
            });
        }
        assert!(self.open.is_empty());
        self.pass(Duration::from_secs(100));
        assert!(self.hub.is_quiet(), "something is left: {:?}", self.hub);
        assert_eq!(self.hub.poll_timeout(), None);
    }
}

/// The model knows codes, not words.
fn without_words(mut message: HubMessage) -> HubMessage {
    let silence = |error: &mut Refusal| *error = Refusal::new(error.code, "", "");
    match &mut message {
        HubMessage::Answer(_, Answer::Error(error)) | HubMessage::Event(Event::Error(error)) => silence(error),
        HubMessage::Answer(_, Answer::BroadcastAccepted(accepted)) => {
            accepted.refused.iter_mut().for_each(|r| silence(&mut r.error))
        }
        HubMessage::Answer(_, Answer::Audience(view)) => view.refused.iter_mut().for_each(|r| silence(&mut r.error)),
        _ => {}
    }
    message
}

#[test]
fn hub_does_what_its_model_does() {
    let config = ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").map_or(DEFAULT_CASES, |n| n.parse().expect("a number")),
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    };
    let (sequences, steps) = (Cell::new(0), Cell::new(0));
    let checked = TestRunner::new(config).run(&vec(ops(), 1..STEPS), |ops| {
        let mut trial = Trial::new();
        // Somebody is there from the start, or little would happen.
        for client in 0..4 {
            trial.perform(Op::Connect);
            trial.perform(Op::Hello { back: 0, client, versions: 1, named: None, wakes_by: Wake::Channel });
        }
        sequences.set(sequences.get() + 1);
        steps.set(steps.get() + ops.len());
        for op in ops {
            trial.perform(op);
        }
        trial.end();
        Ok(())
    });
    checked.unwrap_or_else(|error| panic!("{error}"));
    println!("{} sequences of {} steps in all: the hub said what its model says", sequences.get(), steps.get());
}
