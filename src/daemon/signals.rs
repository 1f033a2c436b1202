//! The signals that end the hub in order.

use std::io;

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

    /// Returns the name of the next signal.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
