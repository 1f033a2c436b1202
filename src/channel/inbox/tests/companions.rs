//! The waiter's and the hooks' routes, and what becomes of a channel whose events nobody sees.

use super::*;
use crate::protocol::PeerKey;

fn tag(n: u8) -> PeerTag {
    PeerKey::from_bytes([n; 16]).tag()
}

fn question(bits: u64, text: &str) -> (AskId, Message) {
    let meta = serde_json::json!({"kind": "ask", "from": "b", "ask_id": ask(bits)}).as_object().unwrap().clone();
    (ask(bits), Message { content: text.to_owned(), meta })
}

fn take_in(inbox: &mut Inbox, bits: u64, text: &str) {
    let (id, message) = question(bits, text);
    inbox.handle_ask(id, message);
}

fn receipt_of(bits: u64) -> Receipt {
    Receipt { kind: "ask".to_owned(), of: ask(bits).to_string() }
}

#[track_caller]
fn offer(inbox: &mut Inbox) -> Offer {
    match inbox.poll_word() {
        Some(Word::Offer(offer)) => offer,
        other => panic!("no offer but {other:?}"),
    }
}

#[track_caller]
fn verdict(inbox: &mut Inbox) -> (PeerTag, Option<u64>, bool) {
    match inbox.poll_word() {
        Some(Word::Verdict(Verdict { to, batch, show })) => (to, batch, show),
        other => panic!("no verdict but {other:?}"),
    }
}

fn woken() -> (Inbox, Instant) {
    let now = Instant::now();
    let mut inbox = Inbox::new(false);
    inbox.handle_initialized(now);
    inbox.handle_waiter(now, Some(tag(1)));
    (inbox, now)
}

#[test]
fn a_waiter_shows_a_message_once_it_holds_it() {
    let (mut inbox, now) = woken();
    assert_eq!(inbox.wakes_by(), Wake::Waiter);
    take_in(&mut inbox, 1, "one");
    let offered = offer(&mut inbox);
    assert_eq!(offered.to, tag(1));
    assert!(offered.text.contains("<relay-message kind=\"ask\" from=\"b\"") && offered.text.contains("\none\n"));
    assert_eq!(progress(&mut inbox), []);
    inbox.handle_holding(now, tag(1), offered.batch);
    assert_eq!(verdict(&mut inbox), (tag(1), Some(offered.batch), true));
    assert_eq!(progress(&mut inbox), [(ask(1), AskState::HandedOver)]);
    assert_eq!(inbox.take_for_call("1".to_owned(), false), Batch::default());
    // The hub was lost before the verdict came.
    inbox.handle_holding(now, tag(1), offered.batch);
    assert_eq!(verdict(&mut inbox), (tag(1), Some(offered.batch), true));
    assert_eq!(progress(&mut inbox), []);
}

#[test]
fn a_superseded_waiter_shows_nothing_and_its_successor_everything() {
    let (mut inbox, now) = woken();
    take_in(&mut inbox, 1, "one");
    let first = offer(&mut inbox);
    take_in(&mut inbox, 2, "two");
    assert_eq!(inbox.poll_word(), None);
    inbox.handle_waiter(now, Some(tag(2)));
    let second = offer(&mut inbox);
    assert_eq!(second.to, tag(2));
    assert!(second.text.find("\none\n").unwrap() < second.text.find("\ntwo\n").unwrap());
    inbox.handle_holding(now, tag(1), first.batch);
    assert_eq!(verdict(&mut inbox), (tag(1), Some(first.batch), false));
    inbox.handle_holding(now, tag(2), second.batch);
    assert_eq!(verdict(&mut inbox), (tag(2), Some(second.batch), true));
}

#[test]
fn messages_wait_for_the_next_waiter_and_are_held_if_none_comes() {
    let (mut inbox, now) = woken();
    inbox.handle_activity(now, Activity::Idle);
    take_in(&mut inbox, 1, "one");
    let first = offer(&mut inbox);
    inbox.handle_holding(now, tag(1), first.batch);
    inbox.handle_waiter(now, None);
    inbox.handle_activity(now, Activity::Busy);
    take_in(&mut inbox, 2, "two");
    assert_eq!((inbox.wakes_by(), inbox.poll_timeout(now)), (Wake::Waiter, None));
    inbox.handle_activity(now, Activity::Idle);
    let due = inbox.poll_timeout(now).unwrap();
    progress(&mut inbox);
    inbox.handle_timeout(due);
    assert_eq!((inbox.wakes_by(), progress(&mut inbox)), (Wake::NextPrompt, vec![(ask(2), AskState::Held)]));
    verdict(&mut inbox);
    inbox.handle_waiter(due, Some(tag(2)));
    assert!(offer(&mut inbox).text.contains("\ntwo\n"));
    assert_eq!(inbox.wakes_by(), Wake::Waiter);
}

#[test]
fn a_waiter_that_lost_its_hub_before_the_verdict_has_a_successor_too() {
    let (mut inbox, now) = woken();
    inbox.handle_activity(now, Activity::Idle);
    take_in(&mut inbox, 1, "one");
    let first = offer(&mut inbox);
    inbox.handle_holding(now, tag(1), first.batch);
    verdict(&mut inbox);
    inbox.handle_waiter(now, Some(tag(1)));
    inbox.handle_holding(now, tag(1), first.batch);
    assert_eq!(verdict(&mut inbox), (tag(1), Some(first.batch), true));
    inbox.handle_waiter(now, None);
    assert_eq!(inbox.wakes_by(), Wake::Waiter);
}

#[test]
fn a_session_in_a_turn_has_a_waiter_again_at_its_end_if_it_ever_had_one() {
    let now = Instant::now();
    for (ever, wakes_by) in [(true, Wake::Waiter), (false, Wake::NextPrompt)] {
        let mut inbox = Inbox::new(false);
        inbox.handle_activity(now, Activity::Idle);
        inbox.handle_waiter(now, ever.then_some(tag(1)));
        inbox.handle_waiter(now, None);
        assert_eq!(inbox.wakes_by(), Wake::NextPrompt);
        inbox.handle_activity(now, Activity::Busy);
        assert_eq!(inbox.wakes_by(), wakes_by);
    }
}

#[test]
fn a_waiter_that_comes_back_is_offered_the_same_again() {
    let (mut inbox, now) = woken();
    take_in(&mut inbox, 1, "one");
    let first = offer(&mut inbox);
    inbox.handle_waiter(now, Some(tag(1)));
    assert_eq!(offer(&mut inbox), first);
}

#[test]
fn a_hook_takes_what_waits_and_gives_it_back_if_it_was_too_slow() {
    let now = Instant::now();
    let mut inbox = Inbox::new(false);
    take_in(&mut inbox, 1, "one");
    inbox.handle_hook(now, tag(7), &[]);
    let first = offer(&mut inbox);
    assert_eq!(inbox.take_for_call("1".to_owned(), false), Batch::default());
    inbox.handle_hook_gone(tag(7));
    inbox.handle_hook(now, tag(8), &[]);
    let second = offer(&mut inbox);
    inbox.handle_holding(now, tag(7), first.batch);
    assert_eq!(verdict(&mut inbox), (tag(7), Some(first.batch), false));
    // Nothing is heard of this one: its end may have been lost with a hub.
    inbox.handle_timeout(inbox.poll_timeout(now).unwrap());
    assert_eq!(texts(&inbox.take_for_call("2".to_owned(), true)), ["one"]);
    inbox.handle_holding(now, tag(8), second.batch);
    assert_eq!(verdict(&mut inbox), (tag(8), Some(second.batch), false));
    inbox.handle_hook(now, tag(9), &[]);
    assert_eq!(verdict(&mut inbox), (tag(9), None, false));
}

#[test]
fn a_call_leaves_messages_to_the_hook_that_follows_it_as_long_as_one_does() {
    let now = Instant::now();
    let mut inbox = Inbox::new(false);
    inbox.handle_hook(now, tag(7), &[]);
    verdict(&mut inbox);
    take_in(&mut inbox, 1, "one");
    assert_eq!(inbox.take_for_call("1".to_owned(), false), Batch::default());
    assert_eq!(texts(&inbox.take_for_call("2".to_owned(), false)), ["one"]);
    take_in(&mut inbox, 2, "two");
    inbox.handle_hook(now, tag(8), &[]);
    assert!(offer(&mut inbox).text.contains("\ntwo\n"));
    take_in(&mut inbox, 3, "three");
    assert_eq!(texts(&inbox.take_for_call("3".to_owned(), true)), ["three"]);
}

#[test]
fn a_receipt_turns_handed_over_into_shown() {
    let (mut inbox, now) = woken();
    take_in(&mut inbox, 1, "one");
    let offered = offer(&mut inbox);
    inbox.handle_holding(now, tag(1), offered.batch);
    inbox.handle_hook(now, tag(7), &[receipt_of(1), receipt_of(2)]);
    assert_eq!(progress(&mut inbox), [(ask(1), AskState::HandedOver), (ask(1), AskState::Shown)]);
}

#[test]
fn one_wake_stays_below_what_the_client_cuts() {
    for text in ["x".repeat(100), "x".repeat(128 * 1024)] {
        let mut inbox = Inbox::new(false);
        for bits in 0..600 {
            take_in(&mut inbox, bits, &text);
        }
        inbox.handle_waiter(Instant::now(), Some(tag(1)));
        let offered = offer(&mut inbox);
        assert!(offered.text.len() <= 90 * 1024, "{}", offered.text.len());
        assert!(offered.text.contains("More messages wait"));
    }
}

fn channel_in_idle_session(hooks: bool) -> (Inbox, Instant) {
    let (mut inbox, now) = open_channel();
    inbox.handle_activity(now, Activity::Idle);
    inbox.handle_waiter(now, hooks.then_some(tag(1)));
    take_in(&mut inbox, 1, "one");
    assert!(inbox.take_for_channel(now).is_some());
    inbox.handle_channel_written(now, true);
    (inbox, now)
}

#[test]
fn an_idle_session_that_takes_no_channel_events_is_woken_by_the_waiter_instead() {
    let (mut inbox, now) = channel_in_idle_session(true);
    assert_eq!(inbox.wakes_by(), Wake::Channel);
    inbox.handle_timeout(inbox.poll_timeout(now).unwrap());
    assert_eq!(inbox.wakes_by(), Wake::Waiter);
    assert!(offer(&mut inbox).text.contains("repeat=\"true\">\none\n"));
}

#[test]
fn nothing_is_repeated_that_was_or_may_have_been_seen() {
    let (mut inbox, now) = channel_in_idle_session(true);
    inbox.handle_hook(now, tag(7), &[receipt_of(1)]);
    assert_eq!(inbox.poll_timeout(now), None);
    let (mut inbox, now) = channel_in_idle_session(true);
    inbox.handle_activity(now, Activity::Busy);
    inbox.handle_activity(now, Activity::Idle);
    assert_eq!(inbox.poll_timeout(now), None);
    // Without hooks there can be no receipt, and an event is final.
    let (inbox, now) = channel_in_idle_session(false);
    assert_eq!(inbox.poll_timeout(now), None);
}
