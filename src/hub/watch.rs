//! Who watches the traffic, and what of it each is told.
//!
//! Texts go to those only that want them. A watcher that reads too slowly is cut like every slow reader, comes back and
//! starts from the whole state again: nothing is queued for it beyond its connection's bound.

use std::collections::BTreeMap;

use super::connections::ConnId;
use super::limits::WATCHERS_MAX;
use super::refusals::{self, Refused};
use crate::protocol::Watched;

/// The connections that watch, and whether they want texts.
#[derive(Debug, Clone, Default)]
pub(super) struct Watchers(BTreeMap<ConnId, bool>);

impl Watchers {
    /// Adds a connection, or changes what it wants.
    ///
    /// # Errors
    /// As many others watch as may.
    pub(super) fn insert(&mut self, conn: ConnId, text: bool) -> Result<(), Refused> {
        if self.0.len() >= WATCHERS_MAX && !self.0.contains_key(&conn) {
            return Err(refusals::too_many_watchers());
        }
        self.0.insert(conn, text);
        Ok(())
    }

    /// Removes a connection that is over.
    pub(super) fn remove(&mut self, conn: ConnId) {
        self.0.remove(&conn);
    }

    /// Returns whether nobody watches.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns for each connection what it is told of a change.
    pub(super) fn copies(&self, change: &Watched) -> Vec<(ConnId, Watched)> {
        let copy = |text| if text { change.clone() } else { without_text(change.clone()) };
        self.0.iter().map(|(conn, text)| (*conn, copy(*text))).collect()
    }
}

fn without_text(mut change: Watched) -> Watched {
    match &mut change {
        Watched::AskOpened(ask) => ask.question = None,
        Watched::AskEnded { reply, .. } => *reply = None,
        Watched::PeerCame { .. }
        | Watched::PeerLeft { .. }
        | Watched::PeerRenamed { .. }
        | Watched::PeerChanged { .. }
        | Watched::AskAdvanced { .. }
        | Watched::AskRefused { .. }
        | Watched::MachineChanged(_)
        | Watched::MachineLeft { .. } => {}
    }
    change
}
