//! `relayctl demo` with the real hub and the real channels, and with one that is broken.

use crate::support::program_copy::copy_program;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A directory for the demo's temporary files, in which nothing may stay.
struct Demo {
    scratch: tempfile::TempDir,
}

impl Demo {
    fn new() -> Self {
        Self { scratch: tempfile::tempdir().unwrap() }
    }

    fn command(&self, relayctl: &Path) -> Command {
        let mut command = Command::new(relayctl);
        command.arg("demo").env("TMPDIR", self.scratch.path()).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Asserts that the demo's directory is gone, and every process that works in it or names it.
    fn leaves_nothing(&self) {
        let left: Vec<_> = fs::read_dir(self.scratch.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "{left:?}");
        let patience = Instant::now() + Duration::from_secs(1);
        // A process that was killed may take a moment to be gone.
        while !self.processes().is_empty() && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(self.processes(), Vec::<String>::new());
    }

    fn processes(&self) -> Vec<String> {
        let scratch = format!("{}/", self.scratch.path().display());
        let running = Command::new("ps").args(["-A", "-o", "args"]).output().unwrap();
        let mut found: Vec<String> =
            text(&running.stdout).lines().filter(|args| args.contains(&scratch)).map(str::to_owned).collect();
        // Linux tells where a process works; elsewhere the arguments have to do.
        for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let folder = fs::read_link(process.path().join("cwd")).unwrap_or_default().display().to_string();
            if folder.starts_with(&scratch) {
                found.push(folder);
            }
        }
        found
    }
}

fn relayctl() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_relayctl"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn said(output: &Output) -> String {
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_demo_in_short_fits_a_terminal() {
    let demo = Demo::new();
    let output = demo.command(relayctl()).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let told = text(&output.stdout);
    assert!(told.lines().count() <= 30 && told.lines().all(|line| line.chars().count() <= 80), "{told}");
    for outcome in [
        "backend   answers frontend: 8080",
        "is told the tally: 2 asked, 2 replied",
        "calls itself handbook",
        "did not answer in time",
        "refused: unknown_ask",
        "went away",
        "refused: peer_not_found",
        "(exit status: 0)",
    ] {
        assert!(told.contains(outcome), "{outcome} is not in {told}");
    }
    demo.leaves_nothing();
}

#[test]
fn the_demo_shows_every_outcome_and_leaves_nothing_behind() {
    let demo = Demo::new();
    let output = demo.command(relayctl()).arg("--verbose").output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let told = text(&output.stdout);
    for outcome in
        ["kind: reply", "kind: tally", "name: handbook", "code: timeout", "code: peer_gone", "peer_not_found"]
    {
        assert!(told.contains(outcome), "{outcome} is not in {told}");
    }
    for step in ["1. three sessions start", "5. a session is renamed", "10. everybody leaves"] {
        assert!(told.contains(step), "{step} is not in {told}");
    }
    assert_eq!(text(&output.stderr), "", "the whole story is on stdout");
    assert!(!told.contains('\x1b'), "no colour without a terminal");
    demo.leaves_nothing();
}

#[test]
fn inside_a_session_of_claude_code_the_demo_is_the_same() {
    let demo = Demo::new();
    let output = demo
        .command(relayctl())
        .env("CLAUDECODE", "1")
        .env("CLAUDE_CODE_ENTRYPOINT", "cli")
        .env("RELAY_SOCKET", "/nonexistent/hub.sock")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn an_interrupted_demo_clears_up() {
    for delay_ms in [5, 50, 700] {
        let demo = Demo::new();
        let child = demo.command(relayctl()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(delay_ms));
        let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        let interrupted = Instant::now();
        let output = child.wait_with_output().unwrap();
        assert!(!output.status.success());
        assert!(interrupted.elapsed() < Duration::from_secs(5));
        demo.leaves_nothing();
    }
}

#[test]
fn a_broken_channel_fails_the_demo_at_the_step_that_needs_it() {
    let demo = Demo::new();
    let programs = tempfile::tempdir().unwrap();
    let relayctl = programs.path().join("relayctl");
    copy_program(self::relayctl(), &relayctl);
    copy_program(env!("CARGO_BIN_EXE_relay-hub"), programs.path().join("relay-hub"));

    let output = demo.command(&relayctl).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("relay-channel is not in"), "{}", said(&output));

    let channel = programs.path().join("relay-channel");
    fs::write(&channel, "#!/bin/sh\necho it is broken >&2\n").unwrap();
    fs::set_permissions(&channel, fs::Permissions::from_mode(0o755)).unwrap();
    let output = demo.command(&relayctl).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = said(&output);
    assert!(said.contains("the demo failed at the step \"three sessions start, each in its folder\""), "{said}");
    assert!(said.contains("frontend: it is broken"), "what the channel said helps: {said}");
    demo.leaves_nothing();
}
