//! The plan for `systemd --user`: two units, of which the socket is enabled.

use std::path::Path;

use super::commands::Commands;
use super::plan::{Plan, PlanError, Run, Step, When, command_line};
use super::{ServiceError, UnitStatus, nameable, words};
use crate::paths::Environment;

/// The unit that listens.
pub const SOCKET_UNIT: &str = "relay.socket";
/// The unit that runs the hub.
pub const SERVICE_UNIT: &str = "relay.service";

const SOCKET_TEMPLATE: &str = include_str!("../../service/systemd/relay.socket.in");
const SERVICE_TEMPLATE: &str = include_str!("../../service/systemd/relay.service.in");

/// What [`status`] asks for (systemctl(1), `show`).
const PROPERTIES: &str = "Id,LoadState,ActiveState,SubState,UnitFileState,Result,FragmentPath,DropInPaths,MainPID,NRestarts,\
                          NeedDaemonReload,ExecStart,ExecMainCode,ExecMainStatus,StatusText";

/// `CLD_EXITED` of waitid(2): the process ended by itself.
const EXITED: &str = "1";

pub(super) fn install(environment: &Environment, bindir: &Path) -> Result<Plan, ServiceError> {
    let units = environment.unit_dir()?;
    // The manager would fail later, and say less.
    environment.service_socket()?;
    let service = SERVICE_TEMPLATE.replace("@bindir@", &executable(bindir)?);
    let write = |name: &str, content: String| Step::WriteFile { path: units.join(name), content, mode: 0o644 };
    let checks = vec![
        words("systemctl --user is-enabled --quiet relay.socket"),
        words("systemctl --user is-active --quiet relay.socket"),
    ];
    let steps = vec![
        Step::MakeDirectory { path: units.clone(), mode: 0o755 },
        write(SOCKET_UNIT, SOCKET_TEMPLATE.to_owned()),
        write(SERVICE_UNIT, service),
        run("systemctl --user daemon-reload", When::Changed),
        // A hub of the old file goes on otherwise. Nothing is lost: its clients come back to the new one. Not restarted: a
        // socket does not start as long as its service ends, and one that fails takes its time for that.
        run("systemctl --user stop relay.socket relay.service", When::Replaced),
        run("systemctl --user enable --now relay.socket", When::ChangedUnless(checks)),
    ];
    Ok(Plan { steps })
}

pub(super) fn uninstall(environment: &Environment) -> Result<Plan, ServiceError> {
    let units = environment.unit_dir()?;
    let wants = units.join("sockets.target.wants");
    let if_so = |check: &str| When::If(words(check));
    let mut steps = vec![
        run("systemctl --user disable --now relay.socket", if_so("systemctl --user is-enabled --quiet relay.socket")),
        run(
            "systemctl --user stop relay.socket relay.service",
            if_so("systemctl --user is-active --quiet relay.socket relay.service"),
        ),
        Step::RemoveFile { path: wants.join(SOCKET_UNIT) },
        Step::RemoveFile { path: units.join(SOCKET_UNIT) },
        Step::RemoveFile { path: units.join(SERVICE_UNIT) },
        run("systemctl --user daemon-reload", When::Changed),
        run(
            "systemctl --user reset-failed relay.socket relay.service",
            if_so("systemctl --user is-failed --quiet relay.socket relay.service"),
        ),
        Step::RemoveEmptyDirectory { path: wants },
    ];
    steps.extend(units.ancestors().take(2).map(|path| Step::RemoveEmptyDirectory { path: path.to_owned() }));
    if let Ok(socket) = environment.service_socket() {
        let directory = socket.parent().map(Path::to_owned);
        steps.push(Step::RemoveDeadSocket { path: socket });
        steps.extend(directory.map(|path| Step::RemoveEmptyDirectory { path }));
    }
    Ok(Plan { steps })
}

/// Asks the user's manager for a word.
pub(super) fn answers(commands: &mut dyn Commands) -> Result<(), ServiceError> {
    let argv = words("systemctl --user show --property=Version");
    let no = |said: String| ServiceError::NoManager { reason: format!("`{}`: {said}", command_line(&argv)) };
    match commands.run(&argv) {
        Ok(finished) if finished.success() => Ok(()),
        Ok(finished) => Err(no(finished.stderr.trim().to_owned())),
        Err(error) => Err(no(error.to_string())),
    }
}

pub(super) fn status(commands: &mut dyn Commands) -> Result<Vec<UnitStatus>, ServiceError> {
    let mut argv = words("systemctl --user show relay.socket relay.service");
    argv.push(format!("--property={PROPERTIES}"));
    let command = command_line(&argv);
    match commands.run(&argv) {
        Ok(finished) if finished.success() => {
            Ok(finished.stdout.split("\n\n").map(parse_unit).filter(|unit| !unit.name.is_empty()).collect())
        }
        Ok(finished) => {
            let said = finished.stderr.trim().to_owned();
            Err(PlanError::Command { command, code: finished.code, said }.into())
        }
        Err(source) => Err(PlanError::Start { command, source }.into()),
    }
}

/// Reads the `KEY=VALUE` lines of one unit.
fn parse_unit(lines: &str) -> UnitStatus {
    let mut unit = UnitStatus::default();
    let (mut code, mut status) = ("", "");
    for (key, value) in lines.lines().filter_map(|line| line.split_once('=')) {
        let text = value.to_owned();
        match key {
            "Id" => unit.name = text,
            "LoadState" => unit.load = text,
            "ActiveState" => unit.active = text,
            "SubState" => unit.sub = text,
            "UnitFileState" => unit.enabled = text,
            "Result" => unit.result = text,
            "FragmentPath" => unit.file = Some(value).filter(|path| !path.is_empty()).map(Into::into),
            "MainPID" => unit.pid = value.parse().ok().filter(|pid| *pid != 0),
            "NeedDaemonReload" => unit.is_outdated = value == "yes",
            "NRestarts" => unit.restarts = value.parse().ok(),
            "DropInPaths" => unit.drop_ins = value.split_ascii_whitespace().map(Into::into).collect(),
            "ExecStart" => unit.program = program_of(value).map(Into::into),
            "ExecMainCode" => code = value,
            "ExecMainStatus" => status = value,
            "StatusText" => unit.said = text,
            _ => {}
        }
    }
    unit.exit_code = status.parse().ok().filter(|_| code == EXITED);
    unit
}

/// Reads `{ path=/usr/bin/relay-hub ; argv[]=/usr/bin/relay-hub ; … }`.
fn program_of(exec_start: &str) -> Option<&str> {
    Some(exec_start.split_once("path=")?.1.split_once(" ;")?.0)
}

fn run(line: &str, when: When) -> Step {
    Step::Run(Run { argv: words(line), when, tolerated: Vec::new(), retried: Vec::new() })
}

/// Returns the path as it stands between double quotes in `ExecStart=`, where `%` begins a specifier (systemd.unit(5))
/// and `$` means nothing, since it is the program's own path. systemd refuses quotes and backslashes in it, escaped or
/// not ("Executable name contains special characters").
pub(super) fn executable(path: &Path) -> Result<String, ServiceError> {
    let text = nameable(path)?;
    if text.contains(['"', '\'', '\\']) {
        return Err(ServiceError::Unnameable { path: path.to_owned() });
    }
    Ok(text.replace('%', "%%"))
}
