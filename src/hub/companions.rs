//! The companions of sessions: which waiter and hooks belong to which channel, and what is carried between them.
//!
//! A companion is no peer: it has no name, cannot be asked, and nothing is remembered of it when it has gone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::{CloseReason, ConnId, Hub};
use crate::deadlines::Deadlines;
use crate::protocol::{
    ClientKind, ClientMessage, ClientProcess, CompanionFacts, Hello, HubMessage, OFFER_MAX_BYTES, Offer, PeerName,
    PeerTag, RECEIPTS_MAX, Receipt, Verdict,
};

/// How long companions stay whose channel has gone or has not come yet.
pub const ORPHANED_WAIT: Duration = Duration::from_secs(10);

/// What a companion is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Waiter,
    Hook,
}

#[derive(Debug, Clone)]
struct Companion {
    tag: PeerTag,
    role: Role,
    process: ClientProcess,
    /// The batch that it waits for the verdict of.
    holding: Option<u64>,
    receipts: Vec<Receipt>,
}

/// The connections of one client process.
#[derive(Debug, Clone, Default)]
struct Session {
    /// Its channels, the newest last: that one has the companions.
    channels: Vec<PeerTag>,
    /// The waiter that is in force.
    waiter: Option<ConnId>,
    companions: BTreeSet<ConnId>,
    /// The name that its last channel had, for the next one.
    name: Option<PeerName>,
}

/// All companions. Invariant: a session is here as long as it has a channel, and as long as one is waited for.
#[derive(Debug, Clone)]
pub(super) struct Companions {
    by_conn: BTreeMap<ConnId, Companion>,
    sessions: BTreeMap<ClientProcess, Session>,
    processes: BTreeMap<PeerTag, ClientProcess>,
    orphaned: Deadlines<ClientProcess>,
}

impl Companions {
    pub(super) const fn new() -> Self {
        Self {
            by_conn: BTreeMap::new(),
            sessions: BTreeMap::new(),
            processes: BTreeMap::new(),
            orphaned: Deadlines::new(),
        }
    }

    /// Adds a companion; a waiter takes the place of the one before, which is returned.
    fn join(&mut self, now: Instant, conn: ConnId, companion: Companion) -> Option<ConnId> {
        let session = self.sessions.entry(companion.process).or_default();
        if session.channels.is_empty() && self.orphaned.get(&companion.process).is_none() {
            self.orphaned.set(companion.process, now + ORPHANED_WAIT);
        }
        session.companions.insert(conn);
        let superseded = match companion.role {
            Role::Waiter => session.waiter.replace(conn),
            Role::Hook => None,
        };
        self.by_conn.insert(conn, companion);
        superseded
    }

    /// Removes a companion. Returns it, and whether it was the waiter in force.
    fn leave(&mut self, conn: ConnId) -> Option<(Companion, bool)> {
        let companion = self.by_conn.remove(&conn)?;
        let mut in_force = false;
        if let Some(session) = self.sessions.get_mut(&companion.process) {
            session.companions.remove(&conn);
            in_force = session.waiter == Some(conn);
            session.waiter = session.waiter.filter(|waiter| *waiter != conn);
        }
        Some((companion, in_force))
    }

    /// Takes note of a session's channel. The newest one has the companions.
    pub(super) fn set_channel(&mut self, process: ClientProcess, tag: PeerTag) {
        let session = self.sessions.entry(process).or_default();
        session.channels.retain(|channel| *channel != tag);
        session.channels.push(tag);
        self.orphaned.clear(&process);
        self.processes.insert(tag, process);
    }

    /// Takes note of a channel's end. Returns the channel that has the companions now, if that has changed.
    fn unset_channel(&mut self, now: Instant, tag: PeerTag, name: Option<PeerName>) -> Option<PeerTag> {
        let process = self.processes.remove(&tag)?;
        let session = self.sessions.get_mut(&process)?;
        let had_them = session.channels.last() == Some(&tag);
        session.channels.retain(|channel| *channel != tag);
        let heir = session.channels.last().copied();
        if heir.is_none() {
            session.name = name;
            self.orphaned.set(process, now + ORPHANED_WAIT);
        }
        heir.filter(|_| had_them)
    }

    /// Forgets one session whose channel has been gone for too long, and returns its companions.
    fn pop_orphaned(&mut self, now: Instant) -> Option<Vec<ConnId>> {
        let process = self.orphaned.pop_due(now)?;
        let session = self.sessions.remove(&process);
        Some(session.into_iter().flat_map(|session| session.companions).collect())
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.orphaned.next()
    }

    /// Returns whether this connection is a companion's.
    pub(super) fn contains(&self, conn: ConnId) -> bool {
        self.by_conn.contains_key(&conn)
    }

    /// Returns the channel that has the companions of this client process.
    pub(super) fn channel(&self, process: ClientProcess) -> Option<PeerTag> {
        self.sessions.get(&process)?.channels.last().copied()
    }

    /// Returns the client process of a channel.
    pub(super) fn process(&self, channel: PeerTag) -> Option<ClientProcess> {
        self.processes.get(&channel).copied()
    }

    /// Returns the connection of this channel's companion.
    fn companion_of(&self, channel: PeerTag, companion: PeerTag) -> Option<ConnId> {
        let session = self.sessions.get(self.processes.get(&channel)?)?;
        session.companions.iter().copied().find(|conn| self.by_conn.get(conn).is_some_and(|c| c.tag == companion))
    }

    fn waiter_of(&self, channel: PeerTag) -> Option<PeerTag> {
        let session = self.sessions.get(self.processes.get(&channel)?)?;
        self.by_conn.get(&session.waiter?).map(|waiter| waiter.tag)
    }

    fn all_of(&self, channel: PeerTag) -> impl Iterator<Item = &Companion> {
        let session = self.processes.get(&channel).and_then(|process| self.sessions.get(process));
        session.into_iter().flat_map(|session| &session.companions).filter_map(|conn| self.by_conn.get(conn))
    }

    /// Returns the channels that may have companions.
    fn channels(&self) -> Vec<PeerTag> {
        self.processes.keys().copied().collect()
    }
}

impl Hub {
    /// Lets a channel that its client has started anew take the name of the one before, which has left or whose connection
    /// is lost.
    pub(super) fn succeed(&mut self, now: Instant, process: ClientProcess, hello: &mut Hello) {
        let former = self.companions.channel(process).filter(|tag| *tag != hello.key.tag());
        if let Some(former) = former.filter(|tag| self.peers.conn(*tag).is_none()) {
            self.forget(now, former);
        }
        if let (ClientKind::Channel(facts), Some(session)) =
            (&mut hello.kind, self.companions.sessions.get_mut(&process))
            && facts.name.is_none()
        {
            facts.name = session.name.take();
        }
    }

    /// Takes a waiter or a hook in, which has said hello and was welcomed.
    pub(super) fn handle_companion(
        &mut self,
        now: Instant,
        conn: ConnId,
        tag: PeerTag,
        role: Role,
        facts: CompanionFacts,
    ) {
        let CompanionFacts { process, holding, mut receipts } = facts;
        receipts.truncate(RECEIPTS_MAX);
        let companion = Companion { tag, role, process, holding, receipts };
        if let Some(old) = self.companions.join(now, conn, companion) {
            self.send_to(old, HubMessage::End {});
        }
        match self.companions.channel(process) {
            // A hook has no time; a waiter has the time of an orphan.
            Some(channel) if role == Role::Hook && self.seats.has_ended(channel) => {
                self.send_to(conn, HubMessage::End {})
            }
            Some(channel) => self.introduce(channel, tag),
            None if role == Role::Hook && !self.settling.is_on() => self.send_to(conn, HubMessage::End {}),
            None => {}
        }
    }

    /// Tells a channel of its companion with this tag.
    fn introduce(&mut self, channel: PeerTag, tag: PeerTag) {
        let Some(companion) = self.companions.all_of(channel).find(|companion| companion.tag == tag) else { return };
        let (role, holding, receipts) = (companion.role, companion.holding, companion.receipts.clone());
        match role {
            Role::Waiter => {
                let in_force = self.companions.waiter_of(channel);
                self.send(channel, HubMessage::Waiter { tag: in_force });
            }
            Role::Hook => self.send(channel, HubMessage::Hook { by: tag, receipts }),
        }
        if let Some(batch) = holding {
            self.send(channel, HubMessage::Holding { by: tag, batch });
        }
    }

    /// Tells a channel that has come, or come back, of its companions.
    pub(super) fn introduce_all(&mut self, channel: PeerTag) {
        let tags: Vec<PeerTag> = self.companions.all_of(channel).map(|companion| companion.tag).collect();
        if self.companions.waiter_of(channel).is_none() && !self.settling.is_on() {
            self.send(channel, HubMessage::Waiter { tag: None });
        }
        for tag in tags {
            self.introduce(channel, tag);
        }
    }

    /// Tells the channels without a waiter so: while the hub settled, theirs may have been coming back.
    pub(super) fn tell_who_has_no_waiter(&mut self) {
        for channel in self.companions.channels() {
            if self.companions.waiter_of(channel).is_none() {
                self.send(channel, HubMessage::Waiter { tag: None });
            }
        }
    }

    /// Handles what a companion says. All else than its few words is refused or passed over.
    pub(super) fn handle_companion_message(&mut self, now: Instant, conn: ConnId, message: ClientMessage) {
        let id = message.request_id();
        if message == (ClientMessage::Bye {}) {
            return self.close(now, conn, CloseReason::Bye);
        }
        if let ClientMessage::Holding { batch } = message {
            return self.handle_holding(conn, batch);
        }
        if let Some(id) = id {
            self.refuse(conn, id, super::refusal::only_clients("ask, answer or list"));
        }
    }

    fn handle_holding(&mut self, conn: ConnId, batch: u64) {
        let Some(companion) = self.companions.by_conn.get_mut(&conn) else { return };
        companion.holding = Some(batch);
        let (process, by) = (companion.process, companion.tag);
        if let Some(channel) = self.companions.channel(process) {
            self.send(channel, HubMessage::Holding { by, batch });
        }
    }

    /// Carries a channel's text to its companion; where that has gone, the channel has been or is being told.
    pub(super) fn handle_offer(&mut self, channel: PeerTag, offer: Offer) {
        let Offer { to, batch, text } = offer;
        if text.len() > OFFER_MAX_BYTES {
            tracing::warn!(bytes = text.len(), limit = OFFER_MAX_BYTES, "passed over an offer that is too large");
            return;
        }
        if let Some(conn) = self.companions.companion_of(channel, to) {
            self.send_to(conn, HubMessage::Offer { batch, text });
        }
    }

    /// Carries a channel's verdict to its companion.
    pub(super) fn handle_verdict(&mut self, channel: PeerTag, verdict: Verdict) {
        let Verdict { to, batch, show } = verdict;
        if let Some(conn) = self.companions.companion_of(channel, to) {
            self.send_to(conn, HubMessage::Verdict { batch, show });
        }
    }

    /// Takes note of the end of a companion's connection.
    pub(super) fn handle_companion_left(&mut self, conn: ConnId) {
        let Some((companion, in_force)) = self.companions.leave(conn) else { return };
        let Some(channel) = self.companions.channel(companion.process) else { return };
        match companion.role {
            Role::Waiter if in_force => self.send(channel, HubMessage::Waiter { tag: None }),
            Role::Waiter => {}
            Role::Hook => self.send(channel, HubMessage::HookGone { by: companion.tag }),
        }
    }

    /// Takes note of a channel's end, and gives its companions to the session's other channel, if there is one.
    pub(super) fn handle_channel_gone(&mut self, now: Instant, channel: PeerTag) {
        let name = self.peers.name(channel).cloned();
        if let Some(heir) = self.companions.unset_channel(now, channel, name) {
            self.introduce_all(heir);
        }
    }

    /// Ends the companions whose channel has been gone for too long.
    pub(super) fn end_orphans(&mut self, now: Instant) {
        while let Some(orphans) = self.companions.pop_orphaned(now) {
            for conn in orphans {
                self.send_to(conn, HubMessage::End {});
                self.close(now, conn, CloseReason::Orphaned);
            }
        }
    }
}

#[cfg(test)]
mod tests;
