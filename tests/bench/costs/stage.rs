//! What the measurements share: sessions as their clients see them, over the relay or over the null path, and figures.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{null_path, same_crates};

/// What a session's messages go over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// The release build of the programs.
    Relay,
    /// The same, with a waiter beside each channel, as in Claude Code.
    RelayWithWaiters,
    /// As many processes of the same crates and formats, without the promises.
    SameCrates,
    /// As many processes that pass on what they read, and do nothing else.
    Null,
}

const CHANNEL: &str = env!("CARGO_BIN_EXE_relay-channel");

impl Via {
    const fn is_relay(self) -> bool {
        matches!(self, Self::Relay | Self::RelayWithWaiters)
    }
}

/// A hub and its sessions, which are called s0, s1 and so on.
pub struct Room {
    via: Via,
    hub: Child,
    directory: tempfile::TempDir,
    pub sessions: Vec<Session>,
}

impl Room {
    /// Starts a hub and this many sessions.
    pub fn start(via: Via, sessions: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("run/hub.sock");
        let mut command = match via {
            Via::Relay | Via::RelayWithWaiters => Command::new(env!("CARGO_BIN_EXE_relay-hub")),
            Via::SameCrates => null_path::command(same_crates::HUB, &socket),
            Via::Null => null_path::command(null_path::HUB, &socket),
        };
        if via.is_relay() {
            command.arg("--socket").arg(&socket);
            for limit in ["rate=off", "loop=off", "open_asks=1000000", "connections=20000"] {
                command.args(["--limit", limit]);
            }
        }
        let log = File::create(directory.path().join("hub.log")).unwrap();
        let hub = command.stdin(Stdio::null()).stderr(log).spawn().unwrap();
        let mut room = Self { via, hub, directory, sessions: Vec::new() };
        room.connect();
        room.grow(sessions);
        if via.is_relay() {
            // The hub's grace period lasts two seconds, and channels hold their first events back for half of one.
            std::thread::sleep(relay::hub::GRACE + Duration::from_secs(1));
        }
        room
    }

    /// Starts sessions until there are so many.
    pub fn grow(&mut self, sessions: usize) {
        for n in self.sessions.len()..sessions {
            let folder = self.directory.path().join(format!("s{n}"));
            std::fs::create_dir(&folder).unwrap();
            self.sessions.push(Session::start(self.via, &folder, &self.socket()));
        }
    }

    /// Connects to the hub as soon as it listens.
    pub fn connect(&self) -> UnixStream {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            match UnixStream::connect(self.socket()) {
                Ok(stream) => return stream,
                Err(error) => assert!(Instant::now() < end, "the hub does not listen: {error}"),
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("run/hub.sock")
    }

    pub fn hub_pid(&self) -> u32 {
        self.hub.id()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.sessions.clear();
        self.hub.kill().unwrap();
        self.hub.wait().unwrap();
    }
}

/// A process that is spoken to in lines. Dropping it ends it.
pub struct Process {
    child: Child,
    input: UnixStream,
    output: BufReader<UnixStream>,
    line: String,
}

impl Process {
    pub fn start(mut command: Command) -> Self {
        let ((input, stdin), (output, stdout)) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
        command.stdin(OwnedFd::from(stdin)).stdout(OwnedFd::from(stdout)).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        Self { child, input, output: BufReader::new(output), line: String::new() }
    }

    pub fn say(&mut self, line: &str) {
        self.input.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    pub fn hear(&mut self) -> &str {
        self.line.clear();
        assert!(self.output.read_line(&mut self.line).unwrap() > 0, "it has ended");
        &self.line
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A session as its client sees it.
pub struct Session {
    via: Via,
    process: Process,
    calls: u64,
}

impl Session {
    fn start(via: Via, folder: &Path, socket: &Path) -> Self {
        let mut command = match via {
            Via::Relay => Command::new(CHANNEL),
            Via::RelayWithWaiters => {
                let mut agent = Command::new("sh");
                agent.args(["-c", "$0 wait </dev/null >/dev/null 2>&1 & $0; :", CHANNEL]);
                agent
            }
            Via::SameCrates => null_path::command(same_crates::SESSION, socket),
            Via::Null => null_path::command(null_path::SESSION, socket),
        };
        command.current_dir(folder).env("RELAY_SOCKET", socket).env("RELAY_CHANNEL", "on");
        if via == Via::RelayWithWaiters {
            command.env("CLAUDECODE", "1").env("CLAUDE_CODE_ENTRYPOINT", "cli").env("CLAUDE_CONFIG_DIR", folder);
        }
        let mut session = Self { via, process: Process::start(command), calls: 0 };
        match via {
            Via::Null | Via::SameCrates => session.process.say(folder.file_name().unwrap().to_str().unwrap()),
            Via::Relay => session.begin("bench"),
            Via::RelayWithWaiters => session.begin("claude-code"),
        }
        session
    }

    fn begin(&mut self, client: &str) {
        let client = json!({"name": client, "version": "1"});
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client});
        self.say(&json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}));
        self.process.hear();
        self.say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        self.say(&json!({"jsonrpc": "2.0", "id": 0, "method": "tools/list"}));
        self.process.hear();
    }

    fn say(&mut self, message: &Value) {
        self.process.say(&message.to_string());
    }

    fn call(&mut self, tool: &str, arguments: &Value) {
        self.calls += 1;
        let params = json!({"name": tool, "arguments": arguments});
        self.say(&json!({"jsonrpc": "2.0", "id": self.calls, "method": "tools/call", "params": params}));
    }

    /// Returns the listing of all sessions, as text.
    pub fn list(&mut self) -> String {
        self.call("relay_peers", &json!({}));
        self.process.hear().to_owned()
    }

    /// Asks another session.
    pub fn ask(&mut self, to: &str, question: &str) {
        self.call("relay_ask", &json!({"to": to, "question": question}));
    }

    /// Asks all others.
    pub fn broadcast(&mut self, question: &str) {
        let mut arguments = json!({"question": question, "timeout_seconds": 600});
        if self.via == Via::Null {
            arguments["to"] = "*".into();
        }
        self.call("relay_broadcast", &arguments);
    }

    /// Answers an ask of a session.
    pub fn reply(&mut self, to: &str, ask: &str, text: &str) {
        match self.via {
            Via::Relay | Via::RelayWithWaiters | Via::SameCrates => {
                self.call("relay_reply", &json!({"ask_id": ask, "text": text}))
            }
            Via::Null => self.call("relay_reply", &json!({"to": to, "text": text})),
        }
    }

    /// Waits for what comes next: returns of a message what its reply names, and nothing of the result of a call.
    pub fn hear(&mut self) -> Option<String> {
        let via = self.via;
        let line = self.process.hear();
        if via == Via::Null {
            return (!line.starts_with(null_path::DONE)).then(String::new);
        }
        let message: Value = serde_json::from_str(line).unwrap();
        if message["method"] == "notifications/claude/channel" {
            return Some(message["params"]["meta"]["ask_id"].as_str().unwrap().to_owned());
        }
        assert_eq!(message["result"]["isError"], false, "{message}");
        None
    }

    /// Waits for a message, past the results of calls, and returns what its reply names.
    pub fn hear_message(&mut self) -> String {
        loop {
            if let Some(ask) = self.hear() {
                return ask;
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// Returns the processes that it has started, by their command lines.
    pub fn children(&self) -> Vec<(String, u32)> {
        let pid = self.pid();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        let pids = children.split_whitespace().map(|pid| pid.parse::<u32>().unwrap());
        pids.map(|pid| (std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap(), pid)).collect()
    }
}

/// Returns a figure of a process's memory, in KiB.
pub fn kib(pid: u32, name: &str) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

/// Returns the processor time that a process has had.
pub fn cpu(pid: u32) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}

/// Returns how often a process has waited for something.
pub fn wake_ups(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
    line.trim().parse().unwrap()
}

pub fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split_whitespace().next().unwrap_or("unknown").to_owned()
}

/// Times of one kind.
#[derive(Default)]
pub struct Times(Vec<Duration>);

impl Times {
    pub fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Returns microseconds.
    pub fn percentile(&mut self, percent: usize) -> f64 {
        self.0.sort_unstable();
        self.0[(self.0.len() - 1) * percent / 100].as_secs_f64() * 1e6
    }
}

/// Prints a figure of the relay and of the floors in the same run, and how often these go into it.
pub fn print_row(what: &str, figures: &[(&str, f64)]) {
    let mut row = format!("{what:<44}");
    let (_, first) = figures[0];
    for (name, figure) in figures {
        let _ = write!(row, " {name} {figure:>8.0}");
        if (figure - first).abs() > f64::EPSILON {
            let _ = write!(row, " ({:.2}x)", first / figure);
        }
    }
    println!("{row}");
}
