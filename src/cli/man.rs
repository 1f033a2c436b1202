//! `relayctl man`: the manual pages, made from the same definitions as the help, with examples that are tried by a test.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Command, CommandFactory, ValueEnum};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::error::{CliError, Exit};
use super::output::Line;
use super::{Cli, Context};
use crate::arguments::{BridgeArguments, ChannelArguments, HubArguments};

mod sections;

use sections::{ENVIRONMENT, FILES, Pair, examples};

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
    RelayBridge,
}

impl Program {
    fn command(self) -> Command {
        let command = match self {
            Self::Relayctl => Cli::command(),
            Self::RelayHub => HubArguments::command(),
            Self::RelayChannel => ChannelArguments::command(),
            Self::RelayBridge => BridgeArguments::command(),
        };
        let mut command = command.disable_help_subcommand(true);
        command.build();
        command
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Relayctl => "relayctl",
            Self::RelayHub => "relay-hub",
            Self::RelayChannel => "relay-channel",
            Self::RelayBridge => "relay-bridge",
        }
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
            let page = page(self.program, &self.program.command())?;
            context.out.print(&Line::of(page.trim_end()))?;
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
    let mut pages = Vec::new();
    for program in Program::value_variants() {
        collect(*program, &program.command(), &mut pages)?;
    }
    for (name, page) in &pages {
        fs::write(directory.join(format!("{name}.1")), page)?;
    }
    Ok(pages.len())
}

/// Adds the pages of a command and of those below it.
fn collect(program: Program, command: &Command, pages: &mut Vec<(String, String)>) -> io::Result<()> {
    pages.push((name_of(command).to_owned(), page(program, command)?));
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        collect(program, below, pages)?;
    }
    Ok(())
}

/// Returns the page's name: `relayctl-ask`.
fn name_of(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

fn page(program: Program, command: &Command) -> io::Result<String> {
    let name = name_of(command);
    let version = concat!("claude-relay ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).title(name).source(version).manual("claude-relay");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        man.render_options_section(&mut page)?;
    }
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let mut rest = Roff::new();
    if program == Program::Relayctl {
        rest.control("SH", ["EXIT STATUS"]);
        rest.control("nf", []);
        for line in super::EXIT_CODES.lines().skip(1) {
            rest.text([roman(line.trim_start())]);
        }
        rest.control("fi", []);
    }
    let environment: Vec<Pair> =
        ENVIRONMENT.iter().filter(|(_, of)| of.contains(&program.name())).map(|(pair, _)| *pair).collect();
    section(&mut rest, "EXAMPLES", &examples(name));
    section(&mut rest, "ENVIRONMENT", &environment);
    section(&mut rest, "FILES", FILES);
    rest.control("SH", ["SEE ALSO"]);
    rest.text([roman(see_also(name).join(", "))]);
    rest.to_writer(&mut page)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

/// Adds a section of things with what each is for.
fn section(page: &mut Roff, title: &str, pairs: &[Pair]) {
    page.control("SH", [title]);
    for (what, why) in pairs {
        page.control("TP", []);
        page.text([bold(*what)]);
        page.text([roman(*why)]);
    }
}

/// Returns the pages that a reader of this one may want: the programs', and the command's own above it.
fn see_also(name: &str) -> Vec<String> {
    let names = ["relayctl", "relay-hub", "relay-channel", "relayctl-doctor", "relayctl-logs"];
    names.into_iter().filter(|other| *other != name).map(|other| format!("{other}(1)")).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn pages() -> Vec<(String, String)> {
        let mut pages = Vec::new();
        for program in Program::value_variants() {
            collect(*program, &program.command(), &mut pages).unwrap();
        }
        pages
    }

    #[test]
    fn every_command_has_its_page() {
        let directory = tempfile::tempdir().unwrap();
        let written = write_pages(directory.path()).unwrap();
        assert_eq!(written, fs::read_dir(directory.path()).unwrap().count());
        assert!(directory.path().join("relayctl-hub-start.1").exists());
        assert!(directory.path().join("relay-channel-wait.1").exists());
        let hub = fs::read_to_string(directory.path().join("relay-hub.1")).unwrap();
        assert!(hub.contains("idle\\-timeout") && hub.contains("Route messages between"), "{hub}");
        let ask = fs::read_to_string(directory.path().join("relayctl-ask.1")).unwrap();
        assert!(ask.contains("Ask a session and wait for its answer") && ask.contains("EXIT STATUS"), "{ask}");
    }

    #[test]
    fn every_page_has_what_a_reader_of_manuals_looks_for() {
        for (name, page) in pages() {
            for title in ["NAME", "SYNOPSIS", "DESCRIPTION", "EXAMPLES", "ENVIRONMENT", "FILES", "SEE ALSO"] {
                let heads =
                    page.lines().filter(|line| line.trim_matches('"').replace('"', "") == format!(".SH {title}"));
                assert_eq!(heads.count(), 1, "{name}: {title}\n{page}");
            }
            assert!(!examples(&name).is_empty(), "{name} has no example");
        }
    }

    #[test]
    fn every_example_is_a_command_that_is_understood() {
        for (name, _) in pages() {
            for (example, _) in examples(&name) {
                let words: Vec<&str> = example
                    .split('"')
                    .enumerate()
                    .flat_map(|(n, part)| if n % 2 == 1 { vec![part] } else { part.split_whitespace().collect() })
                    .collect();
                let ends = |word: &&str| ["|", ">", "&&"].contains(word);
                let words = words
                    .split(|word| ends(word))
                    .find(|words| words.first().is_some_and(|word| word.starts_with("relay")));
                let Some(words) = words else { panic!("{name}: {example}") };
                let error = match words[0] {
                    "relayctl" => Cli::try_parse_from(words).err(),
                    "relay-hub" => HubArguments::try_parse_from(words).err(),
                    "relay-bridge" => BridgeArguments::try_parse_from(words).err(),
                    _ => ChannelArguments::try_parse_from(words).err(),
                };
                let is_wrong = error.filter(clap::Error::use_stderr);
                assert!(is_wrong.is_none(), "{name}: {example}: {}", is_wrong.unwrap());
            }
        }
    }
}
