//! Installs the hub with the user's service manager, removes it, and says how it stands there.
//!
//! [`install`] and [`uninstall`] are pure: they return a [`Plan`], for either manager on any machine. What a manager is
//! told stands in the files of `service/`, which packages use as well.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::paths::{Environment, PathError, Platform};

mod bridge;
mod commands;
mod desktop;
mod launchd;
mod plan;
mod systemd;

pub use bridge::{install_bridge, uninstall_bridge};
pub use commands::{Commands, Finished, SystemCommands};
pub use desktop::{install_desktop, uninstall_desktop};
pub use launchd::LABEL;
pub use plan::{Effect, Plan, PlanError, Run, Step, When};
pub use systemd::{SERVICE_UNIT, SOCKET_UNIT};

/// The daemon's file name.
const HUB: &str = "relay-hub";

/// The user's service manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manager {
    /// `systemd --user`.
    Systemd,
    /// launchd.
    Launchd {
        /// The domain of the user's jobs: `gui/UID`, or `user/UID` where nobody is logged in at the screen.
        domain: String,
    },
}

impl fmt::Display for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Systemd => f.write_str("systemd --user"),
            Self::Launchd { domain } => write!(f, "launchd ({domain})"),
        }
    }
}

/// Returns the service manager that answers this user.
///
/// # Errors
/// None does.
pub fn detect(environment: &Environment, commands: &mut dyn Commands) -> Result<Manager, ServiceError> {
    match environment.platform {
        Platform::Linux => systemd::answers(commands).map(|()| Manager::Systemd),
        Platform::MacOs => launchd::domain(environment.uid, commands).map(|domain| Manager::Launchd { domain }),
    }
}

/// Returns the steps that make the service manager start the hub in `bindir` whenever somebody connects.
///
/// # Errors
/// A path is not known, too long for a socket, or cannot be written into the manager's files.
pub fn install(manager: &Manager, environment: &Environment, bindir: &Path) -> Result<Plan, ServiceError> {
    match manager {
        Manager::Systemd => systemd::install(environment, bindir),
        Manager::Launchd { domain } => launchd::install(environment, domain, bindir),
    }
}

/// Returns the steps that undo every [`install`], wherever its programs were. Done where nothing is, it changes nothing.
///
/// # Errors
/// A path is not known.
pub fn uninstall(manager: &Manager, environment: &Environment) -> Result<Plan, ServiceError> {
    match manager {
        Manager::Systemd => systemd::uninstall(environment),
        Manager::Launchd { domain } => launchd::uninstall(environment, domain),
    }
}

/// Returns how the hub stands with the service manager: the socket first, where it is a unit of its own.
///
/// # Errors
/// The manager does not answer.
pub fn status(manager: &Manager, commands: &mut dyn Commands) -> Result<Vec<UnitStatus>, ServiceError> {
    match manager {
        Manager::Systemd => systemd::status(commands),
        Manager::Launchd { domain } => launchd::status(domain, commands),
    }
}

/// Returns the service manager that answers and how the hub stands with it, with as few commands as can be.
///
/// # Errors
/// No manager answers.
pub fn look(
    environment: &Environment,
    commands: &mut dyn Commands,
) -> Result<(Manager, Vec<UnitStatus>), ServiceError> {
    match environment.platform {
        Platform::Linux => {
            let no = |error: ServiceError| ServiceError::NoManager { reason: reason(&error) };
            Ok((Manager::Systemd, systemd::status(commands).map_err(no)?))
        }
        Platform::MacOs => launchd::look(environment.uid, commands),
    }
}

/// Returns the command that replaces a running hub by a new one.
pub fn restart_command(manager: &Manager) -> String {
    match manager {
        Manager::Systemd => format!("systemctl --user restart {SERVICE_UNIT}"),
        Manager::Launchd { domain } => format!("launchctl kickstart -k {domain}/{LABEL}"),
    }
}

/// Returns what a manager that does not answer has said, without the long command that was asked.
fn reason(error: &ServiceError) -> String {
    if let ServiceError::Plan(PlanError::Command { said, .. }) = error
        && !said.is_empty()
    {
        said.clone()
    } else if let ServiceError::Plan(PlanError::Start { source, .. }) = error {
        format!("systemctl: {source}")
    } else {
        error.to_string()
    }
}

/// What the service manager says of a unit or job, in its own words.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UnitStatus {
    /// The unit's name or the job's label.
    pub name: String,
    /// Whether it is known: `loaded`, `not-found`, `masked`, …
    pub load: String,
    /// What it does: `active`, `inactive`, `failed`, … on systemd; launchd's `state`.
    pub active: String,
    /// What it does in detail: `listening`, `running`, `dead`, …; empty on launchd.
    pub sub: String,
    /// Whether it starts with the session: `enabled`, `disabled`, …; empty where that is no question.
    pub enabled: String,
    /// How it ended last: `success`, `exit-code`, `trigger-limit-hit`, …; empty on launchd.
    pub result: String,
    /// The file that it was read from.
    pub file: Option<PathBuf>,
    /// The process that runs for it.
    pub pid: Option<u32>,
    /// How often it was restarted after a failure.
    pub restarts: Option<u32>,
    /// Whether its file has changed since the manager read it.
    pub is_outdated: bool,
    /// The files beside the unit that change it.
    pub drop_ins: Vec<PathBuf>,
    /// The program that it starts.
    pub program: Option<PathBuf>,
    /// The code that its process ended with last, unless a signal ended it.
    pub exit_code: Option<i32>,
    /// What its process said of itself last; empty where it said nothing.
    pub said: String,
}

/// Returns the directory of the program that runs, which must have the hub beside it.
///
/// # Errors
/// The program's path cannot be resolved, or no `relay-hub` that can be run is beside it.
pub fn bindir(program: &Path) -> Result<PathBuf, ServiceError> {
    let resolved =
        program.canonicalize().map_err(|source| ServiceError::Program { path: program.to_owned(), source })?;
    let directory = resolved.parent().unwrap_or(Path::new("/")).to_owned();
    let hub = directory.join(HUB).metadata();
    if hub.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0) {
        Ok(lasting(directory, std::env::var_os("PATH")))
    } else {
        Err(ServiceError::NoHub { directory })
    }
}

/// Returns the directory of `path` that leads to the programs in this one, if there is one: a package manager's links stay
/// when the next version is installed, and what they lead to goes.
fn lasting(directory: PathBuf, path: Option<OsString>) -> PathBuf {
    let leads_here = |link: &PathBuf| {
        let is_same = |name: &str| link.join(name).canonicalize().is_ok_and(|file| file == directory.join(name));
        link.is_absolute() && is_same(HUB) && is_same("relayctl")
    };
    let links = path.iter().flat_map(|path| std::env::split_paths(path).collect::<Vec<_>>());
    links.into_iter().find(leads_here).unwrap_or(directory)
}

/// Why the service is not installed, removed or seen.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// A path is not known.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A step failed.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The hub is not where it would be started.
    #[error("there is no program relay-hub in {}: install relayctl, relay-hub, relay-channel and relay-bridge together", directory.display())]
    NoHub {
        /// Where it was looked for.
        directory: PathBuf,
    },
    /// The bridge is not where it would be started.
    #[error("there is no program relay-bridge in {}: install it beside relayctl", directory.display())]
    NoBridge {
        /// Where it was looked for.
        directory: PathBuf,
    },
    /// The running program is not known.
    #[error("could not find out where {} is", path.display())]
    Program {
        /// How it was called.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The manager's files cannot name this path.
    #[error(
        "a service cannot name the path {path:?}: it is not UTF-8, or has a control character, a quote or a backslash"
    )]
    Unnameable {
        /// The path.
        path: PathBuf,
    },
    /// Nobody would start the hub.
    #[error("no service manager answers for you ({reason})")]
    NoManager {
        /// What was tried and what it said.
        reason: String,
    },
    /// The property list cannot be built.
    #[error("could not build the launchd job")]
    Plist(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Returns the path as text that can stand in a line of a file.
fn nameable(path: &Path) -> Result<&str, ServiceError> {
    path.to_str()
        .filter(|text| !text.chars().any(char::is_control))
        .ok_or_else(|| ServiceError::Unnameable { path: path.to_owned() })
}

/// Returns a command line from words that have no blanks.
fn words(line: &str) -> Vec<String> {
    line.split_ascii_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests;
