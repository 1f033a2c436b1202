//! `relayctl completions` and `man`: made from the same definitions as the help.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Command, CommandFactory, ValueEnum};
use clap_complete::Shell;

use super::error::{CliError, Exit};
use super::output::Line;
use super::{Cli, Context};
use crate::arguments::{ChannelArguments, HubArguments};

/// Print the completions for a shell
///
/// bash: relayctl completions bash > ~/.local/share/bash-completion/completions/relayctl
#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// Which shell
    shell: Shell,
}

/// Print a manual page
///
/// relayctl man relay-hub | man -l -
#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Of which program
    #[arg(value_enum, default_value_t = Program::Relayctl)]
    program: Program,
    /// Write the pages of all programs and their commands into this directory instead
    #[arg(long, value_name = "DIR", conflicts_with = "program")]
    out: Option<PathBuf>,
}

/// The programs of the package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Program {
    Relayctl,
    RelayHub,
    RelayChannel,
}

impl Program {
    fn command(self) -> Command {
        match self {
            Self::Relayctl => Cli::command(),
            Self::RelayHub => HubArguments::command(),
            Self::RelayChannel => ChannelArguments::command(),
        }
    }
}

impl CompletionsArgs {
    /// Prints the script.
    ///
    /// # Errors
    /// stdout cannot be written.
    #[expect(clippy::unused_async, reason = "every subcommand is run alike")]
    pub(super) async fn run(self, context: &mut Context) -> Result<Exit, CliError> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "relayctl", &mut script);
        context.out.print(&Line::of(String::from_utf8_lossy(&script).trim_end()))?;
        Ok(Exit::Done)
    }
}

impl ManArgs {
    /// Prints the page, or writes all of them.
    ///
    /// # Errors
    /// stdout or the directory cannot be written.
    #[expect(clippy::unused_async, reason = "every subcommand is run alike")]
    pub(super) async fn run(self, context: &mut Context) -> Result<Exit, CliError> {
        let Some(directory) = self.out else {
            context.out.print(&Line::of(page(self.program.command())?.trim_end()))?;
            return Ok(Exit::Done);
        };
        let unwritable = |source| CliError::Directory { directory: directory.display().to_string(), source };
        let written = write_pages(&directory).map_err(unwritable)?;
        context.out.say(&Line::of(&format!("{written} pages written to {}", directory.display())));
        Ok(Exit::Done)
    }
}

/// Writes a page for each program and for each of its commands, and returns how many.
fn write_pages(directory: &Path) -> io::Result<usize> {
    fs::create_dir_all(directory)?;
    let mut written = 0;
    for program in Program::value_variants() {
        let command = program.command().disable_help_subcommand(true);
        written += commands(&command);
        clap_mangen::generate_to(command, directory)?;
    }
    Ok(written)
}

/// Returns how many commands this is, with those below it.
fn commands(command: &Command) -> usize {
    1 + command.get_subcommands().map(commands).sum::<usize>()
}

fn page(command: Command) -> io::Result<String> {
    let mut roff = Vec::new();
    clap_mangen::Man::new(command).render(&mut roff)?;
    Ok(String::from_utf8_lossy(&roff).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_its_page() {
        let directory = tempfile::tempdir().unwrap();
        let written = write_pages(directory.path()).unwrap();
        assert_eq!(written, fs::read_dir(directory.path()).unwrap().count());
        assert!(directory.path().join("relayctl-hub-start.1").exists());
        let hub = fs::read_to_string(directory.path().join("relay-hub.1")).unwrap();
        assert!(hub.contains("idle\\-timeout") && hub.contains("Route messages between"), "{hub}");
        assert!(directory.path().join("relay-channel-wait.1").exists());
        let ask = fs::read_to_string(directory.path().join("relayctl-ask.1")).unwrap();
        assert!(ask.contains("Ask a session and wait for its answer"), "{ask}");
        let own = fs::read_to_string(directory.path().join("relayctl.1")).unwrap();
        assert!(own.contains("Exit codes:") && own.contains("doctor"), "{own}");
    }

    #[test]
    fn every_shell_gets_the_names_of_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "relayctl", &mut script);
            let script = String::from_utf8(script).unwrap();
            assert!(["doctor", "watch", "broadcast"].iter().all(|name| script.contains(name)), "{shell}");
        }
    }
}
