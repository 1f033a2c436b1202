//! The MCP server that one Claude Code session starts: `relay::channel` on stdin and stdout.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use relay::channel;
use relay::protocol::{ErrorCode, Refusal};

/// Connects one Claude Code session to claude-relay. Started by Claude Code as an MCP server on stdin and stdout
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {}

fn main() -> ExitCode {
    Arguments::parse();
    match channel::run(socket()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "cannot serve");
            ExitCode::FAILURE
        }
    }
}

/// Returns where the hub listens.
fn socket() -> Result<PathBuf, Refusal> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("RELAY_SOCKET").or_else(|| set("XDG_RUNTIME_DIR").map(|runtime| runtime.join("relay/hub.sock"))).ok_or_else(
        || Refusal::new(ErrorCode::HubUnreachable, "it is not known where the hub listens", "set RELAY_SOCKET"),
    )
}
