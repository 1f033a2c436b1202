//! The first seconds of a hub's life: clients of a former hub are still coming back, so nobody is said to be missing.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::held::{Held, Text};
use super::{ConnId, Limits};
use crate::protocol::{AskId, AskRequest, AskState, ClientMessage, PeerTag};

/// How long a hub waits for the clients of a former one. Clients' longest pause between attempts is shorter.
pub const SETTLING: Duration = Duration::from_secs(2);

/// What a waiting request takes beside its texts, in bytes.
const DEFERRED_BYTES: usize = 512;

/// A request that waits for the end of the settling.
#[derive(Debug, Clone)]
pub(super) struct Deferred {
    /// Who made it.
    pub(super) tag: PeerTag,
    /// On which connection.
    pub(super) conn: ConnId,
    /// Since when it waits.
    pub(super) since: Instant,
    /// The request.
    pub(super) message: ClientMessage,
}

impl Deferred {
    /// Returns the request as it stands now: the time that an ask waited is not given to it again, since its asker has
    /// counted from the start. A broadcast's time begins when its asks are opened.
    pub(super) fn aged(self, now: Instant) -> ClientMessage {
        let waited = u64::try_from(now.saturating_duration_since(self.since).as_millis()).unwrap_or(u64::MAX);
        let mut message = self.message;
        if let ClientMessage::Ask(AskRequest { timeout_ms, .. }) = &mut message {
            *timeout_ms = timeout_ms.saturating_sub(waited).max(1);
        }
        message
    }

    /// Returns how many bytes it takes.
    pub(super) fn bytes(&self) -> u64 {
        let text = if let ClientMessage::Ask(ask) = &self.message {
            ask.question.len() + ask.to.len()
        } else if let ClientMessage::Broadcast(broadcast) = &self.message {
            broadcast.question.len()
        } else if let ClientMessage::Reply(reply) = &self.message {
            reply.text.len()
        } else {
            0
        };
        (text + DEFERRED_BYTES) as u64
    }

    /// Returns what its text is.
    pub(super) fn text(&self) -> Text {
        let is_reply = matches!(self.message, ClientMessage::Reply(_));
        if is_reply { Text::Reply(self.tag) } else { Text::Question(self.tag) }
    }

    /// Returns whether a former hub had it already.
    pub(super) fn was_said_before(&self) -> bool {
        matches!(&self.message, ClientMessage::Ask(AskRequest { bound: Some(_), .. }) | ClientMessage::Reply(_))
    }
}

/// What waits for the end of the settling.
#[derive(Debug, Clone)]
pub(super) struct Settling {
    until: Option<Instant>,
    deferred: Vec<Deferred>,
    /// The texts of asks and broadcasts that wait, by asker.
    pub(super) questions: Held,
    /// The texts of replies that wait, by who gave them.
    pub(super) replies: Held,
    broadcasts: BTreeMap<PeerTag, usize>,
    /// What waited, from the end of the settling until all of it was handled.
    due: Option<VecDeque<Deferred>>,
    claims: BTreeMap<PeerTag, BTreeMap<AskId, Claim>>,
}

/// What a peer says of an ask that it received from a former hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim {
    /// How far it had come.
    pub(super) state: AskState,
    /// Who asked, as the former hub said; none where the client keeps no such thing.
    pub(super) asker: Option<PeerTag>,
}

impl Settling {
    /// Starts settling.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            until: Some(now + SETTLING),
            deferred: Vec::new(),
            questions: Held::new(),
            replies: Held::new(),
            broadcasts: BTreeMap::new(),
            due: None,
            claims: BTreeMap::new(),
        }
    }

    /// Returns whether clients of a former hub may still be coming back.
    pub(super) const fn is_on(&self) -> bool {
        self.until.is_some()
    }

    /// Returns when the settling ends.
    pub(super) const fn poll_timeout(&self) -> Option<Instant> {
        self.until
    }

    /// Returns how many broadcasts of a client wait.
    pub(super) fn broadcasts_of(&self, tag: PeerTag) -> usize {
        self.broadcasts.get(&tag).copied().unwrap_or_default()
    }

    /// Lets a request wait.
    pub(super) fn defer(&mut self, deferred: Deferred) {
        match deferred.text() {
            Text::Question(client) => self.questions.add(client, deferred.bytes()),
            Text::Reply(client) => self.replies.add(client, deferred.bytes()),
        }
        if matches!(deferred.message, ClientMessage::Broadcast(_)) {
            *self.broadcasts.entry(deferred.tag).or_default() += 1;
        }
        self.deferred.push(deferred);
    }

    /// Takes the waiting requests that need wait no longer, in their order.
    pub(super) fn take(&mut self, mut ready: impl FnMut(&Deferred) -> bool) -> Vec<Deferred> {
        let taken: Vec<Deferred> = self.deferred.extract_if(.., |deferred| ready(deferred)).collect();
        for deferred in &taken {
            match deferred.text() {
                Text::Question(client) => self.questions.take(client, deferred.bytes()),
                Text::Reply(client) => self.replies.take(client, deferred.bytes()),
            }
        }
        taken
    }

    /// Remembers that a peer has an ask that no asker has told this hub of yet, of as many as a peer may have open.
    pub(super) fn claim(&mut self, id: AskId, peer: PeerTag, claim: Claim, limits: &Limits) {
        let claims = self.claims.entry(peer).or_default();
        if (claims.len() as u64) < limits.open_asks || claims.contains_key(&id) {
            claims.insert(id, claim);
        }
    }

    /// Returns what this peer says of an ask that a former hub gave it.
    pub(super) fn claim_of(&self, id: AskId, peer: PeerTag) -> Option<Claim> {
        self.claims.get(&peer)?.get(&id).copied()
    }

    /// Returns whether this peer says that it has the ask from somebody else.
    pub(super) fn is_anothers(&self, id: AskId, peer: PeerTag, asker: PeerTag) -> bool {
        self.claim_of(id, peer).and_then(|claim| claim.asker).is_some_and(|known| known != asker)
    }

    /// Takes the claim of this ask by this peer.
    pub(super) fn take_claim(&mut self, id: AskId, peer: PeerTag) {
        if let Some(claims) = self.claims.get_mut(&peer) {
            claims.remove(&id);
        }
    }

    /// Ends the settling when its time has come, and returns whether it has: what waited is due then.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> bool {
        let has_come = self.until.is_some_and(|until| until <= now);
        if has_come {
            self.until = None;
            // Replies last, since asks make them known.
            let mut deferred = self.take(|_| true);
            deferred.sort_by_key(|deferred| matches!(deferred.message, ClientMessage::Reply(_)));
            self.due = Some(deferred.into());
            self.broadcasts.clear();
        }
        has_come
    }

    /// Returns whether the settling has ended and what waited is being handled.
    pub(super) const fn is_ending(&self) -> bool {
        self.due.is_some()
    }

    /// Takes the next request that has waited long enough.
    pub(super) fn pop_due(&mut self) -> Option<Deferred> {
        self.due.as_mut()?.pop_front()
    }

    /// Returns whether all that waited was handled, once.
    pub(super) fn finish(&mut self) -> bool {
        self.due.take_if(|due| due.is_empty()).is_some()
    }

    /// Takes the claims that no asker made good.
    pub(super) fn take_unclaimed(&mut self) -> impl Iterator<Item = (AskId, PeerTag)> + use<> {
        let claims = std::mem::take(&mut self.claims);
        claims.into_iter().flat_map(|(peer, asks)| asks.into_keys().map(move |id| (id, peer)))
    }
}
