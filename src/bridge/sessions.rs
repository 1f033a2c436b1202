//! The sessions of this machine, as the hub tells those who watch. Pure.

use std::collections::BTreeMap;

use super::frame::Sessions;
use super::rights::Rights;
use crate::protocol::{PeerName, PeerView, Watched, Watching};

/// What is known of the sessions here, and whether it is all.
#[derive(Debug, Default)]
pub struct OwnSessions {
    by_name: BTreeMap<PeerName, PeerView>,
    /// Whether the hub is connected and has said who is there.
    is_known: bool,
    /// Whether the hub still waits for sessions to come back.
    settling: bool,
}

impl OwnSessions {
    /// Takes the whole state. Sessions of other machines are theirs to tell.
    pub fn handle_watching(&mut self, watching: Watching) {
        (self.is_known, self.settling) = (true, watching.settling);
        self.by_name = watching.peers.into_iter().map(|peer| (peer.name.clone(), peer)).collect();
        self.by_name.retain(|_, peer| peer.machine.is_none());
    }

    /// Takes one change. Returns whether it is about the sessions.
    pub fn handle_change(&mut self, change: Watched) -> bool {
        match change {
            Watched::PeerCame { peer } if peer.machine.is_none() => drop(self.by_name.insert(peer.name.clone(), peer)),
            Watched::PeerLeft { name } => drop(self.by_name.remove(&name)),
            Watched::PeerRenamed { former, name } => {
                if let Some(mut peer) = self.by_name.remove(&former) {
                    peer.name = name.clone();
                    self.by_name.insert(name, peer);
                }
            }
            Watched::PeerChanged { name, presence } => {
                if let Some(peer) = self.by_name.get_mut(&name) {
                    peer.presence = presence;
                }
            }
            Watched::PeerCame { .. }
            | Watched::MachineChanged(_)
            | Watched::MachineLeft { .. }
            | Watched::AskOpened(_)
            | Watched::AskAdvanced { .. }
            | Watched::AskRefused { .. }
            | Watched::AskEnded { .. } => return false,
        }
        true
    }

    /// Records that the hub's grace period is over.
    pub const fn handle_settled(&mut self) {
        self.settling = false;
    }

    /// Records that the hub cannot be reached. Who was there may still be.
    pub const fn handle_away(&mut self) {
        (self.is_known, self.settling) = (false, true);
    }

    /// Returns whether the hub still waits for sessions to come back.
    pub const fn is_settling(&self) -> bool {
        self.is_known && self.settling
    }

    /// Returns what another machine may see of them.
    pub fn exported(&self, rights: &dyn Rights) -> Sessions {
        let sessions = self.by_name.values().filter_map(|peer| rights.export(peer)).collect();
        let may = rights.may().to_owned();
        Sessions { number: 0, hub: self.is_known, settling: self.settling, may, sessions }
    }
}
