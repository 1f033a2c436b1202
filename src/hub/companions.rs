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

/// What the connections of one session have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Client {
    /// The process of the session's client.
    pub(super) process: ClientProcess,
    /// Whether the system says that it started whoever names it. Where it does not tell, what is said is believed, and
    /// kept apart from what is proven.
    pub(super) is_proven: bool,
}

/// A waiter or a hook.
#[derive(Debug, Clone)]
pub(super) struct Companion {
    tag: PeerTag,
    role: Role,
    client: Client,
    /// The batch that it waits for the verdict of.
    holding: Option<u64>,
    /// How many offers it has not said a word about yet. Its word goes to the channel once an offer, or a companion that
    /// repeats it would fill the channel's queues.
    unheld_offers: u64,
    receipts: Vec<Receipt>,
}

impl Companion {
    /// Returns a companion of what it says of itself.
    pub(super) fn new(tag: PeerTag, role: Role, client: Client, facts: CompanionFacts) -> Self {
        let CompanionFacts { holding, mut receipts, .. } = facts;
        receipts.truncate(RECEIPTS_MAX);
        Self { tag, role, client, holding, unheld_offers: 0, receipts }
    }
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

impl Session {
    /// Returns whether nobody belongs to it and nothing is remembered of it.
    fn is_empty(&self) -> bool {
        self.channels.is_empty() && self.companions.is_empty() && self.name.is_none()
    }
}

/// All companions. Invariant: a session is here as long as it has a channel, and as long as one is waited for.
#[derive(Debug, Clone)]
pub(super) struct Companions {
    by_conn: BTreeMap<ConnId, Companion>,
    sessions: BTreeMap<Client, Session>,
    /// The session that each channel belongs to: one.
    clients: BTreeMap<PeerTag, Client>,
    orphaned: Deadlines<Client>,
}

impl Companions {
    pub(super) const fn new() -> Self {
        Self {
            by_conn: BTreeMap::new(),
            sessions: BTreeMap::new(),
            clients: BTreeMap::new(),
            orphaned: Deadlines::new(),
        }
    }

    /// Adds a companion; a waiter takes the place of the one before, which is returned.
    fn join(&mut self, now: Instant, conn: ConnId, companion: Companion) -> Option<ConnId> {
        let session = self.sessions.entry(companion.client).or_default();
        if session.channels.is_empty() && self.orphaned.get(&companion.client).is_none() {
            self.orphaned.set(companion.client, now + ORPHANED_WAIT);
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
        if let Some(session) = self.sessions.get_mut(&companion.client) {
            session.companions.remove(&conn);
            in_force = session.waiter == Some(conn);
            session.waiter = session.waiter.filter(|waiter| *waiter != conn);
            if session.is_empty() {
                self.sessions.remove(&companion.client);
                self.orphaned.clear(&companion.client);
            }
        }
        Some((companion, in_force))
    }

    /// Takes note of a session's channel. The newest one has the companions.
    fn set_channel(&mut self, client: Client, tag: PeerTag) {
        let session = self.sessions.entry(client).or_default();
        session.channels.retain(|channel| *channel != tag);
        session.channels.push(tag);
        self.orphaned.clear(&client);
        self.clients.insert(tag, client);
    }

    /// Takes note of a channel's end. Returns the newest one of those that are left, and whether it is an older one, which
    /// has the companions only now.
    fn unset_channel(&mut self, now: Instant, tag: PeerTag, name: Option<PeerName>) -> Option<(PeerTag, bool)> {
        let client = self.clients.remove(&tag)?;
        let session = self.sessions.get_mut(&client)?;
        let was_newest = session.channels.last() == Some(&tag);
        session.channels.retain(|channel| *channel != tag);
        let newest = session.channels.last().copied();
        if newest.is_none() {
            session.name = name;
            self.orphaned.set(client, now + ORPHANED_WAIT);
        }
        newest.map(|newest| (newest, was_newest))
    }

    /// Forgets one session whose channel has been gone for too long, and returns its companions.
    fn pop_orphaned(&mut self, now: Instant) -> Option<Vec<ConnId>> {
        let client = self.orphaned.pop_due(now)?;
        let session = self.sessions.remove(&client);
        Some(session.into_iter().flat_map(|session| session.companions).collect())
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.orphaned.next()
    }

    /// Returns whether this connection is a companion's.
    pub(super) fn contains(&self, conn: ConnId) -> bool {
        self.by_conn.contains_key(&conn)
    }

    /// Returns the channel that has the companions of this client.
    pub(super) fn channel(&self, client: Client) -> Option<PeerTag> {
        self.sessions.get(&client)?.channels.last().copied()
    }

    /// Returns the client of a channel.
    pub(super) fn client(&self, channel: PeerTag) -> Option<Client> {
        self.clients.get(&channel).copied()
    }

    /// Returns the connection of this channel's companion.
    fn companion_of(&self, channel: PeerTag, companion: PeerTag) -> Option<ConnId> {
        let session = self.sessions.get(self.clients.get(&channel)?)?;
        session.companions.iter().copied().find(|conn| self.by_conn.get(conn).is_some_and(|c| c.tag == companion))
    }

    fn waiter_of(&self, channel: PeerTag) -> Option<PeerTag> {
        let session = self.sessions.get(self.clients.get(&channel)?)?;
        self.by_conn.get(&session.waiter?).map(|waiter| waiter.tag)
    }

    fn all_of(&self, channel: PeerTag) -> impl Iterator<Item = &Companion> {
        let session = self.clients.get(&channel).and_then(|client| self.sessions.get(client));
        session.into_iter().flat_map(|session| &session.companions).filter_map(|conn| self.by_conn.get(conn))
    }

    /// Returns the channels that may have companions.
    fn channels(&self) -> Vec<PeerTag> {
        self.clients.keys().copied().collect()
    }
}

impl Hub {
    /// Lets a channel that its client has started anew take the name of the one before, which has left. One whose connection
    /// is lost keeps its name while it may come back: [`Hub::bequeath_name`].
    pub(super) fn succeed(&mut self, client: Client, hello: &mut Hello) {
        if let (ClientKind::Channel(facts), Some(session)) =
            (&mut hello.kind, self.companions.sessions.get_mut(&client))
            && facts.name.is_none()
        {
            facts.name = session.name.take();
        }
    }

    /// Gives the name of a channel that has gone to the one that its client started after it.
    pub(super) fn bequeath_name(&mut self, successor: PeerTag, name: PeerName) {
        if let Some(former) = self.peers.inherit(successor, name.clone()) {
            self.tell_renamed(&former, &name);
            self.send(successor, HubMessage::Renamed { id: None, name });
        }
    }

    /// Takes a waiter or a hook in, which has said hello and was welcomed.
    pub(super) fn handle_companion(&mut self, now: Instant, conn: ConnId, companion: Companion) {
        let Companion { tag, role, client, .. } = companion;
        if let Some(old) = self.companions.join(now, conn, companion) {
            self.send_to(old, HubMessage::End {});
        }
        match self.companions.channel(client) {
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
        let Some(unheld) = companion.unheld_offers.checked_sub(1) else { return };
        companion.unheld_offers = unheld;
        companion.holding = Some(batch);
        let (client, by) = (companion.client, companion.tag);
        if let Some(channel) = self.companions.channel(client) {
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
            if let Some(companion) = self.companions.by_conn.get_mut(&conn) {
                companion.unheld_offers += 1;
            }
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
        let Some(channel) = self.companions.channel(companion.client) else { return };
        match companion.role {
            Role::Waiter if in_force => self.send(channel, HubMessage::Waiter { tag: None }),
            Role::Waiter => {}
            Role::Hook => self.send(channel, HubMessage::HookGone { by: companion.tag }),
        }
    }

    /// Takes note of a channel that has come, or come back, and of the session that it belongs to now.
    pub(super) fn handle_channel_came(&mut self, now: Instant, client: Option<Client>, channel: PeerTag) {
        let former = self.companions.clients.get(&channel).copied();
        if former.is_some() && former != client {
            self.handle_channel_gone(now, channel);
        }
        if let Some(client) = client {
            self.companions.set_channel(client, channel);
            self.introduce_all(channel);
        }
    }

    /// Takes note of a channel's end, and gives its companions to the session's other channel, if there is one. Returns
    /// that one if it is the newer one, which succeeds it.
    pub(super) fn handle_channel_gone(&mut self, now: Instant, channel: PeerTag) -> Option<PeerTag> {
        let name = self.peers.name(channel).cloned();
        let (newest, has_them_now) = self.companions.unset_channel(now, channel, name)?;
        if has_them_now {
            self.introduce_all(newest);
            return None;
        }
        Some(newest)
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
