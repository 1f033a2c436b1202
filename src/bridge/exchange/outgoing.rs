//! The asks of sessions here for sessions of the other machine.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::effect::Effect;
use super::stand_ins::{Purpose, StandIns};
use crate::bridge::frame::{AskStatus, LinkAsk, LinkMessage, LinkOutcome, Over, Status};
use crate::bridge::link::SAY_AGAIN;
use crate::protocol::{
    self, AskId, AskKind, AskState, BroadcastId, Chain, ClientTag, Decline, ErrorCode, MachineName, Notice, PeerName,
    Progress, Refusal, Reply, Request, Told,
};

/// How long an ask that is over is remembered while the other side cannot be told.
const REMEMBERED: Duration = Duration::from_mins(2);

/// How often the hub is told again what is open: it says so if it is not.
const TOLD_AGAIN: Duration = Duration::from_mins(1);

/// How long after its session has left the other side's list an ask is doubted that is said to be open.
const DOUBTED_AFTER: Duration = Duration::from_secs(3);

/// An ask that the hub has sent to a stand-in.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) ask_id: AskId,
    /// The asking session; none of the shell.
    pub(super) from: Option<ClientTag>,
    /// Its name here.
    pub(super) name: String,
    kind: AskKind,
    text: String,
    timeout_ms: u64,
    broadcast_id: Option<BroadcastId>,
    chain: Chain,
}

/// Returns what the hub asks in the one form.
pub(super) fn of_ask(asked: protocol::Asked) -> Asked {
    let protocol::Asked { ask_id, from: name, question: text, timeout_ms, broadcast_id, from_tag: from, chain } = asked;
    Asked { ask_id, from, name, kind: AskKind::Ask, text, timeout_ms, broadcast_id, chain }
}

/// Returns what the hub tells in the one form.
pub(super) fn of_tell(told: Told) -> Asked {
    let Told { tell_id: ask_id, from: name, text, timeout_ms, from_tag: from, chain } = told;
    Asked { ask_id, from, name, kind: AskKind::Tell, text, timeout_ms, broadcast_id: None, chain }
}

/// Returns why an ask is not taken over the link.
pub(super) fn refusal(machine: &MachineName, name: &str, reachable: bool) -> Refusal {
    if reachable {
        let message = format!("{machine} may not know of {name}: what this machine shares with it does not name it");
        Refusal::new(ErrorCode::NotAllowed, message, format!("run: relayctl machines allow {machine}"))
    } else {
        Refusal::machine_unreachable(machine)
    }
}

/// Where an ask stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    /// The other side has not answered, or may have lost it since.
    Asking,
    /// It is open there.
    Open(AskState),
    /// It is answered. `is_sent`: on the stand-in's present connection.
    Replying {
        /// The reply.
        text: String,
        /// Whether the hub was given it.
        is_sent: bool,
    },
    /// Its session is not in the other side's list any more: that side is told that nobody waits, and says so if it has a
    /// reply.
    Doubtful,
    /// Its session there has gone; the hub was not told yet.
    Gone,
    /// It is over here, and the other side is to be told.
    Over(Over),
}

#[derive(Debug, Clone)]
struct Item {
    /// The asked session.
    to: Option<ClientTag>,
    /// Its name there, as the other side said last.
    name: Option<PeerName>,
    /// What is asked, as long as the other side does not have it; after that without its text. None of an ask that a bridge
    /// before this one has sent.
    ask: Option<Box<LinkAsk>>,
    stage: Stage,
    /// Whether what is to be said was not said yet.
    is_fresh: bool,
    /// When its asker stops waiting.
    deadline: Option<Instant>,
    /// When something is to be tried again, or it is forgotten if it is over.
    due: Option<Instant>,
}

/// The asks of this machine's sessions.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    items: BTreeMap<AskId, Item>,
}

impl Outgoing {
    /// Takes an ask for a session there, unless its reply is on the way to the hub.
    pub(super) fn handle_asked(&mut self, now: Instant, to: ClientTag, asked: Asked) {
        if self.items.get(&asked.ask_id).is_some_and(|item| matches!(item.stage, Stage::Replying { .. })) {
            return;
        }
        let Asked { ask_id, from, kind, text, timeout_ms, broadcast_id, chain, .. } = asked;
        let deadline = Some(now + Duration::from_millis(timeout_ms));
        let ask = LinkAsk { ask_id, kind, from, to, text, timeout_ms, broadcast_id, chain };
        let (stage, ask) = (Stage::Asking, Some(Box::new(ask)));
        let item = Item { to: Some(to), name: None, ask, stage, is_fresh: true, deadline, due: deadline };
        self.items.insert(ask_id, item);
    }

    /// Records that the hub waits for a reply no more, unless it has one, of which it says what becomes of it. The other
    /// side is told, also of an ask that was forgotten here.
    pub(super) fn handle_over(&mut self, now: Instant, ask_id: AskId) {
        let stage = self.items.get(&ask_id).map(|item| &item.stage);
        if !matches!(stage, Some(Stage::Over(_) | Stage::Replying { .. })) {
            self.end(now, ask_id, Over::Unanswered);
        }
    }

    fn end(&mut self, now: Instant, ask_id: AskId, over: Over) {
        let (stage, due) = (Stage::Over(over), Some(now + REMEMBERED));
        self.items.insert(ask_id, Item { to: None, name: None, ask: None, stage, is_fresh: true, deadline: None, due });
    }

    /// Takes what the other side says of an ask, whether it is known here or not: the hub judges.
    pub(super) fn handle_status(
        &mut self,
        now: Instant,
        status: AskStatus,
        stand_ins: &mut StandIns,
        out: &mut VecDeque<Effect>,
    ) {
        let AskStatus { ask_id, by, name, status } = status;
        let stage = self.items.get(&ask_id).map(|item| &item.stage);
        let is_news = matches!(status, Status::Reply { .. }) && stage == Some(&Stage::Over(Over::Unanswered));
        if matches!(stage, Some(Stage::Over(_))) && !is_news {
            return self.say_again(ask_id);
        }
        let is_replying = matches!(stage, Some(Stage::Replying { .. }));
        let is_doubtful = stage == Some(&Stage::Doubtful);
        match status {
            Status::Refused { error } => {
                stand_ins.notice(Some(by), Notice::Decline(Decline { ask_id, error }), out);
                self.items.remove(&ask_id);
            }
            Status::Open { state } if !is_replying && !is_doubtful => {
                self.set(now, ask_id, by, Stage::Open(state));
                progress(ask_id, by, state, false, stand_ins, out);
            }
            Status::Reply { text } if !is_replying => {
                self.set(now, ask_id, by, Stage::Replying { text, is_sent: false });
                self.go_on(ask_id, stand_ins, out);
            }
            Status::Open { .. } | Status::Reply { .. } => {}
            Status::Arrived { state } => {
                self.set(now, ask_id, by, Stage::Open(state));
                progress(ask_id, by, state, true, stand_ins, out);
            }
            Status::Gone => {
                self.set(now, ask_id, by, Stage::Gone);
                self.go_on(ask_id, stand_ins, out);
            }
            Status::Over => self.handle_over(now, ask_id),
        }
        if let Some(item) = self.items.get_mut(&ask_id) {
            item.name = name.or(item.name.take());
        }
    }

    /// Puts an ask into another stage, in which nothing is to be said.
    fn set(&mut self, now: Instant, ask_id: AskId, to: ClientTag, stage: Stage) {
        let before = self.items.remove(&ask_id);
        let (deadline, ask, name) = before.map_or((None, None, None), |item| (item.deadline, item.ask, item.name));
        let ask = ask.map(|mut ask| {
            ask.text = String::new();
            ask
        });
        let due = matches!(stage, Stage::Open(_)).then(|| now + TOLD_AGAIN);
        self.items.insert(ask_id, Item { to: Some(to), name, ask, stage, is_fresh: false, deadline, due });
    }

    /// Asks again, without the texts, for what is open there: the other side may have lost both its hub and its bridge. It
    /// goes on with what its sessions have.
    pub(super) fn handle_link_up(&mut self) {
        for item in self.items.values_mut() {
            if matches!(item.stage, Stage::Open(_)) && item.ask.is_some() {
                (item.stage, item.due) = (Stage::Asking, item.deadline);
            }
        }
    }

    fn say_again(&mut self, ask_id: AskId) {
        if let Some(item) = self.items.get_mut(&ask_id) {
            item.is_fresh = true;
        }
    }

    /// Tells the hub what it was not told.
    fn go_on(&mut self, ask_id: AskId, stand_ins: &mut StandIns, out: &mut VecDeque<Effect>) {
        let Some(item) = self.items.get_mut(&ask_id) else { return };
        match &mut item.stage {
            Stage::Open(state) => {
                let (Some(to), state) = (item.to, *state) else { return };
                progress(ask_id, to, state, false, stand_ins, out);
            }
            Stage::Replying { text, is_sent } if !*is_sent => {
                let request = Request::Reply(Reply { ask_id, text: text.clone() });
                *is_sent = stand_ins.request(item.to, Purpose::Reply(ask_id), request, out);
            }
            Stage::Gone if stand_ins.is_welcome(item.to) => {
                let error = Refusal::new(ErrorCode::PeerGone, "the session has ended", "ask again when it is back");
                stand_ins.notice(item.to, Notice::Decline(Decline { ask_id, error }), out);
                (item.stage, item.is_fresh) = (Stage::Over(Over::Unanswered), true);
            }
            Stage::Asking | Stage::Replying { .. } | Stage::Doubtful | Stage::Gone | Stage::Over(_) => {}
        }
    }

    /// Doubts that something is open of a session that is not in the other side's list, unless a reply comes soon.
    pub(super) fn doubt(&mut self, now: Instant, is_gone: impl Fn(ClientTag) -> bool) {
        for item in self.items.values_mut().filter(|item| item.to.is_some_and(&is_gone)) {
            if matches!(item.stage, Stage::Open(_)) {
                item.due = item.due.min(Some(now + DOUBTED_AFTER));
            }
        }
    }

    /// Returns the sessions of which the hub is to be told something, with their names.
    pub(super) fn to_be_told(&self) -> Vec<(ClientTag, PeerName)> {
        let name = |item: &Item| {
            let name = item.name.clone().unwrap_or_else(|| PeerName::of_folder(""));
            Some((item.to?, name))
        };
        let is_it = |item: &&Item| matches!(item.stage, Stage::Replying { .. } | Stage::Gone);
        self.items.values().filter(is_it).filter_map(name).collect()
    }

    /// Tells the hub again what a stand-in knows: it may be another hub.
    pub(super) fn handle_welcome(&mut self, tag: ClientTag, stand_ins: &mut StandIns, out: &mut VecDeque<Effect>) {
        let ids: Vec<AskId> = self.of(tag).collect();
        for id in ids {
            if let Some(Stage::Replying { is_sent, .. }) = self.items.get_mut(&id).map(|item| &mut item.stage) {
                *is_sent = false;
            }
            self.go_on(id, stand_ins, out);
        }
    }

    fn of(&self, tag: ClientTag) -> impl Iterator<Item = AskId> {
        self.items.iter().filter(move |(_, item)| item.to == Some(tag)).map(|(id, _)| *id)
    }

    /// Records that the asker's client has taken a reply.
    pub(super) fn handle_replied(&mut self, now: Instant, ask_id: AskId) {
        if self.items.contains_key(&ask_id) {
            self.end(now, ask_id, Over::Taken);
        }
    }

    /// Records that the hub did not take a reply: nobody waits for it, it does not know the ask, or it is tried again.
    pub(super) fn handle_reply_refused(&mut self, now: Instant, ask_id: AskId, error: &Refusal) {
        if error.code == ErrorCode::UnknownAsk {
            return self.end(now, ask_id, Over::NotTaken);
        }
        if error.code == ErrorCode::Unconfirmed {
            return self.end(now, ask_id, Over::Unconfirmed);
        }
        if let Some(item) = self.items.get_mut(&ask_id)
            && let Stage::Replying { is_sent, .. } = &mut item.stage
        {
            *is_sent = false;
            item.due = Some(now + SAY_AGAIN);
        }
    }

    /// Records that the other side has forgotten an ask.
    pub(super) fn handle_closed(&mut self, ask_id: AskId, stand_ins: &mut StandIns, out: &mut VecDeque<Effect>) {
        let Some(item) = self.items.get_mut(&ask_id) else { return };
        match item.stage {
            Stage::Doubtful => {
                item.stage = Stage::Gone;
                self.go_on(ask_id, stand_ins, out);
            }
            Stage::Over(_) => drop(self.items.remove(&ask_id)),
            Stage::Asking | Stage::Open(_) | Stage::Replying { .. } | Stage::Gone => {}
        }
    }

    /// Does what is due.
    pub(super) fn handle_timeout(
        &mut self,
        now: Instant,
        is_gone: impl Fn(ClientTag) -> bool,
        stand_ins: &mut StandIns,
        out: &mut VecDeque<Effect>,
    ) {
        let due: Vec<AskId> =
            self.items.iter().filter(|(_, item)| item.due.is_some_and(|at| at <= now)).map(|(id, _)| *id).collect();
        for id in due {
            let Some(item) = self.items.get_mut(&id) else { continue };
            item.due = None;
            match item.stage {
                Stage::Over(_) => drop(self.items.remove(&id)),
                Stage::Open(_) if item.to.is_some_and(&is_gone) => {
                    (item.stage, item.is_fresh) = (Stage::Doubtful, true);
                }
                Stage::Open(_) => {
                    item.due = Some(now + TOLD_AGAIN);
                    self.go_on(id, stand_ins, out);
                }
                Stage::Asking => self.end(now, id, Over::Unanswered),
                Stage::Replying { .. } | Stage::Doubtful | Stage::Gone => {
                    self.go_on(id, stand_ins, out);
                }
            }
        }
    }

    /// Returns when something is due next.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.items.values().filter_map(|item| item.due).min()
    }

    /// Says what was not said yet; with `again` all that was not answered.
    pub(super) fn say(&mut self, now: Instant, again: bool, out: &mut VecDeque<Effect>) {
        for (id, item) in &mut self.items {
            if !std::mem::take(&mut item.is_fresh) && !again {
                continue;
            }
            match &item.stage {
                Stage::Asking => {
                    let Some(mut ask) = item.ask.clone() else { continue };
                    let left = item.deadline.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
                    ask.timeout_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1);
                    out.push_back(Effect::Say(LinkMessage::Ask(ask)));
                }
                Stage::Over(over) => out.push_back(outcome(*id, *over)),
                Stage::Doubtful => out.push_back(outcome(*id, Over::Unanswered)),
                Stage::Open(_) | Stage::Replying { .. } | Stage::Gone => {}
            }
        }
    }

    /// Returns whether the other side has answered all that was said.
    pub(super) fn is_answered(&self) -> bool {
        !self.items.values().any(|item| matches!(item.stage, Stage::Asking | Stage::Doubtful | Stage::Over(_)))
    }

    /// Returns whether an ask for this session is open.
    pub(super) fn is_open_with(&self, tag: ClientTag) -> bool {
        self.of(tag).next().is_some()
    }

    /// Returns how many are open.
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }
}

const fn outcome(ask_id: AskId, over: Over) -> Effect {
    Effect::Say(LinkMessage::Outcome(LinkOutcome { ask_id, over }))
}

fn progress(
    ask_id: AskId,
    by: ClientTag,
    state: AskState,
    is_final: bool,
    stand_ins: &mut StandIns,
    out: &mut VecDeque<Effect>,
) {
    stand_ins.notice(Some(by), Notice::Progress(Progress { ask_id, state, is_final }), out);
}
