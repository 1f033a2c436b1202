//! The accepted connections: those without a hello yet, those of a client, and lost ones whose client is waited for.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::deadlines::Deadlines;
use crate::protocol::ClientTag;

/// How long a connection may take to say hello.
pub const HELLO_WAIT: Duration = Duration::from_secs(5);

/// Names one accepted connection; never used again for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// An open connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct OpenConnection {
    /// Whose it is, once it has said hello.
    pub(super) client: Option<ClientTag>,
}

/// The open connections, and the lost ones whose client is waited for.
#[derive(Debug, Clone)]
pub(super) struct Connections {
    open: BTreeMap<ConnId, OpenConnection>,
    silent: Deadlines<ConnId>,
    /// At most one of each client.
    lost: BTreeMap<ClientTag, ConnId>,
}

impl Connections {
    /// Returns an empty table.
    pub(super) const fn new() -> Self {
        Self { open: BTreeMap::new(), silent: Deadlines::new(), lost: BTreeMap::new() }
    }

    /// Adds a connection without a hello.
    pub(super) fn insert(&mut self, now: Instant, conn: ConnId) {
        self.open.insert(conn, OpenConnection { client: None });
        self.silent.set(conn, now + HELLO_WAIT);
    }

    /// Records whose a connection is, and that this client is not waited for any more.
    pub(super) fn set_client(&mut self, conn: ConnId, tag: ClientTag) {
        self.silent.clear(&conn);
        self.open.insert(conn, OpenConnection { client: Some(tag) });
        self.lost.remove(&tag);
    }

    /// Removes a connection, and returns whose it was.
    pub(super) fn remove(&mut self, conn: ConnId) -> Option<ClientTag> {
        self.silent.clear(&conn);
        self.open.remove(&conn)?.client
    }

    /// Records that a client's last connection was this one, until the client is back or forgotten.
    pub(super) fn remember_lost(&mut self, conn: ConnId, tag: ClientTag) {
        self.lost.insert(tag, conn);
    }

    /// Forgets a client's lost connection.
    pub(super) fn forget_lost(&mut self, tag: ClientTag) {
        self.lost.remove(&tag);
    }

    /// Returns the client that is waited for since it lost this connection.
    pub(super) fn lost_client(&self, conn: ConnId) -> Option<ClientTag> {
        self.lost.iter().find(|(_, lost)| **lost == conn).map(|(tag, _)| *tag)
    }

    /// Returns an open connection.
    pub(super) fn find(&self, conn: ConnId) -> Option<OpenConnection> {
        self.open.get(&conn).copied()
    }

    /// Returns whose an open connection is.
    pub(super) fn client(&self, conn: ConnId) -> Option<ClientTag> {
        self.find(conn)?.client
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
