//! `relayctl`: what a person, a script or a CI job says to the sessions, and how it hears back.
//!
//! One file a subcommand: its arguments, whose comments are its help, and its `run`. `output` is the only place that
//! prints and documents the JSON; `error` is the only place that chooses exit codes and says what to do next, which
//! `diagnosis` finds where no hub is reached, in the words of [`crate::advice`].
//! `programs` tells in the same way why `relay-hub` and `relay-channel` cannot go on.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::client::{ClientConfig, HubClient};
use crate::logging::{self, Log, Program};
use crate::paths::Environment;
use crate::protocol::{ClientKey, ClientKind, ErrorCode};
use crate::runtime;
use clap::{CommandFactory, Parser, Subcommand};

mod ask;
mod board;
mod broadcast;
mod columns;
mod completions;
mod demo;
mod diagnosis;
mod doctor;
mod error;
mod history;
mod hub;
mod hubs;
mod install;
mod interrupt;
mod logs;
mod machines;
mod man;
mod outcome;
mod output;
mod peers;
pub mod programs;
mod question;
mod search_path;
mod service_view;
mod setup;
mod status;
mod tell;
mod wait;
mod watch;
mod wording;

use error::{CliError, Exit};
use interrupt::Interrupt;
use output::{Line, Output};
use programs::ProgramError;
use service_view::ServiceView;

/// The program and its version, as the hub shows them to people.
const PROGRAM: &str = concat!("relayctl ", env!("CARGO_PKG_VERSION"));

const EXIT_CODES: &str = "\
Exit codes:
  0  done; for ask: answered; for broadcast: everybody answered; for tell: delivered
  1  failed or refused
  2  wrong usage
  3  hub not reachable
  4  timed out
  5  the peer went away
  6  no such peer, or nobody there
  7  machine not reachable";

/// Talk to the Claude Code sessions on this machine and your others
#[derive(Debug, Parser)]
#[command(name = "relayctl", version, arg_required_else_help = true, after_help = EXIT_CODES)]
struct Cli {
    /// Use the hub at this socket instead of the usual one [env: RELAY_SOCKET]
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

/// Lists the subcommands: a new one is its file, its `mod` line and its line here.
macro_rules! commands {
    ($($variant:ident($args:path),)*) => {
        #[derive(Debug, Subcommand)]
        enum Command {
            $($variant($args),)*
        }

        impl Command {
            async fn run(self, context: &mut Context) -> Result<Exit, CliError> {
                match self {
                    $(Self::$variant(args) => args.run(context).await,)*
                }
            }
        }
    };
}

commands! {
    Demo(demo::DemoArgs),
    Setup(setup::SetupArgs),
    Hub(hub::HubArgs),
    InstallService(install::InstallArgs),
    UninstallService(install::UninstallArgs),
    Status(status::StatusArgs),
    Peers(peers::PeersArgs),
    Ask(ask::AskArgs),
    Tell(tell::TellArgs),
    Broadcast(broadcast::BroadcastArgs),
    Wait(wait::WaitArgs),
    Watch(watch::WatchArgs),
    Board(board::BoardArgs),
    History(history::HistoryArgs),
    Machines(machines::MachinesArgs),
    Logs(logs::LogsArgs),
    Doctor(doctor::DoctorArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

/// What every subcommand is given.
struct Context {
    /// The socket that the user named, if any.
    socket: Option<PathBuf>,
    out: Output,
}

impl Context {
    /// Returns what decides where things are.
    ///
    /// # Errors
    /// The socket that the user named is relative, and the current directory is not known.
    fn environment(&self) -> Result<Environment, CliError> {
        let socket_option = self.socket.as_ref().map(std::path::absolute).transpose();
        Ok(Environment {
            socket_option: socket_option.map_err(CliError::CurrentDirectory)?,
            ..Environment::of_process()
        })
    }

    /// Returns a client of the hub; it connects by itself.
    ///
    /// # Errors
    /// There is no place where the hub could listen.
    fn connect(&self) -> Result<HubClient, CliError> {
        let environment = self.environment()?;
        let socket = environment.socket()?;
        // What no waiting changes is said at once.
        if let Err(seen) = diagnosis::reach(&socket)
            && seen.is_final()
        {
            return Err(diagnosis::unreachable(&environment, &seen, &ServiceView::look(&environment)).into());
        }
        Ok(HubClient::new(ClientConfig {
            socket,
            named_by: environment.socket_named_by(),
            program: PROGRAM.to_owned(),
            kind: ClientKind::Control { key: ClientKey::random() },
        }))
    }

    /// Talks with the hub until that is over or a signal ends it, and leaves in order, which withdraws what is still open.
    ///
    /// # Errors
    /// There is no place where the hub could listen, the talk failed, or a signal came.
    async fn converse(
        &mut self,
        talk: impl AsyncFnOnce(&mut HubClient, &mut Output) -> Result<Exit, CliError>,
    ) -> Result<Exit, CliError> {
        let mut interrupt = Interrupt::listen()?;
        let environment = self.environment()?;
        let mut hub = self.connect()?;
        let result = tokio::select! {
            result = talk(&mut hub, &mut self.out) => result.map_err(|error| explained(error, &environment)),
            refusal = diagnosis::start_that_fails(environment.clone()) => Err(refusal.into()),
            signal = interrupt.wait() => Err(CliError::Signalled(signal)),
        };
        hub.bye().await;
        result
    }
}

/// Says more exactly why a hub was not reached: a client knows only that it was not.
fn explained(error: CliError, environment: &Environment) -> CliError {
    let is_unreachable = error.code() == Some(ErrorCode::HubUnreachable);
    let explanation = if is_unreachable { diagnosis::look_again(environment) } else { None };
    explanation.map_or(error, CliError::from)
}

/// Runs `relayctl` with the arguments of this process and returns its exit code.
pub fn main() -> ExitCode {
    completions::answer_shell();
    let mut out = Output::standard();
    let exit = match Cli::try_parse() {
        Ok(cli) => {
            let _log = logging::init(Program::Control).unwrap_or_else(|error| {
                // It is about what is told besides, not about what is wanted.
                out.warn_of(&ProgramError::from(error).into());
                Log::default()
            });
            let mut context = Context { socket: cli.socket, out };
            match perform(cli.command, &mut context) {
                Ok(exit) => exit,
                Err(CliError::Signalled(signal)) => {
                    interrupt::die_of(signal);
                    Exit::Failed
                }
                Err(error) => context.out.fail(&error),
            }
        }
        Err(error) => explain_usage(&error, &next_after_wrong_usage(std::env::args_os().skip(1)), &mut out),
    };
    exit.into()
}

/// Runs a subcommand on this thread, with room for tasks that stay on it.
fn perform(command: Command, context: &mut Context) -> Result<Exit, CliError> {
    runtime::new().map_err(CliError::Runtime)?.block_on(command.run(context))
}

/// Prints what clap has to say: help and version are data, wrong usage is an error with a next step.
fn explain_usage(error: &clap::Error, next: &str, out: &mut Output) -> Exit {
    if !error.use_stderr() {
        return out.help(&error.render()).map_or_else(|error| out.fail(&error), |()| Exit::Done);
    }
    let text = error.render().to_string();
    let said = text.trim_end().trim_end_matches("For more information, try '--help'.").trim_end();
    // What asks for JSON reads JSON, whatever else is wrong with it.
    if std::env::args_os().any(|argument| argument == "--json") {
        out.print_usage_error(said, next);
    }
    out.say(&Line::of(said));
    out.say(&Line::of(&format!("next: {next}")));
    Exit::Usage
}

/// Returns the command whose output says how the wrongly used command is used.
fn next_after_wrong_usage(args: impl Iterator<Item = OsString>) -> String {
    let command = Cli::command();
    let mut args = args.peekable();
    if args.peek().is_none() {
        return "relayctl demo".to_owned();
    }
    let subcommand = args.filter_map(|arg| arg.into_string().ok()).find(|arg| command.find_subcommand(arg).is_some());
    match subcommand {
        Some(name) => format!("relayctl {name} --help"),
        None => "relayctl --help".to_owned(),
    }
}

#[cfg(test)]
mod tests;
