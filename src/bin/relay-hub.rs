//! The hub: takes its socket over or binds it, and serves until it is idle or told to end.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use relay::activation::{self, Listener};
use relay::daemon::{self, DaemonConfig, ProgramFile};
use relay::hub::{self, Limits};
use relay::logging::{self, Program};
use relay::paths::Environment;

/// How long a socket-activated hub stays without a connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);

/// Route messages between the Claude Code sessions of one user.
///
/// Started by the service manager on the first connect, it takes the socket over and leaves when nobody has been
/// connected for a while. Started by hand it binds the socket and stays in the foreground.
#[derive(Debug, Parser)]
#[command(name = "relay-hub", version, about)]
struct Arguments {
    /// Bind this socket instead of the usual one [env: RELAY_SOCKET], where none is handed over by a service manager
    #[arg(long, value_name = "PATH", value_parser = absolute)]
    socket: Option<PathBuf>,
    /// Leave after this time without a connection, such as 5m; the default where a service manager starts the hub
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    idle_timeout: Option<Duration>,
    /// Set a limit (can be repeated): connections, open_asks, held_bytes, queued_bytes, or rate=off, loop=off
    #[arg(long = "limit", value_name = "NAME=VALUE")]
    limits: Vec<String>,
}

/// Makes a path absolute: a relative one would be another place for each program.
fn absolute(path: &str) -> io::Result<PathBuf> {
    std::path::absolute(path)
}

fn main() -> ExitCode {
    let file = ProgramFile::of_process();
    let arguments = Arguments::parse();
    // Before the log, which may start a thread: taking sockets over needs the process to have only one.
    let place = arguments.socket.clone();
    let listener = activation::acquire(|| place.map_or_else(|| Environment::of_process().socket(), Ok));
    let _log = match logging::init(Program::Hub) {
        Ok(log) => log,
        Err(error) => {
            let _nobody_reads = writeln!(io::stderr(), "relay-hub: {error}");
            return ExitCode::FAILURE;
        }
    };
    match listener.context("no socket to listen on").and_then(|listener| run(&arguments, listener, file)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments, listener: Listener, file: Option<ProgramFile>) -> anyhow::Result<()> {
    let mut limits = Limits::default();
    if let Ok(list) = std::env::var("RELAY_LIMITS") {
        limits.set_all(&list).context("RELAY_LIMITS")?;
    }
    for pair in &arguments.limits {
        limits.set(pair).context("--limit")?;
    }
    let default_timeout = listener.is_inherited().then_some(IDLE_TIMEOUT);
    let idle_timeout = arguments.idle_timeout.or(default_timeout);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        socket = listener.path().map(|path| path.display().to_string()),
        inherited = listener.is_inherited(),
        idle_timeout = idle_timeout.map(|time| humantime::format_duration(time).to_string()),
        "the hub has started"
    );
    let program = hub::Program { version: env!("CARGO_PKG_VERSION"), pid: std::process::id() };
    let config = DaemonConfig { limits, idle_timeout, program, activated: listener.is_inherited(), file };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    // The guard of a socket that was bound here goes at the end of this function, and the path with it.
    let (socket, _bound) = match listener {
        Listener::Inherited(socket) => (socket, None),
        Listener::Bound(socket, path) => (socket, Some(path)),
    };
    let served = tokio::task::LocalSet::new().block_on(&runtime, daemon::run(socket, config));
    tracing::info!("the hub leaves");
    served.context("the hub cannot serve")
}
