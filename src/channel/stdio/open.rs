//! The requests that the client waits for: no more at a time than there are places.
//!
//! **Invariant:** a request has its place from the moment it is read until the channel has taken note that its answer is
//! written, or that nobody wants one. Whatever a client makes the channel hold, tasks, events, answers that it does not
//! read, belongs to such a request or to a cancellation of one, of which only the first counts. So a client that asks
//! faster than it reads is not read itself, and has to wait.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rmcp::model::RequestId;
use tokio::sync::Notify;

/// How many requests may be open. A session's model calls about ten tools at a time, and the cancellation behind the call
/// that takes the last place is read as soon as any of them is answered, which takes seconds at the most.
pub const OPEN_MAX: usize = 64;

/// All places. Clones are of the same ones.
#[derive(Debug, Clone, Default)]
pub struct Open(Arc<Places>);

#[derive(Debug, Default)]
struct Places {
    taken: Mutex<Taken>,
    /// Told when a place is given up while all were taken.
    room: Notify,
}

#[derive(Debug, Default)]
struct Taken {
    /// The ids of requests, and whether each was cancelled: nearly always one or two.
    requests: Vec<(RequestId, bool)>,
    /// Answers to what was no request for the server.
    errors: usize,
}

impl Taken {
    fn is_full(&self) -> bool {
        self.requests.len() + self.errors >= OPEN_MAX
    }

    fn at(&self, id: &RequestId) -> Option<usize> {
        self.requests.iter().position(|(open, _)| open == id)
    }
}

impl Open {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Nothing that holds it can panic halfway.
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether no place is left.
    pub fn is_full(&self) -> bool {
        self.taken().is_full()
    }

    /// Waits for a place. There is to be one who waits: the one that takes places.
    pub async fn room(&self) {
        while self.is_full() {
            self.0.room.notified().await;
        }
    }

    /// Takes a place for a request; false where an open one has its id, by which its answer could not be told apart.
    pub fn ask(&self, id: &RequestId) -> bool {
        let mut taken = self.taken();
        let is_new = taken.at(id).is_none();
        if is_new {
            taken.requests.push((id.clone(), false));
        }
        is_new
    }

    /// Notes that nobody waits for a request any more; false where that changes nothing.
    pub fn cancel(&self, id: &RequestId) -> bool {
        let mut taken = self.taken();
        taken.at(id).is_some_and(|at| !std::mem::replace(&mut taken.requests[at].1, true))
    }

    /// Returns the place of a request that has its answer, to be kept until the channel has taken note of it; none where
    /// it has one already.
    pub fn answer(&self, id: &RequestId) -> Option<Place> {
        let is_cancelled = {
            let taken = self.taken();
            taken.requests[taken.at(id)?].1
        };
        Some(Place { open: self.clone(), request: Some(id.clone()), is_wanted: !is_cancelled })
    }

    /// Takes a place for what is answered without the server.
    pub fn error(&self) -> Place {
        self.taken().errors += 1;
        Place { open: self.clone(), request: None, is_wanted: true }
    }
}

/// The place of an answer that is not yet written. Dropping it gives the place up.
#[derive(Debug)]
pub struct Place {
    open: Open,
    request: Option<RequestId>,
    is_wanted: bool,
}

impl Place {
    /// Returns whether somebody waits for the answer.
    pub fn is_wanted(&self) -> bool {
        self.is_wanted
    }

    /// Returns the id of a request that the server has seen and that somebody waited for.
    pub fn request(&self) -> Option<&RequestId> {
        self.request.as_ref().filter(|_| self.is_wanted)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let was_full = {
            let mut taken = self.open.taken();
            let was_full = taken.is_full();
            match &self.request {
                Some(id) => drop(taken.at(id).map(|at| taken.requests.swap_remove(at))),
                None => taken.errors -= 1,
            }
            was_full
        };
        if was_full {
            self.open.0.room.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: usize) -> RequestId {
        RequestId::Number(i64::try_from(n).unwrap())
    }

    fn full() -> Open {
        let open = Open::default();
        (0..OPEN_MAX).for_each(|n| assert!(!open.is_full() && open.ask(&id(n))));
        assert!(open.is_full());
        open
    }

    #[test]
    fn a_place_is_taken_until_the_answer_is_written() {
        let open = full();
        let place = open.answer(&id(7)).unwrap();
        assert_eq!(place.request(), Some(&id(7)));
        assert!(open.is_full() && !open.ask(&id(7)), "it is still open");
        drop(place);
        assert!(!open.is_full() && open.ask(&id(7)));
    }

    #[test]
    fn one_id_is_one_request() {
        let open = Open::default();
        assert!(open.ask(&id(1)) && !open.ask(&id(1)));
        assert!(open.ask(&RequestId::String("1".into())));
        drop(open.answer(&id(1)));
        assert!(open.answer(&id(1)).is_none(), "an answer more gives up nothing more");
        assert!(open.ask(&id(1)));
    }

    #[test]
    fn a_cancelled_request_keeps_its_place_until_it_is_done() {
        let open = full();
        assert!(open.cancel(&id(3)) && !open.cancel(&id(3)), "it is told once");
        assert!(!open.cancel(&id(OPEN_MAX)), "nobody has asked this");
        let place = open.answer(&id(3)).unwrap();
        assert!(open.is_full() && !place.is_wanted() && place.request().is_none());
        drop(place);
        assert!(!open.is_full());
    }

    #[test]
    fn what_is_answered_without_the_server_has_its_place_too() {
        let open = full();
        drop(open.answer(&id(0)));
        let place = open.error();
        assert!(open.is_full() && place.request().is_none());
        drop(place);
        assert!(!open.is_full());
    }

    #[tokio::test]
    async fn whoever_waits_for_a_place_is_told_of_one() {
        let open = full();
        let place = open.answer(&id(5));
        let waits = tokio::spawn({
            let open = open.clone();
            async move { open.room().await }
        });
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        drop(place);
        waits.await.unwrap();
        open.room().await;
    }
}
