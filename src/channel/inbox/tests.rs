use super::*;
use serde_json::Map;

mod companions;

fn message(text: &str) -> Message {
    Message { content: text.to_owned(), meta: Map::new() }
}

fn ask(bits: u64) -> AskId {
    AskId::from_bits(bits)
}

fn texts(batch: &Batch) -> Vec<&str> {
    batch.messages.iter().map(|message| message.content.as_str()).collect()
}

fn progress(inbox: &mut Inbox) -> Vec<(AskId, AskState)> {
    std::iter::from_fn(|| inbox.poll_progress()).collect()
}

fn open_channel() -> (Inbox, Instant) {
    let start = Instant::now();
    let mut inbox = Inbox::new(true);
    inbox.handle_initialized(start);
    inbox.handle_tools_listed(start + Duration::from_millis(10));
    (inbox, start + Duration::from_millis(510))
}

#[test]
fn the_first_events_wait_for_the_client_to_listen() {
    let (mut inbox, opens) = open_channel();
    inbox.handle_ask(ask(1), message("one"));
    let early = opens.checked_sub(Duration::from_millis(1)).unwrap();
    assert_eq!(inbox.take_for_channel(early), None);
    assert_eq!(inbox.poll_timeout(early), Some(opens));
    assert_eq!(inbox.take_for_channel(opens), Some(message("one")));
    assert_eq!(inbox.poll_timeout(opens), None);
}

#[test]
fn events_are_written_in_order_and_one_at_a_time() {
    let (mut inbox, now) = open_channel();
    inbox.handle_ask(ask(1), message("one"));
    inbox.handle_news(message("two"));
    assert_eq!(inbox.take_for_channel(now), Some(message("one")));
    assert_eq!(inbox.take_for_channel(now), None);
    assert_eq!(progress(&mut inbox), []);
    inbox.handle_channel_written(Instant::now(), true);
    assert_eq!(progress(&mut inbox), [(ask(1), AskState::HandedOver)]);
    assert_eq!(inbox.take_for_channel(now), Some(message("two")));
    inbox.handle_channel_written(Instant::now(), true);
    assert_eq!(inbox.take_for_channel(now), None);
    assert_eq!(inbox.take_for_call("1".to_owned(), false), Batch::default());
}

#[test]
fn an_event_waits_for_the_results_before_it_and_for_no_later_ones() {
    let (mut inbox, now) = open_channel();
    let call = |n: u32| n.to_string();
    for n in 1..=2 {
        inbox.take_for_call(call(n), false);
    }
    inbox.handle_news(message("one"));
    assert_eq!(inbox.take_for_channel(now), None);
    inbox.take_for_call(call(3), false);
    inbox.handle_call_written(&call(1));
    assert_eq!(inbox.take_for_channel(now), None);
    inbox.handle_call_cancelled(&call(2));
    assert_eq!(inbox.take_for_channel(now), Some(message("one")));
}

#[test]
fn without_a_channel_messages_are_held_for_the_next_call() {
    let mut inbox = Inbox::new(false);
    inbox.handle_initialized(Instant::now());
    inbox.handle_ask(ask(1), message("one"));
    inbox.handle_news(message("two"));
    assert_eq!(progress(&mut inbox), [(ask(1), AskState::Held)]);
    assert_eq!(inbox.take_for_channel(Instant::now() + Duration::from_secs(9)), None);
    assert_eq!(texts(&inbox.take_for_call("7".to_owned(), false)), ["one", "two"]);
    assert_eq!(progress(&mut inbox), []);
    inbox.handle_call_written(&"7".to_owned());
    assert_eq!(progress(&mut inbox), [(ask(1), AskState::HandedOver)]);
    assert_eq!(inbox.take_for_call("8".to_owned(), false), Batch::default());
}

#[test]
fn a_cancelled_call_gives_its_messages_back_in_order() {
    let mut inbox = Inbox::new(false);
    inbox.handle_ask(ask(1), message("one"));
    inbox.handle_news(message("two"));
    assert_eq!(texts(&inbox.take_for_call("7".to_owned(), false)), ["one", "two"]);
    inbox.handle_news(message("three"));
    inbox.handle_call_cancelled(&"7".to_owned());
    inbox.handle_call_written(&"7".to_owned());
    assert_eq!(texts(&inbox.take_for_call("8".to_owned(), false)), ["one", "two", "three"]);
}

#[test]
fn an_event_that_could_not_be_written_goes_with_the_next_call() {
    let (mut inbox, now) = open_channel();
    inbox.handle_ask(ask(1), message("one"));
    inbox.take_for_channel(now);
    inbox.handle_channel_written(Instant::now(), false);
    assert_eq!(inbox.take_for_channel(now), None);
    assert_eq!(texts(&inbox.take_for_call("1".to_owned(), false)), ["one"]);
}

#[test]
fn an_ended_ask_is_not_shown_any_more_and_a_known_one_not_again() {
    let mut inbox = Inbox::new(false);
    inbox.handle_ask(ask(1), message("one"));
    inbox.handle_ask(ask(1), message("one"));
    inbox.handle_ask(ask(2), message("two"));
    inbox.handle_closed(ask(2));
    assert_eq!(texts(&inbox.take_for_call("1".to_owned(), false)), ["one"]);
    inbox.handle_closed(ask(1));
    inbox.handle_call_cancelled(&"1".to_owned());
    assert_eq!(inbox.take_for_call("2".to_owned(), false), Batch::default());
    assert_eq!(inbox.bytes, 0);
}

#[test]
fn a_reply_is_the_receipt_of_its_ask() {
    let (mut inbox, _) = open_channel();
    inbox.handle_ask(ask(1), message("one"));
    inbox.handle_answered(ask(1));
    inbox.handle_answered(ask(2));
    assert_eq!(progress(&mut inbox), [(ask(1), AskState::Shown)]);
}

#[test]
fn one_result_takes_what_a_model_can_read_and_says_how_many_are_left() {
    let mut inbox = Inbox::new(false);
    for _ in 0..3 {
        inbox.handle_news(message(&"x".repeat(CALL_BYTES / 2 - envelope::OVERHEAD_BYTES)));
    }
    let batch = inbox.take_for_call("1".to_owned(), false);
    assert_eq!((batch.messages.len(), batch.left), (2, 1));
    let batch = inbox.take_for_call("2".to_owned(), false);
    assert_eq!((batch.messages.len(), batch.left), (1, 0));
}

#[test]
fn nothing_is_dropped_in_silence() {
    let mut inbox = Inbox::new(false);
    for _ in 0..MESSAGES_MAX + 2 {
        inbox.handle_news(message(&"x".repeat(64 * 1024)));
    }
    assert!(inbox.bytes <= BYTES_MAX + MESSAGES_MAX * 256);
    let (mut whole, mut notices, mut all) = (0, 0, Vec::new());
    loop {
        let batch = inbox.take_for_call(all.len().to_string(), false);
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
