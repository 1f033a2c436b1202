//! What is asked, received and answered, as it is said and told.

use super::*;

#[test]
fn how_far_an_ask_has_come_is_said_once_never_backwards_and_of_open_ones_alone() {
    let (mut ledger, now) = (greeting(), Instant::now());
    welcome(&mut ledger, now);
    for n in [1, 2] {
        let (ask_id, from, question) = (AskId::from_bits(n), "web".to_owned(), "?".to_owned());
        let event = AskEvent { ask_id, from, question, timeout_ms: 60_000, broadcast_id: None, asker: None };
        ledger.handle_message(now, HubMessage::Ask(event));
    }
    let said = |ledger: &mut Ledger| {
        let progress = |message| {
            let ClientMessage::Progress { ask_id, state, .. } = message else { return None };
            Some((ask_id, state))
        };
        std::iter::from_fn(|| ledger.poll_message()).filter_map(progress).collect::<Vec<_>>()
    };
    said(&mut ledger);
    let ask_id = AskId::from_bits(1);
    for (state, is_new) in
        [(AskState::HandedOver, true), (AskState::HandedOver, false), (AskState::Shown, true), (AskState::Held, false)]
    {
        ledger.handle_progress(ask_id, state);
        assert_eq!(said(&mut ledger), Vec::from_iter(is_new.then_some((ask_id, state))), "{state:?}");
    }
    ledger.handle_message(now, HubMessage::Closed { ask_id: AskId::from_bits(2) });
    ledger.handle_progress(AskId::from_bits(2), AskState::Shown);
    assert_eq!(said(&mut ledger), []);
    ledger.handle_disconnected(now);
    ledger.handle_connected();
    welcome(&mut ledger, now);
    assert_eq!(said(&mut ledger), [(ask_id, AskState::Shown)]);
}

#[test]
fn a_reply_that_nobody_takes_is_said_to_be_pending_after_two_seconds() {
    let (mut ledger, now) = (greeting(), Instant::now());
    welcome(&mut ledger, now);
    let (ask_id, from, question) = (AskId::from_bits(1), "web".to_owned(), "?".to_owned());
    let event = AskEvent { ask_id, from, question, timeout_ms: 60_000, broadcast_id: None, asker: None };
    ledger.handle_message(now, HubMessage::Ask(event));
    while ledger.poll_output().is_some() {}
    ledger.handle_call(now, CallId(1), Call::Reply { ask_id, text: "yes".to_owned() });
    let until = now + Duration::from_secs(2);
    assert_eq!((ledger.poll_output(), ledger.poll_timeout()), (None, Some(until)));
    ledger.handle_timeout(until);
    let Some(Output::Answer { call: CallId(1), result: Ok(Answer::Replied(replied)) }) = ledger.poll_output() else {
        panic!("not answered")
    };
    assert!(!replied.taken);
}

#[test]
fn an_ask_that_a_hub_had_accepted_and_the_next_one_refuses_is_said_again_until_it_ends() {
    let now = Instant::now();
    let (mut ledger, ReplyEvent { ask_id, .. }) = asked(now);
    let said = |ledger: &mut Ledger| {
        std::iter::from_fn(|| ledger.poll_message()).find_map(|message| {
            let ClientMessage::Ask(ask) = message else { return None };
            Some((ask.id, ask.timeout_ms / 1000))
        })
    };
    ledger.handle_disconnected(now);
    ledger.handle_connected();
    welcome(&mut ledger, now);
    for (second, code) in [(0, ErrorCode::RateLimited), (1, ErrorCode::BadArgs), (2, ErrorCode::PeerBusy)] {
        let (id, left) = said(&mut ledger).unwrap();
        assert_eq!(left, 60 - second);
        let now = now + Duration::from_secs(second);
        let error = Refusal::new(code, "no room", "wait");
        ledger.handle_message(now, HubMessage::Error { id: Some(id), error });
        assert_eq!((said(&mut ledger), ledger.poll_timeout()), (None, Some(now + Duration::from_secs(1))));
        ledger.handle_timeout(now + Duration::from_secs(1));
    }
    assert!(said(&mut ledger).is_some());
    ledger.handle_withdraw(ask_id);
    ledger.handle_timeout(now + Duration::from_secs(60));
    assert_eq!(said(&mut ledger), None);
    // A hub may not have heard of that.
    ledger.handle_disconnected(now);
    ledger.handle_connected();
    welcome(&mut ledger, now);
    assert_eq!(ledger.poll_message(), Some(ClientMessage::Withdraw { ask_id }));
    assert_eq!(ledger.poll_message(), None);
}

#[test]
fn a_reply_that_comes_too_late_is_refused_though_a_broadcast_waits_for_its_acceptance() {
    let (mut ledger, now) = (greeting(), Instant::now());
    welcome(&mut ledger, now);
    let (to, tag) = (PeerName::parse("web").unwrap(), PeerKey::random().tag());
    for n in 1..=2 {
        let (ask_id, question) = (AskId::from_bits(n), "?".to_owned());
        let call = Call::Ask { ask_id, to: "web".to_owned(), question, timeout: Duration::from_secs(60) };
        ledger.handle_call(now, CallId(n), call);
        let Some(ClientMessage::Ask(ask)) = ledger.poll_message() else { panic!("no ask") };
        let accepted = Accepted { id: ask.id, ask_id, to: to.clone(), tag, state: AskState::Accepted };
        ledger.handle_message(now, HubMessage::Accepted(accepted));
    }
    ledger.handle_withdraw(AskId::from_bits(1));
    let code = ErrorCode::Timeout;
    let failed = FailedEvent { ask_id: AskId::from_bits(2), code, state: AskState::Accepted };
    ledger.handle_message(now, HubMessage::Failed(failed));
    let (broadcast_id, timeout) = (BroadcastId::from_bits(1), Duration::from_secs(60));
    ledger.handle_call(now, CallId(3), Call::Broadcast { broadcast_id, question: "?".to_owned(), timeout });
    let mut reply = |n| {
        while ledger.poll_message().is_some() {}
        let event = ReplyEvent { ask_id: AskId::from_bits(n), from: to.clone(), by: tag, text: "yes".to_owned() };
        ledger.handle_message(now, HubMessage::Reply(event));
        ledger.poll_message()
    };
    for n in 1..=2 {
        assert_eq!(reply(n), Some(ClientMessage::Withdraw { ask_id: AskId::from_bits(n) }));
    }
    assert_eq!(reply(3), None, "it may be one of the broadcast's");
}

#[test]
fn what_nobody_waits_for_is_withdrawn_and_what_has_ended_is_left_alone() {
    let now = Instant::now();
    let (mut ledger, reply) = asked(now);
    let (ask_id, to, tag, state) = (reply.ask_id, reply.from.clone(), reply.by, AskState::Accepted);
    let stranger = AskId::from_bits(77);
    let accepted = |ask_id| HubMessage::Accepted(Accepted { id: 9, ask_id, to: to.clone(), tag, state });
    let failed = HubMessage::Failed(FailedEvent { ask_id, code: ErrorCode::PeerGone, state });
    let unknown = HubMessage::Reply(ReplyEvent { ask_id: stranger, ..reply });
    let withdraw = ClientMessage::Withdraw { ask_id: stranger };
    for (message, said) in [
        (failed, None),
        (accepted(ask_id), None),
        (accepted(stranger), Some(withdraw.clone())),
        (unknown, Some(withdraw)),
    ] {
        ledger.handle_message(now, message);
        assert_eq!(ledger.poll_message(), said);
    }
}

#[test]
fn a_broadcast_that_is_refused_says_why_and_one_that_reaches_nobody_has_no_tally() {
    let (mut ledger, now) = (greeting(), Instant::now());
    welcome(&mut ledger, now);
    let mut said = |n| {
        let (broadcast_id, timeout) = (BroadcastId::from_bits(n), Duration::from_secs(60));
        ledger.handle_call(now, CallId(n), Call::Broadcast { broadcast_id, question: "?".to_owned(), timeout });
        let Some(ClientMessage::Broadcast(broadcast)) = ledger.poll_message() else { panic!("not said") };
        let message = if n == 1 {
            let error = Refusal::new(ErrorCode::RateLimited, "too many", "wait");
            HubMessage::Error { id: Some(broadcast.id), error }
        } else {
            let (id, asks, refused) = (broadcast.id, Vec::new(), Vec::new());
            HubMessage::BroadcastAccepted(BroadcastAccepted { id, broadcast_id, asks, refused })
        };
        ledger.handle_message(now, message);
        std::iter::from_fn(|| ledger.poll_output()).collect::<Vec<_>>()
    };
    let refused = said(1);
    assert!(
        matches!(&refused[..], [Output::Answer { result: Err(error), .. }] if error.code == ErrorCode::RateLimited)
    );
    let nobody = said(2);
    assert!(matches!(nobody[..], [Output::Answer { result: Ok(Answer::Broadcasted(_)), .. }]), "{nobody:?}");
}

#[test]
fn that_a_reply_was_taken_is_said_again_until_a_hub_has_lived_long_enough_to_tell_its_replier() {
    let mut now = Instant::now();
    let (mut ledger, reply) = asked(now);
    let taken = ClientMessage::Taken { ask_id: reply.ask_id, by: reply.by };
    ledger.handle_message(now, HubMessage::Reply(reply));
    assert_eq!(ledger.poll_message(), Some(taken.clone()));
    for (lives, is_said_again) in [(9, true), (9, true), (10, false)] {
        now += Duration::from_secs(lives);
        ledger.handle_disconnected(now);
        ledger.handle_connected();
        welcome(&mut ledger, now);
        assert_eq!(ledger.poll_message(), is_said_again.then(|| taken.clone()));
    }
}

#[test]
fn a_reply_that_lay_in_the_pipe_until_its_ask_was_over_is_late() {
    let time = Duration::from_secs(60) + crate::client::sent::DEADLINE_SLACK;
    for (after, is_late) in [(time - Duration::from_millis(1), false), (time, true)] {
        let now = Instant::now();
        let (mut ledger, reply) = asked(now);
        // This process did not run meanwhile, so nothing that was due has been done.
        ledger.handle_message(now + after, HubMessage::Reply(reply));
        let ends: Vec<_> = std::iter::from_fn(|| ledger.poll_output())
            .filter_map(|output| match output {
                Output::Event(ClientEvent::Outcome(outcome)) => Some(outcome.end),
                Output::Event(_) | Output::Answer { .. } => None,
            })
            .collect();
        assert_eq!(ends.len(), 1, "{ends:?}");
        assert_eq!(matches!(ends[0], crate::client::End::Failed { code: ErrorCode::Timeout, .. }), is_late, "{ends:?}");
    }
}
