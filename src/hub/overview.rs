//! What the hub shows of itself: the list of peers, its own state, and the whole traffic.

use std::fmt;
use std::time::Instant;

use super::asks::Asks;
use super::connections::Connections;
use super::effect::Outbox;
use super::peers::Peers;
use crate::protocol::{self, ClientTag, PeerView, Status, VERSIONS, Watching};

/// What clients are told of the program that a hub runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HubInfo {
    /// Its version.
    pub version: &'static str,
    /// Its process id.
    pub pid: u32,
}

/// What `status` says of the hub's program; the rules make nothing of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProgramStatus {
    /// Whether a service manager holds the socket and starts the next hub.
    pub activated: bool,
    /// Whether the file that the program was started from is another one by now.
    pub replaced: bool,
}

/// The hub's state in a few words, for the service manager: `2 sessions, 1 open ask`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusLine {
    sessions: u64,
    open_asks: u64,
}

impl StatusLine {
    /// Returns what the tables hold.
    pub(super) fn new(peers: &Peers, asks: &Asks) -> Self {
        Self { sessions: peers.n_sessions() as u64, open_asks: asks.n_open() }
    }
}

impl fmt::Display for StatusLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |n: u64| if n == 1 { "" } else { "s" };
        let Self { sessions, open_asks } = *self;
        write!(f, "{sessions} session{}, {open_asks} open ask{}", plural(sessions), plural(open_asks))
    }
}

/// What a hub knows of itself.
#[derive(Debug, Clone)]
pub(super) struct Overview {
    pub(super) info: HubInfo,
    pub(super) program: ProgramStatus,
    pub(super) started: Instant,
}

impl Overview {
    /// Returns the peers as this client sees them.
    pub(super) fn peers(now: Instant, peers: &Peers, asks: &Asks, settling: bool, tag: ClientTag) -> protocol::Peers {
        let (you, machines) = (peers.name(tag).cloned(), peers.machines(now));
        protocol::Peers { you, peers: views(now, peers, asks, tag), machines, settling }
    }

    /// Returns the hub's state.
    pub(super) fn status(
        &self,
        now: Instant,
        connections: &Connections,
        peers: &Peers,
        asks: &Asks,
        settling: bool,
        out: &Outbox,
    ) -> Status {
        Status {
            hub: self.info.version.to_owned(),
            pid: self.info.pid,
            versions: VERSIONS,
            uptime_s: now.saturating_duration_since(self.started).as_secs(),
            settling,
            connections: connections.len() as u64,
            peers: peers.n_sessions() as u64,
            open_asks: asks.n_open(),
            programs: peers.programs(),
            activated: self.program.activated,
            replaced: self.program.replaced,
            machines: peers.machines(now),
            refused: out.refused(),
        }
    }

    /// Returns the whole traffic for this client, without texts.
    pub(super) fn watching(
        &self,
        now: Instant,
        peers: &Peers,
        asks: &Asks,
        settling: bool,
        tag: ClientTag,
    ) -> Watching {
        Watching {
            hub: self.info.version.to_owned(),
            pid: self.info.pid,
            settling,
            peers: views(now, peers, asks, tag),
            machines: peers.machines(now),
            asks: asks.views(now, peers),
        }
    }
}

fn views(now: Instant, peers: &Peers, asks: &Asks, than: ClientTag) -> Vec<PeerView> {
    let others = peers.others(than).into_iter();
    others.filter_map(|tag| peers.view(now, tag, asks.counts(tag))).collect()
}
