//! How the hub stands with the service manager, and what of it a person should repair.

use std::fs::Metadata;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::advice::startup::INSTALL_ALL;
use crate::advice::{Observation, START_HUB, by_hand, quoted};
use crate::paths::Environment;
use crate::service::{self, LABEL, Manager, SERVICE_UNIT, SOCKET_UNIT, SystemCommands, UnitStatus};

/// What a connect met: somebody listens, or what was seen instead.
pub(super) type Reach = Result<(), Observation>;

/// How long a service manager may take to answer before the look goes on without it.
const PATIENCE: Duration = Duration::from_millis(400);

/// What systemd says of a program that it could not execute (systemd.exec(5), `EXIT_EXEC`).
const EXIT_EXEC: i32 = 203;

/// After how many restarts a hub counts as one that keeps crashing.
const RESTARTS_MANY: u32 = 3;

/// Something that is not as it should be, and the one command that cures it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Warning {
    /// What is not as it should be.
    pub(super) what: String,
    /// The command, or what else to do.
    pub(super) next: String,
    /// What `doctor --fix` does about it.
    #[serde(skip)]
    pub(super) fix: Option<Fix>,
}

/// A repair that loses nothing and can be done without asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fix {
    /// Forgets that units have failed, and starts the socket.
    StartSocket,
    /// Makes the socket anew. A hub that runs goes on or comes back; its clients find it again.
    RestartSocket,
    /// Forgets that units have failed or were restarted.
    ResetFailed,
    /// Has the manager read its files again.
    Reload,
    /// Lets masked units be started again, and installs them.
    Unmask,
    /// Replaces the hub that runs. Its clients find the new one.
    RestartHub,
    /// Installs the service again: what is as it should be stays.
    Install,
    /// Closes a directory or file of our own to everybody else.
    Close {
        /// What.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
}

impl Warning {
    /// Returns a warning.
    pub(super) fn new(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { what: what.into(), next: next.into(), fix: None }
    }

    /// Returns whether the service works all the same.
    pub(super) const fn is_about_comfort(&self) -> bool {
        !matches!(self.fix, Some(Fix::StartSocket | Fix::RestartSocket))
    }

    /// Returns the warning with what can be done about it without asking.
    pub(super) fn with_fix(mut self, fix: Fix) -> Self {
        self.fix = Some(fix);
        self
    }
}

/// What the service manager said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ServiceView {
    /// How the hub stands with it.
    Seen {
        /// The manager.
        manager: Manager,
        /// The socket first, where it is a unit of its own.
        units: Vec<UnitStatus>,
    },
    /// None answers, and why.
    None(String),
}

impl ServiceView {
    /// Asks the service manager, and waits for it no longer than a person would.
    pub(super) fn look(environment: &Environment) -> Self {
        let mut commands = SystemCommands::new(environment).with_limit(PATIENCE);
        match service::look(environment, &mut commands) {
            Ok((manager, units)) => Self::Seen { manager, units },
            Err(service::ServiceError::NoManager { reason }) => Self::None(reason),
            Err(error) => Self::None(error.to_string()),
        }
    }

    /// Returns it in one line.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Seen { manager, units } => {
                let units: Vec<String> = units.iter().map(unit_text).collect();
                format!("{manager}; {}", units.join("; "))
            }
            Self::None(reason) => format!("no service manager answers ({reason})"),
        }
    }

    /// Returns a unit by its name.
    pub(super) fn unit(&self, name: &str) -> Option<&UnitStatus> {
        match self {
            Self::Seen { units, .. } => units.iter().find(|unit| unit.name == name),
            Self::None(_) => None,
        }
    }

    /// Returns the command that replaces the hub that the manager has started.
    pub(super) fn restart_command(&self) -> String {
        match self {
            Self::Seen { manager, .. } => service::restart_command(manager),
            Self::None(_) => "end the hub's process, and connect again: the service manager starts the next".to_owned(),
        }
    }

    /// Returns whether the hub's process runs.
    pub(super) fn is_running(&self) -> bool {
        [SERVICE_UNIT, LABEL].iter().any(|name| self.unit(name).is_some_and(|unit| unit.pid.is_some()))
    }

    /// Returns why the hub ends each time the manager starts it; none where it does not, or was killed.
    pub(super) fn failing(&self) -> Option<Observation> {
        let hub = self.unit(SERVICE_UNIT).filter(|hub| hub.result == "exit-code" && hub.active != "active")?;
        let (program, code) = (hub.program.clone().unwrap_or_default(), hub.exit_code.unwrap_or(0));
        if code == EXIT_EXEC {
            let found = program.metadata().ok().filter(Metadata::is_file);
            let is_there = found.is_some();
            if found.is_some_and(|found| found.permissions().mode() & 0o111 != 0) {
                // Mended since, and the manager has not tried it again.
                let reason = "its program could not be executed the last time".to_owned();
                return Some(Observation::Failing { reason, next: self.restart_command() });
            }
            let why = if is_there { "cannot be executed" } else { "is not there" };
            let reason = format!("its program {} {why}", program.display());
            // What was installed is right, and a file beside it says otherwise.
            let next = match hub.drop_ins.first() {
                Some(drop_in) if !is_there => by_hand(&format!("correct {}", drop_in.display())),
                Some(_) | None => cure_of_program(&program),
            };
            return Some(Observation::Failing { reason, next });
        }
        let reason = if hub.said.is_empty() { format!("it ends with the code {code}") } else { hub.said.clone() };
        let next = by_hand(&format!("correct that, then run: {}", self.restart_command()));
        Some(Observation::Failing { reason, next })
    }

    /// Returns whether the manager knows the service.
    pub(super) fn is_loaded(&self) -> bool {
        [SOCKET_UNIT, LABEL].iter().any(|name| self.unit(name).is_some_and(|unit| unit.load == "loaded"))
    }

    /// Returns what is wrong with the service. `reach` is what a connect to the service's own socket met.
    pub(super) fn warnings(&self, reach: &Reach) -> Vec<Warning> {
        match self {
            Self::Seen { manager: Manager::Systemd, .. } => self.systemd_warnings(reach),
            Self::Seen { manager: Manager::Launchd { domain }, .. } => self.launchd_warnings(domain, reach),
            Self::None(_) if is_empty(reach) => {
                vec![Warning::new("no service manager is there to start a hub", START_HUB)]
            }
            Self::None(_) => Vec::new(),
        }
    }

    fn systemd_warnings(&self, reach: &Reach) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let Some(socket) = self.unit(SOCKET_UNIT) else { return warnings };
        let units = [Some(socket), self.unit(SERVICE_UNIT)];
        for unit in units.into_iter().flatten() {
            warnings.extend(unusable(unit));
        }
        if !warnings.is_empty() {
            return warnings;
        }
        if socket.load != "loaded" {
            if socket.active == "active" {
                let what = format!("{SOCKET_UNIT} runs, but its file is gone: it ends with this login");
                warnings.push(Warning::new(what, "relayctl install-service").with_fix(Fix::Install));
            } else if reach.is_err() {
                let warning = Warning::new("the service is not installed", "relayctl install-service");
                warnings.push(warning.with_fix(Fix::Install));
            }
            return warnings;
        } else if socket.active == "failed" {
            let what = format!("{SOCKET_UNIT} has failed ({}) and listens no more", socket.result);
            let units = format!("{SOCKET_UNIT} {SERVICE_UNIT}");
            let next = format!("systemctl --user reset-failed {units} && systemctl --user start {SOCKET_UNIT}");
            warnings.push(Warning::new(what, next).with_fix(Fix::StartSocket));
        } else if socket.active != "active" && socket.active != "activating" {
            let what = format!("{SOCKET_UNIT} is {}: nobody listens for the hub", socket.active);
            warnings
                .push(Warning::new(what, format!("systemctl --user start {SOCKET_UNIT}")).with_fix(Fix::StartSocket));
        } else if is_empty(reach) {
            let what = format!("{SOCKET_UNIT} is active, but its socket was removed or replaced");
            let next = format!("systemctl --user restart {SOCKET_UNIT}");
            warnings.push(Warning::new(what, next).with_fix(Fix::RestartSocket));
        }
        if socket.load == "loaded" && socket.enabled != "enabled" && !socket.enabled.is_empty() {
            let what = format!("{SOCKET_UNIT} is {}: it is gone after the next login", socket.enabled);
            warnings.push(Warning::new(what, "relayctl install-service").with_fix(Fix::Install));
        }
        if socket.is_outdated || self.unit(SERVICE_UNIT).is_some_and(|hub| hub.is_outdated) {
            let what = "a unit file has changed since systemd read it";
            warnings.push(Warning::new(what, "systemctl --user daemon-reload").with_fix(Fix::Reload));
        }
        if let Some(hub) = self.unit(SERVICE_UNIT) {
            if let Some(Observation::Failing { reason, next }) = self.failing() {
                warnings.push(Warning::new(format!("the hub cannot start: {reason}"), next));
            } else if hub.active == "failed" {
                let what = format!("{SERVICE_UNIT} has failed ({})", hub.result);
                warnings.push(Warning::new(what, "relayctl logs --since 1h").with_fix(Fix::ResetFailed));
            } else if hub.restarts.is_some_and(|n| n >= RESTARTS_MANY) {
                let what = format!("the hub was restarted {} times after failures", hub.restarts.unwrap_or(0));
                warnings.push(Warning::new(what, "relayctl logs --since 1h").with_fix(Fix::ResetFailed));
            }
        }
        warnings
    }

    fn launchd_warnings(&self, domain: &str, reach: &Reach) -> Vec<Warning> {
        match self.unit(LABEL) {
            Some(job) if job.load != "loaded" && reach.is_err() => {
                vec![Warning::new("the service is not installed", "relayctl install-service").with_fix(Fix::Install)]
            }
            Some(job) if job.load == "loaded" && is_empty(reach) => {
                let what = format!("{LABEL} is loaded, but its socket was removed or replaced");
                let next = format!("launchctl bootout {domain}/{LABEL}; relayctl install-service");
                vec![Warning::new(what, next).with_fix(Fix::RestartSocket)]
            }
            Some(_) | None => Vec::new(),
        }
    }
}

/// Returns whether there is no socket that somebody listens at.
const fn is_empty(reach: &Reach) -> bool {
    matches!(reach, Err(Observation::Missing | Observation::Refused))
}

/// Says why the manager cannot use a unit at all.
fn unusable(unit: &UnitStatus) -> Option<Warning> {
    let name = &unit.name;
    match (unit.load.as_str(), unit.drop_ins.first()) {
        ("masked", _) => {
            let next = format!("systemctl --user unmask {name} && relayctl install-service");
            Some(Warning::new(format!("{name} is masked: nobody may start it"), next).with_fix(Fix::Unmask))
        }
        ("bad-setting" | "error", Some(drop_in)) => {
            let next = format!("mv {0} {0}.bad && systemctl --user daemon-reload", quoted(drop_in));
            Some(Warning::new(format!("{name} cannot be read with {}", drop_in.display()), next))
        }
        ("bad-setting" | "error", None) => {
            let warning = Warning::new(format!("{name} cannot be read"), "relayctl install-service");
            Some(warning.with_fix(Fix::Install))
        }
        _ => None,
    }
}

/// Returns what makes a program that the unit starts one that runs.
pub(super) fn cure_of_program(program: &Path) -> String {
    let beside = std::env::current_exe().map(|own| own.with_file_name("relay-hub"));
    let is_here = beside.is_ok_and(|hub| hub != *program && hub.exists());
    if program.is_file() {
        format!("chmod +x {}", quoted(program))
    } else if is_here {
        "relayctl install-service".to_owned()
    } else {
        INSTALL_ALL.to_owned()
    }
}

fn unit_text(unit: &UnitStatus) -> String {
    if unit.load == "not-found" {
        return format!("{} is not installed", unit.name);
    }
    let sub = if unit.sub.is_empty() { String::new() } else { format!(" ({})", unit.sub) };
    // A unit that cannot be enabled is started by another one: that says nothing to a person.
    let is_telling = !unit.enabled.is_empty() && unit.enabled != "static";
    let enabled = if is_telling { format!(", {}", unit.enabled) } else { String::new() };
    format!("{} is {}{sub}{enabled}", unit.name, unit.active)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::cli) fn systemd(socket: [&str; 4], hub: [&str; 4]) -> ServiceView {
        let unit = |name: &str, [load, active, sub, enabled]: [&str; 4]| UnitStatus {
            name: name.into(),
            load: load.into(),
            active: active.into(),
            sub: sub.into(),
            enabled: enabled.into(),
            result: "trigger-limit-hit".into(),
            ..UnitStatus::default()
        };
        ServiceView::Seen { manager: Manager::Systemd, units: vec![unit(SOCKET_UNIT, socket), unit(SERVICE_UNIT, hub)] }
    }

    const MISSING: Reach = Err(Observation::Missing);

    pub(in crate::cli) const LISTENS: [&str; 4] = ["loaded", "active", "listening", "enabled"];
    pub(in crate::cli) const IDLE: [&str; 4] = ["loaded", "inactive", "dead", "static"];

    fn told(view: &ServiceView, reach: &Reach) -> String {
        let lines: Vec<String> =
            view.warnings(reach).into_iter().map(|warning| format!("{} -> {}", warning.what, warning.next)).collect();
        lines.join("\n")
    }

    #[test]
    fn a_service_that_works_is_worth_no_warning() {
        assert_eq!(told(&systemd(LISTENS, IDLE), &Ok(())), "");
        assert_eq!(told(&ServiceView::None("no bus".into()), &Ok(())), "");
    }

    #[test]
    fn a_hub_is_restarted_where_its_manager_has_it() {
        assert_eq!(systemd(LISTENS, IDLE).restart_command(), "systemctl --user restart relay.service");
        let over_ssh = Manager::Launchd { domain: "user/501".into() };
        let view = ServiceView::Seen { manager: over_ssh, units: Vec::new() };
        assert_eq!(view.restart_command(), "launchctl kickstart -k user/501/dev.claude-relay.hub");
    }

    #[test]
    fn each_state_has_the_command_that_cures_it() {
        let with = |socket: [&str; 4], reach: &Reach| told(&systemd(socket, IDLE), reach);
        let barred = Err(Observation::Forbidden);
        let said = [
            with(["not-found", "inactive", "dead", ""], &MISSING),
            with(["masked", "inactive", "dead", "masked"], &MISSING),
            with(["loaded", "failed", "failed", "enabled"], &MISSING),
            with(["loaded", "inactive", "dead", "disabled"], &MISSING),
            with(LISTENS, &MISSING),
            with(LISTENS, &barred),
            told(&systemd(LISTENS, ["loaded", "failed", "failed", "static"]), &Ok(())),
        ];
        insta::assert_snapshot!(said.join("\n"), @"
        the service is not installed -> relayctl install-service
        relay.socket is masked: nobody may start it -> systemctl --user unmask relay.socket && relayctl install-service
        relay.socket has failed (trigger-limit-hit) and listens no more -> systemctl --user reset-failed relay.socket relay.service && systemctl --user start relay.socket
        relay.socket is inactive: nobody listens for the hub -> systemctl --user start relay.socket
        relay.socket is disabled: it is gone after the next login -> relayctl install-service
        relay.socket is active, but its socket was removed or replaced -> systemctl --user restart relay.socket

        relay.service has failed (trigger-limit-hit) -> relayctl logs --since 1h
        ");
    }

    #[test]
    fn a_job_of_launchd_is_judged_alike() {
        let job = |load: &str| ServiceView::Seen {
            manager: Manager::Launchd { domain: "gui/501".into() },
            units: vec![UnitStatus { name: LABEL.into(), load: load.into(), ..UnitStatus::default() }],
        };
        let said = [told(&job("loaded"), &Ok(())), told(&job("loaded"), &MISSING), told(&job("not-found"), &MISSING)];
        insta::assert_snapshot!(said.join("\n"), @"

        dev.claude-relay.hub is loaded, but its socket was removed or replaced -> launchctl bootout gui/501/dev.claude-relay.hub; relayctl install-service
        the service is not installed -> relayctl install-service
        ");
    }
}
