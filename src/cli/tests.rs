//! What the command line takes, refuses and documents.

use clap::error::ErrorKind;

use super::*;
use output::capture;

use crate::arguments::{ChannelArguments, HubArguments};

/// Runs a wrong command line as far as clap lets it.
fn usage(args: &[&str]) -> String {
    let (mut out, captured) = capture::output(false);
    let error = Cli::try_parse_from([&["relayctl"], args].concat()).unwrap_err();
    let exit = explain_usage(&error, &next_after_wrong_usage(args.iter().map(Into::into)), &mut out);
    format!("{}--- exit {}\n", captured.text(), exit as u8)
}

fn parse(args: &[&str]) -> Cli {
    Cli::try_parse_from([&["relayctl"], args].concat()).unwrap()
}

#[test]
fn the_help_of_every_subcommand_and_program_is_this() {
    let mut command = Cli::command().term_width(100);
    let mut reference = command.render_long_help().to_string();
    command.build();
    for subcommand in command.get_subcommands_mut().filter(|command| command.get_name() != "help") {
        let help = subcommand.render_long_help();
        reference += &format!("\n=== {}\n{help}", subcommand.get_name());
    }
    for program in [HubArguments::command(), ChannelArguments::command()] {
        let mut program = program.term_width(100);
        reference += &format!("\n=== {}\n{}", program.get_name().to_owned(), program.render_long_help());
    }
    // clap pads lines that it leaves empty.
    let reference: Vec<&str> = reference.lines().map(str::trim_end).collect();
    insta::assert_snapshot!("help", reference.join("\n"));
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
    assert_eq!(context.environment().unwrap().socket().unwrap(), std::env::current_dir().unwrap().join("x.sock"));
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
      <QUESTION>...

    Usage: relayctl ask <NAME> <QUESTION>...
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

#[test]
#[expect(clippy::too_many_lines, reason = "it is a list")]
fn every_error_has_its_words_and_ends_in_what_to_do_next() {
    use std::io::{Error, ErrorKind};

    use crate::bridge::machine::MachineError;
    use crate::paths::PathError;
    use crate::protocol::{AskKind, AskState, ErrorCode, Refusal};
    use crate::service::{PlanError, ServiceError};

    let denied = || Error::from(ErrorKind::PermissionDenied);
    let unanswered = |code, state, waiting_for: Option<&str>| CliError::Unanswered {
        kind: AskKind::Ask,
        to: "x".into(),
        code,
        state,
        waiting_for: waiting_for.map(str::to_owned),
        unreachable_s: None,
        waited: "2m".into(),
    };
    let path = || PathBuf::from("/srv/x");
    let file = PlanError::File { step: "write /srv/x (mode 0644)".into(), source: denied() };
    let command = PlanError::Command { command: "systemctl --user x".into(), code: Some(1), said: "no".into() };
    let errors: Vec<CliError> = vec![
        Refusal::new(ErrorCode::RateLimited, "too many asks", "wait 1 s").into(),
        Refusal::new(ErrorCode::PeerNotFound, "no peer is named x", "call relay_peers").into(),
        unanswered(ErrorCode::Timeout, AskState::Held, None),
        unanswered(ErrorCode::Timeout, AskState::Shown, Some("permission prompt")),
        unanswered(ErrorCode::PeerGone, AskState::Shown, None),
        CliError::Unanswered {
            kind: AskKind::Ask,
            to: "x@desk".into(),
            code: ErrorCode::Timeout,
            state: AskState::Shown,
            waiting_for: None,
            unreachable_s: Some(41),
            waited: "2m".into(),
        },
        MachineError::Open { path: path(), mode: 0o666 }.into(),
        ServiceError::NoBridge { directory: path() }.into(),
        CliError::Incomplete(Exit::TimedOut),
        CliError::NobodyThere,
        PathError::NoHome.into(),
        PathError::NotAbsolute { path: "x".into() }.into(),
        PathError::TooLong { path: path(), length: 200, limit: 107 }.into(),
        ServiceError::NoHub { directory: path() }.into(),
        ServiceError::Program { path: path(), source: denied() }.into(),
        ServiceError::Unnameable { path: path() }.into(),
        ServiceError::NoManager { reason: "no bus".into() }.into(),
        ServiceError::Plan(file).into(),
        ServiceError::Plan(command).into(),
        ServiceError::Plan(PlanError::Start { command: "systemctl".into(), source: denied() }).into(),
        ServiceError::Plist("bad".into()).into(),
        CliError::Obstacle { what: "a hub runs already".into(), next: "relayctl status".into() },
        CliError::CurrentDirectory(denied()),
        CliError::Input(denied()),
        CliError::InputNotText,
        CliError::Output(denied()),
        CliError::Json(serde_json::from_str::<u8>("x").unwrap_err()),
        CliError::Runtime(denied()),
        CliError::ProgramMissing { program: "relay-hub", directory: "/srv".into() },
        CliError::Demo { step: "ask", reason: "no answer".into() },
        CliError::Journal("no permission".into()),
        CliError::NoLogFiles { directory: "/srv".into() },
        CliError::LogFiles { directory: "/srv".into(), source: denied() },
        CliError::Directory { directory: "/srv".into(), source: denied() },
        CliError::Unhealthy { failed: 2, next: "chmod 700 /srv".into() },
    ];
    let mut told = String::new();
    for error in &errors {
        let (mut out, captured) = capture::output(false);
        let exit = out.fail(error);
        let text = captured.text();
        let said = text.strip_prefix("--- stdout\n--- stderr\n").expect("an error is no data");
        assert!(said.trim_end().lines().last().unwrap().starts_with("next: "), "{said}");
        told += &format!("{said}exit {}\n\n", exit as u8);
    }
    insta::assert_snapshot!("errors", told);
}

/// Returns the commands of relayctl that a document shows, each as its words: in code, alone or behind a prompt.
fn shown_commands(text: &str) -> Vec<Vec<String>> {
    let code = text.split('`').flat_map(|span| span.lines()).map(|line| line.split(" #").next().unwrap_or_default());
    let parts = code.flat_map(|line| line.trim_start_matches("$ ").split([';', '|', '>', '&'])).map(str::trim);
    let commands = parts.filter(|part| part.starts_with("relayctl ") && !part.contains(['…', '\'']));
    let words = |command: &str| {
        let quoted = command.split('"').enumerate().flat_map(|(n, part)| match n % 2 {
            0 => part.split_whitespace().map(str::to_owned).collect(),
            _ => vec![part.to_owned()],
        });
        quoted.collect()
    };
    commands.map(words).collect()
}

#[test]
fn every_command_that_a_document_shows_is_one() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let documents = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let (mut seen, mut wrong) = (0, Vec::new());
    for path in documents.chain([root.join("README.md")]).filter(|path| path.extension() == Some("md".as_ref())) {
        for words in shown_commands(&std::fs::read_to_string(&path).unwrap()) {
            seen += 1;
            let error = Cli::try_parse_from(&words).err().map(|error| error.kind());
            // Some only name a command or an option.
            if let Some(ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand) = error {
                wrong.push(format!("{}: {words:?}: {error:?}", path.display()));
            }
        }
    }
    assert!(seen > 100 && wrong.is_empty(), "{seen} commands: {wrong:#?}");
}
