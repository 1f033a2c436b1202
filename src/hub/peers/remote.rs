//! Sessions on other machines, and the machines: a bridge is connected once for each of them.
//!
//! A remote session is not gone because its bridge or its link is. It stays, cannot be reached, and what it was asked stays
//! open until its deadline. It has gone when its bridge says `bye` for it.

use std::time::Instant;

use super::machine::{Machine, REMOTE_WAIT};
use super::{Client, Home, Peers, Role, Session, bound_presence, bounded};
use crate::hub::effect::Outbox;
use crate::hub::rate::Party;
use crate::hub::refusals::{self, Refused};
use crate::protocol::{
    Activity, Ask, ClientTag, Edge, MachineName, MachineView, OpenAsks, PeerName, Presence, RemoteFacts, Wake, Watched,
};

impl Peers {
    /// Returns the part of a client that only a remote one has, and takes its name.
    pub(super) fn remote_newcomer(&mut self, now: Instant, tag: ClientTag, facts: RemoteFacts) -> Role {
        let RemoteFacts { machine, session } = facts;
        let Some(session) = session else {
            self.machines.insert(machine.clone(), tag);
            return Role::Machine(Box::new(Machine::new(now, machine)));
        };
        let mut presence = session.presence;
        bound_presence(&mut presence);
        let (agent, client) = bounded(session.agent, session.client);
        let name = self.names.free(&session.name.at(&machine));
        self.names.insert(name.clone(), tag);
        let home = Home::At(machine, session.id);
        Role::Session(Box::new(Session {
            name,
            is_chosen: true,
            home,
            agent,
            client,
            presence,
            status_since: now,
            parked: None,
        }))
    }

    /// Adds the session that a former hub had accepted this ask for, if it is on another machine: its bridge is not back yet.
    /// Returns it.
    pub(in crate::hub) fn expect_remote(&mut self, now: Instant, ask: &Ask) -> Option<ClientTag> {
        let tag = ask.bound?;
        let (name, machine) = PeerName::split_address(&ask.to)?;
        let name = PeerName::parse(name).ok()?.at(&machine);
        let nothing = Presence {
            cwd: String::new(),
            branch: None,
            status: Activity::Unknown,
            waiting_for: None,
            wakes_by: Wake::NextPrompt,
        };
        let name = self.names.free(&name);
        self.names.insert(name.clone(), tag);
        let session = Session {
            name,
            is_chosen: true,
            home: Home::At(machine, tag),
            agent: String::new(),
            client: None,
            presence: nothing,
            status_since: now,
            parked: None,
        };
        let role = Role::Session(Box::new(session));
        self.clients.insert(tag, Client { program: String::new(), conn: None, role, since: now });
        self.waits.set(tag, now + REMOTE_WAIT);
        Some(tag)
    }

    /// Returns what those who watch are told of a client that has come.
    pub(in crate::hub) fn came(&self, now: Instant, tag: ClientTag, open_asks: OpenAsks) -> Option<Watched> {
        match &self.clients.get(&tag)?.role {
            Role::Session(_) => Some(Watched::PeerCame { peer: self.view(now, tag, open_asks)? }),
            Role::Machine(machine) => Some(Watched::MachineChanged(self.machine_view(now, &machine.name)?)),
            Role::Control => None,
        }
    }

    /// Returns for whom the rate of a client's asks is counted: all of one machine's are one party's.
    pub(in crate::hub) fn party(&self, tag: ClientTag) -> Party {
        match self.machine_of(tag).and_then(|machine| self.machines.get(machine)) {
            Some(machine) => Party::Machine(*machine),
            None if self.name(tag).is_some() => Party::Session(tag),
            None => Party::Shell,
        }
    }

    /// Returns the machine of a remote client.
    pub(in crate::hub) fn machine_of(&self, tag: ClientTag) -> Option<&MachineName> {
        match &self.clients.get(&tag)?.role {
            Role::Session(session) => match &session.home {
                Home::Here(_) => None,
                Home::At(machine, _) => Some(machine),
            },
            Role::Machine(machine) => Some(&machine.name),
            Role::Control => None,
        }
    }

    /// Returns whether a client is a session on another machine, or that machine's shell.
    pub(in crate::hub) fn is_remote(&self, tag: ClientTag) -> bool {
        self.machine_of(tag).is_some()
    }

    /// Returns whether something can be sent to a client's machine at present. This machine can always be reached.
    pub(in crate::hub) fn is_reachable(&self, tag: ClientTag) -> bool {
        let Some(machine) = self.machine_of(tag) else { return true };
        self.conn(tag).is_some() && self.machine(machine).is_some_and(|machine| machine.is_reachable)
    }

    /// Returns since when a client's machine cannot be reached, in seconds; none where it can.
    pub(in crate::hub) fn unreachable_s(&self, now: Instant, tag: ClientTag) -> Option<u64> {
        let machine = self.machine_of(tag).filter(|_| !self.is_reachable(tag))?;
        let since = self.machine(machine).map(|machine| machine.since)?;
        Some(now.saturating_duration_since(since).as_secs())
    }

    /// Records whether a machine can be reached, as the client says that stands for it.
    pub(in crate::hub) fn set_reachable(&mut self, now: Instant, tag: ClientTag, is_reachable: bool, out: &mut Outbox) {
        if let Some(Client { role: Role::Machine(machine), .. }) = self.clients.get_mut(&tag)
            && machine.is_reachable != is_reachable
        {
            (machine.is_reachable, machine.since) = (is_reachable, now);
            let name = machine.name.clone();
            out.watched(|| Some(Watched::MachineChanged(self.machine_view(now, &name)?)));
        }
    }

    /// Returns the tag by which an ask's ends are known at home, for the chain that it is part of.
    pub(in crate::hub) fn edge(&self, asker: ClientTag, asked: ClientTag) -> Edge {
        let home = |tag| match self.session(tag).map(|session| &session.home) {
            Some(Home::At(_, home)) => *home,
            Some(Home::Here(_)) | None => tag,
        };
        Edge::new(home(asker), home(asked))
    }

    /// Returns the session of this name on a machine that is known.
    ///
    /// # Errors
    /// There is none, or the machine cannot be reached and its sessions are not known.
    pub(super) fn find_at(&self, name: &str, machine: &MachineName) -> Result<ClientTag, Refused> {
        let wanted = PeerName::parse(name).map_err(|error| refusals::no_address(name, error))?.at(machine);
        if let Some(tag) = self.names.holder(&wanted) {
            return Ok(tag);
        }
        if self.machine(machine).is_some_and(|machine| machine.is_reachable) {
            Err(refusals::peer_not_found(&wanted, &self.names.nearest(&wanted)))
        } else {
            Err(refusals::machine_unreachable(machine))
        }
    }

    /// Returns the sessions of a machine, by name; of all machines where none is named. None where no machine has the name.
    pub(in crate::hub) fn sessions_at(&self, machine: Option<&str>) -> Option<Vec<ClientTag>> {
        let wanted = match machine.map(MachineName::parse) {
            Some(Ok(name)) if self.machines.contains_key(&name) => Some(name),
            Some(_) => return None,
            None => None,
        };
        let is_there = |tag: &ClientTag| match &wanted {
            Some(name) => self.machine_of(*tag) == Some(name),
            None => self.is_remote(*tag),
        };
        Some(self.names.holders().filter(is_there).collect())
    }

    /// Returns the machines as clients see them, by name.
    pub(in crate::hub) fn machines(&self, now: Instant) -> Vec<MachineView> {
        self.machines.keys().filter_map(|name| self.machine_view(now, name)).collect()
    }

    fn machine_view(&self, now: Instant, name: &MachineName) -> Option<MachineView> {
        let machine = self.machine(name)?;
        let sessions = self.names.holders().filter(|tag| self.machine_of(*tag) == Some(name)).count();
        Some(MachineView {
            name: name.clone(),
            reachable: machine.is_reachable,
            since_s: now.saturating_duration_since(machine.since).as_secs(),
            sessions: sessions as u64,
        })
    }

    fn machine(&self, name: &MachineName) -> Option<&Machine> {
        match &self.clients.get(self.machines.get(name)?)?.role {
            Role::Machine(machine) => Some(machine),
            Role::Session(_) | Role::Control => None,
        }
    }
}
