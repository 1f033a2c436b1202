//! What passes between the local hub and the bridge of one other machine. Pure.
//!
//! For each session of the other machine, and for its shell, there is one connection to the hub, a *stand-in*: the hub takes it
//! for that session. What the hub tells a stand-in goes over the link, and what the other machine says is told the hub by it.
//! Nothing is judged here: the hubs know which asks are open, and the askers' clients which have an outcome. So a bridge that
//! is started anew goes on with what both sides say again.

mod effect;
mod incoming;
mod outgoing;
mod stand_ins;

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use self::incoming::Incoming;
use self::outgoing::Outgoing;
use self::stand_ins::{Purpose, StandIns};
use super::frame::{AskStatus, Heard, LinkAsk, LinkClosed, LinkMessage, Sessions, SessionsHeard, Status};
use super::link::SAY_AGAIN;
use super::rights::Policy;
use crate::protocol::{Answer, AskId, ClientTag, Decline, Event, HubMessage, MachineName, Notice, SHELL, Welcome};

pub use self::effect::{Effect, StandIn};
pub use self::incoming::{Held, OPEN_MAX};

/// The exchange with one machine.
#[derive(Debug)]
pub struct Exchange {
    /// The machine, by its name here.
    machine: MachineName,
    is_up: bool,
    /// What the other side said of its sessions last; none since the link is up.
    theirs: Option<Theirs>,
    ours: Sessions,
    /// Whether the other side has heard of ours.
    ours_are_heard: bool,
    /// Whether ours have not been said yet.
    ours_are_new: bool,
    /// Whether the other machine may answer what is asked here.
    may_answer: bool,
    stand_ins: StandIns,
    outgoing: Outgoing,
    incoming: Incoming,
    says_at: Option<Instant>,
    effects: VecDeque<Effect>,
}

/// The other side's list of its sessions.
#[derive(Debug)]
struct Theirs {
    number: u64,
    /// Whether its hub can be reached.
    hub: bool,
    settling: bool,
    /// What this side may do there.
    may: String,
    tags: BTreeSet<ClientTag>,
}

impl Exchange {
    /// Returns an exchange in which nothing is known of the other machine.
    pub fn new(machine: MachineName) -> Self {
        let nothing = Sessions { number: 0, hub: false, settling: true, may: String::new(), sessions: Vec::new() };
        let mut exchange = Self {
            stand_ins: StandIns::new(machine.clone()),
            machine,
            is_up: false,
            theirs: None,
            ours: nothing,
            ours_are_heard: false,
            ours_are_new: true,
            may_answer: false,
            outgoing: Outgoing::default(),
            incoming: Incoming::default(),
            says_at: None,
            effects: VecDeque::new(),
        };
        exchange.stand_ins.add(None, &mut exchange.effects);
        exchange
    }

    /// Records that the link is up: everything is said anew.
    pub fn handle_link_up(&mut self, now: Instant) {
        (self.is_up, self.theirs, self.ours_are_heard) = (true, None, false);
        self.incoming.handle_link_up();
        self.outgoing.handle_link_up();
        self.says_at = Some(now);
        self.say(now);
    }

    /// Records that the link is lost.
    pub fn handle_link_down(&mut self) {
        (self.is_up, self.theirs) = (false, None);
        self.says_at = None;
        self.tell_reach();
    }

    /// Records which sessions of this machine the other one may see; said at most once a second where only their state has
    /// changed. `may_answer`: whether it may answer what is asked here.
    pub fn handle_sessions(&mut self, now: Instant, mut sessions: Sessions, may_answer: bool) {
        self.may_answer = may_answer;
        sessions.number = self.ours.number;
        if self.ours == sessions {
            return;
        }
        sessions.number += 1;
        let names = |sessions: &Sessions| {
            let all = sessions.sessions.iter().map(|session| (session.id, session.name.clone()));
            (sessions.hub, sessions.settling, sessions.may.clone(), all.collect::<Vec<_>>())
        };
        let is_urgent = names(&self.ours) != names(&sessions);
        (self.ours, self.ours_are_heard, self.ours_are_new) = (sessions, false, is_urgent);
        self.say(now);
    }

    /// Takes what the other machine says.
    pub fn handle_message(&mut self, now: Instant, message: LinkMessage, policy: &dyn Policy) {
        match message {
            LinkMessage::Sessions(sessions) => {
                let heard = SessionsHeard { number: sessions.number };
                self.effects.push_back(Effect::Say(LinkMessage::SessionsHeard(heard)));
                self.handle_theirs(sessions);
            }
            LinkMessage::SessionsHeard(heard) => self.ours_are_heard |= heard.number == self.ours.number,
            LinkMessage::Ask(ask) => self.handle_ask(now, *ask, policy),
            LinkMessage::Status(status) => self.handle_status(now, *status),
            LinkMessage::Heard(heard) => self.incoming.handle_heard(heard),
            LinkMessage::Outcome(outcome) => {
                // Until all sessions are listed, and the hub has said what each has open, it may have an ask that is not known here.
                let is_complete = self.theirs.as_ref().is_some_and(|theirs| theirs.hub && !theirs.settling);
                let is_known = is_complete && self.stand_ins.are_all_welcome();
                if !is_known && !self.incoming.contains(outcome.ask_id) {
                    return;
                }
                if self.incoming.handle_outcome(now, outcome, &mut self.stand_ins, &mut self.effects) {
                    let closed = LinkMessage::Closed(LinkClosed { ask_id: outcome.ask_id });
                    self.effects.push_back(Effect::Say(closed));
                }
            }
            LinkMessage::Closed(closed) => {
                self.outgoing.handle_closed(closed.ask_id, &mut self.stand_ins, &mut self.effects);
                self.add_gone();
            }
            LinkMessage::Hello(_) | LinkMessage::Beat(_) => {}
        }
        self.say(now);
        self.remove_gone(now);
    }

    /// Takes over what the other side says of its sessions, unless it has said something later before.
    fn handle_theirs(&mut self, sessions: Sessions) {
        if self.theirs.as_ref().is_some_and(|theirs| sessions.number <= theirs.number) {
            return;
        }
        for session in &sessions.sessions {
            self.stand_ins.add(Some(session), &mut self.effects);
        }
        let tags = sessions.sessions.iter().map(|session| session.id).collect();
        let Sessions { number, hub, settling, may, .. } = sessions;
        self.theirs = Some(Theirs { number, hub, settling, may, tags });
        self.tell_reach();
        self.add_gone();
    }

    /// Returns whether the other side has said that a session is not there.
    fn is_gone(&self, tag: ClientTag) -> bool {
        is_gone(self.theirs.as_ref(), tag)
    }

    /// Adds those sessions again that have gone and of which the hub is still to be told something: a bridge before this one
    /// had their stand-ins.
    fn add_gone(&mut self) {
        for (tag, name) in self.outgoing.to_be_told() {
            if self.is_gone(tag) && !self.stand_ins.contains(Some(tag)) {
                self.stand_ins.add_gone(tag, name, &mut self.effects);
            }
        }
    }

    /// Lets those stand-ins leave whose session is said to be gone and of which nothing is open. One that no hub has welcomed
    /// cannot say so yet.
    fn remove_gone(&mut self, now: Instant) {
        self.outgoing.doubt(now, |tag| is_gone(self.theirs.as_ref(), tag));
        for tag in self.stand_ins.sessions() {
            if !self.is_gone(tag) || !self.stand_ins.is_welcome(Some(tag)) {
                continue;
            }
            let is_free = self.incoming.end_of(now, Some(tag), &mut self.stand_ins, &mut self.effects);
            if is_free && !self.outgoing.is_open_with(tag) {
                self.stand_ins.remove(Some(tag), &mut self.effects);
            }
        }
    }

    /// Returns what this side may do there, for people, if the other side has said so.
    pub fn we_may(&self) -> Option<&str> {
        self.theirs.as_ref().map(|theirs| theirs.may.as_str()).filter(|may| !may.is_empty())
    }

    fn tell_reach(&mut self) {
        let reachable = self.is_up && self.theirs.as_ref().is_some_and(|theirs| theirs.hub);
        self.stand_ins.set_reachable(reachable, &mut self.effects);
    }

    fn handle_ask(&mut self, now: Instant, ask: LinkAsk, policy: &dyn Policy) {
        let to = self.ours.sessions.iter().find(|session| session.id == ask.to);
        let to = to.map(|session| session.name.clone());
        if to.is_none() && (self.ours.settling || !self.ours.hub) {
            // It is said again: by then this side may know whether the session is here.
            return;
        }
        self.incoming.handle_ask(now, ask, to, policy, &mut self.stand_ins, &mut self.effects);
    }

    fn handle_status(&mut self, now: Instant, status: AskStatus) {
        let state = if let Status::Open { state } = &status.status { Some(*state) } else { None };
        let heard = Heard { ask_id: status.ask_id, state };
        self.effects.push_back(Effect::Say(LinkMessage::Heard(heard)));
        self.outgoing.handle_status(now, status, &mut self.stand_ins, &mut self.effects);
        self.add_gone();
    }

    /// Records that the hub has welcomed a stand-in, on a new connection.
    pub fn handle_welcome(&mut self, now: Instant, stand_in: StandIn, welcome: Welcome) {
        self.stand_ins.handle_welcome(stand_in, &mut self.effects);
        match stand_in {
            None => {}
            Some(tag) => self.outgoing.handle_welcome(tag, &mut self.stand_ins, &mut self.effects),
        }
        self.incoming.handle_welcome(now, stand_in, welcome.sent, &mut self.stand_ins, &mut self.effects);
        self.say(now);
        self.remove_gone(now);
    }

    /// Records that a stand-in's connection to the hub is lost.
    pub fn handle_hub_lost(&mut self, stand_in: StandIn) {
        self.stand_ins.handle_lost(stand_in);
    }

    /// Takes what the hub tells a stand-in.
    pub fn handle_hub(&mut self, now: Instant, stand_in: StandIn, message: HubMessage) {
        match message {
            HubMessage::Answer(id, answer) => match (self.stand_ins.take_request(stand_in, id), answer) {
                (Some(Purpose::Ask(ask_id)), Answer::Accepted(accepted)) => {
                    self.incoming.handle_accepted(ask_id, accepted);
                }
                (Some(Purpose::Ask(ask_id)), Answer::Error(error)) => {
                    self.incoming.handle_refused(now, ask_id, error);
                }
                (Some(Purpose::Reply(ask_id)), Answer::Replied(_)) => self.outgoing.handle_replied(now, ask_id),
                (Some(Purpose::Reply(ask_id)), Answer::Error(error)) => {
                    self.outgoing.handle_reply_refused(now, ask_id, &error);
                }
                (_, answer) => tracing::debug!(kind = answer.kind(), "an answer that nobody waits for"),
            },
            HubMessage::Event(event) => self.handle_event(now, stand_in, event),
        }
        self.say(now);
        self.remove_gone(now);
    }

    fn handle_event(&mut self, now: Instant, stand_in: StandIn, event: Event) {
        match event {
            Event::Asked(asked) => self.handle_asked(now, stand_in, outgoing::of_ask(asked)),
            Event::Told(told) => self.handle_asked(now, stand_in, outgoing::of_tell(told)),
            Event::Closed(closed) => self.outgoing.handle_over(now, closed.ask_id),
            Event::Advanced(progress) => self.incoming.handle_advanced(progress),
            Event::Reply(reply) => self.incoming.handle_reply(reply),
            Event::Failed(failed) => self.incoming.handle_failed(&failed),
            Event::Receipt(receipt) => self.incoming.handle_receipt(receipt),
            Event::Renamed(_) | Event::Watched(_) => {}
            Event::Error(error) => tracing::warn!(%error, machine = %self.machine, "the hub refused a stand-in"),
        }
    }

    /// Takes an ask of a session here for one there, if the other side knows of it or may be told of it.
    fn handle_asked(&mut self, now: Instant, stand_in: StandIn, asked: outgoing::Asked) {
        let Some(to) = stand_in else { return };
        let is_known = match asked.from {
            Some(from) => self.ours.sessions.iter().any(|session| session.id == from),
            None => asked.name == SHELL && self.may_answer,
        };
        let reachable = self.is_up && self.theirs.as_ref().is_some_and(|theirs| theirs.hub);
        if !reachable || !is_known {
            let error = outgoing::refusal(&self.machine, &asked.name, reachable);
            let decline = Notice::Decline(Decline { ask_id: asked.ask_id, error });
            return self.stand_ins.notice(stand_in, decline, &mut self.effects);
        }
        self.outgoing.handle_asked(now, to, asked);
    }

    /// Lets a held ask through; all that are held where none is named.
    pub fn release(&mut self, now: Instant, ask_id: Option<AskId>) {
        self.incoming.release(now, ask_id, &mut self.stand_ins, &mut self.effects);
        self.say(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.incoming.handle_timeout(now, &mut self.stand_ins, &mut self.effects);
        let is_gone = |tag| is_gone(self.theirs.as_ref(), tag);
        self.outgoing.handle_timeout(now, is_gone, &mut self.stand_ins, &mut self.effects);
        self.say(now);
        self.remove_gone(now);
    }

    /// Returns when something is due next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.says_at, self.incoming.poll_timeout(), self.outgoing.poll_timeout()].into_iter().flatten().min()
    }

    /// Returns what is to be done next.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Ends what the other machine asked, and lets every stand-in leave: the machine is linked no more.
    pub fn revoke(&mut self, now: Instant) {
        self.incoming.revoke(now, &mut self.stand_ins, &mut self.effects);
        self.stand_ins.remove_all(&mut self.effects);
    }

    /// Returns whether an ask is open, either way.
    pub fn is_open(&self) -> bool {
        self.n_open() > 0
    }

    /// Returns how many asks are open, both ways.
    pub fn n_open(&self) -> usize {
        self.outgoing.len() + self.incoming.len()
    }

    /// Returns how many sessions of the other machine are known.
    pub fn n_sessions(&self) -> usize {
        self.stand_ins.sessions().len()
    }

    /// Returns the asks that wait until this machine's person lets them through.
    pub fn held(&self, now: Instant) -> Vec<Held> {
        self.incoming.held(now)
    }

    /// Returns the name here of a session there.
    pub fn name_of(&self, stand_in: StandIn) -> String {
        self.stand_ins.name(stand_in)
    }

    /// Says what was not said yet, and each second again what was not answered.
    fn say(&mut self, now: Instant) {
        if !self.is_up {
            return;
        }
        let again = self.says_at.is_some_and(|at| at <= now);
        if std::mem::take(&mut self.ours_are_new) || (again && !self.ours_are_heard) {
            self.effects.push_back(Effect::Say(LinkMessage::Sessions(self.ours.clone())));
        }
        self.outgoing.say(now, again, &mut self.effects);
        self.incoming.say(again, &mut self.effects);
        let is_answered = self.ours_are_heard && self.outgoing.is_answered() && self.incoming.is_answered();
        if is_answered {
            self.says_at = None;
        } else if again || self.says_at.is_none() {
            self.says_at = Some(now + SAY_AGAIN);
        }
    }
}

/// Returns whether a session is not there by the other side's list: in that of a side that still settles it may only be late.
fn is_gone(theirs: Option<&Theirs>, tag: ClientTag) -> bool {
    let theirs = theirs.filter(|theirs| theirs.hub && !theirs.settling);
    theirs.is_some_and(|theirs| !theirs.tags.contains(&tag))
}

#[cfg(test)]
mod tests;
