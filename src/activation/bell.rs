//! A listener that tells that somebody wants to connect before it accepts them.
//!
//! A hub that makes room for a new program must not accept anybody: whoever waits in the backlog is served by the next.

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};

use tokio::io::unix::AsyncFdReadyGuard;

use crate::watched::Listener;

/// The listener, watched by the runtime.
#[derive(Debug)]
pub struct Bell(Listener);

/// Somebody has knocked.
#[derive(Debug)]
pub struct Knock<'a>(AsyncFdReadyGuard<'a, UnixListener>);

impl Bell {
    /// Watches a listener. To be called within a runtime.
    ///
    /// # Errors
    /// The system cannot watch it.
    pub fn new(listener: UnixListener) -> io::Result<Self> {
        Listener::new(listener).map(Self)
    }

    /// Returns when somebody wants to connect. Nobody is accepted yet.
    ///
    /// # Errors
    /// The runtime is shutting down.
    pub async fn knock(&self) -> io::Result<Knock<'_>> {
        self.0.readable().await.map(Knock)
    }
}

impl Knock<'_> {
    /// Accepts whoever has knocked; `None` where nobody waits any more.
    ///
    /// # Errors
    /// The system refuses, as where there are too many open descriptors.
    pub fn answer(&mut self) -> io::Result<Option<UnixStream>> {
        match self.0.try_io(|listener| listener.get_ref().accept()) {
            Ok(accepted) => {
                let (stream, _) = accepted?;
                stream.set_nonblocking(true)?;
                Ok(Some(stream))
            }
            Err(_nobody_any_more) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn whoever_knocks_is_accepted_only_when_answered() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let bell = Bell::new(UnixListener::bind(&path).unwrap()).unwrap();
        let soon = Duration::from_millis(20);
        assert!(tokio::time::timeout(soon, bell.knock()).await.is_err());

        let client = UnixStream::connect(&path).unwrap();
        for _ in 0..2 {
            let _unanswered = bell.knock().await.unwrap();
        }
        let stream = bell.knock().await.unwrap().answer().unwrap().unwrap();
        assert!(bell.knock().await.unwrap().answer().unwrap().is_none());
        assert!(tokio::time::timeout(soon, bell.knock()).await.is_err());
        drop((client, stream));
    }
}
