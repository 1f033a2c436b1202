//! What an installation does, as a value: it can be shown without being done, and done twice like once.
//!
//! Making a [`Plan`] touches nothing. [`Plan::perform`] looks at what is there, step by step: a step whose result is
//! there already changes nothing and says so, and a command runs only if it has something to bring about.

use std::fmt;
use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::commands::{Commands, Finished};

/// How often a command that fails for a passing reason is tried again, with [`Commands::pause`] in between.
const RETRIES: u32 = 20;

/// Steps, in the order in which they are done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
}

/// One change of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Creates a directory and those above it, unless it is there.
    MakeDirectory {
        /// The directory.
        path: PathBuf,
        /// Its permissions, if it is created.
        mode: u32,
    },
    /// Writes a file, all or nothing, unless it has the content and the permissions already.
    WriteFile {
        /// The file.
        path: PathBuf,
        /// All of its content.
        content: String,
        /// Its permissions.
        mode: u32,
    },
    /// Removes a file or a link, if it is there.
    RemoveFile {
        /// The file.
        path: PathBuf,
    },
    /// Removes a Unix socket that nobody listens at.
    RemoveDeadSocket {
        /// The socket.
        path: PathBuf,
    },
    /// Removes a directory if it is there and empty.
    RemoveEmptyDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// Runs a command of the service manager.
    Run(Run),
}

/// A command, and when it has something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// When it runs.
    pub when: When,
    /// Exit codes that say that there was nothing to do.
    pub tolerated: Vec<i32>,
    /// Exit codes that may pass: the command is tried again for some seconds.
    pub retried: Vec<i32>,
}

/// When a command runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// Whoever made the plan has looked: it has something to do.
    Always,
    /// An earlier step of the plan changed something.
    Changed,
    /// An earlier step of the plan replaced a file that had another content.
    Replaced,
    /// An earlier step changed something, or one of these commands fails, which ask whether all is as it should be.
    ChangedUnless(Vec<Vec<String>>),
    /// This command succeeds, which asks whether there is something to undo.
    If(Vec<String>),
}

/// What a step has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It made what was not there.
    Created,
    /// It replaced what was there.
    Replaced,
    /// It removed what was there.
    Removed,
    /// It ran its command.
    Ran,
    /// Nothing: all was as it should be.
    Unchanged,
}

/// Why a step was not done. The steps before it are; doing the plan again does the rest.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The file system refused.
    #[error("could not {step}")]
    File {
        /// The step, as it is shown.
        step: String,
        /// Why not.
        source: io::Error,
    },
    /// The command could not be started.
    #[error("could not run `{command}`")]
    Start {
        /// The command line.
        command: String,
        /// Why not.
        source: io::Error,
    },
    /// The command failed.
    #[error("`{command}` failed with {}: {said}", match code { Some(code) => format!("code {code}"), None => "a signal".to_owned() })]
    Command {
        /// The command line.
        command: String,
        /// Its exit code, unless a signal ended it.
        code: Option<i32>,
        /// What it wrote to its standard error.
        said: String,
    },
}

impl Plan {
    /// Returns whether doing it would change nothing, as far as that can be seen without doing it: a command is never seen.
    pub fn is_done(&self) -> bool {
        self.steps.iter().all(Step::is_done)
    }

    /// Does every step and tells what each has done. Returns whether anything changed.
    ///
    /// # Errors
    /// The first step that fails ends the plan.
    pub fn perform(&self, commands: &mut dyn Commands, mut told: impl FnMut(&Step, Effect)) -> Result<bool, PlanError> {
        let (mut changed, mut replaced) = (false, false);
        for step in &self.steps {
            let effect = match step {
                Step::Run(run) => run.perform(commands, changed, replaced)?,
                Step::MakeDirectory { .. }
                | Step::WriteFile { .. }
                | Step::RemoveFile { .. }
                | Step::RemoveDeadSocket { .. }
                | Step::RemoveEmptyDirectory { .. } => {
                    step.change_files().map_err(|source| PlanError::File { step: step.headline(), source })?
                }
            };
            changed |= effect != Effect::Unchanged;
            replaced |= effect == Effect::Replaced;
            told(step, effect);
        }
        Ok(changed)
    }
}

/// Shows what would be done, with the whole content of each file.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().try_for_each(|step| step.fmt(f))
    }
}

impl Step {
    /// Returns the step in one line.
    pub fn headline(&self) -> String {
        match self {
            Self::MakeDirectory { path, mode } => format!("make directory {} (mode {mode:04o})", path.display()),
            Self::WriteFile { path, mode, .. } => format!("write {} (mode {mode:04o})", path.display()),
            Self::RemoveFile { path } => format!("remove {}", path.display()),
            Self::RemoveDeadSocket { path } => format!("remove {} (if nobody listens there)", path.display()),
            Self::RemoveEmptyDirectory { path } => format!("remove directory {} (if empty)", path.display()),
            Self::Run(run) if run.when == When::Always => format!("run {}", command_line(&run.argv)),
            Self::Run(run) => format!("run {} ({})", command_line(&run.argv), run.when),
        }
    }

    fn is_done(&self) -> bool {
        match self {
            Self::MakeDirectory { path, .. } => path.is_dir(),
            Self::WriteFile { path, content, mode } => {
                let is_so = fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o777 == *mode);
                is_so && fs::read_to_string(path).is_ok_and(|found| found == *content)
            }
            Self::RemoveFile { path } | Self::RemoveDeadSocket { path } | Self::RemoveEmptyDirectory { path } => {
                !path.exists()
            }
            Self::Run(_) => false,
        }
    }

    /// Does a step that concerns files only.
    fn change_files(&self) -> io::Result<Effect> {
        match self {
            Self::MakeDirectory { path, .. } if path.is_dir() => Ok(Effect::Unchanged),
            Self::MakeDirectory { path, mode } => {
                if let Some(parent) = path.parent() {
                    fs::create_dir_all(parent)?;
                }
                DirBuilder::new().mode(*mode).create(path)?;
                Ok(Effect::Created)
            }
            Self::WriteFile { path, content, mode } => write_file(path, content, *mode),
            Self::RemoveFile { path } => removed(fs::remove_file(path)),
            Self::RemoveDeadSocket { path } => {
                let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
                let is_dead =
                    || matches!(UnixStream::connect(path), Err(e) if e.kind() == io::ErrorKind::ConnectionRefused);
                if is_socket && is_dead() { removed(fs::remove_file(path)) } else { Ok(Effect::Unchanged) }
            }
            Self::RemoveEmptyDirectory { path } => match fs::remove_dir(path) {
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(Effect::Unchanged),
                result => removed(result),
            },
            Self::Run(_) => Ok(Effect::Unchanged),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.headline())?;
        if let Self::WriteFile { content, .. } = self {
            for line in content.lines() {
                writeln!(f, "{}", format!("    {line}").trim_end())?;
            }
        }
        Ok(())
    }
}

impl Run {
    fn perform(&self, commands: &mut dyn Commands, changed: bool, replaced: bool) -> Result<Effect, PlanError> {
        let wanted = match &self.when {
            When::Always => true,
            When::Changed => changed,
            When::Replaced => replaced,
            When::ChangedUnless(checks) => {
                let mut wanted = changed;
                for check in checks {
                    wanted = wanted || !run(commands, check)?.success();
                }
                wanted
            }
            When::If(check) => run(commands, check)?.success(),
        };
        if !wanted {
            return Ok(Effect::Unchanged);
        }
        let mut tries = 0;
        loop {
            let finished = run(commands, &self.argv)?;
            let is_among = |codes: &[i32]| finished.code.is_some_and(|code| codes.contains(&code));
            if finished.success() {
                return Ok(Effect::Ran);
            } else if is_among(&self.tolerated) {
                return Ok(Effect::Unchanged);
            } else if is_among(&self.retried) && tries < RETRIES {
                tries += 1;
                commands.pause();
            } else {
                return Err(PlanError::Command {
                    command: command_line(&self.argv),
                    code: finished.code,
                    said: finished.stderr.trim().to_owned(),
                });
            }
        }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always => Ok(()),
            Self::Changed => f.write_str("if anything changed"),
            Self::Replaced => f.write_str("if a file had another content"),
            Self::ChangedUnless(checks) => {
                let checks: Vec<_> = checks.iter().map(|check| format!("`{}`", command_line(check))).collect();
                write!(f, "unless nothing changed and {} succeed", checks.join(" and "))
            }
            Self::If(check) => write!(f, "if `{}` succeeds", command_line(check)),
        }
    }
}

fn run(commands: &mut dyn Commands, argv: &[String]) -> Result<Finished, PlanError> {
    commands.run(argv).map_err(|source| PlanError::Start { command: command_line(argv), source })
}

/// Writes `content` into a new file beside `path` and gives it the name: there is no instant with half of it.
fn write_file(path: &Path, content: &str, mode: u32) -> io::Result<Effect> {
    let found = fs::read(path).ok();
    let has_mode = fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o7777 == mode);
    if has_mode && found.as_deref() == Some(content.as_bytes()) {
        return Ok(Effect::Unchanged);
    }
    let is_there = fs::symlink_metadata(path).is_ok();
    let directory = path.parent().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut file = tempfile::Builder::new().prefix(".relay-").tempfile_in(directory)?;
    file.write_all(content.as_bytes())?;
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(if is_there { Effect::Replaced } else { Effect::Created })
}

fn removed(result: io::Result<()>) -> io::Result<Effect> {
    match result {
        Ok(()) => Ok(Effect::Removed),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(Effect::Unchanged)
        }
        Err(error) => Err(error),
    }
}

/// Returns the command as a person would type it.
pub(super) fn command_line(argv: &[String]) -> String {
    let is_plain = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./:=@,".contains(&byte))
    };
    let quoted = argv.iter().map(|word| match is_plain(word) {
        true => word.clone(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
