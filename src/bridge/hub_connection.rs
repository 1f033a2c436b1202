//! One connection to the hub, made again whenever it is lost. It says hello and carries; the rules are its owner's.

use std::path::{Path, PathBuf};
use std::task::Waker;
use std::time::{Duration, Instant};

use super::lines::Lines;
use crate::client::Backoff;
use crate::protocol::codec::{HUB_FRAME_MAX_BYTES, decode};
use crate::protocol::{Answer, ClientMessage, Hello, HubMessage, Notice, Request, RequestId, Welcome};
use crate::watched::Stream;

/// The id of the hello on each connection.
const HELLO_ID: RequestId = 1;

/// How long the hub may take to answer a hello.
const WELCOME_WAIT: Duration = Duration::from_secs(5);

/// What has come.
#[derive(Debug)]
pub(super) enum FromHub {
    /// The hub has welcomed the client, on a new connection.
    Welcome(Box<Welcome>),
    /// It says something.
    Message(HubMessage),
    /// The connection is lost.
    Lost,
}

/// One client of the hub.
#[derive(Debug)]
pub(super) struct HubConnection {
    socket: PathBuf,
    hello: Hello,
    waker: Waker,
    lines: Option<Lines>,
    backoff: Backoff,
    welcomed: Option<Instant>,
    /// When to connect next, or until when to be welcomed.
    due: Option<Instant>,
}

impl HubConnection {
    /// Returns a client that connects when it is next driven.
    pub(super) fn new(now: Instant, socket: &Path, hello: Hello, waker: Waker) -> Self {
        let (socket, backoff) = (socket.to_owned(), Backoff::default());
        Self { socket, hello, waker, lines: None, backoff, welcomed: None, due: Some(now) }
    }

    /// Sets what the next connection begins with.
    pub(super) fn set_hello(&mut self, hello: Hello) {
        self.hello = hello;
    }

    /// Returns whether the hub has welcomed it.
    pub(super) const fn is_welcome(&self) -> bool {
        self.welcomed.is_some()
    }

    /// Connects if it is time, and takes what is there.
    pub(super) fn turn(&mut self, now: Instant, out: &mut Vec<FromHub>) {
        if self.due.is_some_and(|at| at <= now) {
            match self.lines {
                Some(_) => self.lose(now, out),
                None => self.connect(now),
            }
        }
        let Some(lines) = &mut self.lines else { return };
        let mut is_over = lines.read();
        while let Some(frame) = lines.next(HUB_FRAME_MAX_BYTES) {
            match frame.and_then(decode::<HubMessage>) {
                Ok(HubMessage::Answer(HELLO_ID, Answer::Welcome(welcome))) => {
                    (self.welcomed, self.due) = (Some(now), None);
                    out.push(FromHub::Welcome(welcome));
                }
                Ok(HubMessage::Answer(HELLO_ID, answer)) => {
                    tracing::warn!(?answer, "the hub does not take a client of the bridge");
                    is_over = true;
                }
                Ok(message) => out.push(FromHub::Message(message)),
                Err(error) if error.is_fatal() => is_over = true,
                Err(error) => tracing::warn!(%error, "passed over a message of the hub"),
            }
        }
        if is_over {
            self.lose(now, out);
        } else if !lines.is_written() {
            self.write(now);
        }
    }

    fn connect(&mut self, now: Instant) {
        match Stream::connect(&self.socket) {
            Ok(stream) => {
                let mut lines = Lines::of_socket(stream, self.waker.clone());
                lines.push(&ClientMessage::Request(HELLO_ID, Request::Hello(Box::new(self.hello.clone()))));
                self.due = Some(now + WELCOME_WAIT);
                self.lines = Some(lines);
                self.write(now);
            }
            Err(error) => {
                tracing::debug!(%error, "could not connect to the hub");
                self.plan(now);
            }
        }
    }

    fn plan(&mut self, now: Instant) {
        self.due = Some(now + self.backoff.next_pause(getrandom::u32().unwrap_or(0)));
    }

    fn lose(&mut self, now: Instant, out: &mut Vec<FromHub>) {
        self.lines = None;
        let welcomed = self.welcomed.take();
        self.backoff.handle_lost(now, welcomed);
        self.plan(now);
        out.push(FromHub::Lost);
    }

    /// Says something, if it is connected: what is not said is said again after the next welcome.
    pub(super) fn tell(&mut self, message: &ClientMessage) {
        if let Some(lines) = &mut self.lines {
            lines.push(message);
        }
    }

    /// Writes what is to be said, as far as the hub takes it. A broken connection is noticed when it is read.
    pub(super) fn write(&mut self, now: Instant) {
        if let Some(lines) = &mut self.lines
            && let Err(error) = lines.write()
        {
            tracing::debug!(%error, "the connection to the hub is broken");
            self.due = Some(now);
            self.waker.wake_by_ref();
        }
    }

    /// Leaves in order.
    pub(super) fn leave(mut self, now: Instant) {
        self.tell(&ClientMessage::Notice(Notice::Bye));
        self.write(now);
    }

    /// Returns when it is to be driven next, whatever comes.
    pub(super) const fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }
}
