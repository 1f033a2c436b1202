//! Questions and replies for connections that take nothing at present.
//!
//! They are sent one by one, as each connection takes them: what the table of asks holds is not queued a second time.

use std::collections::{BTreeMap, BTreeSet};

use super::super::connections::ConnId;
use crate::protocol::AskId;

/// The asks that wait for a connection, in the order of their acceptance, and how many bytes each has.
type Waiting = BTreeMap<(u64, AskId), usize>;

/// What waits for which connection. Invariant: a connection without a waiting ask is not in `waiting`.
#[derive(Debug, Clone)]
pub(in crate::hub) struct PendingSends {
    waiting: BTreeMap<ConnId, Waiting>,
    congested: BTreeSet<ConnId>,
    /// Those that something waits for and that take it.
    ready: BTreeSet<ConnId>,
}

impl PendingSends {
    /// Returns the state in which nothing waits.
    pub(in crate::hub) const fn new() -> Self {
        Self { waiting: BTreeMap::new(), congested: BTreeSet::new(), ready: BTreeSet::new() }
    }

    /// Returns whether what is for this connection must wait: for the connection, or for what came before.
    pub(in crate::hub) fn is_waited_for(&self, conn: ConnId) -> bool {
        self.congested.contains(&conn) || self.waiting.contains_key(&conn)
    }

    /// Lets an ask wait. What is sent of it is looked up when its turn comes.
    pub(in crate::hub) fn push(&mut self, conn: ConnId, number: u64, ask_id: AskId, bytes: usize) {
        self.waiting.entry(conn).or_default().insert((number, ask_id), bytes);
        if !self.congested.contains(&conn) {
            self.ready.insert(conn);
        }
    }

    /// Takes the next ask whose connection takes it.
    pub(in crate::hub) fn pop_ready(&mut self) -> Option<(ConnId, AskId)> {
        let conn = *self.ready.first()?;
        let ((_, ask_id), _) = self.waiting.get_mut(&conn)?.pop_first()?;
        self.drop_empty(conn);
        Some((conn, ask_id))
    }

    /// Takes an ask back that has ended.
    pub(in crate::hub) fn take_back(&mut self, conn: ConnId, number: u64, ask_id: AskId) {
        if let Some(waiting) = self.waiting.get_mut(&conn) {
            waiting.remove(&(number, ask_id));
            self.drop_empty(conn);
        }
    }

    /// Records that a connection takes nothing at present.
    pub(in crate::hub) fn handle_congested(&mut self, conn: ConnId) {
        self.congested.insert(conn);
        self.ready.remove(&conn);
    }

    /// Records that a connection takes something again.
    pub(in crate::hub) fn handle_drained(&mut self, conn: ConnId) {
        self.congested.remove(&conn);
        if self.waiting.contains_key(&conn) {
            self.ready.insert(conn);
        }
    }

    /// Forgets a connection that is over.
    pub(in crate::hub) fn forget(&mut self, conn: ConnId) {
        self.waiting.remove(&conn);
        self.congested.remove(&conn);
        self.ready.remove(&conn);
    }

    /// Returns how many bytes of texts wait for a connection.
    pub(in crate::hub) fn bytes(&self, conn: ConnId) -> usize {
        self.waiting.get(&conn).map_or(0, |waiting| waiting.values().sum())
    }

    /// Returns whether nothing of any connection is left.
    pub(in crate::hub) fn is_empty(&self) -> bool {
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
    fn pending_sends_come_in_order_and_only_where_they_are_taken() {
        let (slow, fast) = (ConnId(1), ConnId(2));
        let mut pending = PendingSends::new();
        pending.handle_congested(slow);
        assert!(pending.is_waited_for(slow) && !pending.is_waited_for(fast));
        for n in [3, 1, 2] {
            pending.push(slow, n, id(n), 10);
        }
        pending.push(fast, 9, id(9), 5);
        assert_eq!(pending.bytes(slow), 30);
        assert_eq!(pending.pop_ready(), Some((fast, id(9))));
        assert_eq!(pending.pop_ready(), None);
        pending.take_back(slow, 2, id(2));
        pending.handle_drained(slow);
        assert_eq!(pending.pop_ready(), Some((slow, id(1))));
        pending.handle_congested(slow);
        assert_eq!(pending.pop_ready(), None);
        pending.handle_drained(slow);
        assert_eq!(pending.pop_ready(), Some((slow, id(3))));
        assert!(pending.is_empty());
    }

    #[test]
    fn pending_sends_leave_nothing_of_a_connection_that_is_over() {
        let mut pending = PendingSends::new();
        pending.handle_congested(ConnId(1));
        pending.push(ConnId(1), 1, id(1), 10);
        pending.push(ConnId(2), 1, id(1), 10);
        pending.forget(ConnId(1));
        pending.forget(ConnId(2));
        assert!(pending.is_empty());
        assert_eq!(pending.pop_ready(), None);
    }
}
