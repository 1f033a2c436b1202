//! The connection to Codex's daemon: a WebSocket on its Unix socket, and the rules of [`Thread`] around it.

use std::fmt;
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::path::PathBuf;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use serde_json::Value;
use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::MidHandshake;
use tungstenite::handshake::client::ClientHandshake;
use tungstenite::{HandshakeError, Message, WebSocket};

use super::thread::Thread;
use crate::agent::route::{Delivery, Route, RouteEvent};
use crate::protocol::Wake;
use crate::watched::Stream;

/// The address in the handshake; the daemon looks at none of it.
const ADDRESS: &str = "ws://localhost/";

/// The pauses between attempts to connect. The daemon's end is ours, so a lost connection is a hiccup.
const FIRST_RETRY: Duration = Duration::from_millis(200);
const RETRIES: u32 = 8;

/// How long until a socket that took not all is tried again.
const FULL_PAUSE: Duration = Duration::from_millis(10);

/// The most bytes that are read at once.
const READ_BYTES: usize = 16 * 1024;

/// A stream, as the WebSocket reads and writes it.
#[derive(Debug)]
struct Socket(Rc<Stream>);

impl Read for Socket {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut room = [MaybeUninit::uninit(); READ_BYTES];
        let size = bytes.len().min(READ_BYTES);
        let read = self.0.try_read(&mut room[..size])?;
        bytes[..read.len()].copy_from_slice(read);
        Ok(read.len())
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Link {
    Down,
    Greeting(Box<MidHandshake<ClientHandshake<Socket>>>),
    Up(Box<WebSocket<Socket>>),
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Down => "down",
            Self::Greeting(_) => "greeting",
            Self::Up(_) => "up",
        })
    }
}

/// The connection, made again when it is lost.
#[derive(Debug)]
pub(super) struct AppServer {
    socket: PathBuf,
    stream: Option<Rc<Stream>>,
    link: Link,
    thread: Thread,
    retry: Option<Instant>,
    retries: u32,
    full: Option<Instant>,
    is_late: bool,
    has_given_up: bool,
}

impl AppServer {
    /// Returns a connection that is still to be made; none where the system has no random number. `folder`: the thread's.
    pub(super) fn new(socket: PathBuf, folder: PathBuf) -> Option<Self> {
        let nonce = format!("{:016x}", getrandom::u64().ok()?);
        Some(Self {
            socket,
            stream: None,
            link: Link::Down,
            thread: Thread::new(nonce, folder),
            retry: None,
            retries: 0,
            full: None,
            is_late: false,
            has_given_up: false,
        })
    }

    pub(super) fn nonce(&self) -> &str {
        self.thread.nonce()
    }

    /// Records which thread this is.
    pub(super) fn handle_identified(&mut self, id: &str) {
        self.thread.handle_identified(id);
    }

    /// Returns whether the search for the thread takes longer than its session should wait to be listed.
    pub(super) const fn is_late(&self) -> bool {
        self.is_late
    }

    /// Returns whether nothing is to be hoped for from this connection.
    pub(super) const fn has_given_up(&self) -> bool {
        self.has_given_up
    }

    fn connect(&mut self) -> io::Result<()> {
        let stream = Rc::new(Stream::connect(&self.socket)?);
        let request = ADDRESS.into_client_request().map_err(io::Error::other)?;
        let greeting = ClientHandshake::start(Socket(Rc::clone(&stream)), request, None).map_err(io::Error::other)?;
        self.stream = Some(stream);
        self.link = Link::Greeting(Box::new(greeting));
        Ok(())
    }

    /// Reads all that is there.
    fn read(&mut self, now: Instant) -> Result<(), Box<tungstenite::Error>> {
        if let Link::Greeting(_) = self.link {
            let Link::Greeting(greeting) = std::mem::replace(&mut self.link, Link::Down) else { return Ok(()) };
            match greeting.handshake() {
                Ok((socket, _response)) => {
                    self.link = Link::Up(Box::new(socket));
                    self.retries = 0;
                    self.thread.handle_connected();
                }
                Err(HandshakeError::Interrupted(greeting)) => self.link = Link::Greeting(Box::new(greeting)),
                Err(HandshakeError::Failure(error)) => return Err(Box::new(error)),
            }
        }
        let Link::Up(socket) = &mut self.link else { return Ok(()) };
        loop {
            match socket.read() {
                Ok(Message::Text(text)) => match serde_json::from_str::<Value>(&text) {
                    Ok(message) => self.thread.handle_message(now, &message),
                    Err(error) => tracing::debug!(%error, "Codex's daemon said what is no JSON"),
                },
                Ok(_) => {}
                Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(Box::new(error)),
            }
        }
    }

    fn write(&mut self, now: Instant) -> Result<(), Box<tungstenite::Error>> {
        let Link::Up(socket) = &mut self.link else { return Ok(()) };
        self.full = None;
        let is_full = |error: &tungstenite::Error| matches!(error, tungstenite::Error::Io(error) if error.kind() == io::ErrorKind::WouldBlock);
        while let Some(message) = self.thread.poll_message() {
            match socket.write(Message::text(message.to_string())) {
                Err(error) if !is_full(&error) => return Err(Box::new(error)),
                Ok(()) | Err(_) => {}
            }
        }
        match socket.flush() {
            Err(error) if is_full(&error) => self.full = Some(now + FULL_PAUSE),
            Err(error) => return Err(Box::new(error)),
            Ok(()) => {}
        }
        Ok(())
    }

    fn lose(&mut self, now: Instant, why: &dyn fmt::Display) {
        tracing::debug!(%why, "no connection to Codex's daemon");
        (self.link, self.stream, self.full) = (Link::Down, None, None);
        self.thread.handle_disconnected();
        self.retry = Some(now + FIRST_RETRY * 2u32.pow(self.retries));
        self.retries += 1;
        self.has_given_up |= self.retries > RETRIES;
    }
}

impl Route for AppServer {
    fn wake(&self) -> Wake {
        Wake::Turn
    }

    fn is_for_idle(&self) -> bool {
        true
    }

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        match &self.stream {
            Some(stream) => stream.poll_readable(context),
            None => Poll::Pending,
        }
    }

    fn turn(&mut self, now: Instant, events: &mut Vec<RouteEvent>) {
        if matches!(self.link, Link::Down) && self.retry.is_none_or(|at| at <= now) && !self.has_given_up {
            self.retry = None;
            if let Err(error) = self.connect() {
                self.lose(now, &error);
            }
        }
        if let Err(error) = self.read(now) {
            self.lose(now, &error);
        }
        self.thread.handle_timeout(now);
        self.is_late |= self.thread.is_late(now);
        if let Err(error) = self.write(now) {
            self.lose(now, &error);
        }
        events.extend(std::iter::from_fn(|| self.thread.poll_event()));
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match self.link {
            Link::Down => self.retry,
            Link::Greeting(_) | Link::Up(_) => [self.thread.poll_timeout(), self.full].into_iter().flatten().min(),
        }
    }

    fn deliver(&mut self, now: Instant, delivery: Delivery) {
        self.thread.deliver(now, delivery);
        if let Err(error) = self.write(now) {
            self.lose(now, &error);
        }
    }
}
