//! `relayctl setup`: from the bare programs to sessions that talk, in one command: the service, and the plugin of every agent
//! that is found, from files that this program carries.
//!
//! What is to be done is a list of [`Part`]s, each a plan of [`crate::service`], made from what is there before anything is
//! done. An agent is an entry in [`agents::AGENTS`].

use std::path::Path;
use std::time::Duration;

use clap::Args;

use super::Context;
use super::error::{CliError, Exit};
use super::hub;
use super::install::{self, step_done};
use super::output::{Line, Output};
use crate::advice::by_hand;
use crate::paths::Environment;
use crate::service::{self, Effect, Plan, ServiceError, Step, SystemCommands};

mod agents;
mod claude_code;
mod codex;
mod copilot;
mod files;
mod gemini_cli;
mod qwen_code;
mod recipe;
mod script_file;

use agents::Found;

pub(super) use agents::{AgentState, states};
pub(super) use claude_code::find as find_claude;

/// How long a command of an agent or of the service manager may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Set everything up: the service, and the plugin of every agent on this machine
///
/// Says what it will do, does it, and says what to do next. Done twice it changes nothing.
#[derive(Debug, Args)]
pub(super) struct SetupArgs {
    /// Set up only these agents: claude, codex, copilot, gemini, opencode, pi, qwen
    #[arg(value_name = "AGENT", value_parser = agents::names())]
    agents: Vec<String>,
    /// Run relayctl watch --notify as a service too, which tells the desktop when a session waits for you
    #[arg(long, conflicts_with = "undo")]
    notify: bool,
    /// Run relay-bridge too, which links this machine with your others (relayctl machines)
    #[arg(long, conflicts_with = "undo")]
    with_machines: bool,
    /// Print what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Undo all of it
    #[arg(long)]
    undo: bool,
}

/// What belongs together, for people.
struct Part {
    /// What it is about.
    title: String,
    plan: Plan,
}

impl SetupArgs {
    /// Sets up, or undoes it.
    ///
    /// # Errors
    /// A hub is in the service's place that somebody has started by hand, a named agent is not there, or a step fails.
    pub(super) async fn run(self, context: &mut Context) -> Result<Exit, CliError> {
        let environment = Environment::of_process();
        let mut commands = SystemCommands::new(&environment).with_limit(PATIENCE);
        let found = agents::find(&environment, &self.agents)?;
        if self.undo {
            return self.undo(&environment, &mut commands, &found, context).await;
        }
        let bindir = service::bindir(&std::env::current_exe().map_err(CliError::Runtime)?)?;
        let mut parts = Vec::new();
        let manager = service::detect(&environment, &mut commands);
        if let Ok(manager) = &manager {
            install::refuse_beside_foreground_hub(&environment)?;
            let plan = service::install(manager, &environment, &bindir)?;
            parts.push(Part { title: format!("the hub's service ({manager})"), plan });
            if self.with_machines {
                let plan = service::install_bridge(manager, &environment, &bindir)?;
                parts.push(Part { title: format!("the bridge to other machines ({manager})"), plan });
            }
            if self.notify {
                let plan = service::install_desktop(manager, &environment, &bindir)?;
                parts.push(Part { title: format!("notifications ({manager})"), plan });
            }
        }
        for agent in &found {
            parts.push(Part { title: agent.title(), plan: agent.install(&environment, &bindir)? });
        }
        self.announce(&parts, &mut context.out)?;
        if let Err(error) = &manager {
            context.out.say(&Line::of(&without_manager(error, self.dry_run)));
            if self.notify {
                context
                    .out
                    .say(&Line::of("nobody would start the notifications: run relayctl watch --notify yourself"));
            }
            if self.with_machines {
                context.out.say(&Line::of("nobody would start the bridge: run relay-bridge yourself"));
            }
        }
        if let Some(note) = install::note(&bindir) {
            context.out.say(&Line::of(&note));
        }
        if self.dry_run {
            return Ok(Exit::Done);
        }
        let Done { mut changed, failed } = perform(&parts, &mut commands, &mut context.out);
        if manager.is_err() && super::diagnosis::reach(&environment.socket()?).is_err() {
            let said = hub::start(&environment).await?;
            context.out.say(&Line::of(&said));
            changed = true;
        }
        whole(&failed, "set up", &self.again(""))?;
        context.out.say(&Line::of(if changed { "done" } else { "everything is set up already" }));
        context.out.say(&Line::of(&format!("next: {}", next(&found))));
        Ok(Exit::Done)
    }

    async fn undo(
        &self,
        environment: &Environment,
        commands: &mut SystemCommands,
        found: &[Found],
        context: &mut Context,
    ) -> Result<Exit, CliError> {
        let mut parts = Vec::new();
        for agent in found {
            parts.push(Part { title: agent.title(), plan: agent.remove()? });
        }
        // The rest is everybody's: it goes with the last of them.
        if self.agents.is_empty() {
            if let Ok(manager) = service::detect(environment, commands) {
                let plan = service::uninstall_desktop(&manager, environment)?;
                parts.push(Part { title: format!("notifications ({manager})"), plan });
                let plan = service::uninstall_bridge(&manager, environment)?;
                parts.push(Part { title: format!("the bridge to other machines ({manager})"), plan });
                let plan = service::uninstall(&manager, environment)?;
                parts.push(Part { title: format!("the hub's service ({manager})"), plan });
            } else if !self.dry_run {
                let said = hub::stop(context, environment).await?;
                context.out.say(&Line::of(&said));
            }
            parts.push(Part { title: "files".to_owned(), plan: files::remove(environment)? });
        }
        self.announce(&parts, &mut context.out)?;
        if self.dry_run {
            return Ok(Exit::Done);
        }
        let Done { changed, failed } = perform(&parts, commands, &mut context.out);
        whole(&failed, "undone", &self.again(" --undo"))?;
        context.out.say(&Line::of(if changed { "undone" } else { "nothing was set up" }));
        Ok(Exit::Done)
    }

    /// Returns the command that does the same again.
    fn again(&self, option: &str) -> String {
        let notify = if self.notify { " --notify" } else { "" };
        let machines = if self.with_machines { " --with-machines" } else { "" };
        let agents: String = self.agents.iter().map(|agent| format!(" {agent}")).collect();
        format!("relayctl setup{agents}{option}{notify}{machines}")
    }

    /// Says what will be done. A dry run is asked for it, so there it is data.
    fn announce(&self, parts: &[Part], out: &mut Output) -> Result<(), CliError> {
        for part in parts {
            if part.plan.steps.is_empty() {
                continue;
            }
            if !self.dry_run {
                out.say(&Line::of(&format!("{}: {}", part.title, count(&part.plan))));
                continue;
            }
            out.print(&Line::of(&format!("{}:", part.title)))?;
            for step in &part.plan.steps {
                out.print(&Line::of(&format!("  {}", step.headline())))?;
            }
        }
        Ok(())
    }
}

fn count(plan: &Plan) -> String {
    let steps = |is: fn(&Step) -> bool| plan.steps.iter().filter(|step| is(step)).count();
    let parts = [
        (steps(|step| matches!(step, Step::WriteFile { .. })), "files to write"),
        (steps(|step| matches!(step, Step::RemoveFile { .. })), "files to remove"),
        (steps(|step| matches!(step, Step::Run(_))), "commands to run"),
    ];
    let parts: Vec<String> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    format!("at most {}", parts.join(", "))
}

fn without_manager(error: &ServiceError, dry_run: bool) -> String {
    let starts = if dry_run { "a hub would be started" } else { "a hub is started" };
    format!("{error}: {starts} in the background (relayctl hub start), and has to be again after a reboot")
}

/// What came of the parts.
struct Done {
    /// Whether anything changed.
    changed: bool,
    /// The titles of those that failed.
    failed: Vec<String>,
}

/// Does every part, also where another fails: an agent that is broken is no reason to leave the others out. What a part
/// does is told as it is done.
fn perform(parts: &[Part], commands: &mut SystemCommands, out: &mut Output) -> Done {
    let mut done = Done { changed: false, failed: Vec::new() };
    for part in parts {
        let (mut written, mut removed) = (0, 0);
        let tell = |step: &Step, effect| match (step, effect) {
            (_, Effect::Unchanged) | (Step::MakeDirectory { .. } | Step::RemoveEmptyDirectory { .. }, _) => {}
            (Step::WriteFile { .. }, _) => written += 1,
            (Step::RemoveFile { .. } | Step::RemoveDeadSocket { .. }, _) => removed += 1,
            (Step::Run(_), _) => out.say(&Line::of(&format!("  {}", step_done(step)))),
        };
        match part.plan.perform(commands, tell) {
            Ok(changed) => done.changed |= changed,
            Err(error) => {
                done.changed = true;
                done.failed.push(part.title.clone());
                out.say(&Line::of(&format!("  failed: {error}")));
            }
        }
        for (n, what) in [(written, "written"), (removed, "removed")] {
            if n > 0 {
                out.say(&Line::of(&format!("  {n} files {what}")));
            }
        }
    }
    done
}

/// Returns an error where a part failed.
fn whole(failed: &[String], done: &str, again: &str) -> Result<(), CliError> {
    if failed.is_empty() {
        return Ok(());
    }
    let what = format!("not {done}: {}", failed.join(", "));
    Err(CliError::Obstacle { what, next: by_hand(&format!("mend what failed above, then run: {again}")) })
}

fn next(found: &[Found]) -> String {
    if found.is_empty() {
        return by_hand("install an agent, such as Claude Code, then run: relayctl setup");
    }
    let restart: Vec<&str> = found.iter().map(Found::restart).collect();
    format!("relayctl status   # after you have restarted {}", restart.join(" and "))
}

/// Returns the path as the plans take it.
fn shown(path: &Path) -> Result<String, ServiceError> {
    path.to_str().map(str::to_owned).ok_or_else(|| ServiceError::Unnameable { path: path.to_owned() })
}
