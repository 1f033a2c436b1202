//! Who is let in, and when.

use std::io;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::net::UnixStream;

use super::connection::{Connection, admit};
use super::program::ProgramFile;
use super::ready::Source;
use super::{Daemon, LEAVE_WAIT, Logged};
use crate::activation::Acceptor;
use crate::fault;
use crate::hub::{ConnId, Input};
use crate::watched::Stream;

/// How many connections are accepted in a turn.
const ACCEPT_PORTION: usize = 64;

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

    /// Accepts the next connection; none where none waits. Then the waker is woken once one does.
    pub(super) fn accept(&mut self) -> io::Result<Option<UnixStream>> {
        match self.acceptor.poll_pending(&mut Context::from_waker(&self.waker)) {
            Poll::Ready(pending) => pending?.accept()?.map(UnixStream::from_std).transpose(),
            Poll::Pending => {
                self.is_pending = false;
                Ok(None)
            }
        }
    }

    fn pause(&mut self, now: Instant) {
        self.pause = (self.pause * 2).clamp(PAUSE.0, PAUSE.1);
        self.paused_until = Some(now + self.pause);
    }
}

impl Daemon<'_> {
    /// Returns whether somebody may wait who can be accepted now; who cannot stays in the backlog. A hub that leaves accepts
    /// nobody: it would not serve them.
    pub(super) fn accepts(&self) -> bool {
        self.accepting.is_pending
            && !self.exiting
            && self.leaving.is_none()
            && self.connections.len() < self.accepting.sockets_max
            && self.accepting.paused_until.is_none()
    }

    /// Accepts a portion of those who wait.
    pub(super) fn accept_pending(&mut self) {
        for _ in 0..ACCEPT_PORTION {
            if !self.accepts() || self.makes_room() {
                return;
            }
            match self.accepting.accept() {
                Ok(accepted) => {
                    self.accepting.pause = Duration::ZERO;
                    if let Some(stream) = accepted {
                        self.handle_accepted(stream);
                    }
                }
                Err(error) => {
                    self.accepting.pause(self.now);
                    tracing::error!(%error, "could not accept a connection");
                }
            }
        }
    }

    /// Returns whether the hub leaves those who wait to the next one, since its program was replaced.
    fn makes_room(&mut self) -> bool {
        let replaced = self.file.as_ref().is_some_and(ProgramFile::is_replaced);
        if replaced != self.program_status.replaced {
            self.program_status.replaced = replaced;
            self.hub.set_program_status(self.program_status);
        }
        let makes_room = replaced && self.program_status.activated && !self.hub.is_between_channels();
        if makes_room {
            tracing::info!("the program was replaced: making room for the new one");
            self.leaving = Some(self.now + LEAVE_WAIT);
        }
        makes_room
    }

    fn handle_accepted(&mut self, stream: UnixStream) {
        let admitted = admit(&stream).and_then(|pid| Ok((pid, Stream::new(stream.into_std()?)?)));
        let (pid, stream) = match admitted {
            Ok(admitted) => admitted,
            Err(error) => {
                if let Some(suppressed) = self.log_throttle.pass(self.now, Logged::TurnedAway) {
                    tracing::warn!(%error, suppressed, "turned a connection away");
                }
                return;
            }
        };
        let conn = ConnId(self.accepting.next_conn);
        self.accepting.next_conn += 1;
        tracing::debug!(conn = conn.0, pid, "accepted a connection");
        let waker = self.ready.waker(Source::Connection(conn));
        self.connections.insert(conn, Box::new(Connection::new(stream, pid, waker)));
        self.will_read(conn);
        self.handle(Input::Connected { conn });
        fault::pass("accept");
    }
}
