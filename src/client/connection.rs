//! The shell around a [`Ledger`]: one connection to the hub, made again whenever it is lost, without a task of its own.

use std::io;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::backoff::Backoff;
use super::config::ClientConfig;
use super::ledger::Ledger;
use crate::alarm::Alarm;
use crate::fault;
use crate::protocol::codec::{FrameBuffer, HUB_FRAME_MAX_BYTES, decode, encode};
use crate::watched::Stream;

/// How long messages that can wait do so for the next one.
const LAZY_WAIT: Duration = Duration::from_millis(10);

/// How long a leaving client waits until everything is written.
const LEAVE_WAIT: Duration = Duration::from_millis(100);

/// The most bytes of an empty write buffer that are kept.
const KEPT_BYTES: usize = 16 * 1024;

/// A ledger with its socket, its time and its buffers. Whoever owns it drives it by [`Connection::turn`].
#[derive(Debug)]
pub struct Connection {
    ledger: Ledger,
    stream: Option<Stream>,
    input: FrameBuffer,
    output: Vec<u8>,
    backoff: Backoff,
    /// When to connect next; none while there is a connection, and once none is wanted.
    connects_at: Option<Instant>,
    /// Since when the hub has welcomed this client on the present connection.
    welcomed: Option<Instant>,
    /// Until when messages that can wait do so.
    writes_at: Option<Instant>,
    alarm: Alarm,
}

impl Connection {
    /// Returns a client that is not connected yet: the first turn connects it.
    pub fn new(config: ClientConfig) -> Self {
        Self {
            ledger: Ledger::new(config),
            stream: None,
            input: FrameBuffer::default(),
            output: Vec::new(),
            backoff: Backoff::default(),
            connects_at: Some(Instant::now()),
            welcomed: None,
            writes_at: None,
            alarm: Alarm::default(),
        }
    }

    /// Returns the rules: what the program wants goes there, and what it is told comes from there.
    pub const fn ledger(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    /// Writes what is to be sent, then waits until there is something to be done and does it: reads what has come, connects,
    /// lets what is due happen. Returns when the ledger may have something to tell.
    ///
    /// May be dropped at any time without loss.
    pub async fn turn(&mut self) {
        self.flush();
        if self.ledger.has_output() {
            return;
        }
        let times = [self.ledger.poll_timeout(), self.connects_at, self.writes_at];
        let at = times.into_iter().flatten().min();
        let mut is_readable = false;
        match &self.stream {
            Some(stream) => tokio::select! {
                biased;
                () = stream.readable() => is_readable = true,
                () = stream.writable(), if !self.output.is_empty() => {}
                () = self.alarm.wait(at) => {}
            },
            None => self.alarm.wait(at).await,
        }
        let now = Instant::now();
        if is_readable && let Err(error) = self.read(now) {
            self.handle_lost(now, &error);
        }
        self.ledger.handle_timeout(now);
        if self.connects_at.is_some_and(|at| at <= now) {
            self.connect(now);
        }
    }

    /// Writes what is to be sent, as far as the socket takes it; what can wait is written with the next message.
    pub fn flush(&mut self) {
        if self.ledger.can_wait() {
            let now = Instant::now();
            if now < *self.writes_at.get_or_insert(now + LAZY_WAIT) {
                return;
            }
        }
        self.writes_at = None;
        while let Some(message) = self.ledger.poll_message() {
            encode(&message, &mut self.output);
        }
        let Some(stream) = self.stream.as_ref().filter(|_| !self.output.is_empty()) else { return };
        match stream.write_from(&mut self.output) {
            Ok(()) => fault::pass("link.written"),
            Err(error) => {
                // The hub may have said why it closes.
                let _said_before = self.read(Instant::now());
                self.handle_lost(Instant::now(), &error);
            }
        }
        if self.output.is_empty() && self.output.capacity() > KEPT_BYTES {
            self.output = Vec::new();
        }
    }

    /// Leaves in order and for good: parks what is open for the next channel with this part of the program's own, or ends it
    /// where there is none. Returns when everything is written, and where something is parked when the hub has read it, so
    /// that the next channel's hello cannot overtake it; after a tenth of a second at the latest.
    pub async fn leave(&mut self, program_part: Option<Value>) {
        let parks = program_part.is_some();
        self.ledger.handle_leave(Instant::now(), program_part);
        self.flush();
        if let Some(stream) = self.stream.take() {
            let write = async {
                while stream.write_from(&mut self.output).is_ok() && !self.output.is_empty() {
                    stream.writable().await;
                }
                // The hub closes when it has read the bye.
                while parks && stream.read_to(|_too_late| {}).is_ok_and(|is_over| !is_over) {
                    stream.readable().await;
                }
            };
            // Elapsed or not, the program leaves: a hub that reads too slowly sees the connection end.
            let _elapsed = tokio::time::timeout(LEAVE_WAIT, write).await;
        }
        self.connects_at = None;
    }

    /// Takes what is there. The end of the stream is an error as well.
    fn read(&mut self, now: Instant) -> io::Result<()> {
        let Some(stream) = &self.stream else { return Ok(()) };
        // What came before a failure counts: a hub's last word is often followed by the end of the connection.
        let is_over = stream.read_to(|bytes| self.input.push(bytes)).unwrap_or_else(|error| {
            tracing::debug!(%error, "the hub cannot be read");
            true
        });
        fault::pass("link.read");
        while let Some(frame) = self.input.next_frame(HUB_FRAME_MAX_BYTES) {
            match frame.and_then(decode) {
                Ok(message) => self.ledger.handle_message(now, message),
                Err(error) if error.is_fatal() => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
                // A message of a newer hub that this client does not know: the rest goes on.
                Err(error) => tracing::warn!(%error, "passed over a message of the hub"),
            }
        }
        if self.welcomed.is_none() && self.ledger.is_up() {
            self.welcomed = Some(now);
        }
        if is_over { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    fn connect(&mut self, now: Instant) {
        match Stream::connect(self.ledger.socket()) {
            Ok(stream) => {
                fault::pass("link.connected");
                self.stream = Some(stream);
                self.connects_at = None;
                self.ledger.handle_listener(now, false);
                self.ledger.handle_connected();
            }
            Err(error) => {
                tracing::debug!(%error, "could not connect to the hub");
                let missing = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused);
                self.ledger.handle_listener(now, missing);
                self.plan_connect(now);
            }
        }
    }

    fn handle_lost(&mut self, now: Instant, error: &io::Error) {
        tracing::debug!(%error, "the connection to the hub was lost");
        self.stream = None;
        self.input = FrameBuffer::default();
        self.output.clear();
        self.backoff.handle_lost(now, self.welcomed.take());
        self.ledger.handle_disconnected(now);
        self.plan_connect(now);
    }

    fn plan_connect(&mut self, now: Instant) {
        let pause = self.backoff.next_pause(getrandom::u32().unwrap_or(0));
        self.connects_at = (!self.ledger.is_superseded()).then(|| now + pause);
    }
}

#[cfg(test)]
mod tests;
