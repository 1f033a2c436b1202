//! What to do next where a layer below says why it cannot go on.

use std::borrow::Cow;

use crate::activation::{ActivationError, BindError};
use crate::paths::{Environment, PathError};
use crate::service::ServiceError;

/// What to do where programs of the package are missing.
pub(super) const INSTALL_ALL: &str = "install the whole package, or in its source: cargo build --release";

/// What starts a hub where no service manager does, at the place where programs with the same environment look for it.
pub(super) const FOREGROUND: &str = "relay-hub &   (or without the & in a terminal of its own)";

/// Returns the command that starts a hub where no service manager does, and makes a place for its socket if there is none.
pub(super) fn foreground(environment: &Environment) -> String {
    match (environment.socket(), &environment.socket_option) {
        (Err(error), _) => next_for_path(&error).to_owned(),
        (Ok(socket), Some(_)) => format!("relay-hub --socket '{}' &", socket.display()),
        (Ok(_), None) => FOREGROUND.to_owned(),
    }
}

/// Returns what to do where there is no place for the socket.
pub(super) const fn next_for_path(error: &PathError) -> &'static str {
    match error {
        PathError::NoHome => "set HOME",
        PathError::NoRuntimeDir { .. } => {
            "log in, so that XDG_RUNTIME_DIR is set; in a container: export RELAY_SOCKET=\"$HOME/.relay/hub.sock\"; relay-hub &"
        }
        PathError::NotAbsolute { .. } | PathError::TooLong { .. } => {
            "set RELAY_SOCKET or --socket to a short absolute path in a directory that only you can enter"
        }
    }
}

/// Returns what to do where the service manager did not do as it was told.
pub(super) const fn next_for_service(error: &ServiceError) -> &'static str {
    match error {
        ServiceError::Path(PathError::NoRuntimeDir { .. }) => "log in, so that XDG_RUNTIME_DIR is set, and do it again",
        ServiceError::Path(error) => next_for_path(error),
        ServiceError::NoHub { .. } | ServiceError::Program { .. } => INSTALL_ALL,
        ServiceError::Unnameable { .. } => "install the programs in a directory with a plain name",
        ServiceError::NoManager { .. } => {
            "log in, so that your service manager answers, and do it again; where there is none nothing is installed"
        }
        ServiceError::Plan(_) | ServiceError::Plist(_) => "relayctl install-service --dry-run",
    }
}

/// Returns what to do where there is no socket to listen on.
pub(super) fn next_for_socket(error: &ActivationError) -> Cow<'static, str> {
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
