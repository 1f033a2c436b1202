use super::*;
use crate::client::outgoing::Output;
use crate::protocol::Chain;

fn id(bits: u64) -> AskId {
    AskId::from_bits(bits)
}

fn unreachable() -> Refusal {
    Refusal::new(ErrorCode::HubUnreachable, "no hub", "start it")
}

fn asked(bits: u64) -> Asked {
    Asked {
        ask_id: id(bits),
        from: "web".to_owned(),
        question: "?".to_owned(),
        timeout_ms: 1000,
        broadcast_id: None,
        from_tag: None,
        chain: Chain::default(),
    }
}

/// Takes the asks with these numbers in, and forgets that the program heard of them.
fn received(now: Instant, asks: std::ops::RangeInclusive<u64>) -> (Received, Outgoing) {
    let (mut received, mut out) = (Received::new(), Outgoing::default());
    for bits in asks {
        received.handle_ask(now, asked(bits), &mut out);
    }
    closed(&mut out);
    (received, out)
}

/// Returns the asks of which the program was told that they have ended.
fn closed(out: &mut Outgoing) -> Vec<AskId> {
    std::iter::from_fn(|| out.pop_output())
        .filter_map(|output| match output {
            Output::Event(ClientEvent::Closed { ask_id, .. }) => Some(ask_id),
            Output::Answer { .. } | Output::Event(_) => None,
        })
        .collect()
}

#[test]
fn received_ask_has_a_timer_while_it_is_open() {
    let now = Instant::now();
    let (mut received, mut out) = received(now, 1..=3);
    received.handle_closed(id(1), &mut out);
    assert_eq!(received.timers.len(), 2);
    received.handle_timeout(now + Duration::from_secs(1) + OVERDUE, &unreachable(), &mut out);
    assert_eq!(closed(&mut out), [id(1), id(2), id(3)]);
    assert!(received.open.is_empty() && received.timers.len() == 0);
    // However late it comes again.
    received.handle_ask(now + OVERDUE * 9, asked(2), &mut out);
    assert!(!out.has_output());
}

#[test]
fn received_ask_ends_once_whatever_its_reply_was_told() {
    let now = Instant::now();
    let (mut received, mut out) = received(now, 1..=3);
    for bits in 1..=3 {
        received.reply(now, CallId(bits), id(bits), "yes".to_owned(), &mut out);
    }
    received.handle_timeout(now + REPLY_WAIT, &unreachable(), &mut out);
    assert_eq!(closed(&mut out), []);
    received.handle_replied(id(1), "web".to_owned(), &mut out);
    received.handle_reply_refused(id(2), Refusal::new(ErrorCode::UnknownAsk, "timed out", "ask"), &mut out);
    received.handle_reply_refused(id(3), Refusal::new(ErrorCode::RateLimited, "too fast", "wait"), &mut out);
    assert_eq!(closed(&mut out), [id(1), id(2)]);
    received.handle_closed(id(1), &mut out);
    received.handle_closed(id(2), &mut out);
    assert_eq!(closed(&mut out), []);
}

#[test]
fn reply_of_which_a_lost_hub_may_have_told_another_machine_is_unconfirmed() {
    let now = Instant::now();
    let code = |from: &str, hubs: &[u32]| {
        let (mut received, mut out) = (Received::new(), Outgoing::default());
        received.handle_ask(now, Asked { from: from.to_owned(), ..asked(1) }, &mut out);
        closed(&mut out);
        received.reply(now, CallId(1), id(1), "yes".to_owned(), &mut out);
        for hub in hubs {
            out.set_up(1, *hub);
            received.resend(&mut out);
        }
        received.handle_reply_refused(id(1), Refusal::new(ErrorCode::UnknownAsk, "nobody waits", "ask"), &mut out);
        std::iter::from_fn(|| out.pop_output()).find_map(|output| match output {
            Output::Answer { result, .. } => result.err().map(|refusal| refusal.code),
            Output::Event(_) => None,
        })
    };
    assert_eq!(code("web@laptop", &[1, 2]), Some(ErrorCode::Unconfirmed));
    assert_eq!(code("web@laptop", &[1]), Some(ErrorCode::UnknownAsk), "no other hub had it");
    assert_eq!(code("web@laptop", &[1, 1]), Some(ErrorCode::UnknownAsk), "it was the same hub");
    assert_eq!(code("web", &[1, 2]), Some(ErrorCode::UnknownAsk), "its asker would have told the hub");
}

#[test]
fn reply_of_which_no_hub_has_said_anything_is_unconfirmed_only_if_one_had_it() {
    let now = Instant::now();
    let code = |hub: Option<u32>| {
        let (mut received, mut out) = (Received::new(), Outgoing::default());
        received.handle_ask(now, asked(1), &mut out);
        closed(&mut out);
        hub.into_iter().for_each(|hub| out.set_up(1, hub));
        received.reply(now, CallId(1), id(1), "yes".to_owned(), &mut out);
        out.set_down();
        let unreachable = Refusal::new(ErrorCode::HubUnreachable, "nobody listens", "start it");
        received.handle_timeout(now + Duration::from_secs(86_400), &unreachable, &mut out);
        std::iter::from_fn(|| out.pop_output()).find_map(|output| match output {
            Output::Event(ClientEvent::ReplyFailed { error, .. }) => Some(error.code),
            Output::Answer { result: Err(refusal), .. } => Some(refusal.code),
            Output::Answer { .. } | Output::Event(_) => None,
        })
    };
    assert_eq!(code(Some(1)), Some(ErrorCode::Unconfirmed));
    assert_eq!(code(None), Some(ErrorCode::HubUnreachable));
}

#[test]
fn ended_ask_takes_the_room_of_its_id_and_two_bytes() {
    assert_eq!((size_of::<AskId>(), size_of::<EndedReceived>()), (8, 2));
}

#[test]
fn answered_ask_takes_no_second_answer() {
    let now = Instant::now();
    let (mut received, mut out) = received(now, 1..=1);
    let reply = |received: &mut Received, out: &mut Outgoing| {
        received.reply(now, CallId(9), id(1), "yes".to_owned(), out);
        std::iter::from_fn(|| out.pop_output()).find_map(|output| match output {
            Output::Answer { result: Err(refusal), .. } => Some(refusal.message),
            Output::Answer { .. } | Output::Event(_) => None,
        })
    };
    assert_eq!(reply(&mut received, &mut out), None);
    assert!(reply(&mut received, &mut out).unwrap().contains("on its way already"));
    received.handle_replied(id(1), "web".to_owned(), &mut out);
    assert!(reply(&mut received, &mut out).unwrap().contains("has answered"));
}

#[test]
fn excerpt_is_counted_in_characters() {
    let start = "a".repeat(EXCERPT_CHARS - 1);
    for (text, shown) in [
        ("short".to_owned(), "short".to_owned()),
        (format!("{start}bc"), format!("{start}b")),
        (format!("{start}\u{e9}c"), format!("{start}\u{e9}")),
        (format!("\u{e9}{start}c"), format!("\u{e9}{start}")),
    ] {
        assert_eq!(excerpt(&text), shown);
    }
}
