//! Ctrl-C and its relatives: what a waiting command selects on, so that it withdraws before it ends.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::error::CliError;

/// The signals that ask the program to end: SIGINT, SIGTERM and SIGHUP.
///
/// From its making on they no longer kill the process by themselves: make it only when something selects on it.
#[derive(Debug)]
pub(super) struct Interrupt {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Interrupt {
    /// Begins to listen for the signals.
    ///
    /// # Errors
    /// The system refuses a signal handler.
    pub(super) fn listen() -> Result<Self, CliError> {
        let listen = |kind| signal(kind).map_err(CliError::Runtime);
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Returns when one of the signals has come, and which.
    pub(super) async fn wait(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.hangup.recv() => SignalKind::hangup(),
        }
    }
}

/// Stops this process, as the terminal's stop key does where it is not read as a key, and returns when it goes on.
pub(super) fn stop() {
    // Where the system keeps it from stopping, it goes on.
    let _went_on = signal_hook::low_level::emulate_default_handler(signal_hook::consts::SIGTSTP);
}

/// Ends this process by the signal, as if nobody had listened for it: a shell that runs a loop then ends it.
pub(super) fn die_of(signal: SignalKind) {
    // Each of them has a default that ends a process.
    let _ended = signal_hook::low_level::emulate_default_handler(signal.as_raw_value());
}
