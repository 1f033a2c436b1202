//! `relayctl machines`: the person's other machines: how they are reached, what they may do here, and how their links stand.

use clap::{Args, Subcommand};
use clap_complete::ArgValueCompleter;

use super::Context;
use super::error::{CliError, Exit};
use super::output::{Format, Line};
use crate::bridge::control::{Release, ToBridge};
use crate::bridge::machine::{Machine, MachineFiles, TheyMay};
use crate::paths::Environment;
use crate::protocol::{AskId, MachineName};

mod add;
mod bridge;
mod check;
mod key;
mod list;
mod rights;

pub(super) use bridge::{Bridge, NoBridge};
pub(super) use list::machine_names;

/// Link this machine with your others: list them, and how their links stand
///
/// A session on another machine is asked by its name there and the machine's name here: backend@desk.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct MachinesArgs {
    #[command(subcommand)]
    command: Option<MachinesCommand>,
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Subcommand)]
enum MachinesCommand {
    Add(add::AddArgs),
    Test(check::TestArgs),
    Allow(rights::AllowArgs),
    Hold(rights::HoldArgs),
    Refuse(rights::RefuseArgs),
    Pause(rights::PauseArgs),
    Resume(rights::ResumeArgs),
    Remove(RemoveArgs),
    Release(ReleaseArgs),
    Key(key::KeyArgs),
}

/// A machine that is known here.
#[derive(Debug, Args)]
struct Named {
    /// The machine, by its name here
    #[arg(value_name = "MACHINE", value_parser = machine_name, add = ArgValueCompleter::new(machine_names))]
    name: MachineName,
}

/// Forget a machine, and cut its link
///
/// One that comes to us by ssh may come again as long as its key lets it log in: relayctl machines refuse keeps it out.
#[derive(Debug, Args)]
struct RemoveArgs {
    #[command(flatten)]
    machine: Named,
}

/// Let asks through that were held: all of a machine's, or one
#[derive(Debug, Args)]
struct ReleaseArgs {
    #[command(flatten)]
    machine: Named,
    /// Only this one, by its id
    #[arg(value_name = "ASK_ID", value_parser = ask_id)]
    ask_id: Option<AskId>,
}

impl MachinesArgs {
    /// Does it.
    ///
    /// # Errors
    /// A file is wrong or cannot be written, or the bridge refuses.
    #[expect(clippy::unused_async, reason = "every subcommand is run alike")]
    pub(super) async fn run(self, context: &mut Context) -> Result<Exit, CliError> {
        context.out.use_json(self.format.json);
        let environment = context.environment()?;
        match self.command {
            None => list::list(&environment, &mut context.out),
            Some(MachinesCommand::Add(args)) => args.run(&environment, context),
            Some(MachinesCommand::Test(args)) => args.run(&environment, context),
            Some(MachinesCommand::Allow(args)) => args.run(&environment, context),
            Some(MachinesCommand::Hold(args)) => args.run(&environment, context),
            Some(MachinesCommand::Refuse(args)) => args.run(&environment, context),
            Some(MachinesCommand::Pause(args)) => args.run(&environment, context),
            Some(MachinesCommand::Resume(args)) => args.run(&environment, context),
            Some(MachinesCommand::Remove(args)) => args.run(&environment, context),
            Some(MachinesCommand::Release(args)) => args.run(&environment, context),
            Some(MachinesCommand::Key(args)) => args.run(&environment, context),
        }
    }
}

impl RemoveArgs {
    fn run(self, environment: &Environment, context: &mut Context) -> Result<Exit, CliError> {
        let name = self.machine.name;
        let files = MachineFiles::of(environment)?;
        if !files.path(&name).exists() && comes_by_itself(environment, &name) {
            let what = format!("{name} comes to us by itself: no file of yours names it");
            return Err(CliError::Obstacle { what, next: format!("relayctl machines refuse {name}") });
        }
        files.remove(&name)?;
        context.out.say(&Line::of(&format!("{name} is removed")));
        reload(environment, context)
    }
}

impl ReleaseArgs {
    fn run(self, environment: &Environment, context: &mut Context) -> Result<Exit, CliError> {
        let machine = self.machine.name;
        Bridge::connect(environment)?.done(&ToBridge::Release(Release { machine, ask_id: self.ask_id }))?;
        context.out.say(&Line::of("let through"));
        Ok(Exit::Done)
    }
}

/// Returns whether a machine that no file names has a link.
fn comes_by_itself(environment: &Environment, name: &MachineName) -> bool {
    let known = || Bridge::connect(environment).ok()?.machines().ok();
    known().is_some_and(|state| state.machines.iter().any(|machine| machine.name == *name))
}

/// Reads a machine's file; where there is none, and the machine comes by itself, returns what holds of it without one.
fn known(environment: &Environment, files: &MachineFiles, name: &MachineName) -> Result<Machine, CliError> {
    if !files.path(name).exists() && comes_by_itself(environment, name) {
        return Ok(Machine::new(name.clone(), None));
    }
    Ok(files.load_one(name)?)
}

/// Writes a machine's file, says what holds now, and has the bridge read it.
fn keep(
    environment: &Environment,
    files: &MachineFiles,
    machine: &Machine,
    context: &mut Context,
) -> Result<Exit, CliError> {
    files.save(machine)?;
    context.out.say(&Line::of(&now(machine)));
    reload(environment, context)
}

/// Returns what holds of a machine, for people.
fn now(machine: &Machine) -> String {
    let name = &machine.name;
    if machine.is_paused {
        return format!("{name} is paused: its link is down until relayctl machines resume {name}");
    }
    let may = match machine.they_may {
        TheyMay::Ask => "may ask sessions here, and answer them",
        TheyMay::Hold => "may ask sessions here, and each ask waits until you let it through",
        TheyMay::Reply => "may answer what sessions here ask, and not ask by itself",
        TheyMay::Nothing => "may do nothing here, and is told of no session",
    };
    let only = machine.sessions.as_ref().map(|patterns| {
        let names: Vec<&str> = patterns.iter().map(|pattern| pattern.as_str()).collect();
        format!("; it sees only {}", if names.is_empty() { "none of them".to_owned() } else { names.join(", ") })
    });
    format!("{name} {may}{}", only.unwrap_or_default())
}

/// Has the bridge read the files again. Where none runs the files are what counts when one does.
fn reload(environment: &Environment, context: &mut Context) -> Result<Exit, CliError> {
    match Bridge::connect(environment) {
        Ok(mut bridge) => bridge.done(&ToBridge::Reload)?,
        Err(NoBridge { what, next }) => context.out.warn(&what, &next),
    }
    Ok(Exit::Done)
}

fn machine_name(text: &str) -> Result<MachineName, String> {
    MachineName::parse(text).map_err(|error| error.to_string())
}

fn ask_id(text: &str) -> Result<AskId, String> {
    text.parse().map_err(|_| "it has to be an id such as k3v9-x2mq-7bd4, as relayctl machines shows it".to_owned())
}

/// Returns this machine's host name.
fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
