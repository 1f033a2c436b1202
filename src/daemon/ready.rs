//! Which of the hub's sources may have something to do: each has a waker of its own, which puts it on one list.
//!
//! So a turn costs what is ready, whatever else is open. A future for each source in one `select!` would poll all of them
//! at each wake, and a task for each would hand everything on through a queue.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Wake, Waker};

use crate::hub::ConnId;

/// What may have something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Somebody wants to connect.
    Acceptor,
    /// A signal has come.
    Shutdown,
    /// A deadline has come.
    Alarm,
    /// The process with this id has ended.
    Process(u32),
    /// A connection has bytes, room, or an end.
    Connection(ConnId),
}

/// The sources that may have something to do, in the order in which they were woken.
#[derive(Debug, Default)]
pub(super) struct ReadyList(Arc<Shared>);

/// A waker must be usable from every thread, hence the lock; there is one thread, so nobody ever waits for it.
#[derive(Debug, Default)]
struct Shared(Mutex<List>);

#[derive(Debug, Default)]
struct List {
    ready: Vec<Source>,
    owner: Option<Waker>,
}

impl ReadyList {
    /// Returns the waker of a source.
    pub(super) fn waker(&self, source: Source) -> Waker {
        Arc::new(SourceWaker { source, shared: Arc::clone(&self.0) }).into()
    }

    /// Waits until a source is ready, and moves those that are to `ready`, which is empty.
    pub(super) async fn wait(&self, ready: &mut Vec<Source>) {
        poll_fn(|context| {
            let mut list = self.0.lock();
            if !list.ready.is_empty() {
                std::mem::swap(&mut list.ready, ready);
                return Poll::Ready(());
            }
            match &mut list.owner {
                Some(owner) => owner.clone_from(context.waker()),
                owner => *owner = Some(context.waker().clone()),
            }
            Poll::Pending
        })
        .await;
    }

    /// Moves the sources that are ready to `ready`, which is empty, without waiting for any.
    pub(super) fn take(&self, ready: &mut Vec<Source>) {
        std::mem::swap(&mut self.0.lock().ready, ready);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, List> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct SourceWaker {
    source: Source,
    shared: Arc<Shared>,
}

impl Wake for SourceWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut list = self.shared.lock();
        list.ready.push(self.source);
        // The owner takes the whole list: it was woken by the first.
        if list.ready.len() == 1
            && let Some(owner) = &list.owner
        {
            owner.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn ready_sources_come_in_the_order_of_their_wakes() {
        let list = ReadyList::default();
        let connection = |n| Source::Connection(ConnId(n));
        let (first, second) = (list.waker(connection(2)), list.waker(connection(1)));
        let mut ready = Vec::new();
        assert!(tokio::time::timeout(Duration::from_millis(10), list.wait(&mut ready)).await.is_err());
        first.wake_by_ref();
        second.wake();
        list.wait(&mut ready).await;
        assert_eq!(ready, [connection(2), connection(1)]);

        ready.clear();
        list.take(&mut ready);
        assert!(ready.is_empty());
        let (wakes, waits) = tokio::join!(async { first.wake() }, list.wait(&mut ready));
        assert_eq!((wakes, waits, ready), ((), (), vec![connection(2)]));
    }
}
