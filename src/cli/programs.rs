//! How `relay-hub` and `relay-channel` are told their arguments, and tell why they cannot go on: as `relayctl` does.

use std::borrow::Cow;
use std::io;
use std::process::ExitCode;

use clap::Parser;

use super::error::{CliError, next_for_path};
use super::explain_usage;
use super::output::Output;
use crate::activation::{ActivationError, BindError};
use crate::hub::limits::LimitError;
use crate::logging::{Log, LoggingError};

/// Why a program cannot do its work.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// A limit cannot be set.
    #[error("{given}: {source}")]
    Limit {
        /// Where it was given: an option or a variable.
        given: &'static str,
        /// What is wrong with it.
        source: LimitError,
    },
    /// `RELAY_LOG` is no filter.
    #[error(transparent)]
    Log(#[from] LoggingError),
    /// There is no socket to listen on.
    #[error(transparent)]
    Socket(#[from] ActivationError),
    /// The system gave no event loop, signal or stream.
    #[error("cannot serve: {0}")]
    Serve(#[from] io::Error),
}

impl ProgramError {
    /// Returns whether whoever started the program has to say something else.
    pub(super) const fn is_wrong_usage(&self) -> bool {
        matches!(self, Self::Limit { .. } | Self::Log(LoggingError::Filter { .. }))
    }

    /// Returns what to do now.
    pub(super) fn next(&self) -> Cow<'static, str> {
        match self {
            Self::Limit { .. } => "relay-hub --help".into(),
            Self::Log(_) => "unset RELAY_LOG, or set it to one of error, warn, info, debug, trace".into(),
            Self::Socket(error) => next_for_socket(error),
            Self::Serve(_) => "check the limits on processes and open files: ulimit -a".into(),
        }
    }
}

fn next_for_socket(error: &ActivationError) -> Cow<'static, str> {
    match error {
        ActivationError::Place(error) => next_for_path(error).into(),
        ActivationError::Bind(error) => next_for_bind(error),
        ActivationError::WrongSockets { .. }
        | ActivationError::NotAListener(_)
        | ActivationError::Protocol(_)
        | ActivationError::TooLate
        | ActivationError::Launchd(_) => "relayctl install-service".into(),
    }
}

fn next_for_bind(error: &BindError) -> Cow<'static, str> {
    match error {
        BindError::AlreadyRunning { .. } => "use the hub that is there (relayctl status), or end it first".into(),
        BindError::InTheWay { .. } | BindError::NotADirectory { .. } => {
            "move it away, or set RELAY_SOCKET or --socket to another path".into()
        }
        BindError::LinkedDirectory { path } => {
            format!("set RELAY_SOCKET or --socket to a path in what this shows: readlink -f '{}'", path.display())
                .into()
        }
        // A directory of everybody, such as /tmp, is not for its one user to close.
        BindError::OpenDirectory { path, mode } if mode & 0o1000 == 0 => {
            format!("chmod 700 '{}', if nobody else needs it; else name a socket elsewhere", path.display()).into()
        }
        BindError::Locked { path } => format!("end the process that this shows: fuser -v '{}'", path.display()).into(),
        BindError::Path(error) => next_for_path(error).into(),
        BindError::OpenDirectory { .. }
        | BindError::ForeignDirectory { .. }
        | BindError::MovableDirectory { .. }
        | BindError::Io { .. } => {
            "set RELAY_SOCKET or --socket to a path in a directory that only you can enter: ~/.relay/hub.sock".into()
        }
    }
}

/// Returns the arguments of this process.
///
/// # Errors
/// It was asked for help or its version, which are printed, or the arguments are wrong, which is said. The program is to
/// end with this code.
pub fn arguments<P: Parser>() -> Result<P, ExitCode> {
    P::try_parse().map_err(|error| {
        let next = format!("{} --help", P::command().get_name());
        explain_usage(&error, &next, &mut Output::standard()).into()
    })
}

/// Tells why the program ends, to whoever has started it and to whoever reads the log, and returns its exit code.
pub fn fail(error: ProgramError, log: Log) -> ExitCode {
    let error = CliError::from(error);
    if !log.is_standard_error() {
        tracing::error!(next = %error.next(), "{}", error.message());
    }
    // The journal has it with its fields, unless the filter keeps it out.
    let is_told = log.is_the_journal() && tracing::enabled!(tracing::Level::ERROR);
    // What was logged before is written before.
    drop(log);
    if is_told { error.exit().into() } else { Output::standard().fail(&error).into() }
}

/// Tells of something that the program does without.
pub fn warn(error: ProgramError) {
    Output::standard().warn_of(&error.into());
}
