//! What goes in and out of the connections in a turn, and which of them are cut because too much waits.
//!
//! Nothing is queued that could as well wait where it comes from: nothing more is read of a connection that does not
//! read its answers, and the rules are told, so that they keep what they hold for it anyway. What is left is bounded here.

use std::time::Instant;

use super::connection::{self, Connection};
use super::inbox::Filled;
use super::{Daemon, Event, Mishap, kinship};
use crate::fault;
use crate::hub::limits::{FRAMES_TOTAL_MAX, QUEUED_TOTAL_MAX, STUCK_WAIT};
use crate::hub::{CloseReason, ConnId, Effect, Input};
use crate::protocol::ClientMessage;
use crate::protocol::codec::{FRAME_MAX_BYTES, FrameError, HELLO_MAX_BYTES};

/// From how many queued bytes on a connection is congested: for requests and held texts it waits where they are.
const CONGESTED: usize = 64 * 1024;

/// At how many queued bytes it takes more.
const DRAINED: usize = 16 * 1024;

/// How many bytes of a connection are read in a turn. Most frames fit, so that few are unfinished at a time.
const READ_PORTION: usize = 128 * 1024;

/// How many frames of a connection are handled in a turn.
const FRAMES_PORTION: usize = 64;

/// How many bytes are queued before they are written.
const QUEUED_PORTION: usize = 1024 * 1024;

impl Daemon {
    pub(super) fn handle_event(&mut self, event: Event) {
        match event {
            Event::Readable(conn) => {
                if let Some(connection) = self.connections.get_mut(&conn) {
                    connection.inbox.handle_readable();
                    self.readable.insert(conn);
                }
            }
            Event::Writable(conn) => {
                fault::pass("flush.resumed");
                if let Some(connection) = self.connections.get_mut(&conn) {
                    connection.outbox.handle_writable();
                    self.dirty.insert(conn);
                }
            }
            Event::Ended(input) => self.tell(input),
        }
    }

    /// Reads a portion of each connection that has something to say.
    pub(super) fn read_portions(&mut self) {
        for conn in std::mem::take(&mut self.readable) {
            self.read_portion(conn);
        }
    }

    fn read_portion(&mut self, conn: ConnId) {
        let (mut bytes, mut frames) = (0, 0);
        while self.listens_to(conn) {
            if self.has_effects || bytes >= READ_PORTION || frames >= FRAMES_PORTION {
                self.readable.insert(conn);
                return;
            }
            let limit = if self.hub.has_greeted(conn) { FRAME_MAX_BYTES } else { HELLO_MAX_BYTES };
            let Some(connection) = self.connections.get_mut(&conn) else { return };
            if let Some(next) = connection.inbox.next(limit) {
                frames += 1;
                fault::pass("read.frame");
                self.handle_frame(conn, next);
                fault::pass("read.handed");
                continue;
            }
            if connection.inbox.unfinished().is_some() {
                fault::pass("read.part");
            }
            match connection.inbox.fill() {
                Ok(Filled::Bytes(n)) => {
                    fault::pass("read.bytes");
                    bytes += n;
                }
                Ok(Filled::Nothing) => {
                    connection.inbox.wait(&self.events);
                    break;
                }
                Ok(Filled::End(unfinished)) => {
                    fault::pass("read.end");
                    if unfinished > 0 {
                        tracing::warn!(conn = conn.0, bytes = unfinished, "dropped half a frame: its client left");
                    }
                    connection.outbox.flush_last();
                    return self.lose(conn);
                }
                Err(error) => {
                    tracing::debug!(conn = conn.0, %error, "a connection cannot be read");
                    return self.lose(conn);
                }
            }
        }
        self.bound_unread();
    }

    /// Returns whether the next request of this connection is to be handled: not where it does not read its answers.
    fn listens_to(&mut self, conn: ConnId) -> bool {
        if self.connections.get(&conn).is_some_and(|connection| connection.outbox.queued() > CONGESTED) {
            self.flush(conn);
        }
        self.connections.get(&conn).is_some_and(|connection| !connection.congested)
    }

    fn handle_frame(&mut self, conn: ConnId, frame: Result<ClientMessage, FrameError>) {
        match frame {
            Ok(message) => {
                self.look_at_kinship(conn, &message);
                self.tell(Input::Received { conn, message });
            }
            Err(error) => {
                if let Some(passed_over) = self.mishaps.pass(Instant::now(), Mishap::NoMessage) {
                    // Not the error itself: it quotes what was sent.
                    tracing::warn!(conn = conn.0, what = error.kind(), passed_over, "a client sent what is no message");
                }
                self.tell(Input::Malformed { conn, error });
            }
        }
    }

    /// Asks the system of the client process that a hello names, before the rules hear of it.
    fn look_at_kinship(&mut self, conn: ConnId, message: &ClientMessage) {
        if let ClientMessage::Hello(hello) = message
            && let Some(named) = hello.kind.process()
            && let Some(connection) = self.connections.get(&conn)
        {
            let kinship = kinship::look(connection.credentials.process, named);
            self.tell(Input::Looked { conn, kinship });
        }
    }

    /// Ends the connection whose frame has been unfinished for the longest, where all of them together are too much.
    fn bound_unread(&mut self) {
        while self.totals.unread.get() > FRAMES_TOTAL_MAX {
            let unfinished = |(conn, connection): (&ConnId, &Connection)| Some((connection.inbox.unfinished()?, *conn));
            let Some(((_since, _), conn)) = self.connections.iter().filter_map(unfinished).min() else { return };
            let error = FrameError::Crowded { held: self.totals.unread.get(), limit: FRAMES_TOTAL_MAX };
            self.handle_frame(conn, Err(error));
        }
    }

    /// Hands something that happened to the rules, and does what they want done.
    pub(super) fn tell(&mut self, input: Input) {
        let kind = input.kind();
        fault::pass_kind("heard", kind);
        self.hub.handle(Instant::now(), input);
        fault::pass_kind("handled", kind);
        self.take_effects();
    }

    /// Lets the rules do what is due.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.hub.handle_timeout(now);
        self.take_effects();
    }

    /// Performs what the rules want done, until nothing is left to do. Nobody is heard meanwhile.
    pub(super) async fn perform(&mut self) {
        loop {
            self.take_effects();
            let dirty = std::mem::take(&mut self.dirty);
            if dirty.is_empty() && !self.has_effects {
                break;
            }
            dirty.into_iter().for_each(|conn| self.flush(conn));
            self.queued = 0;
            if self.has_effects {
                tokio::task::yield_now().await;
            }
        }
        self.readiness.status(Instant::now(), self.hub.headline());
    }

    /// Takes the rules' effects, as many as may be queued before something is written.
    fn take_effects(&mut self) {
        while self.queued < QUEUED_PORTION {
            match self.hub.poll_effect() {
                Some(Effect::Send { conn, message }) => {
                    if let Some(connection) = self.connections.get_mut(&conn) {
                        self.queued += connection.outbox.push(&message);
                        self.dirty.insert(conn);
                    }
                }
                Some(Effect::Close { conn, reason }) => self.close(conn, reason),
                Some(Effect::Watch { process }) => connection::watch_client(process, self.events.clone()),
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
    fn flush(&mut self, conn: ConnId) {
        let now = Instant::now();
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        if let Err(error) = connection.outbox.flush(now, &self.events) {
            tracing::debug!(conn = conn.0, %error, "a connection cannot be written to");
            fault::pass("flush.broken");
            return self.lose(conn);
        }
        let queued = connection.outbox.queued();
        if !connection.congested && queued > CONGESTED {
            connection.congested = true;
            self.slow.set(conn, now + STUCK_WAIT);
            self.tell(Input::Congested { conn });
        } else if connection.congested && queued <= DRAINED {
            connection.congested = false;
            self.slow.clear(&conn);
            if !connection.inbox.is_waiting() {
                self.readable.insert(conn);
            }
            self.tell(Input::Drained { conn });
        }
        if queued > self.queued_bytes.saturating_mul(2) {
            self.cut(conn, queued);
        }
        self.bound_queued();
    }

    /// Cuts the notable queues that have not moved for the longest, where all of them together are too much: many slow
    /// readers must not grow the hub either.
    fn bound_queued(&mut self) {
        while self.totals.queued.get() > QUEUED_TOTAL_MAX {
            let slow = |(conn, connection): (&ConnId, &Connection)| {
                let stuck = connection.outbox.stuck().filter(|_| connection.congested)?;
                Some((stuck, *conn, connection.outbox.queued()))
            };
            let Some((_, conn, queued)) = self.connections.iter().filter_map(slow).min() else { return };
            self.cut(conn, queued);
        }
    }

    /// Cuts the congested connections for which too much waits and that have taken nothing of it for a while.
    pub(super) fn handle_stuck(&mut self, now: Instant) {
        while let Some(conn) = self.slow.pop_due(now) {
            let Some(connection) = self.connections.get(&conn) else { continue };
            let since = connection.outbox.stuck().unwrap_or(now);
            let waiting = connection.outbox.queued().saturating_add(self.hub.waiting_bytes(conn));
            if now < since + STUCK_WAIT {
                self.slow.set(conn, since + STUCK_WAIT);
            } else if waiting > self.queued_bytes {
                self.cut(conn, waiting);
            } else {
                self.slow.set(conn, now + STUCK_WAIT);
            }
        }
    }

    fn cut(&mut self, conn: ConnId, waiting: usize) {
        let limit = self.queued_bytes;
        tracing::warn!(conn = conn.0, waiting, limit, "cut a connection: its reader is too slow");
        self.hub.count_slow_reader();
        fault::pass("flush.slow");
        self.lose(conn);
    }

    /// Closes a connection that the rules have ended.
    fn close(&mut self, conn: ConnId, reason: CloseReason) {
        let is_bad = !matches!(reason, CloseReason::Bye | CloseReason::Superseded);
        if let Some(mut connection) = self.forget(conn) {
            fault::pass("close.begun");
            // One try: a client that is being closed cannot make the hub wait for it.
            connection.outbox.flush_last();
            fault::pass("close.done");
            let mishap = is_bad.then(|| self.mishaps.pass(Instant::now(), Mishap::Closed(reason))).flatten();
            if let Some(passed_over) = mishap {
                let pid = connection.credentials.pid;
                tracing::warn!(conn = conn.0, pid, ?reason, passed_over, "closed a connection");
            }
        }
    }

    /// Forgets a connection that is over, tells the rules, and watches for the end of its process.
    fn lose(&mut self, conn: ConnId) {
        if let Some(connection) = self.forget(conn) {
            connection::watch_process(conn, connection.credentials, self.events.clone());
            self.tell(Input::Disconnected { conn });
        }
    }

    fn forget(&mut self, conn: ConnId) -> Option<Connection> {
        self.readable.remove(&conn);
        self.dirty.remove(&conn);
        self.slow.clear(&conn);
        self.connections.remove(&conn)
    }
}
