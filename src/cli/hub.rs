//! `relayctl hub start` and `hub stop`: a hub in the background, where no service manager starts one. A person's own,
//! explicit command: nothing else starts a hub.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use rustix::process::{Pid, Signal, kill_process};

use super::error::{CliError, Exit};
use super::output::Line;
use super::service_view::ServiceView;
use super::{Context, diagnosis, hubs};
use crate::advice::quoted;
use crate::paths::Environment;
use crate::service;

/// How long a hub may take to listen or to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often is looked.
const LOOK: Duration = Duration::from_millis(10);

/// How long a hub that does not answer may take to leave in order.
const GRACE: Duration = Duration::from_secs(1);

/// What a hub writes before it has its log, and when it fails.
const STDERR_FILE: &str = "hub.stderr.log";

/// Start or stop a hub in the background, where no service manager does
#[derive(Debug, Args)]
pub(super) struct HubArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Action {
    /// Start a hub that goes on when this terminal is closed
    Start,
    /// Stop the hub that hub start has started; open questions wait for the next
    Stop,
}

impl HubArgs {
    /// Starts or stops a hub.
    ///
    /// # Errors
    /// A service manager does it, a hub is there already, or it does not start or end.
    pub(super) async fn run(self, context: &mut Context) -> Result<Exit, CliError> {
        let environment = context.environment()?;
        let said = match self.action {
            Action::Start => start(&environment).await?,
            Action::Stop => stop(context, &environment).await?,
        };
        context.out.say(&Line::of(&said));
        Ok(Exit::Done)
    }
}

/// Starts a hub and returns what to say of it.
pub(super) async fn start(environment: &Environment) -> Result<String, CliError> {
    let socket = environment.socket()?;
    match diagnosis::reach(&socket) {
        Ok(()) => {
            let what = format!("a hub runs already: it listens at {}", socket.display());
            return Err(CliError::Obstacle { what, next: "relayctl status".to_owned() });
        }
        Err(seen) if seen.is_final() => {
            return Err(diagnosis::unreachable(environment, &seen, &ServiceView::look(environment)).into());
        }
        Err(_) => {}
    }
    if environment.socket_named_by().is_none() {
        leave_to_manager(environment)?;
    }
    let bindir = service::bindir(&std::env::current_exe().map_err(CliError::Runtime)?)?;
    let logs = environment.log_dir()?;
    let mut hub = spawn(&bindir.join("relay-hub"), &socket, &logs)?;
    let pid = hub.id();
    let end = Instant::now() + PATIENCE;
    while diagnosis::reach(&socket).is_err() {
        let ended = hub.try_wait().map_err(CliError::Runtime)?.is_some();
        if ended || Instant::now() > end {
            return Err(failure(&logs));
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(format!(
        "a hub runs in the background (process {pid}); it logs to {}; relayctl hub stop ends it",
        logs.display()
    ))
}

/// Refuses where a service manager starts the hub, or would if it was told to.
fn leave_to_manager(environment: &Environment) -> Result<(), CliError> {
    let service = ServiceView::look(environment);
    let ServiceView::Seen { manager, .. } = &service else { return Ok(()) };
    let cure = service.warnings(&Err(crate::advice::Observation::Missing)).into_iter().next();
    let next = cure.map_or_else(|| "relayctl doctor --fix".to_owned(), |warning| warning.next);
    Err(CliError::Obstacle { what: format!("{manager} is there to start the hub"), next })
}

/// Starts the program. It makes a session of its own, so that it ends with no terminal.
fn spawn(program: &Path, socket: &Path, logs: &Path) -> Result<Child, CliError> {
    let unwritable = |source| CliError::Directory { directory: logs.display().to_string(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(logs).map_err(unwritable)?;
    let mut options = OpenOptions::new();
    let stderr: File =
        options.write(true).create(true).truncate(true).mode(0o600).open(logs.join(STDERR_FILE)).map_err(unwritable)?;
    let mut command = Command::new(program);
    command.arg("--detached").arg("--socket").arg(socket).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
    command.spawn().map_err(CliError::Runtime)
}

/// Returns what the hub that did not start has said.
fn failure(logs: &Path) -> CliError {
    let file = logs.join(STDERR_FILE);
    let said = fs::read_to_string(&file).unwrap_or_default();
    let after = |start: &str| said.lines().rev().find_map(|line| line.strip_prefix(start)).map(str::to_owned);
    let what = after("error: ").unwrap_or_else(|| "it did not come to listen".to_owned());
    let next = after("next: ").unwrap_or_else(|| format!("cat {}", quoted(&file)));
    CliError::Obstacle { what: format!("the hub does not start: {what}"), next }
}

/// Stops the hub that nobody else would start again, and returns what to say of it.
async fn stop(context: &Context, environment: &Environment) -> Result<String, CliError> {
    let socket = environment.socket()?;
    if diagnosis::reach(&socket).is_err() {
        return Ok(format!("no hub runs at {}", socket.display()));
    }
    let mut hub = context.connect()?;
    let status = tokio::time::timeout(GRACE, hub.status()).await.ok().and_then(Result::ok);
    hub.bye().await;
    let pid = match &status {
        Some(status) if status.activated => {
            let what = "the service manager has started this hub and would start the next".to_owned();
            return Err(CliError::Obstacle { what, next: "relayctl uninstall-service".to_owned() });
        }
        Some(status) => Some(status.pid),
        None => {
            let own = hubs::of_user(environment.uid);
            own.into_iter().find(|hub| hub.socket.as_ref() == Some(&socket)).map(|hub| hub.pid)
        }
    };
    let ends = async |signal, patience| {
        send(pid, signal);
        let end = Instant::now() + patience;
        while diagnosis::reach(&socket).is_ok() && Instant::now() < end {
            tokio::time::sleep(LOOK).await;
        }
        diagnosis::reach(&socket).is_err()
    };
    // One that hangs does not heed the first.
    let patience = if status.is_some() { PATIENCE } else { GRACE };
    if ends(Signal::TERM, patience).await || ends(Signal::KILL, PATIENCE).await {
        return Ok("the hub has stopped".to_owned());
    }
    let what = format!("whoever listens at {} does not end", socket.display());
    Err(CliError::Obstacle { what, next: format!("fuser -v {}", quoted(&socket)) })
}

fn send(pid: Option<u32>, signal: Signal) {
    if let Some(pid) = pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
        // One that has ended meanwhile is what was wanted.
        let _gone = kill_process(pid, signal);
    }
}
