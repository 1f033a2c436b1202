//! What the number of sessions costs.
//!
//! This process plays the channels of 10, 1,000 and 10,000 sessions on the hub's socket. Whether the cost of an ask grows
//! with them is seen in the processor time that the hub takes for it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use relay::protocol::AskId;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};

use crate::stage::{Room, Via, cpu, kib};

const SESSIONS: [usize; 3] = [10, 1000, 10_000];
const ASKS: u64 = 5000;
/// Of how many sessions in a row the time is taken to become one.
const PORTION: usize = 1000;

pub fn measure() {
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }).unwrap();
    let mut of_few = None;
    for count in SESSIONS {
        let room = Room::start(Via::Relay, 0);
        let empty = kib(room.hub_pid(), "Rss:");
        let mut sessions: Vec<Client> = Vec::new();
        let mut rates = Vec::new();
        while sessions.len() < count {
            let portion = PORTION.min(count - sessions.len());
            let begun = Instant::now();
            for _ in 0..portion {
                sessions.push(Client::hello(room.connect(), sessions.len()));
            }
            rates.push(portion as f64 / begun.elapsed().as_secs_f64());
        }
        let each = (kib(room.hub_pid(), "Rss:") - empty) as f64 / count as f64;
        let cost = ask(&room, &mut sessions);
        let of_few = *of_few.get_or_insert(cost);
        let growth = cost.as_secs_f64() / of_few.as_secs_f64();
        let (first, last) = (rates[0], rates[rates.len() - 1]);
        println!(
            "{count:>6} sessions: {each:.1} KiB of the hub each; an ask and its reply {cost:.1?} of its time ({growth:.2}x \
             that with {}); {first:.0} sessions a second at first, {last:.0} at last",
            SESSIONS[0]
        );
    }
}

/// Has pairs ask and answer, and returns the hub's time for one ask.
fn ask(room: &Room, sessions: &mut [Client]) -> Duration {
    let mut before = Duration::ZERO;
    for n in 0..ASKS + ASKS / 10 {
        if n == ASKS / 10 {
            // By now its tables are warm.
            before = cpu(room.hub_pid());
        }
        // Each time others, all over the tables.
        let step = sessions.len() / 5;
        let (from, to) = (n as usize % step, step + (n as usize * 7) % step);
        let ask_id = AskId::from_bits(n + 1);
        sessions[from].say(&json!({"type": "ask", "id": n + 2, "ask_id": ask_id, "to": format!("w{to}"),
            "question": "x".repeat(200), "timeout_ms": 600_000}));
        sessions[to].hear("ask");
        sessions[to].say(&json!({"type": "progress", "ask_id": ask_id, "state": "shown"}));
        sessions[to].say(&json!({"type": "reply", "id": n + 2, "ask_id": ask_id, "text": "yes"}));
        let by = sessions[from].hear("reply")["by"].clone();
        sessions[from].say(&json!({"type": "taken", "ask_id": ask_id, "by": by}));
        sessions[to].hear("replied");
    }
    (cpu(room.hub_pid()) - before) / ASKS as u32
}

/// One session's connection.
struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    fn hello(stream: UnixStream, n: usize) -> Self {
        let mut client = Self { stream: BufReader::with_capacity(1024, stream) };
        client.say(&json!({
            "type": "hello", "id": 1, "versions": relay::protocol::VERSIONS, "program": "relay-channel", "kind": "session",
            "session": {"pid": std::process::id(), "start": 1, "thread": n.to_string()}, "agent": "claude-code",
            "cwd": format!("/home/me/w{n}"), "branch": "main", "status": "idle", "wakes_by": "channel",
        }));
        client.hear("welcome");
        client
    }

    fn say(&mut self, message: &Value) {
        self.stream.get_mut().write_all(format!("{message}\n").as_bytes()).unwrap();
    }

    /// Waits for a message of this type, past others.
    fn hear(&mut self, kind: &str) -> Value {
        loop {
            let mut line = String::new();
            assert!(self.stream.read_line(&mut line).unwrap() > 0, "the hub closed the connection");
            let message: Value = serde_json::from_str(&line).unwrap();
            assert_ne!(message["type"], "error", "{message}");
            if message["type"] == kind {
                return message;
            }
        }
    }
}
