//! The plans for `relay-bridge`, which links this machine with others, for either manager.
//!
//! It runs while a machine is configured, and starts when another machine's link arrives: its socket and the directory of the
//! machines' files start it.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use launchd::{Launchd, ProcessType, SocketOptions, Sockets};
use plist::Dictionary;

use super::plan::{Plan, Run, Step, When};
use super::{Manager, ServiceError, launchd as jobs, nameable, systemd, words};
use crate::activation::SocketName;
use crate::paths::Environment;

/// The bridge's file name.
const BRIDGE: &str = "relay-bridge";

/// The units of systemd with their templates: what listens, what looks for files, what they start.
const UNITS: [(&str, &str); 3] = [
    ("relay-bridge.socket", include_str!("../../service/systemd/relay-bridge.socket.in")),
    ("relay-bridge.path", include_str!("../../service/systemd/relay-bridge.path.in")),
    ("relay-bridge.service", include_str!("../../service/systemd/relay-bridge.service.in")),
];

/// The units that start the third, with the target of each.
const STARTERS: [(&str, &str); 2] = [("relay-bridge.socket", "sockets.target"), ("relay-bridge.path", "paths.target")];

/// The job of launchd.
const LABEL: &str = "dev.claude-relay.bridge";

/// Where launchd puts what the bridge writes when its own log is out of reach.
const STDERR_FILE: &str = "bridge.stderr.log";

/// Returns the steps that make the service manager run the bridge in `bindir` while machines are configured, and whenever
/// another machine's link arrives.
///
/// # Errors
/// The bridge is not in `bindir`, or a path is not known, too long for a socket, or cannot be written into the manager's
/// files.
pub fn install_bridge(manager: &Manager, environment: &Environment, bindir: &Path) -> Result<Plan, ServiceError> {
    let program = bindir.join(BRIDGE).metadata();
    if !program.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0) {
        return Err(ServiceError::NoBridge { directory: bindir.to_owned() });
    }
    plan_bridge(manager, environment, bindir)
}

/// Returns the same whether or not the program is there.
fn plan_bridge(manager: &Manager, environment: &Environment, bindir: &Path) -> Result<Plan, ServiceError> {
    // The manager would fail later, and say less.
    let socket = environment.bridge_service_socket()?;
    match manager {
        Manager::Systemd => {
            let units = environment.unit_dir()?;
            let bindir = systemd::executable(bindir)?;
            let mut steps = vec![Step::MakeDirectory { path: units.clone(), mode: 0o755 }];
            steps.extend(UNITS.map(|(name, template)| Step::WriteFile {
                path: units.join(name),
                content: template.replace("@bindir@", &bindir),
                mode: 0o644,
            }));
            let is_running = STARTERS.iter().flat_map(|(unit, _)| {
                ["is-enabled", "is-active"].map(|check| words(&format!("systemctl --user {check} --quiet {unit}")))
            });
            steps.extend([
                run("systemctl --user daemon-reload", When::Changed),
                run("systemctl --user stop relay-bridge.path relay-bridge.socket relay-bridge.service", When::Replaced),
                run(
                    "systemctl --user enable --now relay-bridge.socket relay-bridge.path",
                    When::ChangedUnless(is_running.collect()),
                ),
            ]);
            Ok(Plan { steps })
        }
        Manager::Launchd { domain } => {
            let (agents, logs) = (environment.launch_agents()?, environment.log_dir()?);
            let file = agents.join(format!("{LABEL}.plist"));
            let mut steps: Vec<Step> = Vec::new();
            // launchd makes the socket, but not its directory.
            steps.extend(socket.parent().map(|path| Step::MakeDirectory { path: path.to_owned(), mode: 0o700 }));
            steps.push(Step::MakeDirectory { path: logs.clone(), mode: 0o700 });
            steps.push(Step::MakeDirectory { path: agents, mode: 0o755 });
            let content = job(bindir, &socket, &logs, &environment.machines_dir()?)?;
            steps.push(Step::WriteFile { path: file.clone(), content, mode: 0o644 });
            steps.extend(jobs::load(domain, LABEL, &file)?);
            Ok(Plan { steps })
        }
    }
}

/// Returns the steps that undo every [`install_bridge`]; the files about the machines stay. Done where nothing is, it changes
/// nothing.
///
/// # Errors
/// A path is not known.
pub fn uninstall_bridge(manager: &Manager, environment: &Environment) -> Result<Plan, ServiceError> {
    let mut steps = match manager {
        Manager::Systemd => {
            let units = environment.unit_dir()?;
            let if_so = |check: &str| When::If(words(check));
            let all = "relay-bridge.path relay-bridge.socket relay-bridge.service";
            let mut steps: Vec<Step> = STARTERS
                .iter()
                .map(|(unit, _)| {
                    let is_enabled = if_so(&format!("systemctl --user is-enabled --quiet {unit}"));
                    run(&format!("systemctl --user disable --now {unit}"), is_enabled)
                })
                .collect();
            steps.push(run(
                &format!("systemctl --user stop {all}"),
                if_so(&format!("systemctl --user is-active --quiet {all}")),
            ));
            let links = STARTERS.map(|(unit, target)| (units.join(format!("{target}.wants")), unit));
            steps.extend(links.iter().map(|(wants, unit)| Step::RemoveFile { path: wants.join(unit) }));
            steps.extend(UNITS.map(|(name, _)| Step::RemoveFile { path: units.join(name) }));
            steps.extend([
                run("systemctl --user daemon-reload", When::Changed),
                run(
                    &format!("systemctl --user reset-failed {all}"),
                    if_so(&format!("systemctl --user is-failed --quiet {all}")),
                ),
            ]);
            steps.extend(links.map(|(wants, _)| Step::RemoveEmptyDirectory { path: wants }));
            steps.extend(units.ancestors().take(2).map(|path| Step::RemoveEmptyDirectory { path: path.to_owned() }));
            steps
        }
        Manager::Launchd { domain } => {
            let (agents, logs) = (environment.launch_agents()?, environment.log_dir()?);
            vec![
                jobs::unload(domain, LABEL),
                Step::RemoveFile { path: agents.join(format!("{LABEL}.plist")) },
                Step::RemoveFile { path: logs.join(STDERR_FILE) },
                Step::RemoveEmptyDirectory { path: logs },
            ]
        }
    };
    if let Ok(socket) = environment.bridge_service_socket() {
        let directory = socket.parent().map(Path::to_owned);
        steps.push(Step::RemoveDeadSocket { path: socket });
        steps.extend(directory.map(|path| Step::RemoveEmptyDirectory { path }));
    }
    Ok(Plan { steps })
}

/// Returns the job's property list: started by its socket, and while there is a file about a machine.
fn job(bindir: &Path, socket: &Path, logs: &Path, machines: &Path) -> Result<String, ServiceError> {
    let (bridge, stderr) = (bindir.join(BRIDGE), logs.join(STDERR_FILE));
    let failed = |error: launchd::Error| ServiceError::Plist(error.into());
    let options = SocketOptions::new().with_path_name(nameable(socket)?).map_err(failed)?;
    let name = SocketName::Bridge.as_str();
    let typed = Launchd::default()
        .with_label(LABEL)
        .with_program_arguments(vec![nameable(&bridge)?.to_owned()])
        .with_socket(Sockets::Dictionary(HashMap::from([(name.to_owned(), options)])))
        .with_queue_directories(vec![nameable(machines)?.to_owned()])
        .with_process_type(ProcessType::Standard)
        .with_exit_timeout(jobs::EXIT_TIMEOUT)
        .with_throttle_interval(jobs::THROTTLE_INTERVAL)
        .with_umask(0o077)
        .with_standard_error_path(nameable(&stderr)?)
        .map_err(failed)?;
    let mut value = plist::to_value(&typed).map_err(|error| ServiceError::Plist(error.into()))?;
    jobs::close_socket(&mut value, name);
    value.as_dictionary_mut().map(Dictionary::sort_keys);
    jobs::text(&value)
}

fn run(line: &str, when: When) -> Step {
    Step::Run(Run { argv: words(line), when, tolerated: Vec::new(), retried: Vec::new() })
}
