//! A connection's socket, counted for as long as its descriptor is open, and who waits for it to be ready.

use std::cell::Cell;
use std::ops::Deref;
use std::rc::Rc;

use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::Event;
use crate::watched;

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
    socket: watched::Stream,
    open: Count,
}

impl Stream {
    /// Counts the socket in until it is closed.
    pub(super) fn new(socket: watched::Stream, open: &Count) -> Rc<Self> {
        open.replace(0, 1);
        Rc::new(Self { socket, open: open.clone() })
    }

    /// Sends the event once there is something to read. A broken socket counts: the next read tells.
    pub(super) fn watch_readable(self: &Rc<Self>, events: mpsc::Sender<Event>, event: Event) -> Watch {
        let stream = Rc::clone(self);
        watch(async move { stream.socket.readable().await }, events, event)
    }

    /// Sends the event once the socket takes more. A broken one counts: the next write tells.
    pub(super) fn watch_writable(self: &Rc<Self>, events: mpsc::Sender<Event>, event: Event) -> Watch {
        let stream = Rc::clone(self);
        watch(async move { stream.socket.writable().await }, events, event)
    }
}

impl Deref for Stream {
    type Target = watched::Stream;

    fn deref(&self) -> &watched::Stream {
        &self.socket
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.open.replace(1, 0);
    }
}

fn watch(ready: impl Future<Output = ()> + 'static, events: mpsc::Sender<Event>, event: Event) -> Watch {
    let task = tokio::task::spawn_local(async move {
        ready.await;
        let _owner_left = events.send(event).await;
    });
    Watch(task.abort_handle())
}

/// Somebody who waits for a socket; ends when it is dropped.
#[derive(Debug)]
pub(super) struct Watch(AbortHandle);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}
