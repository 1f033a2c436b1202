//! The routes over the session's socket, and what becomes of a channel whose events nobody sees.

use super::*;
use crate::session::frame::Deliver;

const ONE: ReaderId = ReaderId(1);
const TWO: ReaderId = ReaderId(2);

fn hello(role: Role) -> Hello {
    Hello::new(role)
}

fn take_in(inbox: &mut Inbox, bits: u64, text: &str) {
    let meta = serde_json::json!({"kind": "ask", "from": "b", "ask_id": ask(bits)}).as_object().unwrap().clone().into();
    inbox.handle_ask(ask(bits), Message { content: text.to_owned(), meta });
}

fn commands(inbox: &mut Inbox) -> Vec<ReaderCommand> {
    std::iter::from_fn(|| inbox.poll_command()).collect()
}

#[track_caller]
fn delivered(inbox: &mut Inbox, to: ReaderId) -> Deliver {
    match commands(inbox).pop() {
        Some(ReaderCommand::Deliver(reader, deliver)) if reader == to => deliver,
        other => panic!("nothing is delivered but {other:?}"),
    }
}

fn woken() -> (Inbox, Instant) {
    let now = Instant::now();
    let mut inbox = Inbox::new(false);
    inbox.handle_initialized(now);
    inbox.handle_hello(now, ONE, &hello(Role::Waiter));
    (inbox, now)
}

#[test]
fn waiter_shows_a_message_once_it_has_taken_it() {
    let (mut inbox, now) = woken();
    assert_eq!(inbox.wakes_by(), Wake::Waiter);
    take_in(&mut inbox, 1, "one");
    let deliver = delivered(&mut inbox, ONE);
    assert!(deliver.text.contains("<relay-message kind=\"ask\" from=\"b\"") && deliver.text.contains("\none\n"));
    assert_eq!(deliver.ids, [ask(1).to_string()]);
    assert_eq!(progress(&mut inbox), []);
    inbox.handle_taken(now, ONE, deliver.batch + 1);
    assert_eq!(progress(&mut inbox), []);
    inbox.handle_taken(now, ONE, deliver.batch);
    assert_eq!(progress(&mut inbox), [(ask(1), AskState::HandedOver)]);
    inbox.handle_reader_gone(now, ONE);
    assert_eq!(inbox.take_for_call(CallId(1), true), Batch::default());
}

#[test]
fn reader_that_dies_before_it_took_its_text_gives_it_back() {
    let (mut inbox, now) = woken();
    take_in(&mut inbox, 1, "one");
    delivered(&mut inbox, ONE);
    take_in(&mut inbox, 2, "two");
    inbox.handle_reader_gone(now, ONE);
    inbox.handle_hello(now, TWO, &hello(Role::Hook));
    let text = delivered(&mut inbox, TWO).text;
    assert!(text.find("\none\n").unwrap() < text.find("\ntwo\n").unwrap());
    assert_eq!(progress(&mut inbox), [(ask(1), AskState::Held), (ask(2), AskState::Held)]);
}

#[test]
fn newer_waiter_ends_the_older_one_and_gets_what_that_did_not_take() {
    let (mut inbox, now) = woken();
    take_in(&mut inbox, 1, "one");
    delivered(&mut inbox, ONE);
    inbox.handle_hello(now, TWO, &hello(Role::Waiter));
    assert_eq!(commands(&mut inbox), [ReaderCommand::End(ONE), ReaderCommand::Close(ONE)]);
    inbox.handle_reader_gone(now, ONE);
    assert!(delivered(&mut inbox, TWO).text.contains("\none\n"));
}

#[test]
fn older_waiter_that_took_its_text_shows_it_though_a_newer_one_came() {
    let (mut inbox, now) = woken();
    take_in(&mut inbox, 1, "one");
    let batch = delivered(&mut inbox, ONE).batch;
    inbox.handle_hello(now, TWO, &hello(Role::Waiter));
    commands(&mut inbox);
    inbox.handle_taken(now, ONE, batch);
    inbox.handle_reader_gone(now, ONE);
    assert_eq!((commands(&mut inbox), inbox.wakes_by()), (Vec::new(), Wake::Waiter));
}

#[test]
fn messages_wait_for_the_next_waiter_and_are_held_if_none_comes() {
    let (mut inbox, now) = woken();
    inbox.handle_activity(now, Activity::Idle);
    take_in(&mut inbox, 1, "one");
    let batch = delivered(&mut inbox, ONE).batch;
    inbox.handle_taken(now, ONE, batch);
    inbox.handle_reader_gone(now, ONE);
    inbox.handle_activity(now, Activity::Busy);
    take_in(&mut inbox, 2, "two");
    inbox.handle_activity(now, Activity::Waiting);
    assert_eq!((inbox.wakes_by(), inbox.poll_timeout(now)), (Wake::Waiter, None));
    inbox.handle_activity(now, Activity::Idle);
    let due = inbox.poll_timeout(now).unwrap();
    progress(&mut inbox);
    inbox.handle_timeout(due);
    assert_eq!((inbox.wakes_by(), progress(&mut inbox)), (Wake::NextPrompt, vec![(ask(2), AskState::Held)]));
    inbox.handle_hello(due, TWO, &hello(Role::Waiter));
    assert!(delivered(&mut inbox, TWO).text.contains("\ntwo\n"));
    assert_eq!(inbox.wakes_by(), Wake::Waiter);
}

#[test]
fn session_in_a_turn_has_a_waiter_again_at_its_end_if_it_ever_had_one() {
    let now = Instant::now();
    for (ever, wakes_by) in [(true, Wake::Waiter), (false, Wake::NextPrompt)] {
        let mut inbox = Inbox::new(false);
        inbox.handle_activity(now, Activity::Idle);
        if ever {
            inbox.handle_hello(now, ONE, &hello(Role::Waiter));
            inbox.handle_reader_gone(now, ONE);
        }
        assert_eq!(inbox.wakes_by(), Wake::NextPrompt);
        inbox.handle_activity(now, Activity::Busy);
        assert_eq!(inbox.wakes_by(), wakes_by);
    }
}

#[test]
fn what_a_hook_added_is_shown_by_the_next_request_and_given_again_where_another_turn_begins_before() {
    let now = Instant::now();
    let mut inbox = Inbox::new(false);
    let at = |inbox: &mut Inbox, reader: u64, stage: Stage| {
        let receipts_only = stage == Stage::Request;
        inbox.handle_hello(now, ReaderId(reader), &Hello { stage: Some(stage), receipts_only, ..hello(Role::Hook) });
        commands(inbox).into_iter().find_map(|command| match command {
            ReaderCommand::Deliver(to, deliver) => {
                inbox.handle_taken(now, to, deliver.batch);
                Some(deliver.text)
            }
            ReaderCommand::End(_) | ReaderCommand::Close(_) => None,
        })
    };
    take_in(&mut inbox, 1, "one");
    assert!(at(&mut inbox, 1, Stage::Begin).unwrap().contains("\none\n"));
    assert_eq!(at(&mut inbox, 2, Stage::Request), None);
    let states = [AskState::Held, AskState::HandedOver, AskState::Shown];
    assert_eq!(progress(&mut inbox), states.map(|state| (ask(1), state)));
    take_in(&mut inbox, 2, "two");
    assert!(at(&mut inbox, 3, Stage::Tool).unwrap().contains("\ntwo\n"));
    // Its user pressed Esc, and types something else.
    assert!(at(&mut inbox, 4, Stage::Begin).unwrap().contains("\ntwo\n"));
    at(&mut inbox, 5, Stage::Request);
    let states = [AskState::Held, AskState::HandedOver, AskState::HandedOver, AskState::Shown];
    assert_eq!(progress(&mut inbox), states.map(|state| (ask(2), state)));
    assert_eq!(at(&mut inbox, 6, Stage::Begin), None);
}

#[test]
fn plugin_stays_and_gets_the_next_batch_once_it_took_one() {
    let now = Instant::now();
    let mut inbox = Inbox::new(false);
    inbox.handle_hello(now, ONE, &hello(Role::Plugin));
    assert_eq!(inbox.wakes_by(), Wake::Plugin);
    take_in(&mut inbox, 1, "one");
    let first = delivered(&mut inbox, ONE);
    take_in(&mut inbox, 2, "two");
    assert_eq!(commands(&mut inbox), []);
    inbox.handle_taken(now, ONE, first.batch);
    let second = delivered(&mut inbox, ONE);
    assert!(second.text.contains("\ntwo\n") && second.batch > first.batch);
    inbox.handle_shown(&[ask(1).to_string()]);
    assert_eq!(progress(&mut inbox), [(ask(1), AskState::HandedOver), (ask(1), AskState::Shown)]);
}

#[test]
fn hook_gets_what_waits_or_is_told_that_nothing_does() {
    let now = Instant::now();
    let mut inbox = Inbox::new(false);
    inbox.handle_hello(now, ONE, &hello(Role::Hook));
    assert_eq!(commands(&mut inbox), [ReaderCommand::End(ONE)]);
    take_in(&mut inbox, 1, "one");
    inbox.handle_hello(now, TWO, &hello(Role::Hook));
    assert!(delivered(&mut inbox, TWO).text.contains("\none\n"));
}

#[test]
fn hook_of_a_subagent_brings_receipts_and_gets_nothing() {
    let (mut inbox, now) = woken();
    take_in(&mut inbox, 1, "one");
    let batch = delivered(&mut inbox, ONE).batch;
    inbox.handle_taken(now, ONE, batch);
    inbox.handle_reader_gone(now, ONE);
    take_in(&mut inbox, 2, "two");
    let hook = Hello { shown: vec![ask(1).to_string()], receipts_only: true, ..hello(Role::Hook) };
    inbox.handle_hello(now, TWO, &hook);
    assert_eq!(commands(&mut inbox), [ReaderCommand::End(TWO)]);
    assert!(progress(&mut inbox).contains(&(ask(1), AskState::Shown)));
    inbox.handle_hello(now, ReaderId(3), &hello(Role::Hook));
    assert!(delivered(&mut inbox, ReaderId(3)).text.contains("\ntwo\n"));
}

#[test]
fn ask_that_is_over_when_it_goes_before_the_model_is_said_to_be_once() {
    let (mut inbox, now) = open_channel();
    take_in(&mut inbox, 1, "one");
    take_in(&mut inbox, 2, "two");
    inbox.handle_closed(now, ask(1), AskKind::Ask);
    inbox.handle_replied(ask(2));
    inbox.handle_closed(now, ask(2), AskKind::Ask);
    let hook = Hello { showing: vec![ask(1).to_string(), ask(2).to_string()], ..hello(Role::Hook) };
    inbox.handle_hello(now + Duration::from_secs(95), ONE, &hook);
    let deliver = delivered(&mut inbox, ONE);
    assert!(deliver.text.starts_with("claude-relay: the question 0000-0000-0001 has been over for 95 seconds."));
    assert!(!deliver.text.contains("0000-0000-0002"));
    inbox.handle_hello(now, TWO, &hook);
    assert_eq!(commands(&mut inbox), [ReaderCommand::End(TWO)]);
}

/// Hands one message over and says whether nothing further can be told of it.
fn is_final(inbox: &mut Inbox) -> bool {
    let progress = std::iter::from_fn(|| inbox.poll_progress()).find(|progress| progress.state == AskState::HandedOver);
    progress.expect("it was handed over").is_final
}

#[test]
fn message_is_handed_over_for_good_where_no_receipt_tells_that_it_was_shown() {
    // A turn that starts with it, or a plugin, tells so.
    for role in [Role::Waiter, Role::Plugin] {
        let now = Instant::now();
        let mut inbox = Inbox::new(false);
        inbox.handle_hello(now, ONE, &hello(role));
        take_in(&mut inbox, 1, "one");
        let batch = delivered(&mut inbox, ONE).batch;
        // The next one of its kind makes no difference to what this one has.
        inbox.handle_hello(now, TWO, &hello(role));
        inbox.handle_taken(now, ONE, batch);
        assert!(!is_final(&mut inbox), "{role:?}");
    }
    let now = Instant::now();
    let mut inbox = Inbox::new(false);
    take_in(&mut inbox, 1, "one");
    inbox.handle_hello(now, ONE, &hello(Role::Hook));
    let batch = delivered(&mut inbox, ONE).batch;
    inbox.handle_taken(now, ONE, batch);
    assert!(is_final(&mut inbox), "what a hook adds to a turn comes back in no prompt");
    take_in(&mut inbox, 2, "two");
    inbox.take_for_call(CallId(1), true);
    inbox.handle_call_written(CallId(1));
    assert!(is_final(&mut inbox), "nor does a result");
    for hooks in [true, false] {
        let (mut inbox, _) = channel_in_idle_session(hooks);
        assert_eq!(is_final(&mut inbox), !hooks, "a channel event does where hooks run");
    }
}

#[test]
fn tell_that_is_over_is_not_called_a_question() {
    let (mut inbox, now) = open_channel();
    take_in(&mut inbox, 1, "one");
    inbox.handle_closed(now, ask(1), AskKind::Tell);
    let hook = Hello { showing: vec![ask(1).to_string()], ..hello(Role::Hook) };
    inbox.handle_hello(now, ONE, &hook);
    assert_eq!(commands(&mut inbox), [ReaderCommand::End(ONE)]);
}

#[test]
fn call_leaves_messages_to_the_hook_that_follows_it_as_long_as_one_does() {
    let now = Instant::now();
    let mut inbox = Inbox::new(false);
    inbox.handle_hello(now, ONE, &hello(Role::Hook));
    commands(&mut inbox);
    take_in(&mut inbox, 1, "one");
    assert_eq!(inbox.take_for_call(CallId(1), false), Batch::default());
    assert_eq!(texts(&inbox.take_for_call(CallId(2), false)), ["one"]);
    take_in(&mut inbox, 2, "two");
    inbox.handle_hello(now, TWO, &hello(Role::Hook));
    assert!(delivered(&mut inbox, TWO).text.contains("\ntwo\n"));
    take_in(&mut inbox, 3, "three");
    assert_eq!(texts(&inbox.take_for_call(CallId(3), true)), ["three"]);
}

#[test]
fn wake_stays_below_what_the_client_cuts() {
    for text in ["x".repeat(100), "x".repeat(128 * 1024)] {
        let mut inbox = Inbox::new(false);
        for bits in 0..600 {
            take_in(&mut inbox, bits, &text);
        }
        inbox.handle_hello(Instant::now(), ONE, &hello(Role::Waiter));
        let text = delivered(&mut inbox, ONE).text;
        assert!(text.len() <= 90 * 1024, "{}", text.len());
        assert!(text.contains("More messages wait"));
    }
}

fn channel_in_idle_session(hooks: bool) -> (Inbox, Instant) {
    let (mut inbox, now) = open_channel();
    inbox.handle_activity(now, Activity::Idle);
    if hooks {
        inbox.handle_hello(now, ONE, &hello(Role::Waiter));
    }
    take_in(&mut inbox, 1, "one");
    assert!(inbox.take_for_channel(now).is_some());
    inbox.handle_channel_written(now, true);
    (inbox, now)
}

#[test]
fn idle_session_that_takes_no_channel_events_is_woken_by_the_waiter_instead() {
    let (mut inbox, now) = channel_in_idle_session(true);
    assert_eq!(inbox.wakes_by(), Wake::Channel);
    inbox.handle_timeout(inbox.poll_timeout(now).unwrap());
    assert_eq!(inbox.wakes_by(), Wake::Waiter);
    assert!(delivered(&mut inbox, ONE).text.contains("repeat=\"true\">\none\n"));
}

#[test]
fn event_is_not_repeated_that_was_or_may_have_been_seen() {
    let (mut inbox, now) = channel_in_idle_session(true);
    inbox.handle_hello(now, TWO, &Hello { showing: vec![ask(1).to_string()], ..hello(Role::Hook) });
    assert_eq!(inbox.poll_timeout(now), None);
    let (mut inbox, now) = channel_in_idle_session(true);
    inbox.handle_activity(now, Activity::Busy);
    inbox.handle_activity(now, Activity::Idle);
    assert_eq!(inbox.poll_timeout(now), None);
    // Without hooks there can be no receipt, and an event is final.
    let (inbox, now) = channel_in_idle_session(false);
    assert_eq!(inbox.poll_timeout(now), None);
}

#[test]
fn event_is_not_repeated_by_a_channel_that_did_not_run() {
    let (mut inbox, now) = channel_in_idle_session(true);
    let late = inbox.poll_timeout(now).unwrap() + Duration::from_secs(60);
    inbox.handle_timeout(late);
    assert_eq!(inbox.wakes_by(), Wake::Channel);
    assert!(inbox.poll_timeout(late).unwrap() > late);
}

fn with_plugin() -> (Inbox, Instant) {
    let now = Instant::now();
    let mut inbox = Inbox::new(false);
    inbox.handle_hello(now, ONE, &hello(Role::Plugin));
    (inbox, now)
}

fn take(inbox: &mut Inbox, now: Instant) -> Vec<String> {
    let deliver = delivered(inbox, ONE);
    inbox.handle_taken(now, ONE, deliver.batch);
    deliver.ids
}

#[test]
fn plugin_gets_one_message_after_the_other() {
    let (mut inbox, now) = with_plugin();
    assert_eq!(inbox.wakes_by(), Wake::Plugin);
    for bits in 1..=3 {
        take_in(&mut inbox, bits, "hi");
    }
    for bits in 1..=3 {
        assert_eq!(take(&mut inbox, now), [ask(bits).to_string()]);
    }
    assert_eq!(commands(&mut inbox), []);
}

#[test]
fn what_an_agent_lost_is_given_to_its_plugin_again_and_after_three_times_to_a_call() {
    let (mut inbox, now) = with_plugin();
    take_in(&mut inbox, 1, "one");
    take_in(&mut inbox, 2, "two");
    let (first, second) = (take(&mut inbox, now), take(&mut inbox, now));
    inbox.handle_shown(&second);
    for _ in 0..2 {
        inbox.handle_lost(&first);
        assert_eq!(take(&mut inbox, now), first);
    }
    inbox.handle_lost(first.iter().chain(&second));
    take_in(&mut inbox, 3, "three");
    assert_eq!(take(&mut inbox, now), [ask(3).to_string()]);
    assert_eq!(texts(&inbox.take_for_call(CallId(1), false)), ["one"]);
}

#[test]
fn what_an_agent_lost_is_not_given_again_when_it_is_over() {
    let (mut inbox, now) = with_plugin();
    take_in(&mut inbox, 1, "one");
    let ids = take(&mut inbox, now);
    inbox.handle_closed(now, ask(1), AskKind::Ask);
    inbox.handle_lost(&ids);
    assert_eq!(commands(&mut inbox), []);
}

#[test]
fn route_gets_all_that_has_come_in_one_turn_once_the_agent_has_shown_what_it_had() {
    let now = Instant::now();
    let mut inbox = Inbox::new(false);
    inbox.handle_route(Wake::Inbox, false);
    take_in(&mut inbox, 1, "one");
    let first = delivered(&mut inbox, ReaderId::ROUTE);
    inbox.handle_route_full(true);
    inbox.handle_taken(now, ReaderId::ROUTE, first.batch);
    for bits in 2..=5 {
        take_in(&mut inbox, bits, "more");
    }
    take_in(&mut inbox, 6, &"x".repeat(crate::channel::inbox::readers::ROUTE_BYTES));
    inbox.handle_closed(now, ask(3), AskKind::Ask);
    assert_eq!(commands(&mut inbox), []);
    inbox.handle_shown(&first.ids);
    inbox.handle_route_full(false);
    let second = delivered(&mut inbox, ReaderId::ROUTE);
    assert_eq!(second.ids, [ask(2), ask(4), ask(5)].map(|id| id.to_string()));
    inbox.handle_taken(now, ReaderId::ROUTE, second.batch);
    assert_eq!(delivered(&mut inbox, ReaderId::ROUTE).ids, [ask(6).to_string()]);
}

#[test]
fn route_that_comes_again_is_not_full() {
    let now = Instant::now();
    let mut inbox = Inbox::new(false);
    inbox.handle_route(Wake::Inbox, false);
    inbox.handle_route_full(true);
    inbox.handle_reader_gone(now, ReaderId::ROUTE);
    inbox.handle_route(Wake::Inbox, false);
    take_in(&mut inbox, 1, "one");
    assert_eq!(delivered(&mut inbox, ReaderId::ROUTE).ids, [ask(1).to_string()]);
}
