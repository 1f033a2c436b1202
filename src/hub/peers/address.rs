//! Whom an address means.

use super::Peers;
use crate::hub::names;
use crate::hub::refusals::{self, Refused};
use crate::protocol::{Ask, ClientTag, NameError, PeerName};

impl Peers {
    /// Returns whom an ask is for. Once a hub has accepted it, its session's identity decides and not the name.
    ///
    /// # Errors
    /// No session has this identity or address.
    pub(in crate::hub) fn resolve(&self, ask: &Ask) -> Result<ClientTag, Refused> {
        match ask.bound {
            Some(tag) => self.name(tag).map(|_| tag).ok_or_else(|| refusals::peer_gone(&ask.to)),
            None => match ClientTag::of_address(&ask.to) {
                Some(tag) => self.name(tag).map(|_| tag).ok_or_else(refusals::no_such_session),
                None => self.find(&ask.to),
            },
        }
    }

    /// Returns the session that an address means.
    ///
    /// # Errors
    /// It is no address, or that of no session. One whose slug loses what tells projects apart (`c++`) must be the name of
    /// a session's folder.
    pub(in crate::hub) fn find(&self, address: &str) -> Result<ClientTag, Refused> {
        if let Some((name, machine)) = PeerName::split_address(address)
            && self.machines.contains_key(&machine)
        {
            return self.find_at(name, &machine);
        }
        let name = PeerName::parse(address);
        if !names::is_lossy(address) {
            let name = name.map_err(|error| refusals::no_address(address, error))?;
            let nearest = || refusals::peer_not_found(&name, &self.names.nearest(&name));
            return self.names.holder(&name).ok_or_else(nearest);
        }
        let is_its = |tag: &ClientTag| self.presence(*tag).is_some_and(|p| names::folder(&p.cwd) == address.trim());
        let here = self.names.holders().filter(|tag| !self.is_remote(*tag));
        let found: Vec<ClientTag> = here.filter(is_its).collect();
        if found.is_empty()
            && let Some((_, machine)) = PeerName::split_address(address)
        {
            return Err(refusals::no_such_machine(machine.as_str()));
        }
        match (found.as_slice(), name) {
            ([tag], _) => Ok(*tag),
            ([], Ok(name)) => Err(refusals::no_such_folder(address, &self.names.nearest(&name))),
            ([], Err(NameError::Reserved)) => Err(refusals::no_address(address, NameError::Reserved)),
            ([], Err(NameError::Empty | NameError::NoMachine)) => Err(refusals::no_such_folder(address, &[])),
            (several, _) => {
                let names: Vec<&PeerName> = several.iter().filter_map(|tag| self.name(*tag)).collect();
                Err(refusals::several_in_folder(address, &names))
            }
        }
    }
}
