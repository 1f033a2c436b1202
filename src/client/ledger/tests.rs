use super::*;
use crate::protocol::{
    Accepted, Activity, AskEvent, BroadcastAccepted, BroadcastId, ErrorCode, FailedEvent, PeerKey, ReplyEvent,
    SessionFacts, Wake,
};

mod asks;

fn greeting() -> Ledger {
    let mut ledger = Ledger::new(ClientConfig {
        socket: "/run/relay/hub.sock".into(),
        named_by: None,
        key: PeerKey::random(),
        program: "test".to_owned(),
        kind: ClientKind::Control {},
    });
    ledger.handle_connected();
    ledger
}

fn turn_away(ledger: &mut Ledger, now: Instant) {
    let error = Refusal::new(ErrorCode::RateLimited, "too many connections", "close some");
    ledger.handle_message(now, HubMessage::Error { id: None, error });
    ledger.handle_disconnected(now);
}

fn welcome(ledger: &mut Ledger, now: Instant) {
    welcome_to(ledger, now, VERSIONS.max);
}

/// Welcomes the ledger to a hub of this protocol version.
fn welcome_to(ledger: &mut Ledger, now: Instant, version: u32) {
    let Some(ClientMessage::Hello(hello)) = std::iter::from_fn(|| ledger.poll_message()).last() else {
        panic!("no hello")
    };
    let welcome = Welcome { id: hello.id, version, name: None, hub: "test".to_owned(), settling: false, place: None };
    ledger.handle_message(now, HubMessage::Welcome(welcome));
}

/// Returns a ledger with one ask that the hub has accepted, which stays open for a minute, and its answer.
fn asked(now: Instant) -> (Ledger, ReplyEvent) {
    let mut ledger = greeting();
    welcome(&mut ledger, now);
    let (ask_id, question) = (AskId::from_bits(1), "?".to_owned());
    let call = Call::Ask { ask_id, to: "web".to_owned(), question, timeout: Duration::from_secs(60) };
    ledger.handle_call(now, CallId(1), call);
    let Some(ClientMessage::Ask(ask)) = ledger.poll_message() else { panic!("not asked") };
    let (from, by) = (PeerName::parse("web").unwrap(), PeerKey::random().tag());
    let accepted = Accepted { id: ask.id, ask_id, to: from.clone(), tag: by, state: AskState::Accepted };
    ledger.handle_message(now, HubMessage::Accepted(accepted));
    (ledger, ReplyEvent { ask_id, from, by, text: "yes".to_owned() })
}

/// Makes two calls, lets their patience end, and returns what they are refused with.
fn refusals(ledger: &mut Ledger, now: Instant) -> Vec<ErrorCode> {
    ledger.handle_call(now, CallId(1), Call::Peers);
    let (to, question) = ("web".to_owned(), "?".to_owned());
    let ask = Call::Ask { ask_id: AskId::from_bits(1), to, question, timeout: Duration::from_secs(60) };
    ledger.handle_call(now, CallId(2), ask);
    assert_eq!(ledger.poll_output(), None);
    ledger.handle_timeout(now + PATIENCE);
    std::iter::from_fn(|| ledger.poll_output())
        .map(|output| match output {
            Output::Answer { result: Err(refusal), .. } => refusal.code,
            other @ (Output::Answer { .. } | Output::Event(_)) => panic!("not refused: {other:?}"),
        })
        .collect()
}

#[test]
fn a_hub_that_turns_a_client_away_is_quoted_when_patience_ends() {
    let (mut ledger, now) = (greeting(), Instant::now());
    turn_away(&mut ledger, now);
    assert_eq!(refusals(&mut ledger, now), [ErrorCode::RateLimited; 2]);
}

#[test]
fn a_welcome_takes_back_that_the_client_was_turned_away() {
    let (mut ledger, now) = (greeting(), Instant::now());
    turn_away(&mut ledger, now);
    ledger.handle_connected();
    welcome(&mut ledger, now);
    ledger.handle_disconnected(now);
    assert_eq!(refusals(&mut ledger, now), [ErrorCode::HubUnreachable; 2]);
}

#[test]
fn a_hub_that_has_gone_turns_nobody_away() {
    let (mut ledger, now) = (greeting(), Instant::now());
    turn_away(&mut ledger, now);
    ledger.handle_listener(now, true);
    assert_eq!(refusals(&mut ledger, now), [ErrorCode::HubUnreachable; 2]);
}

#[test]
fn a_hub_that_refuses_something_else_turns_nobody_away() {
    let (mut ledger, now) = (greeting(), Instant::now());
    welcome(&mut ledger, now);
    turn_away(&mut ledger, now);
    assert_eq!(refusals(&mut ledger, now), [ErrorCode::HubUnreachable; 2]);
}

/// Returns what the program has been told since it was asked last: the codes of refused calls and of failed asks.
fn codes(ledger: &mut Ledger) -> Vec<ErrorCode> {
    let code = |output| match output {
        Output::Answer { result: Err(refusal), .. } => Some(refusal.code),
        Output::Event(ClientEvent::Outcome(outcome)) => match outcome.end {
            crate::client::End::Failed { code, .. } => Some(code),
            crate::client::End::Reply { .. } => None,
        },
        Output::Answer { .. } | Output::Event(_) => None,
    };
    std::iter::from_fn(|| ledger.poll_output()).filter_map(code).collect()
}

#[test]
fn a_hub_that_will_not_have_a_client_is_quoted_at_once_and_open_asks_are_kept_unless_another_has_them() {
    for (code, ends) in
        [(ErrorCode::ProtocolMismatch, vec![ErrorCode::Timeout]), (ErrorCode::AlreadyRegistered, Vec::new())]
    {
        let now = Instant::now();
        let (mut ledger, _) = asked(now);
        ledger.handle_disconnected(now);
        ledger.handle_call(now, CallId(2), Call::Peers);
        let (to, question, timeout) = ("web".to_owned(), "?".to_owned(), Duration::from_secs(60));
        ledger.handle_call(now, CallId(4), Call::Ask { ask_id: AskId::from_bits(4), to, question, timeout });
        ledger.handle_connected();
        let Some(ClientMessage::Hello(hello)) = ledger.poll_message() else { panic!("no hello") };
        let error = Refusal::new(code, "no", "nothing");
        ledger.handle_message(now, HubMessage::Error { id: Some(hello.id), error });
        ledger.handle_call(now, CallId(3), Call::Peers);
        assert_eq!(codes(&mut ledger), [code; 3]);
        ledger.handle_timeout(now + Duration::from_secs(120));
        assert_eq!(codes(&mut ledger), ends, "{code:?}");
    }
}

#[test]
fn no_two_requests_have_one_id_and_the_hub_is_there_once_it_has_welcomed() {
    let (mut ledger, now) = (greeting(), Instant::now());
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..3 {
        assert!(!ledger.is_up());
        let Some(ClientMessage::Hello(hello)) = ledger.poll_message() else { panic!("no hello") };
        let (hub, name, version) = ("test".to_owned(), None, VERSIONS.max);
        let welcome = Welcome { id: hello.id, version, name, hub, settling: false, place: None };
        ledger.handle_message(now, HubMessage::Welcome(welcome));
        assert!(ledger.is_up());
        ledger.handle_call(now, CallId(1), Call::Peers);
        let Some(ClientMessage::Peers { id }) = ledger.poll_message() else { panic!("not said") };
        assert!(ids.insert(hello.id) && ids.insert(id), "{ids:?}");
        let answer = crate::protocol::PeersAnswer { id, you: None, peers: Vec::new(), settling: false };
        ledger.handle_message(now, HubMessage::Peers(answer));
        ledger.handle_disconnected(now);
        ledger.handle_connected();
    }
}

#[test]
fn an_older_hub_is_told_nothing_that_it_does_not_know_and_a_newer_one_all_of_it() {
    let (mut ledger, now) = (greeting(), Instant::now());
    welcome_to(&mut ledger, now, 1);
    ledger.handle_named("backend".to_owned());
    ledger.handle_call(now, CallId(1), Call::Watch { text: false });
    assert_eq!(ledger.poll_message(), None);
    let Some(Output::Answer { result: Err(refusal), .. }) = ledger.poll_output() else { panic!("no refusal") };
    assert_eq!(refusal.code, ErrorCode::ProtocolMismatch);
    assert_eq!(refusal.message, "relay-hub is too old: it speaks protocol 1, which has no watch");

    ledger.handle_disconnected(now);
    ledger.handle_connected();
    welcome_to(&mut ledger, now, 2);
    assert_eq!(ledger.poll_message(), Some(ClientMessage::Named { name: "backend".to_owned() }));
    ledger.handle_call(now, CallId(2), Call::Watch { text: false });
    assert!(matches!(ledger.poll_message(), Some(ClientMessage::Watch { .. })));
}

#[test]
fn what_a_channel_says_of_its_session_goes_to_a_hub_that_is_there() {
    let (mut ledger, now) = (greeting(), Instant::now());
    let tag = PeerKey::random().tag();
    let offer = Offer { to: tag, batch: 1, text: "hi".to_owned() };
    let verdict = Verdict { to: tag, batch: Some(1), show: true };
    let ask_id = AskId::from_bits(1);
    let say = |ledger: &mut Ledger| {
        ledger.handle_offer(offer.clone());
        ledger.handle_verdict(verdict);
        ledger.handle_progress(ask_id, AskState::Shown);
        std::iter::from_fn(|| ledger.poll_message()).collect::<Vec<_>>()
    };
    welcome(&mut ledger, now);
    let (from, question) = ("web".to_owned(), "?".to_owned());
    let event = AskEvent { ask_id, from, question, timeout_ms: 60_000, broadcast_id: None, asker: Some(tag) };
    ledger.handle_message(now, HubMessage::Ask(event));
    while ledger.poll_message().is_some() {}
    let progress = ClientMessage::Progress { ask_id, state: AskState::Shown, asker: Some(tag) };
    let all = [ClientMessage::Offer(offer.clone()), ClientMessage::Verdict(verdict), progress];
    assert_eq!(say(&mut ledger), all);
    ledger.handle_disconnected(now);
    assert_eq!(say(&mut ledger), []);
}

#[test]
fn who_watches_is_told_that_the_hub_has_gone_once_it_was_there() {
    let (mut ledger, now) = (greeting(), Instant::now());
    welcome(&mut ledger, now);
    ledger.handle_call(now, CallId(1), Call::Watch { text: false });
    let Some(ClientMessage::Watch { id, .. }) = ledger.poll_message() else { panic!("not said") };
    let (hub, pid, settling) = ("test".to_owned(), 1, false);
    let watching = WatchingAnswer { id, hub, pid, settling, peers: Vec::new(), asks: Vec::new() };
    ledger.handle_message(now, HubMessage::Watching(watching.clone()));
    let answer = Output::Answer { call: CallId(1), result: Ok(Answer::Watching(watching.clone())) };
    assert_eq!(ledger.poll_output(), Some(answer));
    for events in [vec![Output::Event(ClientEvent::Away)], Vec::new()] {
        ledger.handle_disconnected(now);
        assert_eq!(std::iter::from_fn(|| ledger.poll_output()).collect::<Vec<_>>(), events);
        ledger.handle_connected();
    }
    welcome(&mut ledger, now);
    let Some(ClientMessage::Watch { id, .. }) = ledger.poll_message() else { panic!("not said again") };
    let watching = WatchingAnswer { id, ..watching };
    ledger.handle_message(now, HubMessage::Watching(watching.clone()));
    assert_eq!(ledger.poll_output(), Some(Output::Event(ClientEvent::Watching(watching))));
}

#[test]
fn a_channel_hears_of_its_companions_and_of_a_name_that_is_new() {
    let (mut ledger, now) = (greeting(), Instant::now());
    let presence = Presence { status: Activity::Idle, wakes_by: Wake::Channel };
    ledger.config.kind = ClientKind::Channel(SessionFacts {
        name: None,
        cwd: "/w/web".to_owned(),
        branch: None,
        pid: 1,
        start: None,
        seat: None,
        client: None,
        presence,
    });
    welcome(&mut ledger, now);
    ledger.handle_message(now, HubMessage::Waiter { tag: None });
    assert_eq!(ledger.poll_output(), Some(Output::Event(ClientEvent::Companion(CompanionEvent::Waiter(None)))));
    let name = PeerName::parse("web").unwrap();
    for event in [Some(Output::Event(ClientEvent::Renamed { name: name.clone() })), None] {
        ledger.handle_message(now, HubMessage::Renamed { id: None, name: name.clone() });
        assert_eq!(ledger.poll_output(), event);
    }
    ledger.handle_disconnected(now);
    ledger.handle_connected();
    let Some(ClientMessage::Hello(hello)) = ledger.poll_message() else { panic!("no hello") };
    assert!(matches!(hello.kind, ClientKind::Channel(facts) if facts.name == Some(name)));
}

#[test]
fn a_hub_where_nobody_listens_is_waited_for_less_long() {
    let (to, question, timeout) = ("web".to_owned(), "?".to_owned(), Duration::from_secs(60));
    let ask = Call::Ask { ask_id: AskId::from_bits(1), to, question: question.clone(), timeout };
    let broadcast = Call::Broadcast { broadcast_id: BroadcastId::from_bits(1), question, timeout };
    for call in [Call::Peers, ask, broadcast] {
        let (mut ledger, now) = (greeting(), Instant::now());
        ledger.handle_disconnected(now);
        ledger.handle_call(now, CallId(1), call);
        let short = PATIENCE_WITHOUT_LISTENER;
        for (missing, patience) in [(true, short), (true, short), (false, PATIENCE)] {
            ledger.handle_listener(now, missing);
            assert_eq!(ledger.poll_timeout(), Some(now + patience));
        }
    }
}
