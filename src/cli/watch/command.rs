//! `relayctl watch --exec`: a command that is run for each change, one after another, and reads it on its standard input.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::spawn_local;

/// How many changes wait for a command that is slower than they come.
const WAITING: usize = 1024;

/// Runs a command of the shell, on the runtime's thread, beside whoever hands it changes.
pub(super) struct Runner {
    changes: Sender<String>,
    failures: Receiver<String>,
    /// Whether changes are passed over.
    is_behind: bool,
}

impl Runner {
    /// Returns a runner of this command, which has nothing to do yet.
    pub(super) fn start(command: String) -> Self {
        let (changes, waiting) = channel(WAITING);
        let (failed, failures) = channel(1);
        spawn_local(run(command, waiting, failed));
        Self { changes, failures, is_behind: false }
    }

    /// Hands over a change as a line of JSON. Where too many wait it is passed over, and what is to be said of the first of
    /// those is returned.
    pub(super) fn hand_over(&mut self, change: String) -> Option<&'static str> {
        let was_behind = self.is_behind;
        self.is_behind = self.changes.try_send(change).is_err();
        let begins = self.is_behind && !was_behind;
        begins.then_some("the command is slower than the changes come: it is not run for some of them")
    }

    /// Returns how the command failed, once it has. May be dropped at any time without loss.
    pub(super) async fn failure(&mut self) -> String {
        match self.failures.recv().await {
            Some(failure) => failure,
            // Whoever runs it goes on for as long as this is there.
            None => std::future::pending().await,
        }
    }
}

async fn run(command: String, mut waiting: Receiver<String>, failed: Sender<String>) {
    while let Some(change) = waiting.recv().await {
        if let Err(failure) = run_once(&command, &change).await {
            // Whoever is still being told of the last one hears of this kind soon enough.
            let _full = failed.try_send(failure);
        }
    }
}

async fn run_once(command: &str, change: &str) -> Result<(), String> {
    let cannot = |error| format!("the command cannot be run: {error}");
    let mut shell = Command::new("sh");
    let mut child = shell.args(["-c", command]).stdin(Stdio::piped()).spawn().map_err(cannot)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command need not read it.
        let _unread = stdin.write_all(format!("{change}\n").as_bytes()).await;
    }
    let status = child.wait().await.map_err(cannot)?;
    if status.success() { Ok(()) } else { Err(format!("the command ended with {status}")) }
}
