//! What the number of sessions costs.
//!
//! This process plays the channels of 10, 1,000 and 10,000 sessions on the hub's socket. Whether the cost of an ask grows
//! with them is seen in the processor time that the hub takes for it: with asks among the same few sessions, and with asks
//! that go all over them, where what the kernel and the hub keep of each is no longer in the processor's caches. How much
//! the latter is by itself, the hub of the same crates shows (`same_crates.rs`), which does next to nothing.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use relay::protocol::AskId;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};

use crate::stage::{Room, Times, Via, cpu, kib};

const SESSIONS: [usize; 3] = [10, 1000, 10_000];
/// How many sessions are asked among where they are few.
const FEW: usize = SESSIONS[0];
/// How many asks go before those that count: until the hub has gathered as many log lines as it may.
const WARM_UP: u64 = 400;
const ASKS: u64 = 1000;
/// How often each number of sessions has its turn.
const ROUNDS: usize = 50;

pub fn measure() {
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }).unwrap();
    for (via, name) in [(Via::Relay, "relay"), (Via::SameCrates, "same crates")] {
        let mut crowds = SESSIONS.map(|count| Crowd::gather(via, count));
        let [mut few, mut all] = [(); 2].map(|()| SESSIONS.map(|_| Times::default()));
        for _ in 0..ROUNDS {
            for (n, crowd) in crowds.iter_mut().enumerate() {
                few[n].push(crowd.ask(FEW));
                all[n].push(crowd.ask(SESSIONS[n]));
            }
        }
        println!("an ask and its reply, microseconds of a processor in the hub, {name}, median of {ROUNDS}");
        for (what, times) in [("among the same few", few), ("all over the sessions", all)] {
            let times = times.map(|mut times| times.percentile(50));
            let with = |n: usize| format!("{:>6.1} with {} ({:.2}x)", times[n], SESSIONS[n], times[n] / times[0]);
            println!("  {what:<22} {} {} {}", with(0), with(1), with(2));
        }
    }
}

/// A hub and its sessions.
struct Crowd {
    room: Room,
    sessions: Vec<Client>,
    asks: u64,
}

impl Crowd {
    /// Has so many sessions say hello, and prints what they take of the relay.
    fn gather(via: Via, count: usize) -> Self {
        let room = Room::start(via, 0);
        let empty = kib(room.hub_pid(), "Rss:");
        let mut sessions: Vec<Client> = Vec::new();
        let halves = [(); 2].map(|()| {
            let (begun, before) = (Instant::now(), cpu(room.hub_pid()));
            for _ in 0..count / 2 {
                sessions.push(Client::hello(via, room.connect(), sessions.len()));
            }
            let each = |time: Duration| time.as_secs_f64() / (count / 2) as f64;
            (1.0 / each(begun.elapsed()), each(cpu(room.hub_pid()) - before) * 1e6)
        });
        if via == Via::Relay {
            let each = (kib(room.hub_pid(), "Rss:") - empty) as f64 / count as f64;
            print!(
                "{count:>6} sessions: {each:.1} KiB of the hub each; hellos a second, and microseconds of a processor in"
            );
            println!(
                " the hub for each: {:.0}, {:.1}; in the second half {:.0}, {:.1}",
                halves[0].0, halves[0].1, halves[1].0, halves[1].1
            );
        }
        Self { room, sessions, asks: 0 }
    }

    /// Has pairs of the first so many sessions ask and answer, and returns the hub's time for one ask.
    fn ask(&mut self, among: usize) -> Duration {
        let mut before = Duration::ZERO;
        for n in 0..WARM_UP + ASKS {
            if n == WARM_UP {
                before = cpu(self.room.hub_pid());
            }
            // Each time others, all over the tables.
            let step = among / 5;
            self.ask_once(n as usize % step, step + (n as usize * 7) % step);
        }
        (cpu(self.room.hub_pid()) - before) / ASKS as u32
    }

    fn ask_once(&mut self, from: usize, to: usize) {
        self.asks += 1;
        let (ask_id, id) = (AskId::from_bits(self.asks), self.asks + 1);
        let [asker, asked] = self.sessions.get_disjoint_mut([from, to]).unwrap();
        asker.say(&json!({"type": "ask", "id": id, "ask_id": ask_id, "to": format!("w{to}"),
            "question": "x".repeat(200), "timeout_ms": 600_000}));
        asked.hear("ask");
        asked.say(&json!({"type": "progress", "ask_id": ask_id, "state": "shown"}));
        asked.say(&json!({"type": "reply", "id": id, "ask_id": ask_id, "text": "yes"}));
        let by = asker.hear("reply")["by"].clone();
        asker.say(&json!({"type": "taken", "ask_id": ask_id, "by": by}));
        asked.hear("replied");
    }
}

/// One session's connection.
struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    fn hello(via: Via, stream: UnixStream, n: usize) -> Self {
        let mut client = Self { stream: BufReader::with_capacity(1024, stream) };
        if via == Via::SameCrates {
            client.say(&json!(format!("w{n}")));
            return client;
        }
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
