//! The transport: newline-delimited JSON-RPC over whatever stdin and stdout are, on one thread.
//!
//! Node, and so Claude Code, gives a server socket pairs, for which rmcp's own stdio would start threads. Further, rmcp
//! ends at a first message that is no request, leaves malformed requests unanswered, answers `server/discover`, which
//! would cost the channel, and takes five seconds to leave at the end of input. So what is read here is answered or
//! dropped by the rules of `line`, and the end of input is an [`Event`] instead of an end of the transport.
//!
//! rmcp takes all requests at once, and never answers one that it knows to be cancelled. So the bound is here, by the rules
//! of `open`, and cancellations go to the channel alone: each request that rmcp is given has one answer, which ends here
//! where nobody wants it.
//!
//! A client that closes both streams at once is gone: what it wrote last may be left unread.

pub mod line;
pub mod open;

use std::fs::File;
use std::future::pending;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rmcp::model::{JsonRpcMessage, RequestId};
use rmcp::service::{RoleServer, RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::coop::consume_budget;

use self::line::{Incoming, Line, Lines};
use self::open::{Open, Place};
use super::server::Event;
use crate::watched::{self, Stream};

/// The bytes that one read asks for.
const READ_BYTES: usize = 8 * 1024;

/// The way to the MCP client: whole lines, one after the other.
#[derive(Debug, Clone)]
pub struct Outlet {
    fd: Arc<Mutex<OwnedFd>>,
    events: UnboundedSender<Event>,
}

impl Outlet {
    /// Returns a future that writes one line, and tells of a client that does not take it any more.
    ///
    /// # Errors
    /// The client does not take it any more.
    pub fn write<T: Serialize>(&self, message: &T) -> impl Future<Output = io::Result<()>> + Send + use<T> {
        let line = serde_json::to_vec(message).map(|mut line| {
            line.push(b'\n');
            line
        });
        let Self { fd, events } = self.clone();
        async move {
            let result = write_all(&*fd.lock().await, &line?).await;
            if result.is_err() {
                events.send(Event::Ended).ok();
            }
            result
        }
    }
}

/// rmcp's transport over two byte streams.
pub struct Stdio {
    input: Stream,
    lines: Lines,
    open: Open,
    outlet: Outlet,
    events: UnboundedSender<Event>,
    initialized: bool,
    /// Whether the client has said that it is ready, which it does once.
    ready: bool,
    ended: bool,
}

impl Stdio {
    /// Returns the transport over this process's stdin and stdout. To be called within a runtime.
    ///
    /// Socket pairs and pipes are read and written as they are. A terminal or a file is read by a thread and written directly.
    ///
    /// # Errors
    /// A stream is closed or cannot be made non-blocking.
    pub fn of_process(events: UnboundedSender<Event>) -> io::Result<Self> {
        let input = open_input(io::stdin().as_fd())?;
        let output = open_output(io::stdout().as_fd())?;
        let (abandoned, told) = (watched::abandoned(&output), events.clone());
        tokio::task::spawn_local(async move {
            abandoned.await;
            told.send(Event::Ended).ok();
        });
        let outlet = Outlet { fd: Arc::new(Mutex::new(output)), events: events.clone() };
        Ok(Self {
            input,
            lines: Lines::default(),
            open: Open::default(),
            outlet,
            events,
            initialized: false,
            ready: false,
            ended: false,
        })
    }

    /// Returns the way to the client for what rmcp need not know of.
    pub fn outlet(&self) -> Outlet {
        self.outlet.clone()
    }

    /// Takes in what is there; the end of input counts.
    ///
    /// # Errors
    /// Nothing is there (`WouldBlock`).
    fn read(&mut self) -> io::Result<()> {
        let mut room = [MaybeUninit::uninit(); READ_BYTES];
        match self.input.try_read(&mut room) {
            Ok([]) => self.end(),
            Ok(bytes) => self.lines.push(bytes),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "cannot read the client any more");
                self.end();
            }
        }
        Ok(())
    }

    fn end(&mut self) {
        self.ended = true;
        self.events.send(Event::Ended).ok();
    }

    /// Does what a line asks for, while there is a place for it; what is returned is left to rmcp.
    fn take(&mut self, line: &Line) -> Option<RxJsonRpcMessage<RoleServer>> {
        match line::read(line, self.initialized) {
            Incoming::Request(id, _) if !self.open.ask(&id) => self.answer(vec![line::taken(&id)]),
            Incoming::Request(_, message) => {
                self.initialized = true;
                return Some(*message);
            }
            Incoming::Ready(message) if !std::mem::replace(&mut self.ready, true) => return Some(*message),
            Incoming::Ready(_) => tracing::debug!("the client says again that it is ready"),
            Incoming::Cancelled(id) => self.cancel(id),
            Incoming::Answer(answers) => self.answer(answers),
            Incoming::Dropped(why) => tracing::debug!(why, "dropped an incoming line"),
        }
        None
    }

    /// Answers in a task of its own, since the future that reads may be dropped halfway through a line.
    fn answer(&self, answers: Vec<Value>) {
        let (place, outlet) = (self.open.error(), self.outlet.clone());
        tokio::spawn(async move {
            for answer in answers {
                outlet.write(&answer).await.ok();
            }
            drop(place);
        });
    }

    /// Tells the channel of a cancellation: from a task, as rmcp tells it of the call before.
    fn cancel(&self, id: RequestId) {
        if self.open.cancel(&id) {
            let events = self.events.clone();
            tokio::spawn(async move { events.send(Event::Cancelled(id)).ok() });
        }
    }
}

impl Transport<RoleServer> for Stdio {
    type Error = io::Error;

    fn send(
        &mut self,
        message: TxJsonRpcMessage<RoleServer>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        let answered = match &message {
            JsonRpcMessage::Response(response) => Some(&response.id),
            JsonRpcMessage::Error(error) => error.id.as_ref(),
            JsonRpcMessage::Request(_) | JsonRpcMessage::Notification(_) => None,
        };
        let place = answered.map(|id| self.open.answer(id));
        let is_wanted = place.as_ref().is_none_or(|place| place.as_ref().is_some_and(Place::is_wanted));
        let (write, events) = (is_wanted.then(|| self.outlet.write(&message)), self.events.clone());
        async move {
            if let Some(write) = write {
                write.await?;
            }
            if let Some(place) = place.flatten() {
                events.send(Event::Answered(place)).ok();
            }
            Ok(())
        }
    }

    /// Returns the next message; never `None`: after the end of input it waits for ever. May be dropped at any time.
    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        loop {
            // However much comes, the rest of the process has its turns.
            consume_budget().await;
            if self.ended {
                return pending().await;
            }
            if self.open.is_full() {
                tokio::select! {
                    () = self.open.room() => {}
                    // Behind all that nobody reads now.
                    () = self.input.ended() => self.end(),
                }
            } else if let Some(line) = self.lines.next_line() {
                if let Some(message) = self.take(&line) {
                    return Some(message);
                }
            } else if self.read().is_err() {
                self.input.readable().await;
            }
        }
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// Opens what the client's bytes come from. A terminal or a file, which cannot be waited for, is read by a thread.
fn open_input(fd: BorrowedFd<'_>) -> io::Result<Stream> {
    let owned = fd.try_clone_to_owned()?;
    if can_be_waited_for(&owned)? {
        return Stream::new(owned);
    }
    let (ours, mut theirs) = UnixStream::pair()?;
    let mut file = File::from(owned);
    std::thread::Builder::new().name("stdin".into()).spawn(move || io::copy(&mut file, &mut theirs))?;
    Stream::new(ours)
}

/// Opens where bytes go to the client. A terminal or a file takes what is written at once.
fn open_output(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let fd = fd.try_clone_to_owned()?;
    if can_be_waited_for(&fd)? {
        rustix::io::ioctl_fionbio(&fd, true)?;
    }
    Ok(fd)
}

async fn write_all(fd: &OwnedFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(Errno::AGAIN) => watched::writable(fd).await,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn can_be_waited_for(fd: &OwnedFd) -> io::Result<bool> {
    Ok(matches!(FileType::from_raw_mode(fstat(fd)?.st_mode), FileType::Socket | FileType::Fifo))
}
