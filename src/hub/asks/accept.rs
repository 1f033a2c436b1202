//! How an ask is accepted: what it follows from, which limits it meets.

use std::time::{Duration, Instant};

use super::super::brakes::{Ancestor, Candidate, Link, Trail};
use super::super::effect::{Caller, Outbox};
use super::super::history::{Record, Recorded};
use super::super::limits::{CAUSE_MEMORY, CHAIN_MAX, Limits, OPEN_ASKS_FACTOR};
use super::super::peers::Peers;
use super::super::refusals::{self, Refused};
use super::open::{BROADCAST_OFFER_WAIT, OFFER_WAIT, Offer, OpenAsk, PADDING, Phase};
use super::{Asks, millis};
use crate::protocol::{
    AskId, AskKind, AskOutcome, AskState, AskView, BroadcastId, Chain, ClientTag, Course, Wake, Watched,
};

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
    /// What it follows from on another machine, whose session asks.
    pub(in crate::hub) chain: Chain,
    /// Who waits until the asked session's machine has it, where that is another one.
    pub(in crate::hub) caller: Caller,
    /// Whether a former hub had accepted it: then it has met every limit before but the room that its text takes.
    pub(in crate::hub) is_returning: bool,
    /// Whether a former hub had accepted it, whatever this one has seen since.
    pub(in crate::hub) is_accepted: bool,
}

/// What came of an ask that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::hub) enum Opened {
    /// The hub has it, and so far it has come.
    Accepted(AskState),
    /// It was sent to the asked session's machine, which is to say that it has it: its asker is answered then.
    Offered,
}

impl Asks {
    /// Opens an ask and sends it to the asked session. Returns how far it has come, if that is known.
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
    ) -> Result<Opened, Refused> {
        let names = || [new.asker, new.asked].map(|tag| peers.sender(tag).to_owned());
        let course = self.check(now, peers, limits, &new).inspect_err(|refused| {
            out.watched(|| {
                let [from, to] = names();
                Some(Watched::AskRefused { from, to, code: refused.error.code })
            });
        })?;
        let NewAsk { id, kind, asker, asked, broadcast, cause, .. } = new;
        let reported = self.reported.remove(&(asked, id));
        if limits.loops && broadcast.is_none() {
            self.count(cause, |link| &mut link.asks);
        }
        let state = reported.map_or_else(|| first_state(peers, asked), |reported| reported.state);
        let opened_ms = self.millis(now);
        let padding = if peers.is_remote(asker) { PADDING } else { Duration::ZERO };
        let waits = peers.is_remote(asked) && !new.is_accepted && reported.is_none();
        let offer = waits.then(|| broadcast.map_or(Offer::Ask(new.caller), Offer::Broadcast));
        self.carried.insert(id, new.chain);
        let number = self.open.insert(
            id,
            OpenAsk {
                link: Link { asker, asked, parent: cause, opened_ms, asks: 0, broadcasts: 0, course },
                kind,
                broadcast,
                state,
                is_final: reported.is_some_and(|reported| reported.is_final),
                deadline: now + Duration::from_millis(new.timeout_ms) + padding,
                padding,
                offer,
                phase: Phase::Asked { question: reported.is_none().then_some(new.question) },
                number: 0,
            },
        );
        if limits.loops && (broadcast.is_none() || peers.is_remote(asker)) {
            self.brakes.record_received(asked, number, id);
        }
        match offer {
            Some(Offer::Ask(_)) => self.open.set_due(id, now + OFFER_WAIT),
            Some(Offer::Broadcast(_)) => self.open.set_due(id, now + BROADCAST_OFFER_WAIT),
            None => self.announce(now, peers, id, out),
        }
        self.send(now, peers, peers.conn(asked), id, out);
        Ok(if offer.is_some() { Opened::Offered } else { Opened::Accepted(state) })
    }

    /// Tells those who watch, and the record, that an ask was accepted.
    pub(super) fn announce(&self, now: Instant, peers: &Peers, id: AskId, out: &mut Outbox) {
        let Some(ask) = self.open.get(id) else { return };
        let question = || if let Phase::Asked { question } = &ask.phase { question.clone() } else { None };
        out.record(|with_text| {
            let [from, to] = [ask.link.asker, ask.link.asked].map(|tag| peers.sender(tag).to_owned());
            let (question, timeout_ms) = (with_text.then(question).flatten(), ask.left_ms(now));
            Record { ask_id: id, from, to, what: Recorded::Accepted { kind: ask.kind, timeout_ms, question } }
        });
        out.watched(|| {
            let question = question();
            Some(Watched::AskOpened(AskView { question, ..self.view(now, peers, id, ask) }))
        });
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
            self.rate.take(now, peers.party(new.asker), new.asked)?;
        }
        Ok(course)
    }

    fn check_loops(&mut self, now: Instant, peers: &Peers, new: &NewAsk) -> Result<Course, Refused> {
        let NewAsk { asker, asked, cause, .. } = *new;
        let (n_sessions, is_broadcast) = (peers.n_sessions(), new.broadcast.is_some());
        let trail = match cause {
            Some(_) => self.trail(peers, cause),
            None => Trail { ancestors: Vec::new(), carried: Some(new.chain.clone()) },
        };
        let candidate = Candidate { edge: peers.edge(asker, asked), n_sessions, is_broadcast };
        let checked = self.brakes.check(self.millis(now), &trail, candidate);
        checked.map_err(|kind| {
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
            let ended = || self.ended.get(id).is_some_and(|ended| now_ms <= ended.at_ms() + millis(CAUSE_MEMORY));
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

    /// Returns an ask's cause, that one's cause and so on, as far as loops are looked for, and what came before on another
    /// machine.
    pub(super) fn trail(&self, peers: &Peers, cause: Option<AskId>) -> Trail {
        let ancestor = |id| {
            let (link, is_unanswered) = match (self.open.get(id), self.ended.get(id)) {
                (Some(ask), _) => (ask.link, matches!(ask.phase, Phase::Asked { .. })),
                (None, Some(ended)) => (ended.link, ended.outcome == AskOutcome::Timeout),
                (None, None) => return None,
            };
            Some(Ancestor { id, link, edge: peers.edge(link.asker, link.asked), is_unanswered })
        };
        let next = |last: &Ancestor| last.link.parent.and_then(ancestor);
        let ancestors: Vec<_> = std::iter::successors(cause.and_then(ancestor), next).take(CHAIN_MAX).collect();
        let carried = ancestors.last().and_then(|oldest| self.carried.get(oldest.id)).cloned();
        Trail { ancestors, carried }
    }

    /// Returns what an ask follows from, for the machine that it goes to.
    pub(super) fn exported(&self, peers: &Peers, link: &Link) -> Chain {
        self.trail(peers, link.parent).exported()
    }

    /// Counts an ask or a broadcast with this cause for all before it. What one session asks in answer to one ask is not
    /// counted for that: it may have much to ask.
    fn count(&mut self, cause: Option<AskId>, counter: impl Fn(&mut Link) -> &mut u16) {
        let parent = |id: &AskId| {
            let open = self.open.get(*id).map(|ask| ask.link.parent);
            open.or_else(|| self.ended.get(*id).map(|ended| ended.link.parent)).flatten()
        };
        let ids: Vec<AskId> = std::iter::successors(cause, parent).take(CHAIN_MAX).collect();
        for id in ids.into_iter().skip(1) {
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
