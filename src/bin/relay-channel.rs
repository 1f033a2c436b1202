//! The MCP server that one Claude Code session starts: `relay::channel` on stdin and stdout.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use relay::channel;
use relay::logging::{self, Program};
use relay::paths::Environment;

/// Connects one Claude Code session to claude-relay. Started by Claude Code as an MCP server on stdin and stdout
#[derive(Debug, Parser)]
#[command(name = "relay-channel", version)]
struct Arguments {}

fn main() -> ExitCode {
    Arguments::parse();
    if let Err(error) = logging::init(Program::Channel) {
        // A wrong filter is no reason to leave a session without its tools.
        let _nobody_reads = writeln!(io::stderr(), "relay-channel: {error}");
    }
    match channel::run(Environment::of_process().socket()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "cannot serve");
            ExitCode::FAILURE
        }
    }
}
