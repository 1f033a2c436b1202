//! What to do next where a program cannot begin its work: no place for the socket, nothing to listen on, a service manager
//! that did not do as it was told.

use crate::activation::{ActivationError, BindError};
use crate::advice::{START_HUB, by_hand, give_back, quoted};
use crate::paths::PathError;
use crate::service::ServiceError;

/// What to do where programs of the package are missing.
pub const INSTALL_ALL: &str =
    "# install the whole package again: relayctl, relay-hub, relay-channel and relay-bridge belong together";

/// What to do where the home directory is not known, which is in the user database (getent(1)).
const SET_HOME: &str = "export HOME=\"$(getent passwd \"$(id -u)\" | cut -d: -f6)\"";

/// What to do where the system has no room for one more program.
pub const CHECK_LIMITS: &str = "ulimit -a   # the limits on processes and open files are too low";

/// Returns what to do where there is no place for the socket.
pub fn next_for_path(error: &PathError) -> String {
    match error {
        PathError::NoHome => SET_HOME.to_owned(),
        PathError::NotAbsolute { .. } => "unset RELAY_SOCKET".to_owned(),
        PathError::TooLong { .. } => {
            by_hand("set RELAY_SOCKET to a shorter absolute path, in a directory that only you can enter")
        }
    }
}

/// Returns what to do where the service manager did not do as it was told.
pub fn next_for_service(error: &ServiceError) -> String {
    match error {
        ServiceError::Path(error) => next_for_path(error),
        ServiceError::NoHub { .. } | ServiceError::NoBridge { .. } | ServiceError::Program { .. } => {
            INSTALL_ALL.to_owned()
        }
        ServiceError::Unnameable { .. } => {
            by_hand("install the programs in a directory with a plain name, and run its relayctl install-service")
        }
        ServiceError::NoManager { .. } => START_HUB.to_owned(),
        ServiceError::Plan(_) => by_hand("mend that, then run: relayctl install-service"),
        ServiceError::Plist(_) => "relayctl install-service --dry-run".to_owned(),
    }
}

/// Returns what to do where there is no socket to listen on.
pub fn next_for_socket(error: &ActivationError) -> String {
    match error {
        ActivationError::Place(error) => next_for_path(error),
        ActivationError::Bind(error) => next_for_bind(error),
        ActivationError::WrongSockets { .. }
        | ActivationError::NotAListener(_)
        | ActivationError::Protocol(_)
        | ActivationError::TooLate
        | ActivationError::Launchd(_) => "relayctl install-service".to_owned(),
    }
}

fn next_for_bind(error: &BindError) -> String {
    match error {
        BindError::AlreadyRunning { .. } => "relayctl status".to_owned(),
        BindError::InTheWay { path } | BindError::NotADirectory { path } | BindError::LinkedDirectory { path } => {
            format!("mv {0} {0}.old", quoted(path))
        }
        // A directory of everybody, such as /tmp, is not for its one user to close.
        BindError::OpenDirectory { path, mode } if mode & 0o1000 == 0 => format!("chmod 700 {}", quoted(path)),
        BindError::Locked { path } => format!("fuser -v {}   # and end that process", quoted(path)),
        BindError::Path(error) => next_for_path(error),
        // In the default place no other path would be better: it is HOME that does not do.
        BindError::MovableDirectory { path, ancestor } if path.ends_with(".relay") => {
            format!("chmod go-w {}", quoted(ancestor))
        }
        BindError::ForeignDirectory { path, owner, .. } if path.ends_with(".relay") => give_back(path, *owner),
        BindError::Io { path, .. } if path.ends_with(".relay") => {
            by_hand("set HOME to a folder of your own that you can write to")
        }
        BindError::OpenDirectory { .. }
        | BindError::ForeignDirectory { .. }
        | BindError::MovableDirectory { .. }
        | BindError::Io { .. } => "export RELAY_SOCKET=\"$HOME/.relay/hub.sock\"".to_owned(),
    }
}
