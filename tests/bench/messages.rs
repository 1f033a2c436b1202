//! What a message costs: `cargo bench --bench messages`.
//!
//! A hub and its sessions' channels, the release build, spoken to as Claude Code does: over socket pairs, one JSON line a
//! message. The floor is a ping-pong of as many bytes with a process that only sends back what it reads, in turn with the
//! asks: two wake-ups, where an ask on its way to the other session takes three.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement that cannot go on fails, and prints")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// What this program is called with to be the other side of the floor.
const ECHO: &str = "echo";

const ASKS: usize = 2000;
const LISTENERS: usize = 100;
const BROADCASTS: usize = 20;

/// How many sessions' memory is looked at: what they share counts an eighth for each.
const RESIDENTS: usize = 8;

fn main() {
    if std::env::args().nth(1).as_deref() == Some(ECHO) {
        return echo();
    }
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("run/hub.sock");
    let mut hub = Command::new(env!("CARGO_BIN_EXE_relay-hub"))
        .arg("--socket")
        .arg(&socket)
        .args(["--limit", "rate=off", "--limit", "loop=off", "--limit", "open_asks=100000"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while UnixStream::connect(&socket).is_err() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut sessions: Vec<Session> =
        (0..RESIDENTS).map(|n| Session::start(&directory.path().join(format!("s{n}")), &socket)).collect();
    // The hub's grace period lasts two seconds, and channels hold their first events back for half of one.
    std::thread::sleep(relay::hub::GRACE + Duration::from_secs(1));
    measure_asks(&mut sessions);
    let channels: u64 = sessions.iter().map(|session| kib(&session.0.child, "Pss:")).sum();
    for n in RESIDENTS..=LISTENERS {
        sessions.push(Session::start(&directory.path().join(format!("s{n}")), &socket));
    }
    std::thread::sleep(Duration::from_secs(1));
    measure_broadcasts(&mut sessions);
    println!("a channel, of {RESIDENTS}: {} KiB (Pss)", channels / RESIDENTS as u64);
    println!("the hub, after all this: {} KiB (Rss)", kib(&hub, "Rss:"));
    drop(sessions);
    hub.kill().unwrap();
    hub.wait().unwrap();
}

fn measure_asks(sessions: &mut [Session]) {
    let mut floor = Process::start(Command::new(std::env::current_exe().unwrap()).arg(ECHO));
    let (mut pings, mut delivered, mut replied) = (Vec::new(), Vec::new(), Vec::new());
    let [asker, asked, ..] = sessions else { panic!("two sessions at least") };
    for n in 0..ASKS {
        let question = format!("{n} {}", "x".repeat(200));
        let begun = Instant::now();
        floor.say(&question);
        floor.hear();
        pings.push(begun.elapsed());

        let begun = Instant::now();
        asker.call("relay_ask", &json!({"to": "s1", "question": question}));
        let event = asked.hear_event();
        delivered.push(begun.elapsed());
        asked.call("relay_reply", &json!({"ask_id": event["meta"]["ask_id"], "text": "yes"}));
        asker.hear_event();
        replied.push(begun.elapsed());
    }
    println!("{ASKS} asks of 200 bytes, one pair, load {}", load());
    let floor = percentile(&mut pings, 50);
    for (name, times) in
        [("ping-pong", &mut pings), ("ask until shown", &mut delivered), ("until answered", &mut replied)]
    {
        let [median, late] = [50, 99].map(|n| percentile(times, n));
        println!("{name:<16} median {median:>6.0} us, p99 {late:>6.0} us, {:.1} times ping-pong", median / floor);
    }
}

fn measure_broadcasts(sessions: &mut [Session]) {
    let (asker, others) = sessions.split_first_mut().unwrap();
    let mut times = Vec::new();
    for _ in 0..BROADCASTS {
        let begun = Instant::now();
        asker.call("relay_broadcast", &json!({"question": "what are you doing?", "timeout_seconds": 600}));
        others.iter_mut().for_each(|session| drop(session.hear_event()));
        times.push(begun.elapsed());
        // A channel whose results nobody reads takes no more calls.
        asker.0.hear();
    }
    let [median, late] = [50, 90].map(|n| percentile(&mut times, n));
    println!("broadcast until the last of {LISTENERS} has it: median {median:.0} us, p90 {late:.0} us");
}

fn echo() {
    let (mut stdin, mut stdout, mut bytes) = (std::io::stdin().lock(), std::io::stdout().lock(), [0; 4096]);
    while let Ok(n @ 1..) = stdin.read(&mut bytes) {
        stdout.write_all(&bytes[..n]).unwrap();
        stdout.flush().unwrap();
    }
}

/// A process that is spoken to in lines. Dropping it ends it.
struct Process {
    child: Child,
    input: UnixStream,
    output: BufReader<UnixStream>,
}

impl Process {
    fn start(command: &mut Command) -> Self {
        let ((input, stdin), (output, stdout)) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
        let command = command.stdin(OwnedFd::from(stdin)).stdout(OwnedFd::from(stdout)).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Self { child, input, output: BufReader::new(output) }
    }

    fn say(&mut self, line: &str) {
        self.input.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        assert!(self.output.read_line(&mut line).unwrap() > 0, "it has ended");
        line
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A session as its client sees it.
struct Session(Process);

impl Session {
    fn start(folder: &Path, socket: &Path) -> Self {
        std::fs::create_dir(folder).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_relay-channel"));
        command.current_dir(folder).env("RELAY_SOCKET", socket).env("RELAY_CHANNEL", "on");
        let mut session = Self(Process::start(&mut command));
        let client = json!({"name": "bench", "version": "1"});
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client});
        session.say(&json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}));
        session.0.hear();
        session.say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        session.say(&json!({"jsonrpc": "2.0", "id": 0, "method": "tools/list"}));
        session.0.hear();
        session
    }

    fn say(&mut self, message: &Value) {
        self.0.say(&message.to_string());
    }

    fn call(&mut self, tool: &str, arguments: &Value) {
        let params = json!({"name": tool, "arguments": arguments});
        self.say(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}));
    }

    /// Waits for a channel event, past the results of calls, which must all be good.
    fn hear_event(&mut self) -> Value {
        loop {
            let mut message: Value = serde_json::from_str(&self.0.hear()).unwrap();
            if message["method"] == "notifications/claude/channel" {
                return message["params"].take();
            }
            assert_eq!(message["result"]["isError"], false, "{message}");
        }
    }
}

/// Returns a figure of a process's memory.
fn kib(child: &Child, name: &str) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", child.id())).unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split_whitespace().next().unwrap_or("unknown").to_owned()
}

/// Returns microseconds.
fn percentile(times: &mut [Duration], percent: usize) -> f64 {
    times.sort_unstable();
    times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e6
}
