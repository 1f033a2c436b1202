//! The asks: opened, handed to the asked session, answered, taken; or ended without a reply. A tell is an ask that ends when
//! its session was shown it.

mod accept;
mod carried;
mod collecting;
mod ended;
mod offers;
mod open;
mod pending;
mod send;
mod unwanted;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use self::carried::CarriedChains;
use self::collecting::CollectingBroadcasts;
use self::ended::{Ended, EndedAsks};
use self::open::{HeldReply, Offer, OpenAsk, OpenTable, Phase};
use self::pending::PendingSends;
use self::unwanted::UnwantedAsks;
use super::brakes::{Brakes, Link};
use super::effect::{Caller, Outbox};
use super::history::{Record, Recorded};
use super::limits::{Limits, OPEN_ASKS_FACTOR};
use super::peers::Peers;
use super::quota::Quota;
use super::rate::RateLimiter;
use super::refusals::{self, Refused};
use crate::protocol::{
    Answer, Ask, AskId, AskKind, AskOutcome, AskState, AskView, ClientTag, Closed, Course, ErrorCode, Event, Failed,
    OpenAsks, OwnAsk, Progress, Receipt, Replied, Reply, Taken, Watched,
};

pub(super) use self::accept::{NewAsk, Opened};
pub use self::ended::REMEMBERED;

/// The open asks, the ended ones that are remembered, and what bounds them. No id is in both.
#[derive(Debug, Clone)]
pub(super) struct Asks {
    started: Instant,
    open: OpenTable,
    ended: EndedAsks,
    pending: PendingSends,
    /// The asks that sessions have from a former hub and no asker has sent again, and how far they have come.
    reported: BTreeMap<(ClientTag, AskId), Progress>,
    brakes: Brakes,
    rate: RateLimiter,
    carried: CarriedChains,
    collecting: CollectingBroadcasts,
    unwanted: UnwantedAsks,
}

impl Asks {
    /// Returns the empty tables of a hub that starts now.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            started: now,
            open: OpenTable::new(),
            ended: EndedAsks::new(),
            pending: PendingSends::new(),
            reported: BTreeMap::new(),
            brakes: Brakes::default(),
            rate: RateLimiter::new(),
            carried: CarriedChains::default(),
            collecting: CollectingBroadcasts::default(),
            unwanted: UnwantedAsks::default(),
        }
    }

    /// Returns how much of the hub's life has passed by then, in milliseconds.
    fn millis(&self, at: Instant) -> u64 {
        millis(at.saturating_duration_since(self.started))
    }

    /// Returns whether an ask is open, or has ended and is remembered.
    pub(super) fn contains(&self, id: AskId) -> bool {
        self.open.get(id).is_some() || self.ended.get(id).is_some()
    }

    /// Answers an ask that is sent again, and tells of its end if it has one.
    ///
    /// # Errors
    /// It is another client's, or its asker knew its end.
    pub(super) fn repeat(
        &mut self,
        now: Instant,
        peers: &Peers,
        caller: Caller,
        ask: &Ask,
        out: &mut Outbox,
    ) -> Result<(), Refused> {
        let (asked, state) = self.known(ask.ask_id, caller.tag)?;
        if self.is_offered(ask.ask_id) {
            self.open.offer_again(ask.ask_id, Offer::Ask(caller));
            return Ok(());
        }
        let known_end = |ended: &&Ended| matches!(ended.outcome, AskOutcome::Reply | AskOutcome::Withdrawn);
        if let Some(ended) = self.ended.get(ask.ask_id).filter(known_end) {
            return Err(self.over(now, ask.ask_id, ended));
        }
        out.answer(caller, Answer::Accepted(peers.accepted(ask.ask_id, asked, state, &ask.to)));
        self.tell_end(now, peers, ask.ask_id, out);
        Ok(())
    }

    /// Returns whom this client asked by a known id, and how far the ask has come.
    ///
    /// # Errors
    /// The id names an ask of another client.
    pub(super) fn known(&self, id: AskId, asker: ClientTag) -> Result<(ClientTag, AskState), Refused> {
        let open = self.open.get(id).map(|ask| (&ask.link, ask.state));
        let known = open.or_else(|| self.ended.get(id).map(|ended| (&ended.link, ended.state)));
        let own = known.filter(|(link, _)| link.asker == asker);
        own.map(|(link, state)| (link.asked, state)).ok_or_else(|| refusals::id_in_use(id))
    }

    /// Tells the asker of an ask's end again, if it has one.
    pub(super) fn tell_end(&mut self, now: Instant, peers: &Peers, id: AskId, out: &mut Outbox) {
        if let Some(ask) = self.open.get(id) {
            if matches!(ask.phase, Phase::Answered(_)) {
                self.send(now, peers, peers.conn(ask.link.asker), id, out);
            }
        } else if let Some(ended) = self.ended.get(id)
            && let Some(event) = end_event(id, ended.outcome, ended.state, Standing::default())
        {
            out.event(peers.conn(ended.link.asker), event);
        }
    }

    /// Sends a session's reply to the asker, whose client is to take it.
    ///
    /// # Errors
    /// No ask of this session that waits for a reply has this id, or there is no room.
    pub(super) fn reply(
        &mut self,
        now: Instant,
        peers: &Peers,
        limits: &Limits,
        caller: Caller,
        reply: Reply,
        out: &mut Outbox,
    ) -> Result<(), Refused> {
        let Reply { ask_id, text } = reply;
        let unknown = || refusals::unknown_ask(ask_id, None);
        let from = peers.name(caller.tag).cloned().ok_or_else(unknown)?;
        let Some(ask) = self.open.get(ask_id) else {
            let Some(ended) = self.ended.get(ask_id) else {
                // From another machine it comes late, and a hub before this one may have passed it on.
                let is_late = peers.is_remote(caller.tag) && !self.unwanted.contains(ask_id);
                return Err(if is_late { refusals::forgotten(ask_id) } else { unknown() });
            };
            if ended.link.asked != caller.tag {
                return Err(unknown());
            }
            if ended.outcome != AskOutcome::Reply {
                return Err(self.over(now, ask_id, ended));
            }
            let to = peers.sender(ended.link.asker).to_owned();
            out.answer(caller, Answer::Replied(Replied { ask_id, to }));
            return Ok(());
        };
        if ask.link.asked != caller.tag {
            return Err(unknown());
        }
        if ask.kind == AskKind::Tell {
            return Err(refusals::takes_no_reply(ask_id));
        }
        let asker = ask.link.asker;
        match &ask.phase {
            Phase::Asked { .. } => {
                self.confirm(now, peers, ask_id, AskState::Shown, out);
                self.open.replies.check(limits, asker, text.len() as u64, false)?;
                let asker = peers.conn(asker);
                self.open.answer(ask_id, HeldReply { text, from, caller, is_overdue: false });
                self.send(now, peers, asker, ask_id, out);
            }
            Phase::Answered(held) if held.caller.conn == caller.conn => {
                return Err(refusals::reply_on_its_way(ask_id));
            }
            Phase::Answered(_) => self.open.answer_again(ask_id, from, caller),
        }
        Ok(())
    }

    /// Ends an ask whose reply the asker's client has taken. Remembers one of a former hub. Returns whether it was one.
    pub(super) fn taken(
        &mut self,
        now: Instant,
        peers: &Peers,
        tag: ClientTag,
        taken: Taken,
        out: &mut Outbox,
    ) -> bool {
        let Taken { ask_id, by } = taken;
        if self.contains(ask_id) {
            self.end_own(now, peers, tag, ask_id, AskOutcome::Reply, out);
            return false;
        }
        let at_ms = self.millis(now);
        let course = Course::default();
        let link = Link { asker: tag, asked: by, parent: None, opened_ms: at_ms, asks: 0, broadcasts: 0, course };
        let ended = Ended::new(link, at_ms, AskOutcome::Reply, AskState::Shown);
        self.ended.insert(ask_id, ended, at_ms);
        true
    }

    /// Ends an ask that its asker does not wait for any more. Remembers one of a former hub.
    pub(super) fn withdraw(&mut self, now: Instant, peers: &Peers, tag: ClientTag, id: AskId, out: &mut Outbox) {
        if !self.contains(id) {
            self.unwanted.insert(id);
        }
        self.end_own(now, peers, tag, id, AskOutcome::Withdrawn, out);
    }

    fn end_own(
        &mut self,
        now: Instant,
        peers: &Peers,
        tag: ClientTag,
        id: AskId,
        outcome: AskOutcome,
        out: &mut Outbox,
    ) {
        if self.open.get(id).is_some_and(|ask| ask.link.asker == tag) {
            self.end(now, peers, id, outcome, out);
        }
    }

    /// Records how far an ask has come in the asked session, or tells that session that it is over for it.
    pub(super) fn progress(
        &mut self,
        now: Instant,
        peers: &Peers,
        tag: ClientTag,
        progress: Progress,
        out: &mut Outbox,
    ) {
        let Progress { ask_id, state, .. } = progress;
        let Some(link) = self.open.get(ask_id).map(|ask| ask.link).filter(|link| link.asked == tag) else {
            return out.event(peers.conn(tag), Event::Closed(Closed { ask_id }));
        };
        self.confirm(now, peers, ask_id, state, out);
        if self.open.advance(progress) {
            let name = |tag| peers.sender(tag).to_owned();
            let (from, to) = (link.asker, link.asked);
            if peers.is_remote(from) {
                out.event(peers.conn(from), Event::Advanced(progress));
            }
            out.watched(|| Some(Watched::AskAdvanced { ask_id, from: name(from), to: name(to), state }));
        }
        self.end_arrived(now, peers, ask_id, out);
    }

    /// Ends a tell that has come to its session.
    pub(super) fn end_arrived(&mut self, now: Instant, peers: &Peers, id: AskId, out: &mut Outbox) {
        if let Some(outcome) = self.open.get(id).and_then(OpenAsk::arrival) {
            self.end(now, peers, id, outcome, out);
        }
    }

    /// Records how far an ask has come that no asker has told this hub of yet, of as many as may be open.
    pub(super) fn report(&mut self, limits: &Limits, tag: ClientTag, progress: Progress) {
        let (key, most) = ((tag, progress.ask_id), limits.open_asks.saturating_mul(OPEN_ASKS_FACTOR));
        if (self.reported.len() as u64) < most || self.reported.contains_key(&key) {
            self.reported.insert(key, progress);
        }
    }

    /// Returns whether a session has an ask from a former hub that no asker has told this one of.
    pub(super) fn is_reported(&self, tag: ClientTag, id: AskId) -> bool {
        self.reported.contains_key(&(tag, id))
    }

    /// Tells sessions which of the asks that they have reported are over, since no asker has sent them again.
    pub(super) fn close_reported(&mut self, peers: &Peers, out: &mut Outbox) {
        for (tag, ask_id) in std::mem::take(&mut self.reported).into_keys() {
            out.event(peers.conn(tag), Event::Closed(Closed { ask_id }));
        }
    }

    /// Ends all that is open of a client that has left: what it was asked has failed, what it asked is withdrawn. A reply
    /// that it gave still waits for its asker.
    pub(super) fn peer_left(&mut self, now: Instant, peers: &Peers, tag: ClientTag, out: &mut Outbox) {
        for id in self.open.received_by(tag) {
            if self.open.get(id).is_some_and(|ask| matches!(ask.phase, Phase::Asked { .. })) {
                self.end(now, peers, id, AskOutcome::PeerGone, out);
            }
        }
        for id in self.open.sent_by(tag) {
            self.end(now, peers, id, AskOutcome::Withdrawn, out);
        }
        self.brakes.forget(tag);
    }

    /// Ends an open ask, and tells everybody whom it concerns.
    fn end(&mut self, now: Instant, peers: &Peers, id: AskId, outcome: AskOutcome, out: &mut Outbox) {
        if self.is_offered(id) {
            let refused = self.never_accepted(peers, id, outcome);
            // Its machine may have it all the same.
            self.unwanted.insert(id);
            return self.reject(now, peers, id, refused, out);
        }
        let Some(ask) = self.open.remove(id) else { return };
        let OpenAsk { link, state, kind, .. } = *ask;
        let (asker, asked) = (link.asker, link.asked);
        let outcome = match (outcome, &ask.phase) {
            (AskOutcome::Timeout, Phase::Answered(_)) if peers.is_remote(asker) => AskOutcome::Unconfirmed,
            _ => outcome,
        };
        let at_ms = self.millis(now);
        let duration_ms = at_ms.saturating_sub(link.opened_ms);
        let reply = match (outcome, &ask.phase) {
            (AskOutcome::Reply, Phase::Answered(reply)) => Some(reply.text.as_str()),
            _ => None,
        };
        let names = || [asker, asked].map(|tag| peers.sender(tag).to_owned());
        out.record(|with_text| {
            let ([from, to], reply) = (names(), reply.filter(|_| with_text).map(str::to_owned));
            Record { ask_id: id, from, to, what: Recorded::Ended { outcome, state, duration_ms, reply } }
        });
        out.watched(|| {
            let ([from, to], reply) = (names(), reply.map(str::to_owned));
            let (broadcast_id, latency_ms) = (ask.broadcast, duration_ms);
            Some(Watched::AskEnded { ask_id: id, from, to, broadcast_id, kind, outcome, state, latency_ms, reply })
        });
        for conn in [asker, asked].into_iter().filter_map(|tag| peers.conn(tag)) {
            self.pending.take_back(conn, ask.number, id);
        }
        let ended = Ended::new(link, at_ms, outcome, state);
        let presence = peers.presence(asked).filter(|_| outcome == AskOutcome::Timeout);
        let waiting_for = presence.and_then(|presence| presence.waiting_for.clone());
        let unreachable_s = peers.unreachable_s(now, asked);
        if let Some(event) = end_event(id, outcome, state, Standing { waiting_for, unreachable_s }) {
            out.event(peers.conn(asker), event);
        }
        match ask.phase {
            Phase::Asked { .. } => out.event(peers.conn(asked), Event::Closed(Closed { ask_id: id })),
            Phase::Answered(reply) if outcome == AskOutcome::Reply => {
                let to = peers.sender(asker).to_owned();
                out.answer(peers.still(reply.caller), Answer::Replied(Replied { ask_id: id, to }));
            }
            Phase::Answered(reply) if outcome == AskOutcome::Unconfirmed => {
                out.refuse(peers.still(reply.caller), refusals::unconfirmed(id, peers.sender(asker)));
            }
            Phase::Answered(reply) => out.refuse(peers.still(reply.caller), self.over(now, id, &ended)),
        }
        self.ended.insert(id, ended, self.millis(ask.deadline));
    }

    /// Returns why nothing more can be done about an ask that has ended.
    fn over(&self, now: Instant, id: AskId, ended: &Ended) -> Refused {
        let ago = Duration::from_millis(self.millis(now).saturating_sub(ended.at_ms()));
        refusals::unknown_ask(id, Some((ended.outcome, ago)))
    }

    /// Sends a client that is back what its lost connection may have swallowed, as fast as it takes it.
    pub(super) fn resend(&mut self, peers: &Peers, tag: ClientTag) {
        let Some(conn) = peers.conn(tag) else { return };
        for id in self.open.received_by(tag).into_iter().chain(self.open.sent_by(tag)) {
            if let Some(ask) = self.open.get(id) {
                self.pending.push(conn, ask.number, id, ask.bytes());
            }
        }
    }

    /// Ends the asks whose time is over, and forgets ended ones.
    pub(super) fn handle_timeout(&mut self, now: Instant, peers: &Peers, out: &mut Outbox) {
        while let Some(id) = self.open.pop_timed_out(now) {
            self.end(now, peers, id, AskOutcome::Timeout, out);
        }
        self.ended.handle_timeout(self.millis(now));
    }

    /// Returns when something is due next.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let forgotten = self.ended.poll_timeout().map(|ms| self.started + Duration::from_millis(ms));
        self.open.poll_timeout().into_iter().chain(forgotten).min()
    }

    /// Returns how many asks are open.
    pub(super) fn n_open(&self) -> u64 {
        self.open.len()
    }

    /// Returns how many asks of a client are open.
    pub(super) fn counts(&self, tag: ClientTag) -> OpenAsks {
        self.open.counts(tag)
    }

    /// Returns what a client's texts take: its questions, or its replies. What waits for the end of the grace period counts
    /// as well.
    pub(super) const fn quota_mut(&mut self, is_reply: bool) -> &mut Quota {
        if is_reply { &mut self.open.replies } else { &mut self.open.questions }
    }

    /// Returns the open asks that a client sent, as that client is told of them.
    pub(super) fn own(&self, now: Instant, peers: &Peers, tag: ClientTag) -> Vec<OwnAsk> {
        let asks = self.open.sent_by(tag).into_iter().filter_map(|id| Some((id, self.open.get(id)?)));
        let asks = asks.filter(|(_, ask)| ask.offer.is_none());
        let own = asks.filter_map(|(ask_id, ask)| {
            let (to, tag) = (peers.name(ask.link.asked)?.clone(), ask.link.asked);
            let (state, timeout_ms, broadcast_id, kind) = (ask.state, ask.left_ms(now), ask.broadcast, ask.kind);
            Some(OwnAsk { ask_id, to, tag, state, timeout_ms, broadcast_id, kind })
        });
        own.collect()
    }

    /// Returns all open asks as a watcher sees them, in the order of their acceptance, without texts.
    pub(super) fn views(&self, now: Instant, peers: &Peers) -> Vec<AskView> {
        let accepted = self.open.in_order().into_iter().filter(|(_, ask)| ask.offer.is_none());
        accepted.map(|(id, ask)| self.view(now, peers, id, ask)).collect()
    }

    fn view(&self, now: Instant, peers: &Peers, ask_id: AskId, ask: &OpenAsk) -> AskView {
        AskView {
            ask_id,
            from: peers.sender(ask.link.asker).to_owned(),
            to: peers.sender(ask.link.asked).to_owned(),
            broadcast_id: ask.broadcast,
            kind: ask.kind,
            state: ask.state,
            age_ms: self.millis(now).saturating_sub(ask.link.opened_ms),
            timeout_ms: ask.left_ms(now),
            question: None,
        }
    }

    /// Returns whether nothing of any client is left but what is remembered of ended asks.
    pub(super) fn is_quiet(&self) -> bool {
        self.open.is_empty() && self.pending.is_empty() && self.brakes.is_quiet() && self.collecting.is_empty()
    }
}

/// How the asked session stood when an ask ended.
#[derive(Debug, Default)]
struct Standing {
    /// What it waited for.
    waiting_for: Option<String>,
    /// Since when its machine could not be reached, in seconds.
    unreachable_s: Option<u64>,
}

/// Returns what an asker is told of an end that is not its own doing.
fn end_event(ask_id: AskId, outcome: AskOutcome, state: AskState, standing: Standing) -> Option<Event> {
    let Standing { waiting_for, unreachable_s } = standing;
    let failed = |code| Event::Failed(Failed { ask_id, code, state, waiting_for, unreachable_s });
    match outcome {
        // To another machine's asker: its own client ends it.
        AskOutcome::Timeout | AskOutcome::Unconfirmed => Some(failed(ErrorCode::Timeout)),
        AskOutcome::PeerGone => Some(failed(ErrorCode::PeerGone)),
        AskOutcome::Shown | AskOutcome::HandedOver => Some(Event::Receipt(Receipt { ask_id, state })),
        AskOutcome::Reply | AskOutcome::Withdrawn => None,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
