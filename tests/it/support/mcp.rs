//! A small MCP client that plays Claude Code: it starts `relay-channel` as Node would, speaks JSON-RPC lines to it,
//! matches answers to requests and collects channel events.
//!
//! Everything takes `&self` and can be used from several threads. Whatever waits has a timeout and panics with what was
//! seen until then, so that a failing test says why.
#![allow(dead_code, reason = "each suite uses its part")]

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long an answer may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A session that is about to be started.
pub(crate) struct Builder {
    command: Command,
}

impl Builder {
    /// Returns a session whose channel is started by this command.
    pub(crate) fn of(command: Command) -> Self {
        Self { command }
    }

    /// Sets the folder that the session works in; it names the peer.
    pub(crate) fn cwd(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Sets a variable of the session's environment.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets where the hub listens.
    pub(crate) fn socket(self, path: &Path) -> Self {
        self.env("RELAY_SOCKET", path)
    }

    /// Starts the channel on two socket pairs, as Node does. Says nothing to it.
    pub(crate) fn spawn(mut self) -> Session {
        let (stdin, their_stdin) = UnixStream::pair().expect("a socket pair");
        let (stdout, their_stdout) = UnixStream::pair().expect("a socket pair");
        let child = self
            .command
            .stdin(OwnedFd::from(their_stdin))
            .stdout(OwnedFd::from(their_stdout))
            .stderr(Stdio::inherit())
            .spawn()
            .expect("relay-channel starts");
        // The command holds the child's ends, which would keep the streams open.
        drop(self.command);
        let heard = Arc::new((Mutex::new(Heard::default()), Condvar::new()));
        let listener = heard.clone();
        std::thread::spawn(move || listen(stdout, &listener));
        Session {
            pid: child.id(),
            child: Mutex::new(child),
            stdin: Mutex::new(stdin),
            next_id: AtomicI64::new(1),
            heard,
        }
    }

    /// Starts the channel and goes through the handshake, `tools/list` included, as Claude Code does.
    pub(crate) fn start(self) -> Session {
        let session = self.spawn();
        session.initialize();
        session.notify("notifications/initialized", json!({}));
        session.request("tools/list", json!({})).expect("tools/list is answered");
        session
    }
}

/// One session: the channel's process and the client's side of its stdio. Dropping it kills the process.
pub(crate) struct Session {
    /// The channel's process id.
    pub(crate) pid: u32,
    child: Mutex<Child>,
    stdin: Mutex<UnixStream>,
    next_id: AtomicI64,
    heard: Arc<(Mutex<Heard>, Condvar)>,
}

/// What the channel has said.
#[derive(Debug, Default)]
struct Heard {
    /// Answers that nobody has taken yet, by the id as JSON.
    answers: BTreeMap<String, Value>,
    events: VecDeque<Event>,
    /// Notifications that are no channel events.
    others: VecDeque<Value>,
    /// Every line, for the message of a failing test.
    transcript: String,
    ended: bool,
}

/// A channel event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// The text.
    pub(crate) content: String,
    /// What it is.
    pub(crate) meta: BTreeMap<String, String>,
    /// When it came.
    pub(crate) at: Instant,
}

impl Event {
    /// Returns a meta value, or the empty text where there is none.
    pub(crate) fn get(&self, key: &str) -> &str {
        self.meta.get(key).map_or("", String::as_str)
    }

    /// Returns what kind of event this is.
    pub(crate) fn kind(&self) -> &str {
        self.get("kind")
    }
}

/// The result of a tool call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    /// The JSON in its text block.
    pub(crate) json: Value,
    /// Whether it is an error.
    pub(crate) is_error: bool,
}

impl Answer {
    /// Returns the result of a call that must have worked.
    pub(crate) fn ok(self) -> Value {
        assert!(!self.is_error, "the call failed: {}", self.json);
        self.json
    }

    /// Returns the code of a call that must have failed.
    pub(crate) fn code(&self) -> &str {
        assert!(self.is_error, "the call worked: {}", self.json);
        self.json["error"]["code"].as_str().expect("an error has a code")
    }
}

/// A request that was sent and not yet answered.
pub(crate) struct Pending<'a> {
    session: &'a Session,
    /// Its JSON-RPC id.
    pub(crate) id: Value,
}

impl Pending<'_> {
    /// Waits for the result, or the error of the protocol.
    pub(crate) fn wait(self) -> Result<Value, Value> {
        let key = self.id.to_string();
        let mut answer =
            self.session.wait_for(PATIENCE, &format!("the answer to {key}"), |heard| heard.answers.remove(&key));
        match answer.get_mut("error") {
            Some(error) => Err(error.take()),
            None => Ok(answer["result"].take()),
        }
    }

    /// Waits for the result of a tool call.
    pub(crate) fn wait_for_tool(self) -> Answer {
        tool_answer(&self.wait().expect("the tool is known"))
    }

    /// Waits this long for the result of a tool call; none where it does not come or the channel ends.
    pub(crate) fn tool_within(self, time: Duration) -> Option<Answer> {
        let key = self.id.to_string();
        let answer = self.session.poll_for(time, |heard| heard.answers.remove(&key)).ok()?;
        Some(tool_answer(&answer["result"]))
    }
}

fn tool_answer(result: &Value) -> Answer {
    let content = result["content"].as_array().expect("a result has content");
    assert_eq!(content.len(), 1, "a result is one block");
    assert!(result.get("structuredContent").is_none(), "the client would show only this");
    let text = content[0]["text"].as_str().expect("the block is text");
    let json = serde_json::from_str(text).expect("the text is JSON");
    Answer { json, is_error: result["isError"].as_bool().unwrap_or(false) }
}

impl Session {
    /// Returns a session to be started in an environment that knows nothing of this machine's Claude Code or hub.
    pub(crate) fn builder() -> Builder {
        Self::builder_for(Path::new(env!("CARGO_BIN_EXE_relay-channel")))
    }

    /// Returns a [`Session::builder`] of a session whose channel is this program.
    pub(crate) fn builder_for(program: &Path) -> Builder {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if ["CLAUDE", "ANTHROPIC", "RELAY", "DISABLE_TELEMETRY", "AI_AGENT"].iter().any(|p| name.starts_with(p)) {
                command.env_remove(&*name);
            }
        }
        Self::builder_of(command).socket(&PathBuf::from("/nonexistent/relay-test/hub.sock"))
    }

    /// Returns a session whose channel this command starts.
    pub(crate) fn builder_of(command: Command) -> Builder {
        Builder { command }
    }

    /// Says `initialize` as Claude Code 2.1.330 does and returns the result.
    pub(crate) fn initialize(&self) -> Value {
        self.initialize_as(&json!({"name": "claude-code", "title": "Claude Code", "version": "2.1.330"}))
    }

    /// Says `initialize` as another client does and returns the result.
    pub(crate) fn initialize_as(&self, client: &Value) -> Value {
        let capabilities = json!({"roots": {"listChanged": true}, "elicitation": {"form": {}, "url": {}}});
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": client});
        self.request("initialize", params).expect("initialize is answered")
    }

    /// Sends a request and waits for its result or error.
    pub(crate) fn request(&self, method: &str, params: Value) -> Result<Value, Value> {
        self.send_request(method, params).wait()
    }

    /// Sends a request.
    pub(crate) fn send_request(&self, method: &str, params: Value) -> Pending<'_> {
        let id = json!(self.next_id.fetch_add(1, Ordering::Relaxed));
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        Pending { session: self, id }
    }

    /// Expects an answer to a request with this id, however it was sent.
    pub(crate) fn expect(&self, id: impl Into<Value>) -> Pending<'_> {
        Pending { session: self, id: id.into() }
    }

    /// Sends a request to a channel that may be dead or die of it; returns its result, if there is one within the time.
    pub(crate) fn try_request(&self, method: &str, params: Value, time: Duration) -> Option<Value> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let line = format!("{}\n", json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        self.stdin.lock().expect("no writer panics").write_all(line.as_bytes()).ok()?;
        self.poll_for(time, |heard| heard.answers.remove(&id.to_string()))
            .ok()
            .map(|mut answer| answer["result"].take())
    }

    /// Calls a tool and waits for its result.
    pub(crate) fn call(&self, tool: &str, arguments: Value) -> Answer {
        self.send_call(tool, arguments).wait_for_tool()
    }

    /// Calls a tool.
    pub(crate) fn send_call(&self, tool: &str, arguments: Value) -> Pending<'_> {
        self.send_request("tools/call", json!({"name": tool, "arguments": arguments}))
    }

    /// Cancels a request, as Claude Code does when its user presses Esc.
    pub(crate) fn cancel(&self, id: &Value) {
        self.notify("notifications/cancelled", json!({"requestId": id, "reason": "AbortError: user-cancel"}));
    }

    /// Sends a notification.
    pub(crate) fn notify(&self, method: &str, params: Value) {
        self.send(&json!({"jsonrpc": "2.0", "method": method, "params": params}));
    }

    /// Sends a message.
    pub(crate) fn send(&self, message: &Value) {
        self.send_raw(format!("{message}\n").as_bytes());
    }

    /// Sends bytes as they are. Who has died meanwhile answers nothing.
    pub(crate) fn send_raw(&self, bytes: &[u8]) {
        self.stdin.lock().expect("no writer panics").write_all(bytes).ok();
    }

    /// Waits for the next channel event.
    pub(crate) fn event(&self) -> Event {
        self.wait_for(PATIENCE, "a channel event", |heard| heard.events.pop_front())
    }

    /// Waits this long for the next channel event; none where none comes or the channel ends.
    pub(crate) fn event_within(&self, time: Duration) -> Option<Event> {
        self.poll_for(time, |heard| heard.events.pop_front()).ok()
    }

    /// Waits for the next channel event of this kind and puts others aside until it came; they keep their order.
    pub(crate) fn event_of(&self, kind: &str) -> Event {
        self.wait_for(PATIENCE, &format!("a channel event of kind {kind}"), |heard| {
            let at = heard.events.iter().position(|event| event.kind() == kind)?;
            heard.events.remove(at)
        })
    }

    /// Returns the channel events that came and were not taken, after waiting this long for more.
    pub(crate) fn events_within(&self, time: Duration) -> Vec<Event> {
        std::thread::sleep(time);
        self.heard().events.drain(..).collect()
    }

    /// Ends the channel's input, as a client that dies does.
    pub(crate) fn close(&self) {
        self.stdin.lock().expect("no writer panics").shutdown(Shutdown::Both).ok();
    }

    /// Sends a signal to the channel's process.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw).expect("a process id");
        rustix::process::kill_process(pid, signal).expect("the channel lives");
    }

    /// Waits for the process to end and returns how it ended and how long that took.
    pub(crate) fn wait(&self) -> (ExitStatus, Duration) {
        let start = Instant::now();
        let mut child = self.child.lock().expect("no waiter panics");
        while start.elapsed() < PATIENCE {
            if let Some(status) = child.try_wait().expect("the child is ours") {
                return (status, start.elapsed());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("the channel did not end; it said:\n{}", self.heard().transcript);
    }

    /// Returns whether the process still runs.
    pub(crate) fn is_alive(&self) -> bool {
        self.child.lock().expect("no waiter panics").try_wait().expect("the child is ours").is_none()
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.0.lock().expect("the listener does not panic")
    }

    fn wait_for<T>(&self, time: Duration, what: &str, take: impl FnMut(&mut Heard) -> Option<T>) -> T {
        self.poll_for(time, take)
            .unwrap_or_else(|transcript| panic!("{what} did not come; the channel said:\n{transcript}"))
    }

    /// Waits until something can be taken; the error is all that was heard.
    fn poll_for<T>(&self, time: Duration, mut take: impl FnMut(&mut Heard) -> Option<T>) -> Result<T, String> {
        let deadline = Instant::now() + time;
        let mut heard = self.heard();
        loop {
            if let Some(taken) = take(&mut heard) {
                return Ok(taken);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || heard.ended {
                return Err(heard.transcript.clone());
            }
            heard = self.heard.1.wait_timeout(heard, left).expect("the listener does not panic").0;
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Ok(child) = self.child.get_mut() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

fn listen(stdout: UnixStream, heard: &(Mutex<Heard>, Condvar)) {
    for line in BufReader::new(stdout).lines() {
        let Ok(line) = line else { break };
        let mut state = heard.0.lock().expect("no waiter panics with the lock");
        writeln!(state.transcript, "{line}").ok();
        let message: Value = serde_json::from_str(&line).unwrap_or(Value::Null);
        let params = &message["params"];
        if message.get("method").is_none() {
            state.answers.insert(message["id"].to_string(), message);
        } else if message["method"] == "notifications/claude/channel" {
            state.events.push_back(Event {
                content: params["content"].as_str().unwrap_or_default().to_owned(),
                meta: meta_of(&params["meta"]),
                at: Instant::now(),
            });
        } else {
            state.others.push_back(message);
        }
        heard.1.notify_all();
    }
    heard.0.lock().expect("no waiter panics with the lock").ended = true;
    heard.1.notify_all();
}

/// Reads meta as Claude Code does: one value that is no text, and the whole event is lost.
fn meta_of(meta: &Value) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let pairs = meta.as_object().into_iter().flatten();
    pairs.map(|(key, value)| Some((key.clone(), text(value)?))).collect::<Option<_>>().unwrap_or_default()
}
