//! Which of a loop's sources may have something to do: each has a waker of its own, which puts it on one list.
//!
//! So a turn costs what is ready, whatever else is open. A future for each source in one `select!` would poll all of them
//! at each wake, and a task for each would hand everything on through a queue.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Wake, Waker};

/// The sources that may have something to do, in the order in which they were woken.
#[derive(Debug)]
pub(crate) struct ReadyList<S>(Arc<Shared<S>>);

/// A waker must be usable from every thread, hence the lock; there is one thread, so nobody ever waits for it.
#[derive(Debug)]
struct Shared<S>(Mutex<List<S>>);

#[derive(Debug)]
struct List<S> {
    ready: Vec<S>,
    owner: Option<Waker>,
}

impl<S> Default for ReadyList<S> {
    fn default() -> Self {
        Self(Arc::new(Shared(Mutex::new(List { ready: Vec::new(), owner: None }))))
    }
}

impl<S: Copy + Send + Sync + 'static> ReadyList<S> {
    /// Returns the waker of a source.
    pub(crate) fn waker(&self, source: S) -> Waker {
        Arc::new(SourceWaker { source, shared: Arc::clone(&self.0) }).into()
    }

    /// Waits until a source is ready, and moves those that are to `ready`, which is empty.
    pub(crate) async fn wait(&self, ready: &mut Vec<S>) {
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
    pub(crate) fn take(&self, ready: &mut Vec<S>) {
        std::mem::swap(&mut self.0.lock().ready, ready);
    }
}

impl<S> Shared<S> {
    fn lock(&self) -> MutexGuard<'_, List<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct SourceWaker<S> {
    source: S,
    shared: Arc<Shared<S>>,
}

impl<S: Copy + Send + Sync + 'static> Wake for SourceWaker<S> {
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
        let (first, second) = (list.waker(2), list.waker(1));
        let mut ready = Vec::new();
        assert!(tokio::time::timeout(Duration::from_millis(10), list.wait(&mut ready)).await.is_err());
        first.wake_by_ref();
        second.wake();
        list.wait(&mut ready).await;
        assert_eq!(ready, [2, 1]);

        ready.clear();
        list.take(&mut ready);
        assert!(ready.is_empty());
        let (wakes, waits) = tokio::join!(async { first.wake() }, list.wait(&mut ready));
        assert_eq!((wakes, waits, ready), ((), (), vec![2]));
    }
}
