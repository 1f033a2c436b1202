//! Why `relay-nats` ends, and what to do about it.

use std::io;
use std::path::PathBuf;

use crate::advice::by_hand;

/// The oldest server that was seen to work, with what it is tested with: the package of Debian 12.
pub(super) const OLDEST_SERVER: (u32, u32, u32) = (2, 9, 10);

/// What to do where only this user has to be told apart from others.
const SET_PERMISSIONS: &str = "put its lines into the user's entry in nats-server.conf, and reload the server";

/// Why nothing can be carried, now or ever.
#[derive(Debug, thiserror::Error)]
pub enum NatsError {
    /// The address is none.
    #[error("\"{given}\" is no address of a NATS server: {why}")]
    Address {
        /// What was given, without secrets.
        given: String,
        /// What is wrong with it.
        why: String,
    },
    /// A file cannot be read.
    #[error("{path} cannot be read: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file holds no key.
    #[error("{path} holds no {what}")]
    Key {
        /// Which.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// Certificates or their keys cannot be used.
    #[error("the certificates cannot be used: {why}")]
    Certificates {
        /// What was observed.
        why: String,
    },
    /// The server does not know the user.
    #[error("the server does not accept this machine: {why}")]
    Stranger {
        /// What was observed.
        why: String,
    },
    /// The server's version is too old, or none.
    #[error("the server is nats-server \"{version}\", older than all that are known to work")]
    TooOld {
        /// Its version.
        version: String,
    },
    /// The server does not keep machines apart.
    #[error("the server lets the machine {machine} {excess}")]
    Shared {
        /// As whom it was tried.
        machine: String,
        /// What should not be possible.
        excess: &'static str,
    },
    /// The server does not let the machine do what it has to.
    #[error("the server does not let the machine {machine} listen to its own subject")]
    Deaf {
        /// As whom it was tried.
        machine: String,
    },
    /// Standard input and output cannot be used.
    #[error("standard input and output have to be pipes or sockets: {0}")]
    Stdio(#[source] io::Error),
    /// The system gave no event loop or random number.
    #[error("cannot serve: {0}")]
    Serve(#[from] io::Error),
}

impl NatsError {
    /// Returns what to do now: a line that can be pasted into a shell.
    pub fn next(&self) -> String {
        match self {
            Self::Address { .. } => by_hand("name the server like nats://nats.example.org:4222"),
            Self::File { path, .. } => format!("ls -l '{}'", path.display()),
            Self::Key { what, .. } => by_hand(&format!("name the file with the {what}, as nsc or nk has written it")),
            Self::Certificates { .. } => by_hand("name PEM files with --tls-ca, and with --tls-cert and --tls-key"),
            Self::Stranger { .. } => by_hand(
                "give the machine a user of its own in the server's configuration, and its key to --nkey or --creds",
            ),
            Self::TooOld { .. } => {
                let (major, minor, patch) = OLDEST_SERVER;
                by_hand(&format!("install nats-server {major}.{minor}.{patch} or newer on the server's machine"))
            }
            Self::Shared { machine, .. } | Self::Deaf { machine } => {
                format!("relay-nats permissions --as {machine}   # {SET_PERMISSIONS}")
            }
            Self::Stdio(_) => by_hand("let relay-bridge start it"),
            Self::Serve(_) => "ulimit -a   # the limits on processes and open files are too low".to_owned(),
        }
    }
}

/// Returns whether a server of this version is new enough.
pub(super) fn is_new_enough(version: &str) -> bool {
    let mut parts = version.split(['.', '-', '+']).map(str::parse::<u32>);
    let mut part = || parts.next().and_then(Result::ok);
    matches!((part(), part(), part()), (Some(major), Some(minor), Some(patch)) if (major, minor, patch) >= OLDEST_SERVER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_from_the_oldest_on_are_new_enough() {
        for version in ["2.9.10", "2.10.0", "2.15.1", "3.0.0-RC.1", "2.12.0-dev"] {
            assert!(is_new_enough(version), "{version}");
        }
        for version in ["2.9.9", "2.8.4", "1.99.99", "", "2.9", "nats"] {
            assert!(!is_new_enough(version), "{version}");
        }
    }
}
