//! The one thread that a program runs on.

use std::future::poll_fn;
use std::io;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::time::{Sleep, sleep_until};

/// Returns a runtime of this thread, whose tasks stay on it.
///
/// # Errors
/// The system has no more descriptors.
pub fn new() -> io::Result<LocalRuntime> {
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

/// One timer for all deadlines of a loop, which waits for the next of them.
///
/// It is set anew only to an earlier time, or when it went off too early. A runtime whose timer is set to an earlier time
/// wakes itself, and a timer for each request would do so at each of them.
#[derive(Debug)]
pub struct Alarm {
    sleep: Pin<Box<Sleep>>,
    /// What it is set to, until it has gone off.
    set_to: Option<Instant>,
}

impl Alarm {
    /// Returns an alarm that is set to nothing. To be called within a runtime.
    pub fn new() -> Self {
        Self { sleep: Box::pin(sleep_until(tokio::time::Instant::now())), set_to: None }
    }

    /// Waits until this time; for ever where there is none. It may be dropped and called anew at any time.
    pub async fn wait(&mut self, at: Option<Instant>) {
        poll_fn(|context| self.poll_wait(context, at)).await;
    }

    /// Returns whether this time has come. If it has not, the context's waker is woken at it, or before.
    pub fn poll_wait(&mut self, context: &mut Context<'_>, at: Option<Instant>) -> Poll<()> {
        let Some(at) = at else { return Poll::Pending };
        loop {
            let set_to = match self.set_to {
                Some(set_to) if set_to <= at => set_to,
                _ => {
                    self.sleep.as_mut().reset(at.into());
                    at
                }
            };
            self.set_to = Some(set_to);
            ready!(self.sleep.as_mut().poll(context));
            self.set_to = None;
            if set_to >= at {
                return Poll::Ready(());
            }
        }
    }
}

impl Default for Alarm {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn alarm_waits_for_the_time_it_is_asked_for() {
        let after = |milliseconds| Some(Instant::now() + Duration::from_millis(milliseconds));
        let mut alarm = Alarm::new();
        // An earlier time counts although a later one was asked for before, and a later one although an earlier was.
        for (dropped, asked) in [(Some(60_000), 10), (Some(20), 40), (Some(60_000), 10), (None, 10)] {
            let dropped = dropped.and_then(after);
            assert!(poll_fn(|context| Poll::Ready(alarm.poll_wait(context, dropped).is_pending())).await);
            let asked = after(asked);
            tokio::time::timeout(Duration::from_secs(10), alarm.wait(asked)).await.unwrap();
            assert!(Some(Instant::now()) >= asked);
        }
        alarm.wait(Some(Instant::now())).await;
        assert!(tokio::time::timeout(Duration::from_millis(10), alarm.wait(None)).await.is_err());
    }
}
