//! The clients that have said hello: sessions, which are peers with a name, the person's tools, and other machines.
//!
//! A client whose connection is lost is waited for, and so is a session whose channel parked a value and left: all that is
//! open of it stays open meanwhile.

mod address;
mod machine;
mod remote;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use self::machine::Machine;
pub(super) use self::machine::REMOTE_WAIT;

use super::connections::ConnId;
use super::effect::{Caller, Outbox};
use super::limits::{CWD_MAX_BYTES, FACT_MAX_BYTES, Limits};
use super::names::{self, Names};
use super::quota::Quota;
use super::refusals::{self, Refused, Texts};
use crate::deadlines::Deadlines;
use crate::protocol::{
    Accepted, Activity, AskId, AskState, ClientKind, ClientTag, Event, Hello, MachineName, NameError, OpenAsks,
    PARKED_MAX_BYTES, PeerName, PeerView, Presence, Renamed, SHELL, SessionFacts, SessionId, Watched,
};

/// How long a client whose connection was lost is waited for, unless its process is known to have ended.
pub const GONE_WAIT: Duration = Duration::from_secs(2);

/// Who a message of a client that is not there any more was from.
const ENDED_SESSION: &str = "a session that has ended";

#[derive(Debug, Clone)]
struct Client {
    /// Its program and version.
    program: String,
    /// Its connection; none while it is waited for.
    conn: Option<ConnId>,
    role: Role,
    since: Instant,
}

/// What a client is.
#[derive(Debug, Clone)]
enum Role {
    /// A peer that can be asked.
    Session(Box<Session>),
    /// The person's tool.
    Control,
    /// The shell of another machine, which stands for the machine.
    Machine(Box<Machine>),
}

/// Where a session is.
#[derive(Debug, Clone)]
enum Home {
    /// On this machine: its identity.
    Here(SessionId),
    /// On another machine, and its tag there.
    At(MachineName, ClientTag),
}

/// The part of a client that only a session has.
#[derive(Debug, Clone)]
struct Session {
    /// Its name; unique among all.
    name: PeerName,
    /// Whether somebody chose the name or it was brought back, so that it wins over one that the folder gave.
    is_chosen: bool,
    home: Home,
    agent: String,
    client: Option<String>,
    presence: Presence,
    /// Since when it does what it does.
    status_since: Instant,
    /// What its channel left to the next one, and how many bytes that is.
    parked: Option<(Value, u64)>,
}

/// What came of a hello.
#[derive(Debug)]
pub(super) struct Arrival {
    /// The client.
    pub(super) tag: ClientTag,
    /// An older connection of the same client, which must be closed.
    pub(super) superseded: Option<ConnId>,
    /// Whether the hub knew the client already.
    pub(super) is_back: bool,
    /// What the session's channel before this one has parked.
    pub(super) parked: Option<Value>,
}

/// The table. Invariant: `names` holds exactly the sessions' names, `machines` exactly the machines, `parked` counts exactly
/// the parked values.
#[derive(Debug, Clone)]
pub(super) struct Peers {
    clients: BTreeMap<ClientTag, Client>,
    names: Names,
    machines: BTreeMap<MachineName, ClientTag>,
    waits: Deadlines<ClientTag>,
    parked: Quota,
}

impl Peers {
    /// Returns an empty table.
    pub(super) const fn new() -> Self {
        Self {
            clients: BTreeMap::new(),
            names: Names::new(),
            machines: BTreeMap::new(),
            waits: Deadlines::new(),
            parked: Quota::new(Texts::Parked),
        }
    }

    /// Registers a client, or takes a known one back on its new connection.
    ///
    /// `in_grace`: names that are brought back win over names that newcomers got from their folders.
    pub(super) fn hello(
        &mut self,
        now: Instant,
        conn: ConnId,
        mut hello: Hello,
        in_grace: bool,
        out: &mut Outbox,
    ) -> Arrival {
        let tag = hello.kind.tag();
        bound(&mut hello.program, FACT_MAX_BYTES);
        self.waits.clear(&tag);
        if let Some(client) = self.clients.get_mut(&tag) {
            client.program = hello.program;
            let superseded = client.conn.replace(conn).filter(|old| *old != conn);
            let parked = self.session_mut(tag).and_then(|session| session.parked.take());
            let parked = parked.map(|(value, bytes)| {
                self.parked.take(tag, bytes);
                value
            });
            self.set_facts(now, tag, hello.kind, out);
            return Arrival { tag, superseded, is_back: true, parked };
        }
        let role = match hello.kind {
            ClientKind::Control { .. } => Role::Control,
            ClientKind::Session(facts) => Role::Session(Box::new(self.name_newcomer(now, tag, *facts, in_grace, out))),
            ClientKind::Remote(facts) => self.remote_newcomer(now, tag, *facts),
        };
        self.clients.insert(tag, Client { program: hello.program, conn: Some(conn), role, since: now });
        Arrival { tag, superseded: None, is_back: false, parked: None }
    }

    fn set_facts(&mut self, now: Instant, tag: ClientTag, kind: ClientKind, out: &mut Outbox) {
        let (agent, client, presence) = match kind {
            ClientKind::Session(facts) => (facts.agent, facts.client, facts.presence),
            ClientKind::Remote(facts) => {
                let Some(session) = facts.session else { return };
                self.follow_name(tag, session.name.as_str(), out);
                (session.agent, session.client, session.presence)
            }
            ClientKind::Control { .. } => return,
        };
        if let Some(session) = self.session_mut(tag) {
            (session.agent, session.client) = bounded(agent, client);
        }
        self.set_presence(now, tag, presence, out);
    }

    fn name_newcomer(
        &mut self,
        now: Instant,
        tag: ClientTag,
        facts: SessionFacts,
        in_grace: bool,
        out: &mut Outbox,
    ) -> Session {
        let SessionFacts { session, name, agent, client, mut presence } = facts;
        bound_presence(&mut presence);
        let brought = name.filter(|name| name.machine().is_none() && !names::looks_reserved(name));
        let is_chosen = brought.is_some();
        let wanted = brought.unwrap_or_else(|| names::of_folder(&presence.cwd));
        if let Some(holder) = self.names.holder(&wanted).filter(|_| in_grace && is_chosen)
            && self.session(holder).is_some_and(|session| !session.is_chosen)
        {
            let other = self.names.free(&wanted);
            self.set_name(holder, other, false, out);
            self.tell_renamed(holder, out);
        }
        let name = self.names.free(&wanted);
        self.names.insert(name.clone(), tag);
        let (agent, client) = bounded(agent, client);
        let home = Home::Here(session);
        Session { name, is_chosen, home, agent, client, presence, status_since: now, parked: None }
    }

    /// Gives a session another name.
    ///
    /// # Errors
    /// The client is no session, the text is no name, or another session has it.
    pub(super) fn rename(&mut self, tag: ClientTag, wanted: &str, out: &mut Outbox) -> Result<PeerName, Refused> {
        let Some(own) = self.name(tag) else { return Err(refusals::only_sessions("have a name")) };
        let name = parse(wanted).map_err(refusals::no_name)?;
        if self.names.holder(&name).is_some_and(|holder| holder != tag) {
            return Err(refusals::name_taken(&name, own.as_str()));
        }
        self.set_name(tag, name.clone(), true, out);
        Ok(name)
    }

    /// Gives a session the name that its user gave it in its agent, with a suffix where another session has it. Nothing
    /// happens where the text is no name or the session has that one already.
    pub(super) fn follow_name(&mut self, tag: ClientTag, wanted: &str, out: &mut Outbox) {
        let (Ok(wanted), Some(own)) = (parse(wanted), self.name(tag).cloned()) else { return };
        let wanted = self.machine_of(tag).map_or(wanted.clone(), |machine| wanted.at(machine));
        self.names.remove(&own);
        let name = self.names.free(&wanted);
        self.names.insert(own.clone(), tag);
        if name != own {
            self.set_name(tag, name, true, out);
            self.tell_renamed(tag, out);
        }
    }

    fn set_name(&mut self, tag: ClientTag, name: PeerName, is_chosen: bool, out: &mut Outbox) {
        if let Some(session) = self.session_mut(tag) {
            session.is_chosen = is_chosen;
            let former = std::mem::replace(&mut session.name, name.clone());
            if former != name {
                tracing::info!(peer = name.as_str(), former = former.as_str(), "a session was renamed");
                self.names.remove(&former);
                self.names.insert(name.clone(), tag);
                out.watched(|| Some(Watched::PeerRenamed { former, name }));
            }
        }
    }

    fn tell_renamed(&self, tag: ClientTag, out: &mut Outbox) {
        if let Some(name) = self.name(tag).cloned() {
            out.event(self.conn(tag), Event::Renamed(Renamed { name }));
        }
    }

    /// Records where a session works, what it does and how it can be woken.
    pub(super) fn set_presence(&mut self, now: Instant, tag: ClientTag, mut presence: Presence, out: &mut Outbox) {
        bound_presence(&mut presence);
        if let Some(session) = self.session_mut(tag).filter(|session| session.presence != presence) {
            let former = std::mem::replace(&mut session.presence, presence);
            let doing = |presence: &Presence| (presence.status, presence.waiting_for.clone());
            if doing(&former) != doing(&session.presence) {
                session.status_since = now;
            }
            let (name, presence) = (&session.name, &session.presence);
            out.watched(|| Some(Watched::PeerChanged { name: name.clone(), presence: presence.clone() }));
        }
    }

    /// Keeps a value for the session's next channel, in place of an older one.
    ///
    /// # Errors
    /// It is too large, or there is no room.
    pub(super) fn park(&mut self, limits: &Limits, tag: ClientTag, value: Value) -> Result<(), Refused> {
        if self.session(tag).is_none() {
            return Ok(());
        }
        self.unpark(tag);
        let bytes = value.to_string().len();
        if bytes > PARKED_MAX_BYTES {
            return Err(refusals::over_share(
                Texts::Parked,
                bytes as u64,
                0,
                PARKED_MAX_BYTES as u64,
                limits.held_bytes,
            ));
        }
        self.parked.check(limits, tag, bytes as u64, false)?;
        self.parked.add(tag, bytes as u64);
        if let Some(session) = self.session_mut(tag) {
            session.parked = Some((value, bytes as u64));
        }
        Ok(())
    }

    fn unpark(&mut self, tag: ClientTag) {
        let parked = self.session_mut(tag).and_then(|session| session.parked.take());
        if let Some((_, bytes)) = parked {
            self.parked.take(tag, bytes);
        }
    }

    /// Returns the identity of a session that has parked a value.
    pub(super) fn parked_by(&self, tag: ClientTag) -> Option<SessionId> {
        self.session(tag).filter(|session| session.parked.is_some())?;
        self.session_id(tag).cloned()
    }

    /// Returns the identity of a session on this machine.
    pub(super) fn session_id(&self, tag: ClientTag) -> Option<&SessionId> {
        match &self.session(tag)?.home {
            Home::Here(session) => Some(session),
            Home::At(..) => None,
        }
    }

    /// Returns whether a value is kept for a channel that may come.
    pub(super) fn has_parked(&self) -> bool {
        !self.parked.is_empty()
    }

    /// Starts waiting for a client whose connection is over.
    pub(super) fn wait(&mut self, tag: ClientTag, until: Instant) {
        if let Some(client) = self.clients.get_mut(&tag) {
            client.conn = None;
            self.waits.set(tag, until);
        }
    }

    /// Removes a client; its name is free at once.
    pub(super) fn remove(&mut self, tag: ClientTag, out: &mut Outbox) {
        self.unpark(tag);
        self.waits.clear(&tag);
        tracing::info!(peer = self.sender(tag), "a client has left");
        match self.clients.remove(&tag).map(|client| client.role) {
            Some(Role::Session(session)) => {
                self.names.remove(&session.name);
                out.watched(|| Some(Watched::PeerLeft { name: session.name }));
            }
            Some(Role::Machine(machine)) => {
                self.machines.remove(&machine.name);
                out.watched(|| Some(Watched::MachineLeft { name: machine.name }));
            }
            Some(Role::Control) | None => {}
        }
    }

    /// Takes one client that has been waited for in vain.
    pub(super) fn pop_gone(&mut self, now: Instant) -> Option<ClientTag> {
        self.waits.pop_due(now)
    }

    /// Returns when the next client has been waited for in vain.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.waits.next()
    }

    fn session(&self, tag: ClientTag) -> Option<&Session> {
        match &self.clients.get(&tag)?.role {
            Role::Session(session) => Some(session),
            Role::Control | Role::Machine(_) => None,
        }
    }

    fn session_mut(&mut self, tag: ClientTag) -> Option<&mut Session> {
        match &mut self.clients.get_mut(&tag)?.role {
            Role::Session(session) => Some(session),
            Role::Control | Role::Machine(_) => None,
        }
    }

    /// Returns whether a client is known, connected or waited for.
    pub(super) fn contains(&self, tag: ClientTag) -> bool {
        self.clients.contains_key(&tag)
    }

    /// Returns the connection of a client that has one.
    pub(super) fn conn(&self, tag: ClientTag) -> Option<ConnId> {
        self.clients.get(&tag)?.conn
    }

    /// Returns the caller without its connection if that is not its client's any more.
    pub(super) fn still(&self, caller: Caller) -> Caller {
        Caller { conn: caller.conn.filter(|conn| self.conn(caller.tag) == Some(*conn)), ..caller }
    }

    /// Returns the name of a client that is a session.
    pub(super) fn name(&self, tag: ClientTag) -> Option<&PeerName> {
        self.session(tag).map(|session| &session.name)
    }

    /// Returns who a client's messages are from.
    pub(super) fn sender(&self, tag: ClientTag) -> &str {
        match self.clients.get(&tag).map(|client| &client.role) {
            Some(Role::Session(session)) => session.name.as_str(),
            Some(Role::Control) => SHELL,
            Some(Role::Machine(machine)) => &machine.sender,
            None => ENDED_SESSION,
        }
    }

    /// Returns what holds of a session at this moment.
    pub(super) fn presence(&self, tag: ClientTag) -> Option<&Presence> {
        self.session(tag).map(|session| &session.presence)
    }

    /// Returns every session but one, by name.
    pub(super) fn others(&self, than: ClientTag) -> Vec<ClientTag> {
        self.names.holders().filter(|tag| *tag != than).collect()
    }

    /// Returns how many sessions there are.
    pub(super) fn n_sessions(&self) -> usize {
        self.names.len()
    }

    /// Returns how many clients there are of each program.
    pub(super) fn programs(&self) -> BTreeMap<String, u64> {
        let mut programs = BTreeMap::new();
        for client in self.clients.values() {
            *programs.entry(client.program.clone()).or_default() += 1;
        }
        programs
    }

    /// Returns whether no client is known.
    pub(super) fn is_empty(&self) -> bool {
        self.clients.is_empty() && self.parked.is_empty()
    }

    /// Returns what the asker of this session is answered. `to`: what it is called where it has left meanwhile.
    pub(super) fn accepted(&self, ask_id: AskId, tag: ClientTag, state: AskState, to: &str) -> Accepted {
        let presence = self.presence(tag);
        Accepted {
            ask_id,
            to: self.name(tag).cloned().unwrap_or_else(|| PeerName::of_address(to)),
            tag,
            state,
            cwd: presence.map_or_else(String::new, |presence| presence.cwd.clone()),
            status: presence.map_or(Activity::Unknown, |presence| presence.status),
            waiting_for: presence.and_then(|presence| presence.waiting_for.clone()),
        }
    }

    /// Returns a session as others see it.
    pub(super) fn view(&self, now: Instant, tag: ClientTag, open_asks: OpenAsks) -> Option<PeerView> {
        let since = self.clients.get(&tag)?.since;
        let Session { name, agent, client, presence, status_since, .. } = self.session(tag)?;
        Some(PeerView {
            name: name.clone(),
            tag: Some(tag),
            machine: self.machine_of(tag).cloned(),
            pid: self.session_id(tag).map(|session| session.pid),
            agent: agent.clone(),
            client: client.clone(),
            reachable: self.is_remote(tag).then(|| self.is_reachable(tag)),
            presence: presence.clone(),
            status_s: now.saturating_duration_since(*status_since).as_secs(),
            connected_s: now.saturating_duration_since(since).as_secs(),
            open_asks,
        })
    }
}

/// Makes a name of what somebody wishes to be called.
fn parse(wish: &str) -> Result<PeerName, NameError> {
    let name = PeerName::parse(wish)?;
    if names::looks_reserved(&name) { Err(NameError::Reserved) } else { Ok(name) }
}

/// Cuts what a session says of itself to what people read: it is kept, listed to everybody and shown on terminals.
fn bounded(mut agent: String, mut client: Option<String>) -> (String, Option<String>) {
    bound(&mut agent, FACT_MAX_BYTES);
    client.iter_mut().for_each(|client| bound(client, FACT_MAX_BYTES));
    (agent, client)
}

fn bound_presence(presence: &mut Presence) {
    bound(&mut presence.cwd, CWD_MAX_BYTES);
    let texts = [&mut presence.branch, &mut presence.waiting_for].into_iter().flatten();
    texts.for_each(|text| bound(text, FACT_MAX_BYTES));
}

fn bound(text: &mut String, max: usize) {
    if text.len() > max || text.contains(char::is_control) {
        *text = text.chars().filter(|c| !c.is_control()).take(max / 4).collect();
    }
}
