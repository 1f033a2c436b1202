//! The plan for launchd: one job, which has the socket and is started when somebody connects.
//!
//! The property list is built through the `launchd` crate; the template in `service/launchd` is for packages, and a
//! test keeps both the same. What launchctl's exit codes mean is told by `launchctl error CODE`.

use std::collections::HashMap;
use std::path::Path;

use launchd::{Launchd, ProcessType, SocketOptions, Sockets};
use plist::{Dictionary, Value};

use super::commands::Commands;
use super::plan::{Plan, PlanError, Run, Step, When, command_line};
use super::{HUB, Manager, ServiceError, UnitStatus, nameable, words};
use crate::activation::SocketName;
use crate::paths::Environment;

/// The job's name in its domain and, with `.plist`, its file's name: a domain name reversed, as launchd.plist(5) asks.
pub const LABEL: &str = "dev.claude-relay.hub";

/// 0600: property lists have decimal numbers only.
const SOCKET_MODE: u32 = 0o600;
/// Seconds between SIGTERM and SIGKILL.
pub(super) const EXIT_TIMEOUT: u32 = 10;
/// Seconds between two starts; launchd may take more, by default it takes 10.
pub(super) const THROTTLE_INTERVAL: u32 = 1;

/// Where launchd puts what the hub writes when its own log is out of reach, such as the message of a panic.
const STDERR_FILE: &str = "hub.stderr.log";

/// `ESRCH`, and "could not find service": the job is not there.
const NOT_THERE: [i32; 2] = [3, 113];
/// `EINPROGRESS` of Darwin: a removal under way.
const IN_PROGRESS: i32 = 36;
/// `EIO`: launchctl's answer while the former job of the name is still on its way out, since `bootout` does not wait.
const TRY_AGAIN: i32 = 5;

pub(super) fn install(environment: &Environment, domain: &str, bindir: &Path) -> Result<Plan, ServiceError> {
    let (agents, logs, socket) = (environment.launch_agents()?, environment.log_dir()?, environment.service_socket()?);
    let file = agents.join(format!("{LABEL}.plist"));
    let mut steps = Vec::new();
    // launchd makes the socket, but not its directory.
    steps.extend(socket.parent().map(|path| Step::MakeDirectory { path: path.to_owned(), mode: 0o700 }));
    steps.push(Step::MakeDirectory { path: logs.clone(), mode: 0o700 });
    steps.push(Step::MakeDirectory { path: agents, mode: 0o755 });
    let content = text(&job(bindir, &socket, &logs)?)?;
    steps.push(Step::WriteFile { path: file.clone(), content, mode: 0o644 });
    steps.extend(load(domain, LABEL, &file)?);
    Ok(Plan { steps })
}

/// Returns the steps that load a job whose file was written, anew if it was changed.
pub(super) fn load(domain: &str, label: &str, file: &Path) -> Result<[Step; 3], ServiceError> {
    let bootstrap = vec!["launchctl".to_owned(), "bootstrap".to_owned(), domain.to_owned(), nameable(file)?.to_owned()];
    let unless_loaded = When::ChangedUnless(vec![words(&format!("launchctl print {domain}/{label}"))]);
    Ok([
        run(format!("launchctl bootout {domain}/{label}"), When::Changed, &NOT_THERE),
        // A job that was disabled once cannot be loaded.
        run(format!("launchctl enable {domain}/{label}"), unless_loaded.clone(), &[]),
        Step::Run(Run {
            argv: bootstrap,
            when: unless_loaded,
            tolerated: Vec::new(),
            retried: vec![TRY_AGAIN, IN_PROGRESS],
        }),
    ])
}

/// Returns the step that unloads a job where it is loaded.
pub(super) fn unload(domain: &str, label: &str) -> Step {
    let is_loaded = When::If(words(&format!("launchctl print {domain}/{label}")));
    let [not_there, unknown] = NOT_THERE;
    run(format!("launchctl bootout {domain}/{label}"), is_loaded, &[not_there, unknown, IN_PROGRESS])
}

pub(super) fn uninstall(environment: &Environment, domain: &str) -> Result<Plan, ServiceError> {
    let (agents, logs, socket) = (environment.launch_agents()?, environment.log_dir()?, environment.service_socket()?);
    let mut steps = vec![
        unload(domain, LABEL),
        Step::RemoveFile { path: agents.join(format!("{LABEL}.plist")) },
        Step::RemoveFile { path: logs.join(STDERR_FILE) },
        Step::RemoveEmptyDirectory { path: logs },
    ];
    let directory = socket.parent().map(Path::to_owned);
    steps.push(Step::RemoveDeadSocket { path: socket });
    steps.extend(directory.map(|path| Step::RemoveEmptyDirectory { path }));
    Ok(Plan { steps })
}

/// Returns the user's domain: that of the screen if it is there, else that of a user without one (ssh).
pub(super) fn domain(uid: u32, commands: &mut dyn Commands) -> Result<String, ServiceError> {
    let mut said = Vec::new();
    for domain in [format!("gui/{uid}"), format!("user/{uid}")] {
        match commands.run(&words(&format!("launchctl print {domain}"))) {
            Ok(finished) if finished.success() => return Ok(domain),
            Ok(finished) => said.push(format!("{domain}: {}", finished.stderr.trim())),
            Err(error) => said.push(format!("{domain}: {error}")),
        }
    }
    Err(ServiceError::NoManager { reason: format!("`launchctl print` {}", said.join(", ")) })
}

/// Looks for the job in either domain, and for a domain only if it is in none.
pub(super) fn look(uid: u32, commands: &mut dyn Commands) -> Result<(Manager, Vec<UnitStatus>), ServiceError> {
    for domain in [format!("gui/{uid}"), format!("user/{uid}")] {
        if let Ok(units) = status(&domain, commands)
            && units.iter().any(|unit| unit.load == "loaded")
        {
            return Ok((Manager::Launchd { domain }, units));
        }
    }
    let domain = domain(uid, commands)?;
    let units = status(&domain, commands)?;
    Ok((Manager::Launchd { domain }, units))
}

/// Reads `launchctl print`. Its text is for people and not promised to stay: what is missing from it stays empty.
pub(super) fn status(domain: &str, commands: &mut dyn Commands) -> Result<Vec<UnitStatus>, ServiceError> {
    let argv = words(&format!("launchctl print {domain}/{LABEL}"));
    let finished = commands.run(&argv).map_err(|source| PlanError::Start { command: command_line(&argv), source })?;
    let mut unit = UnitStatus { name: LABEL.to_owned(), load: "not-found".to_owned(), ..UnitStatus::default() };
    if finished.success() {
        "loaded".clone_into(&mut unit.load);
        // The job's own lines are indented once, those of its parts more.
        let own = finished.stdout.lines().filter_map(|line| line.strip_prefix('\t'));
        for (key, value) in own.filter(|line| !line.starts_with('\t')).filter_map(|line| line.split_once(" = ")) {
            match key {
                "state" => value.clone_into(&mut unit.active),
                "path" => unit.file = Some(value.into()),
                "pid" => unit.pid = value.parse().ok(),
                _ => {}
            }
        }
    }
    Ok(vec![unit])
}

/// Returns a job's property list.
pub(super) fn text(job: &Value) -> Result<String, ServiceError> {
    let mut text = Vec::new();
    job.to_writer_xml(&mut text).map_err(|error| ServiceError::Plist(error.into()))?;
    text.push(b'\n');
    String::from_utf8(text).map_err(|error| ServiceError::Plist(error.into()))
}

/// Returns the job: no `RunAtLoad` and no `KeepAlive`, which would undo the idle exit.
pub(super) fn job(bindir: &Path, socket: &Path, logs: &Path) -> Result<Value, ServiceError> {
    let (hub, stderr) = (bindir.join(HUB), logs.join(STDERR_FILE));
    let failed = |error: launchd::Error| ServiceError::Plist(error.into());
    let options = SocketOptions::new().with_path_name(nameable(socket)?).map_err(failed)?;
    let typed = Launchd::default()
        .with_label(LABEL)
        .with_program_arguments(vec![nameable(&hub)?.to_owned()])
        .with_socket(Sockets::Dictionary(HashMap::from([(SocketName::Hub.as_str().to_owned(), options)])))
        .with_process_type(ProcessType::Standard)
        .with_exit_timeout(EXIT_TIMEOUT)
        .with_throttle_interval(THROTTLE_INTERVAL)
        .with_umask(0o077)
        .with_standard_error_path(nameable(&stderr)?)
        .map_err(failed)?;
    let mut value = plist::to_value(&typed).map_err(|error| ServiceError::Plist(error.into()))?;
    close_socket(&mut value, SocketName::Hub.as_str());
    value.as_dictionary_mut().map(Dictionary::sort_keys);
    Ok(value)
}

/// Lets nobody else connect to a job's socket.
pub(super) fn close_socket(job: &mut Value, name: &str) {
    let options = |job: &mut Dictionary| {
        let options = job.get_mut("Sockets")?.as_dictionary_mut()?.get_mut(name)?.as_dictionary_mut()?;
        // The crate's own setter makes a value that property lists cannot hold (an i128).
        options.insert("SockPathMode".to_owned(), SOCKET_MODE.into());
        options.sort_keys();
        Some(())
    };
    let _has_socket = job.as_dictionary_mut().and_then(options);
}

fn run(line: String, when: When, tolerated: &[i32]) -> Step {
    Step::Run(Run { argv: words(&line), when, tolerated: tolerated.to_vec(), retried: Vec::new() })
}
