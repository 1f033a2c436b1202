use super::*;
use crate::client::{ClientConfig, End};
use crate::protocol::{
    Activity, AskEvent, AskState, PeerKey, PeerName, Presence, ReplyEvent, SessionFacts, Standing, VERSIONS, Wake,
    Welcome,
};

const MINUTE: Duration = Duration::from_secs(60);

fn presence(status: Activity) -> Presence {
    Presence { status, wakes_by: Wake::Channel }
}

fn channel() -> Ledger {
    let facts = SessionFacts {
        name: None,
        cwd: "/w/web".to_owned(),
        branch: None,
        pid: 4711,
        start: Some(1),
        seat: Some(Seat::default()),
        client: None,
        presence: presence(Activity::Idle),
    };
    Ledger::new(ClientConfig {
        socket: "/run/relay/hub.sock".into(),
        named_by: None,
        key: PeerKey::random(),
        program: "test".to_owned(),
        kind: ClientKind::Channel(facts),
    })
}

/// Connects it and welcomes it to this place. Returns what it says then.
fn welcome(ledger: &mut Ledger, now: Instant, place: Option<Place>) -> Vec<ClientMessage> {
    ledger.handle_connected();
    let id = said(ledger).iter().find_map(ClientMessage::request_id).unwrap();
    let (hub, version) = ("test".to_owned(), VERSIONS.max);
    let welcome = Welcome { id, version, name: None, hub, settling: false, place };
    ledger.handle_message(now, HubMessage::Welcome(welcome));
    said(ledger)
}

fn said(ledger: &mut Ledger) -> Vec<ClientMessage> {
    std::iter::from_fn(|| ledger.poll_message()).collect()
}

fn told(ledger: &mut Ledger) -> Vec<Output> {
    std::iter::from_fn(|| ledger.poll_output()).collect()
}

fn ask(ledger: &mut Ledger, now: Instant, n: u64) -> u64 {
    let (to, question) = ("api".to_owned(), "ready?".to_owned());
    ledger.handle_call(now, CallId(n), Call::Ask { ask_id: AskId::from_bits(n), to, question, timeout: MINUTE });
    said(ledger).iter().find_map(ClientMessage::request_id).unwrap()
}

fn accept(ledger: &mut Ledger, now: Instant, n: u64, id: u64) {
    let (to, tag) = (PeerName::parse("api").unwrap(), PeerKey::from_bytes([7; 16]).tag());
    let accepted = Accepted { id, ask_id: AskId::from_bits(n), to, tag, state: AskState::Accepted };
    ledger.handle_message(now, HubMessage::Accepted(accepted));
}

#[test]
fn what_a_session_does_is_said_when_it_is_new() {
    let (mut ledger, now) = (channel(), Instant::now());
    welcome(&mut ledger, now, None);
    for (status, is_new) in [(Activity::Idle, false), (Activity::Busy, true), (Activity::Busy, false)] {
        ledger.handle_presence(presence(status));
        assert_eq!(said(&mut ledger).len(), usize::from(is_new), "{status:?}");
    }
}

#[test]
fn one_that_is_only_a_second_gives_its_asks_away_and_sees_to_no_end_of_theirs() {
    let (mut ledger, now) = (channel(), Instant::now());
    welcome(&mut ledger, now, None);
    let id = ask(&mut ledger, now, 1);
    accept(&mut ledger, now, 1, id);
    ledger.handle_disconnected(now);
    told(&mut ledger);
    let given = welcome(&mut ledger, now, Some(Place::Second));
    let is_own = |message: &ClientMessage| matches!(message, ClientMessage::Bequest { bequest } if bequest.own_ask() == Some(AskId::from_bits(1)));
    assert_eq!(given.iter().filter(|message| is_own(message)).count(), 1, "{given:?}");
    assert_eq!(told(&mut ledger), [Output::Event(ClientEvent::Second(true))]);
    ledger.handle_timeout(now + MINUTE * 2);
    assert_eq!(told(&mut ledger), [], "the peer tells of its end");
}

#[test]
fn a_second_that_is_back_has_lost_nothing_that_it_asks() {
    let (mut ledger, now) = (channel(), Instant::now());
    welcome(&mut ledger, now, Some(Place::Second));
    ask(&mut ledger, now, 1);
    ledger.handle_disconnected(now);
    told(&mut ledger);
    let again = welcome(&mut ledger, now, Some(Place::Second));
    assert!(matches!(again[..], [ClientMessage::Ask(_)]), "{again:?}");
    assert_eq!(told(&mut ledger), [], "it knows its place");
}

#[test]
fn an_inherited_ask_is_known_until_it_is_forgotten_like_any_other() {
    let (mut ledger, now) = (channel(), Instant::now());
    let (key, waited_ms) = (PeerKey::random(), 0);
    welcome(&mut ledger, now, Some(Place::Heir { key, turn: 1 }));
    let (ask_id, from, asker) = (AskId::from_bits(1), "api".to_owned(), None);
    let (timeout_ms, state, standing) = (60_000, AskState::Shown, Standing::Open);
    let bequest = Bequest::Received { ask_id, from: from.clone(), asker, timeout_ms, state, standing };
    ledger.handle_message(now, HubMessage::Bequest { waited_ms, bequest });
    assert_eq!(told(&mut ledger), [Output::Event(ClientEvent::Inherited(Inherited::Ask(ask_id)))]);
    let (state, asker, standing) = (AskState::Shown, None, Standing::Answered);
    let over =
        Bequest::Received { ask_id: AskId::from_bits(2), from: from.clone(), asker, timeout_ms, state, standing };
    ledger.handle_message(now, HubMessage::Bequest { waited_ms, bequest: over });
    assert_eq!(told(&mut ledger), [], "nobody waits for it");
    ledger.handle_timeout(now + MINUTE / 2);
    let question = "ready?".to_owned();
    let again = AskEvent { ask_id, from, question, timeout_ms: 30_000, broadcast_id: None, asker };
    ledger.handle_message(now + MINUTE / 2, HubMessage::Ask(again));
    assert_eq!(told(&mut ledger), [], "its session was shown it by the forerunner");
}

#[test]
fn a_channel_that_leaves_withdraws_what_nobody_has_accepted_and_says_what_it_has_taken() {
    for (lived, is_told) in [(9, true), (10, false)] {
        let (mut ledger, mut now) = (channel(), Instant::now());
        welcome(&mut ledger, now, None);
        let id = ask(&mut ledger, now, 1);
        accept(&mut ledger, now, 1, id);
        let (from, by) = (PeerName::parse("api").unwrap(), PeerKey::from_bytes([7; 16]).tag());
        let reply = ReplyEvent { ask_id: AskId::from_bits(1), from, by, text: "yes".to_owned() };
        ledger.handle_message(now, HubMessage::Reply(reply));
        now += Duration::from_secs(lived);
        ledger.handle_disconnected(now);
        welcome(&mut ledger, now, None);
        ask(&mut ledger, now, 2);
        ledger.handle_leave(now, Vec::new());
        let taken = ClientMessage::Bequest { bequest: Bequest::Taken { ask_id: AskId::from_bits(1), by } };
        let withdraw = ClientMessage::Withdraw { ask_id: AskId::from_bits(2) };
        let all: Vec<_> = [withdraw].into_iter().chain(is_told.then_some(taken)).collect();
        assert_eq!(said(&mut ledger), all, "{lived} s");
    }
}

#[test]
fn an_ask_that_an_heir_knows_the_end_of_stays_ended() {
    let (mut ledger, now) = (channel(), Instant::now());
    welcome(&mut ledger, now, Some(Place::Heir { key: PeerKey::random(), turn: 1 }));
    let id = ask(&mut ledger, now, 1);
    accept(&mut ledger, now, 1, id);
    let (code, state) = (crate::protocol::ErrorCode::PeerGone, AskState::Accepted);
    let failed = crate::protocol::FailedEvent { ask_id: AskId::from_bits(1), code, state };
    ledger.handle_message(now, HubMessage::Failed(failed));
    said(&mut ledger);
    let bequest = Bequest::Ask {
        ask_id: AskId::from_bits(1),
        to: "api".to_owned(),
        question: Some("ready?".to_owned()),
        timeout_ms: 60_000,
        bound: PeerKey::from_bytes([7; 16]).tag(),
        state: AskState::Accepted,
        broadcast_id: None,
    };
    ledger.handle_message(now, HubMessage::Bequest { waited_ms: 0, bequest });
    assert_eq!(said(&mut ledger), []);
}

#[test]
fn an_inherited_reply_is_said_once() {
    let (mut ledger, now) = (channel(), Instant::now());
    welcome(&mut ledger, now, Some(Place::Heir { key: PeerKey::random(), turn: 1 }));
    let bequest = Bequest::Reply { ask_id: AskId::from_bits(1), to: "api".to_owned(), text: "yes".to_owned() };
    for _ in 0..2 {
        ledger.handle_message(now, HubMessage::Bequest { waited_ms: 0, bequest: bequest.clone() });
    }
    let said = said(&mut ledger);
    assert!(matches!(said[..], [ClientMessage::Reply(_)]), "{said:?}");
}

#[test]
fn an_heir_tells_the_end_of_what_its_forerunner_asked() {
    let (mut ledger, now) = (channel(), Instant::now());
    welcome(&mut ledger, now, Some(Place::Heir { key: PeerKey::random(), turn: 1 }));
    let bequest = Bequest::Ask {
        ask_id: AskId::from_bits(1),
        to: "api".to_owned(),
        question: None,
        timeout_ms: 60_000,
        bound: PeerKey::from_bytes([7; 16]).tag(),
        state: AskState::Shown,
        broadcast_id: None,
    };
    ledger.handle_message(now, HubMessage::Bequest { waited_ms: 10_000, bequest });
    told(&mut ledger);
    ledger.handle_timeout(now + Duration::from_secs(50));
    assert_eq!(told(&mut ledger), []);
    ledger.handle_timeout(now + Duration::from_secs(51));
    let ends = told(&mut ledger);
    let [Output::Event(ClientEvent::Outcome(outcome))] = &ends[..] else { panic!("{ends:?}") };
    assert!(matches!(outcome.end, End::Failed { state: AskState::Shown, .. }), "{outcome:?}");
}

#[test]
fn what_a_second_asks_is_asked_once_and_answered_as_often_as_it_asks() {
    let (mut ledger, now) = (channel(), Instant::now());
    welcome(&mut ledger, now, None);
    told(&mut ledger);
    let by = PeerKey::from_bytes([9; 16]).tag();
    let call = |ledger: &mut Ledger, n: u64, id: u64| {
        let request = ClientMessage::Ask(crate::protocol::AskRequest {
            id,
            ask_id: AskId::from_bits(n),
            to: "api".to_owned(),
            question: "ready?".to_owned(),
            timeout_ms: 60_000,
            bound: None,
            broadcast_id: None,
        });
        ledger.handle_message(now, HubMessage::Call { by, request: Box::new(request) });
        said(ledger)
    };
    // Their numbers are not those of this channel's own calls.
    let mut own = Vec::new();
    for n in 1..=3 {
        own.push(ask(&mut ledger, now, 10 + n));
    }
    for n in 1..=3 {
        let first = call(&mut ledger, n, 70);
        let [ClientMessage::Ask(asked)] = &first[..] else { panic!("{first:?}") };
        assert_eq!(call(&mut ledger, n, 71 + n), [], "it is being asked");
        accept(&mut ledger, now, n, asked.id);
        let answered = |id: u64, said: Vec<ClientMessage>| {
            let [ClientMessage::Answer { to, answer }] = &said[..] else { panic!("{said:?}") };
            let HubMessage::Accepted(accepted) = &**answer else { panic!("{answer:?}") };
            assert_eq!((*to, accepted.id, accepted.ask_id), (by, id, AskId::from_bits(n)));
            assert_eq!(accepted.tag, PeerKey::from_bytes([7; 16]).tag(), "whom the hub accepted it for");
        };
        assert_eq!(told(&mut ledger), [], "its own program did not ask");
        answered(71 + n, said(&mut ledger));
        answered(90, call(&mut ledger, n, 90));
    }
    let open = [21, 22].map(|n| (n, call(&mut ledger, n, 50 + n)));
    for (n, first) in open {
        let [ClientMessage::Ask(asked)] = &first[..] else { panic!("{first:?}") };
        accept(&mut ledger, now, n, asked.id);
        assert_eq!(told(&mut ledger), []);
        assert_eq!(said(&mut ledger).len(), 1, "each of two at once has its answer");
    }
    for (n, id) in (1..).zip(own) {
        accept(&mut ledger, now, 10 + n, id);
        let answers = told(&mut ledger);
        let [Output::Answer { call, result: Ok(Answer::Asked(_)) }] = &answers[..] else { panic!("{answers:?}") };
        assert_eq!(*call, CallId(10 + n));
    }
    let withdraw = ClientMessage::Withdraw { ask_id: AskId::from_bits(1) };
    ledger.handle_message(now, HubMessage::Call { by, request: Box::new(withdraw.clone()) });
    assert_eq!(said(&mut ledger), [withdraw]);
}

#[test]
fn of_a_message_for_which_there_is_no_room_its_successor_hears_that_it_was_there() {
    let (mut ledger, now) = (channel(), Instant::now());
    welcome(&mut ledger, now, None);
    let message = |n: usize| Bequest::Message { ask_id: None, content: "x".repeat(n), meta: serde_json::Map::new() };
    ledger.handle_leave(now, vec![message(10), message(BEQUEST_MAX_BYTES), message(10)]);
    let texts = said(&mut ledger).into_iter().filter_map(|said| {
        let ClientMessage::Bequest { bequest: Bequest::Message { content, .. } } = said else { return None };
        Some(content)
    });
    let texts: Vec<String> = texts.collect();
    assert_eq!(texts.len(), 3);
    assert_eq!((texts[0].len(), texts[1].contains(&format!("{BEQUEST_MAX_BYTES} bytes, was lost"))), (10, true));
}
