//! The grace period: in the first seconds of a hub's life the clients of a former one are still coming back, so nobody is
//! said to be missing.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::asks::Asks;
use super::effect::Caller;
use super::limits::{BROADCASTS_WAITING_MAX, Limits};
use super::refusals::{self, Refused};
use crate::protocol::{Ask, AskKind, Broadcast, Reply};

/// How long the grace period lasts. Clients' longest pause between attempts to connect is shorter.
pub const GRACE: Duration = Duration::from_secs(2);

/// What a waiting request takes beside its texts, in bytes.
const DEFERRED_BYTES: usize = 512;

/// What an address takes beside its text, in bytes.
const ADDRESS_BYTES: usize = 32;

/// A request that can wait for the end of the grace period.
#[derive(Debug, Clone)]
pub(super) enum Waiting {
    /// An ask or a tell of a session that may be coming back.
    Ask(AskKind, Ask),
    /// A broadcast: those who come back are to be asked as well.
    Broadcast(Broadcast),
    /// A reply to an ask whose asker may be coming back.
    Reply(Reply),
}

impl Waiting {
    /// Returns how many bytes it takes.
    fn bytes(&self) -> u64 {
        let text = match self {
            Self::Ask(_, ask) => ask.question.len() + ask.to.len(),
            Self::Broadcast(Broadcast { question, audience, .. }) => {
                let named = audience.to.iter().flatten().chain(&audience.folder);
                question.len() + named.map(|text| text.len() + ADDRESS_BYTES).sum::<usize>()
            }
            Self::Reply(reply) => reply.text.len(),
        };
        (text + DEFERRED_BYTES) as u64
    }

    /// Returns whether its text counts as a reply and not as a question.
    pub(super) const fn is_reply(&self) -> bool {
        matches!(self, Self::Reply(_))
    }

    const fn is_broadcast(&self) -> bool {
        matches!(self, Self::Broadcast(_))
    }

    /// Returns whether a former hub had accepted it.
    pub(super) const fn is_bound(&self) -> bool {
        matches!(self, Self::Ask(_, Ask { bound: Some(_), .. }))
    }
}

/// A request that waits for the end of the grace period.
#[derive(Debug, Clone)]
pub(super) struct Deferred {
    /// Who made it.
    pub(super) caller: Caller,
    /// The request.
    pub(super) request: Waiting,
    since: Instant,
}

impl Deferred {
    /// Returns the ask that waits, if it is one.
    pub(super) const fn ask(&self) -> Option<&Ask> {
        match &self.request {
            Waiting::Ask(_, ask) => Some(ask),
            Waiting::Broadcast(_) | Waiting::Reply(_) => None,
        }
    }

    /// Returns the request as it stands now: the time that an ask waited is not given to it again, since its asker has
    /// counted from the start. A broadcast's time begins when its asks are opened.
    pub(super) fn aged(self, now: Instant) -> Waiting {
        let waited = u64::try_from(now.saturating_duration_since(self.since).as_millis()).unwrap_or(u64::MAX);
        let mut request = self.request;
        if let Waiting::Ask(_, ask) = &mut request {
            ask.timeout_ms = ask.timeout_ms.saturating_sub(waited).max(1);
        }
        request
    }
}

/// What waits for the end of the grace period.
#[derive(Debug, Clone)]
pub(super) struct Grace {
    until: Option<Instant>,
    deferred: Vec<Deferred>,
    /// What waited, from the end of the grace period until all of it was handled.
    due: Option<VecDeque<Deferred>>,
}

impl Grace {
    /// Begins the grace period.
    pub(super) fn new(now: Instant) -> Self {
        Self { until: Some(now + GRACE), deferred: Vec::new(), due: None }
    }

    /// Returns whether clients of a former hub may still be coming back.
    pub(super) const fn is_on(&self) -> bool {
        self.until.is_some()
    }

    /// Returns when the grace period ends.
    pub(super) const fn poll_timeout(&self) -> Option<Instant> {
        self.until
    }

    /// Lets a request wait; its text takes room like those of open asks.
    ///
    /// # Errors
    /// There is no room, or as many broadcasts of the client wait as may.
    pub(super) fn defer(
        &mut self,
        now: Instant,
        limits: &Limits,
        caller: Caller,
        request: Waiting,
        asks: &mut Asks,
    ) -> Result<(), Refused> {
        let own = |deferred: &&Deferred| deferred.caller.tag == caller.tag && deferred.request.is_broadcast();
        let broadcasts = self.deferred.iter().filter(own).count();
        if request.is_broadcast() && broadcasts >= BROADCASTS_WAITING_MAX {
            return Err(refusals::too_many_waiting(broadcasts));
        }
        let is_returning = request.is_bound() || request.is_reply();
        let quota = asks.quota_mut(request.is_reply());
        quota.check(limits, caller.tag, request.bytes(), is_returning)?;
        quota.add(caller.tag, request.bytes());
        self.deferred.push(Deferred { caller, request, since: now });
        Ok(())
    }

    /// Takes the waiting requests that need wait no longer, in their order, and gives their room back.
    pub(super) fn take(&mut self, mut is_ready: impl FnMut(&Deferred) -> bool, asks: &mut Asks) -> Vec<Deferred> {
        let taken: Vec<Deferred> = self.deferred.extract_if(.., |deferred| is_ready(deferred)).collect();
        for Deferred { caller, request, .. } in &taken {
            asks.quota_mut(request.is_reply()).take(caller.tag, request.bytes());
        }
        taken
    }

    /// Ends the grace period when its time has come, and returns whether it has: what waited is due then.
    pub(super) fn handle_timeout(&mut self, now: Instant, asks: &mut Asks) -> bool {
        let has_come = self.until.is_some_and(|until| until <= now);
        if has_come {
            self.until = None;
            // Replies last, since asks make them known.
            let mut deferred = self.take(|_| true, asks);
            deferred.sort_by_key(|deferred| deferred.request.is_reply());
            self.due = Some(deferred.into());
        }
        has_come
    }

    /// Returns whether the grace period has ended and what waited is being handled.
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
}
