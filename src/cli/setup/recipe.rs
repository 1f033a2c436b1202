//! What setting up one agent takes.

use std::path::{Path, PathBuf};

use super::shown;
use crate::cli::search_path;
use crate::paths::Environment;
use crate::service::{Plan, Run, ServiceError, Step, When};

/// What setting up an agent takes.
pub(super) struct Agent {
    /// What it is called on the command line.
    pub(super) name: &'static str,
    /// What people call it.
    pub(super) shown: &'static str,
    /// What is to be restarted afterwards.
    pub(super) restart: &'static str,
    /// What wakes its sessions.
    pub(super) wakes: &'static str,
    /// Finds its program.
    pub(super) find: fn(&Environment) -> Option<PathBuf>,
    /// Returns what installs the plugin, from what the agent has.
    pub(super) install: fn(&Path, &Environment, &Path) -> Result<Plan, ServiceError>,
    /// Returns what removes it.
    pub(super) remove: fn(&Path) -> Result<Plan, ServiceError>,
}

/// Returns the first program of this name in `PATH`, or in one of the places below the home directory where the agent's own
/// installers put it.
pub(super) fn program(environment: &Environment, name: &str, places: &[&str]) -> Option<PathBuf> {
    let own = places.iter().filter_map(|place| Some(environment.home.as_ref()?.join(place)));
    let directories: Vec<PathBuf> = search_path::directories().into_iter().chain(own).collect();
    search_path::first(&directories, name)
}

/// Returns what takes a plugin and its marketplace, of those that are there, from an agent that has commands for both.
///
/// # Errors
/// The program's path cannot be shown.
pub(super) fn uninstall(program: &Path, plugin: Option<&str>, marketplace: Option<&str>) -> Result<Plan, ServiceError> {
    let program = shown(program)?;
    let plugin = plugin.map(|plugin| run(&program, &["plugin", "uninstall", plugin]));
    let marketplace = marketplace.map(|marketplace| run(&program, &["plugin", "marketplace", "remove", marketplace]));
    Ok(Plan { steps: plugin.into_iter().chain(marketplace).collect() })
}

/// Returns the step that runs an agent's own command.
pub(super) fn run(program: &str, arguments: &[&str]) -> Step {
    let argv = [program].iter().chain(arguments).map(|word| (*word).to_owned()).collect();
    Step::Run(Run { argv, when: When::Always, tolerated: Vec::new(), retried: Vec::new() })
}
