//! The bridge: links the sessions of this machine with those of the person's other machines, or is a pipe to that service.

use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use relay::activation::{self, Listener, SocketName};
use relay::arguments::{BridgeArguments, BridgeCommand};
use relay::bridge::{self, service};
use relay::cli::programs::{self, ProgramError};
use relay::daemon::Signals;
use relay::logging::{self, Log, Program};
use relay::paths::Environment;
use relay::runtime;
use sd_notify::NotifyState;

/// How long a socket-activated bridge stays with no machine.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);

fn main() -> ExitCode {
    let arguments: BridgeArguments = match programs::arguments(tell_manager) {
        Ok(arguments) => arguments,
        Err(exit) => return exit,
    };
    let environment = Environment { socket_option: arguments.socket.clone(), ..Environment::of_process() };
    if let Some(BridgeCommand::Stdio { machine }) = arguments.command {
        let joined = environment.bridge_socket().map_err(|error| ProgramError::Socket(error.into()));
        let joined = joined.and_then(|socket| bridge::stdio::run(&socket, &machine).map_err(ProgramError::Bridge));
        return joined.map_or_else(|error| programs::fail(error, Log::default()), |()| ExitCode::SUCCESS);
    }
    // Before the log, which may start a thread: taking sockets over needs the process to have only one.
    let listener = activation::acquire(SocketName::Bridge, || environment.bridge_socket());
    let log = match logging::init(Program::Bridge) {
        Ok(log) => log,
        Err(error) => return fail(error.into(), Log::default()),
    };
    let served =
        listener.map_err(ProgramError::from).and_then(|listener| run(listener, &environment, arguments.idle_timeout));
    served.map_or_else(|error| fail(error, log), |()| ExitCode::SUCCESS)
}

/// Tells the service manager why the bridge ends, which shows it to whoever asks for the unit's state.
fn tell_manager(said: &str) {
    // Where none has started it, none hears it.
    let _unheard = sd_notify::notify(&[NotifyState::Status(said)]);
}

fn fail(error: ProgramError, log: Log) -> ExitCode {
    tell_manager(&error.to_string());
    programs::fail(error, log)
}

fn run(listener: Listener, environment: &Environment, idle_timeout: Option<Duration>) -> Result<(), ProgramError> {
    let hub_socket = environment.socket().map_err(|error| ProgramError::Socket(error.into()))?;
    let programs =
        std::env::current_exe().ok().and_then(|path| path.parent().map(ToOwned::to_owned)).unwrap_or_default();
    let files = environment.clone();
    let config = service::Config {
        hub_socket,
        idle_timeout: idle_timeout.or(listener.is_inherited().then_some(IDLE_TIMEOUT)),
        load: Box::new(move || bridge::setups::load(&files, &programs)),
        guest: Box::new(bridge::setups::guest),
    };
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "the bridge has started");
    // The guard of a socket that was bound here goes with the bridge, and the path with it.
    let (socket, bound) = match listener {
        Listener::Inherited(socket) => (socket, None),
        Listener::Bound(socket, path) => (socket, Some(path)),
    };
    let served = runtime::run(async move {
        let mut signals = Signals::new()?;
        let shutdown = pin!(async {
            tokio::select! {
                signal = signals.next() => signal,
                () = activation::lost(bound.as_ref()) => "the socket's path leads elsewhere",
            }
        });
        let ready = || drop(sd_notify::notify(&[NotifyState::Ready]));
        service::run(socket, config, shutdown, ready).await
    })?;
    tracing::info!("the bridge leaves");
    Ok(served?)
}
