//! What `doctor --fix` does. Every repair loses nothing: clients come back by themselves.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use crate::cli::output::{Line, Output};
use crate::cli::service_view::Fix;
use crate::paths::{Environment, Platform};
use crate::service::{self, Commands, Effect, LABEL, Manager, SERVICE_UNIT, SOCKET_UNIT, SystemCommands};

/// Does a repair and says what it was. One that fails is told of, and the checks that follow say the rest.
pub(super) fn perform(fix: &Fix, environment: &Environment, out: &mut Output) {
    let is_launchd = environment.platform == Platform::MacOs;
    let told = match fix {
        Fix::Close { path, mode } => fs::set_permissions(path, Permissions::from_mode(*mode))
            .map(|()| format!("chmod {mode:o} {}", path.display()))
            .map_err(|error| format!("chmod {mode:o} {}: {error}", path.display())),
        Fix::Install => install(),
        // launchd has no socket apart from its job.
        Fix::StartSocket | Fix::RestartSocket if is_launchd => bootout(environment).and_then(|_| install()),
        Fix::RestartHub if is_launchd => launchd(environment).and_then(|job| run(&service::restart_command(&job))),
        Fix::StartSocket => reset_failed().and_then(|_| manage("start", SOCKET_UNIT)),
        Fix::RestartSocket => manage("restart", SOCKET_UNIT),
        Fix::ResetFailed => reset_failed(),
        Fix::Reload => manage("daemon-reload", ""),
        Fix::Unmask => manage("unmask", &format!("{SOCKET_UNIT} {SERVICE_UNIT}")).and_then(|_| install()),
        Fix::RestartHub => manage("try-restart", SERVICE_UNIT),
    };
    match told {
        Ok(done) => out.say(&Line::of(&format!("fixed: {done}"))),
        Err(why) => out.say(&Line::of(&format!("not fixed: {why}"))),
    }
}

fn reset_failed() -> Result<String, String> {
    manage("reset-failed", &format!("{SOCKET_UNIT} {SERVICE_UNIT}"))
}

fn manage(verb: &str, units: &str) -> Result<String, String> {
    run(format!("systemctl --user {verb} {units}").trim_end())
}

/// Takes the job out of launchd, so that installing it makes its socket anew. One that is not there is no failure.
fn bootout(environment: &Environment) -> Result<String, String> {
    let Manager::Launchd { domain } = launchd(environment)? else { return Ok(String::new()) };
    let line = format!("launchctl bootout {domain}/{LABEL}");
    Ok(run(&line).unwrap_or(line))
}

/// Returns launchd with the domain that has the job, or would have it.
fn launchd(environment: &Environment) -> Result<Manager, String> {
    let looked = service::look(environment, &mut SystemCommands::new(environment));
    looked.map(|(manager, _)| manager).map_err(|error| error.to_string())
}

/// Runs a command of the service manager; its words have no blanks.
fn run(line: &str) -> Result<String, String> {
    let argv: Vec<String> = line.split_ascii_whitespace().map(str::to_owned).collect();
    match SystemCommands::new(&Environment::of_process()).run(&argv) {
        Ok(finished) if finished.success() => Ok(line.to_owned()),
        Ok(finished) => Err(format!("{line}: {}", finished.stderr.trim())),
        Err(error) => Err(format!("{line}: {error}")),
    }
}

fn install() -> Result<String, String> {
    let environment = Environment::of_process();
    let mut commands = SystemCommands::new(&environment);
    let told = |error: &dyn std::error::Error| format!("relayctl install-service: {error}");
    let manager: Manager = service::detect(&environment, &mut commands).map_err(|error| told(&error))?;
    let program = std::env::current_exe().map_err(|error| told(&error))?;
    let bindir = service::bindir(&program).map_err(|error| told(&error))?;
    let plan = service::install(&manager, &environment, &bindir).map_err(|error| told(&error))?;
    let mut done = vec!["relayctl install-service".to_owned()];
    plan.perform(&mut commands, |step, effect| {
        if effect != Effect::Unchanged {
            done.push(format!("  {}", step.headline()));
        }
    })
    .map_err(|error| told(&error))?;
    Ok(done.join("\n"))
}
