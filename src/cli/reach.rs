//! Whether somebody listens at the hub's socket, judged by connecting, and what the socket looks like if not.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// What a connect met. It says nothing and is gone at once: a hub that is idle is started by it, none is disturbed.
#[derive(Debug)]
pub(super) enum Reach {
    /// Somebody listens.
    Listening,
    /// There is no such file.
    Missing,
    /// The socket is there and nobody listens at it.
    Abandoned,
    /// The connect failed otherwise: no permission, no socket.
    Barred(io::Error),
}

impl Reach {
    /// Connects.
    pub(super) fn of(socket: &Path) -> Self {
        match UnixStream::connect(socket) {
            Ok(_) => Self::Listening,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::Missing,
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Self::Abandoned,
            Err(error) => Self::Barred(error),
        }
    }

    /// Returns why nobody is reached; `None` where somebody is.
    pub(super) fn why_not(&self, socket: &Path) -> Option<String> {
        let socket = socket.display();
        match self {
            Self::Listening => None,
            Self::Missing => Some(format!("there is no socket at {socket}")),
            Self::Abandoned => Some(format!("nobody listens at {socket}")),
            Self::Barred(error) => Some(format!("{socket} cannot be connected to: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn each_way_of_not_being_there_has_its_words() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("hub.sock");
        let why = || Reach::of(&socket).why_not(&socket).map(|why| why.replace(socket.to_str().unwrap(), "SOCKET"));
        assert_eq!(why().as_deref(), Some("there is no socket at SOCKET"));
        let listener = UnixListener::bind(&socket).unwrap();
        assert_eq!(why(), None);
        drop(listener);
        assert_eq!(why().as_deref(), Some("nobody listens at SOCKET"));
    }
}
