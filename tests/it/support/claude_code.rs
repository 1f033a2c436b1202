//! Plays the parts of Claude Code that start the plugin's processes: this test process is the client, so its channel, its
//! waiters and its hooks belong together.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::hub_process::{HubProcess, RawClient, SOON};
use super::mcp::{Builder, Session};

/// Returns a session of Claude Code in this folder that is about to be started; its client's files are in `config`.
pub(crate) fn session(hub: &HubProcess, folder: &Path, config: &Path) -> Builder {
    Session::builder()
        .socket(&hub.socket())
        .cwd(folder)
        .env("CLAUDECODE", "1")
        .env("CLAUDE_CODE_ENTRYPOINT", "cli")
        .env("CLAUDE_CONFIG_DIR", config)
}

fn command(socket: &Path, what: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relay-channel"));
    command.arg(what).env("RELAY_SOCKET", socket).env_remove("CLAUDE_CODE_ENTRYPOINT");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A waiter; killed when it is dropped.
pub(crate) struct Waiter {
    child: Child,
}

impl Waiter {
    /// Starts a waiter, as the hooks `SessionStart` and `Stop` do.
    pub(crate) fn start(hub: &HubProcess) -> Self {
        Self::start_at(&hub.socket())
    }

    /// Starts a waiter for the hub at this socket.
    pub(crate) fn start_at(socket: &Path) -> Self {
        Self { child: command(socket, "wait").spawn().unwrap() }
    }

    /// Waits for its end; returns its status and what it wrote to standard error.
    #[track_caller]
    pub(crate) fn end(&mut self) -> (i32, String) {
        let end = Instant::now() + SOON * 2;
        while self.is_there() {
            assert!(Instant::now() < end, "the waiter does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
        let status = self.child.wait().unwrap().code().unwrap();
        let mut text = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        (status, text)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn is_there(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let _already_ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Runs a hook with this input, as Claude Code does. Returns what it printed, which must be nothing or one JSON object.
#[track_caller]
pub(crate) fn hook(hub: &HubProcess, input: &Value) -> Option<Value> {
    hook_at(&hub.socket(), input)
}

/// Runs a hook for the hub at this socket.
#[track_caller]
pub(crate) fn hook_at(socket: &Path, input: &Value) -> Option<Value> {
    let mut child = command(socket, "hook").spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    assert!(status.success() && stderr.is_empty(), "{status}: {}", String::from_utf8_lossy(&stderr));
    (!stdout.is_empty()).then(|| serde_json::from_slice(&stdout).unwrap())
}

/// Runs the hook of a prompt. Returns the context that it adds.
#[track_caller]
pub(crate) fn prompt(hub: &HubProcess, prompt: &str) -> Option<String> {
    let input = json!({"hook_event_name": "UserPromptSubmit", "session_id": "s", "cwd": "/", "prompt": prompt});
    let output = hook(hub, &input)?;
    assert_eq!(output["hookSpecificOutput"]["hookEventName"], "UserPromptSubmit");
    Some(output["hookSpecificOutput"]["additionalContext"].as_str().unwrap().to_owned())
}

/// Waits until a peer is shown with this value, and returns it.
#[track_caller]
pub(crate) fn wait_for_peer(client: &mut RawClient, name: &str, key: &str, value: &str) -> Value {
    let end = Instant::now() + SOON;
    loop {
        client.say(&json!({"type": "peers", "id": 77}));
        let answer = client.hear();
        let peers = answer["peers"].as_array().unwrap_or_else(|| panic!("{answer}"));
        if let Some(peer) = peers.iter().find(|peer| peer["name"] == name && peer[key] == value) {
            return peer.clone();
        }
        assert!(Instant::now() < end, "no {name} with {key}={value}: {answer}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
