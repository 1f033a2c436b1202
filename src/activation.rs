//! How the hub and the bridge get their listening sockets: from systemd, from launchd, or by binding them.
//!
//! Inherited sockets win. The service manager keeps its own copy of such a socket, so it is never unlinked here;
//! only what was bound here is. Every listener that comes out is a listening Unix stream socket, nonblocking and
//! closed on exec. With `systemd` and `launchd` below, this is the only place with unsafe code.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::net::SocketType;

use crate::paths::PathError;

mod acceptor;
mod bind;
mod launchd;
mod path_watch;
mod systemd;

pub use acceptor::{Acceptor, PendingConnection};
pub use bind::{BindError, BoundPath};
pub use path_watch::lost;

/// The name that a program's socket has in its unit (`FileDescriptorName=`) and in its plist (`Sockets`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketName {
    /// The hub's.
    Hub,
    /// The bridge's.
    Bridge,
}

impl SocketName {
    /// Returns the name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hub => "hub",
            Self::Bridge => "bridge",
        }
    }
}

/// A program's listening socket.
#[derive(Debug)]
pub enum Listener {
    /// The service manager listens and keeps listening when the hub has gone.
    Inherited(UnixListener),
    /// The program listens by itself. The path goes when the [`BoundPath`] is dropped.
    Bound(UnixListener, BoundPath),
}

impl Listener {
    /// Returns whether a service manager listens for the hub, so that the hub may exit when it is idle.
    pub fn is_inherited(&self) -> bool {
        matches!(self, Self::Inherited(_))
    }

    /// Returns the path that clients connect to, if the socket has one.
    pub fn path(&self) -> Option<PathBuf> {
        let (Self::Inherited(socket) | Self::Bound(socket, _)) = self;
        socket.local_addr().ok()?.as_pathname().map(Path::to_owned)
    }
}

/// Returns the listening socket: the one handed over by systemd or launchd, else one bound at `place`.
///
/// To be called once, before the process has a second thread or a runtime: the variables of systemd's protocol are
/// taken out of the environment, so that no child mistakes them for its own.
///
/// # Errors
/// Something other than the one socket was handed over, or nothing was and `place` cannot be bound.
pub fn acquire(
    name: SocketName,
    place: impl FnOnce() -> Result<PathBuf, PathError>,
) -> Result<Listener, ActivationError> {
    if let Some(socket) = systemd::inherited(name)? {
        return Ok(Listener::Inherited(socket));
    }
    if let Some(socket) = launchd::inherited(name)? {
        return Ok(Listener::Inherited(socket));
    }
    let (socket, path) = bind::bind(&place()?)?;
    Ok(Listener::Bound(socket, path))
}

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub enum ActivationError {
    /// There is no place to bind.
    #[error(transparent)]
    Place(#[from] PathError),
    /// The place cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Sockets were handed over, but not the program's socket alone.
    #[error("the service manager handed over the sockets {names:?}, expected one with the name {expected:?}")]
    WrongSockets {
        /// The name that was expected.
        expected: &'static str,
        /// The names, in the order of the file descriptors.
        names: Vec<String>,
    },
    /// What was handed over is not what clients can connect to.
    #[error("the socket that the service manager handed over is not a listening Unix stream socket")]
    NotAListener(#[source] io::Error),
    /// systemd's variables make no sense.
    #[error("the service manager's socket variables (LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES) are wrong")]
    Protocol(#[source] io::Error),
    /// Taking the sockets changes the environment, which is only sound with one thread.
    #[error("sockets must be taken over before the process starts its second thread")]
    TooLate,
    /// launchd refused.
    #[error("launchd did not hand over the socket")]
    Launchd(#[source] io::Error),
}

/// Returns the one socket among those handed over, checked and made ready; `None` if there are none.
///
/// The others are closed when they are dropped here: no descriptor leaks on the way to an error.
fn only_one(wanted: SocketName, sockets: Vec<(OwnedFd, String)>) -> Result<Option<UnixListener>, ActivationError> {
    if sockets.is_empty() {
        return Ok(None);
    }
    let mut sockets = sockets;
    match (sockets.pop(), sockets.is_empty()) {
        (Some((socket, name)), true) if name == wanted.as_str() => ready(socket).map(Some),
        (last, _) => {
            let names = sockets.into_iter().chain(last).map(|(_, name)| name).collect();
            Err(ActivationError::WrongSockets { expected: wanted.as_str(), names })
        }
    }
}

/// Checks that `socket` is a listening Unix stream socket; sets close-on-exec and nonblocking.
fn ready(socket: OwnedFd) -> Result<UnixListener, ActivationError> {
    let prepare = || -> io::Result<UnixListener> {
        if rustix::net::sockopt::socket_type(&socket)? != SocketType::STREAM {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a stream socket"));
        }
        // macOS declares SO_ACCEPTCONN and does not implement it; launchd's sockets are passive by default.
        #[cfg(not(target_os = "macos"))]
        if !rustix::net::sockopt::socket_acceptconn(&socket)? {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it does not listen"));
        }
        rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
        let listener = UnixListener::from(socket);
        // Fails for every family but AF_UNIX.
        listener.local_addr()?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    prepare().map_err(ActivationError::NotAListener)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::{UnixDatagram, UnixStream};

    use rustix::fs::OFlags;
    use rustix::io::FdFlags;

    use super::*;

    fn listening() -> (tempfile::TempDir, OwnedFd) {
        let directory = tempfile::tempdir().unwrap();
        let socket = UnixListener::bind(directory.path().join("s")).unwrap();
        (directory, socket.into())
    }

    #[test]
    fn the_one_socket_named_hub_is_taken_nonblocking_and_closed_on_exec() {
        let (directory, socket) = listening();
        rustix::io::fcntl_setfd(&socket, FdFlags::empty()).unwrap();
        let listener = only_one(SocketName::Hub, vec![(socket, "hub".to_owned())]).unwrap().unwrap();

        assert!(rustix::io::fcntl_getfd(&listener).unwrap().contains(FdFlags::CLOEXEC));
        assert!(rustix::fs::fcntl_getfl(&listener).unwrap().contains(OFlags::NONBLOCK));
        let _client = UnixStream::connect(directory.path().join("s")).unwrap();
        listener.accept().unwrap();
        assert_eq!(Listener::Inherited(listener).path(), Some(directory.path().join("s")));
    }

    #[test]
    fn no_socket_is_no_error() {
        assert!(only_one(SocketName::Hub, Vec::new()).unwrap().is_none());
    }

    #[test]
    fn several_or_wrongly_named_sockets_are_refused_by_their_names() {
        let (_a, first) = listening();
        let (_b, second) = listening();
        let error =
            only_one(SocketName::Hub, vec![(first, "hub".to_owned()), (second, "state".to_owned())]).unwrap_err();
        assert!(error.to_string().contains(r#"["hub", "state"]"#), "{error}");

        let (_c, unnamed) = listening();
        let error = only_one(SocketName::Hub, vec![(unnamed, "unknown".to_owned())]).unwrap_err();
        assert!(error.to_string().contains(r#"["unknown"]"#), "{error}");
    }

    #[test]
    fn what_is_not_a_listening_unix_stream_socket_is_refused() {
        let tcp = OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
        let datagram = OwnedFd::from(UnixDatagram::unbound().unwrap());
        let connected = OwnedFd::from(UnixStream::pair().unwrap().0);
        let file = OwnedFd::from(tempfile::tempfile().unwrap());
        for socket in [tcp, datagram, connected, file] {
            let refused = only_one(SocketName::Hub, vec![(socket, "hub".to_owned())]);
            assert!(matches!(refused, Err(ActivationError::NotAListener(_))), "{refused:?}");
        }
    }

    #[test]
    fn without_a_service_manager_the_place_is_bound() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("relay/hub.sock");
        let listener = acquire(SocketName::Hub, || Ok(path.clone())).unwrap();
        assert!(!listener.is_inherited());
        assert_eq!(listener.path(), Some(path.clone()));
        drop(listener);
        assert!(!path.exists());
    }
}
