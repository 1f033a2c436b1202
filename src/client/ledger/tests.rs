use super::*;
use crate::protocol::{ErrorCode, PeerKey};

fn greeting() -> Ledger {
    let mut ledger = Ledger::new(ClientConfig {
        socket: "/run/relay/hub.sock".into(),
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
    let Some(ClientMessage::Hello(hello)) = std::iter::from_fn(|| ledger.poll_message()).last() else {
        panic!("no hello")
    };
    let welcome =
        Welcome { id: hello.id, version: 1, name: None, hub: "test".to_owned(), settling: false, place: None };
    ledger.handle_message(now, HubMessage::Welcome(welcome));
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
