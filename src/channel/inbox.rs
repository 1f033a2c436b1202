//! What arrived for this session, and which route each message takes into it. Pure: the time is an argument.
//!
//! One message takes one route and is handed over once, in the order of arrival. The routes are a channel event, where
//! the session was started for it, else the result of the next relay tool call. A message belongs to the inbox until its
//! route has taken it: a write that fails or a call that is cancelled gives it back.
//!
//! A further route is another `take_for_…` with its own way of confirming; which route is used is decided in one place,
//! [`Inbox::route`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::notification::{self, Message};
use crate::protocol::{AskId, AskState};

/// How long the first channel events are held back. Claude Code registers its listener 20 to 50 ms after `tools/list`
/// and drops what comes before (seen in 2.1.197 and 2.1.330).
pub const FIRST_EVENT_DELAY: Duration = Duration::from_millis(500);

/// The most messages that wait: twice what the hub lets one session have open as asker and as asked, with their tallies.
pub const MESSAGES_MAX: usize = 4096;

/// The most bytes of waiting messages; over it a message is kept without its text.
pub const BYTES_MAX: usize = 32 * 1024 * 1024;

/// The bytes of messages in one tool result, exceeded by one message at most: Claude Code puts a result of more than
/// some 25,000 tokens into a file.
pub const CALL_BYTES: usize = 48 * 1024;

/// Names a tool call: its JSON-RPC id as JSON.
pub type CallId = String;

/// A way into the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// `notifications/claude/channel`: starts a turn.
    Channel,
    /// `messages` in the result of the next relay tool call.
    Call,
}

/// Messages that go with the result of a tool call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// The messages, oldest first.
    pub messages: Vec<Message>,
    /// How many more wait for the next call.
    pub left: usize,
}

#[derive(Debug)]
struct Entry {
    /// The received ask that this message is; none for what became of own asks.
    ask: Option<AskId>,
    message: Message,
}

/// The messages that arrived and were not yet handed over.
#[derive(Debug)]
pub struct Inbox {
    /// Whether the session takes channel events.
    channel: bool,
    initialized: Option<Instant>,
    tools_listed: Option<Instant>,
    waiting: VecDeque<Entry>,
    bytes: usize,
    dropped: u64,
    writing: Option<Entry>,
    calls: BTreeMap<CallId, Vec<Entry>>,
    /// Received asks that somebody still waits for.
    open: BTreeSet<AskId>,
    progress: VecDeque<(AskId, AskState)>,
}

impl Inbox {
    /// Returns an empty inbox. `channel` tells whether the session takes channel events.
    pub fn new(channel: bool) -> Self {
        Self {
            channel,
            initialized: None,
            tools_listed: None,
            waiting: VecDeque::new(),
            bytes: 0,
            dropped: 0,
            writing: None,
            calls: BTreeMap::new(),
            open: BTreeSet::new(),
            progress: VecDeque::new(),
        }
    }

    /// Returns the best route that the session has now.
    pub fn route(&self) -> Route {
        if self.channel && self.initialized.is_some() { Route::Channel } else { Route::Call }
    }

    /// Notes that the MCP client said `initialized`.
    pub fn handle_initialized(&mut self, now: Instant) {
        self.initialized.get_or_insert(now);
    }

    /// Notes that the MCP client was answered `tools/list`.
    pub fn handle_tools_listed(&mut self, now: Instant) {
        self.tools_listed.get_or_insert(now);
    }

    /// Takes in a question of another session. One that is known already is dropped.
    pub fn handle_ask(&mut self, ask_id: AskId, message: Message) {
        if !self.open.insert(ask_id) {
            return;
        }
        if self.route() == Route::Call {
            self.progress.push_back((ask_id, AskState::Held));
        }
        self.push(Entry { ask: Some(ask_id), message });
    }

    /// Takes in what became of an own ask, broadcast or reply.
    pub fn handle_news(&mut self, message: Message) {
        self.push(Entry { ask: None, message });
    }

    /// Notes that a received ask has ended. If it was not handed over yet, it never is.
    pub fn handle_closed(&mut self, ask_id: AskId) {
        self.open.remove(&ask_id);
        let bytes = &mut self.bytes;
        self.waiting.retain(|entry| {
            let closed = entry.ask == Some(ask_id);
            if closed {
                *bytes -= entry.message.bytes();
            }
            !closed
        });
    }

    /// Notes that the session names a received ask in a reply: it has seen it.
    pub fn handle_answered(&mut self, ask_id: AskId) {
        if self.open.contains(&ask_id) {
            self.progress.push_back((ask_id, AskState::Shown));
        }
    }

    /// Takes the next message to be written as a channel event; one at a time.
    pub fn take_for_channel(&mut self, now: Instant) -> Option<Message> {
        if self.writing.is_some() || self.route() != Route::Channel || self.opens_at().is_none_or(|at| now < at) {
            return None;
        }
        let entry = self.pop()?;
        let message = entry.message.clone();
        self.writing = Some(entry);
        Some(message)
    }

    /// Notes that the channel event was written, or could not be: then no further one is tried.
    pub fn handle_channel_written(&mut self, written: bool) {
        let Some(entry) = self.writing.take() else { return };
        if written {
            self.handed_over(&entry);
        } else {
            self.channel = false;
            self.give_back(entry);
        }
    }

    /// Takes the messages that go with the result of this tool call: those that have no better route.
    pub fn take_for_call(&mut self, call: CallId) -> Batch {
        let mut batch = Batch::default();
        if self.route() != Route::Call {
            return batch;
        }
        let mut taken = Vec::new();
        let mut bytes = 0;
        while bytes < CALL_BYTES
            && let Some(entry) = self.pop()
        {
            bytes += entry.message.bytes();
            batch.messages.push(entry.message.clone());
            taken.push(entry);
        }
        batch.left = self.waiting.len();
        if !taken.is_empty() {
            self.calls.insert(call, taken);
        }
        batch
    }

    /// Notes that the result of this tool call was written.
    pub fn handle_call_written(&mut self, call: &CallId) {
        for entry in self.calls.remove(call).unwrap_or_default() {
            self.handed_over(&entry);
        }
    }

    /// Notes that this tool call was cancelled and its result not written: its messages wait again.
    pub fn handle_call_cancelled(&mut self, call: &CallId) {
        for entry in self.calls.remove(call).unwrap_or_default().into_iter().rev() {
            self.give_back(entry);
        }
    }

    /// Returns how far the next received ask has come, where that has changed.
    pub fn poll_progress(&mut self) -> Option<(AskId, AskState)> {
        self.progress.pop_front()
    }

    /// Returns when the first channel events may be written, where some wait for that.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let waits = !self.waiting.is_empty() && self.route() == Route::Channel && self.writing.is_none();
        self.opens_at().filter(|at| waits && now < *at)
    }

    fn opens_at(&self) -> Option<Instant> {
        let initialized = self.initialized?;
        Some(self.tools_listed.map_or(initialized, |listed| listed.max(initialized)) + FIRST_EVENT_DELAY)
    }

    fn push(&mut self, mut entry: Entry) {
        if self.waiting.len() >= MESSAGES_MAX {
            self.dropped += 1;
            return;
        }
        if self.bytes + entry.message.bytes() > BYTES_MAX {
            entry.message = notification::text_dropped(&entry.message);
        }
        self.bytes += entry.message.bytes();
        self.waiting.push_back(entry);
    }

    fn pop(&mut self) -> Option<Entry> {
        if let Some(entry) = self.waiting.pop_front() {
            self.bytes -= entry.message.bytes();
            return Some(entry);
        }
        self.waiting = VecDeque::new();
        let dropped = std::mem::take(&mut self.dropped);
        (dropped > 0).then(|| Entry { ask: None, message: notification::overflow(dropped) })
    }

    fn give_back(&mut self, entry: Entry) {
        let closed = entry.ask.is_some_and(|ask_id| !self.open.contains(&ask_id));
        if !closed {
            self.bytes += entry.message.bytes();
            self.waiting.push_front(entry);
        }
    }

    fn handed_over(&mut self, entry: &Entry) {
        if let Some(ask_id) = entry.ask.filter(|ask_id| self.open.contains(ask_id)) {
            self.progress.push_back((ask_id, AskState::HandedOver));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Map;

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
        inbox.handle_channel_written(true);
        assert_eq!(progress(&mut inbox), [(ask(1), AskState::HandedOver)]);
        assert_eq!(inbox.take_for_channel(now), Some(message("two")));
        inbox.handle_channel_written(true);
        assert_eq!(inbox.take_for_channel(now), None);
        assert_eq!(inbox.take_for_call("1".to_owned()), Batch::default());
    }

    #[test]
    fn without_a_channel_messages_are_held_for_the_next_call() {
        let mut inbox = Inbox::new(false);
        inbox.handle_initialized(Instant::now());
        inbox.handle_ask(ask(1), message("one"));
        inbox.handle_news(message("two"));
        assert_eq!(progress(&mut inbox), [(ask(1), AskState::Held)]);
        assert_eq!(inbox.take_for_channel(Instant::now() + Duration::from_secs(9)), None);
        assert_eq!(texts(&inbox.take_for_call("7".to_owned())), ["one", "two"]);
        assert_eq!(progress(&mut inbox), []);
        inbox.handle_call_written(&"7".to_owned());
        assert_eq!(progress(&mut inbox), [(ask(1), AskState::HandedOver)]);
        assert_eq!(inbox.take_for_call("8".to_owned()), Batch::default());
    }

    #[test]
    fn a_cancelled_call_gives_its_messages_back_in_order() {
        let mut inbox = Inbox::new(false);
        inbox.handle_ask(ask(1), message("one"));
        inbox.handle_news(message("two"));
        assert_eq!(texts(&inbox.take_for_call("7".to_owned())), ["one", "two"]);
        inbox.handle_news(message("three"));
        inbox.handle_call_cancelled(&"7".to_owned());
        inbox.handle_call_written(&"7".to_owned());
        assert_eq!(texts(&inbox.take_for_call("8".to_owned())), ["one", "two", "three"]);
    }

    #[test]
    fn an_event_that_could_not_be_written_goes_with_the_next_call() {
        let (mut inbox, now) = open_channel();
        inbox.handle_ask(ask(1), message("one"));
        inbox.take_for_channel(now);
        inbox.handle_channel_written(false);
        assert_eq!(inbox.take_for_channel(now), None);
        assert_eq!(texts(&inbox.take_for_call("1".to_owned())), ["one"]);
    }

    #[test]
    fn an_ended_ask_is_not_shown_any_more_and_a_known_one_not_again() {
        let mut inbox = Inbox::new(false);
        inbox.handle_ask(ask(1), message("one"));
        inbox.handle_ask(ask(1), message("one"));
        inbox.handle_ask(ask(2), message("two"));
        inbox.handle_closed(ask(2));
        assert_eq!(texts(&inbox.take_for_call("1".to_owned())), ["one"]);
        inbox.handle_closed(ask(1));
        inbox.handle_call_cancelled(&"1".to_owned());
        assert_eq!(inbox.take_for_call("2".to_owned()), Batch::default());
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
            inbox.handle_news(message(&"x".repeat(CALL_BYTES - 1)));
        }
        let batch = inbox.take_for_call("1".to_owned());
        assert_eq!((batch.messages.len(), batch.left), (2, 1));
        let batch = inbox.take_for_call("2".to_owned());
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
            let batch = inbox.take_for_call(all.len().to_string());
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
}
