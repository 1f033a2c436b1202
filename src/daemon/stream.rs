//! A connection's socket, counted for as long as its descriptor is open, and who waits for it to be ready.

use std::cell::Cell;
use std::ops::Deref;
use std::rc::Rc;

use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::Event;

/// A number that several count together.
#[derive(Debug, Clone, Default)]
pub(super) struct Count(Rc<Cell<usize>>);

impl Count {
    /// Returns the number.
    pub(super) fn get(&self) -> usize {
        self.0.get()
    }

    /// Puts one part of the number in place of another.
    pub(super) fn replace(&self, part: usize, with: usize) {
        self.0.set(self.0.get() - part + with);
    }
}

/// A socket. Whoever waits for it keeps it open, so that it may outlive its connection by a moment.
#[derive(Debug)]
pub(super) struct Stream {
    socket: UnixStream,
    open: Count,
}

impl Stream {
    /// Counts the socket in until it is closed.
    pub(super) fn new(socket: UnixStream, open: &Count) -> Rc<Self> {
        open.replace(0, 1);
        Rc::new(Self { socket, open: open.clone() })
    }

    /// Sends the event once the socket is ready for this, or broken.
    pub(super) fn watch(self: &Rc<Self>, interest: Interest, events: mpsc::Sender<Event>, event: Event) -> Watch {
        let stream = Rc::clone(self);
        let task = tokio::task::spawn_local(async move {
            // A broken socket is ready as well: the next read or write tells.
            let _ready = stream.socket.ready(interest).await;
            drop(stream);
            let _owner_left = events.send(event).await;
        });
        Watch(task.abort_handle())
    }
}

impl Deref for Stream {
    type Target = UnixStream;

    fn deref(&self) -> &UnixStream {
        &self.socket
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.open.replace(1, 0);
    }
}

/// Somebody who waits for a socket; ends when it is dropped.
#[derive(Debug)]
pub(super) struct Watch(AbortHandle);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}
