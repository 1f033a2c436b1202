//! What is asked, received and answered, as it is sent and told.

use super::*;
use crate::client::sent::DEADLINE_SLACK;
use crate::protocol::{BroadcastAccepted, Chain, Receipt, Told};

#[test]
fn accepted_ask_says_where_the_session_works_and_what_it_does() {
    let (mut ledger, now) = (greeting(), Instant::now());
    welcome(&mut ledger, now);
    let ask_id = call_ask(&mut ledger, now, 1);
    let id = requests(&mut ledger)[0].0;
    let waits =
        Accepted { status: Activity::Waiting, waiting_for: Some("permission prompt".to_owned()), ..accepted(ask_id) };
    ledger.handle_message(now, HubMessage::Answer(id, Answer::Accepted(waits)));
    let Some(Output::Answer { result: Ok(CallAnswer::Asked(asked)), .. }) = ledger.poll_output() else {
        panic!("not accepted")
    };
    assert_eq!((asked.cwd.as_deref(), asked.status), (Some("/w/web"), Activity::Waiting));
    assert_eq!(asked.waiting_for.as_deref(), Some("permission prompt"));
}

#[test]
fn progress_is_sent_once_never_backwards_and_of_open_asks_alone() {
    let (mut ledger, now) = (greeting(), Instant::now());
    welcome(&mut ledger, now);
    let [ask_id, other] = [1, 2].map(|n| receive(&mut ledger, now, n));
    for (state, is_new) in
        [(AskState::HandedOver, true), (AskState::HandedOver, false), (AskState::Shown, true), (AskState::Held, false)]
    {
        ledger.handle_progress(reached(ask_id, state));
        assert_eq!(notices(&mut ledger), Vec::from_iter(is_new.then(|| progress(ask_id, state))), "{state:?}");
    }
    event(&mut ledger, now, Event::Closed(Closed { ask_id: other }));
    ledger.handle_progress(reached(other, AskState::Shown));
    assert_eq!(notices(&mut ledger), []);
    reconnect(&mut ledger, now);
    assert_eq!(notices(&mut ledger), [progress(ask_id, AskState::Shown)]);
}

/// Makes a tell that the hub accepts.
fn tell(ledger: &mut Ledger, now: Instant) -> AskId {
    let tell_id = AskId::from_bits(1);
    let call = Call::Tell { tell_id, to: "web".to_owned(), text: "done".to_owned(), timeout: MINUTE };
    ledger.handle_call(now, CallId(1), call);
    let all = requests(ledger);
    let [(id, Request::Tell(_))] = all[..] else { panic!("not told: {all:?}") };
    ledger.handle_message(now, HubMessage::Answer(id, Answer::Accepted(accepted(tell_id))));
    told(ledger);
    tell_id
}

#[test]
fn tell_ends_once_with_its_receipt_and_is_sent_again_until_then() {
    let (mut ledger, now) = (greeting(), Instant::now());
    welcome(&mut ledger, now);
    let tell_id = tell(&mut ledger, now);
    reconnect(&mut ledger, now);
    let all = requests(&mut ledger);
    let [(_, Request::Tell(again))] = &all[..] else { panic!("not told again: {all:?}") };
    assert_eq!((again.tell_id, again.bound), (tell_id, Some(tag())));
    for ends in [1, 0] {
        event(&mut ledger, now, Event::Receipt(Receipt { ask_id: tell_id, state: AskState::HandedOver }));
        let outcomes = told(&mut ledger);
        assert_eq!(outcomes.len(), ends, "{outcomes:?}");
    }
    reconnect(&mut ledger, now);
    assert_eq!(requests(&mut ledger), []);
    assert_eq!(ledger.poll_timeout(), None);
}

#[test]
fn tell_that_no_hub_speaks_of_any_more_ends_after_its_deadline() {
    let (mut ledger, now) = (greeting(), Instant::now());
    welcome(&mut ledger, now);
    tell(&mut ledger, now);
    ledger.handle_disconnected(now);
    ledger.handle_timeout(now + MINUTE + DEADLINE_SLACK);
    assert_eq!(codes(&mut ledger), [ErrorCode::Timeout]);
}

#[test]
fn received_tell_is_told_once_and_its_hub_always_how_far_it_came() {
    let (mut ledger, now) = (greeting(), Instant::now());
    welcome(&mut ledger, now);
    let tell_id = AskId::from_bits(1);
    let told_event = || {
        let (from, text) = ("web".to_owned(), "done".to_owned());
        Event::Told(Told { tell_id, from, text, timeout_ms: 60_000, from_tag: None, chain: Chain::default() })
    };
    event(&mut ledger, now, told_event());
    assert!(matches!(told(&mut ledger)[..], [Output::Event(ClientEvent::Tell(_))]));
    let handed_over = Progress { ask_id: tell_id, state: AskState::HandedOver, is_final: true };
    for (is_final, is_news) in [(false, true), (true, true), (true, false)] {
        ledger.handle_progress(Progress { is_final, ..handed_over });
        let progress = Notice::Progress(Progress { is_final, ..handed_over });
        assert_eq!(notices(&mut ledger), Vec::from_iter(is_news.then_some(progress)));
    }
    assert_eq!(ledger.open(now).received, [], "it waits for nothing of this session");
    reconnect(&mut ledger, now);
    assert_eq!(notices(&mut ledger), [Notice::Progress(handed_over)]);
    event(&mut ledger, now, Event::Closed(Closed { ask_id: tell_id }));
    told(&mut ledger);
    // The next hub is told by its teller, and knows nothing of its end.
    event(&mut ledger, now, told_event());
    assert_eq!((notices(&mut ledger), told(&mut ledger)), (vec![Notice::Progress(handed_over)], vec![]));
}

#[test]
fn tell_takes_no_reply_whether_it_is_open_or_over() {
    let (mut ledger, now) = (greeting(), Instant::now());
    welcome(&mut ledger, now);
    let (tell_id, from) = (AskId::from_bits(1), "web".to_owned());
    event(
        &mut ledger,
        now,
        Event::Told(Told {
            tell_id,
            from,
            text: "done".to_owned(),
            timeout_ms: 60_000,
            from_tag: None,
            chain: Chain::default(),
        }),
    );
    for call in 1..=2 {
        ledger.handle_call(now, CallId(call), Call::Reply { ask_id: tell_id, text: "thanks".to_owned() });
        assert_eq!((codes(&mut ledger), requests(&mut ledger)), (vec![ErrorCode::UnknownAsk], vec![]));
        event(&mut ledger, now, Event::Closed(Closed { ask_id: tell_id }));
    }
}

#[test]
fn reply_that_nobody_takes_is_pending_after_two_seconds() {
    let (mut ledger, now) = (greeting(), Instant::now());
    welcome(&mut ledger, now);
    let ask_id = receive(&mut ledger, now, 1);
    told(&mut ledger);
    ledger.handle_call(now, CallId(1), Call::Reply { ask_id, text: "yes".to_owned() });
    let until = now + Duration::from_secs(2);
    assert_eq!((ledger.poll_output(), ledger.poll_timeout()), (None, Some(until)));
    ledger.handle_timeout(until);
    let Some(Output::Answer { call: CallId(1), result: Ok(CallAnswer::Replied(replied)) }) = ledger.poll_output()
    else {
        panic!("not answered")
    };
    assert!(!replied.taken);
}

#[test]
fn ask_refused_by_the_next_hub_is_sent_again_until_it_ends() {
    let (mut ledger, now) = (greeting(), Instant::now());
    welcome(&mut ledger, now);
    let ask_id = ask(&mut ledger, now, 1);
    let asked = |ledger: &mut Ledger| {
        requests(ledger).into_iter().find_map(|(id, request)| {
            let Request::Ask(Ask { timeout_ms, bound, .. }) = request else { return None };
            Some((id, timeout_ms / 1000, bound))
        })
    };
    reconnect(&mut ledger, now);
    for (second, code) in [(0, ErrorCode::RateLimited), (1, ErrorCode::BadArgs), (2, ErrorCode::PeerBusy)] {
        let (id, left, bound) = asked(&mut ledger).unwrap();
        assert_eq!((left, bound), (60 - second, Some(tag())));
        let now = now + Duration::from_secs(second);
        let error = Refusal::new(code, "no room", "wait");
        ledger.handle_message(now, HubMessage::Answer(id, Answer::Error(error)));
        assert_eq!((asked(&mut ledger), ledger.poll_timeout()), (None, Some(now + Duration::from_secs(1))));
        ledger.handle_timeout(now + Duration::from_secs(1));
    }
    assert!(asked(&mut ledger).is_some());
    ledger.handle_withdraw(ask_id);
    ledger.handle_timeout(now + MINUTE);
    assert_eq!(asked(&mut ledger), None);
    // A hub may not have heard of that.
    reconnect(&mut ledger, now);
    assert_eq!(sent(&mut ledger), [ClientMessage::Notice(withdraw(ask_id))]);
}

#[test]
fn late_reply_is_refused_though_a_broadcast_waits_for_its_acceptance() {
    let (mut ledger, now) = (greeting(), Instant::now());
    welcome(&mut ledger, now);
    let [first, second] = [1, 2].map(|n| ask(&mut ledger, now, n));
    ledger.handle_withdraw(first);
    let (code, state) = (ErrorCode::Timeout, AskState::Accepted);
    event(
        &mut ledger,
        now,
        Event::Failed(Failed { ask_id: second, code, state, waiting_for: None, unreachable_s: None }),
    );
    let broadcast_id = BroadcastId::from_bits(1);
    let call =
        Call::Broadcast { broadcast_id, audience: Audience::default(), question: "?".to_owned(), timeout: MINUTE };
    ledger.handle_call(now, CallId(3), call);
    sent(&mut ledger);
    for (ask_id, notice) in
        [(first, Some(withdraw(first))), (second, Some(withdraw(second))), (AskId::from_bits(3), None)]
    {
        event(&mut ledger, now, reply(ask_id));
        assert_eq!(notices(&mut ledger), Vec::from_iter(notice), "one that is unknown may be the broadcast's");
    }
}

#[test]
fn reply_to_an_unknown_ask_is_refused() {
    let (mut ledger, now) = (greeting(), Instant::now());
    welcome(&mut ledger, now);
    event(&mut ledger, now, reply(AskId::from_bits(77)));
    assert_eq!(notices(&mut ledger), [withdraw(AskId::from_bits(77))]);
}

#[test]
fn refused_broadcast_says_why_and_an_empty_one_has_no_tally() {
    let (mut ledger, now) = (greeting(), Instant::now());
    welcome(&mut ledger, now);
    let mut outputs = |n| {
        let broadcast_id = BroadcastId::from_bits(n);
        let call =
            Call::Broadcast { broadcast_id, audience: Audience::default(), question: "?".to_owned(), timeout: MINUTE };
        ledger.handle_call(now, CallId(n), call);
        let all = requests(&mut ledger);
        let [(id, Request::Broadcast(_))] = all[..] else { panic!("not sent: {all:?}") };
        let answer = if n == 1 {
            Answer::Error(Refusal::new(ErrorCode::RateLimited, "too many", "wait"))
        } else {
            Answer::BroadcastAccepted(BroadcastAccepted { broadcast_id, asks: Vec::new(), refused: Vec::new() })
        };
        ledger.handle_message(now, HubMessage::Answer(id, answer));
        told(&mut ledger)
    };
    let refused = outputs(1);
    assert!(
        matches!(&refused[..], [Output::Answer { result: Err(error), .. }] if error.code == ErrorCode::RateLimited)
    );
    let nobody = outputs(2);
    assert!(matches!(nobody[..], [Output::Answer { result: Ok(CallAnswer::Broadcasted(_)), .. }]), "{nobody:?}");
}

#[test]
fn taken_is_sent_again_until_a_connection_has_lasted_ten_seconds() {
    let mut now = Instant::now();
    let mut ledger = greeting();
    welcome(&mut ledger, now);
    let ask_id = ask(&mut ledger, now, 1);
    event(&mut ledger, now, reply(ask_id));
    assert_eq!(notices(&mut ledger), [taken(ask_id)]);
    for (lasted, is_sent_again) in [(9, true), (9, true), (10, false)] {
        now += Duration::from_secs(lasted);
        reconnect(&mut ledger, now);
        assert_eq!(notices(&mut ledger), Vec::from_iter(is_sent_again.then(|| taken(ask_id))));
    }
}

#[test]
fn what_ends_while_the_hub_is_away_is_sent_to_the_next_one() {
    let mut now = Instant::now();
    let mut ledger = greeting();
    welcome(&mut ledger, now);
    let ask_id = ask(&mut ledger, now, 1);
    ledger.handle_disconnected(now);
    ledger.handle_withdraw(ask_id);
    for _ in 0..3 {
        // Hubs that are there for long and do not welcome the client are told nothing.
        ledger.handle_connected();
        now += MINUTE;
        turn_away(&mut ledger, now);
    }
    sent(&mut ledger);
    connect(&mut ledger, now, welcome_to(VERSIONS.max));
    assert_eq!(notices(&mut ledger), [withdraw(ask_id)]);
}

#[test]
fn reply_that_lay_in_the_pipe_until_its_ask_was_over_is_late() {
    let time = MINUTE + DEADLINE_SLACK;
    for (after, is_late) in [(time - Duration::from_millis(1), false), (time, true)] {
        let (mut ledger, now) = (greeting(), Instant::now());
        welcome(&mut ledger, now);
        let ask_id = ask(&mut ledger, now, 1);
        // This process did not run meanwhile, so nothing that was due has been done.
        event(&mut ledger, now + after, reply(ask_id));
        let ends = ends(&mut ledger);
        assert_eq!(ends.len(), 1, "{ends:?}");
        assert_eq!(matches!(ends[0].1, End::Failed { code: ErrorCode::Timeout, .. }), is_late, "{ends:?}");
    }
}

#[test]
fn open_asks_are_listed_by_deadline_with_the_beginning_of_the_question() {
    let (mut ledger, now) = (greeting(), Instant::now());
    welcome(&mut ledger, now);
    let [late, early] = [(9, 90_000), (8, 10_500)].map(|(n, timeout_ms)| {
        let (ask_id, from, question) = (AskId::from_bits(n), "api".to_owned(), "ü".repeat(201));
        event(
            &mut ledger,
            now,
            Event::Asked(Asked {
                ask_id,
                from,
                question,
                timeout_ms,
                broadcast_id: None,
                from_tag: None,
                chain: Chain::default(),
            }),
        );
        ask_id
    });
    told(&mut ledger);
    let own = ask(&mut ledger, now, 1);
    call_ask(&mut ledger, now, 2);
    let open = ledger.open(now + Duration::from_secs(1));
    assert_eq!(open.received.iter().map(|ask| (ask.ask_id, ask.left_s)).collect::<Vec<_>>(), [(early, 9), (late, 89)]);
    assert_eq!(open.received[0].question, Some("ü".repeat(200)));
    let view = serde_json::to_value(&open.sent).unwrap();
    assert_eq!(view, serde_json::json!([{"ask_id": own, "to": "web", "state": "accepted", "left_s": 59}]));
}
