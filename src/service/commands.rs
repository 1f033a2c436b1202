//! Runs the service manager's commands, behind a seam that tests replace.

use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::paths::Environment;

/// Runs commands to their end.
pub trait Commands {
    /// Runs a program with its arguments, without input, and returns how it ended.
    ///
    /// # Errors
    /// The program could not be started.
    fn run(&mut self, argv: &[String]) -> io::Result<Finished>;

    /// Waits a moment before a command is tried again.
    fn pause(&mut self) {
        thread::sleep(Duration::from_millis(250));
    }
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Finished {
    /// Its exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to its standard output.
    pub stdout: String,
    /// What it wrote to its standard error.
    pub stderr: String,
}

impl Finished {
    /// Returns whether the command succeeded.
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }
}

/// The commands of this machine.
#[derive(Debug, Clone, Default)]
pub struct SystemCommands {
    runtime_dir: Option<PathBuf>,
}

impl SystemCommands {
    /// Returns the commands, run so that they find the user's manager even where `XDG_RUNTIME_DIR` is not set.
    pub fn new(environment: &Environment) -> Self {
        Self { runtime_dir: environment.user_runtime_dir() }
    }
}

impl Commands for SystemCommands {
    fn run(&mut self, argv: &[String]) -> io::Result<Finished> {
        let [program, arguments @ ..] = argv else { return Err(io::ErrorKind::InvalidInput.into()) };
        let mut command = Command::new(program);
        // The answers are read by a program.
        command
            .args(arguments)
            .stdin(Stdio::null())
            .env("LC_ALL", "C")
            .env("SYSTEMD_COLORS", "0")
            .env("SYSTEMD_PAGER", "");
        if let Some(directory) = &self.runtime_dir {
            command.env("XDG_RUNTIME_DIR", directory);
        }
        command.output().map(Finished::from)
    }
}

impl From<std::process::Output> for Finished {
    fn from(output: std::process::Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}
