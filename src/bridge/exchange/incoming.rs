//! The asks of the other machine's sessions for sessions here.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::effect::{Effect, StandIn};
use super::stand_ins::{Purpose, StandIns};
use crate::bridge::frame::{AskStatus, Heard, LinkAsk, LinkMessage, LinkOutcome, Over, Status};
use crate::bridge::link::SAY_AGAIN;
use crate::bridge::rights::{Decision, Policy};
use crate::protocol::{
    Accepted, Ask, AskId, AskKind, AskState, Chain, ClientTag, Decline, ErrorCode, Failed, Notice, OwnAsk, PeerName,
    Progress, Receipt, Refusal, ReplyEvent, Request, Taken, Tell, Withdraw,
};

/// The most asks of one machine that may be open here.
pub const OPEN_MAX: usize = 64;

/// The most asks of one machine that are known here, those that were refused among them. Beyond it none is heard: it is said
/// again.
const KNOWN_MAX: usize = 4 * OPEN_MAX;

/// How long after its asker has stopped waiting an ask is forgotten: the hub has told its end before.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(40);

/// How long what the hub was told of an ask's end is told again to a new connection: the former may not have brought it.
const TOLD_AGAIN: Duration = Duration::from_secs(60);

/// An ask that waits until this machine's person lets it through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The ask.
    pub ask_id: AskId,
    /// Who asks.
    pub from: StandIn,
    /// Who is asked.
    pub to: String,
    /// How long its asker still waits.
    pub left: Duration,
}

#[derive(Debug, Clone)]
struct Item {
    ask: LinkAsk,
    /// The asked session's name when the ask came.
    to: String,
    deadline: Instant,
    /// Whether the hub is to have it: not while it is held, nor once it was refused.
    is_wanted: bool,
    /// Whom the hub has accepted it for.
    bound: Option<ClientTag>,
    /// When the hub is asked again that did not take it.
    retry_at: Option<Instant>,
    /// How far it has come; none until the hub has answered.
    status: Option<Status>,
    is_heard: bool,
    is_fresh: bool,
}

impl Item {
    fn new(ask: LinkAsk, to: Option<&PeerName>, deadline: Instant) -> Self {
        Self {
            ask,
            to: to.map(PeerName::to_string).unwrap_or_default(),
            deadline,
            is_wanted: false,
            bound: None,
            retry_at: None,
            status: None,
            is_heard: false,
            is_fresh: false,
        }
    }

    /// Records how far the ask has come, and that the other side is to hear of it. Never backwards.
    fn set(&mut self, status: Status) {
        let rank = |status: &Status| match status {
            Status::Open { state } => (0, Some(*state)),
            Status::Arrived { .. } => (1, None),
            Status::Reply { .. } => (2, None),
            Status::Refused { .. } | Status::Gone | Status::Over => (3, None),
        };
        if self.status.as_ref().is_none_or(|before| rank(before) < rank(&status)) {
            (self.status, self.is_heard, self.is_fresh) = (Some(status), false, true);
        }
    }

    /// Returns whether the hub has ended it, or never had it.
    const fn is_over(&self) -> bool {
        matches!(self.status, Some(Status::Refused { .. } | Status::Gone | Status::Over | Status::Arrived { .. }))
    }
}

/// The asks of the other machine's sessions.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    items: BTreeMap<AskId, Item>,
    /// What the hub was told of ends lately.
    told: VecDeque<(Instant, StandIn, Notice)>,
}

impl Incoming {
    /// Takes an ask. One without its text was taken before: where nothing is known of it any more the hub is to open it again
    /// if its session has it. `to`: the asked session's name, if it is there and the other machine may know of it.
    pub(super) fn handle_ask(
        &mut self,
        now: Instant,
        ask: LinkAsk,
        to: Option<PeerName>,
        policy: &dyn Policy,
        stand_ins: &mut StandIns,
        out: &mut VecDeque<Effect>,
    ) {
        let ask_id = ask.ask_id;
        if let Some(item) = self.items.get_mut(&ask_id) {
            (item.is_heard, item.is_fresh) = (false, true);
            return;
        }
        // It is said again until the list of sessions has come, and the hub has said what it has of that session: what is open
        // there already is not judged anew.
        if !stand_ins.is_welcome(ask.from) || self.items.len() >= KNOWN_MAX {
            return;
        }
        let (was_taken, deadline) = (ask.text.is_empty(), now + Duration::from_millis(ask.timeout_ms));
        let mut item = Item::new(ask, to.as_ref(), deadline);
        item.bound = was_taken.then_some(item.ask.to);
        match &to {
            None if was_taken => item.set(Status::Gone),
            Some(_) if was_taken => item.is_wanted = true,
            None => item.set(Status::Refused { error: no_such_session() }),
            Some(_) if self.items.len() >= OPEN_MAX => item.set(Status::Refused { error: too_many() }),
            Some(to) => match policy.decide(to.as_str()) {
                Decision::Take => item.is_wanted = true,
                Decision::Hold => item.set(Status::Open { state: AskState::Held }),
                Decision::Refuse(error) => item.set(Status::Refused { error }),
            },
        }
        self.items.insert(ask_id, item);
        self.send(now, ask_id, stand_ins, out);
    }

    /// Gives an ask to the hub, if it is to have it.
    fn send(&mut self, now: Instant, id: AskId, stand_ins: &mut StandIns, out: &mut VecDeque<Effect>) {
        let Some(item) = self.items.get_mut(&id).filter(|item| item.is_wanted && !item.is_over()) else { return };
        item.retry_at = None;
        let LinkAsk { ask_id, kind, text, broadcast_id, chain, .. } = item.ask.clone();
        let left = item.deadline.saturating_duration_since(now);
        let timeout_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1);
        // Its name may be another's by now.
        let (to, bound) = (item.ask.to.address(), item.bound);
        let request = match kind {
            AskKind::Ask => Request::Ask(Ask { ask_id, to, question: text, timeout_ms, bound, broadcast_id, chain }),
            AskKind::Tell => Request::Tell(Tell { tell_id: ask_id, to, text, timeout_ms, bound, chain }),
        };
        // Where it cannot be told now it is with its welcome.
        stand_ins.request(item.ask.from, Purpose::Ask(id), request, out);
    }

    /// Records that the hub has an ask.
    pub(super) fn handle_accepted(&mut self, id: AskId, accepted: Accepted) {
        if let Some(item) = self.items.get_mut(&id) {
            item.bound = Some(accepted.tag);
            item.set(Status::Open { state: accepted.state });
        }
    }

    /// Records that the hub did not take an ask. One that a hub has had before is tried again, unless its session has gone.
    pub(super) fn handle_refused(&mut self, now: Instant, id: AskId, error: Refusal) {
        let Some(item) = self.items.get_mut(&id) else { return };
        match (item.bound, error.code) {
            (None, _) => item.set(Status::Refused { error }),
            (Some(_), ErrorCode::PeerGone) => item.set(Status::Gone),
            (Some(_), ErrorCode::Timeout | ErrorCode::UnknownAsk) => item.set(Status::Over),
            (Some(_), _) => item.retry_at = Some(now + SAY_AGAIN),
        }
    }

    /// Records that an ask has come further.
    pub(super) fn handle_advanced(&mut self, progress: Progress) {
        if let Some(item) = self.items.get_mut(&progress.ask_id) {
            item.set(Status::Open { state: progress.state });
        }
    }

    /// Records that an ask was answered. The reply is the asker's client's to take.
    pub(super) fn handle_reply(&mut self, reply: ReplyEvent) {
        if let Some(item) = self.items.get_mut(&reply.ask_id) {
            item.bound = Some(reply.by);
            item.set(Status::Reply { text: reply.text });
            item.is_fresh = true;
        }
    }

    /// Records that an ask has ended without a reply.
    pub(super) fn handle_failed(&mut self, failed: &Failed) {
        if let Some(item) = self.items.get_mut(&failed.ask_id) {
            item.set(if failed.code == ErrorCode::PeerGone { Status::Gone } else { Status::Over });
        }
    }

    /// Records that a tell has come to its session.
    pub(super) fn handle_receipt(&mut self, receipt: Receipt) {
        if let Some(item) = self.items.get_mut(&receipt.ask_id) {
            item.set(Status::Arrived { state: receipt.state });
        }
    }

    /// Records that the other side has heard the status of an ask; one that was refused is over with that.
    pub(super) fn handle_heard(&mut self, heard: Heard) {
        let Some(item) = self.items.get_mut(&heard.ask_id) else { return };
        match (&item.status, heard.state) {
            (Some(Status::Refused { .. }), None) => drop(self.items.remove(&heard.ask_id)),
            (Some(Status::Open { state }), Some(heard)) => item.is_heard |= *state == heard,
            // It has heard of an end: its outcome follows.
            (Some(_) | None, _) => {}
        }
    }

    /// Ends an ask for the hub: its asker's client has the reply, or nobody waits any more. Returns whether it is over; it is
    /// not where a reply is there that the other side did not know of.
    pub(super) fn handle_outcome(
        &mut self,
        now: Instant,
        outcome: LinkOutcome,
        stand_ins: &mut StandIns,
        out: &mut VecDeque<Effect>,
    ) -> bool {
        if let Some(item) = self.items.get_mut(&outcome.ask_id)
            && matches!(item.status, Some(Status::Reply { .. }))
            && outcome.over == Over::Unanswered
        {
            item.is_fresh = true;
            return false;
        }
        if let Some(item) = self.items.remove(&outcome.ask_id) {
            self.end(now, &item, outcome.over, stand_ins, out);
        }
        true
    }

    fn end(&mut self, now: Instant, item: &Item, over: Over, stand_ins: &mut StandIns, out: &mut VecDeque<Effect>) {
        if !item.is_wanted {
            return;
        }
        let ask_id = item.ask.ask_id;
        let notice = match (over, item.bound) {
            (Over::Taken, Some(by)) => Notice::Taken(Taken { ask_id, by }),
            (Over::Unconfirmed, _) => Notice::Decline(Decline { ask_id, error: unconfirmed() }),
            (Over::Taken | Over::NotTaken | Over::Unanswered, _) => Notice::Withdraw(Withdraw { ask_id }),
        };
        stand_ins.notice(item.ask.from, notice.clone(), out);
        self.forget_told(now);
        self.told.push_back((now + TOLD_AGAIN, item.ask.from, notice));
    }

    /// Tells the hub again what a stand-in knows: it may be another hub. Takes over what only the hub knows. `sent`: the
    /// stand-in's own asks that the hub has.
    pub(super) fn handle_welcome(
        &mut self,
        now: Instant,
        stand_in: StandIn,
        sent: Vec<OwnAsk>,
        stand_ins: &mut StandIns,
        out: &mut VecDeque<Effect>,
    ) {
        self.forget_told(now);
        let told = self.told.iter().filter(|(_, whose, _)| *whose == stand_in);
        let notices: Vec<Notice> = told.map(|(_, _, notice)| notice.clone()).collect();
        notices.into_iter().for_each(|notice| stand_ins.notice(stand_in, notice, out));
        for own in sent {
            self.adopt(now, stand_in, own);
        }
        let of_it = self.items.iter().filter(|(_, item)| item.ask.from == stand_in);
        let ids: Vec<AskId> = of_it.map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| self.send(now, id, stand_ins, out));
    }

    /// Takes an ask over that a bridge before this one has given to the hub. Its text is with the hub or its session.
    fn adopt(&mut self, now: Instant, stand_in: StandIn, own: OwnAsk) {
        let OwnAsk { ask_id, to, tag, state, timeout_ms, broadcast_id, kind } = own;
        if self.items.contains_key(&ask_id) || self.was_ended(ask_id) {
            return;
        }
        let (text, chain) = (String::new(), Chain::default());
        let ask = LinkAsk { ask_id, kind, from: stand_in, to: tag, text, timeout_ms, broadcast_id, chain };
        let mut item = Item::new(ask, Some(&to), now + Duration::from_millis(timeout_ms));
        (item.is_wanted, item.bound) = (true, Some(tag));
        item.set(Status::Open { state });
        self.items.insert(ask_id, item);
    }

    /// Forgets what need not be told again any more.
    fn forget_told(&mut self, now: Instant) {
        while self.told.pop_front_if(|(until, _, _)| *until <= now).is_some() {}
    }

    /// Returns whether the hub was told of an ask's end lately.
    fn was_ended(&self, id: AskId) -> bool {
        self.told.iter().any(|(_, _, notice)| match notice {
            Notice::Taken(taken) => taken.ask_id == id,
            Notice::Withdraw(withdraw) => withdraw.ask_id == id,
            Notice::Decline(decline) => decline.ask_id == id,
            Notice::Progress(_)
            | Notice::Reach(_)
            | Notice::Presence(_)
            | Notice::Named(_)
            | Notice::Park(_)
            | Notice::Bye => false,
        })
    }

    /// Lets a held ask through; all that are held where none is named.
    pub(super) fn release(
        &mut self,
        now: Instant,
        ask_id: Option<AskId>,
        stand_ins: &mut StandIns,
        out: &mut VecDeque<Effect>,
    ) {
        let held = self.items.iter().filter(|(id, item)| is_held(item) && ask_id.is_none_or(|named| named == **id));
        let ids: Vec<AskId> = held.map(|(id, _)| *id).collect();
        for id in ids {
            if let Some(item) = self.items.get_mut(&id) {
                item.is_wanted = true;
            }
            self.send(now, id, stand_ins, out);
        }
    }

    /// Returns the asks that are held.
    pub(super) fn held(&self, now: Instant) -> Vec<Held> {
        let held = self.items.iter().filter(|(_, item)| is_held(item)).map(|(id, item)| Held {
            ask_id: *id,
            from: item.ask.from,
            to: item.to.clone(),
            left: item.deadline.saturating_duration_since(now),
        });
        held.collect()
    }

    /// Does what is due.
    pub(super) fn handle_timeout(&mut self, now: Instant, stand_ins: &mut StandIns, out: &mut VecDeque<Effect>) {
        self.items.retain(|_, item| now < item.deadline + FORGOTTEN_AFTER && !(is_held(item) && item.deadline <= now));
        let due = self.items.iter().filter(|(_, item)| item.retry_at.is_some_and(|at| at <= now));
        let ids: Vec<AskId> = due.map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| self.send(now, id, stand_ins, out));
    }

    /// Returns when something is due next.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let end = |item: &Item| if is_held(item) { item.deadline } else { item.deadline + FORGOTTEN_AFTER };
        self.items.values().flat_map(|item| item.retry_at.into_iter().chain([end(item)])).min()
    }

    /// Says what was not said yet; with `again` all that was not heard.
    pub(super) fn say(&mut self, again: bool, out: &mut VecDeque<Effect>) {
        for (id, item) in &mut self.items {
            let is_due = std::mem::take(&mut item.is_fresh) || (again && !item.is_heard);
            if let Some(status) = item.status.clone().filter(|_| is_due) {
                let name = PeerName::parse(&item.to).ok();
                let status = AskStatus { ask_id: *id, by: item.ask.to, name, status };
                out.push_back(Effect::Say(LinkMessage::Status(Box::new(status))));
            }
        }
    }

    /// Forgets that the other side has heard anything: it may have been started anew.
    pub(super) fn handle_link_up(&mut self) {
        self.items.values_mut().for_each(|item| item.is_heard = false);
    }

    /// Returns whether the other side has heard all that was said.
    pub(super) fn is_answered(&self) -> bool {
        self.items.values().all(|item| item.is_heard || item.status.is_none())
    }

    /// Ends all.
    pub(super) fn revoke(&mut self, now: Instant, stand_ins: &mut StandIns, out: &mut VecDeque<Effect>) {
        for item in std::mem::take(&mut self.items).into_values() {
            // What was answered may be on its way to the asker.
            let is_answered = matches!(item.status, Some(Status::Reply { .. }));
            let over = if is_answered { Over::Unconfirmed } else { Over::Unanswered };
            self.end(now, &item, over, stand_ins, out);
        }
    }

    /// Ends what a session has asked that has gone, but for what may be answered: its client may have taken the reply before.
    /// Returns whether nothing of it is left.
    pub(super) fn end_of(
        &mut self,
        now: Instant,
        stand_in: StandIn,
        stand_ins: &mut StandIns,
        out: &mut VecDeque<Effect>,
    ) -> bool {
        let is_answered =
            |item: &Item| matches!(item.status, Some(Status::Reply { .. } | Status::Open { state: AskState::Shown }));
        let of_it = self.items.iter().filter(|(_, item)| item.ask.from == stand_in && !is_answered(item));
        let ids: Vec<AskId> = of_it.map(|(id, _)| *id).collect();
        for id in ids {
            if let Some(item) = self.items.remove(&id) {
                self.end(now, &item, Over::Unanswered, stand_ins, out);
            }
        }
        self.items.values().all(|item| item.ask.from != stand_in)
    }

    /// Returns whether an ask is open here.
    pub(super) fn contains(&self, ask_id: AskId) -> bool {
        self.items.contains_key(&ask_id)
    }

    /// Returns how many are open.
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }
}

/// Returns whether an ask waits until this machine's person lets it through.
fn is_held(item: &Item) -> bool {
    !item.is_wanted && matches!(item.status, Some(Status::Open { state: AskState::Held }))
}

fn unconfirmed() -> Refusal {
    Refusal::new(ErrorCode::Unconfirmed, "nobody knows whether the asker has the reply", "end the ask")
}

fn no_such_session() -> Refusal {
    Refusal::new(
        ErrorCode::PeerNotFound,
        "no session of that name is there that this machine may know of",
        "list the sessions (relay_peers, or relayctl peers) and use one of their names",
    )
}

fn too_many() -> Refusal {
    Refusal::new(
        ErrorCode::PeerBusy,
        format!("{OPEN_MAX} asks of this machine are open there; the limit is {OPEN_MAX}"),
        "ask again when some of them have ended",
    )
}
