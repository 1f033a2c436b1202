//! What is still to be written to one connection.

use std::io;
use std::rc::Rc;

use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::Event;
use crate::fault;
use crate::hub::ConnId;
use crate::protocol::HubMessage;
use crate::protocol::codec::encode;

/// The most bytes of a buffer that are kept when it runs empty.
const KEPT_BYTES: usize = 4 * 1024;

/// A connection's bytes on their way out.
#[derive(Debug)]
pub(super) struct Outbox {
    conn: ConnId,
    stream: Rc<UnixStream>,
    bytes: Vec<u8>,
    /// How many of `bytes` were written.
    written: usize,
    /// Whether a task waits until the socket takes bytes again.
    waiting: bool,
    /// That task, which ends with the connection: it holds the stream.
    waiter: Option<AbortHandle>,
}

impl Outbox {
    pub(super) const fn new(conn: ConnId, stream: Rc<UnixStream>) -> Self {
        Self { conn, stream, bytes: Vec::new(), written: 0, waiting: false, waiter: None }
    }

    /// Queues a message.
    pub(super) fn push(&mut self, message: &HubMessage) {
        let start = self.bytes.len();
        encode(message, &mut self.bytes);
        if fault::BUILT_IN {
            self.pass_points(start);
        }
    }

    /// Dies with nothing, with half or with all of the last frame written, where a test wants that.
    fn pass_points(&mut self, start: usize) {
        let kind = fault::kind_of(&self.bytes[start..]).to_owned();
        fault::pass_kind("queued", &kind);
        if fault::reach("half", &kind) {
            self.bytes.truncate(usize::midpoint(start, self.bytes.len()));
            self.flush_last();
            fault::die();
        }
        if fault::reach("written", &kind) {
            self.flush_last();
            fault::die();
        }
    }

    /// Returns how many bytes wait.
    pub(super) const fn queued(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// Takes note that the socket takes bytes again.
    pub(super) const fn handle_writable(&mut self) {
        self.waiting = false;
    }

    /// Writes as much as the socket takes, and sees to it that the owner hears when it takes more.
    ///
    /// # Errors
    /// The connection is broken.
    pub(super) fn flush(&mut self, events: &mpsc::Sender<Event>) -> io::Result<()> {
        if self.waiting {
            return Ok(());
        }
        while self.queued() > 0 {
            match self.stream.try_write(&self.bytes[self.written..]) {
                Ok(n) => self.written += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(events.clone());
                    fault::pass("flush.full");
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        self.bytes.drain(..self.written);
        self.written = 0;
        if self.bytes.is_empty() && self.bytes.capacity() > KEPT_BYTES {
            self.bytes = Vec::new();
        }
        Ok(())
    }

    /// Writes as much as the socket takes at once, for the last time. Unlike the runtime the kernel knows of a connection
    /// that was accepted in this turn that it takes bytes.
    pub(super) fn flush_last(&mut self) {
        while self.queued() > 0 {
            match rustix::io::write(&*self.stream, &self.bytes[self.written..]) {
                Ok(n) => self.written += n,
                Err(rustix::io::Errno::INTR) => {}
                Err(_full_or_broken) => return,
            }
        }
    }

    fn wait(&mut self, events: mpsc::Sender<Event>) {
        self.waiting = true;
        let (conn, stream) = (self.conn, Rc::clone(&self.stream));
        let task = tokio::task::spawn_local(async move {
            // A broken socket is writable as well: the next write tells.
            let _ready = stream.writable().await;
            let _owner_left = events.send(Event::Writable(conn)).await;
        });
        self.waiter = Some(task.abort_handle());
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        if let Some(waiter) = self.waiter.take() {
            waiter.abort();
        }
    }
}
