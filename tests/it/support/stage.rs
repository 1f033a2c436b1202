//! A real hub, real sessions in folders of their own, and a shell beside them.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::hub_process::{HubProcess, SOON};
use super::mcp::{Builder, Event, Session};

/// A hub and the folders of its sessions.
pub(crate) struct Stage {
    pub(crate) hub: HubProcess,
    folders: tempfile::TempDir,
}

impl Stage {
    /// Starts a hub with these further arguments. It has not settled yet.
    pub(crate) fn new(arguments: &[&str]) -> Self {
        Self::with(HubProcess::start(arguments))
    }

    /// Returns a stage with this hub.
    pub(crate) fn with(hub: HubProcess) -> Self {
        Self { hub, folders: tempfile::tempdir().unwrap() }
    }

    /// Starts a hub with these further arguments that waits for no client of a former one.
    pub(crate) fn settled(arguments: &[&str]) -> Self {
        let stage = Self::new(arguments);
        stage.hub.settle();
        stage
    }

    /// Returns where the sessions' folders are.
    pub(crate) fn folders(&self) -> &Path {
        self.folders.path()
    }

    /// Starts a session that takes channel events; returns when it is a peer. Its folder may be a path: `one/web`.
    pub(crate) fn session(&self, folder: &str) -> Session {
        let session = self.start(folder, "on");
        session.call("relay_peers", json!({})).ok();
        session
    }

    /// Starts a session that nothing can wake; returns when it is a peer.
    pub(crate) fn held_session(&self, folder: &str) -> Session {
        let session = self.start(folder, "off");
        session.call("relay_peers", json!({})).ok();
        session
    }

    /// Starts a session without waiting for the hub.
    pub(crate) fn start(&self, folder: &str, channel: &str) -> Session {
        self.start_builder(Session::builder(), folder, channel)
    }

    /// Starts a session with another channel program without waiting for the hub.
    pub(crate) fn start_program(&self, program: &Path, folder: &str) -> Session {
        self.start_builder(Session::builder_for(program), folder, "on")
    }

    fn start_builder(&self, builder: Builder, folder: &str, channel: &str) -> Session {
        let cwd = self.folders.path().join(folder);
        std::fs::create_dir_all(&cwd).unwrap();
        builder.cwd(&cwd).env("RELAY_CHANNEL", channel).socket(&self.hub.socket()).start()
    }

    /// Returns `relayctl` with these arguments, in an environment that knows this hub.
    pub(crate) fn relayctl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_relayctl"));
        command.args(arguments).env("RELAY_SOCKET", self.hub.socket()).env("NO_COLOR", "1");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Waits until what one session sees of the others is as wanted, and returns it.
    #[track_caller]
    pub(crate) fn wait_for_peers(&self, session: &Session, wanted: impl Fn(&[Value]) -> bool) -> Value {
        let end = Instant::now() + SOON;
        loop {
            let peers = session.call("relay_peers", json!({})).ok();
            if wanted(peers["peers"].as_array().unwrap()) {
                return peers;
            }
            assert!(Instant::now() < end, "{peers}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Asks and returns the id of the accepted ask.
#[track_caller]
pub(crate) fn ask(from: &Session, to: &str, question: &str, timeout_seconds: u64) -> String {
    let arguments = json!({"to": to, "question": question, "timeout_seconds": timeout_seconds});
    text(&from.call("relay_ask", arguments).ok()["ask_id"])
}

/// Answers a question that a session was shown.
#[track_caller]
pub(crate) fn reply(from: &Session, ask: &Event, text: &str) -> Value {
    from.call("relay_reply", json!({"ask_id": ask.get("ask_id"), "text": text})).ok()
}

/// Waits for the next event of a session and until the hub knows that it was handed over.
#[track_caller]
pub(crate) fn seen(session: &Session) -> Event {
    let event = session.event();
    // What a channel says to the hub arrives in order: this comes behind the progress.
    session.call("relay_peers", json!({})).ok();
    event
}

/// Returns a JSON text.
#[track_caller]
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

/// Returns a session's name.
#[track_caller]
pub(crate) fn name(session: &Session) -> String {
    text(&session.call("relay_peers", json!({})).ok()["you"])
}

/// Returns an event as text, with random ids replaced by what they stand for.
pub(crate) fn shown(event: &Event, ids: &[(&str, &str)]) -> String {
    masked(&format!("{}\n{}", serde_json::to_string(&event.meta).unwrap(), event.content), ids)
}

/// Replaces random ids by what they stand for, and how long ago something was.
pub(crate) fn masked(text: &str, ids: &[(&str, &str)]) -> String {
    let text = ids.iter().fold(text.to_owned(), |text, (id, meaning)| text.replace(id, meaning));
    (0..10).fold(text, |text, seconds| text.replace(&format!(", {seconds} s ago"), ", N s ago"))
}

/// Returns what a script sees of a command that has ended.
pub(crate) fn told(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n--- stdout\n{}--- stderr\n{}", output.status, text(&output.stdout), text(&output.stderr))
}

/// Runs a command to its end and returns what a script sees of it.
pub(crate) fn run(mut command: Command) -> String {
    told(&command.output().unwrap())
}
