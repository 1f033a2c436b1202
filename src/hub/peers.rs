//! The clients that have said hello, the names of those that are peers, and how long a lost one is waited for.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::ConnId;
use super::names::{self, Names};
use crate::deadlines::Deadlines;
use crate::protocol::{
    AskId, ClientKind, Hello, NameError, OpenAsks, PeerKey, PeerName, PeerTag, PeerView, Presence, SHELL, SessionFacts,
};

/// How long a client whose connection was lost is waited for, unless its process is known to have ended.
pub const GONE_WAIT: Duration = Duration::from_secs(2);

/// A client that has said hello: a session (a peer with a name) or a person's tool.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    /// Its secret identity.
    pub(super) key: PeerKey,
    /// Its program and version.
    pub(super) program: String,
    /// Its connection; none while it is waited for.
    pub(super) conn: Option<ConnId>,
    /// What makes it a peer that can be asked.
    pub(super) session: Option<Session>,
    /// The ask that it received last: the parent of what it asks next.
    pub(super) last_received: Option<AskId>,
    /// An ask of the broadcast that it sent last: the parent of its next broadcast, if it received nothing since.
    pub(super) last_broadcast: Option<AskId>,
    since: Instant,
}

/// The part of a peer that only a session has.
#[derive(Debug, Clone)]
pub(super) struct Session {
    /// Its name; unique among all.
    pub(super) name: PeerName,
    /// Whether somebody chose the name or brought it back, so that it wins over one that the folder gave.
    chosen: bool,
    /// What its channel said of it.
    pub(super) facts: SessionFacts,
}

impl Peer {
    /// Returns who its messages are from.
    pub(super) fn sender(&self) -> String {
        self.session.as_ref().map_or_else(|| SHELL.to_owned(), |session| session.name.to_string())
    }
}

/// What came of a hello.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Registered {
    /// The client.
    pub(super) tag: PeerTag,
    /// An older connection of the same client, which must be closed.
    pub(super) superseded: Option<ConnId>,
    /// A newcomer that had to give up its name to this one, and the name that it has instead.
    pub(super) displaced: Option<(PeerTag, PeerName)>,
    /// Whether the hub knew the client already.
    pub(super) resumed: bool,
}

/// The registered clients. Invariant: `names` holds exactly the sessions' names.
#[derive(Debug, Clone)]
pub(super) struct Peers {
    by_tag: BTreeMap<PeerTag, Peer>,
    names: Names,
    waits: Deadlines<PeerTag>,
}

impl Peers {
    /// Returns an empty register.
    pub(super) const fn new() -> Self {
        Self { by_tag: BTreeMap::new(), names: Names::new(), waits: Deadlines::new() }
    }

    /// Registers a client, or takes a known one back on its new connection.
    ///
    /// `settling`: names that are brought back win over names that newcomers got from their folders.
    pub(super) fn register(&mut self, now: Instant, conn: ConnId, hello: Hello, settling: bool) -> Registered {
        let tag = hello.key.tag();
        self.waits.clear(&tag);
        if let Some(peer) = self.by_tag.get_mut(&tag) {
            peer.program = hello.program;
            if let (Some(session), ClientKind::Channel(facts)) = (&mut peer.session, hello.kind) {
                session.facts = facts;
            }
            return Registered { tag, superseded: peer.conn.replace(conn), displaced: None, resumed: true };
        }
        let (session, displaced) = match hello.kind {
            // Companions are no peers and are not registered here.
            ClientKind::Control {} | ClientKind::Waiter(_) | ClientKind::Hook(_) => (None, None),
            ClientKind::Channel(facts) => {
                let (session, displaced) = self.name_newcomer(tag, facts, settling);
                (Some(session), displaced)
            }
        };
        let peer = Peer {
            key: hello.key,
            program: hello.program,
            conn: Some(conn),
            session,
            last_received: None,
            last_broadcast: None,
            since: now,
        };
        self.by_tag.insert(tag, peer);
        Registered { tag, superseded: None, displaced, resumed: false }
    }

    fn name_newcomer(
        &mut self,
        tag: PeerTag,
        facts: SessionFacts,
        settling: bool,
    ) -> (Session, Option<(PeerTag, PeerName)>) {
        let brought = facts.name.clone().filter(|name| !names::looks_reserved(name));
        let chosen = brought.is_some();
        let wanted = brought.unwrap_or_else(|| names::of_folder(&facts.cwd));
        let mut displaced = None;
        if let Some(holder) = self.names.holder(&wanted)
            && settling
            && chosen
            && self.by_tag.get(&holder).is_some_and(|peer| peer.session.as_ref().is_some_and(|s| !s.chosen))
        {
            let other = self.names.free(&wanted);
            self.set_name(holder, other.clone(), false);
            displaced = Some((holder, other));
        }
        let name = self.names.free(&wanted);
        self.names.insert(name.clone(), tag);
        (Session { name, chosen, facts }, displaced)
    }

    /// Gives a session another name.
    ///
    /// # Errors
    /// The text is no name, or another peer has it.
    pub(super) fn rename(&mut self, tag: PeerTag, wanted: &str) -> Result<PeerName, RenameError> {
        let name = parse(wanted).map_err(RenameError::NoName)?;
        match self.names.holder(&name) {
            Some(holder) if holder != tag => return Err(RenameError::Taken(name)),
            Some(_) | None => self.set_name(tag, name.clone(), true),
        }
        Ok(name)
    }

    /// Gives a session the name that its user gave it, with a suffix where another peer has it; none where the text is no
    /// name or the session has that one already.
    pub(super) fn rename_freely(&mut self, tag: PeerTag, wanted: &str) -> Option<PeerName> {
        let wanted = parse(wanted).ok()?;
        let own = self.name(tag)?.clone();
        self.names.remove(&own);
        let name = self.names.free(&wanted);
        self.names.insert(own.clone(), tag);
        if name == own {
            return None;
        }
        self.set_name(tag, name.clone(), true);
        Some(name)
    }

    /// Gives a session this name if it is free and the one that it has came from its folder. Returns the former name.
    pub(super) fn inherit(&mut self, tag: PeerTag, name: PeerName) -> Option<PeerName> {
        let session = self.by_tag.get(&tag)?.session.as_ref()?;
        if session.chosen || self.names.holder(&name).is_some() {
            return None;
        }
        let former = session.name.clone();
        self.set_name(tag, name, true);
        Some(former)
    }

    fn set_name(&mut self, tag: PeerTag, name: PeerName, chosen: bool) {
        if let Some(session) = self.by_tag.get_mut(&tag).and_then(|peer| peer.session.as_mut()) {
            self.names.remove(&session.name);
            self.names.insert(name.clone(), tag);
            session.name = name;
            session.chosen = chosen;
        }
    }

    /// Starts waiting for a client whose connection was lost; nothing where the connection was not its last one.
    pub(super) fn handle_lost(&mut self, tag: PeerTag, conn: ConnId, until: Instant) {
        if let Some(peer) = self.by_tag.get_mut(&tag)
            && peer.conn == Some(conn)
        {
            peer.conn = None;
            self.waits.set(tag, until);
        }
    }

    /// Removes a client; its name is free at once.
    pub(super) fn forget(&mut self, tag: PeerTag) -> Option<Peer> {
        let peer = self.by_tag.remove(&tag)?;
        self.waits.clear(&tag);
        if let Some(session) = &peer.session {
            self.names.remove(&session.name);
        }
        Some(peer)
    }

    /// Takes one client that has been waited for in vain.
    pub(super) fn pop_gone(&mut self, now: Instant) -> Option<PeerTag> {
        self.waits.pop_due(now)
    }

    /// Returns when the next client has been waited for in vain.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.waits.next()
    }

    /// Returns a client.
    pub(super) fn get(&self, tag: PeerTag) -> Option<&Peer> {
        self.by_tag.get(&tag)
    }

    /// Returns a client for changing it.
    pub(super) fn get_mut(&mut self, tag: PeerTag) -> Option<&mut Peer> {
        self.by_tag.get_mut(&tag)
    }

    /// Returns the connection of a client that has one.
    pub(super) fn conn(&self, tag: PeerTag) -> Option<ConnId> {
        self.by_tag.get(&tag)?.conn
    }

    /// Returns the name of a client that is a peer.
    pub(super) fn name(&self, tag: PeerTag) -> Option<&PeerName> {
        self.by_tag.get(&tag)?.session.as_ref().map(|session| &session.name)
    }

    /// Returns whose name this is.
    pub(super) fn find(&self, name: &PeerName) -> Option<PeerTag> {
        self.names.holder(name)
    }

    /// Takes note of what a session does and how it can be woken. Returns whether that is new.
    pub(super) fn set_presence(&mut self, tag: PeerTag, presence: Presence) -> bool {
        self.by_tag
            .get_mut(&tag)
            .and_then(|peer| peer.session.as_mut())
            .is_some_and(|session| std::mem::replace(&mut session.facts.presence, presence) != presence)
    }

    /// Returns every peer but one, by name.
    pub(super) fn others(&self, than: PeerTag) -> Vec<PeerTag> {
        self.names.holders().filter(|tag| *tag != than).collect()
    }

    /// Returns how many peers there are, without the clients that cannot be asked.
    pub(super) fn n_sessions(&self) -> usize {
        self.names.len()
    }

    /// Returns all clients.
    pub(super) fn all(&self) -> impl Iterator<Item = &Peer> {
        self.by_tag.values()
    }

    /// Returns a peer as others see it.
    pub(super) fn view(&self, now: Instant, tag: PeerTag, open_asks: OpenAsks) -> Option<PeerView> {
        let peer = self.by_tag.get(&tag)?;
        let session = peer.session.as_ref()?;
        Some(PeerView {
            name: session.name.clone(),
            cwd: session.facts.cwd.clone(),
            branch: session.facts.branch.clone(),
            pid: session.facts.pid,
            client: session.facts.client.clone(),
            presence: session.facts.presence,
            connected_s: now.saturating_duration_since(peer.since).as_secs(),
            open_asks,
        })
    }
}

/// Makes a name of what somebody wishes to be called.
fn parse(wish: &str) -> Result<PeerName, NameError> {
    let name = PeerName::parse(wish)?;
    if names::looks_reserved(&name) { Err(NameError::Reserved) } else { Ok(name) }
}

/// Says why a session keeps the name that it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RenameError {
    /// The text is no name.
    NoName(NameError),
    /// Another peer has it.
    Taken(PeerName),
}
