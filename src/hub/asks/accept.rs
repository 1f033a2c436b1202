//! How an ask is accepted: what it follows from, which limits it meets.

use std::time::{Duration, Instant};

use super::super::brakes::{Ancestor, Candidate, Course, Link};
use super::super::effect::Outbox;
use super::super::history::{Record, Recorded};
use super::super::limits::{CAUSE_MEMORY, CHAIN_MAX, Limits, OPEN_ASKS_FACTOR};
use super::super::peers::Peers;
use super::super::rate::Party;
use super::super::refusals::{self, Refused};
use super::open::{OpenAsk, Phase};
use super::{Asks, millis};
use crate::protocol::{AskId, AskKind, AskOutcome, AskState, AskView, BroadcastId, ClientTag, Wake, Watched};

/// What an ask is opened with, whatever message it came by. Its id is new.
#[derive(Debug)]
pub(in crate::hub) struct NewAsk {
    pub(in crate::hub) id: AskId,
    pub(in crate::hub) kind: AskKind,
    pub(in crate::hub) asker: ClientTag,
    pub(in crate::hub) asked: ClientTag,
    pub(in crate::hub) question: String,
    pub(in crate::hub) timeout_ms: u64,
    pub(in crate::hub) broadcast: Option<BroadcastId>,
    /// What it follows from.
    pub(in crate::hub) cause: Option<AskId>,
    /// Whether a former hub had accepted it: then it has met every limit before but the room that its text takes.
    pub(in crate::hub) is_returning: bool,
}

impl Asks {
    /// Opens an ask and sends it to the asked session. Returns how far it has come.
    ///
    /// # Errors
    /// It would be over a limit; nothing is changed.
    pub(in crate::hub) fn open(
        &mut self,
        now: Instant,
        peers: &Peers,
        limits: &Limits,
        new: NewAsk,
        out: &mut Outbox,
    ) -> Result<AskState, Refused> {
        let names = || [new.asker, new.asked].map(|tag| peers.sender(tag).to_owned());
        let course = self.check(now, peers, limits, &new).inspect_err(|refused| {
            out.watched(|| {
                let [from, to] = names();
                Some(Watched::AskRefused { from, to, code: refused.error.code })
            });
        })?;
        let NewAsk { id, kind, asker, asked, broadcast, cause, .. } = new;
        out.record(|with_text| {
            let ([from, to], question) = (names(), with_text.then(|| new.question.clone()));
            Record { ask_id: id, from, to, what: Recorded::Accepted { kind, timeout_ms: new.timeout_ms, question } }
        });
        let reported = self.reported.remove(&(asked, id));
        if limits.loops && broadcast.is_none() {
            self.count(cause, |link| &mut link.asks);
        }
        let state = reported.map_or_else(|| first_state(peers, asked), |reported| reported.state);
        let opened_ms = self.millis(now);
        let number = self.open.insert(
            id,
            OpenAsk {
                link: Link { asker, asked, parent: cause, opened_ms, asks: 0, broadcasts: 0, course },
                kind,
                broadcast,
                state,
                is_final: reported.is_some_and(|reported| reported.is_final),
                deadline: now + Duration::from_millis(new.timeout_ms),
                phase: Phase::Asked { question: reported.is_none().then_some(new.question) },
                number: 0,
            },
        );
        if limits.loops && broadcast.is_none() {
            self.brakes.record_received(asked, number, id);
        }
        self.send(now, peers, peers.conn(asked), id, out);
        out.watched(|| {
            let ask = self.open.get(id)?;
            let question = if let Phase::Asked { question } = &ask.phase { question.clone() } else { None };
            Some(Watched::AskOpened(AskView { question, ..self.view(now, peers, id, ask) }))
        });
        Ok(state)
    }

    /// Returns how the chain goes on that the ask is part of.
    fn check(&mut self, now: Instant, peers: &Peers, limits: &Limits, new: &NewAsk) -> Result<Course, Refused> {
        // The asked session's client has the text of one that it has reported.
        let is_reported = self.reported.contains_key(&(new.asked, new.id));
        let bytes = if is_reported { 0 } else { new.question.len() };
        self.open.questions.check(limits, new.asker, bytes as u64, new.is_returning)?;
        if new.is_returning {
            return Ok(Course::default());
        }
        let sent = self.open.counts(new.asker).sent;
        if sent >= limits.open_asks {
            return Err(refusals::too_many_sent(sent, limits));
        }
        let received = self.open.counts(new.asked).received;
        if received >= limits.open_asks {
            return Err(refusals::peer_busy(peers.sender(new.asked), received, limits));
        }
        if self.open.len() >= limits.open_asks.saturating_mul(OPEN_ASKS_FACTOR) {
            return Err(refusals::too_many_open(self.open.len(), limits));
        }
        let course = if limits.loops { self.check_loops(now, peers, new)? } else { Course::default() };
        if limits.rate {
            let party = if peers.name(new.asker).is_some() { Party::Session(new.asker) } else { Party::Shell };
            self.rate.take(now, party, new.asked)?;
        }
        Ok(course)
    }

    fn check_loops(&mut self, now: Instant, peers: &Peers, new: &NewAsk) -> Result<Course, Refused> {
        let NewAsk { asker, asked, cause, .. } = *new;
        let (n_sessions, is_broadcast) = (peers.n_sessions(), new.broadcast.is_some());
        let chain = self.chain(cause);
        let candidate = Candidate { asker, asked, n_sessions, is_broadcast };
        self.brakes.check(self.millis(now), &chain, candidate).map_err(|kind| {
            let to = peers.sender(asked);
            tracing::warn!(from = peers.sender(asker), to, ?kind, "stopped a loop of asks");
            refusals::loop_detected(to)
        })
    }

    /// Returns what made this client ask, as far as the hub can know: what it received last, if that was lately.
    ///
    /// A broadcast follows from the own one before it as well: many by one session are a storm like many by several. Many
    /// asks by one session are only somebody who has much to ask.
    pub(in crate::hub) fn cause_of(&self, now: Instant, asker: ClientTag, is_broadcast: bool) -> Option<AskId> {
        let now_ms = self.millis(now);
        let is_fresh = |id: AskId| {
            let ended = || self.ended.get(id).is_some_and(|ended| now_ms <= ended.at_ms + millis(CAUSE_MEMORY));
            self.open.get(id).is_some() || ended()
        };
        self.brakes
            .latest(asker, is_broadcast)
            .into_iter()
            .flatten()
            .filter(|(_, id)| is_fresh(*id))
            .max()
            .map(|(_, id)| id)
    }

    /// Returns an ask's cause, that one's cause and so on, as far as loops are looked for.
    fn chain(&self, cause: Option<AskId>) -> Vec<Ancestor> {
        let ancestor = |id| match (self.open.get(id), self.ended.get(id)) {
            (Some(ask), _) => {
                let is_unanswered = matches!(ask.phase, Phase::Asked { .. });
                Some(Ancestor { id, link: ask.link, is_unanswered })
            }
            (None, Some(ended)) => {
                Some(Ancestor { id, link: ended.link, is_unanswered: ended.outcome == AskOutcome::Timeout })
            }
            (None, None) => None,
        };
        let next = |last: &Ancestor| last.link.parent.and_then(ancestor);
        std::iter::successors(cause.and_then(ancestor), next).take(CHAIN_MAX).collect()
    }

    /// Counts an ask or a broadcast with this cause for all before it. What one session asks in answer to one ask is not
    /// counted for that: it may have much to ask.
    fn count(&mut self, cause: Option<AskId>, counter: impl Fn(&mut Link) -> &mut u16) {
        for Ancestor { id, .. } in self.chain(cause).into_iter().skip(1) {
            let link = self.open.link_mut(id);
            if let Some(link) = link.or_else(|| self.ended.link_mut(id)) {
                let counter = counter(link);
                *counter = counter.saturating_add(1);
            }
        }
    }

    /// Records that a client has broadcast. For what follows, all its asks are one: the first of them.
    pub(in crate::hub) fn record_broadcast(
        &mut self,
        limits: &Limits,
        asker: ClientTag,
        cause: Option<AskId>,
        opened: &[(ClientTag, AskId)],
    ) {
        let first = opened.first().filter(|_| limits.loops);
        let number = first.and_then(|(_, id)| self.open.get(*id)).map(|ask| ask.number);
        if let (Some((_, id)), Some(number)) = (first, number) {
            self.count(cause, |link| &mut link.broadcasts);
            self.brakes.record_broadcast(asker, number, *id);
            for (asked, _) in opened {
                self.brakes.record_received(*asked, number, *id);
            }
        }
    }
}

/// An ask starts as held where nothing can wake the asked session.
fn first_state(peers: &Peers, asked: ClientTag) -> AskState {
    match peers.presence(asked).map(|presence| presence.wakes_by) {
        Some(Wake::NextPrompt) => AskState::Held,
        Some(Wake::Channel | Wake::Waiter | Wake::Turn | Wake::Inbox | Wake::Plugin) | None => AskState::Accepted,
    }
}
