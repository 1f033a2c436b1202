//! The demo's private world: a directory, a hub in it, three sessions. All of it goes when the stage is cleared.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::session::{Broken, PATIENCE, Session};
use crate::cli::error::CliError;
use crate::paths::SOCKET_VARIABLE;

/// A hub that has lost its demo ends by itself after this time.
const HUB_IDLE_TIMEOUT: &str = "30s";
/// How often the hub's socket is tried until it listens.
const RETRY: Duration = Duration::from_millis(10);
/// How many of the last lines of each log are shown when the demo fails.
const LOG_LINES: usize = 5;
/// What the started programs keep of this process's environment: nothing by which they could take this for a session
/// of Claude Code or a service.
const KEPT_VARIABLES: [&str; 5] = ["HOME", "LANG", "PATH", "RELAY_LOG", "TMPDIR"];

/// The programs of this package.
#[derive(Debug)]
pub(super) struct Programs {
    hub: PathBuf,
    channel: PathBuf,
    relayctl: PathBuf,
}

impl Programs {
    /// Finds the programs beside the running `relayctl`.
    ///
    /// # Errors
    /// One of them is not there.
    pub(super) fn beside_this() -> Result<Self, CliError> {
        let relayctl = std::env::current_exe().map_err(CliError::Runtime)?;
        let directory = relayctl.parent().unwrap_or(Path::new("/"));
        let find = |program: &'static str| {
            let path = directory.join(program);
            let missing = || CliError::ProgramMissing { program, directory: directory.display().to_string() };
            if path.is_file() { Ok(path) } else { Err(missing()) }
        };
        Ok(Self { hub: find("relay-hub")?, channel: find("relay-channel")?, relayctl: relayctl.clone() })
    }
}

/// The running demo. The order of the fields is the order in which they go when it is dropped.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) frontend: Session,
    pub(super) backend: Session,
    pub(super) docs: Session,
    hub: Child,
    relayctl: PathBuf,
    directory: TempDir,
}

impl Stage {
    /// Starts a hub and three sessions whose folders name them.
    ///
    /// # Errors
    /// The directory cannot be made, a program cannot be started, or the hub does not listen in time.
    pub(super) async fn open(programs: &Programs) -> Result<Self, Broken> {
        let directory =
            tempfile::Builder::new().prefix("relay-demo-").permissions(Permissions::from_mode(0o700)).tempdir()?;
        let at = directory.path();
        let mut hub = Command::new(&programs.hub);
        hub.arg("--socket").arg(socket_in(at)).args(["--idle-timeout", HUB_IDLE_TIMEOUT]);
        hub.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log_in(at, "hub")?);
        let mut hub = isolated(&mut hub, at).spawn()?;
        wait_until_listening(&socket_in(at), &mut hub).await?;
        let session = |name: &'static str| {
            let folder = at.join(name);
            fs::create_dir(&folder)?;
            let mut channel = Command::new(&programs.channel);
            isolated(&mut channel, at).env("RELAY_CHANNEL", "on").current_dir(folder).stderr(log_in(at, name)?);
            Session::start(name, channel)
        };
        Ok(Self {
            frontend: session("frontend")?,
            backend: session("backend")?,
            docs: session("docs")?,
            hub,
            relayctl: programs.relayctl.clone(),
            directory,
        })
    }

    /// Returns a `relayctl` that talks to this hub, not yet started.
    pub(super) fn shell(&self) -> Command {
        let mut relayctl = Command::new(&self.relayctl);
        isolated(&mut relayctl, self.directory.path());
        relayctl.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        relayctl
    }

    /// Ends the hub as its operator would, and waits for it.
    ///
    /// # Errors
    /// It does not end in time, or ends with a failure.
    pub(super) async fn stop_hub(&mut self) -> Result<(), Broken> {
        if let Some(pid) = self.hub.id().and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed())) {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).map_err(io::Error::from)?;
        }
        match timeout(PATIENCE, self.hub.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(status) => Err(Broken::HubEnded(status?)),
            Err(_) => Err(Broken::Late { who: "the hub", awaited: "its end".into() }),
        }
    }

    /// Returns the last lines that each program logged.
    pub(super) fn last_log_lines(&self) -> Vec<String> {
        let mut said = Vec::new();
        for name in ["hub", "frontend", "backend", "docs"] {
            let log = fs::read(log_path(self.directory.path(), name)).unwrap_or_default();
            let log = String::from_utf8_lossy(&log).into_owned();
            let lines: Vec<&str> = log.lines().collect();
            said.extend(lines.iter().rev().take(LOG_LINES).rev().map(|line| format!("{name}: {line}")));
        }
        said
    }

    /// Ends what still runs, waits until it is gone, and removes the directory.
    ///
    /// # Errors
    /// A process or the directory cannot be removed.
    pub(super) async fn clear(mut self) -> Result<(), Broken> {
        for session in [&mut self.frontend, &mut self.backend, &mut self.docs] {
            session.kill().await?;
        }
        self.hub.kill().await?;
        Ok(self.directory.close()?)
    }
}

fn socket_in(directory: &Path) -> PathBuf {
    directory.join("hub.sock")
}

fn log_path(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.log"))
}

fn log_in(directory: &Path, name: &str) -> io::Result<Stdio> {
    Ok(File::create(log_path(directory, name))?.into())
}

/// Prepares a program that sees only the demo, ends with it, and hears Ctrl-C from nobody but it.
fn isolated<'a>(command: &'a mut Command, directory: &Path) -> &'a mut Command {
    command.env_clear().envs(KEPT_VARIABLES.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.env(SOCKET_VARIABLE, socket_in(directory)).process_group(0).kill_on_drop(true)
}

/// Tries the hub's socket until it listens.
async fn wait_until_listening(socket: &Path, hub: &mut Child) -> Result<(), Broken> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if UnixStream::connect(socket).await.is_ok() {
            return Ok(());
        }
        if let Some(status) = hub.try_wait()? {
            return Err(Broken::HubEnded(status));
        }
        if Instant::now() > deadline {
            return Err(Broken::Late { who: "the hub", awaited: "its socket".into() });
        }
        sleep(RETRY).await;
    }
}
