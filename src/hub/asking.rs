//! How a hub takes asks, tells, broadcasts, and what is said of them: at once, or when its grace period is over.

use std::time::{Duration, Instant};

use super::asks::{NewAsk, Opened};
use super::effect::Caller;
use super::grace::{Deferred, Waiting};
use super::refusals::{self, Refused};
use super::{Hub, broadcast, check, names};
use crate::protocol::{
    Answer, Ask, AskId, AskKind, AskOutcome, Audience, Broadcast, ClientTag, Decline, ErrorCode, Progress, Reply, Taken,
};

impl Hub {
    pub(super) fn handle_ask(&mut self, now: Instant, caller: Caller, kind: AskKind, ask: Ask) -> Result<(), Refused> {
        check::ask(&ask, self.is_left_to_session(&caller, &ask))?;
        let id = ask.ask_id;
        if self.asks.contains(id) {
            return self.asks.repeat(now, &self.peers, caller, &ask, &mut self.out);
        }
        let asked = match self.peers.resolve(&ask) {
            Ok(asked) if asked == caller.tag => return Err(refusals::asks_itself(self.peers.sender(asked))),
            Ok(asked) => asked,
            Err(_) if self.grace.is_on() && (ask.bound.is_some() || names::may_be_address(&ask.to)) => {
                return self.defer(now, caller, Waiting::Ask(kind, ask));
            }
            Err(refused) => self.peers.expect_remote(now, &ask).ok_or(refused)?,
        };
        if ask.question.is_empty() && !self.asks.is_reported(asked, id) {
            return if self.grace.is_on() {
                self.defer(now, caller, Waiting::Ask(kind, ask))
            } else {
                Err(refusals::unknown_ask(id, None))
            };
        }
        let is_new = ask.bound.is_none();
        self.check_across(caller.tag, asked, is_new)?;
        let new = NewAsk {
            id,
            kind,
            asker: caller.tag,
            asked,
            question: ask.question,
            timeout_ms: ask.timeout_ms,
            broadcast: ask.broadcast_id,
            cause: self.asks.cause_of(now, caller.tag, false).filter(|_| is_new && !self.peers.is_remote(caller.tag)),
            chain: ask.chain,
            caller,
            is_returning: !is_new && self.grace.is_on(),
            is_accepted: !is_new,
        };
        if let Opened::Accepted(state) = self.asks.open(now, &self.peers, &self.limits, new, &mut self.out)? {
            self.out.answer(caller, Answer::Accepted(self.peers.accepted(id, asked, state, &ask.to)));
        }
        self.retry_replies(now, id);
        self.asks.end_arrived(now, &self.peers, id, &mut self.out);
        Ok(())
    }

    /// Returns whether an ask comes without its text: a bridge that was started anew knows that a former hub had accepted it
    /// and no more. It is opened if the asked session has it.
    fn is_left_to_session(&self, caller: &Caller, ask: &Ask) -> bool {
        ask.question.is_empty() && ask.bound.is_some() && self.peers.is_remote(caller.tag)
    }

    /// Checks an ask between machines: one to a machine that cannot be reached is kept only where it was accepted before, and
    /// none goes from one machine over this to another.
    fn check_across(&self, asker: ClientTag, asked: ClientTag, is_new: bool) -> Result<(), Refused> {
        let Some(machine) = self.peers.machine_of(asked) else { return Ok(()) };
        if self.peers.is_remote(asker) {
            Err(refusals::not_across(self.peers.sender(asked)))
        } else if is_new && !self.peers.is_reachable(asked) {
            Err(refusals::machine_unreachable(machine))
        } else {
            Ok(())
        }
    }

    pub(super) fn handle_broadcast(
        &mut self,
        now: Instant,
        caller: Caller,
        broadcast: Broadcast,
    ) -> Result<(), Refused> {
        check::broadcast(&broadcast)?;
        if self.peers.is_remote(caller.tag) {
            return Err(refusals::only_here("broadcast"));
        }
        if self.grace.is_on() {
            return self.defer(now, caller, Waiting::Broadcast(broadcast));
        }
        broadcast::open(now, &mut self.asks, &self.peers, &self.limits, caller, &broadcast, &mut self.out);
        Ok(())
    }

    pub(super) fn handle_audience(&mut self, caller: Caller, audience: &Audience) -> Result<(), Refused> {
        check::audience(audience)?;
        let view = broadcast::list(&self.peers, caller.tag, audience, self.grace.is_on());
        self.out.answer(caller, Answer::Audience(view));
        Ok(())
    }

    pub(super) fn handle_reply(&mut self, now: Instant, caller: Caller, reply: Reply) -> Result<(), Refused> {
        if self.peers.name(caller.tag).is_none() {
            return Err(refusals::only_sessions("reply"));
        }
        check::text(&reply.text)?;
        if self.grace.is_on() && !self.asks.contains(reply.ask_id) {
            return self.defer(now, caller, Waiting::Reply(reply));
        }
        self.asks.reply(now, &self.peers, &self.limits, caller, reply, &mut self.out)
    }

    pub(super) fn handle_progress(&mut self, now: Instant, tag: ClientTag, progress: Progress) {
        if self.grace.is_on() && !self.asks.contains(progress.ask_id) {
            self.asks.report(&self.limits, tag, progress);
            let is_it = |deferred: &Deferred| {
                deferred.ask().is_some_and(|ask| ask.ask_id == progress.ask_id && ask.question.is_empty())
            };
            let ready = self.grace.take(is_it, &mut self.asks);
            ready.into_iter().for_each(|deferred| self.retry(now, deferred));
        } else {
            self.asks.progress(now, &self.peers, tag, progress, &mut self.out);
        }
    }

    pub(super) fn handle_taken(&mut self, now: Instant, tag: ClientTag, taken: Taken) {
        if self.asks.taken(now, &self.peers, tag, taken, &mut self.out) {
            self.retry_replies(now, taken.ask_id);
        }
    }

    pub(super) fn handle_withdraw(&mut self, now: Instant, tag: ClientTag, ask_id: AskId) {
        self.asks.withdraw(now, &self.peers, tag, ask_id, &mut self.out);
        self.drop_deferred(tag, ask_id);
    }

    pub(super) fn handle_decline(&mut self, now: Instant, tag: ClientTag, decline: Decline) {
        if decline.error.code == ErrorCode::Unconfirmed {
            self.drop_deferred(tag, decline.ask_id);
        }
        self.asks.decline(now, &self.peers, tag, decline, &mut self.out);
    }

    /// Takes back an ask that waits for its session.
    fn drop_deferred(&mut self, tag: ClientTag, ask_id: AskId) {
        let is_it = |deferred: &Deferred| {
            deferred.caller.tag == tag && matches!(&deferred.request, Waiting::Ask(_, ask) if ask.ask_id == ask_id)
        };
        for deferred in self.grace.take(is_it, &mut self.asks) {
            let withdrawn = refusals::unknown_ask(ask_id, Some((AskOutcome::Withdrawn, Duration::ZERO)));
            self.out.refuse(self.peers.still(deferred.caller), withdrawn);
        }
    }

    /// Lets a request wait for the end of the grace period.
    fn defer(&mut self, now: Instant, caller: Caller, request: Waiting) -> Result<(), Refused> {
        self.grace.defer(now, &self.limits, caller, request, &mut self.asks)
    }

    /// Handles a request again that waited, if the connection that it came on is still its client's. An ask that a former
    /// hub had accepted is opened in any case while its asker is waited for: it may be answered meanwhile.
    pub(super) fn retry(&mut self, now: Instant, deferred: Deferred) {
        let caller = self.peers.still(deferred.caller);
        let request = deferred.aged(now);
        if caller.conn.is_none() && !(request.is_bound() && self.peers.contains(caller.tag)) {
            return;
        }
        let result = match request {
            Waiting::Ask(kind, ask) => self.handle_ask(now, caller, kind, ask),
            Waiting::Broadcast(broadcast) => self.handle_broadcast(now, caller, broadcast),
            Waiting::Reply(reply) => self.handle_reply(now, caller, reply),
        };
        if let Err(refused) = result {
            self.out.refuse(caller, refused);
        }
    }

    /// Handles replies again that waited for this ask to become known.
    fn retry_replies(&mut self, now: Instant, ask_id: AskId) {
        let is_about = |it: &Deferred| matches!(&it.request, Waiting::Reply(reply) if reply.ask_id == ask_id);
        let ready = self.grace.take(is_about, &mut self.asks);
        ready.into_iter().for_each(|deferred| self.retry(now, deferred));
    }
}
