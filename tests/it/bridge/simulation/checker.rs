//! Watches what the programs of a simulated run are told, and knows which of it would break a promise.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use relay::client::{Call, CallAnswer, CallId, ClientEvent, End, Outcome, Output};
use relay::protocol::{AskId, AskKind, BroadcastId, ClientTag, ErrorCode, Refusal};

/// How long after its deadline an ask may end at the latest.
const SLACK: Duration = Duration::from_secs(1);

/// So long before its deadline nothing of an ask may be lost once everything runs again.
const IN_TIME: Duration = Duration::from_secs(30);

/// How often each fault, action and outcome was met.
pub(crate) type Counts = BTreeMap<&'static str, u64>;

#[derive(Debug)]
struct WatchedCall {
    call: Call,
    at: Instant,
    answered: bool,
}

#[derive(Debug)]
struct WatchedAsk {
    kind: AskKind,
    asker: usize,
    deadline: Instant,
    accepted: bool,
    withdrawn: bool,
    end: Option<End>,
}

/// What a session said in answer to an ask.
#[derive(Debug)]
struct WatchedReply {
    at: Instant,
    by: usize,
    ask: AskId,
    /// What the session was told of it: taken, refused, or nothing yet.
    told: Option<Result<(), Refusal>>,
}

/// What befell a run as a whole.
#[derive(Debug)]
pub(crate) struct Fate<'a> {
    /// Which clients live at the end.
    pub(crate) alive: &'a [bool],
    /// The clients that may be called gone.
    pub(crate) missed: &'a BTreeSet<usize>,
    /// When the last fault was over.
    pub(crate) calm_since: Instant,
    /// Whether nothing but frames on their way was disturbed.
    pub(crate) calm: bool,
}

/// The history of one run, as far as the promises speak of it.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    calls: BTreeMap<(usize, CallId), WatchedCall>,
    asks: BTreeMap<AskId, WatchedAsk>,
    /// The asker of each broadcast.
    broadcasts: BTreeMap<BroadcastId, usize>,
    shown: BTreeMap<AskId, usize>,
    /// By their texts, each of which is said once.
    replies: BTreeMap<String, WatchedReply>,
    /// For whom the hubs have accepted an ask.
    bound: BTreeMap<AskId, BTreeSet<usize>>,
    /// The asks that another machine's hub has accepted, or its bridge holds.
    there: BTreeSet<AskId>,
    paused_until: BTreeMap<usize, Instant>,
    ended: BTreeSet<usize>,
    /// The asks whose machine lost bridge and hub while they were open there.
    pub(crate) excused: BTreeSet<AskId>,
    pub(crate) loops: bool,
    pub(crate) counts: Counts,
}

impl Checker {
    pub(crate) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// Returns the asks of a client that are open.
    pub(crate) fn open_of(&self, client: usize) -> Vec<AskId> {
        let open = |ask: &WatchedAsk| ask.asker == client && ask.accepted && ask.end.is_none() && !ask.withdrawn;
        self.asks.iter().filter(|(_, ask)| open(ask)).map(|(id, _)| *id).collect()
    }

    /// Returns the asks that such clients were asked.
    pub(crate) fn asked_of(&self, is_one: impl Fn(usize) -> bool) -> Vec<AskId> {
        let bound = self.bound.iter().filter(|(_, to)| to.iter().any(|to| is_one(*to)));
        bound.map(|(id, _)| *id).collect()
    }

    /// Returns whose ask it is.
    pub(crate) fn asker(&self, ask: AskId) -> usize {
        self.asks.get(&ask).map(|ask| ask.asker).unwrap_or_else(|| panic!("nobody has asked {ask}"))
    }

    /// Notes that an ask of a broadcast may come to be.
    pub(crate) fn expect_broadcast(&mut self, now: Instant, id: BroadcastId, asker: usize, to: ClientTag) {
        self.broadcasts.insert(id, asker);
        let (kind, deadline) = (AskKind::Ask, now);
        let watched = WatchedAsk { kind, asker, deadline, accepted: false, withdrawn: false, end: None };
        self.asks.entry(AskId::of_broadcast(id, to)).or_insert(watched);
    }

    /// Returns all broadcasts and their askers.
    pub(crate) fn broadcasts(&self) -> Vec<(BroadcastId, usize)> {
        self.broadcasts.iter().map(|(id, asker)| (*id, *asker)).collect()
    }

    pub(crate) fn saw_call(&mut self, now: Instant, client: usize, id: CallId, call: &Call) {
        let (kind, ask, timeout) = match call {
            Call::Ask { ask_id, timeout, .. } => (AskKind::Ask, Some(*ask_id), *timeout),
            Call::Tell { tell_id, timeout, .. } => (AskKind::Tell, Some(*tell_id), *timeout),
            _ => (AskKind::Ask, None, Duration::ZERO),
        };
        if let Some(ask) = ask {
            let deadline = now + timeout;
            let watched = WatchedAsk { kind, asker: client, deadline, accepted: false, withdrawn: false, end: None };
            self.asks.insert(ask, watched);
        }
        if let Call::Reply { ask_id, text } = call {
            let reply = WatchedReply { at: now, by: client, ask: *ask_id, told: None };
            self.replies.insert(text.clone(), reply);
        }
        self.calls.insert((client, id), WatchedCall { call: call.clone(), at: now, answered: false });
    }

    pub(crate) fn saw_withdraw(&mut self, ask: AskId) {
        self.count("withdrawn");
        self.asks.get_mut(&ask).unwrap().withdrawn = true;
    }

    pub(crate) fn saw_bound(&mut self, ask: AskId, client: usize) {
        self.bound.entry(ask).or_default().insert(client);
    }

    pub(crate) fn saw_there(&mut self, ask: AskId) {
        self.there.insert(ask);
    }

    /// Notes that a hub may have taken these clients for gone: nothing of their asks is sure.
    pub(crate) fn excuse_all(&mut self, is_one: impl Fn(usize) -> bool) {
        let of_them = self.asks.iter().filter(|(_, ask)| is_one(ask.asker)).map(|(id, _)| *id);
        self.excused.extend(of_them);
        let at_them = self.asked_of(is_one);
        self.excused.extend(at_them);
    }

    pub(crate) fn saw_pause(&mut self, client: usize, until: Instant) {
        self.paused_until.insert(client, until);
    }

    pub(crate) fn saw_end(&mut self, client: usize) {
        self.ended.insert(client);
    }

    pub(crate) fn saw_output(&mut self, now: Instant, client: usize, output: &Output) {
        match output {
            Output::Answer { call, result } => self.saw_answer(now, client, *call, result),
            Output::Event(event) => self.saw_event(now, client, event),
        }
    }

    fn saw_answer(&mut self, now: Instant, client: usize, id: CallId, result: &Result<CallAnswer, Refusal>) {
        let call = self.calls.get_mut(&(client, id)).unwrap();
        assert!(!std::mem::replace(&mut call.answered, true), "{client} has two answers to {:?}", call.call);
        let (call, at) = (call.call.clone(), call.at);
        if let Err(error) = result {
            self.count(error.code.as_str());
        }
        match (&call, result) {
            (Call::Ask { ask_id, .. } | Call::Tell { tell_id: ask_id, .. }, Ok(CallAnswer::Asked(asked))) => {
                self.accept(*ask_id, asked.to.machine().is_some());
            }
            (Call::Broadcast { broadcast_id, timeout, .. }, Ok(CallAnswer::Broadcasted(accepted))) => {
                self.count("broadcast accepted");
                for ask in &accepted.asks {
                    assert_eq!(self.broadcasts.get(broadcast_id), Some(&client));
                    self.asks.get_mut(&ask.ask_id).unwrap().deadline = now + *timeout;
                    self.accept(ask.ask_id, ask.to.machine().is_some());
                }
            }
            (Call::Reply { ask_id, text }, Ok(CallAnswer::Replied(replied))) => {
                if replied.taken {
                    self.saw_taken(*ask_id, text);
                } else {
                    self.count("reply pending");
                }
            }
            (Call::Reply { ask_id, text }, Err(error)) => self.saw_not_taken(*ask_id, text, error),
            _ => {}
        }
        assert!(now.duration_since(at) < Duration::from_secs(130), "{call:?} was answered late");
    }

    fn accept(&mut self, id: AskId, is_remote: bool) {
        let is_there = self.there.contains(&id);
        let ask = self.asks.get_mut(&id).unwrap();
        assert!(!is_remote || is_there, "{id} is accepted, and the other machine does not have it");
        ask.accepted = true;
        self.count(if is_remote { "ask accepted across" } else { "ask accepted here" });
    }

    fn saw_taken(&mut self, id: AskId, text: &str) {
        let end = self.asks.get(&id).and_then(|ask| ask.end.as_ref());
        let has_it = matches!(end, Some(End::Reply { text: taken, .. }) if taken == text);
        assert!(has_it, "the reply {text:?} to {id} is said to be taken, and its asker has {end:?}");
        self.replies.get_mut(text).unwrap().told = Some(Ok(()));
        self.count("reply taken");
    }

    fn saw_not_taken(&mut self, id: AskId, text: &str, error: &Refusal) {
        // An asker that has ended may have told nobody.
        let has_ended = self.asks.get(&id).is_some_and(|ask| self.ended.contains(&ask.asker));
        if error.code == ErrorCode::UnknownAsk && !self.excused.contains(&id) && !has_ended {
            let end = self.asks.get(&id).and_then(|ask| ask.end.as_ref());
            let has_it = matches!(end, Some(End::Reply { text: taken, .. }) if taken == text);
            assert!(!has_it, "the reply {text:?} to {id} is refused, and its asker has it: {error}");
        }
        self.count("reply refused");
        if let Some(reply) = self.replies.get_mut(text) {
            reply.told = Some(Err(error.clone()));
        }
    }

    fn saw_event(&mut self, now: Instant, client: usize, event: &ClientEvent) {
        match event {
            ClientEvent::Ask(asked) => self.saw_shown(client, asked.ask_id),
            ClientEvent::Tell(told) => self.saw_shown(client, told.tell_id),
            ClientEvent::Outcome(outcome) => self.saw_outcome(now, client, outcome),
            ClientEvent::ReplyFailed { ask_id, error, .. } => {
                let mut pending = self
                    .replies
                    .iter()
                    .filter(|(_, reply)| reply.by == client && reply.ask == *ask_id && reply.told.is_none());
                if let Some(text) = pending.next().map(|(text, _)| text.clone()) {
                    self.count(if error.code == ErrorCode::Unconfirmed { "unconfirmed" } else { "reply failed" });
                    self.saw_not_taken(*ask_id, &text, error);
                }
            }
            _ => {}
        }
    }

    fn saw_shown(&mut self, client: usize, ask: AskId) {
        let before = self.shown.insert(ask, client);
        assert_eq!(before, None, "{ask} is shown twice, now to {client}");
    }

    fn saw_outcome(&mut self, now: Instant, client: usize, outcome: &Outcome) {
        let ask = self.asks.get_mut(&outcome.ask_id).unwrap();
        let id = outcome.ask_id;
        assert_eq!(ask.asker, client, "an outcome of another's ask");
        assert!(ask.end.is_none(), "{id} has two outcomes: {:?} and {:?}", ask.end, outcome.end);
        assert!(ask.accepted, "{id} has an outcome and was not accepted");
        assert!(!ask.withdrawn, "{id} was withdrawn and has an outcome");
        let paused_until = self.paused_until.get(&client).copied().unwrap_or(now);
        assert!(now <= ask.deadline.max(paused_until) + SLACK, "{id} ended late");
        ask.end = Some(outcome.end.clone());
        let what = match &outcome.end {
            End::Reply { text, .. } => {
                let reply = self.replies.get(text).unwrap_or_else(|| panic!("nobody has said {text:?}"));
                assert_eq!((reply.ask, Some(&reply.by)), (id, self.shown.get(&id)), "{text:?} answers another ask");
                "outcome reply"
            }
            End::Arrived { .. } => "outcome arrived",
            End::Failed { code: ErrorCode::PeerGone, .. } => "outcome peer_gone",
            End::Failed { .. } => "outcome timeout",
        };
        self.count(what);
    }

    /// Checks what can be said only at the end. Whether sessions had ended that were said to have is checked by who knows.
    pub(crate) fn finish(&self, fate: &Fate<'_>) {
        for (id, ask) in &self.asks {
            let lives = fate.alive[ask.asker];
            assert!(!lives || !ask.accepted || ask.withdrawn || ask.end.is_some(), "{id} has no outcome");
            let nobody = BTreeSet::new();
            let bound = self.bound.get(id).unwrap_or(&nobody);
            if let Some(End::Failed { code: ErrorCode::PeerGone, .. }) = &ask.end {
                let may = bound.iter().any(|to| fate.missed.contains(to));
                assert!(may, "{id} ended with peer_gone, and {bound:?} were there");
            }
            if ask.accepted && fate.calm {
                assert!(bound.len() <= 1, "{id} was accepted for {bound:?}");
            }
            if let Some(shown) = self.shown.get(id).filter(|_| ask.accepted) {
                assert!(bound.contains(shown), "{id} was accepted for {bound:?} and shown to {shown}");
            }
        }
        for (text, reply) in &self.replies {
            if let Some(Err(error)) = &reply.told {
                assert!(!fate.calm || error.code != ErrorCode::Unconfirmed, "{text:?} is unconfirmed for no reason");
            }
            let Some(ask) = self.asks.get(&reply.ask) else { continue };
            let from = reply.at.max(fate.calm_since);
            let is_first = !self.replies.values().any(|other| other.ask == reply.ask && other.at < reply.at);
            let lives = fate.alive[ask.asker] && fate.alive[reply.by];
            let in_time = ask.deadline > from + IN_TIME;
            let counts = ask.accepted && !ask.withdrawn && ask.kind == AskKind::Ask && is_first && lives && in_time;
            let was_missed = [reply.by, ask.asker].iter().any(|client| fate.missed.contains(client));
            if counts && !self.excused.contains(&reply.ask) && !was_missed {
                let has_it = matches!(&ask.end, Some(End::Reply { .. }));
                assert!(has_it, "{} was answered in time by {text:?} and ended with {:?}", reply.ask, ask.end);
            }
        }
    }
}
