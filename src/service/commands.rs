//! Runs the service manager's commands, behind a seam that tests replace.

use std::io::{self, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

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
    limit: Option<Duration>,
}

impl SystemCommands {
    /// Returns the commands, run so that they find the user's manager even where `XDG_RUNTIME_DIR` is not set.
    pub fn new(environment: &Environment) -> Self {
        Self { runtime_dir: environment.user_runtime_dir(), limit: None }
    }

    /// Gives each command this time: one that takes longer is killed and fails with [`io::ErrorKind::TimedOut`].
    #[must_use]
    pub const fn with_limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
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
        match self.limit {
            None => command.output().map(Finished::from),
            Some(limit) => {
                let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
                finish_within(child, limit)
            }
        }
    }
}

/// How often is looked whether a command has ended: short against the start of a process.
const LOOK: Duration = Duration::from_millis(1);

/// Waits for a command and reads what it writes; kills it when its time is over.
fn finish_within(mut child: Child, limit: Duration) -> io::Result<Finished> {
    let read = |stream: Option<Box<dyn Read + Send>>| {
        thread::spawn(move || {
            let mut text = Vec::new();
            // What was read before an error is still worth showing.
            let _cut = stream.map(|mut stream| stream.read_to_end(&mut text));
            String::from_utf8_lossy(&text).into_owned()
        })
    };
    let stdout = read(child.stdout.take().map(|stream| Box::new(stream) as Box<dyn Read + Send>));
    let stderr = read(child.stderr.take().map(|stream| Box::new(stream) as Box<dyn Read + Send>));
    let end = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() >= end {
            child.kill()?;
            child.wait()?;
            // The readers are left behind: a child of the command's own may hold their pipes open.
            let message = format!("it did not answer within {} ms", limit.as_millis());
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        }
        thread::sleep(LOOK);
    };
    let text = |reader: thread::JoinHandle<String>| reader.join().unwrap_or_default();
    Ok(Finished { code: status.code(), stdout: text(stdout), stderr: text(stderr) })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> io::Result<Finished> {
        let argv = ["sh", "-c", script].map(str::to_owned);
        SystemCommands::default().with_limit(limit).run(&argv)
    }

    #[test]
    fn a_command_that_hangs_costs_its_limit_and_not_more() {
        let started = Instant::now();
        let error = shell("echo first; sleep 60", Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    }

    #[test]
    fn a_command_within_its_limit_is_read_to_its_end() {
        let script = "seq 50000; echo said >&2; exit 3";
        let finished = shell(script, Duration::from_secs(60)).unwrap();
        assert_eq!((finished.code, finished.stderr.as_str()), (Some(3), "said\n"));
        assert!(finished.stdout.ends_with("\n50000\n"));
    }
}
