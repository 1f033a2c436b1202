//! The processes whose end the rules wait for: those behind lost connections, and those of sessions' clients.
//!
//! Linux tells of an end by a descriptor. Where there is none, it is looked for.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use self::end::End;
use super::source::Source;
use crate::deadlines::Deadlines;
use crate::hub::{GONE_WAIT, Input};
use crate::process;
use crate::ready::ReadyList;

/// How often is looked whether a process still runs whose end nobody tells.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The awaited processes by their ids, each for at most [`GONE_WAIT`].
#[derive(Debug)]
pub(super) struct Processes {
    awaited: BTreeMap<u32, Awaited>,
    looks: Deadlines<u32>,
}

#[derive(Debug)]
struct Awaited {
    end: Option<End>,
    until: Instant,
    /// What the rules are told when it has ended.
    inputs: Vec<Input>,
}

impl Processes {
    /// Returns the state in which no process is awaited.
    pub(super) const fn new() -> Self {
        Self { awaited: BTreeMap::new(), looks: Deadlines::new() }
    }

    /// Awaits the end of a process, of which the rules are to be told this. Returns it if the process has ended already.
    ///
    /// `start` is the time of its start, where it is known: a later process with its id is not it. Where it is not, an id
    /// that is used again only makes the wait as long as it may be.
    pub(super) fn await_end(
        &mut self,
        now: Instant,
        pid: u32,
        start: Option<u64>,
        input: Input,
        list: &ReadyList<Source>,
    ) -> Option<Input> {
        let id = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
        let until = now + GONE_WAIT;
        if let Entry::Vacant(vacant) = self.awaited.entry(pid) {
            let end = match End::of(id) {
                Err(Errno::SRCH) => return Some(input),
                end => end.ok(),
            };
            if let Some(end) = &end {
                // What has ended meanwhile is told at once.
                let _pending = end.poll(&list.waker(Source::Process(pid)));
            }
            vacant.insert(Awaited { end, until, inputs: Vec::new() });
        }
        if start.is_some_and(|start| process::of(pid).is_none_or(|found| found.start != start)) {
            self.drop_unused(pid);
            return Some(input);
        }
        let awaited = self.awaited.get_mut(&pid)?;
        awaited.until = until;
        awaited.inputs.push(input);
        self.looks.set(pid, if awaited.end.is_some() { until } else { now + LOOK_EVERY });
        None
    }

    /// Returns what the rules are to be told, since the process with this id has ended.
    pub(super) fn handle_ended(&mut self, pid: u32) -> Vec<Input> {
        self.looks.clear(&pid);
        self.awaited.remove(&pid).map_or_else(Vec::new, |awaited| awaited.inputs)
    }

    /// Returns when [`Processes::handle_timeout`] is to be called next.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.looks.next()
    }

    /// Looks for ends that nobody tells, and gives up those that were waited for long enough. Returns what the rules are
    /// to be told.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Vec<Input> {
        let mut inputs = Vec::new();
        while let Some(pid) = self.looks.pop_due(now) {
            let Some(awaited) = self.awaited.get(&pid) else { continue };
            let id = i32::try_from(pid).ok().and_then(Pid::from_raw);
            if id.is_none_or(|id| test_kill_process(id) == Err(Errno::SRCH)) {
                inputs.extend(self.handle_ended(pid));
            } else if awaited.until <= now {
                self.awaited.remove(&pid);
            } else {
                self.looks.set(pid, if awaited.end.is_some() { awaited.until } else { now + LOOK_EVERY });
            }
        }
        inputs
    }

    fn drop_unused(&mut self, pid: u32) {
        if self.awaited.get(&pid).is_some_and(|awaited| awaited.inputs.is_empty()) {
            self.awaited.remove(&pid);
        }
    }
}

#[cfg(target_os = "linux")]
mod end {
    use std::os::fd::OwnedFd;
    use std::task::{Context, Poll, Waker};

    use rustix::io::Errno;
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    use crate::watched::watch;

    /// Tells of a process's end.
    #[derive(Debug)]
    pub(super) struct End(AsyncFd<OwnedFd>);

    impl End {
        /// Begins to watch a process.
        ///
        /// # Errors
        /// There is no such process (`SRCH`), or it cannot be watched.
        pub(super) fn of(pid: Pid) -> Result<Self, Errno> {
            let fd = pidfd_open(pid, PidfdFlags::NONBLOCK)?;
            watch(fd, Interest::READABLE).map(Self).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
        }

        /// Wakes this waker once the process has ended.
        pub(super) fn poll(&self, waker: &Waker) -> Poll<()> {
            self.0.poll_read_ready(&mut Context::from_waker(waker)).map(|_only_a_runtime_that_shuts_down_fails| ())
        }
    }
}

/// The system's way to tell of the end of a process (kqueue) has no safe binding.
#[cfg(not(target_os = "linux"))]
mod end {
    use std::task::{Poll, Waker};

    use rustix::io::Errno;
    use rustix::process::Pid;

    #[derive(Debug)]
    pub(super) struct End(std::convert::Infallible);

    impl End {
        pub(super) fn of(_pid: Pid) -> Result<Self, Errno> {
            Err(Errno::NOTSUP)
        }

        pub(super) fn poll(&self, _waker: &Waker) -> Poll<()> {
            match self.0 {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;
    use crate::hub::ConnId;

    fn child() -> (Child, u32) {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id();
        (child, pid)
    }

    fn end(mut child: Child) {
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn input(n: u64) -> Input {
        Input::ProcessEnded { conn: ConnId(n) }
    }

    #[tokio::test]
    async fn process_end_is_told_to_all_who_wait_for_it() {
        let (list, mut processes, now) = (ReadyList::default(), Processes::new(), Instant::now());
        let (child, pid) = child();
        for n in [1, 2] {
            assert_eq!(processes.await_end(now, pid, None, input(n), &list), None);
        }
        let later = process::of(pid).unwrap().start + 1;
        assert_eq!(processes.await_end(now, pid, Some(later), input(3), &list), Some(input(3)), "a later process");
        end(child);
        if cfg!(target_os = "linux") {
            let mut ready = Vec::new();
            list.wait(&mut ready).await;
            assert_eq!(ready, [Source::Process(pid)]);
        }
        assert_eq!(processes.handle_ended(pid), [input(1), input(2)]);
        assert_eq!((processes.awaited.len(), processes.poll_timeout()), (0, None));
        assert_eq!(processes.await_end(now, pid, None, input(4), &list), Some(input(4)), "it has ended already");
    }

    #[tokio::test]
    async fn process_end_that_nobody_tells_is_looked_for() {
        let (mut processes, now) = (Processes::new(), Instant::now());
        let (child, pid) = child();
        let list = ReadyList::default();
        processes.await_end(now, pid, None, input(1), &list);
        processes.awaited.get_mut(&pid).unwrap().end = None;
        processes.looks.set(pid, now + LOOK_EVERY);
        let mut looks = (1..).map(|n| now + LOOK_EVERY * n);
        assert_eq!(processes.handle_timeout(looks.next().unwrap()), []);
        end(child);
        assert_eq!(processes.handle_timeout(looks.next().unwrap()), [input(1)]);
    }

    #[tokio::test]
    async fn process_that_goes_on_is_given_up() {
        let (list, mut processes, now) = (ReadyList::default(), Processes::new(), Instant::now());
        let own = std::process::id();
        assert_eq!(processes.await_end(now, own, None, input(1), &list), None);
        assert_eq!(processes.poll_timeout().map(|at| at >= now + LOOK_EVERY), Some(true));
        assert_eq!(processes.handle_timeout(now + GONE_WAIT), []);
        assert!(processes.awaited.is_empty() && processes.poll_timeout().is_none());
    }
}
