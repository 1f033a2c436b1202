//! The hub: takes its socket over or binds it, and serves until it is idle or told to end.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use relay::activation::{self, Listener};
use relay::arguments::HubArguments;
use relay::daemon::{self, DaemonConfig, ProgramFile};
use relay::hub::{self, Limits};
use relay::logging::{self, Program};
use relay::paths::Environment;
use relay::runtime;

/// How long a socket-activated hub stays without a connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);

fn main() -> ExitCode {
    let file = ProgramFile::of_process();
    let arguments = HubArguments::parse();
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

fn run(arguments: &HubArguments, listener: Listener, file: Option<ProgramFile>) -> anyhow::Result<()> {
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
    // The guard of a socket that was bound here goes at the end of this function, and the path with it.
    let (socket, _bound) = match listener {
        Listener::Inherited(socket) => (socket, None),
        Listener::Bound(socket, path) => (socket, Some(path)),
    };
    let served = runtime::run(daemon::run(socket, config)).context("no runtime")?;
    tracing::info!("the hub leaves");
    served.context("the hub cannot serve")
}
