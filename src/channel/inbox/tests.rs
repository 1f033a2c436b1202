use super::*;
use crate::channel::meta::Meta;
use crate::channel::notification;

mod readers;

fn message(text: &str) -> Message {
    Message { content: text.to_owned(), meta: Meta::default() }
}

fn ask(bits: u64) -> AskId {
    AskId::from_bits(bits)
}

fn texts(batch: &Batch) -> Vec<&str> {
    batch.messages.iter().map(|message| message.content.as_str()).collect()
}

fn progress(inbox: &mut Inbox) -> Vec<(AskId, AskState)> {
    std::iter::from_fn(|| inbox.poll_progress()).map(|progress| (progress.ask_id, progress.state)).collect()
}

fn open_channel() -> (Inbox, Instant) {
    let start = Instant::now();
    let mut inbox = Inbox::new(true);
    inbox.handle_initialized(start);
    inbox.handle_tools_listed(start + Duration::from_millis(10));
    (inbox, start + Duration::from_millis(510))
}

#[test]
fn first_events_wait_for_the_client_to_listen() {
    let (mut inbox, opens) = open_channel();
    inbox.handle_ask(ask(1), message("one"));
    let early = opens.checked_sub(Duration::from_millis(1)).unwrap();
    assert_eq!(inbox.take_for_channel(early), None);
    assert_eq!(inbox.poll_timeout(early), Some(opens));
    assert_eq!(inbox.take_for_channel(opens), Some(&message("one")));
    assert_eq!(inbox.poll_timeout(opens), None);
}

#[test]
fn events_are_written_in_order_and_one_at_a_time() {
    let (mut inbox, now) = open_channel();
    inbox.handle_ask(ask(1), message("one"));
    inbox.handle_news(message("two"));
    assert_eq!(inbox.take_for_channel(now), Some(&message("one")));
    assert_eq!(inbox.take_for_channel(now), None);
    assert_eq!(progress(&mut inbox), []);
    inbox.handle_channel_written(Instant::now(), true);
    assert_eq!(progress(&mut inbox), [(ask(1), AskState::HandedOver)]);
    assert_eq!(inbox.take_for_channel(now), Some(&message("two")));
    inbox.handle_channel_written(Instant::now(), true);
    assert_eq!(inbox.take_for_channel(now), None);
    assert_eq!(inbox.take_for_call(CallId(1), false), Batch::default());
}

#[test]
fn event_waits_for_the_results_before_it_and_for_no_later_ones() {
    let (mut inbox, now) = open_channel();
    let call = CallId;
    for n in 1..=2 {
        inbox.take_for_call(call(n), false);
    }
    inbox.handle_news(message("one"));
    assert_eq!(inbox.take_for_channel(now), None);
    inbox.take_for_call(call(3), false);
    inbox.handle_call_written(call(1));
    assert_eq!(inbox.take_for_channel(now), None);
    inbox.handle_call_cancelled(call(2));
    assert_eq!(inbox.take_for_channel(now), Some(&message("one")));
}

#[test]
fn messages_without_a_channel_are_held_for_the_next_call() {
    let mut inbox = Inbox::new(false);
    inbox.handle_initialized(Instant::now());
    inbox.handle_ask(ask(1), message("one"));
    inbox.handle_news(message("two"));
    assert_eq!(progress(&mut inbox), [(ask(1), AskState::Held)]);
    assert_eq!(inbox.take_for_channel(Instant::now() + Duration::from_secs(9)), None);
    assert_eq!(texts(&inbox.take_for_call(CallId(7), false)), ["one", "two"]);
    assert_eq!(progress(&mut inbox), []);
    inbox.handle_call_written(CallId(7));
    assert_eq!(progress(&mut inbox), [(ask(1), AskState::HandedOver)]);
    assert_eq!(inbox.take_for_call(CallId(8), false), Batch::default());
}

#[test]
fn text_is_to_come_until_its_route_has_taken_it() {
    let mut inbox = Inbox::new(false);
    inbox.handle_initialized(Instant::now());
    assert!(!inbox.is_to_come(ask(1)));
    inbox.handle_ask(ask(1), message("one"));
    assert!(inbox.is_to_come(ask(1)) && !inbox.is_to_come(ask(2)));
    inbox.take_for_call(CallId(1), false);
    assert!(inbox.is_to_come(ask(1)), "it goes with the result");
    inbox.handle_call_written(CallId(1));
    assert!(!inbox.is_to_come(ask(1)));
    inbox.handle_hello(Instant::now(), ReaderId(1), &Hello::new(Role::Waiter));
    inbox.handle_ask(ask(2), message("two"));
    assert!(inbox.is_to_come(ask(2)), "its waiter has not taken it yet");
    inbox.handle_taken(Instant::now(), ReaderId(1), 1);
    assert!(!inbox.is_to_come(ask(2)));
}

#[test]
fn cancelled_call_gives_its_messages_back_in_order() {
    let mut inbox = Inbox::new(false);
    inbox.handle_ask(ask(1), message("one"));
    inbox.handle_news(message("two"));
    assert_eq!(texts(&inbox.take_for_call(CallId(7), false)), ["one", "two"]);
    inbox.handle_news(message("three"));
    inbox.handle_call_cancelled(CallId(7));
    inbox.handle_call_written(CallId(7));
    assert_eq!(texts(&inbox.take_for_call(CallId(8), false)), ["one", "two", "three"]);
}

#[test]
fn event_that_could_not_be_written_goes_with_the_next_call() {
    let (mut inbox, now) = open_channel();
    inbox.handle_ask(ask(1), message("one"));
    inbox.take_for_channel(now);
    inbox.handle_channel_written(Instant::now(), false);
    assert_eq!(inbox.take_for_channel(now), None);
    assert_eq!(texts(&inbox.take_for_call(CallId(1), false)), ["one"]);
}

#[test]
fn ended_ask_is_not_shown_and_a_known_one_not_again() {
    let mut inbox = Inbox::new(false);
    inbox.handle_ask(ask(1), message("one"));
    inbox.handle_ask(ask(1), message("one"));
    inbox.handle_ask(ask(2), message("two"));
    inbox.handle_closed(Instant::now(), ask(2), AskKind::Ask);
    assert_eq!(texts(&inbox.take_for_call(CallId(1), false)), ["one"]);
    inbox.handle_closed(Instant::now(), ask(1), AskKind::Ask);
    inbox.handle_call_cancelled(CallId(1));
    assert_eq!(inbox.take_for_call(CallId(2), false), Batch::default());
    assert_eq!(inbox.waiting.bytes(), 0);
}

#[test]
fn reply_is_the_receipt_of_its_ask() {
    let (mut inbox, _) = open_channel();
    inbox.handle_ask(ask(1), message("one"));
    inbox.handle_answered(ask(1));
    inbox.handle_answered(ask(2));
    assert_eq!(progress(&mut inbox), [(ask(1), AskState::Shown)]);
}

#[test]
fn result_takes_what_a_model_can_read_and_says_what_is_left() {
    let mut inbox = Inbox::new(false);
    for _ in 0..3 {
        inbox.handle_news(message(&"x".repeat(CALL_BYTES / 2 - envelope::OVERHEAD_BYTES)));
    }
    let batch = inbox.take_for_call(CallId(1), false);
    assert_eq!((batch.messages.len(), batch.left), (2, 1));
    let batch = inbox.take_for_call(CallId(2), false);
    assert_eq!((batch.messages.len(), batch.left), (1, 0));
}

#[test]
fn messages_are_not_dropped_in_silence() {
    let mut inbox = Inbox::new(false);
    for _ in 0..MESSAGES_MAX + 2 {
        inbox.handle_news(message(&"x".repeat(64 * 1024)));
    }
    assert!(inbox.waiting.bytes() <= BYTES_MAX + MESSAGES_MAX * 256);
    let (mut whole, mut notices, mut all) = (0, 0, Vec::new());
    loop {
        let batch = inbox.take_for_call(CallId(all.len() as u64), false);
        if batch.messages.is_empty() {
            break;
        }
        all.extend(batch.messages);
    }
    for message in &all[..MESSAGES_MAX] {
        if message.content.starts_with('x') {
            whole += 1;
        } else {
            assert!(message.content.contains("65536 bytes"), "{}", message.content);
            notices += 1;
        }
    }
    assert_eq!((whole, whole + notices), (BYTES_MAX / (64 * 1024), MESSAGES_MAX));
    assert_eq!(all[MESSAGES_MAX].content, notification::overflow(2).content);
    assert_eq!(all.len(), MESSAGES_MAX + 1);
}

#[test]
fn parked_messages_come_first_in_the_next_channel_and_once() {
    let mut inbox = Inbox::new(false);
    for bits in 1..=3 {
        inbox.handle_ask(ask(bits), message(&format!("message {bits}")));
    }
    inbox.take_for_call(CallId(1), false);
    inbox.handle_call_written(CallId(1));
    inbox.handle_ask(ask(4), message("message 4"));
    inbox.take_for_call(CallId(2), false);
    inbox.handle_news(message("news"));
    inbox.handle_closed(Instant::now(), ask(2), AskKind::Ask);
    let mut next = Inbox::new(false);
    next.handle_news(message("newer"));
    next.handle_parked(inbox.park());
    assert_eq!(texts(&next.take_for_call(CallId(1), false)), ["message 4", "news", "newer"]);
    // What was shown before is open all the same, and is not shown again.
    next.handle_answered(ask(1));
    next.handle_answered(ask(2));
    assert_eq!(progress(&mut next), [(ask(1), AskState::Shown)]);
    next.handle_ask(ask(3), message("again"));
    assert_eq!(next.take_for_call(CallId(2), false), Batch::default());
}

#[test]
fn parked_value_has_a_bound_and_says_what_it_dropped() {
    let mut inbox = Inbox::new(false);
    for _ in 0..9 {
        inbox.handle_news(message(&"x".repeat(64 * 1024)));
    }
    let value = inbox.park();
    assert!(value.to_string().len() <= crate::client::PROGRAM_PART_MAX_BYTES);
    let mut next = Inbox::new(false);
    next.handle_parked(value);
    let whole = next.waiting.iter().filter(|entry| entry.message.content.starts_with('x')).count();
    assert_eq!((whole, next.waiting.len()), (3, 9));
}
