//! Watches what the programs of a simulated run are told, and knows which of it would break a promise.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use relay::client::{Call, CallAnswer, CallId, ClientEvent, End, Outcome, Output, Tally};
use relay::protocol::{AskId, AskKind, AskState, BroadcastId, ErrorCode, Progress, Refusal};

/// How long after its deadline an ask may end at the latest.
const SLACK: Duration = Duration::from_secs(1);

/// How much earlier than its asker's clock the hub's may end an ask: times travel in whole milliseconds.
const EARLY: Duration = Duration::from_millis(2);

/// How long what a channel has parked may be on its way to the next one, which cannot tell: it is wrong by so much about
/// the time of an ask that the hub does not know, or read late.
const KEPT: Duration = Duration::from_secs(2);

/// So long before its deadline nothing of an ask may be lost, whatever happens to hubs and connections meanwhile.
const IN_TIME: Duration = Duration::from_secs(30);

/// How often each fault, action and outcome was met.
pub(crate) type Counts = BTreeMap<&'static str, u64>;

#[derive(Debug)]
struct WatchedCall {
    client: usize,
    call: Call,
    at: Instant,
    answered: bool,
}

#[derive(Debug)]
struct WatchedAsk {
    kind: AskKind,
    asker: usize,
    question: String,
    deadline: Instant,
    /// How long a broadcast's asks waited for their hub, which is no part of the sessions' time.
    wait: Duration,
    accepted: Option<Instant>,
    withdrawn: bool,
    broadcast: Option<BroadcastId>,
    end: Option<End>,
    /// Whether its guarantor was killed.
    excused: bool,
    /// Whether it was open when its channel left.
    inherited: bool,
}

#[derive(Debug, Default)]
struct WatchedBroadcast {
    asker: usize,
    asked: u64,
    refused: u64,
    tally: Option<Tally>,
}

/// What a session said in answer to an ask.
#[derive(Debug)]
struct WatchedReply {
    number: usize,
    at: Instant,
    by: usize,
    ask: AskId,
    /// What the session was told of it: taken, refused, or nothing yet.
    told: Option<bool>,
}

/// What befell a run as a whole.
#[derive(Debug)]
pub(crate) struct Fate<'a> {
    /// Which clients live at the end.
    pub(crate) alive: &'a [bool],
    /// Whether only hubs were killed and connections cut, so that every session was there all the time.
    pub(crate) gentle: bool,
    /// The clients that were killed, left, or were paused.
    pub(crate) missed: &'a BTreeSet<usize>,
    /// The clients of which no hub had a word for longer than a taken reply is told again.
    pub(crate) silent: &'a BTreeSet<usize>,
    /// Whether a hub was paused, and may have taken waiting clients for gone.
    pub(crate) hub_was_paused: bool,
    /// Whether a hub was paused in its grace period.
    pub(crate) hub_overslept: bool,
}

/// The history of one run, as far as the promises speak of it.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    calls: BTreeMap<(usize, CallId), WatchedCall>,
    asks: BTreeMap<AskId, WatchedAsk>,
    broadcasts: BTreeMap<BroadcastId, WatchedBroadcast>,
    /// What must not be shown again.
    shown: BTreeSet<(usize, AskId)>,
    ever_shown: BTreeSet<(usize, AskId)>,
    /// By their texts, each of which is said once.
    replies: BTreeMap<String, WatchedReply>,
    names: BTreeMap<usize, BTreeSet<String>>,
    renewed: BTreeSet<usize>,
    killed: BTreeSet<usize>,
    /// For whom the hubs have accepted an ask.
    bound: BTreeMap<AskId, BTreeSet<usize>>,
    /// What sessions have said of what they were shown, with which a tell may end, and when they did so first.
    arrivals: BTreeMap<AskId, (BTreeSet<AskState>, Instant)>,
    /// Since when each client has run without a pause.
    running_since: BTreeMap<usize, Instant>,
    pub(crate) counts: Counts,
}

impl Checker {
    pub(crate) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    pub(crate) fn saw_resume(&mut self, now: Instant, client: usize) {
        self.running_since.insert(client, now);
    }

    /// Returns the asks that a session was shown.
    pub(crate) fn shown_to(&self, client: usize) -> Vec<AskId> {
        self.shown.iter().filter(|(shown, _)| *shown == client).map(|(_, ask)| *ask).collect()
    }

    /// Records that a session's channel goes: what it waited for in calls is lost.
    pub(crate) fn saw_leave(&mut self, client: usize) {
        for call in self.calls.values_mut().filter(|call| call.client == client) {
            call.answered = true;
        }
    }

    /// Records that a session gets a new channel. Unless the former one could leave what was open, outcomes may be lost,
    /// and what it had not reported as shown may be shown again.
    pub(crate) fn saw_renewal(&mut self, client: usize, keeps: bool) {
        let here = |asker: usize| asker == client;
        for ask in self.asks.values_mut().filter(|ask| here(ask.asker) && (!keeps || ask.accepted.is_none())) {
            ask.excused = true;
        }
        for ask in self.asks.values_mut().filter(|ask| here(ask.asker) && ask.end.is_none()) {
            ask.inherited = true;
        }
        self.renewed.insert(client);
        if !keeps {
            for ask in self.asks.values_mut().filter(|ask| here(ask.asker)) {
                // The word of it may have been lost.
                ask.withdrawn = false;
            }
            self.killed.insert(client);
            self.shown.retain(|(shown, _)| *shown != client);
        }
    }

    pub(crate) fn saw_name(&mut self, client: usize, name: &str) {
        self.names.entry(client).or_default().insert(name.to_owned());
    }

    pub(crate) fn saw_bound(&mut self, ask: AskId, asked: usize) {
        self.bound.entry(ask).or_default().insert(asked);
    }

    pub(crate) fn saw_call(&mut self, now: Instant, client: usize, id: CallId, call: Call) {
        match &call {
            Call::Ask { ask_id, question, timeout, .. } => {
                self.watch(client, AskKind::Ask, *ask_id, question.clone(), now + *timeout, None);
            }
            Call::Tell { tell_id, text, timeout, .. } => {
                self.watch(client, AskKind::Tell, *tell_id, text.clone(), now + *timeout, None);
            }
            Call::Reply { ask_id, text } => {
                let number = self.replies.len();
                let reply = WatchedReply { number, at: now, by: client, ask: *ask_id, told: None };
                assert!(self.replies.insert(text.clone(), reply).is_none(), "a text is said once");
            }
            _ => {}
        }
        self.calls.insert((client, id), WatchedCall { client, call, at: now, answered: false });
    }

    /// Records what a session says of what it was shown.
    pub(crate) fn saw_progress(&mut self, now: Instant, client: usize, progress: Progress) {
        let Progress { ask_id, state, is_final } = progress;
        let ends = state == AskState::Shown || state == AskState::HandedOver && is_final;
        if ends && self.ever_shown.contains(&(client, ask_id)) {
            self.arrivals.entry(ask_id).or_insert_with(|| (BTreeSet::new(), now)).0.insert(state);
        }
    }

    fn watch(
        &mut self,
        asker: usize,
        kind: AskKind,
        id: AskId,
        question: String,
        deadline: Instant,
        broadcast: Option<BroadcastId>,
    ) {
        let ask = WatchedAsk {
            kind,
            asker,
            question,
            deadline,
            wait: Duration::ZERO,
            accepted: None,
            withdrawn: false,
            broadcast,
            end: None,
            excused: false,
            inherited: false,
        };
        assert!(self.asks.insert(id, ask).is_none(), "an id names one ask");
    }

    pub(crate) fn saw_withdraw(&mut self, ask: AskId) {
        self.asks.get_mut(&ask).unwrap().withdrawn = true;
    }

    /// Returns the accepted asks of a client that have no outcome yet.
    pub(crate) fn open_of(&self, client: usize) -> Vec<AskId> {
        let open = |ask: &&WatchedAsk| {
            ask.asker == client && !ask.excused && ask.accepted.is_some() && ask.end.is_none() && !ask.withdrawn
        };
        self.asks.iter().filter(|(_, ask)| open(ask)).map(|(id, _)| *id).collect()
    }

    pub(crate) fn saw_output(&mut self, now: Instant, client: usize, output: &Output) {
        match output {
            Output::Answer { call, result } => self.saw_answer(now, client, *call, result),
            Output::Event(ClientEvent::Ask(ask)) => {
                self.count("ask shown");
                self.saw_text(client, AskKind::Ask, ask.ask_id, &ask.from, &ask.question, ask.broadcast_id);
            }
            Output::Event(ClientEvent::Tell(tell)) => {
                self.count("tell shown");
                self.saw_text(client, AskKind::Tell, tell.tell_id, &tell.from, &tell.text, None);
            }
            Output::Event(ClientEvent::Outcome(outcome)) => self.saw_outcome(now, client, outcome),
            Output::Event(ClientEvent::Tally(tally)) => self.saw_tally(*tally),
            Output::Event(ClientEvent::ReplyFailed { ask_id, error, .. }) => {
                self.count("reply failed after it was pending");
                let told =
                    |reply: &&mut WatchedReply| reply.by == client && reply.ask == *ask_id && reply.told.is_none();
                let reply = self.replies.values_mut().find(told).unwrap_or_else(|| panic!("no such reply: {error}"));
                reply.told = Some(false);
            }
            Output::Event(ClientEvent::Parked(value)) => {
                assert_eq!(value.as_u64(), Some(client as u64), "what another has parked");
                self.count("value parked");
            }
            Output::Event(ClientEvent::Closed { ask_id, .. }) => {
                assert!(self.ever_shown.contains(&(client, *ask_id)), "an ask was closed that was never shown");
                self.count("closed");
            }
            Output::Event(_) => {}
        }
    }

    fn saw_answer(&mut self, now: Instant, client: usize, id: CallId, result: &Result<CallAnswer, Refusal>) {
        let watched = self.calls.get_mut(&(client, id)).unwrap();
        assert_eq!(watched.client, client);
        assert!(!watched.answered, "a call was answered twice: {watched:?}");
        watched.answered = true;
        let at = watched.at;
        match (watched.call.clone(), result) {
            (Call::Ask { ask_id, .. }, Ok(CallAnswer::Asked(asked))) => {
                assert_eq!(asked.ask_id, ask_id);
                self.asks.get_mut(&ask_id).unwrap().accepted = Some(now);
                self.count("ask accepted");
            }
            (Call::Tell { tell_id, .. }, Ok(CallAnswer::Asked(told))) => {
                assert_eq!((told.ask_id, told.kind), (tell_id, AskKind::Tell));
                self.asks.get_mut(&tell_id).unwrap().accepted = Some(now);
                self.count("tell accepted");
            }
            (
                Call::Broadcast { broadcast_id, audience, question, timeout },
                Ok(CallAnswer::Broadcasted(broadcasted)),
            ) => {
                let asked = (broadcasted.asks.len() + broadcasted.refused.len()) as u64;
                let refused = broadcasted.refused.len() as u64;
                if !audience.is_everybody() {
                    let named = audience.to.as_ref().map_or(0, |to| to.len() as u64);
                    assert!(
                        audience.folder.is_some() || asked <= named,
                        "more were asked than were named: {broadcasted:?}"
                    );
                    self.count(if asked > refused { "broadcast to some" } else { "broadcast to nobody" });
                }
                self.broadcasts.insert(broadcast_id, WatchedBroadcast { asker: client, asked, refused, tally: None });
                for ask in &broadcasted.asks {
                    self.watch(client, AskKind::Ask, ask.ask_id, question.clone(), at + timeout, Some(broadcast_id));
                    let watched = self.asks.get_mut(&ask.ask_id).unwrap();
                    (watched.accepted, watched.wait) = (Some(now), now - at);
                }
                self.count("broadcast accepted");
            }
            (Call::Reply { text, .. }, Ok(CallAnswer::Replied(replied))) => {
                if replied.taken {
                    self.replies.get_mut(&text).unwrap().told = Some(true);
                }
                self.count(if replied.taken { "reply taken" } else { "reply pending" });
            }
            (Call::Reply { text, .. }, Err(error)) => {
                self.replies.get_mut(&text).unwrap().told = Some(false);
                let tells = [ErrorCode::UnknownAsk, ErrorCode::HubUnreachable, ErrorCode::NotRegistered];
                assert!(tells.contains(&error.code), "{error}");
                if error.message.contains("is no question") {
                    self.count("reply to a tell refused");
                }
                self.count("reply refused");
                self.count(error.code.as_str());
            }
            (Call::Peers, Ok(CallAnswer::Peers(answer))) => {
                let names: BTreeSet<_> = answer.peers.iter().map(|peer| &peer.name).chain(&answer.you).collect();
                let n = answer.peers.len() + usize::from(answer.you.is_some());
                assert_eq!(names.len(), n, "two peers have one name: {answer:?}");
            }
            (Call::Audience(audience), Ok(CallAnswer::Audience(view))) => {
                let named = audience.to.as_ref().map_or(0, Vec::len);
                assert!(audience.folder.is_some() || audience.is_everybody() || view.names.len() <= named, "{view:?}");
                self.count("audience listed");
            }
            (Call::Rename { .. }, Ok(CallAnswer::Renamed(_))) => self.count("renamed"),
            (Call::Status, Ok(CallAnswer::Status(_))) => {}
            (_, Err(error)) => self.count(error.code.as_str()),
            (call, result) => panic!("{call:?} was answered {result:?}"),
        }
    }

    fn saw_text(
        &mut self,
        client: usize,
        kind: AskKind,
        id: AskId,
        from: &str,
        text: &str,
        broadcast: Option<BroadcastId>,
    ) {
        assert!(self.shown.insert((client, id)), "an ask was shown twice: {id} {text}");
        self.ever_shown.insert((client, id));
        // The asks of a broadcast may be shown before their asker knows of them.
        if let Some(ask) = self.asks.get(&id) {
            assert_ne!(ask.asker, client, "a session was asked by itself");
            assert_eq!((ask.kind, ask.question.as_str(), ask.broadcast), (kind, text, broadcast));
            let is_its_name = |names: &BTreeSet<String>| names.contains(from);
            assert!(self.names.get(&ask.asker).is_some_and(is_its_name), "{id} is not from {}", ask.asker);
        }
    }

    fn saw_outcome(&mut self, now: Instant, client: usize, outcome: &Outcome) {
        let running_since = self.running_since[&client];
        // Of an ask whose call had no answer yet when its channel was killed.
        let Some(ask) = self.asks.get_mut(&outcome.ask_id).filter(|ask| !ask.excused || ask.accepted.is_some()) else {
            assert!(self.renewed.contains(&client), "an outcome of nobody's ask: {outcome:?}");
            return;
        };
        assert_eq!(ask.asker, client, "an outcome was told to another client");
        let accepted = ask.accepted.unwrap_or_else(|| panic!("an outcome came before its acceptance: {outcome:?}"));
        assert!(!ask.withdrawn, "a withdrawn ask had an outcome: {outcome:?}");
        // A channel that is killed may have told an end and not yet have said so.
        assert!(ask.end.is_none() || ask.excused, "an ask ended twice: {:?} and {outcome:?}", ask.end);
        assert_eq!((ask.kind, ask.broadcast), (outcome.kind, outcome.broadcast_id));
        let kept = if ask.inherited { KEPT } else { Duration::ZERO };
        let latest = (ask.deadline + ask.wait + kept).max(accepted).max(running_since) + SLACK;
        assert!(now <= latest || ask.excused, "an outcome came {:?} too late: {outcome:?}", now - latest);
        ask.end = Some(outcome.end.clone());
        if ask.inherited {
            *self.counts.entry("outcome inherited").or_default() += 1;
        }
        let what = match &outcome.end {
            End::Reply { text, .. } => {
                let reply = self.replies.get(text).unwrap_or_else(|| panic!("nobody said {text}"));
                assert_eq!(reply.ask, outcome.ask_id, "a reply to another ask");
                assert!(self.ever_shown.contains(&(reply.by, reply.ask)), "a reply of a session that was not asked");
                assert_eq!(ask.kind, AskKind::Ask, "a reply to a tell");
                "outcome reply"
            }
            End::Arrived { state } => {
                assert_eq!(ask.kind, AskKind::Tell, "a receipt of an ask");
                let said = self.arrivals.get(&outcome.ask_id);
                assert!(said.is_some_and(|(said, _)| said.contains(state)), "nobody was shown it: {outcome:?}");
                if *state == AskState::Shown { "outcome shown" } else { "outcome handed_over" }
            }
            End::Failed { code: ErrorCode::Timeout, .. } => {
                let early = now + if ask.inherited { KEPT } else { EARLY } < ask.deadline;
                assert!(!early, "a timeout came too early: {outcome:?}");
                "outcome timeout"
            }
            End::Failed { code: ErrorCode::PeerGone, .. } => "outcome peer_gone",
            End::Failed { code, .. } => panic!("{code} is no outcome"),
        };
        let is_tell = ask.kind == AskKind::Tell;
        self.count(what);
        if let End::Failed { code, .. } = &outcome.end {
            self.count(code.as_str());
            if is_tell {
                self.count(if *code == ErrorCode::Timeout { "tell timeout" } else { "tell peer_gone" });
            }
        }
    }

    fn saw_tally(&mut self, tally: Tally) {
        let Tally { broadcast_id, asked, replied, timed_out, gone, refused } = tally;
        assert_eq!(asked, replied + timed_out + gone + refused, "{tally:?}");
        if self.asks.values().any(|ask| ask.broadcast == Some(broadcast_id) && ask.excused) {
            return;
        }
        let broadcast = self.broadcasts.get_mut(&broadcast_id).unwrap();
        assert!(broadcast.tally.is_none(), "a second tally: {tally:?}");
        broadcast.tally = Some(tally);
        let mut own = [0; 4];
        for ask in self.asks.values().filter(|ask| ask.broadcast == Some(broadcast_id)) {
            own[match &ask.end {
                Some(End::Reply { .. } | End::Arrived { .. }) => 0,
                Some(End::Failed { code: ErrorCode::Timeout, .. }) => 1,
                Some(End::Failed { .. }) => 2,
                None if ask.withdrawn => 3,
                None => panic!("a tally came before the outcome of {ask:?}"),
            }] += 1;
        }
        assert_eq!([replied, timed_out, gone, refused], [own[0], own[1], own[2], broadcast.refused], "{tally:?}");
        assert_eq!(asked, broadcast.asked - own[3], "{tally:?}");
        self.count("tally");
    }

    /// Checks what must have happened by the end of a run.
    pub(crate) fn finish(&self, run: &Fate<'_>) {
        let alive = run.alive;
        for watched in self.calls.values().filter(|watched| alive[watched.client]) {
            assert!(watched.answered, "a call was never answered: {watched:?}");
        }
        for (id, ask) in &self.asks {
            let open =
                ask.accepted.is_some() && ask.end.is_none() && !ask.withdrawn && alive[ask.asker] && !ask.excused;
            assert!(!open, "an ask has no outcome: {id} {ask:?}");
            let long = ask.accepted.is_some_and(|at| at + IN_TIME <= ask.deadline) && !ask.withdrawn && !ask.excused;
            let was_shown = self.ever_shown.iter().any(|(_, shown)| shown == id);
            assert!(!run.gentle || !long || was_shown, "an ask was never shown: {id} {ask:?}");
            if let (AskKind::Tell, Some((_, at)), true) = (ask.kind, self.arrivals.get(id), run.gentle && long) {
                let in_time = *at + IN_TIME <= ask.deadline;
                assert!(!in_time || matches!(ask.end, Some(End::Arrived { .. })), "a receipt was lost: {id} {ask:?}");
            }
            if let Some(End::Failed { code: ErrorCode::PeerGone, .. }) = ask.end {
                let one_is_dead = self.bound.get(id).is_some_and(|bound| !bound.is_disjoint(run.missed));
                assert!(one_is_dead || run.hub_was_paused, "nobody was gone: {id} {ask:?}");
            }
        }
        for (id, broadcast) in &self.broadcasts {
            let mut asks = self.asks.values().filter(|ask| ask.broadcast == Some(*id));
            let told = broadcast.tally.is_some();
            let to_tell = alive[broadcast.asker]
                && asks.clone().all(|ask| !ask.excused)
                && (broadcast.refused > 0 || asks.any(|ask| !ask.withdrawn));
            assert!(told || !to_tell, "a broadcast has no tally: {id} {broadcast:?}");
        }
        for (text, reply) in &self.replies {
            self.check_reply(text, reply, run);
        }
    }

    fn check_reply(&self, text: &str, reply: &WatchedReply, run: &Fate<'_>) {
        let Some(ask) = self.asks.get(&reply.ask) else { return };
        if ask.kind == AskKind::Tell {
            assert_ne!(reply.told, Some(true), "a reply to a tell was taken: {reply:?}");
            return;
        }
        let was_outcome = matches!(&ask.end, Some(End::Reply { text: told, .. }) if told == text);
        match reply.told {
            _ if ask.excused || self.killed.contains(&reply.by) => {}
            Some(true) => assert!(was_outcome, "a reply was told as taken and was not: {reply:?} {ask:?}"),
            // An asker that did not run when the hub died can tell the next one too late that it took the reply, and a
            // replier that comes back after long is told by a hub that was never told.
            Some(false)
                if !run.missed.contains(&ask.asker) && !run.silent.contains(&reply.by) && !run.hub_overslept =>
            {
                assert!(!was_outcome, "a reply was told as failed and was taken: {reply:?} {ask:?}");
            }
            Some(false) | None => {}
        }
        // The first answer of a session that was asked, in time by far, where nobody was ever missing.
        let first = self.replies.values().all(|other| other.ask != reply.ask || other.number >= reply.number);
        let asked = self.ever_shown.contains(&(reply.by, reply.ask));
        let in_time = reply.at + IN_TIME <= ask.deadline;
        if run.gentle && first && asked && in_time && !ask.withdrawn && ask.accepted.is_some() {
            assert!(was_outcome, "a reply was lost: {reply:?} {ask:?}");
        }
    }
}
