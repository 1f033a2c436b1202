//! `relayctl` as a shell sees it: streams, exit codes, closed pipes.

use std::io::Write;
use std::process::{Command, Output, Stdio};

fn relayctl(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relayctl"));
    command.args(args).env_remove("RELAY_SOCKET").stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn fails(output: &Output, code: i32, next: &str) {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert_eq!(text(&output.stdout), "");
    let said = text(&output.stderr);
    assert_eq!(said.lines().last(), Some(format!("next: {next}").as_str()), "{said}");
}

#[test]
fn wrong_usage_exits_with_2_and_says_where_the_help_is() {
    fails(&relayctl(&["ask", "backend"]).output().unwrap(), 2, "relayctl ask --help");
    fails(&relayctl(&["gossip"]).output().unwrap(), 2, "relayctl --help");
    fails(&relayctl(&[]).output().unwrap(), 2, "relayctl demo");
}

#[test]
fn help_is_data_without_colour_where_no_terminal_reads_it() {
    let output = relayctl(&["ask", "--help"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).starts_with("Ask a session and wait for its answer\n"));
    assert!(!output.stdout.contains(&0x1b));
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn a_reader_that_has_closed_the_pipe_has_read_enough() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = relayctl(&["--help"]).stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn a_question_that_is_too_large_is_refused_before_anybody_is_asked() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = relayctl(&["ask", "backend", "-"]);
    command.env("RELAY_SOCKET", directory.path().join("hub.sock"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&[b'x'; 70_000]).unwrap();
    let output = child.wait_with_output().unwrap();
    fails(&output, 1, "# put the text into a file and send its path; to another machine send less, or use git or scp");
    let said = text(&output.stderr);
    assert!(said.starts_with("error: the question has 70000 bytes and may have 65536 (too_large)"), "{said}");
}

#[test]
fn a_socket_where_no_hub_is_is_named_with_who_names_it() {
    let wrong = "relayctl hub start --socket /nonexistent/hub.sock";
    for args in [["peers"].as_slice(), &["ask", "backend", "?"]] {
        let output = relayctl(args).env("RELAY_SOCKET", "/nonexistent/hub.sock").output().unwrap();
        fails(&output, 3, wrong);
        let said = text(&output.stderr);
        assert!(
            said.starts_with(
                "error: no hub listens: there is no socket at /nonexistent/hub.sock, where RELAY_SOCKET points"
            ),
            "{said}"
        );
    }
    let output = relayctl(&["status"]).env("RELAY_SOCKET", "/nonexistent/hub.sock").output().unwrap();
    assert!(text(&output.stderr).ends_with(&format!("next: {wrong}\n")), "{output:?}");
    let output = relayctl(&["peers", "--socket", "/nonexistent/x"]).output().unwrap();
    fails(&output, 3, "relayctl hub start --socket /nonexistent/x");
}

#[test]
fn log_files_in_a_directory_that_is_not_there_are_no_empty_log() {
    let output = relayctl(&["logs", "--files", "/nonexistent/logs"]).output().unwrap();
    fails(&output, 1, "relayctl logs");
    let said = text(&output.stderr);
    assert!(said.starts_with("error: there is no directory /nonexistent/logs: a session's channel makes it"), "{said}");
    let empty = tempfile::tempdir().unwrap();
    let output = relayctl(&["logs", "--files"]).arg(empty.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stderr), format!("nothing of that time is in {}\n", empty.path().display()));
}

#[test]
fn a_relative_relay_socket_is_refused() {
    let output = relayctl(&["peers"]).env("RELAY_SOCKET", "hub.sock").output().unwrap();
    fails(&output, 3, "unset RELAY_SOCKET");
}
