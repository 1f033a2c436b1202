//! What the command lines of `relay-hub`, `relay-channel` and `relay-bridge` take. It stands here and not in the programs, so that their
//! manual pages are made from the same definitions.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// Route messages between the Claude Code sessions of one user
///
/// Started by the service manager on the first connect, it takes the socket over and leaves when nobody has been
/// connected for a while. Started by hand it binds the socket and stays in the foreground.
#[derive(Debug, Parser)]
#[command(name = "relay-hub", version)]
pub struct HubArguments {
    /// Bind this socket instead of the usual one [env: RELAY_SOCKET], where none is handed over by a service manager
    #[arg(long, value_name = "PATH", value_parser = absolute)]
    pub socket: Option<PathBuf>,
    /// Leave after this time without a connection, such as 5m; the default where a service manager starts the hub
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub idle_timeout: Option<Duration>,
    /// Set a limit (can be repeated): connections, open_asks, held_bytes, queued_bytes, or rate=off, loop=off
    #[arg(long = "limit", value_name = "NAME=VALUE")]
    pub limits: Vec<String>,
    /// Make a session of its own and log to daily files: what `relayctl hub start` says.
    #[arg(long, hide = true)]
    pub detached: bool,
}

/// Connect one Claude Code session to claude-relay
///
/// Started by Claude Code as an MCP server on standard input and output.
#[derive(Debug, Parser)]
#[command(name = "relay-channel", version)]
pub struct ChannelArguments {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<SidecarCommand>,
}

/// What the plugins of the agents start beside the server.
#[derive(Debug, Clone, Subcommand)]
pub enum SidecarCommand {
    /// Wait for a message and wake the session with it: started by the plugin's SessionStart and Stop hooks
    Wait,
    /// Add waiting messages to a turn: started by the plugin's UserPromptSubmit and PostToolUse hooks
    Hook,
    /// Allow a call of a relay tool: started by the plugin's PreToolUse hook
    Allow,
    /// Print where the channel of an agent's session listens, for a plugin inside the agent
    Socket {
        /// The agent's process
        pid: u32,
        /// The agent's own id of the session, where its process holds several
        thread: Option<String>,
    },
}

/// Link the sessions of this machine with those of the person's other machines
///
/// Started by the service manager where machines are configured, or when one comes. It is a client of the hub, and starts
/// the transports that `relayctl machines add` has named.
#[derive(Debug, Parser)]
#[command(name = "relay-bridge", version)]
pub struct BridgeArguments {
    /// Find the hub at this socket instead of the usual one [env: RELAY_SOCKET]; the bridge's own is beside it
    #[arg(long, value_name = "PATH", value_parser = absolute)]
    pub socket: Option<PathBuf>,
    /// Leave after this time with no machine, such as 5m; the default where a service manager starts the bridge
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub idle_timeout: Option<Duration>,
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<BridgeCommand>,
}

/// What is done beside the service.
#[derive(Debug, Clone, Subcommand)]
pub enum BridgeCommand {
    /// Join standard input and output to the service, as the transport of another machine: what that machine runs here
    Stdio {
        /// The other machine, by its name here
        #[arg(long = "as", value_name = "MACHINE")]
        machine: String,
    },
}

/// Reads a duration with its unit.
fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "it has to be like 90s, 5m or 2h".to_owned())
}

/// Makes a path absolute: a relative one would be another place for each program.
fn absolute(path: &str) -> io::Result<PathBuf> {
    std::path::absolute(path)
}
