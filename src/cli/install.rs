//! `relayctl install-service` and `uninstall-service`: the plans of [`crate::service`], shown or done.

use std::path::Path;

use clap::Args;

use super::error::{CliError, Exit};
use super::output::{Line, Output};
use super::service_view::ServiceView;
use super::{Context, diagnosis, hubs, search_path};
use crate::paths::{Environment, Platform};
use crate::service::{self, Effect, LABEL, Manager, Plan, SOCKET_UNIT, ServiceError, Step, SystemCommands};

/// Let the service manager start the hub whenever somebody connects
#[derive(Debug, Args)]
pub(super) struct InstallArgs {
    /// Run relay-bridge too, which links this machine with your others (relayctl machines)
    #[arg(long)]
    with_machines: bool,
    /// Print what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// Undo install-service
#[derive(Debug, Args)]
pub(super) struct UninstallArgs {
    /// Print what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

impl InstallArgs {
    /// Installs the service. Done twice it changes nothing.
    ///
    /// # Errors
    /// No service manager answers, or a step fails.
    #[expect(clippy::unused_async, reason = "every subcommand is run alike")]
    pub(super) async fn run(self, context: &mut Context) -> Result<Exit, CliError> {
        let mut machine = Machine::of_process();
        let manager = machine.manager(self.dry_run)?;
        let bindir = service::bindir(&std::env::current_exe().map_err(CliError::Runtime)?)?;
        if !self.dry_run {
            refuse_beside_foreground_hub(&machine.environment)?;
        }
        let mut plan = service::install(&manager, &machine.environment, &bindir)?;
        if self.with_machines {
            plan.steps.extend(service::install_bridge(&manager, &machine.environment, &bindir)?.steps);
        }
        if self.dry_run {
            return show(&plan, &mut context.out);
        }
        let changed = machine.perform(&plan, &mut context.out)?;
        context.out.say(&Line::of(&if changed {
            format!("installed with {manager}: the hub starts when somebody connects")
        } else {
            format!("installed with {manager} before: nothing to do")
        }));
        if machine.environment.relay_socket.is_some() {
            context
                .out
                .say(&Line::of("note: RELAY_SOCKET is set here, and programs that see it do not use this service"));
        }
        Ok(Exit::Done)
    }
}

impl UninstallArgs {
    /// Removes the service. Done where nothing is, it changes nothing.
    ///
    /// # Errors
    /// No service manager answers, or a step fails.
    #[expect(clippy::unused_async, reason = "every subcommand is run alike")]
    pub(super) async fn run(self, context: &mut Context) -> Result<Exit, CliError> {
        let mut machine = Machine::of_process();
        let manager = machine.manager(self.dry_run)?;
        let mut plan = service::uninstall_bridge(&manager, &machine.environment)?;
        plan.steps.extend(service::uninstall(&manager, &machine.environment)?.steps);
        if self.dry_run {
            return show(&plan, &mut context.out);
        }
        let changed = machine.perform(&plan, &mut context.out)?;
        context.out.say(&Line::of(&if changed {
            format!("removed from {manager}")
        } else {
            format!("not installed with {manager}: nothing to do")
        }));
        Ok(Exit::Done)
    }
}

/// What a plan is made for and done with.
struct Machine {
    environment: Environment,
    commands: SystemCommands,
}

impl Machine {
    fn of_process() -> Self {
        let environment = Environment::of_process();
        let commands = SystemCommands::new(&environment);
        Self { environment, commands }
    }

    /// Returns the service manager; to show a plan the platform's usual one will do.
    fn manager(&mut self, dry_run: bool) -> Result<Manager, ServiceError> {
        let answering = service::detect(&self.environment, &mut self.commands);
        if dry_run { Ok(answering.unwrap_or_else(|_| usual_manager(&self.environment))) } else { answering }
    }

    fn perform(&mut self, plan: &Plan, out: &mut Output) -> Result<bool, ServiceError> {
        let tell = |step: &Step, effect| {
            if effect != Effect::Unchanged {
                out.say(&Line::of(&step_done(step)));
            }
        };
        Ok(plan.perform(&mut self.commands, tell)?)
    }
}

/// Refuses where somebody has started a hub by hand in the service's place: the service would take the place over, and those
/// who are connected to that hub would be alone with it.
///
/// # Errors
/// There is such a hub.
pub(super) fn refuse_beside_foreground_hub(environment: &Environment) -> Result<(), CliError> {
    let Ok(socket) = environment.service_socket() else { return Ok(()) };
    let view = ServiceView::look(environment);
    let is_services =
        [SOCKET_UNIT, LABEL].iter().any(|name| view.unit(name).is_some_and(|unit| unit.active == "active"));
    let hub = hubs::of_user(environment.uid).into_iter().find(|hub| hub.socket.as_ref() == Some(&socket));
    match hub {
        Some(hub) if !is_services && diagnosis::reach(&socket).is_ok() => {
            let what = format!("a hub that you have started listens in the service's place (process {})", hub.pid);
            Err(CliError::Obstacle { what, next: "relayctl hub stop && relayctl setup".to_owned() })
        }
        Some(_) | None => Ok(()),
    }
}

/// Returns what a person who installs should know: another copy of the programs that the shell finds first.
pub(super) fn note(bindir: &Path) -> Option<String> {
    search_path::obstacle(bindir, &search_path::directories()).map(|(what, next)| format!("note: {what}: {next}"))
}

fn usual_manager(environment: &Environment) -> Manager {
    match environment.platform {
        Platform::Linux => Manager::Systemd,
        Platform::MacOs => Manager::Launchd { domain: format!("gui/{}", environment.uid) },
    }
}

fn show(plan: &Plan, out: &mut Output) -> Result<Exit, CliError> {
    out.print(&Line::of(plan.to_string().trim_end()))?;
    Ok(Exit::Done)
}

/// Returns what a step has done: its headline without the condition, which was true.
pub(super) fn step_done(step: &Step) -> String {
    let headline = step.headline();
    headline.split_once(" (").map_or(headline.as_str(), |(done, _)| done).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::{Run, When};

    #[test]
    fn a_done_step_is_told_without_its_condition() {
        let argv = ["systemctl", "--user", "daemon-reload"].map(str::to_owned).into();
        let run = Run { argv, when: When::Changed, tolerated: vec![], retried: vec![] };
        assert_eq!(step_done(&Step::Run(run)), "run systemctl --user daemon-reload");
    }

    #[test]
    fn a_plan_can_be_shown_where_no_manager_answers() {
        let environment = Environment { platform: Platform::MacOs, uid: 501, ..Environment::of_process() };
        assert_eq!(usual_manager(&environment), Manager::Launchd { domain: "gui/501".into() });
    }
}
