//! `relayctl doctor`: named checks, each with what it found and what cures it.
//!
//! One file a family. A check is a function from what was examined to a [`Finding`]; it looks and changes nothing. What
//! `--fix` may do is a [`Fix`] of the finding, and `repair` is the only place that does it. The report holds no message
//! text, no key and no name of a session, so that it can be pasted into an issue.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::Context;
use super::diagnosis;
use super::error::{CliError, Exit};
use super::output::{Format, Line, Output};
use super::service_view::{Fix, Reach, ServiceView};
use crate::advice::Observation;
use crate::paths::{Environment, PathError};
use crate::service::{self, SystemCommands};

mod agents;
mod claude;
mod finding;
mod hub;
mod logs;
mod machines;
mod programs;
mod repair;
mod socket;
mod units;

use finding::{Finding, State};

/// How long one of the commands that are asked something may take.
const COMMAND_PATIENCE: Duration = Duration::from_secs(5);

/// Check every part of claude-relay on this machine and say what cures what is wrong
///
/// The report can be pasted into an issue: it holds no text of a message.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Repair what can be repaired without losing anything, then check again
    #[arg(long)]
    fix: bool,
    #[command(flatten)]
    format: Format,
}

/// What the checks look at.
struct Examined {
    environment: Environment,
    /// Where this program looks for the hub.
    socket: Result<PathBuf, PathError>,
    /// What a connect there met; none where there is no place.
    reach: Option<Reach>,
    /// What a connect to the service's own socket met.
    service_reach: Reach,
    service: ServiceView,
    /// Where this program is.
    bindir: Option<PathBuf>,
    commands: SystemCommands,
}

impl Examined {
    fn of(environment: Environment) -> Self {
        let socket = environment.socket();
        let reach = socket.as_deref().ok().map(diagnosis::reach);
        let service_reach =
            environment.service_socket().map_or(Err(Observation::Missing), |socket| diagnosis::reach(&socket));
        // After connecting, which may have started the hub.
        let service = ServiceView::look(&environment);
        let program = std::env::current_exe().and_then(|program| program.canonicalize());
        let own = program.as_ref().ok().and_then(|program| Some(program.parent()?.to_owned()));
        let bindir = program.as_ref().ok().and_then(|program| service::bindir(program).ok()).or(own);
        let commands = SystemCommands::new(&environment).with_limit(COMMAND_PATIENCE);
        Self { environment, socket, reach, service_reach, service, bindir, commands }
    }
}

impl DoctorArgs {
    /// Prints the findings.
    ///
    /// # Errors
    /// A check failed.
    pub(super) async fn run(self, context: &mut Context) -> Result<Exit, CliError> {
        context.out.use_json(self.format.json);
        let environment = context.environment()?;
        let mut findings = examine(&environment).await;
        if self.fix {
            let fixes = fixes(&findings);
            for fix in &fixes {
                repair::perform(fix, &environment, &mut context.out);
            }
            if fixes.is_empty() {
                context.out.say(&Line::of("nothing to repair without you"));
            } else {
                findings = examine(&environment).await;
            }
        }
        for finding in &findings {
            show(finding, &mut context.out)?;
        }
        outcome(&findings)
    }
}

async fn examine(environment: &Environment) -> Vec<Finding> {
    let mut examined = Examined::of(environment.clone());
    let mut findings = programs::check(&mut examined);
    findings.extend(units::check(&examined));
    findings.extend(socket::check(&examined));
    findings.extend(hub::check(&examined).await);
    findings.extend(machines::check(&examined));
    findings.extend(logs::check(&examined));
    findings.extend(claude::check(&mut examined));
    findings.extend(agents::check(&mut examined));
    findings
}

/// Returns what is to be repaired, each once, in an order in which one repair does not undo another.
fn fixes(findings: &[Finding]) -> Vec<Fix> {
    let mut fixes: Vec<Fix> = Vec::new();
    for fix in findings.iter().filter_map(|finding| finding.fix.as_ref()) {
        if !fixes.contains(fix) {
            fixes.push(fix.clone());
        }
    }
    fixes.sort_by_key(|fix| match fix {
        Fix::Close { .. } => 0,
        Fix::Install | Fix::Unmask => 1,
        Fix::Reload => 2,
        Fix::ResetFailed => 3,
        Fix::StartSocket => 4,
        Fix::RestartSocket => 5,
        Fix::RestartHub => 6,
    });
    fixes
}

fn show(finding: &Finding, out: &mut Output) -> Result<(), CliError> {
    if out.is_json() { out.print_json("check", finding) } else { out.print(&finding.line()) }
}

fn outcome(findings: &[Finding]) -> Result<Exit, CliError> {
    let failed: Vec<&Finding> = findings.iter().filter(|finding| finding.state == State::Fail).collect();
    match failed.first() {
        None => Ok(Exit::Done),
        Some(first) => {
            let next = first.cure.clone().unwrap_or_else(|| "relayctl doctor --fix".to_owned());
            Err(CliError::Unhealthy { failed: failed.len(), next })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::capture;

    fn findings() -> Vec<Finding> {
        vec![
            Finding::ok("programs", "all three are here"),
            Finding::note("linger", "off: the hub ends with your last login"),
            Finding::warn("claude-plugin", "not enabled", "claude plugin install relay@claude-relay"),
            Finding::fail("socket-unit", "relay.socket is inactive", "systemctl --user start relay.socket")
                .with_fix(Fix::StartSocket),
            Finding::fail("socket-reachable", "there is no socket", "systemctl --user start relay.socket")
                .with_fix(Fix::StartSocket),
            Finding::fail("socket-directory", "open to others", "chmod 700 /run/x")
                .with_fix(Fix::Close { path: "/run/x".into(), mode: 0o700 }),
        ]
    }

    #[test]
    fn the_report_names_each_check_and_its_cure() {
        let (mut out, captured) = capture::output(false);
        for finding in findings() {
            show(&finding, &mut out).unwrap();
        }
        out.fail(&outcome(&findings()).unwrap_err());
        insta::assert_snapshot!(anstream::adapter::strip_str(&captured.text()), @"
        --- stdout
        ok    programs           all three are here
        note  linger             off: the hub ends with your last login
        warn  claude-plugin      not enabled
                                  cure: claude plugin install relay@claude-relay
        FAIL  socket-unit        relay.socket is inactive
                                  cure: systemctl --user start relay.socket
        FAIL  socket-reachable   there is no socket
                                  cure: systemctl --user start relay.socket
        FAIL  socket-directory   open to others
                                  cure: chmod 700 /run/x
        --- stderr
        error: 3 checks failed
        next: systemctl --user start relay.socket
        ");
    }

    #[test]
    fn the_report_has_its_json() {
        let (mut out, captured) = capture::output(true);
        show(&findings()[2], &mut out).unwrap();
        insta::assert_snapshot!(captured.text(), @r#"
        --- stdout
        {"schema":1,"type":"check","name":"claude-plugin","state":"warn","what":"not enabled","cure":"claude plugin install relay@claude-relay"}
        --- stderr
        "#);
    }

    #[test]
    fn each_repair_is_made_once_and_modes_come_before_the_socket() {
        assert_eq!(fixes(&findings()), [Fix::Close { path: "/run/x".into(), mode: 0o700 }, Fix::StartSocket]);
    }

    #[test]
    fn warnings_alone_are_no_failure() {
        assert_eq!(outcome(&findings()[..3]).unwrap(), Exit::Done);
        assert_eq!(outcome(&findings()).unwrap_err().exit(), Exit::Failed);
    }
}
