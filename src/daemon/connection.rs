//! One accepted connection: whose it is, its two directions, and the end of the process behind it.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::Event;
use super::inbox::Inbox;
use super::outbox::Outbox;
use super::stream::{Count, Stream};
use crate::hub::{ConnId, GONE_WAIT, Input};
use crate::process;
use crate::protocol::ClientProcess;
use crate::watched;

/// How often is looked whether the process behind a lost connection still runs.
const PROCESS_LOOK: Duration = Duration::from_millis(20);

/// What all connections hold together.
#[derive(Debug, Clone, Default)]
pub(super) struct Totals {
    /// Open sockets; those of connections that were closed a moment ago are among them.
    pub(super) sockets: Count,
    /// Bytes of frames that have not ended.
    pub(super) unread: Count,
    /// Bytes that wait to be written.
    pub(super) queued: Count,
}

/// A connection as the owner sees it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) inbox: Inbox,
    pub(super) outbox: Outbox,
    pub(super) credentials: Credentials,
    /// Whether so much waits to be written to it that nothing more is read from it.
    pub(super) congested: bool,
}

impl Connection {
    /// Returns a connection that was accepted, counted into these numbers.
    pub(super) fn new(conn: ConnId, socket: watched::Stream, credentials: Credentials, totals: &Totals) -> Self {
        let stream = Stream::new(socket, &totals.sockets);
        Self {
            inbox: Inbox::new(conn, Rc::clone(&stream), totals.unread.clone()),
            outbox: Outbox::new(conn, stream, totals.queued.clone()),
            credentials,
            congested: false,
        }
    }
}

/// What the kernel says of the process at the other end, as it was when it connected.
#[derive(Debug, Clone, Copy)]
pub(super) struct Credentials {
    /// Its process id, where the system tells.
    pub(super) pid: Option<i32>,
    /// That process, which a later one with its id is not; none where the system does not tell.
    pub(super) process: Option<ClientProcess>,
}

impl Credentials {
    /// Asks the kernel, before a byte is read.
    ///
    /// # Errors
    /// The process belongs to another user (root included), or the kernel does not tell.
    pub(super) fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        let own = rustix::process::geteuid().as_raw();
        if credentials.uid() == own {
            let pid = credentials.pid();
            let process = pid.and_then(|pid| u32::try_from(pid).ok()).and_then(process::of);
            Ok(Self { pid, process })
        } else {
            let message = format!("it belongs to uid {} and this hub serves uid {own} only", credentials.uid());
            Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
        }
    }
}

/// Tells the owner when the process behind a lost connection has ended, if it does while its client is waited for.
///
/// A pid that is used again in that time only makes the wait as long as it may be.
pub(super) fn watch_process(conn: ConnId, credentials: Credentials, events: mpsc::Sender<Event>) {
    let Some(pid) = credentials.pid.and_then(Pid::from_raw) else { return };
    tell_of_end(pid, Input::ProcessEnded { conn }, events);
}

/// Tells the owner when a session's client has ended, if it does while a successor of its channel is waited for.
pub(super) fn watch_client(process: ClientProcess, events: mpsc::Sender<Event>) {
    let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) else { return };
    tell_of_end(pid, Input::ClientEnded { process }, events);
}

fn tell_of_end(pid: Pid, input: Input, events: mpsc::Sender<Event>) {
    tokio::task::spawn_local(async move {
        let ended = async {
            while test_kill_process(pid) != Err(Errno::SRCH) {
                tokio::time::sleep(PROCESS_LOOK).await;
            }
        };
        if tokio::time::timeout(GONE_WAIT, ended).await.is_ok() {
            let _owner_left = events.send(Event::Ended(input)).await;
        }
    });
}
