//! A listener that tells that somebody wants to connect before it accepts them.
//!
//! A hub that makes room for a new program must not accept anybody: whoever waits in the backlog is served by the next.

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::task::{Context, Poll};

use tokio::io::unix::AsyncFdReadyGuard;

use crate::watched::Listener;

/// The listener, watched by the runtime.
#[derive(Debug)]
pub struct Acceptor(Listener);

/// A connection that waits in the listener's backlog.
#[derive(Debug)]
pub struct PendingConnection<'a>(AsyncFdReadyGuard<'a, UnixListener>);

impl Acceptor {
    /// Watches a listener. To be called within a runtime.
    ///
    /// # Errors
    /// The system cannot watch it.
    pub fn new(listener: UnixListener) -> io::Result<Self> {
        Listener::new(listener).map(Self)
    }

    /// Returns the connection that is accepted next. If none waits, the context's waker is woken once one does.
    ///
    /// # Errors
    /// The runtime is shutting down.
    pub fn poll_pending(&self, context: &mut Context<'_>) -> Poll<io::Result<PendingConnection<'_>>> {
        self.0.poll_readable(context).map_ok(PendingConnection)
    }
}

impl PendingConnection<'_> {
    /// Accepts it; `None` where it has gone meanwhile.
    ///
    /// # Errors
    /// The system refuses, as where there are too many open descriptors.
    pub fn accept(mut self) -> io::Result<Option<UnixStream>> {
        match self.0.try_io(|listener| listener.get_ref().accept()) {
            Ok(accepted) => {
                let (stream, _) = accepted?;
                stream.set_nonblocking(true)?;
                Ok(Some(stream))
            }
            Err(_has_gone) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn pending_connection_is_accepted_only_on_demand() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let acceptor = Acceptor::new(UnixListener::bind(&path).unwrap()).unwrap();
        let pending = || poll_fn(|context| acceptor.poll_pending(context));
        let soon = Duration::from_millis(20);
        assert!(tokio::time::timeout(soon, pending()).await.is_err());

        let client = UnixStream::connect(&path).unwrap();
        for _ in 0..2 {
            let _not_accepted = pending().await.unwrap();
        }
        let stream = pending().await.unwrap().accept().unwrap().unwrap();
        assert!(pending().await.unwrap().accept().unwrap().is_none());
        assert!(tokio::time::timeout(soon, pending()).await.is_err());
        drop((client, stream));
    }
}
