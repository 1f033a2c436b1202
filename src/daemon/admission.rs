//! Who is accepted, and when a hub leaves those who wait to the next one.

use tokio::net::UnixStream;

use super::connection::{Connection, admit};
use super::program::ProgramFile;
use super::source::Source;
use super::{Daemon, LEAVE_WAIT, Logged};
use crate::fault;
use crate::hub::Input;
use crate::watched::Stream;

/// How many connections are accepted in a turn.
const ACCEPT_PORTION: usize = 64;

impl Daemon<'_> {
    /// Returns whether somebody may wait who can be accepted now; who cannot stays in the backlog. A hub that leaves accepts
    /// nobody: it would not serve them.
    pub(super) fn accepts(&self) -> bool {
        !self.exiting && self.leaving.is_none() && self.accepting.accepts(self.connections.len())
    }

    /// Accepts a portion of those who wait.
    pub(super) fn accept_pending(&mut self) {
        for _ in 0..ACCEPT_PORTION {
            if !self.accepts() || self.makes_room() {
                return;
            }
            match self.accepting.accept(self.now) {
                Ok(Some(stream)) => self.handle_accepted(stream),
                Ok(None) => {}
                Err(error) => tracing::error!(%error, "could not accept a connection"),
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
        let conn = self.accepting.next_conn();
        tracing::debug!(conn = conn.0, pid, "accepted a connection");
        let waker = self.ready.waker(Source::Connection(conn));
        self.connections.insert(conn, Box::new(Connection::new(stream, pid, waker)));
        self.will_read(conn);
        self.handle(Input::Connected { conn });
        fault::pass("accept");
    }
}
