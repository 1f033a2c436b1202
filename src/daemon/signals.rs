//! The signals that end the hub in order.

use std::io;
use std::task::{Context, Poll};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that tell the hub to end.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Begins to wait for SIGTERM and SIGINT. To be called within a runtime.
    ///
    /// # Errors
    /// The system refuses a signal's registration.
    pub fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Returns the name of the signal that has come. If none has, the context's waker is woken once one does.
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<&'static str> {
        let named = [("SIGTERM", &mut self.terminate), ("SIGINT", &mut self.interrupt)];
        let came = named.into_iter().find_map(|(name, signal)| signal.poll_recv(context).is_ready().then_some(name));
        came.map_or(Poll::Pending, Poll::Ready)
    }
}
