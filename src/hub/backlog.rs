//! Questions and replies that the hub holds anyway, for connections that take nothing at present.
//!
//! They are said one by one, as each connection takes them: what is held is not queued a second time.

use std::collections::{BTreeMap, BTreeSet};

use super::ConnId;
use crate::protocol::AskId;

/// The asks that wait for a connection, in the order of their acceptance, and how many bytes each has.
type Waiting = BTreeMap<(u64, AskId), u64>;

/// What waits for which connection. Invariant: a connection without a waiting ask is not here.
#[derive(Debug, Clone)]
pub(super) struct Backlogs {
    waiting: BTreeMap<ConnId, Waiting>,
    congested: BTreeSet<ConnId>,
    /// Those that something waits for and that take it.
    ready: BTreeSet<ConnId>,
}

impl Backlogs {
    /// Returns the state in which nothing waits.
    pub(super) const fn new() -> Self {
        Self { waiting: BTreeMap::new(), congested: BTreeSet::new(), ready: BTreeSet::new() }
    }

    /// Returns whether what is for this connection must wait: for the connection, or for what came before.
    pub(super) fn is_waited_for(&self, conn: ConnId) -> bool {
        self.congested.contains(&conn) || self.waiting.contains_key(&conn)
    }

    /// Lets an ask wait. What is said of it is looked up when its turn comes.
    pub(super) fn push(&mut self, conn: ConnId, number: u64, ask_id: AskId, bytes: u64) {
        self.waiting.entry(conn).or_default().insert((number, ask_id), bytes);
        if !self.congested.contains(&conn) {
            self.ready.insert(conn);
        }
    }

    /// Takes the next ask whose connection takes it.
    pub(super) fn pop_ready(&mut self) -> Option<(ConnId, AskId)> {
        let conn = *self.ready.first()?;
        let ((_, ask_id), _) = self.waiting.get_mut(&conn)?.pop_first()?;
        self.drop_empty(conn);
        Some((conn, ask_id))
    }

    /// Takes an ask back that has ended.
    pub(super) fn take_back(&mut self, conn: ConnId, number: u64, ask_id: AskId) {
        if let Some(waiting) = self.waiting.get_mut(&conn) {
            waiting.remove(&(number, ask_id));
            self.drop_empty(conn);
        }
    }

    /// Takes note that a connection takes nothing at present.
    pub(super) fn handle_congested(&mut self, conn: ConnId) {
        self.congested.insert(conn);
        self.ready.remove(&conn);
    }

    /// Takes note that a connection takes something again.
    pub(super) fn handle_drained(&mut self, conn: ConnId) {
        self.congested.remove(&conn);
        if self.waiting.contains_key(&conn) {
            self.ready.insert(conn);
        }
    }

    /// Forgets a connection that is over.
    pub(super) fn forget(&mut self, conn: ConnId) {
        self.waiting.remove(&conn);
        self.congested.remove(&conn);
        self.ready.remove(&conn);
    }

    /// Returns how many bytes of texts wait for a connection.
    pub(super) fn bytes(&self, conn: ConnId) -> u64 {
        self.waiting.get(&conn).map_or(0, |waiting| waiting.values().sum())
    }

    /// Returns whether nothing of any connection is left.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.congested.is_empty() && self.ready.is_empty()
    }

    fn drop_empty(&mut self, conn: ConnId) {
        if self.waiting.get(&conn).is_some_and(Waiting::is_empty) {
            self.waiting.remove(&conn);
            self.ready.remove(&conn);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u64) -> AskId {
        AskId::from_bits(n)
    }

    #[test]
    fn what_waits_comes_in_order_and_only_where_it_is_taken() {
        let (slow, fast) = (ConnId(1), ConnId(2));
        let mut backlogs = Backlogs::new();
        backlogs.handle_congested(slow);
        assert!(backlogs.is_waited_for(slow) && !backlogs.is_waited_for(fast));
        for n in [3, 1, 2] {
            backlogs.push(slow, n, id(n), 10);
        }
        backlogs.push(fast, 9, id(9), 5);
        assert_eq!(backlogs.bytes(slow), 30);
        assert_eq!(backlogs.pop_ready(), Some((fast, id(9))));
        assert_eq!(backlogs.pop_ready(), None);
        backlogs.take_back(slow, 2, id(2));
        backlogs.handle_drained(slow);
        assert_eq!(backlogs.pop_ready(), Some((slow, id(1))));
        backlogs.handle_congested(slow);
        assert_eq!(backlogs.pop_ready(), None);
        backlogs.handle_drained(slow);
        assert_eq!(backlogs.pop_ready(), Some((slow, id(3))));
        assert!(backlogs.is_empty());
    }

    #[test]
    fn nothing_is_left_of_a_connection_that_is_over() {
        let mut backlogs = Backlogs::new();
        backlogs.handle_congested(ConnId(1));
        backlogs.push(ConnId(1), 1, id(1), 10);
        backlogs.push(ConnId(2), 1, id(1), 10);
        backlogs.forget(ConnId(1));
        backlogs.forget(ConnId(2));
        assert!(backlogs.is_empty());
        assert_eq!(backlogs.pop_ready(), None);
    }
}
