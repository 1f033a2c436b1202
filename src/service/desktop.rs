//! The plans for `relayctl watch --notify` as a service of the user's, for either manager.

use std::path::Path;

use launchd::{KeepAliveOptions, KeepAliveType, Launchd};

use super::plan::{Plan, Run, Step, When};
use super::{Manager, ServiceError, launchd as jobs, nameable, systemd, words};
use crate::paths::Environment;

/// The unit of systemd.
const DESKTOP_UNIT: &str = "relay-notify.service";

/// The job of launchd.
const LABEL: &str = "dev.claude-relay.notify";

const TEMPLATE: &str = include_str!("../../service/systemd/relay-notify.service.in");

/// Returns the steps that make the service manager run the notifier in `bindir` from now on.
///
/// # Errors
/// A path is not known, or cannot be written into the manager's files.
pub fn install_desktop(manager: &Manager, environment: &Environment, bindir: &Path) -> Result<Plan, ServiceError> {
    match manager {
        Manager::Systemd => {
            let units = environment.unit_dir()?;
            let content = TEMPLATE.replace("@bindir@", &systemd::executable(bindir)?);
            let is_running = [
                words("systemctl --user is-enabled --quiet relay-notify.service"),
                words("systemctl --user is-active --quiet relay-notify.service"),
            ];
            let steps = vec![
                Step::MakeDirectory { path: units.clone(), mode: 0o755 },
                Step::WriteFile { path: units.join(DESKTOP_UNIT), content, mode: 0o644 },
                run("systemctl --user daemon-reload", When::Changed),
                run("systemctl --user stop relay-notify.service", When::Replaced),
                run("systemctl --user enable --now relay-notify.service", When::ChangedUnless(is_running.into())),
            ];
            Ok(Plan { steps })
        }
        Manager::Launchd { domain } => {
            let agents = environment.launch_agents()?;
            let file = agents.join(format!("{LABEL}.plist"));
            let mut steps = vec![
                Step::MakeDirectory { path: agents, mode: 0o755 },
                Step::WriteFile { path: file.clone(), content: job(bindir)?, mode: 0o644 },
            ];
            steps.extend(jobs::load(domain, LABEL, &file)?);
            Ok(Plan { steps })
        }
    }
}

/// Returns the steps that undo every [`install_desktop`]. Done where nothing is, it changes nothing.
///
/// # Errors
/// A path is not known.
pub fn uninstall_desktop(manager: &Manager, environment: &Environment) -> Result<Plan, ServiceError> {
    match manager {
        Manager::Systemd => {
            let units = environment.unit_dir()?;
            let wants = units.join("default.target.wants");
            let steps = vec![
                run(
                    "systemctl --user disable --now relay-notify.service",
                    When::If(words("systemctl --user is-enabled --quiet relay-notify.service")),
                ),
                Step::RemoveFile { path: wants.join(DESKTOP_UNIT) },
                Step::RemoveFile { path: units.join(DESKTOP_UNIT) },
                run("systemctl --user daemon-reload", When::Changed),
                Step::RemoveEmptyDirectory { path: wants },
            ];
            Ok(Plan { steps })
        }
        Manager::Launchd { domain } => {
            let file = environment.launch_agents()?.join(format!("{LABEL}.plist"));
            Ok(Plan { steps: vec![jobs::unload(domain, LABEL), Step::RemoveFile { path: file }] })
        }
    }
}

/// Returns the job's property list.
fn job(bindir: &Path) -> Result<String, ServiceError> {
    let program = bindir.join("relayctl");
    let arguments = [nameable(&program)?, "watch", "--notify"].map(str::to_owned);
    // One that fails, since the hub's socket is not there yet, is tried again.
    let again = KeepAliveOptions::new().with_successful_exit(false);
    let job = Launchd::default()
        .with_label(LABEL)
        .with_program_arguments(arguments.into())
        .with_run_at_load(true)
        .with_keep_alive(KeepAliveType::Options(again));
    jobs::text(&plist::to_value(&job).map_err(|error| ServiceError::Plist(error.into()))?)
}

fn run(line: &str, when: When) -> Step {
    Step::Run(Run { argv: words(line), when, tolerated: Vec::new(), retried: Vec::new() })
}
