//! One timer for all deadlines of a loop.
//!
//! A runtime whose timer is set to an earlier time wakes itself for it: two system calls and a turn of its loop, which stand
//! before whoever was just written to, where both run on one processor. So the timer is one of the kernel's that the runtime
//! watches, timerfd_create(2); where there is none, it is the runtime's own.

use std::future::poll_fn;
#[cfg(target_os = "linux")]
use std::io;
#[cfg(target_os = "linux")]
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::time::{Sleep, sleep};

#[cfg(target_os = "linux")]
use crate::watched::Signal;

/// Waits for the next of a loop's deadlines.
///
/// It is set anew only to an earlier time, or when it went off too early: most deadlines pass without their work, since what
/// they are for has happened by then.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    /// Made when it is first needed, within the runtime.
    timer: Option<Timer>,
    /// What it is set to, until it has gone off.
    set_to: Option<Instant>,
}

impl Alarm {
    /// Waits until this time; for ever where there is none. It may be dropped and called anew at any time.
    pub(crate) async fn wait(&mut self, at: Option<Instant>) {
        poll_fn(|context| self.poll_wait(context, at)).await;
    }

    /// Returns whether this time has come. If it has not, the context's waker is woken at it, or before.
    pub(crate) fn poll_wait(&mut self, context: &mut Context<'_>, at: Option<Instant>) -> Poll<()> {
        let Some(at) = at else { return Poll::Pending };
        loop {
            if self.set_to.is_none_or(|set_to| set_to > at) {
                // What is due needs no timer.
                let left = at.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Poll::Ready(());
                }
                self.timer.get_or_insert_with(Timer::new).set(left);
                self.set_to = Some(at);
            }
            let Some(timer) = &mut self.timer else { return Poll::Pending };
            ready!(timer.poll_told(context));
            // It may be told of a time that it was set to before.
            self.set_to = self.set_to.filter(|set_to| Instant::now() < *set_to);
        }
    }
}

#[derive(Debug)]
enum Timer {
    #[cfg(target_os = "linux")]
    OfKernel(Signal),
    OfRuntime(Pin<Box<Sleep>>),
}

impl Timer {
    fn new() -> Self {
        #[cfg(target_os = "linux")]
        if let Ok(timer) = create().and_then(Signal::new) {
            return Self::OfKernel(timer);
        }
        Self::OfRuntime(Box::pin(sleep(Duration::ZERO)))
    }

    /// Has it go off after this time, and not before.
    fn set(&mut self, after: Duration) {
        match self {
            #[cfg(target_os = "linux")]
            Self::OfKernel(timer) => set(timer, after),
            Self::OfRuntime(sleep) => sleep.as_mut().reset(tokio::time::Instant::now() + after),
        }
    }

    fn poll_told(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match self {
            #[cfg(target_os = "linux")]
            Self::OfKernel(timer) => timer.poll_told(context),
            Self::OfRuntime(sleep) => sleep.as_mut().poll(context),
        }
    }
}

#[cfg(target_os = "linux")]
fn create() -> io::Result<OwnedFd> {
    Ok(timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?)
}

/// What it was told of before is forgotten with this.
#[cfg(target_os = "linux")]
fn set(timer: &Signal, after: Duration) {
    // A time that is too long for the kernel is further away than anybody waits.
    let value = Timespec::try_from(after).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 });
    let once = Itimerspec { it_interval: Timespec::default(), it_value: value };
    // It fails only for a descriptor or a time that is none.
    let _set = timerfd_settime(timer.fd(), TimerfdTimerFlags::empty(), &once);
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

    #[tokio::test]
    async fn alarm_that_went_off_unheard_does_not_end_the_next_wait() {
        let after = |milliseconds| Some(Instant::now() + Duration::from_millis(milliseconds));
        let mut alarm = Alarm::default();
        let unheard = after(10);
        assert!(poll_fn(|context| Poll::Ready(alarm.poll_wait(context, unheard).is_pending())).await);
        sleep(Duration::from_millis(30)).await;
        let asked = after(40);
        tokio::time::timeout(Duration::from_secs(10), alarm.wait(asked)).await.unwrap();
        assert!(Some(Instant::now()) >= asked);
    }

    #[tokio::test]
    async fn alarm_without_a_timer_of_the_kernel_uses_the_runtimes() {
        let mut alarm = Alarm { timer: Some(Timer::OfRuntime(Box::pin(sleep(Duration::ZERO)))), set_to: None };
        for milliseconds in [20, 10] {
            let asked = Some(Instant::now() + Duration::from_millis(milliseconds));
            tokio::time::timeout(Duration::from_secs(10), alarm.wait(asked)).await.unwrap();
            assert!(Some(Instant::now()) >= asked);
        }
    }
}
