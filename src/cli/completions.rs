//! `relayctl completions`: what a shell completes, commands and options as well as the names of the sessions that are there.
//!
//! The script that is printed asks this program at each completion, in the variable `COMPLETE`.

use std::ffi::OsStr;
use std::time::Duration;

use clap::Args;
use clap::builder::StyledStr;
use clap_complete::CompletionCandidate;
use clap_complete::Shell;
use clap_complete::env::{CompleteEnv, Shells};

use super::error::{CliError, Exit};
use super::output::{Line, visible_line};
use super::{Cli, Context, PROGRAM, wording};
use crate::client::{ClientConfig, HubClient};
use crate::paths::Environment;
use crate::protocol::{ClientKey, ClientKind, PeerView};
use crate::runtime;

/// Print the completions for a shell
///
/// bash: relayctl completions bash > ~/.local/share/bash-completion/completions/relayctl
#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// Which shell
    shell: Shell,
}

/// The variable in which a shell says that it wants a completion, and which shell it is.
const VARIABLE: &str = "COMPLETE";

/// How long somebody who presses a key waits for a hub.
const PATIENCE: Duration = Duration::from_millis(500);

impl CompletionsArgs {
    /// Prints the script.
    ///
    /// # Errors
    /// stdout cannot be written.
    #[expect(clippy::unused_async, reason = "every subcommand is run alike")]
    pub(super) async fn run(self, context: &mut Context) -> Result<Exit, CliError> {
        let script = script(&self.shell.to_string())?;
        context.out.print(&Line::of(script.trim_end()))?;
        Ok(Exit::Done)
    }
}

fn script(shell: &str) -> Result<String, CliError> {
    let mut script = Vec::new();
    if let Some(shell) = Shells::builtins().completer(shell) {
        shell.write_registration(VARIABLE, "relayctl", "relayctl", "relayctl", &mut script)?;
    }
    Ok(String::from_utf8_lossy(&script).into_owned())
}

/// Answers the shell that wants a completion, and ends the program; returns where none wants one.
pub(super) fn answer_shell() {
    CompleteEnv::with_factory(<Cli as clap::CommandFactory>::command).var(VARIABLE).complete();
}

/// Returns the names of the sessions that begin so, with what tells them apart; none where no hub answers soon.
pub(super) fn session_names(begin: &OsStr) -> Vec<CompletionCandidate> {
    let Some(begin) = begin.to_str().map(str::to_lowercase) else { return Vec::new() };
    // Where several are named, the last is completed.
    let (before, begin) = begin.split_at(begin.rfind(',').map_or(0, |comma| comma + 1));
    let sessions = runtime::run(sessions()).unwrap_or_default();
    let fitting = sessions.into_iter().filter(|session| session.name.as_str().starts_with(begin));
    let home = Environment::of_process().home;
    fitting.map(|session| candidate(&session, home.as_deref()).add_prefix(before)).collect()
}

fn candidate(session: &PeerView, home: Option<&std::path::Path>) -> CompletionCandidate {
    // Another machine may not tell where its sessions work.
    let folder = match &session.machine {
        Some(machine) if session.presence.cwd.is_empty() => format!("on {machine}"),
        Some(_) | None => visible_line(&wording::folder(&session.presence.cwd, home)),
    };
    CompletionCandidate::new(session.name.as_str()).help(Some(StyledStr::from(folder)))
}

async fn sessions() -> Vec<PeerView> {
    let environment = Environment::of_process();
    let Ok(socket) = environment.socket() else { return Vec::new() };
    let mut hub = HubClient::new(ClientConfig {
        socket,
        named_by: environment.socket_named_by(),
        program: PROGRAM.to_owned(),
        kind: ClientKind::Control { key: ClientKey::random() },
    });
    let peers = tokio::time::timeout(PATIENCE, hub.peers()).await;
    hub.bye().await;
    peers.ok().and_then(Result::ok).map(|peers| peers.peers).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_gets_a_script_that_asks_this_program() {
        for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
            let script = script(shell).unwrap();
            assert!(script.contains("relayctl") && script.contains(VARIABLE), "{shell}: {script}");
        }
    }
}
