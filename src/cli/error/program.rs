//! Why `relay-hub`, `relay-channel` and `relay-bridge` cannot go on.

use std::io;

use crate::activation::ActivationError;
use crate::advice::startup::{CHECK_LIMITS, next_for_socket};
use crate::hub::limits::LimitError;
use crate::logging::LoggingError;
use crate::protocol::Refusal;

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
    /// Something stands in the way.
    #[error("{what}")]
    Obstacle {
        /// What.
        what: String,
        /// What to do about it.
        next: String,
    },
    /// The system gave no event loop, signal or stream.
    #[error("cannot serve: {0}")]
    Serve(#[from] io::Error),
    /// The bridge refuses.
    #[error("{}", .0.message)]
    Bridge(Refusal),
}

impl ProgramError {
    /// Returns whether whoever started the program has to say something else.
    pub(super) const fn is_wrong_usage(&self) -> bool {
        matches!(self, Self::Limit { .. } | Self::Log(LoggingError::Filter { .. }))
    }

    /// Returns what to do now.
    pub(super) fn next(&self) -> String {
        match self {
            Self::Limit { given: "RELAY_LIMITS", .. } => "unset RELAY_LIMITS".to_owned(),
            Self::Limit { .. } => "relay-hub --help".to_owned(),
            Self::Log(_) => "unset RELAY_LOG".to_owned(),
            Self::Socket(error) => next_for_socket(error),
            Self::Obstacle { next, .. } => next.clone(),
            Self::Serve(_) => CHECK_LIMITS.to_owned(),
            Self::Bridge(error) => error.next.clone(),
        }
    }
}
