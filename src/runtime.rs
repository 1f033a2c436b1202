//! The one thread that a program runs on, and its one alarm.

use std::future::pending;
use std::io;
use std::pin::Pin;
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
/// # Errors
/// The runtime cannot be built.
pub fn run<F: Future>(future: F) -> io::Result<F::Output> {
    Ok(new()?.block_on(future))
}

/// A timer for the earliest of many deadlines that come and go.
///
/// A runtime that is given an earlier timer than it has wakes itself by writing to a descriptor of its own. So the timer is
/// set only if it would come too late, and one that has come too early is set anew then.
#[derive(Debug, Default)]
pub struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
    /// For when the timer is set; none where it has come.
    set_for: Option<Instant>,
}

impl Alarm {
    /// Returns at this time; never where there is none. May be dropped at any time without loss.
    pub async fn wait(&mut self, at: Option<Instant>) {
        let Some(at) = at else { return pending().await };
        while Instant::now() < at {
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(at.into())));
            if self.set_for.is_none_or(|set_for| set_for > at) {
                sleep.as_mut().reset(at.into());
                self.set_for = Some(at);
            }
            sleep.await;
            self.set_for = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn alarm_comes_in_time_whatever_it_was_set_for_before() {
        let mut alarm = Alarm::default();
        let begun = Instant::now();
        let after = |millis| Some(begun + Duration::from_millis(millis));
        for dropped in [60_000, 10, 40] {
            tokio::select! {
                biased;
                () = alarm.wait(after(dropped)) => panic!("it came too early"),
                () = std::future::ready(()) => {}
            }
        }
        alarm.wait(after(30)).await;
        assert!(begun.elapsed() >= Duration::from_millis(30));
        alarm.wait(after(0)).await;
        tokio::time::timeout(Duration::from_millis(20), alarm.wait(None)).await.unwrap_err();
    }
}
