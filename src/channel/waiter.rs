//! `relay-channel wait`: the process whose end wakes the session.
//!
//! Claude Code starts it in the background (hooks `SessionStart` and `Stop` with `asyncRewake`) and, when it ends with
//! status 2, starts a turn with what it wrote to standard error (seen in 2.1.197 and 2.1.330). It waits without using the
//! processor, and ends without a word when a newer one has come, its session's channel or client is gone, or no hub is
//! there.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::client_process;
use super::companion::{Companion, Role};
use super::session;
use crate::runtime;

/// The status that makes Claude Code start a turn with what stands on standard error.
const WAKE: u8 = 2;

/// How long it waits for a hub that is away. Without a hub nobody supersedes it, and each turn starts another.
const HUB_WAIT: Duration = Duration::from_secs(10);

/// Waits until there is something to wake the session with. Errors are silent: Claude Code shows nothing of them.
pub fn run(socket: Option<PathBuf>) -> ExitCode {
    // Nobody sits before such a session, and it waits for its hooks at its end.
    if session::is_headless_process() {
        return ExitCode::SUCCESS;
    }
    let (Some(socket), Some(client)) = (socket, client_process::parent()) else { return ExitCode::SUCCESS };
    let text = runtime::run(async move {
        let waiter = Companion::new(Role::Waiter, socket, client, Vec::new(), HUB_WAIT);
        tokio::select! {
            biased;
            _ended = client_process::parent_ended(client) => None,
            text = waiter.run() => text,
        }
    });
    match text.ok().flatten() {
        Some(text) if io::stderr().write_all(text.as_bytes()).is_ok() => ExitCode::from(WAKE),
        Some(_) | None => ExitCode::SUCCESS,
    }
}
