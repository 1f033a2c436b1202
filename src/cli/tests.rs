//! What the command line takes, refuses and documents.

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
