//! `relayctl machines allow`, `hold`, `refuse`, `pause` and `resume`: what a machine may do here.

use clap::Args;
use clap_complete::ArgValueCompleter;

use super::{Named, keep, known};
use crate::bridge::machine::{Machine, MachineFiles, Pattern, TheyMay};
use crate::cli::Context;
use crate::cli::completions::session_names;
use crate::cli::error::{CliError, Exit};
use crate::paths::Environment;

/// Let a machine ask sessions here, or only answer them
#[derive(Debug, Args)]
pub(super) struct AllowArgs {
    #[command(flatten)]
    machine: Named,
    /// Only the sessions whose names are so, and show it only those: backend,docs-*; with * all
    #[arg(long, value_name = "PATTERNS", value_delimiter = ',', value_parser = pattern, add = ArgValueCompleter::new(session_names))]
    sessions: Option<Vec<Pattern>>,
    /// It may answer what sessions here ask, and not ask by itself
    #[arg(long)]
    replies_only: bool,
}

/// Let each ask of a machine wait until you let it through
#[derive(Debug, Args)]
pub(super) struct HoldArgs {
    #[command(flatten)]
    machine: Named,
}

/// Let a machine do nothing here, and tell it of no session
///
/// It cannot answer what sessions here ask either. A machine that has not come yet is refused when it does.
#[derive(Debug, Args)]
pub(super) struct RefuseArgs {
    #[command(flatten)]
    machine: Named,
}

/// Take the link with a machine down until it is resumed
#[derive(Debug, Args)]
pub(super) struct PauseArgs {
    #[command(flatten)]
    machine: Named,
}

/// Take up the link with a machine again
#[derive(Debug, Args)]
pub(super) struct ResumeArgs {
    #[command(flatten)]
    machine: Named,
}

impl AllowArgs {
    pub(super) fn run(self, environment: &Environment, context: &mut Context) -> Result<Exit, CliError> {
        self.machine.change(environment, context, |machine| {
            machine.they_may = if self.replies_only { TheyMay::Reply } else { TheyMay::Ask };
            if let Some(patterns) = self.sessions {
                machine.sessions = Some(patterns).filter(|patterns| patterns.iter().all(|one| one.as_str() != "*"));
            }
        })
    }
}

impl HoldArgs {
    pub(super) fn run(self, environment: &Environment, context: &mut Context) -> Result<Exit, CliError> {
        self.machine.change(environment, context, |machine| machine.they_may = TheyMay::Hold)
    }
}

impl RefuseArgs {
    pub(super) fn run(self, environment: &Environment, context: &mut Context) -> Result<Exit, CliError> {
        let files = MachineFiles::of(environment)?;
        let name = self.machine.name;
        let machine = if files.path(&name).exists() { files.load_one(&name)? } else { Machine::new(name, None) };
        keep(environment, &files, &Machine { they_may: TheyMay::Nothing, ..machine }, context)
    }
}

impl PauseArgs {
    pub(super) fn run(self, environment: &Environment, context: &mut Context) -> Result<Exit, CliError> {
        self.machine.change(environment, context, |machine| machine.is_paused = true)
    }
}

impl ResumeArgs {
    pub(super) fn run(self, environment: &Environment, context: &mut Context) -> Result<Exit, CliError> {
        self.machine.change(environment, context, |machine| machine.is_paused = false)
    }
}

impl Named {
    fn change(
        self,
        environment: &Environment,
        context: &mut Context,
        change: impl FnOnce(&mut Machine),
    ) -> Result<Exit, CliError> {
        let files = MachineFiles::of(environment)?;
        let mut machine = known(environment, &files, &self.name)?;
        change(&mut machine);
        keep(environment, &files, &machine, context)
    }
}

fn pattern(text: &str) -> Result<Pattern, String> {
    Pattern::parse(text).map_err(|error| error.to_string())
}
