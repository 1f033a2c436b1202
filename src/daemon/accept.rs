//! The listener, and when somebody is accepted.

use std::io;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::net::UnixStream;

use crate::activation::Acceptor;
use crate::hub::ConnId;

/// How many more sockets than the limit of connections may be open: of those that are told that there is no room.
const SOCKETS_SPARE: usize = 32;

/// The shortest and the longest pause after a failed accept, without which a hub that is out of descriptors would spin.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// The listener, and whether somebody waits there.
#[derive(Debug)]
pub(super) struct Accepting {
    acceptor: Acceptor,
    waker: Waker,
    /// Whether a connection may wait in the backlog.
    is_pending: bool,
    /// How many sockets may be open before nobody is accepted.
    sockets_max: usize,
    next_conn: u64,
    /// The pause after the accept that failed last.
    pause: Duration,
    paused_until: Option<Instant>,
}

impl Accepting {
    /// Returns a listener on which `connections` may be served at a time. The waker is woken when somebody wants to connect.
    pub(super) const fn new(acceptor: Acceptor, waker: Waker, connections: usize) -> Self {
        let sockets_max = connections.saturating_add(SOCKETS_SPARE);
        // Whoever waits from before the start is looked for.
        Self { acceptor, waker, is_pending: true, sockets_max, next_conn: 0, pause: Duration::ZERO, paused_until: None }
    }

    /// Records that somebody wants to connect.
    pub(super) const fn handle_ready(&mut self) {
        self.is_pending = true;
    }

    /// Returns until when nobody is accepted after a failure.
    pub(super) const fn poll_timeout(&self) -> Option<Instant> {
        self.paused_until
    }

    /// Ends the pause, if it is time.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.paused_until = self.paused_until.filter(|until| now < *until);
    }

    /// Returns whether somebody may wait who can be accepted now, beside so many connections.
    pub(super) const fn accepts(&self, connections: usize) -> bool {
        self.is_pending && connections < self.sockets_max && self.paused_until.is_none()
    }

    /// Accepts the next connection; none where none waits. Then the waker is woken once one does.
    ///
    /// # Errors
    /// The system refuses: nobody is accepted for a while.
    pub(super) fn accept(&mut self, now: Instant) -> io::Result<Option<UnixStream>> {
        let accepted = match self.acceptor.poll_pending(&mut Context::from_waker(&self.waker)) {
            Poll::Ready(pending) => pending.and_then(|pending| pending.accept()?.map(UnixStream::from_std).transpose()),
            Poll::Pending => {
                self.is_pending = false;
                Ok(None)
            }
        };
        self.pause = if accepted.is_err() { (self.pause * 2).clamp(PAUSE.0, PAUSE.1) } else { Duration::ZERO };
        self.paused_until = accepted.is_err().then(|| now + self.pause);
        accepted
    }

    /// Returns the number of the next connection.
    pub(super) const fn next_conn(&mut self) -> ConnId {
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        conn
    }
}
