//! The way of an ask: accepted, handed over, answered, taken; or ended without an answer.

use std::time::{Duration, Instant};

use super::asks::{Answer, Ask, Ending, Phase};
use super::held::Text;
use super::limits::{ADDRESS_MAX_BYTES, OPEN_ASKS_FACTOR};
use super::loops::{Candidate, Course};
use super::pace::Party;
use super::settling::{Claim, Deferred};
use super::{ConnId, Hub, refusal};
use crate::protocol::{
    Accepted, AskId, AskRequest, AskState, BODY_MAX_BYTES, BroadcastId, ClientMessage, ErrorCode, FailedEvent,
    HubMessage, PeerName, PeerTag, Refusal, ReplyRequest, TIMEOUT_MAX_S, Wake, WatchedEvent,
};

/// How long an ask that was answered or ended still counts as what made its receiver ask.
const CHAIN_MEMORY: Duration = Duration::from_secs(60);

/// What an ask is opened with, whatever message it came by.
pub(super) struct NewAsk<'a> {
    pub(super) id: AskId,
    pub(super) asker: PeerTag,
    pub(super) asked: PeerTag,
    pub(super) question: &'a str,
    pub(super) timeout_ms: u64,
    pub(super) broadcast: Option<BroadcastId>,
    /// Whether a hub has accepted it before: then nothing that its asker has received here made it ask.
    pub(super) accepted_before: bool,
}

impl Hub {
    pub(super) fn handle_ask(&mut self, now: Instant, conn: ConnId, tag: PeerTag, ask: AskRequest) {
        if let Err(error) =
            check_text(&ask.question).and_then(|()| check_timeout(ask.timeout_ms)).and_then(|()| check_address(&ask.to))
        {
            self.count_too_large(&error);
            return self.refuse(conn, ask.id, error);
        }
        if let Some(known) = self.asks.get(ask.ask_id) {
            return if known.asker == tag {
                self.answer_ask_said_again(now, conn, &ask)
            } else {
                self.refuse(conn, ask.id, refusal::id_in_use(ask.ask_id))
            };
        }
        let asked = match self.resolve(&ask) {
            Some(asked) if asked == tag => {
                let name = self.peers.name(tag).map_or("this client", PeerName::as_str);
                let error = refusal::asks_itself(name);
                return self.refuse(conn, ask.id, error);
            }
            Some(asked) => asked,
            None if self.settling.is_on() && addresses_a_peer(&ask) => {
                return self.defer(now, conn, tag, ask.id, ClientMessage::Ask(ask));
            }
            None if ask.bound.is_some() => return self.refuse(conn, ask.id, refusal::peer_gone(&ask.to)),
            None => return self.refuse(conn, ask.id, refusal::peer_not_found(&ask.to)),
        };
        let new = NewAsk {
            id: ask.ask_id,
            asker: tag,
            asked,
            question: &ask.question,
            timeout_ms: ask.timeout_ms,
            broadcast: ask.broadcast_id,
            accepted_before: ask.bound.is_some(),
        };
        match self.open_ask(now, new) {
            Ok(state) => self.accept(conn, &ask, asked, state),
            Err(error) => self.refuse(conn, ask.id, error),
        }
        self.retry_about(now, ask.ask_id);
    }

    /// Finds whom an ask is for. Once a hub has accepted it, its peer's identity decides and not the name.
    fn resolve(&self, ask: &AskRequest) -> Option<PeerTag> {
        match ask.bound {
            Some(tag) => self.peers.name(tag).map(|_| tag),
            None => self.peers.find(&PeerName::parse(&ask.to).ok()?),
        }
    }

    fn accept(&mut self, conn: ConnId, ask: &AskRequest, asked: PeerTag, state: AskState) {
        // A peer that has gone meanwhile has no name any more; its asker knows it by the one that it said.
        let to = self.peers.name(asked).cloned().unwrap_or_else(|| PeerName::of_folder(&ask.to));
        let accepted = Accepted { id: ask.id, ask_id: ask.ask_id, to, tag: asked, state };
        self.send_to(conn, HubMessage::Accepted(accepted));
    }

    fn answer_ask_said_again(&mut self, now: Instant, conn: ConnId, ask: &AskRequest) {
        let Some(known) = self.asks.get(ask.ask_id) else { return };
        match known.phase {
            Phase::Ended { ending: ending @ (Ending::Replied | Ending::Withdrawn), at } => {
                let error = refusal::unknown_ask(ask.ask_id, Some((ending, at)), now);
                self.refuse(conn, ask.id, error);
            }
            Phase::Open { .. } | Phase::Answered(_) | Phase::Ended { .. } => {
                let (asked, state) = (known.asked, known.state);
                self.accept(conn, ask, asked, state);
                self.tell_end(now, ask.ask_id);
            }
        }
    }

    /// Tells the asker of an ask's end again, if it has one.
    pub(super) fn tell_end(&mut self, now: Instant, ask_id: AskId) {
        let Some(ask) = self.asks.get(ask_id) else { return };
        let (asker, state) = (ask.asker, ask.state);
        match ask.phase {
            Phase::Answered(_) => self.send_answer(now, ask_id),
            Phase::Ended { ending: Ending::TimedOut, .. } => self.send_failed(asker, ask_id, ErrorCode::Timeout, state),
            Phase::Ended { ending: Ending::PeerGone, .. } => {
                self.send_failed(asker, ask_id, ErrorCode::PeerGone, state)
            }
            Phase::Open { .. } | Phase::Ended { .. } => {}
        }
    }

    /// Opens an ask whose id is new, and sends it to the asked session.
    ///
    /// Returns how far it has come; a refusal names the limit that was reached and changes nothing.
    pub(super) fn open_ask(&mut self, now: Instant, new: NewAsk<'_>) -> Result<AskState, Refusal> {
        if self.settling.is_anothers(new.id, new.asked, new.asker) {
            return Err(refusal::id_in_use(new.id));
        }
        let parent = self.parent_of(now, &new);
        let checked = self.check_limits(now, &new, parent);
        let course = checked.map_err(|(limit, error)| {
            self.reached.count(limit);
            self.tell_watchers(|hub| {
                let (from, to) = (hub.sender_of(new.asker), hub.sender_of(new.asked));
                Some(WatchedEvent::AskRefused { from, to, code: error.code })
            });
            error
        })?;
        let claim = self.settling.claim_of(new.id, new.asked);
        self.settling.take_claim(new.id, new.asked);
        let state = claim.map_or_else(|| self.first_state(new.asked), |claim| claim.state);
        let question = claim.is_none().then(|| new.question.into());
        let ask = Ask {
            asker: new.asker,
            asked: new.asked,
            broadcast: new.broadcast,
            state,
            parent,
            course,
            wake: 0,
            opened: now,
            timeout_ms: u32::try_from(new.timeout_ms).unwrap_or(u32::MAX),
            phase: Phase::Open { question },
            number: 0,
            reply: None,
            is_overdue: false,
        };
        if new.broadcast.is_none() {
            self.asks.count_wake(parent);
        }
        self.asks.open(new.id, ask);
        if let Some(peer) = self.peers.get_mut(new.asked) {
            peer.last_received = Some(new.id);
        }
        if claim.is_none() {
            self.send_question(now, new.id);
        }
        self.tell_opened(now, new.id);
        Ok(state)
    }

    /// An ask starts as held where nothing can wake the asked session.
    fn first_state(&self, asked: PeerTag) -> AskState {
        let session = self.peers.get(asked).and_then(|peer| peer.session.as_ref());
        match session.map(|session| session.facts.presence.wakes_by) {
            Some(Wake::NextPrompt) => AskState::Held,
            Some(Wake::Channel | Wake::Waiter) | None => AskState::Accepted,
        }
    }

    /// Returns what made this client ask, as far as the hub can know: what it received last, if that was lately.
    ///
    /// A broadcast follows on the own one before it as well: many by one session are a storm like many by several. Many
    /// asks by one session are only somebody who has much to ask.
    fn parent_of(&self, now: Instant, new: &NewAsk<'_>) -> Option<AskId> {
        if new.accepted_before {
            return None;
        }
        let asker = self.peers.get(new.asker)?;
        let own = asker.last_broadcast.filter(|_| new.broadcast.is_some());
        let fresh = |id: &AskId| match self.asks.get(*id).map(|ask| &ask.phase) {
            Some(Phase::Open { .. } | Phase::Answered(_)) => true,
            Some(Phase::Ended { at, .. }) => now.saturating_duration_since(*at) <= CHAIN_MEMORY,
            None => false,
        };
        let candidates = [asker.last_received, own].into_iter().flatten().filter(fresh);
        candidates.max_by_key(|id| self.asks.get(*id).map(|ask| ask.number))
    }

    /// Returns the course of the chain that the ask is part of, or the name of the limit that it would reach and the
    /// refusal.
    fn check_limits(
        &mut self,
        now: Instant,
        new: &NewAsk<'_>,
        parent: Option<AskId>,
    ) -> Result<Course, (&'static str, Refusal)> {
        // The asked session's client has the text of one that it claims.
        let is_claimed = self.settling.claim_of(new.id, new.asked).is_some();
        let text = if is_claimed { 0 } else { new.question.len() };
        // What a hub has accepted is not refused by the next one: it has met every other limit before.
        let said_again = new.accepted_before && self.settling.is_on();
        let room = self.check_room(Text::Question(new.asker), text as u64, said_again);
        room.map_err(|error| ("held_bytes", error))?;
        if said_again {
            return Ok(Course::default());
        }
        let name = || self.peers.name(new.asked).map_or_else(String::new, PeerName::to_string);
        let sent = self.asks.open_of(new.asker).sent;
        if sent >= self.limits.open_asks {
            return Err(("open_asks", refusal::too_many_sent(sent, &self.limits)));
        }
        let received = self.asks.open_of(new.asked).received;
        if received >= self.limits.open_asks {
            return Err(("open_asks", refusal::peer_busy(&name(), received, &self.limits)));
        }
        let open = self.asks.n_open();
        if open >= self.limits.open_asks.saturating_mul(OPEN_ASKS_FACTOR) {
            return Err(("open_asks", refusal::too_many_open(open, &self.limits)));
        }
        let (asker, asked, is_broadcast) = (new.asker, new.asked, new.broadcast.is_some());
        let candidate = Candidate { parent, asker, asked, n_sessions: self.peers.n_sessions(), is_broadcast };
        let followed =
            if self.limits.loops { self.loops.follow(&self.asks, now, candidate) } else { Ok(Course::default()) };
        let course = followed.map_err(|kind| {
            tracing::warn!(from = self.sender_of(asker), to = name(), ?kind, "stopped a loop of asks");
            ("loop", refusal::loop_detected(&name()))
        })?;
        if self.limits.rate {
            let is_session = self.peers.name(asker).is_some();
            let party = if is_session { Party::Session(asker) } else { Party::Shell };
            self.paces.take(now, party, asked).map_err(|too_fast| ("rate", refusal::too_fast(&too_fast)))?;
        }
        Ok(course)
    }

    pub(super) fn handle_reply(&mut self, now: Instant, conn: ConnId, tag: PeerTag, reply: ReplyRequest) {
        let Some(from) = self.peers.name(tag).cloned() else {
            return self.refuse(conn, reply.id, refusal::only_sessions("reply"));
        };
        if let Err(error) = check_text(&reply.text) {
            self.count_too_large(&error);
            return self.refuse(conn, reply.id, error);
        }
        let known = self.asks.get(reply.ask_id);
        if known.is_none() && self.settling.is_on() {
            return self.defer(now, conn, tag, reply.id, ClientMessage::Reply(reply));
        }
        let Some(ask) = known.filter(|ask| ask.asked == tag) else {
            return self.refuse(conn, reply.id, refusal::unknown_ask(reply.ask_id, None, now));
        };
        match &ask.phase {
            Phase::Open { .. } => {
                if let Err(error) = self.check_room(Text::Reply(ask.asker), reply.text.len() as u64, false) {
                    self.reached.count("held_bytes");
                    return self.refuse(conn, reply.id, error);
                }
                self.asks.answer(reply.ask_id, Answer { text: reply.text, from, request: (conn, reply.id) });
                self.send_answer(now, reply.ask_id);
            }
            Phase::Answered(answer) if answer.request.0 == conn => {
                self.refuse(conn, reply.id, refusal::answer_on_its_way(reply.ask_id));
            }
            Phase::Answered(answer) => {
                let answer = Answer { text: answer.text.clone(), from, request: (conn, reply.id) };
                self.asks.answer(reply.ask_id, answer);
            }
            // Another channel of the session has answered: this one does not know.
            Phase::Ended { ending: Ending::Replied, at }
                if self.seat_of(tag).is_some() && ask.was_answered_otherwise(&reply.text) =>
            {
                let error = refusal::unknown_ask(reply.ask_id, Some((Ending::Replied, *at)), now);
                self.refuse(conn, reply.id, error);
            }
            Phase::Ended { ending: Ending::Replied, .. } => {
                let to = self.sender_of(ask.asker);
                self.send_to(conn, HubMessage::Replied { id: reply.id, ask_id: reply.ask_id, to });
            }
            Phase::Ended { ending, at } => {
                let error = refusal::unknown_ask(reply.ask_id, Some((*ending, *at)), now);
                self.refuse(conn, reply.id, error);
            }
        }
    }

    pub(super) fn count_too_large(&mut self, error: &Refusal) {
        if error.code == ErrorCode::TooLarge {
            self.reached.count("text_bytes");
        }
    }

    pub(super) fn sender_of(&self, tag: PeerTag) -> String {
        self.peers.get(tag).map_or_else(|| "a session that has ended".to_owned(), super::peers::Peer::sender)
    }

    pub(super) fn handle_taken(&mut self, now: Instant, tag: PeerTag, ask_id: AskId, by: PeerTag) {
        match self.asks.get(ask_id) {
            Some(ask) if ask.asker == tag => self.end_ask(now, ask_id, Ending::Replied),
            Some(_) => {}
            // The replier says whom it had the ask from.
            None if self.settling.is_anothers(ask_id, by, tag) => {}
            None => {
                if self.asks.remember_replied(now, ask_id, tag, by) {
                    self.retry_about(now, ask_id);
                }
            }
        }
    }

    pub(super) fn handle_withdraw(&mut self, now: Instant, tag: PeerTag, ask_id: AskId) {
        if self.asks.get(ask_id).is_some_and(|ask| ask.asker == tag) {
            self.end_ask(now, ask_id, Ending::Withdrawn);
        }
        let own_ask = |deferred: &Deferred| {
            deferred.tag == tag && matches!(&deferred.message, ClientMessage::Ask(ask) if ask.ask_id == ask_id)
        };
        for Deferred { conn, message, .. } in self.settling.take(own_ask) {
            if let ClientMessage::Ask(ask) = message {
                self.refuse(conn, ask.id, refusal::unknown_ask(ask_id, Some((Ending::Withdrawn, now)), now));
            }
        }
    }

    pub(super) fn handle_progress(
        &mut self,
        now: Instant,
        tag: PeerTag,
        ask_id: AskId,
        state: AskState,
        asker: Option<PeerTag>,
    ) {
        let is_not_its = |ask: &Ask| ask.asked == tag && asker.is_some_and(|asker| asker != ask.asker);
        if self.asks.get(ask_id).is_some_and(is_not_its) {
            // Somebody said another's ask again before that one did.
            tracing::warn!(
                by = self.sender_of(tag),
                "dropped an ask whose id the asked session has from another asker"
            );
            self.end_ask(now, ask_id, Ending::PeerGone);
            self.asks.forget(ask_id);
        }
        match self.asks.get(ask_id) {
            Some(ask) if ask.asked == tag => match ask.phase {
                Phase::Open { .. } | Phase::Answered(_) => {
                    if self.asks.advance(ask_id, state) {
                        self.tell_advanced(ask_id);
                    }
                }
                Phase::Ended { .. } => self.send(tag, HubMessage::Closed { ask_id }),
            },
            None if self.settling.is_on() => self.settling.claim(ask_id, tag, Claim { state, asker }, &self.limits),
            Some(_) | None => self.send(tag, HubMessage::Closed { ask_id }),
        }
    }

    /// Handles replies again that waited for this ask to become known.
    fn retry_about(&mut self, now: Instant, ask_id: AskId) {
        if self.settling.is_on() {
            let about = |deferred: &Deferred| matches!(&deferred.message, ClientMessage::Reply(reply) if reply.ask_id == ask_id);
            let ready = self.settling.take(about);
            ready.into_iter().for_each(|deferred| self.retry(now, deferred));
        }
    }

    /// Ends an ask, if it has not ended, and tells everybody whom it concerns.
    pub(super) fn end_ask(&mut self, now: Instant, ask_id: AskId, ending: Ending) {
        let Some(phase) = self.asks.end(now, ask_id, ending) else { return };
        self.tell_ended(now, ask_id, ending, &phase);
        let Some(ask) = self.asks.get(ask_id) else { return };
        let (asker, asked, state, number) = (ask.asker, ask.asked, ask.state, ask.number);
        for conn in [asker, asked].into_iter().filter_map(|tag| self.peers.conn(tag)) {
            self.backlogs.take_back(conn, number, ask_id);
        }
        match ending {
            Ending::Replied | Ending::Withdrawn => {}
            Ending::TimedOut => self.send_failed(asker, ask_id, ErrorCode::Timeout, state),
            Ending::PeerGone => self.send_failed(asker, ask_id, ErrorCode::PeerGone, state),
        }
        match phase {
            Phase::Answered(answer) if ending == Ending::Replied => {
                let (conn, id) = answer.request;
                let to = self.sender_of(asker);
                self.send_to(conn, HubMessage::Replied { id, ask_id, to });
                // Another channel of the session has answered, or a former one: the peer's must know.
                if self.seat_of(asked).is_some() && self.peers.conn(asked) != Some(conn) {
                    self.send(asked, HubMessage::Closed { ask_id });
                }
            }
            Phase::Answered(answer) => {
                let (conn, id) = answer.request;
                self.refuse(conn, id, refusal::unknown_ask(ask_id, Some((ending, now)), now));
            }
            Phase::Open { .. } => self.send(asked, HubMessage::Closed { ask_id }),
            Phase::Ended { .. } => {}
        }
    }

    fn send_failed(&mut self, asker: PeerTag, ask_id: AskId, code: ErrorCode, state: AskState) {
        self.send(asker, HubMessage::Failed(FailedEvent { ask_id, code, state }));
    }
}

/// Returns whether the address could ever be a peer's: one that is no name, or reserved, need not be waited for.
fn addresses_a_peer(ask: &AskRequest) -> bool {
    ask.bound.is_some() || PeerName::parse(&ask.to).is_ok()
}

/// Checks a question's or a reply's text.
///
/// # Errors
/// It is empty or over its limit.
pub(super) fn check_text(text: &str) -> Result<(), Refusal> {
    if text.trim().is_empty() {
        Err(refusal::empty_text())
    } else if text.len() > BODY_MAX_BYTES {
        Err(refusal::body_too_large(text.len()))
    } else {
        Ok(())
    }
}

/// Checks how long an ask is to stay open. An ask said again may have less than a second left.
///
/// # Errors
/// It is out of its bounds.
pub(super) fn check_timeout(timeout_ms: u64) -> Result<(), Refusal> {
    let bounds = 1..=TIMEOUT_MAX_S * 1000;
    if bounds.contains(&timeout_ms) { Ok(()) } else { Err(refusal::timeout_out_of_bounds(timeout_ms)) }
}

/// Checks an address's length: a slug is cut, what it is made of must have a bound as well.
///
/// # Errors
/// It is too long to be anybody's.
fn check_address(to: &str) -> Result<(), Refusal> {
    if to.len() <= ADDRESS_MAX_BYTES { Ok(()) } else { Err(refusal::address_too_long(to.len(), ADDRESS_MAX_BYTES)) }
}
