//! The MCP server that one Claude Code session starts: `relay::channel` on stdin and stdout.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use relay::arguments::{ChannelArguments, Companion};
use relay::channel;
use relay::logging::{self, Log, Program};
use relay::paths::Environment;

fn main() -> ExitCode {
    let arguments = ChannelArguments::parse();
    let socket = Environment::of_process().socket();
    match arguments.command {
        // Both are silent: Claude Code would show what they log.
        Some(Companion::Wait) => return channel::waiter::run(socket.ok()),
        Some(Companion::Hook) => return channel::hook::run(socket.ok()),
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
