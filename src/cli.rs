//! `relayctl`: what a person, a script or a CI job says to the sessions, and how it hears back.
//!
//! One file a subcommand: its arguments, whose comments are its help, and its `run`. `output` is the only place that
//! prints and documents the JSON; `error` is the only place that chooses exit codes and words what to do next.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use tokio::sync::mpsc;

use crate::client::{ClientConfig, ClientEvent, HubClient};
use crate::paths::Environment;
use crate::protocol::{ClientKind, PeerKey};

mod ask;
mod broadcast;
mod demo;
mod error;
mod interrupt;
mod output;
mod peers;
mod question;
mod status;
mod wording;

use error::{CliError, Exit};
use output::{Line, Output};

/// The program and its version, as the hub shows them to people.
const PROGRAM: &str = concat!("relayctl ", env!("CARGO_PKG_VERSION"));

const EXIT_CODES: &str = "\
Exit codes:
  0  done; for ask: answered; for broadcast: everybody answered
  1  failed or refused
  2  wrong usage
  3  hub not reachable
  4  timed out
  5  the peer went away
  6  no such peer, or nobody there";

/// Talk to the Claude Code sessions on this machine
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
    Status(status::StatusArgs),
    Peers(peers::PeersArgs),
    Ask(ask::AskArgs),
    Broadcast(broadcast::BroadcastArgs),
}

/// What every subcommand is given.
struct Context {
    /// The socket that the user named, if any.
    socket: Option<PathBuf>,
    out: Output,
}

impl Context {
    /// Returns where the hub listens.
    ///
    /// # Errors
    /// There is no such place.
    fn socket(&self) -> Result<PathBuf, CliError> {
        let mut environment = Environment::of_process();
        if let Some(path) = &self.socket {
            environment.relay_socket = Some(std::path::absolute(path).map_err(CliError::CurrentDirectory)?);
        }
        Ok(environment.socket()?)
    }

    /// Starts a client of the hub; it connects by itself.
    ///
    /// # Errors
    /// There is no place where the hub could listen.
    fn connect(&self) -> Result<(HubClient, mpsc::UnboundedReceiver<ClientEvent>), CliError> {
        Ok(HubClient::start(ClientConfig {
            socket: self.socket()?,
            key: PeerKey::random(),
            program: PROGRAM.to_owned(),
            kind: ClientKind::Control {},
        }))
    }
}

/// Runs `relayctl` with the arguments of this process and returns its exit code.
pub fn main() -> ExitCode {
    let mut out = Output::standard();
    let exit = match Cli::try_parse() {
        Ok(cli) => {
            let mut context = Context { socket: cli.socket, out };
            perform(cli.command, &mut context).unwrap_or_else(|error| context.out.fail(&error))
        }
        Err(error) => explain_usage(&error, std::env::args_os().skip(1), &mut out),
    };
    exit.into()
}

/// Runs a subcommand on this thread, with room for tasks that stay on it.
fn perform(command: Command, context: &mut Context) -> Result<Exit, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CliError::Runtime)?;
    tokio::task::LocalSet::new().block_on(&runtime, command.run(context))
}

/// Prints what clap has to say: help and version are data, wrong usage is an error with a next step.
fn explain_usage(error: &clap::Error, args: impl Iterator<Item = OsString>, out: &mut Output) -> Exit {
    if !error.use_stderr() {
        return out.help(&error.render()).map_or_else(|error| out.fail(&error), |()| Exit::Done);
    }
    let text = error.render().to_string();
    let said = text.trim_end().trim_end_matches("For more information, try '--help'.").trim_end();
    out.say(&Line::of(said));
    out.say(&Line::of(&format!("next: {}", next_after_wrong_usage(args))));
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
mod tests {
    use super::*;
    use output::capture;

    /// Runs a wrong command line as far as clap lets it.
    fn usage(args: &[&str]) -> String {
        let (mut out, captured) = capture::output(false);
        let error = Cli::try_parse_from([&["relayctl"], args].concat()).unwrap_err();
        let exit = explain_usage(&error, args.iter().map(Into::into), &mut out);
        format!("{}--- exit {}\n", captured.text(), exit as u8)
    }

    fn parse(args: &[&str]) -> Cli {
        Cli::try_parse_from([&["relayctl"], args].concat()).unwrap()
    }

    #[test]
    fn the_help_of_every_subcommand_is_this() {
        let mut command = Cli::command().term_width(100);
        let mut reference = command.render_long_help().to_string();
        command.build();
        for subcommand in command.get_subcommands_mut().filter(|command| command.get_name() != "help") {
            let help = subcommand.render_long_help();
            reference += &format!("\n=== {}\n{help}", subcommand.get_name());
        }
        insta::assert_snapshot!(reference, @"
        Talk to the Claude Code sessions on this machine

        Usage: relayctl [OPTIONS] <COMMAND>

        Commands:
          demo       Show three sessions talking, on a private hub that leaves nothing behind
          status     Show the hub and what is connected to it
          peers      List the sessions that can be asked
          ask        Ask a session and wait for its answer
          broadcast  Ask every session and print the answers as they come
          help       Print this message or the help of the given subcommand(s)

        Options:
              --socket <PATH>
                  Use the hub at this socket instead of the usual one [env: RELAY_SOCKET]

          -h, --help
                  Print help

          -V, --version
                  Print version

        Exit codes:
          0  done; for ask: answered; for broadcast: everybody answered
          1  failed or refused
          2  wrong usage
          3  hub not reachable
          4  timed out
          5  the peer went away
          6  no such peer, or nobody there

        === demo
        Show three sessions talking, on a private hub that leaves nothing behind

        Usage: relayctl demo [OPTIONS]

        Options:
              --socket <PATH>
                  Use the hub at this socket instead of the usual one [env: RELAY_SOCKET]

          -h, --help
                  Print help

        === status
        Show the hub and what is connected to it

        Usage: relayctl status [OPTIONS]

        Options:
              --json
                  Print JSON, one object a line

              --socket <PATH>
                  Use the hub at this socket instead of the usual one [env: RELAY_SOCKET]

          -h, --help
                  Print help

        === peers
        List the sessions that can be asked

        Usage: relayctl peers [OPTIONS]

        Options:
              --json
                  Print JSON, one object a line

              --socket <PATH>
                  Use the hub at this socket instead of the usual one [env: RELAY_SOCKET]

          -h, --help
                  Print help

        === ask
        Ask a session and wait for its answer

        Usage: relayctl ask [OPTIONS] <NAME> <QUESTION>

        Arguments:
          <NAME>
                  Ask the session with this name, as relayctl peers shows it

          <QUESTION>
                  Say this; with - read it from standard input

        Options:
              --socket <PATH>
                  Use the hub at this socket instead of the usual one [env: RELAY_SOCKET]

              --timeout <DURATION>
                  Wait this long for the answer: 90s, 5m, 2h; a plain number is seconds; at most 1day
                  
                  [default: 120s]

              --json
                  Print JSON, one object a line

          -h, --help
                  Print help

        === broadcast
        Ask every session and print the answers as they come

        Usage: relayctl broadcast [OPTIONS] <QUESTION>

        Arguments:
          <QUESTION>
                  Say this; with - read it from standard input

        Options:
              --socket <PATH>
                  Use the hub at this socket instead of the usual one [env: RELAY_SOCKET]

              --timeout <DURATION>
                  Wait this long for the answer: 90s, 5m, 2h; a plain number is seconds; at most 1day
                  
                  [default: 120s]

              --json
                  Print JSON, one object a line

          -h, --help
                  Print help
        ");
    }

    #[test]
    fn the_commands_agree_with_themselves() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_socket_may_be_named_before_or_after_the_subcommand() {
        for args in [["--socket", "/run/x.sock", "peers"], ["peers", "--socket", "/run/x.sock"]] {
            assert_eq!(parse(&args).socket.as_deref(), Some("/run/x.sock".as_ref()));
        }
    }

    #[test]
    fn a_named_socket_wins_and_is_taken_from_the_current_directory() {
        let (out, _) = capture::output(false);
        let context = Context { socket: Some("x.sock".into()), out };
        assert_eq!(context.socket().unwrap(), std::env::current_dir().unwrap().join("x.sock"));
    }

    #[test]
    fn a_lone_hyphen_is_a_question_and_other_hyphens_are_options() {
        assert!(matches!(parse(&["ask", "backend", "-"]).command, Command::Ask(_)));
        assert!(matches!(parse(&["ask", "backend", "--", "--why?"]).command, Command::Ask(_)));
        assert!(Cli::try_parse_from(["relayctl", "ask", "backend", "--why?"]).is_err());
    }

    #[test]
    fn wrong_usage_leads_to_the_help_of_the_command() {
        insta::assert_snapshot!(usage(&["ask", "backend"]), @"
        --- stdout
        --- stderr
        error: the following required arguments were not provided:
          <QUESTION>

        Usage: relayctl ask <NAME> <QUESTION>
        next: relayctl ask --help
        --- exit 2
        ");
        insta::assert_snapshot!(usage(&["broadcast", "hello", "--timeout", "2days"]), @"
        --- stdout
        --- stderr
        error: invalid value '2days' for '--timeout <DURATION>': it has to be from 1s to 1day
        next: relayctl broadcast --help
        --- exit 2
        ");
        insta::assert_snapshot!(usage(&["--socket", "/x", "gossip"]), @"
        --- stdout
        --- stderr
        error: unrecognized subcommand 'gossip'

        Usage: relayctl [OPTIONS] <COMMAND>
        next: relayctl --help
        --- exit 2
        ");
    }

    #[test]
    fn no_arguments_lead_to_the_demo() {
        let text = usage(&[]);
        assert!(text.starts_with("--- stdout\n--- stderr\nTalk to"), "{text}");
        assert!(text.ends_with("next: relayctl demo\n--- exit 2\n"), "{text}");
    }

    #[test]
    fn help_and_version_are_data() {
        let text = usage(&["--version"]);
        assert_eq!(text, format!("--- stdout\n{PROGRAM}\n--- stderr\n--- exit 0\n"));
    }
}
