//! The accepted connections: those that have not said hello yet, and whose the others are.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{ConnId, Kinship};
use crate::deadlines::Deadlines;
use crate::protocol::PeerTag;

/// How long a connection may take to say hello.
pub const HELLO_WAIT: Duration = Duration::from_secs(5);

/// The open connections, and the lost ones whose client is still waited for.
#[derive(Debug, Clone)]
pub(super) struct Connections {
    open: BTreeMap<ConnId, Option<PeerTag>>,
    silent: Deadlines<ConnId>,
    /// What the system said of the processes that hellos name which are about to come.
    kinships: BTreeMap<ConnId, Kinship>,
    lost: BTreeMap<ConnId, PeerTag>,
    /// The one lost connection of each client that is waited for.
    lost_of: BTreeMap<PeerTag, ConnId>,
}

impl Connections {
    /// Returns an empty set.
    pub(super) const fn new() -> Self {
        Self {
            open: BTreeMap::new(),
            silent: Deadlines::new(),
            kinships: BTreeMap::new(),
            lost: BTreeMap::new(),
            lost_of: BTreeMap::new(),
        }
    }

    /// Adds a connection that has said nothing yet.
    pub(super) fn insert(&mut self, now: Instant, conn: ConnId) {
        self.open.insert(conn, None);
        self.silent.set(conn, now + HELLO_WAIT);
    }

    /// Takes note of what the system says of the process that the connection's next hello names.
    pub(super) fn set_kinship(&mut self, conn: ConnId, kinship: Kinship) {
        if self.is_open(conn) {
            self.kinships.insert(conn, kinship);
        }
    }

    /// Takes what the system said of the process that the connection's hello names.
    pub(super) fn take_kinship(&mut self, conn: ConnId) -> Kinship {
        self.kinships.remove(&conn).unwrap_or_default()
    }

    /// Takes note that a connection has said hello, as a client that is no peer's.
    pub(super) fn set_greeted(&mut self, conn: ConnId) {
        self.silent.clear(&conn);
    }

    /// Takes note of whose a connection is.
    pub(super) fn set_client(&mut self, conn: ConnId, tag: PeerTag) {
        self.silent.clear(&conn);
        self.open.insert(conn, Some(tag));
    }

    /// Removes a connection, and returns whose it was.
    pub(super) fn remove(&mut self, conn: ConnId) -> Option<PeerTag> {
        self.silent.clear(&conn);
        self.kinships.remove(&conn);
        self.open.remove(&conn).flatten()
    }

    /// Remembers whose a lost connection was, until that client is back or forgotten.
    pub(super) fn remember_lost(&mut self, conn: ConnId, tag: PeerTag) {
        self.lost.insert(conn, tag);
        if let Some(older) = self.lost_of.insert(tag, conn) {
            self.lost.remove(&older);
        }
    }

    /// Forgets the lost connection of a client.
    pub(super) fn forget_lost(&mut self, tag: PeerTag) {
        if let Some(conn) = self.lost_of.remove(&tag) {
            self.lost.remove(&conn);
        }
    }

    /// Returns whose a lost connection was.
    pub(super) fn lost_client(&self, conn: ConnId) -> Option<PeerTag> {
        self.lost.get(&conn).copied()
    }

    /// Returns whether a connection is open.
    pub(super) fn is_open(&self, conn: ConnId) -> bool {
        self.open.contains_key(&conn)
    }

    /// Returns whether an open connection has said a hello that was accepted.
    pub(super) fn has_greeted(&self, conn: ConnId) -> bool {
        self.is_open(conn) && self.silent.get(&conn).is_none()
    }

    /// Returns whose an open connection is.
    pub(super) fn client(&self, conn: ConnId) -> Option<PeerTag> {
        self.open.get(&conn).copied().flatten()
    }

    /// Returns how many connections are open.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Returns whether no connection is open and none is remembered.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.lost.is_empty()
    }

    /// Takes one connection that has said no hello in time.
    pub(super) fn pop_silent(&mut self, now: Instant) -> Option<ConnId> {
        self.silent.pop_due(now)
    }

    /// Returns when the next connection has said no hello in time.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.silent.next()
    }
}
