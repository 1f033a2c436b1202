//! The one thread that a program runs on.

use std::io;
use std::os::unix::net::UnixStream;
use std::panic::resume_unwind;

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

/// Runs a future, and all tasks that it starts, on this thread until it is done.
///
/// It runs as a task like the others: between two tasks the runtime only takes the next one, while it asks the kernel what
/// has happened each time before it turns to the future that it was given.
///
/// # Errors
/// The runtime cannot be built.
pub fn run<F>(future: F) -> io::Result<F::Output>
where
    F: Future + 'static,
{
    new()?.block_on(async {
        match tokio::task::spawn_local(future).await {
            Ok(output) => Ok(output),
            // Nobody aborts it: it panicked.
            Err(error) => resume_unwind(error.into_panic()),
        }
    })
}
