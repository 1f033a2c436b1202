//! The service manager and its files: there, unchanged, of this version, and naming programs that are there.

use std::fs;
use std::path::{Path, PathBuf};

use super::Examined;
use super::finding::{Finding, State};
use crate::advice::START_HUB;
use crate::advice::startup::next_for_service;
use crate::cli::service_view::{Fix, ServiceView, cure_of_program};
use crate::paths::{Environment, Platform};
use crate::service::{self, Manager, Step};

const INSTALL: &str = "relayctl install-service";

pub(super) fn check(examined: &Examined) -> Vec<Finding> {
    let ServiceView::Seen { manager, .. } = &examined.service else {
        return vec![without_manager(examined)];
    };
    let mut findings = vec![Finding::ok("service-manager", format!("{manager} answers"))];
    let warnings = examined.service.warnings(&examined.service_reach);
    let is_loaded = examined.service.is_loaded();
    if is_loaded {
        findings.extend(files(examined, manager));
    }
    if warnings.is_empty() {
        findings.push(Finding::ok("service", examined.service.text()));
    }
    let reaches_another = examined.environment.socket_named_by().is_some() && is_reached(examined);
    for warning in warnings {
        // Whoever has a hub elsewhere may do without the service.
        let works = is_reached(examined) && (reaches_another || warning.is_about_comfort());
        findings.push(Finding::of_warning("service", if works { State::Warn } else { State::Fail }, warning));
    }
    if examined.environment.platform == Platform::Linux {
        findings.extend(linger(&examined.environment, Path::new("/var/lib/systemd/linger")));
    }
    findings
}

fn is_reached(examined: &Examined) -> bool {
    examined.reach.as_ref().is_some_and(|reach| reach.is_ok())
}

/// A container, or a login without a session: a hub in the foreground does as well.
fn without_manager(examined: &Examined) -> Finding {
    let what = examined.service.text();
    if is_reached(examined) {
        Finding::note("service-manager", format!("{what}; a hub runs without one"))
    } else {
        Finding::fail("service-manager", what, START_HUB)
    }
}

/// Compares the files with what this version would install, whoever has installed them.
fn files(examined: &Examined, manager: &Manager) -> Vec<Finding> {
    let Some(bindir) = &examined.bindir else { return Vec::new() };
    let plan = match service::install(manager, &examined.environment, bindir) {
        Ok(plan) => plan,
        Err(error) => return vec![Finding::fail("unit-files", error.to_string(), next_for_service(&error))],
    };
    let wanted = plan.steps.iter().filter_map(|step| match step {
        Step::WriteFile { path, content, .. } => Some((path, content)),
        Step::MakeDirectory { .. }
        | Step::RemoveFile { .. }
        | Step::RemoveDeadSocket { .. }
        | Step::RemoveEmptyDirectory { .. }
        | Step::Run(_) => None,
    });
    let mut findings = Vec::new();
    for (path, content) in wanted {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // The manager says which file counts: a package has its own elsewhere.
        let file = examined.service.unit(&name).and_then(|unit| unit.file.clone()).unwrap_or_else(|| path.clone());
        findings.extend(file_finding(&file, &file == path, content));
    }
    if findings.is_empty() {
        findings.push(Finding::ok("unit-files", "as this version installs them"));
    }
    findings
}

fn file_finding(file: &PathBuf, is_own: bool, wanted: &str) -> Option<Finding> {
    let shown = file.display();
    let finding = match fs::read_to_string(file) {
        Err(error) => Finding::fail("unit-files", format!("{shown} cannot be read: {error}"), INSTALL),
        Ok(found) => {
            if let Some(program) = missing_program(&found) {
                let what = format!("{shown} starts {program}, which is not there");
                let cure = cure_of_program(Path::new(&program));
                let finding = Finding::fail("unit-files", what, cure.clone());
                return Some(if is_own && cure == INSTALL { finding.with_fix(Fix::Install) } else { finding });
            } else if without_programs(&found) == without_programs(wanted) {
                return starts_another(file, &found, wanted);
            } else {
                let what = format!("{shown} was changed, or is of another version");
                Finding::warn("unit-files", what, if is_own { INSTALL } else { "install the package again" })
            }
        }
    };
    Some(if is_own { finding.with_fix(Fix::Install) } else { finding })
}

/// A file that is right but for the program that it starts: another copy of ours, which may be what is wanted.
fn starts_another(file: &Path, found: &str, wanted: &str) -> Option<Finding> {
    let program = exec_start(found).filter(|_| found != wanted)?;
    let what = format!("{} starts {program}, not the relay-hub beside this relayctl", file.display());
    Some(Finding::note("unit-files", what))
}

fn missing_program(unit: &str) -> Option<String> {
    exec_start(unit).filter(|program| !Path::new(program).is_file())
}

/// Returns the program of a unit or a property list, as it is written by `install-service`.
fn exec_start(text: &str) -> Option<String> {
    let unit = text.lines().find_map(|line| line.strip_prefix("ExecStart=")).map(|line| {
        let line = line.trim();
        let program = line.strip_prefix('"').and_then(|rest| rest.split_once('"')).map(|(program, _)| program);
        program.unwrap_or_else(|| line.split_whitespace().next().unwrap_or_default()).replace("%%", "%")
    });
    unit.or_else(|| {
        let job = plist::Value::from_reader_xml(text.as_bytes()).ok()?;
        let arguments = job.as_dictionary()?.get("ProgramArguments")?.as_array()?;
        Some(arguments.first()?.as_string()?.to_owned())
    })
}

/// Returns a file's text without the paths that depend on where the programs are.
fn without_programs(text: &str) -> String {
    let program = exec_start(text).unwrap_or_default();
    let lines =
        text.lines().filter(|line| !line.starts_with("ExecStart=") && (program.is_empty() || !line.contains(&program)));
    lines.collect::<Vec<_>>().join("\n")
}

/// Without it the user's manager, and the hub with it, ends with the last login: cron jobs then find no hub.
fn linger(environment: &Environment, directory: &Path) -> Option<Finding> {
    let name = environment.home.as_deref()?.file_name()?.to_owned();
    let user = std::env::var_os("USER").unwrap_or(name);
    let what = if directory.join(user).exists() {
        "on: the hub can be reached while you are logged out"
    } else {
        "off: while you are logged out nobody reaches the hub, cron jobs included (loginctl enable-linger)"
    };
    Some(Finding::note("linger", what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advice::Observation;

    const UNIT: &str = "[Service]\nExecStart=\"/opt/50%% x/relay-hub\"\nRestart=on-failure\n";

    #[test]
    fn the_program_of_a_unit_is_read_as_it_is_written() {
        assert_eq!(exec_start(UNIT).unwrap(), "/opt/50% x/relay-hub");
        assert_eq!(exec_start("ExecStart=/usr/bin/relay-hub --limit rate=off\n").unwrap(), "/usr/bin/relay-hub");
        let plist = include_str!("../../../service/launchd/dev.claude-relay.hub.plist.in");
        assert_eq!(exec_start(plist).unwrap(), "@bindir@/relay-hub");
        assert_eq!(exec_start("[Socket]\n"), None);
    }

    #[test]
    fn a_job_of_launchd_is_checked_like_the_units() {
        let home = tempfile::tempdir().unwrap();
        let environment = Environment {
            platform: Platform::MacOs,
            relay_socket: None,
            home: Some(home.path().to_owned()),
            uid: 501,
            ..Environment::of_process()
        };
        let manager = Manager::Launchd { domain: "gui/501".to_owned() };
        let bindir = home.path().join("bin");
        fs::create_dir(&bindir).unwrap();
        fs::write(bindir.join("relay-hub"), "").unwrap();
        let plan = service::install(&manager, &environment, &bindir).unwrap();
        for step in &plan.steps {
            if let Step::WriteFile { path, content, .. } = step {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
        }
        let job = service::UnitStatus {
            name: service::LABEL.to_owned(),
            load: "loaded".to_owned(),
            active: "running".to_owned(),
            ..service::UnitStatus::default()
        };
        let examined = |reach| Examined {
            socket: environment.socket(),
            reach: Some(Ok(())),
            service_reach: reach,
            service: ServiceView::Seen { manager: manager.clone(), units: vec![job.clone()] },
            bindir: Some(bindir.clone()),
            commands: service::SystemCommands::default(),
            environment: environment.clone(),
        };
        let told = |reach| {
            let lines: Vec<String> = check(&examined(reach))
                .into_iter()
                .map(|finding| format!("{:?} {}: {} -> {:?}", finding.state, finding.name, finding.what, finding.cure))
                .collect();
            lines.join("\n").replace(home.path().to_str().unwrap(), "HOME")
        };
        insta::assert_snapshot!(told(Ok(())), @"
        Ok service-manager: launchd (gui/501) answers -> None
        Ok unit-files: as this version installs them -> None
        Ok service: launchd (gui/501); dev.claude-relay.hub is running -> None
        ");
        fs::remove_file(bindir.join("relay-hub")).unwrap();
        insta::assert_snapshot!(told(Err(Observation::Refused)), @r##"
        Ok service-manager: launchd (gui/501) answers -> None
        Fail unit-files: HOME/Library/LaunchAgents/dev.claude-relay.hub.plist starts HOME/bin/relay-hub, which is not there -> Some("# install the whole package again: relayctl, relay-hub, relay-channel and relay-bridge belong together")
        Fail service: dev.claude-relay.hub is loaded, but its socket was removed or replaced -> Some("launchctl bootout gui/501/dev.claude-relay.hub; relayctl install-service")
        "##);
    }

    #[test]
    fn a_file_is_right_changed_missing_or_starts_what_is_not_there() {
        let directory = tempfile::tempdir().unwrap();
        let hub = directory.path().join("relay-hub");
        fs::write(&hub, "").unwrap();
        let unit = |program: &Path, more: &str| format!("[Service]\nExecStart=\"{}\"\n{more}", program.display());
        let file = directory.path().join("relay.service");
        let look = |content: &str| {
            fs::write(&file, content).unwrap();
            let finding = file_finding(&file, true, &unit(&hub, "Restart=always\n"));
            finding.map(|finding| (finding.state, finding.fix.is_some()))
        };
        assert_eq!(look(&unit(&hub, "Restart=always\n")), None);
        assert_eq!(look(&unit(&hub, "Restart=no\n")), Some((State::Warn, true)));
        assert_eq!(
            look(&unit(Path::new("/nonexistent/relay-hub"), "Restart=always\n")),
            Some((State::Fail, false)),
            "no hub is beside this test"
        );
        let other = directory.path().join("other-hub");
        fs::write(&other, "").unwrap();
        assert_eq!(look(&unit(&other, "Restart=always\n")), Some((State::Note, false)));
        fs::remove_file(&file).unwrap();
        assert_eq!(file_finding(&file, false, "").map(|finding| finding.state), Some(State::Fail));
    }
}
