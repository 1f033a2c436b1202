//! What the hub shows of itself: the list of peers and its own state.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use super::{ConnId, Hub};
use crate::protocol::{HubMessage, PeerTag, PeersAnswer, RequestId, StatusAnswer, VERSIONS};

impl Hub {
    pub(super) fn answer_peers(&mut self, now: Instant, conn: ConnId, tag: PeerTag, id: RequestId) {
        let others = self.peers.others(tag);
        let answer = PeersAnswer {
            id,
            you: self.peers.name(tag).cloned(),
            peers: others.iter().filter_map(|peer| self.peers.view(now, *peer, self.asks.open_of(*peer))).collect(),
            settling: self.settling.is_on(),
        };
        self.send_to(conn, HubMessage::Peers(answer));
    }

    pub(super) fn answer_status(&mut self, now: Instant, conn: ConnId, id: RequestId) {
        let mut programs = BTreeMap::new();
        for peer in self.peers.all() {
            *programs.entry(peer.program.clone()).or_default() += 1;
        }
        let answer = StatusAnswer {
            id,
            hub: self.program.version.to_owned(),
            pid: self.program.pid,
            versions: VERSIONS,
            uptime_s: now.saturating_duration_since(self.started).as_secs(),
            settling: self.settling.is_on(),
            connections: self.connections.len() as u64,
            peers: self.peers.n_sessions() as u64,
            open_asks: self.asks.n_open(),
            programs,
            activated: self.standing.activated,
            replaced: self.standing.replaced,
            refused: self.reached.counts(),
        };
        self.send_to(conn, HubMessage::Status(answer));
    }

    /// Returns what the service manager is told of the hub's state.
    pub fn headline(&self) -> Headline {
        Headline { peers: self.peers.n_sessions() as u64, open_asks: self.asks.n_open() }
    }
}

/// The hub's state in a few words, for the service manager: `2 peers, 1 open ask`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headline {
    peers: u64,
    open_asks: u64,
}

impl fmt::Display for Headline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |n: u64| if n == 1 { "" } else { "s" };
        let Self { peers, open_asks } = *self;
        write!(f, "{peers} peer{}, {open_asks} open ask{}", plural(peers), plural(open_asks))
    }
}
