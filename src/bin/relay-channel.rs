//! The MCP server that one Claude Code session starts: `relay::channel` on stdin and stdout.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use relay::channel;
use relay::logging::{self, Log, Program};
use relay::paths::Environment;

/// Connects one Claude Code session to claude-relay. Started by Claude Code as an MCP server on stdin and stdout
#[derive(Debug, Parser)]
#[command(name = "relay-channel", version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Wait for a message and wake the session with it: started by the plugin's SessionStart and Stop hooks
    Wait,
    /// Add waiting messages to a turn: started by the plugin's UserPromptSubmit and PostToolUse hooks
    Hook,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let socket = Environment::of_process().socket();
    match arguments.command {
        // Both are silent: Claude Code would show what they log.
        Some(Command::Wait) => return channel::waiter::run(socket.ok()),
        Some(Command::Hook) => return channel::hook::run(socket.ok()),
        None => {}
    }
    let _log = logging::init(Program::Channel).unwrap_or_else(|error| {
        // A wrong filter is no reason to leave a session without its tools.
        let _nobody_reads = writeln!(io::stderr(), "relay-channel: {error}");
        Log::default()
    });
    match channel::run(socket) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "cannot serve");
            ExitCode::FAILURE
        }
    }
}
