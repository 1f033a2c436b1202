use super::*;
use crate::client::event::End;
use crate::protocol::{
    Accepted, Activity, Ask, AskState, Asked, Audience, BroadcastId, Chain, ClientKey, ClientTag, Closed, Failed,
    Peers, Progress, Renamed, ReplyEvent, SessionFacts, SessionId, Taken, Wake, Withdraw,
};

mod asks;
mod parked;

const MINUTE: Duration = Duration::from_secs(60);

fn ledger(kind: ClientKind) -> Ledger {
    Ledger::new(ClientConfig { socket: "/run/relay/hub.sock".into(), named_by: None, program: "test".to_owned(), kind })
}

fn control() -> Ledger {
    ledger(ClientKind::Control { key: ClientKey::from_bytes([1; 16]) })
}

fn presence(status: Activity) -> Presence {
    Presence { cwd: "/w/web".to_owned(), branch: None, status, waiting_for: None, wakes_by: Wake::Channel }
}

fn session() -> Ledger {
    ledger(ClientKind::Session(Box::new(SessionFacts {
        session: SessionId { pid: 4711, start: 1, thread: None },
        name: None,
        agent: "claude-code".to_owned(),
        client: None,
        presence: presence(Activity::Idle),
    })))
}

fn greeting() -> Ledger {
    let mut ledger = control();
    ledger.handle_connected();
    ledger
}

/// Returns the messages that are to be sent.
fn sent(ledger: &mut Ledger) -> Vec<ClientMessage> {
    std::iter::from_fn(|| ledger.poll_message()).collect()
}

/// Returns the requests that are to be sent.
fn requests(ledger: &mut Ledger) -> Vec<(RequestId, Request)> {
    sent(ledger)
        .into_iter()
        .filter_map(|message| match message {
            ClientMessage::Request(id, request) => Some((id, request)),
            ClientMessage::Notice(_) => None,
        })
        .collect()
}

/// Returns the notices that are to be sent.
fn notices(ledger: &mut Ledger) -> Vec<Notice> {
    sent(ledger)
        .into_iter()
        .filter_map(|message| match message {
            ClientMessage::Notice(notice) => Some(notice),
            ClientMessage::Request(..) => None,
        })
        .collect()
}

/// Returns what the program is told.
fn told(ledger: &mut Ledger) -> Vec<Output> {
    std::iter::from_fn(|| ledger.poll_output()).collect()
}

/// Returns how own asks have ended.
fn ends(ledger: &mut Ledger) -> Vec<(AskId, End)> {
    let end = |output| match output {
        Output::Event(ClientEvent::Outcome(outcome)) => Some((outcome.ask_id, outcome.end)),
        Output::Event(_) | Output::Answer { .. } => None,
    };
    told(ledger).into_iter().filter_map(end).collect()
}

fn welcome_to(version: u32) -> Welcome {
    let hub = "test".to_owned();
    Welcome { version, name: None, hub, hub_pid: 1, settling: false, sent: Vec::new(), parked: None }
}

/// Answers the hello that the ledger sends.
fn answer_hello(ledger: &mut Ledger, now: Instant, answer: Answer) {
    let all = requests(ledger);
    let [(id, Request::Hello(_))] = all[..] else { panic!("no hello: {all:?}") };
    ledger.handle_message(now, HubMessage::Answer(id, answer));
}

fn welcome(ledger: &mut Ledger, now: Instant) {
    answer_hello(ledger, now, Answer::Welcome(Box::new(welcome_to(VERSIONS.max))));
}

/// Connects the ledger to a hub that welcomes it so.
fn connect(ledger: &mut Ledger, now: Instant, welcome: Welcome) {
    ledger.handle_connected();
    answer_hello(ledger, now, Answer::Welcome(Box::new(welcome)));
}

/// Loses the connection and has another hub welcome the ledger.
fn reconnect(ledger: &mut Ledger, now: Instant) {
    ledger.handle_disconnected(now);
    connect(ledger, now, welcome_to(VERSIONS.max));
}

fn event(ledger: &mut Ledger, now: Instant, event: Event) {
    ledger.handle_message(now, HubMessage::Event(event));
}

fn web() -> PeerName {
    PeerName::parse("web").unwrap()
}

fn tag() -> ClientTag {
    ClientKey::from_bytes([7; 16]).tag()
}

/// Makes a call for an ask with this number that stays open for a minute.
fn call_ask(ledger: &mut Ledger, now: Instant, n: u64) -> AskId {
    let (ask_id, question) = (AskId::from_bits(n), "ready?".to_owned());
    let call = Call::Ask { ask_id, to: "web".to_owned(), question, timeout: MINUTE };
    ledger.handle_call(now, CallId(n), call);
    ask_id
}

fn accepted(ask_id: AskId) -> Accepted {
    let (cwd, status) = ("/w/web".to_owned(), Activity::Idle);
    Accepted { ask_id, to: web(), tag: tag(), state: AskState::Accepted, cwd, status, waiting_for: None }
}

/// Makes an ask that the hub accepts.
fn ask(ledger: &mut Ledger, now: Instant, n: u64) -> AskId {
    let ask_id = call_ask(ledger, now, n);
    let all = requests(ledger);
    let [(id, Request::Ask(_))] = all[..] else { panic!("not asked: {all:?}") };
    ledger.handle_message(now, HubMessage::Answer(id, Answer::Accepted(accepted(ask_id))));
    let answers = told(ledger);
    assert!(matches!(answers[..], [Output::Answer { result: Ok(CallAnswer::Asked(_)), .. }]), "{answers:?}");
    ask_id
}

fn reply(ask_id: AskId) -> Event {
    Event::Reply(ReplyEvent { ask_id, from: web(), by: tag(), text: "yes".to_owned() })
}

/// Gives the ledger an ask with this number.
fn receive(ledger: &mut Ledger, now: Instant, n: u64) -> AskId {
    let (ask_id, from, question) = (AskId::from_bits(n), "web".to_owned(), "?".to_owned());
    event(
        ledger,
        now,
        Event::Asked(Asked {
            ask_id,
            from,
            question,
            timeout_ms: 60_000,
            broadcast_id: None,
            from_tag: None,
            chain: Chain::default(),
        }),
    );
    ask_id
}

fn taken(ask_id: AskId) -> Notice {
    Notice::Taken(Taken { ask_id, by: tag() })
}

fn withdraw(ask_id: AskId) -> Notice {
    Notice::Withdraw(Withdraw { ask_id })
}

fn reached(ask_id: AskId, state: AskState) -> Progress {
    Progress { ask_id, state, is_final: false }
}

fn progress(ask_id: AskId, state: AskState) -> Notice {
    Notice::Progress(reached(ask_id, state))
}

fn turn_away(ledger: &mut Ledger, now: Instant) {
    event(ledger, now, Event::Error(Refusal::new(ErrorCode::RateLimited, "too many connections", "close some")));
    ledger.handle_disconnected(now);
}

/// Returns the codes of refused calls and of failed asks that the program is told of.
fn codes(ledger: &mut Ledger) -> Vec<ErrorCode> {
    let code = |output| match output {
        Output::Answer { result: Err(refusal), .. } => Some(refusal.code),
        Output::Event(ClientEvent::Outcome(outcome)) => match outcome.end {
            End::Failed { code, .. } => Some(code),
            End::Reply { .. } | End::Arrived { .. } => None,
        },
        Output::Answer { .. } | Output::Event(_) => None,
    };
    told(ledger).into_iter().filter_map(code).collect()
}

/// Makes two calls, lets their patience end, and returns what they are refused with.
fn refusals(ledger: &mut Ledger, now: Instant) -> Vec<ErrorCode> {
    ledger.handle_call(now, CallId(1), Call::Peers);
    call_ask(ledger, now, 2);
    assert_eq!(told(ledger), []);
    ledger.handle_timeout(now + PATIENCE);
    codes(ledger)
}

#[test]
fn hub_that_turns_a_client_away_is_quoted_when_patience_ends() {
    let (mut ledger, now) = (greeting(), Instant::now());
    turn_away(&mut ledger, now);
    assert_eq!(refusals(&mut ledger, now), [ErrorCode::RateLimited; 2]);
}

#[test]
fn welcome_takes_back_that_the_client_was_turned_away() {
    let (mut ledger, now) = (greeting(), Instant::now());
    turn_away(&mut ledger, now);
    ledger.handle_connected();
    welcome(&mut ledger, now);
    ledger.handle_disconnected(now);
    assert_eq!(refusals(&mut ledger, now), [ErrorCode::HubUnreachable; 2]);
}

#[test]
fn hub_that_has_gone_turns_nobody_away() {
    let (mut ledger, now) = (greeting(), Instant::now());
    turn_away(&mut ledger, now);
    ledger.handle_listener(now, true);
    assert_eq!(refusals(&mut ledger, now), [ErrorCode::HubUnreachable; 2]);
}

#[test]
fn hub_that_refuses_a_frame_after_welcome_turns_nobody_away() {
    let (mut ledger, now) = (greeting(), Instant::now());
    welcome(&mut ledger, now);
    turn_away(&mut ledger, now);
    assert_eq!(refusals(&mut ledger, now), [ErrorCode::HubUnreachable; 2]);
}

#[test]
fn refused_hello_is_quoted_at_once_and_open_asks_are_kept() {
    let (mut ledger, now) = (greeting(), Instant::now());
    welcome(&mut ledger, now);
    ask(&mut ledger, now, 1);
    ledger.handle_disconnected(now);
    ledger.handle_call(now, CallId(2), Call::Peers);
    call_ask(&mut ledger, now, 4);
    ledger.handle_connected();
    answer_hello(&mut ledger, now, Answer::Error(Refusal::new(ErrorCode::ProtocolMismatch, "no", "nothing")));
    ledger.handle_call(now, CallId(3), Call::Peers);
    assert_eq!(codes(&mut ledger), [ErrorCode::ProtocolMismatch; 3]);
    ledger.handle_timeout(now + MINUTE * 2);
    assert_eq!(codes(&mut ledger), [ErrorCode::Timeout]);
    assert!(!ledger.is_superseded());
}

#[test]
fn superseded_client_tells_no_outcome_and_does_not_come_back() {
    let (mut ledger, now) = (greeting(), Instant::now());
    welcome(&mut ledger, now);
    ask(&mut ledger, now, 1);
    ledger.handle_call(now, CallId(2), Call::Peers);
    let error = Refusal::new(ErrorCode::AlreadyRegistered, "another connection has this session", "nothing");
    event(&mut ledger, now, Event::Error(error));
    ledger.handle_disconnected(now);
    ledger.handle_call(now, CallId(3), Call::Peers);
    assert_eq!(codes(&mut ledger), [ErrorCode::AlreadyRegistered; 2]);
    ledger.handle_timeout(now + MINUTE * 2);
    assert_eq!(told(&mut ledger), []);
    assert!(ledger.is_superseded());
}

#[test]
fn request_ids_are_never_used_twice() {
    let (mut ledger, now) = (greeting(), Instant::now());
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..3 {
        assert!(!ledger.is_up());
        let all = requests(&mut ledger);
        let [(hello, Request::Hello(_))] = all[..] else { panic!("no hello: {all:?}") };
        let answer = Answer::Welcome(Box::new(welcome_to(VERSIONS.max)));
        ledger.handle_message(now, HubMessage::Answer(hello, answer));
        assert!(ledger.is_up());
        ledger.handle_call(now, CallId(1), Call::Peers);
        let all = requests(&mut ledger);
        let [(id, Request::Peers)] = all[..] else { panic!("not sent: {all:?}") };
        assert!(ids.insert(hello) && ids.insert(id), "{ids:?}");
        let peers = Peers { you: None, peers: Vec::new(), settling: false, machines: Vec::new() };
        ledger.handle_message(now, HubMessage::Answer(id, Answer::Peers(peers)));
        ledger.handle_disconnected(now);
        ledger.handle_connected();
    }
}

#[test]
fn older_hub_is_sent_nothing_that_it_does_not_know() {
    let (mut ledger, now) = (greeting(), Instant::now());
    answer_hello(&mut ledger, now, Answer::Welcome(Box::new(welcome_to(0))));
    ledger.handle_named("backend".to_owned());
    ledger.handle_call(now, CallId(1), Call::Watch { text: false });
    assert_eq!(sent(&mut ledger), []);
    let Some(Output::Answer { result: Err(refusal), .. }) = ledger.poll_output() else { panic!("no refusal") };
    assert_eq!(refusal.code, ErrorCode::ProtocolMismatch);
    assert_eq!(refusal.message, "relay-hub is too old: it speaks protocol 0, which has no watch");

    reconnect(&mut ledger, now);
    assert_eq!(notices(&mut ledger), [Notice::Named(Named { name: "backend".to_owned() })]);
    ledger.handle_call(now, CallId(2), Call::Watch { text: false });
    assert!(matches!(requests(&mut ledger)[..], [(_, Request::Watch(_))]));
}

#[test]
fn presence_that_changes_before_the_welcome_is_sent_after_it() {
    let now = Instant::now();
    let mut ledger = session();
    ledger.handle_connected();
    ledger.handle_presence(presence(Activity::Busy));
    welcome(&mut ledger, now);
    assert_eq!(notices(&mut ledger), [Notice::Presence(presence(Activity::Busy))]);
}

#[test]
fn presence_is_sent_when_it_is_new_and_in_each_hello() {
    let (mut ledger, now) = (session(), Instant::now());
    connect(&mut ledger, now, welcome_to(VERSIONS.max));
    for (status, is_new) in [(Activity::Idle, false), (Activity::Busy, true), (Activity::Busy, false)] {
        ledger.handle_presence(presence(status));
        assert_eq!(notices(&mut ledger).len(), usize::from(is_new), "{status:?}");
    }
    let moved = Presence { cwd: "/w/api".to_owned(), ..presence(Activity::Busy) };
    ledger.handle_presence(moved.clone());
    assert_eq!(notices(&mut ledger), [Notice::Presence(moved.clone())]);
    ledger.handle_disconnected(now);
    ledger.handle_connected();
    let all = requests(&mut ledger);
    let [(_, Request::Hello(hello))] = &all[..] else { panic!("no hello: {all:?}") };
    assert!(matches!(&hello.kind, ClientKind::Session(facts) if facts.presence == moved));
}

#[test]
fn watcher_is_told_once_that_the_hub_has_gone() {
    let (mut ledger, now) = (greeting(), Instant::now());
    welcome(&mut ledger, now);
    ledger.handle_call(now, CallId(1), Call::Watch { text: false });
    let watching = Box::new(Watching {
        hub: "test".to_owned(),
        pid: 1,
        settling: false,
        peers: Vec::new(),
        asks: Vec::new(),
        machines: Vec::new(),
    });
    let answer = |ledger: &mut Ledger| {
        let all = requests(ledger);
        let [(id, Request::Watch(_))] = all[..] else { panic!("not sent: {all:?}") };
        ledger.handle_message(now, HubMessage::Answer(id, Answer::Watching(watching.clone())));
        told(ledger)
    };
    let result = Ok(CallAnswer::Watching(watching.clone()));
    assert_eq!(answer(&mut ledger), [Output::Answer { call: CallId(1), result }]);
    for events in [vec![Output::Event(ClientEvent::Away)], Vec::new()] {
        ledger.handle_disconnected(now);
        assert_eq!(told(&mut ledger), events);
        ledger.handle_connected();
    }
    welcome(&mut ledger, now);
    assert_eq!(answer(&mut ledger), [Output::Event(ClientEvent::Watching(watching.clone()))]);
}

#[test]
fn session_is_told_of_a_new_name_once_and_brings_it_back() {
    let (mut ledger, now) = (session(), Instant::now());
    connect(&mut ledger, now, welcome_to(VERSIONS.max));
    for events in [vec![Output::Event(ClientEvent::Renamed { name: web() })], Vec::new()] {
        event(&mut ledger, now, Event::Renamed(Renamed { name: web() }));
        assert_eq!(told(&mut ledger), events);
    }
    ledger.handle_disconnected(now);
    ledger.handle_connected();
    let all = requests(&mut ledger);
    let [(_, Request::Hello(hello))] = &all[..] else { panic!("no hello: {all:?}") };
    assert!(matches!(&hello.kind, ClientKind::Session(facts) if facts.name == Some(web())));
}

#[test]
fn hub_where_nobody_listens_is_waited_for_less_long() {
    let (to, question, timeout) = ("web".to_owned(), "?".to_owned(), MINUTE);
    let ask = Call::Ask { ask_id: AskId::from_bits(1), to, question: question.clone(), timeout };
    let broadcast =
        Call::Broadcast { broadcast_id: BroadcastId::from_bits(1), audience: Audience::default(), question, timeout };
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

#[test]
fn handed_over_alone_can_wait_for_the_next_message() {
    let (mut ledger, now) = (session(), Instant::now());
    connect(&mut ledger, now, welcome_to(VERSIONS.max));
    sent(&mut ledger);
    assert!(!ledger.can_wait(), "there is nothing");
    let ask_id = receive(&mut ledger, now, 1);
    ledger.handle_progress(reached(ask_id, AskState::HandedOver));
    assert!(ledger.can_wait());
    ledger.handle_progress(reached(ask_id, AskState::Shown));
    assert!(!ledger.can_wait());
    assert_eq!(notices(&mut ledger), [AskState::HandedOver, AskState::Shown].map(|state| progress(ask_id, state)));
}
