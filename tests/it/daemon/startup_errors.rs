//! `relay-hub` and `relay-channel` that cannot begin: why, what to do, and the exit code.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::hub_process::HubProcess;

fn hub(args: &[&str]) -> Command {
    command(env!("CARGO_BIN_EXE_relay-hub"), args)
}

fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null());
    for variable in ["RELAY_SOCKET", "RELAY_LIMITS", "RELAY_LOG", "LISTEN_PID", "JOURNAL_STREAM", "CLAUDE_PLUGIN_DATA"]
    {
        command.env_remove(variable);
    }
    command
}

/// Runs it to its end and returns its exit code and what it said, with this directory replaced.
fn told(command: &mut Command, directory: &Path) -> String {
    let output = command.output().unwrap();
    assert!(output.stdout.is_empty(), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap().replace(directory.to_str().unwrap(), "DIRECTORY");
    format!("{said}{}\n\n", output.status)
}

#[test]
fn whatever_keeps_a_program_from_beginning_is_said_with_what_to_do_next() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    fs::set_permissions(at, fs::Permissions::from_mode(0o700)).unwrap();
    let path = |name: &str| at.join(name).display().to_string();
    fs::write(path("file"), "").unwrap();
    fs::create_dir(path("open")).unwrap();
    fs::set_permissions(path("open"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(path("shared")).unwrap();
    fs::set_permissions(path("shared"), fs::Permissions::from_mode(0o1777)).unwrap();
    std::os::unix::fs::symlink(at, path("link")).unwrap();
    let bound = |name: &str| told(&mut hub(&["--socket", &path(name)]), at);
    let said = [
        told(&mut hub(&["--sokcet", "x"]), at),
        told(&mut hub(&["--idle-timeout", "soon"]), at),
        told(&mut hub(&["--limit", "speed=1"]), at),
        told(hub(&[]).env("RELAY_LIMITS", "rate=maybe"), at),
        told(hub(&["--socket", &path("hub.sock")]).env("RELAY_LOG", "relay=loud"), at),
        told(hub(&[]).env("RELAY_SOCKET", "hub.sock"), at),
        bound("file"),
        bound("file/hub.sock"),
        bound("open/hub.sock"),
        bound("shared/hub.sock"),
        bound("link/hub.sock"),
        told(&mut command(env!("CARGO_BIN_EXE_relay-channel"), &["wiat"]), at),
        told(command(env!("CARGO_BIN_EXE_relay-channel"), &[]).env("RELAY_LOG", "relay=loud"), at),
    ];
    insta::assert_snapshot!(said.concat());
}

#[test]
fn a_second_hub_is_told_of_the_first() {
    let first = HubProcess::start(&[]);
    let socket = first.socket();
    let said = told(hub(&[]).env("RELAY_SOCKET", &socket), socket.parent().unwrap());
    insta::assert_snapshot!(said, @"
    error: a hub is running already: it listens at DIRECTORY/hub.sock
    next: relayctl status
    exit status: 1
    ");
}
