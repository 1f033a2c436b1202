//! The hub: takes its socket over or binds it, and serves until it is idle or told to end.

use std::process::ExitCode;
use std::time::Duration;

use relay::activation::{self, Listener, SocketName};
use relay::arguments::HubArguments;
use relay::cli::programs::{self, ProgramError};
use relay::daemon::{self, DaemonConfig, ProgramFile, Signals};
use relay::hub::{HubInfo, Limits};
use relay::logging::{self, Log, Program};
use relay::paths::Environment;
use relay::runtime;
use sd_notify::NotifyState;

/// How long a socket-activated hub stays without a connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);

fn main() -> ExitCode {
    let file = ProgramFile::of_process();
    let arguments: HubArguments = match programs::arguments(tell_manager) {
        Ok(arguments) => arguments,
        Err(exit) => return exit,
    };
    // Before the log, which may start a thread: taking sockets over needs the process to have only one.
    let environment = Environment { socket_option: arguments.socket.clone(), ..Environment::of_process() };
    let listener = limits(&arguments)
        .and_then(|limits| Ok((limits, activation::acquire(SocketName::Hub, || environment.socket())?)));
    if arguments.detached {
        // Only the leader of a process group has no session of its own to make: it ends with no terminal either.
        let _leads = rustix::process::setsid();
    }
    let program = if arguments.detached { Program::DetachedHub } else { Program::Hub };
    let log = match logging::init(program) {
        Ok(log) => log,
        Err(error) => return fail(error.into(), Log::default()),
    };
    match listener.and_then(|(limits, listener)| run(limits, listener, arguments.idle_timeout, file)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error, log),
    }
}

/// Tells the service manager why the hub ends, which shows it to whoever asks for the unit's state.
fn tell_manager(said: &str) {
    // Where none has started it, none hears it.
    let _unheard = sd_notify::notify(&[NotifyState::Status(said)]);
}

fn fail(error: ProgramError, log: Log) -> ExitCode {
    tell_manager(&error.to_string());
    programs::fail(error, log)
}

/// Returns the limits that the variable and then the options set.
fn limits(arguments: &HubArguments) -> Result<Limits, ProgramError> {
    let mut limits = Limits::default();
    if let Ok(list) = std::env::var("RELAY_LIMITS") {
        limits.set_all(&list).map_err(|source| ProgramError::Limit { given: "RELAY_LIMITS", source })?;
    }
    for pair in &arguments.limits {
        limits.set(pair).map_err(|source| ProgramError::Limit { given: "--limit", source })?;
    }
    Ok(limits)
}

fn run(
    limits: Limits,
    listener: Listener,
    idle_timeout: Option<Duration>,
    file: Option<ProgramFile>,
) -> Result<(), ProgramError> {
    let default_timeout = listener.is_inherited().then_some(IDLE_TIMEOUT);
    let idle_timeout = idle_timeout.or(default_timeout);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        socket = listener.path().map(|path| path.display().to_string()),
        inherited = listener.is_inherited(),
        idle_timeout = idle_timeout.map(|time| humantime::format_duration(time).to_string()),
        "the hub has started"
    );
    let program = HubInfo { version: env!("CARGO_PKG_VERSION"), pid: std::process::id() };
    let config = DaemonConfig { limits, idle_timeout, program, activated: listener.is_inherited(), file };
    // The guard of a socket that was bound here goes with the hub, and the path with it.
    let (socket, bound) = match listener {
        Listener::Inherited(socket) => (socket, None),
        Listener::Bound(socket, path) => (socket, Some(path)),
    };
    let served = runtime::run(async move {
        let mut signals = Signals::new()?;
        let shutdown = async {
            tokio::select! {
                signal = signals.next() => signal,
                () = activation::lost(bound.as_ref()) => "the socket's path leads elsewhere",
            }
        };
        daemon::run(socket, config, shutdown).await
    })?;
    tracing::info!("the hub leaves");
    Ok(served?)
}
