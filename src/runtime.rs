//! The one thread that a program runs on.

use std::io;
use std::os::unix::net::UnixStream;

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};

/// Returns a runtime of this thread, whose tasks stay on it.
///
/// # Errors
/// The system has no more descriptors.
pub fn new() -> io::Result<LocalRuntime> {
    // What watches signals makes two of its own later, and panics where it cannot.
    let _room = [UnixStream::pair()?, UnixStream::pair()?];
    Builder::new_current_thread().enable_all().build_local(LocalOptions::default())
}

/// Runs a future on this thread until it is done.
///
/// # Errors
/// The runtime cannot be built.
pub fn run<F: Future>(future: F) -> io::Result<F::Output> {
    Ok(new()?.block_on(future))
}
