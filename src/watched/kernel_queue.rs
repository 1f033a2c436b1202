//! Files and processes that kqueue(2) watches, as descriptors that can be read when something was told.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::ptr::null_mut;
use std::time::Duration;

use rustix::event::kqueue::{Event, EventFilter, EventFlags, ProcessEvents, VnodeEvents, kevent, kqueue};
use rustix::fs::{Mode, OFlags, open};
use rustix::process::Pid;

/// Opens for events only, so that a disk can be ejected meanwhile: `O_EVTONLY` of macOS's `fcntl.h`.
const EVENTS_ONLY: OFlags = OFlags::from_bits_retain(0x8000);

/// Returns a new queue.
///
/// # Errors
/// The system has no more descriptors.
pub(super) fn new() -> io::Result<OwnedFd> {
    let queue = kqueue()?;
    rustix::io::fcntl_setfd(&queue, rustix::io::FdFlags::CLOEXEC)?;
    Ok(queue)
}

/// Watches a file or directory for as long as the returned descriptor is open.
///
/// # Errors
/// It is not there, or cannot be watched.
pub(super) fn watch_file(queue: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    let file = open(path, EVENTS_ONLY | OFlags::CLOEXEC, Mode::empty())?;
    let flags = VnodeEvents::WRITE | VnodeEvents::EXTEND | VnodeEvents::DELETE | VnodeEvents::RENAME;
    change(queue, EventFilter::Vnode { vnode: file.as_raw_fd(), flags })?;
    Ok(file)
}

/// Watches a process for its end.
///
/// # Errors
/// It has ended already (`ESRCH`), or cannot be watched.
pub(super) fn watch_process(queue: &OwnedFd, pid: Pid) -> io::Result<()> {
    change(queue, EventFilter::Proc { pid, flags: ProcessEvents::EXIT })
}

/// Takes all that was told.
pub(super) fn drain(queue: &OwnedFd) {
    let mut events = [const { MaybeUninit::<Event>::uninit() }; 16];
    // SAFETY: nothing is changed.
    #[expect(unsafe_code, reason = "rustix cannot know how long the watched descriptors live")]
    while unsafe { kevent(queue, &[], &mut events, Some(Duration::ZERO)) }.is_ok_and(|(told, _)| !told.is_empty()) {}
}

fn change(queue: &OwnedFd, filter: EventFilter) -> io::Result<()> {
    let event = Event::new(filter, EventFlags::ADD | EventFlags::CLEAR, null_mut());
    let none: &mut [MaybeUninit<Event>] = &mut [];
    // SAFETY: a watched file's descriptor is open now, and the kernel forgets the file when it is closed.
    #[expect(unsafe_code, reason = "rustix cannot know how long the watched descriptors live")]
    unsafe { kevent(queue, &[event], none, None) }?;
    Ok(())
}
