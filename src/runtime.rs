//! The one thread that a program runs on, and its one alarm.

use std::future::poll_fn;
use std::io;
use std::os::unix::net::UnixStream;
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

/// One timer for all deadlines of a loop, which waits for the next of them.
///
/// It is set anew only to an earlier time, or when it went off too early. A runtime whose timer is set to an earlier time
/// wakes itself, and a timer for each request would do so at each of them.
#[derive(Debug, Default)]
pub struct Alarm {
    /// Made when it is first needed, within the runtime.
    sleep: Option<Pin<Box<Sleep>>>,
    /// What it is set to, until it has gone off.
    set_to: Option<Instant>,
}

impl Alarm {
    /// Waits until this time; for ever where there is none. It may be dropped and called anew at any time.
    pub async fn wait(&mut self, at: Option<Instant>) {
        poll_fn(|context| self.poll_wait(context, at)).await;
    }

    /// Returns whether this time has come. If it has not, the context's waker is woken at it, or before.
    pub fn poll_wait(&mut self, context: &mut Context<'_>, at: Option<Instant>) -> Poll<()> {
        let Some(at) = at else { return Poll::Pending };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(at.into())));
        loop {
            let set_to = match self.set_to {
                Some(set_to) if set_to <= at => set_to,
                // What is due needs no timer: the runtime's goes off a millisecond late.
                _ if at <= Instant::now() => return Poll::Ready(()),
                _ => {
                    sleep.as_mut().reset(at.into());
                    at
                }
            };
            self.set_to = Some(set_to);
            ready!(sleep.as_mut().poll(context));
            self.set_to = None;
            if set_to >= at {
                return Poll::Ready(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn alarm_waits_for_the_time_it_is_asked_for() {
        let after = |milliseconds| Some(Instant::now() + Duration::from_millis(milliseconds));
        let mut alarm = Alarm::default();
        // An earlier time counts although a later one was asked for before, and a later one although an earlier was.
        for (dropped, asked) in [(Some(60_000), 10), (Some(20), 40), (Some(60_000), 10), (None, 10)] {
            let dropped = dropped.and_then(after);
            assert!(poll_fn(|context| Poll::Ready(alarm.poll_wait(context, dropped).is_pending())).await);
            let asked = after(asked);
            tokio::time::timeout(Duration::from_secs(10), alarm.wait(asked)).await.unwrap();
            assert!(Some(Instant::now()) >= asked);
        }
        alarm.wait(Some(Instant::now())).await;
        let due = poll_fn(|context| Poll::Ready(Alarm::default().poll_wait(context, Some(Instant::now())))).await;
        assert!(due.is_ready());
        assert!(tokio::time::timeout(Duration::from_millis(10), alarm.wait(None)).await.is_err());
    }
}
