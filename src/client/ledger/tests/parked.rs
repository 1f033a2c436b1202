//! What passes from one channel of a session to the next.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::client::event::Tally;
use crate::client::parked::KEPT_MAX;
use crate::client::sent::DEADLINE_SLACK;
use crate::protocol::{BODY_MAX_BYTES, BroadcastAccepted, BroadcastAsk, OwnAsk, PARKED_MAX_BYTES, Replied};

fn connected(now: Instant) -> Ledger {
    let mut ledger = session();
    connect(&mut ledger, now, welcome_to(VERSIONS.max));
    sent(&mut ledger);
    ledger
}

/// Has a channel leave. Returns what it parks, read from the wire, and the notices before it.
fn leave(ledger: &mut Ledger, now: Instant, program_part: Value) -> (Value, Vec<Notice>) {
    ledger.handle_leave(now, Some(program_part));
    let mut all = notices(ledger);
    assert_eq!(all.pop(), Some(Notice::Bye));
    let Some(Notice::Park(park)) = all.pop() else { panic!("nothing is parked") };
    let text = park.value.to_string();
    assert!(text.len() <= PARKED_MAX_BYTES, "{} bytes", text.len());
    (serde_json::from_str(&text).unwrap(), all)
}

/// Returns the next channel, welcomed with this, and what it sends then.
fn next_channel(now: Instant, parked: Option<Value>, known: Vec<OwnAsk>) -> (Ledger, Vec<ClientMessage>) {
    let mut ledger = session();
    connect(&mut ledger, now, Welcome { sent: known, parked, ..welcome_to(VERSIONS.max) });
    let messages = sent(&mut ledger);
    (ledger, messages)
}

fn own(ask_id: AskId, timeout_ms: u64) -> OwnAsk {
    OwnAsk { ask_id, to: web(), tag: tag(), state: AskState::Shown, timeout_ms, broadcast_id: None, kind: AskKind::Ask }
}

#[test]
fn leaving_without_a_next_channel_only_says_bye() {
    let now = Instant::now();
    let mut ledger = connected(now);
    call_ask(&mut ledger, now, 1);
    sent(&mut ledger);
    ledger.handle_leave(now, None);
    assert_eq!(sent(&mut ledger), [ClientMessage::Notice(Notice::Bye)]);
}

#[test]
fn leaving_channel_withdraws_what_no_hub_has_accepted() {
    let now = Instant::now();
    let mut ledger = connected(now);
    let [open, unaccepted] = [ask(&mut ledger, now, 1), call_ask(&mut ledger, now, 2)];
    sent(&mut ledger);
    let (parked, before) = leave(&mut ledger, now, Value::Null);
    assert_eq!(before, [withdraw(unaccepted)]);
    let (mut next, messages) = next_channel(now, Some(parked), Vec::new());
    assert!(matches!(&messages[..], [ClientMessage::Request(_, Request::Ask(ask))]
        if ask.ask_id == open && ask.bound == Some(tag()) && ask.question == "ready?"));
    assert_eq!(told(&mut next), []);
}

#[test]
fn program_gets_its_own_part_back_before_anything_ends() {
    let now = Instant::now();
    let mut ledger = connected(now);
    ask(&mut ledger, now, 1);
    let part = json!({"messages": ["ü"]});
    let (parked, _) = leave(&mut ledger, now, part.clone());
    assert_eq!(parked["channel"], part);
    let mut next = session();
    connect(&mut next, now, Welcome { parked: Some(parked), ..welcome_to(VERSIONS.max) });
    next.handle_timeout(now + MINUTE * 2);
    let outputs = told(&mut next);
    assert!(matches!(&outputs[..], [Output::Event(ClientEvent::Parked(value)), Output::Event(ClientEvent::Outcome(_))]
        if *value == part));
}

#[test]
fn parked_ask_ends_at_its_deadline_even_if_the_hub_does_not_know_it() {
    for (known, slack) in [(true, Duration::ZERO), (false, KEPT_MAX)] {
        let now = Instant::now();
        let mut ledger = connected(now);
        let ask_id = ask(&mut ledger, now, 1);
        let (parked, _) = leave(&mut ledger, now + MINUTE / 2, Value::Null);
        let later = now + MINUTE / 2 + KEPT_MAX;
        let known = Vec::from_iter(known.then(|| own(ask_id, 28_000)));
        let (mut next, _) = next_channel(later, Some(parked), known);
        let end = now + MINUTE + DEADLINE_SLACK;
        next.handle_timeout(end - slack - Duration::from_millis(1));
        assert_eq!(ends(&mut next), []);
        next.handle_timeout(end);
        assert_eq!(ends(&mut next).len(), 1);
    }
}

#[test]
fn ask_that_only_the_hub_knows_is_adopted_without_its_text() {
    let now = Instant::now();
    let ask_id = AskId::from_bits(1);
    let (mut next, messages) = next_channel(now, None, vec![own(ask_id, 60_000)]);
    assert_eq!(messages, [], "there is nothing to send again");
    event(&mut next, now, reply(ask_id));
    assert_eq!(notices(&mut next), [taken(ask_id)]);
    assert!(matches!(ends(&mut next)[..], [(_, End::Reply { .. })]));
}

#[test]
fn ask_that_the_hub_knows_and_that_has_ended_here_is_withdrawn() {
    let now = Instant::now();
    let mut ledger = connected(now);
    let [open, over, answered] = [1, 2, 3].map(|n| ask(&mut ledger, now, n));
    event(&mut ledger, now, reply(answered));
    ledger.handle_disconnected(now);
    ledger.handle_withdraw(over);
    let sent_by_hub = [open, over, answered].map(|id| own(id, 60_000)).to_vec();
    connect(&mut ledger, now, Welcome { sent: sent_by_hub, ..welcome_to(VERSIONS.max) });
    let all = notices(&mut ledger);
    assert!(all.contains(&withdraw(over)) && all.contains(&taken(answered)), "{all:?}");
    assert!(!all.contains(&withdraw(open)) && !all.contains(&withdraw(answered)), "{all:?}");
    assert_eq!(ledger.open(now).sent.len(), 1);
}

#[test]
fn received_ask_is_not_told_twice_by_the_next_channel() {
    let now = Instant::now();
    let mut ledger = connected(now);
    let [open, closed, answered] = [1, 2, 3].map(|n| receive(&mut ledger, now, n));
    ledger.handle_progress(reached(open, AskState::Shown));
    event(&mut ledger, now, Event::Closed(Closed { ask_id: closed }));
    ledger.handle_call(now, CallId(1), Call::Reply { ask_id: answered, text: "yes".to_owned() });
    let [(id, Request::Reply(_))] = requests(&mut ledger)[..] else { panic!("no reply") };
    let replied = Replied { ask_id: answered, to: "web".to_owned() };
    ledger.handle_message(now, HubMessage::Answer(id, Answer::Replied(replied)));
    let (parked, _) = leave(&mut ledger, now, Value::Null);
    let (mut next, messages) = next_channel(now, Some(parked), Vec::new());
    assert_eq!(messages, [ClientMessage::Notice(progress(open, AskState::Shown))]);
    for n in 1..=3 {
        receive(&mut next, now, n);
    }
    assert_eq!(told(&mut next), []);
    assert_eq!(next.open(now).received.iter().map(|ask| ask.question.as_deref()).collect::<Vec<_>>(), [Some("?")]);
    next.handle_call(now, CallId(1), Call::Reply { ask_id: answered, text: "no".to_owned() });
    assert_eq!(codes(&mut next), [ErrorCode::UnknownAsk]);
}

#[test]
fn reply_that_was_not_taken_is_sent_by_the_next_channel() {
    let now = Instant::now();
    let mut ledger = connected(now);
    let ask_id = receive(&mut ledger, now, 1);
    ledger.handle_call(now, CallId(1), Call::Reply { ask_id, text: "yes".to_owned() });
    let (parked, _) = leave(&mut ledger, now, Value::Null);
    let (mut next, messages) = next_channel(now, Some(parked), Vec::new());
    assert!(
        matches!(&messages[..], [ClientMessage::Notice(Notice::Progress(_)), ClientMessage::Request(_, Request::Reply(reply))]
        if reply.text == "yes")
    );
    next.handle_call(now, CallId(1), Call::Reply { ask_id, text: "no".to_owned() });
    assert_eq!(codes(&mut next), [ErrorCode::UnknownAsk], "one answer an ask");
}

#[test]
fn tally_is_told_by_the_next_channel_and_counts_what_ended_before() {
    let now = Instant::now();
    let mut ledger = connected(now);
    let broadcast_id = BroadcastId::from_bits(5);
    let call =
        Call::Broadcast { broadcast_id, audience: Audience::default(), question: "ready?".to_owned(), timeout: MINUTE };
    ledger.handle_call(now, CallId(1), call);
    let [(id, Request::Broadcast(_))] = requests(&mut ledger)[..] else { panic!("not sent") };
    let [first, second] = [1, 2].map(AskId::from_bits);
    let asks = [first, second].map(|ask_id| BroadcastAsk { to: web(), ask_id, tag: tag(), state: AskState::Accepted });
    let accepted = BroadcastAccepted { broadcast_id, asks: asks.to_vec(), refused: Vec::new() };
    ledger.handle_message(now, HubMessage::Answer(id, Answer::BroadcastAccepted(accepted)));
    event(&mut ledger, now, reply(first));
    let (parked, _) = leave(&mut ledger, now, Value::Null);
    let (mut next, messages) = next_channel(now, Some(parked), Vec::new());
    assert!(messages.iter().any(|message| matches!(message, ClientMessage::Request(_, Request::Ask(ask))
        if ask.ask_id == second && ask.question == "ready?" && ask.broadcast_id == Some(broadcast_id))));
    next.handle_timeout(now + MINUTE * 2);
    let outputs = told(&mut next);
    let tally = Tally { broadcast_id, asked: 2, replied: 1, timed_out: 1, gone: 0, refused: 0 };
    assert_eq!(outputs.last(), Some(&Output::Event(ClientEvent::Tally(tally))));
}

#[test]
fn broadcast_that_nobody_was_told_of_is_withdrawn_by_the_next_channel() {
    let now = Instant::now();
    let mut ledger = connected(now);
    let broadcast_id = BroadcastId::from_bits(5);
    let call =
        Call::Broadcast { broadcast_id, audience: Audience::default(), question: "ready?".to_owned(), timeout: MINUTE };
    ledger.handle_call(now, CallId(1), call);
    let (parked, _) = leave(&mut ledger, now, Value::Null);
    let ask_id = AskId::from_bits(1);
    let known = OwnAsk { broadcast_id: Some(broadcast_id), ..own(ask_id, 60_000) };
    let (mut next, messages) = next_channel(now, Some(parked), vec![known]);
    assert!(messages.contains(&ClientMessage::Notice(withdraw(ask_id))), "{messages:?}");
    next.handle_timeout(now + MINUTE * 2);
    assert_eq!(told(&mut next), []);
}

#[test]
fn texts_that_do_not_fit_are_left_out_and_their_asks_are_not() {
    let now = Instant::now();
    let mut ledger = connected(now);
    for n in 1..=9 {
        let (ask_id, question) = (AskId::from_bits(n), "x".repeat(BODY_MAX_BYTES));
        ledger.handle_call(now, CallId(n), Call::Ask { ask_id, to: "web".to_owned(), question, timeout: MINUTE });
        let id = requests(&mut ledger)[0].0;
        ledger.handle_message(now, HubMessage::Answer(id, Answer::Accepted(accepted(ask_id))));
    }
    let part = Value::from("y".repeat(PROGRAM_PART_MAX_BYTES - 2));
    let (parked, _) = leave(&mut ledger, now, part);
    let (mut next, messages) = next_channel(now, Some(parked), Vec::new());
    assert_eq!((messages.len(), next.open(now).sent.len()), (1, 9));
    assert!(matches!(told(&mut next)[..], [Output::Event(ClientEvent::Parked(_))]));
}

#[test]
fn value_of_another_version_is_passed_over() {
    let now = Instant::now();
    let (mut next, messages) =
        next_channel(now, Some(json!({"sent": 1, "channel": 2})), vec![own(AskId::from_bits(1), 60_000)]);
    assert_eq!(messages, []);
    assert_eq!(told(&mut next), [Output::Event(ClientEvent::Parked(json!(2)))]);
    assert_eq!(next.open(now).sent.len(), 1, "the hub knows it");
}

/// What happens to an ask of the session's own.
#[derive(Debug, Clone, Copy)]
enum Step {
    Call,
    Accept,
    Reply,
    Fail,
    Withdraw,
    Reconnect,
    Change,
}

/// A session, its hub and what the session was told.
struct Story {
    now: Instant,
    ledger: Ledger,
    /// When the present channel came.
    came: Instant,
    calls: u64,
    /// The requests for asks that the hub has not answered.
    unanswered: Vec<(RequestId, AskId, Instant)>,
    /// The asks that the hub knows to be open.
    known: BTreeMap<AskId, Instant>,
    /// The asks that the hub knows to have ended.
    failed: BTreeSet<AskId>,
    /// The replies that the hub has and that were not taken.
    replies: BTreeSet<AskId>,
    /// The asks that are owed an outcome.
    owed: BTreeSet<AskId>,
    deadlines: BTreeMap<AskId, Instant>,
    outcomes: BTreeMap<AskId, usize>,
}

impl Story {
    /// Lets the hub read what the session sends, and the program what it is told.
    fn settle(&mut self) {
        for message in sent(&mut self.ledger) {
            match message {
                ClientMessage::Request(id, Request::Ask(ask)) => {
                    self.unanswered.push((id, ask.ask_id, self.now + Duration::from_millis(ask.timeout_ms)));
                }
                ClientMessage::Notice(Notice::Taken(Taken { ask_id, .. }) | Notice::Withdraw(Withdraw { ask_id })) => {
                    self.unanswered.retain(|(_, id, _)| *id != ask_id);
                    self.known.remove(&ask_id);
                    self.replies.remove(&ask_id);
                }
                ClientMessage::Request(..) | ClientMessage::Notice(_) => {}
            }
        }
        for output in told(&mut self.ledger) {
            match output {
                Output::Answer { result: Ok(CallAnswer::Asked(asked)), .. } => {
                    self.owed.insert(asked.ask_id);
                }
                Output::Event(ClientEvent::Outcome(outcome)) => {
                    *self.outcomes.entry(outcome.ask_id).or_default() += 1;
                    let deadline = self.deadlines[&outcome.ask_id];
                    // While no channel is there nobody can be told.
                    assert!(self.now <= self.came.max(deadline + Duration::from_secs(1)), "too late");
                }
                Output::Answer { .. } | Output::Event(_) => {}
            }
        }
    }

    /// Lets what is due happen when it is.
    fn wait_until(&mut self, until: Instant) {
        while let Some(at) = self.ledger.poll_timeout().filter(|at| *at <= until) {
            self.now = at.max(self.now);
            self.ledger.handle_timeout(self.now);
            self.settle();
        }
        self.now = until;
    }

    fn accept(&mut self, at: usize) {
        if at < self.unanswered.len() {
            let (id, ask_id, deadline) = self.unanswered.remove(at);
            // An ask that is sent again after its end is answered with how it has ended.
            let answer = if self.failed.contains(&ask_id) {
                Answer::Error(Refusal::new(ErrorCode::PeerGone, "it has gone", "ask another"))
            } else {
                self.known.entry(ask_id).or_insert(deadline);
                Answer::Accepted(accepted(ask_id))
            };
            self.ledger.handle_message(self.now, HubMessage::Answer(id, answer));
        }
    }

    fn known(&self) -> Vec<OwnAsk> {
        let left = |deadline: Instant| u64::try_from(deadline.saturating_duration_since(self.now).as_millis()).unwrap();
        let open = self.known.iter().filter(|(_, deadline)| **deadline > self.now);
        open.map(|(id, deadline)| own(*id, left(*deadline))).collect()
    }

    fn connect(&mut self, parked: Option<Value>) {
        self.unanswered.clear();
        let welcome = Welcome { sent: self.known(), parked, ..welcome_to(VERSIONS.max) };
        connect(&mut self.ledger, self.now, welcome);
        for ask_id in self.replies.clone() {
            event(&mut self.ledger, self.now, reply(ask_id));
        }
    }

    fn step(&mut self, step: Step, n: u64) {
        let ask_id = AskId::from_bits((self.calls + 1).saturating_sub(n));
        match step {
            Step::Call => {
                self.calls += 1;
                let ask_id = call_ask(&mut self.ledger, self.now, self.calls);
                self.deadlines.insert(ask_id, self.now + MINUTE);
            }
            Step::Accept => self.accept(usize::try_from(n).unwrap() % 3),
            Step::Reply if self.known.contains_key(&ask_id) => {
                self.replies.insert(ask_id);
                event(&mut self.ledger, self.now, reply(ask_id));
            }
            Step::Fail if self.known.contains_key(&ask_id) && !self.replies.contains(&ask_id) => {
                self.known.remove(&ask_id);
                self.failed.insert(ask_id);
                let failed = Failed {
                    ask_id,
                    code: ErrorCode::PeerGone,
                    state: AskState::Shown,
                    waiting_for: None,
                    unreachable_s: None,
                };
                event(&mut self.ledger, self.now, Event::Failed(failed));
            }
            Step::Reply | Step::Fail => {}
            Step::Withdraw => {
                self.ledger.handle_withdraw(ask_id);
                if !self.outcomes.contains_key(&ask_id) && self.owed.contains(&ask_id) {
                    *self.outcomes.entry(ask_id).or_default() += 1;
                }
            }
            Step::Reconnect => {
                self.ledger.handle_disconnected(self.now);
                self.connect(None);
            }
            Step::Change => {
                let (parked, before) = leave(&mut self.ledger, self.now, Value::Null);
                for notice in before {
                    if let Notice::Withdraw(Withdraw { ask_id }) = notice {
                        self.known.remove(&ask_id);
                        self.replies.remove(&ask_id);
                    }
                }
                self.now += KEPT_MAX / 2;
                self.ledger = session();
                self.came = self.now;
                self.connect(Some(parked));
                self.ledger.handle_timeout(self.now);
            }
        }
        self.settle();
    }
}

proptest! {
    #[test]
    fn own_ask_has_one_outcome_however_often_the_channel_changes(
        steps in prop::collection::vec((prop::sample::select(vec![
            Step::Call, Step::Call, Step::Accept, Step::Accept, Step::Accept, Step::Reply, Step::Fail, Step::Withdraw,
            Step::Reconnect, Step::Change, Step::Change,
        ]), 1..5_u64, 0..4_u64), 1..60),
    ) {
        let now = Instant::now();
        let mut story = Story {
            now,
            ledger: connected(now),
            came: now,
            calls: 0,
            unanswered: Vec::new(),
            known: BTreeMap::new(),
            failed: BTreeSet::new(),
            replies: BTreeSet::new(),
            owed: BTreeSet::new(),
            deadlines: BTreeMap::new(),
            outcomes: BTreeMap::new(),
        };
        for (step, n, seconds) in steps {
            story.wait_until(story.now + Duration::from_secs(seconds));
            story.step(step, n);
        }
        // Nobody answers any more.
        story.wait_until(story.now + MINUTE * 2);
        for ask_id in &story.owed {
            prop_assert_eq!(story.outcomes.get(ask_id).copied(), Some(1), "{}", ask_id);
        }
        prop_assert!(story.ledger.open(story.now).sent.is_empty());
    }
}
