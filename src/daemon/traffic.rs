//! What goes in and out of the connections in a turn.
//!
//! Nothing is queued that could as well wait where it comes from: nothing more is read of a connection that does not
//! read its answers, and the rules are told, so that they keep what they hold for it anyway. What is left is bounded.

use super::connection::{Bytes, Connection, Filled};
use super::slow_readers::CONGESTED;
use super::{Daemon, Logged};
use crate::fault;
use crate::hub::limits::FRAMES_TOTAL_MAX;
use crate::hub::{CloseReason, ConnId, Effect, Input};
use crate::process;
use crate::protocol::ClientMessage;
use crate::protocol::codec::{FRAME_MAX_BYTES, FrameError, HELLO_MAX_BYTES};

/// How many frames of a connection are handled in a turn.
const FRAMES_PORTION: usize = 64;

/// How many bytes are queued before they are written.
const QUEUED_PORTION: usize = 1024 * 1024;

impl Daemon<'_> {
    /// Has a connection read in this turn, or in the next if its own was.
    pub(super) fn will_read(&mut self, conn: ConnId) {
        if let Some(connection) = self.connections.get_mut(&conn)
            && !std::mem::replace(&mut connection.is_to_read, true)
        {
            self.to_read.push_back(conn);
        }
    }

    /// Has a connection written to at the end of this turn.
    pub(super) fn will_write(&mut self, conn: ConnId) {
        if let Some(connection) = self.connections.get_mut(&conn)
            && !std::mem::replace(&mut connection.is_to_write, true)
        {
            self.to_write.push(conn);
        }
    }

    /// Reads a portion of each connection that may have something to say, as long as the rules take more.
    pub(super) fn read_portions(&mut self) {
        self.bound_unread();
        for _ in 0..self.to_read.len() {
            if self.has_effects {
                return;
            }
            let Some(conn) = self.to_read.pop_front() else { return };
            if let Some(connection) = self.connections.get_mut(&conn) {
                connection.is_to_read = false;
                self.read_portion(conn);
                self.count(conn);
                self.bound_unread();
            }
        }
    }

    /// Handles a portion of a connection's frames, for which it is read once at most.
    fn read_portion(&mut self, conn: ConnId) {
        let (mut frames, mut was_read) = (0, false);
        while self.listens_to(conn) {
            if self.has_effects || frames >= FRAMES_PORTION {
                return self.will_read(conn);
            }
            let Some(connection) = self.connections.get_mut(&conn) else { return };
            // Both limits treat alike what is shorter than the shorter one: whose the connection is need not be looked up.
            let may_be_long = connection.bytes().unread >= HELLO_MAX_BYTES;
            let limit = if may_be_long && self.hub.has_greeted(conn) { FRAME_MAX_BYTES } else { HELLO_MAX_BYTES };
            if let Some(next) = connection.next_message(self.now, limit) {
                frames += 1;
                self.handle_frame(conn, next);
                continue;
            }
            if was_read {
                if connection.poll_readable().is_ready() {
                    self.will_read(conn);
                }
                return;
            }
            was_read = true;
            match connection.fill(&mut self.read_room) {
                // With nothing to read the next round waits for the socket.
                Ok(Filled::Some | Filled::Nothing) => {}
                Ok(Filled::End(unfinished)) => {
                    if unfinished > 0 {
                        tracing::warn!(conn = conn.0, bytes = unfinished, "dropped half a frame: its client left");
                    }
                    connection.flush_last();
                    return self.lose(conn);
                }
                Err(error) => {
                    tracing::debug!(conn = conn.0, %error, "a connection cannot be read");
                    return self.lose(conn);
                }
            }
        }
    }

    /// Returns whether the next request of this connection is to be handled: not where it does not read its answers.
    fn listens_to(&mut self, conn: ConnId) -> bool {
        if self.connections.get(&conn).is_some_and(|connection| connection.queued() > CONGESTED) {
            self.flush(conn);
        }
        self.connections.get(&conn).is_some_and(|connection| !connection.is_congested)
    }

    fn handle_frame(&mut self, conn: ConnId, frame: Result<ClientMessage, FrameError>) {
        match frame {
            Ok(message) => self.handle(Input::Received { conn, message }),
            Err(error) => {
                if let Some(suppressed) = self.log_throttle.pass(self.now, Logged::NoMessage) {
                    // Not the error itself: it quotes what was sent.
                    tracing::warn!(conn = conn.0, what = error.kind(), suppressed, "a client sent what is no message");
                }
                self.handle(Input::Malformed { conn, error });
            }
        }
    }

    /// Ends the connection whose frame has been unfinished for the longest, where all of them together are too much; as long
    /// as the rules' effects are performed at once, since only then the connection is gone.
    fn bound_unread(&mut self) {
        while self.totals.unread > FRAMES_TOTAL_MAX && !self.has_effects {
            let unfinished =
                self.connections.iter().filter_map(|(conn, connection)| Some((connection.unfinished()?, *conn)));
            let Some((_since, conn)) = unfinished.min() else { return };
            let error = FrameError::Crowded { bytes: self.totals.unread, limit: FRAMES_TOTAL_MAX };
            self.handle_frame(conn, Err(error));
        }
    }

    /// Hands something that happened to the rules, and does what they want done.
    pub(super) fn handle(&mut self, input: Input) {
        fault::pass_kind("input", input.kind());
        self.hub.handle(self.now, input);
        self.take_effects();
    }

    /// Performs what the rules want done, as far as it may be queued at once, and writes.
    pub(super) fn perform(&mut self) {
        self.take_effects();
        while !self.to_write.is_empty() {
            for conn in std::mem::take(&mut self.to_write) {
                self.flush(conn);
            }
        }
        self.queued = 0;
        self.notifier.status(self.now, self.hub.status_line());
        self.history.bound();
    }

    /// Takes the rules' effects, as many as may be queued before something is written.
    pub(super) fn take_effects(&mut self) {
        while self.queued < QUEUED_PORTION {
            match self.hub.poll_effect() {
                Some(Effect::Send { conn, message }) => {
                    if let Some(connection) = self.connections.get_mut(&conn) {
                        self.queued += connection.push(&message);
                        self.will_write(conn);
                    }
                }
                Some(Effect::Close { conn, reason }) => self.close(conn, reason),
                Some(Effect::AwaitAgent { conn, session }) => {
                    self.await_end(session.pid, Some(session.start), Input::ProcessEnded { conn });
                }
                Some(Effect::Record(record)) => self.history.push(self.now, record),
                Some(Effect::Exit) => self.exiting = true,
                None => {
                    self.has_effects = false;
                    return;
                }
            }
        }
        self.has_effects = true;
    }

    /// Writes to a connection, and judges what it does not take.
    pub(super) fn flush(&mut self, conn: ConnId) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        connection.is_to_write = false;
        if let Err(error) = connection.flush(self.now) {
            tracing::debug!(conn = conn.0, %error, "a connection cannot be written to");
            return self.lose(conn);
        }
        self.count(conn);
        self.judge_reader(conn);
    }

    /// Closes a connection that the rules have ended.
    fn close(&mut self, conn: ConnId, reason: CloseReason) {
        let is_bad = !matches!(reason, CloseReason::Bye | CloseReason::Superseded);
        if let Some(mut connection) = self.forget(conn) {
            fault::pass_kind("effect", "close");
            // One try: a client that is being closed cannot make the hub wait for it.
            connection.flush_last();
            let logged = is_bad.then(|| self.log_throttle.pass(self.now, Logged::Closed(reason))).flatten();
            if let Some(suppressed) = logged {
                tracing::warn!(conn = conn.0, pid = connection.pid, ?reason, suppressed, "closed a connection");
            }
        }
    }

    /// Forgets a connection that is over, tells the rules, and awaits the end of its process.
    pub(super) fn lose(&mut self, conn: ConnId) {
        let agent = self.hub.agent(conn).map(|session| (session.pid, session.start));
        if let Some(connection) = self.forget(conn) {
            self.handle(Input::Disconnected { conn });
            // An agent may start its session's channel anew. One that is not seen, as in a container, is not waited for.
            let seen = agent.filter(|(pid, start)| process::of(*pid).is_some_and(|found| found.start == *start));
            let awaited = seen.map(|(pid, start)| (pid, Some(start)));
            if let Some((pid, start)) = awaited.or_else(|| Some((connection.pid?, None))) {
                self.await_end(pid, start, Input::ProcessEnded { conn });
            }
        }
    }

    fn await_end(&mut self, pid: u32, start: Option<u64>, input: Input) {
        if let Some(ended) = self.processes.await_end(self.now, pid, start, input, &self.ready) {
            self.handle(ended);
        }
    }

    fn forget(&mut self, conn: ConnId) -> Option<Box<Connection>> {
        self.congested.clear(&conn);
        let connection = self.connections.remove(&conn)?;
        self.totals.replace(connection.counted, Bytes::default());
        Some(connection)
    }

    /// Counts what a connection holds into the numbers of all of them.
    fn count(&mut self, conn: ConnId) {
        if let Some(connection) = self.connections.get_mut(&conn) {
            let bytes = connection.bytes();
            self.totals.replace(connection.counted, bytes);
            connection.counted = bytes;
        }
    }
}
