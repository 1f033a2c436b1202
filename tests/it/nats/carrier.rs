//! `relay-nats` as the bridge starts it: lines in, lines out.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::keys::Key;

/// How long anything has to happen.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How long nothing is waited for.
const QUIET: Duration = Duration::from_millis(400);

/// A running `relay-nats`.
pub struct Carrier {
    child: Child,
    input: Option<ChildStdin>,
    output: Option<ChildStdout>,
    lines: Option<Receiver<Value>>,
    said: Arc<Mutex<String>>,
}

impl Carrier {
    /// Starts it for a machine that has an NKey, and waits until it is up.
    pub fn up(url: &str, machine: &str, key: &Key) -> Self {
        let carrier = Self::with_key(url, machine, key);
        assert_eq!(carrier.next()["state"], "up", "{}", carrier.said());
        carrier
    }

    /// Starts it for a machine that has an NKey.
    pub fn with_key(url: &str, machine: &str, key: &Key) -> Self {
        Self::start(url, machine, &["--nkey", key.file().to_str().unwrap()])
    }

    /// Starts it.
    pub fn start(url: &str, machine: &str, options: &[&str]) -> Self {
        let mut carrier = Self::unread(url, machine, options);
        carrier.read();
        carrier
    }

    /// Starts it without reading what it writes.
    pub fn unread(url: &str, machine: &str, options: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_relay-nats"));
        command.args(["--server", url, "--as", machine]).args(options).env_remove("RELAY_LOG");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let (errors, kept) = (BufReader::new(child.stderr.take().unwrap()), Arc::clone(&said));
        thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                kept.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        let (input, output) = (child.stdin.take(), child.stdout.take());
        Self { child, input, output, lines: None, said }
    }

    /// Begins to read what it writes.
    pub fn read(&mut self) {
        let output = BufReader::new(self.output.take().unwrap());
        let (tell, lines) = channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _unheard = tell.send(serde_json::from_str(&line).expect("a line is JSON"));
            }
        });
        self.lines = Some(lines);
    }

    /// Reads a little of what it writes, while nobody reads the rest.
    pub fn read_once(&mut self) -> String {
        let mut room = [0; 64];
        let n = self.output.as_mut().unwrap().read(&mut room).unwrap();
        String::from_utf8(room[..n].to_vec()).unwrap()
    }

    /// Writes a line for another machine.
    pub fn send(&mut self, to: &str, line: &str) {
        self.write(&json!({"to": to, "line": line}).to_string());
    }

    /// Writes a line of any form.
    pub fn write(&mut self, line: &str) {
        self.input.as_mut().unwrap().write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Waits for what it writes next.
    pub fn next(&self) -> Value {
        self.try_next(PATIENCE).unwrap_or_else(|| panic!("it wrote nothing; on stderr: {}", self.said()))
    }

    /// Waits for what it writes next, for a while.
    pub fn try_next(&self, patience: Duration) -> Option<Value> {
        self.lines.as_ref().unwrap().recv_timeout(patience).ok()
    }

    /// Waits for a state.
    pub fn state(&self, state: &str) -> Value {
        let next = self.next();
        assert_eq!(next["state"], state, "{next} {}", self.said());
        next
    }

    /// Sees that it writes nothing for a while.
    pub fn stays_silent(&self) {
        let next = self.try_next(QUIET);
        assert_eq!(next, None);
    }

    /// Returns what it has said on stderr.
    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Waits until it says this on stderr.
    pub fn says(&self, what: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.said().contains(what) {
            assert!(Instant::now() < end, "it did not say {what:?}: {}", self.said());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Returns one of the sizes that the system keeps of it, in KiB: `VmHWM` is the most memory that it has had.
    pub fn size(&self, what: &str) -> u64 {
        let status = fs::read_to_string(Path::new("/proc").join(self.child.id().to_string()).join("status")).unwrap();
        let line = status.lines().find(|line| line.starts_with(what)).unwrap();
        line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Closes its input.
    pub fn close(&mut self) {
        self.input = None;
    }

    /// Waits until it has ended, and returns how and after how long.
    pub fn end(&mut self) -> (ExitStatus, Duration) {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, start.elapsed());
            }
            assert!(start.elapsed() < PATIENCE, "it does not end: {}", self.said());
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}
