//! What arrived for this session, and which route each message takes into it. Pure: the time is an argument.
//!
//! One message takes one route and is handed over once, in the order of arrival. The routes, best first: a channel event,
//! where the session was started for it; a plugin in the agent; the waiter; the agent's daemon or own inbox; a hook; the
//! result of the next relay tool call. A message belongs to the inbox until its route has taken it: a write that fails, a
//! call that is cancelled and a reader that ends before it said `taken` give it back.
//!
//! Nothing says whether a channel event was taken: Claude Code may drop it without a word. So the first ones are kept in
//! mind ([`Unproven`]) until a receipt or the start of a turn shows that the route works; if neither comes although the
//! session is idle, the route is given up and its messages are shown again by the next one, marked as repeats.

mod ended;
mod entry;
mod given;
mod parked;
mod readers;
mod unproven;
mod waiting;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use self::ended::Ended;
use self::entry::Entry;
use self::given::Given;
pub use self::readers::ReaderCommand;
use self::readers::{Readers, Receipt};
use self::unproven::Unproven;
use self::waiting::Waiting;
pub use self::waiting::{BYTES_MAX, MESSAGES_MAX};
use super::envelope;
use super::notification::Message;
use crate::client::CallId;
use crate::protocol::{Activity, AskId, AskKind, AskState, Progress, Wake};
use crate::session::{Hello, ReaderId, Role, Stage};

/// How long the first channel events are held back. Claude Code registers its listener 20 to 50 ms after `tools/list`
/// and drops what comes before (seen in 2.1.197 and 2.1.330).
pub const FIRST_EVENT_DELAY: Duration = Duration::from_millis(500);

/// The bytes of messages in one tool result, exceeded only by a single message: agents put a longer result into a file and
/// show the beginning, Qwen Code one of more than 25,000 characters, Claude Code one of some 25,000 tokens.
pub const CALL_BYTES: usize = 20 * 1024;

/// Messages that go with the result of a tool call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// The messages, oldest first.
    pub messages: Vec<Message>,
    /// How many more wait for the next call.
    pub left: usize,
}

/// The messages that arrived and were not yet handed over.
#[derive(Debug)]
pub struct Inbox {
    /// Whether the session takes channel events.
    channel: bool,
    initialized: Option<Instant>,
    tools_listed: Option<Instant>,
    waiting: Waiting,
    writing: Option<Entry>,
    unproven: Unproven,
    calls: BTreeMap<CallId, Vec<Entry>>,
    /// The calls that have a result which was not written yet.
    unwritten: BTreeSet<CallId>,
    /// Those of them that the next channel event waits for: what it is about may stand in their results.
    ahead: Option<BTreeSet<CallId>>,
    readers: Readers,
    given: Given,
    /// What hooks have added to the present turn and no request has had yet.
    added: Given,
    /// Whether hooks say of what they have added when a request has it.
    requests_told: bool,
    /// Whether a hook is expected to follow a tool call, since one has come since the last call that relied on it.
    hook_follows: bool,
    /// Whether the waiting asks were said to be held.
    announced_held: bool,
    /// Received asks and tells that somebody still waits for.
    open: BTreeSet<AskId>,
    ended: Ended,
    progress: VecDeque<Progress>,
}

impl Inbox {
    /// Returns an empty inbox. `channel` tells whether the session takes channel events.
    pub fn new(channel: bool) -> Self {
        Self {
            channel,
            initialized: None,
            tools_listed: None,
            waiting: Waiting::default(),
            writing: None,
            unproven: Unproven::default(),
            calls: BTreeMap::new(),
            unwritten: BTreeSet::new(),
            ahead: None,
            readers: Readers::new(),
            given: Given::default(),
            added: Given::default(),
            requests_told: false,
            hook_follows: false,
            announced_held: !channel,
            open: BTreeSet::new(),
            ended: Ended::default(),
            progress: VecDeque::new(),
        }
    }

    /// Returns the best route that the session has now.
    pub fn wakes_by(&self) -> Wake {
        if self.channel {
            Wake::Channel
        } else if self.readers.is_woken_by_plugin() {
            Wake::Plugin
        } else if self.readers.is_woken_by_waiter() {
            Wake::Waiter
        } else {
            self.readers.wake_of_route().unwrap_or(Wake::NextPrompt)
        }
    }

    /// Records that the MCP client said `initialized`.
    pub fn handle_initialized(&mut self, now: Instant) {
        self.initialized.get_or_insert(now);
    }

    /// Records that the MCP client was answered `tools/list`.
    pub fn handle_tools_listed(&mut self, now: Instant) {
        self.tools_listed.get_or_insert(now);
    }

    /// Takes in a question of another session, or what it tells. One that is known already is dropped.
    pub fn handle_ask(&mut self, ask_id: AskId, message: Message) {
        if !self.open.insert(ask_id) {
            return;
        }
        if self.announced_held {
            self.report(ask_id, AskState::Held, false);
        }
        self.waiting.push(Entry::new(Some(ask_id), message));
        self.offer();
    }

    /// Takes in what became of an own ask, broadcast or reply.
    pub fn handle_news(&mut self, message: Message) {
        self.waiting.push(Entry::new(None, message));
        self.offer();
    }

    /// Records that a received ask has ended. If it was not handed over yet, it never is.
    pub fn handle_closed(&mut self, now: Instant, ask_id: AskId, kind: AskKind) {
        // A tell may be read late: nobody waits for work on it.
        if self.open.remove(&ask_id) && kind == AskKind::Ask {
            self.ended.insert(now, ask_id);
        }
        self.given.forget(ask_id);
        self.added.forget(ask_id);
        self.waiting.retain(|entry| entry.ask != Some(ask_id));
    }

    /// Records that the reply of this session to an ask was taken.
    pub fn handle_replied(&mut self, ask_id: AskId) {
        self.open.remove(&ask_id);
    }

    /// Records that the session names a received ask in a reply: it has seen it.
    pub fn handle_answered(&mut self, ask_id: AskId) {
        self.given.forget(ask_id);
        self.added.forget(ask_id);
        self.report(ask_id, AskState::Shown, true);
    }

    /// Returns whether the text of a received ask is still to come to the session: it waits, or a reader, a result or an event
    /// that is not written yet has it.
    pub fn is_to_come(&self, ask_id: AskId) -> bool {
        let is_it = |entry: &Entry| entry.ask == Some(ask_id);
        let unwritten = self.calls.values().flatten().chain(&self.writing);
        self.waiting.iter().chain(unwritten).any(is_it) || self.readers.entries().any(is_it)
    }

    /// Says how far a received ask has come, if it is open. `is_final`: whether nothing further can be told of it.
    fn report(&mut self, ask_id: AskId, state: AskState, is_final: bool) {
        if self.open.contains(&ask_id) {
            self.progress.push_back(Progress { ask_id, state, is_final });
        }
    }

    /// Records what the session does.
    pub fn handle_activity(&mut self, now: Instant, activity: Activity) {
        self.readers.handle_activity(now, activity);
        self.unproven.handle_activity(activity);
        self.offer();
        self.announce_if_held();
    }

    /// Records a process that has connected to the session's socket.
    pub fn handle_hello(&mut self, now: Instant, by: ReaderId, hello: &Hello) {
        match hello.role {
            Role::Waiter => {
                self.unproven.handle_hooks_work();
                self.hook_follows = true;
                self.readers.handle_waiter(by);
            }
            Role::Plugin => self.readers.handle_plugin(by),
            Role::Hook => return self.handle_hook(now, by, hello),
            Role::Proxy => {}
        }
        self.offer();
        self.announce_if_held();
    }

    /// Records that the channel has a way of its own into the session, which may be only for one that is idle.
    pub fn handle_route(&mut self, wake: Wake, is_for_idle: bool) {
        self.readers.handle_route(wake, is_for_idle);
        self.offer();
        self.announce_if_held();
    }

    /// Records whether the agent has messages from the channel's own way into it that it has not shown yet.
    pub fn handle_route_full(&mut self, is_full: bool) {
        self.readers.handle_route_full(is_full);
        self.offer();
    }

    /// Takes a hook's receipts, and gives it what waits and has no better route.
    fn handle_hook(&mut self, now: Instant, by: ReaderId, hello: &Hello) {
        self.unproven.handle_hooks_work();
        self.handle_shown(hello.shown.iter().chain(&hello.showing));
        self.handle_stage(hello.stage);
        if hello.receipts_only {
            return self.readers.dismiss(by);
        }
        self.hook_follows = true;
        let ended = &mut self.ended;
        let lines: Vec<String> = hello.showing.iter().filter_map(|id| ended.take_line(now, id.parse().ok()?)).collect();
        let entries =
            if self.channel { Vec::new() } else { self.waiting.pop_for(readers::HOOK_BYTES, envelope::OVERHEAD_BYTES) };
        if entries.is_empty() && lines.is_empty() {
            return self.readers.dismiss(by);
        }
        let left = self.waiting.len();
        let receipt = if hello.stage.is_some() { Receipt::Request } else { Receipt::None };
        self.readers.deliver(by, entries, &lines, left, receipt);
    }

    /// Records how far a turn is to which hooks may have added messages.
    fn handle_stage(&mut self, stage: Option<Stage>) {
        match stage {
            Some(Stage::Request) => {
                self.requests_told = true;
                let shown = self.added.take_all();
                shown.into_iter().filter_map(|entry| entry.ask).for_each(|ask_id| self.handle_answered(ask_id));
            }
            Some(Stage::Begin) if self.requests_told => {
                let mut lost = self.added.take_all();
                lost.iter_mut().for_each(|entry| entry.message.mark_repeated());
                self.give_back_all(lost);
            }
            Some(Stage::Begin | Stage::Tool) | None => {}
        }
    }

    /// Records that messages went before the model.
    pub fn handle_shown<'a>(&mut self, ids: impl IntoIterator<Item = &'a String>) {
        for id in ids {
            self.given.take(id);
            if self.unproven.handle_receipt(id) {
                self.channel = true;
            }
            if let Ok(ask_id) = id.parse() {
                self.handle_answered(ask_id);
            }
        }
    }

    /// Records that the agent has lost these messages, which a plugin had given it: they are given again.
    pub fn handle_lost<'a>(&mut self, ids: impl IntoIterator<Item = &'a String>) {
        let mut lost: Vec<Entry> = ids.into_iter().filter_map(|id| self.given.take(id)).collect();
        lost.iter_mut().for_each(Entry::lose);
        self.give_back_all(lost);
        self.offer();
    }

    /// Records that a reader shows its batch.
    pub fn handle_taken(&mut self, now: Instant, by: ReaderId, batch: u64) {
        let (entries, receipt) = self.readers.handle_taken(now, by, batch);
        for entry in entries {
            self.handed_over(&entry, receipt != Receipt::None);
            match receipt {
                Receipt::Plugin => self.given.insert(entry),
                Receipt::Request => self.added.insert(entry),
                Receipt::None | Receipt::Prompt => {}
            }
        }
        self.offer();
    }

    /// Returns whether this is the plugin inside the session's agent, or the channel's own way into it.
    pub fn is_plugin(&self, reader: ReaderId) -> bool {
        self.readers.is_plugin(reader)
    }

    /// Tells a process of the session that there is nothing for it.
    pub fn dismiss(&mut self, reader: ReaderId) {
        self.readers.dismiss(reader);
    }

    /// Records that a reader has gone: what it did not take waits again.
    pub fn handle_reader_gone(&mut self, now: Instant, reader: ReaderId) {
        let returned = self.readers.handle_gone(now, reader);
        self.give_back_all(returned);
        self.offer();
        self.announce_if_held();
    }

    /// Takes the next message to be written as a channel event; one at a time, behind the results that were there before.
    pub fn take_for_channel(&mut self, now: Instant) -> Option<&Message> {
        if self.writing.is_some() || !self.channel || self.opens_at().is_none_or(|at| now < at) {
            return None;
        }
        if self.waiting.is_empty() {
            return None;
        }
        if !self.ahead.get_or_insert_with(|| self.unwritten.clone()).is_empty() {
            return None;
        }
        self.ahead = None;
        let entry = self.waiting.pop()?;
        Some(&self.writing.insert(entry).message)
    }

    /// Records that the channel event was written, or could not be: then no further one is tried.
    pub fn handle_channel_written(&mut self, now: Instant, written: bool) {
        let Some(entry) = self.writing.take() else { return };
        if written {
            self.handed_over(&entry, self.unproven.has_receipts());
            self.unproven.handle_written(now, entry);
        } else {
            self.give_back(entry);
            self.give_up_channel();
        }
    }

    fn give_up_channel(&mut self) {
        self.channel = false;
        self.offer();
        self.announce_if_held();
    }

    /// Takes the messages that go with the result of this tool call: those that have no better route. Where hooks run, one
    /// follows the call and shows them as every hook does, unless the call `fails`.
    pub fn take_for_call(&mut self, call: CallId, fails: bool) -> Batch {
        self.unwritten.insert(call);
        let left_to_hook = self.hook_follows && !fails && !self.waiting.is_empty();
        if left_to_hook || (self.channel && self.initialized.is_some()) {
            self.hook_follows &= !left_to_hook;
            return Batch::default();
        }
        let taken = self.waiting.pop_for(CALL_BYTES, envelope::OVERHEAD_BYTES);
        let messages = taken.iter().map(|entry| entry.message.clone()).collect();
        if !taken.is_empty() {
            self.calls.insert(call, taken);
        }
        Batch { messages, left: self.waiting.len() }
    }

    /// Records that the result of this tool call was written.
    pub fn handle_call_written(&mut self, call: CallId) {
        self.forget_result(call);
        for entry in self.calls.remove(&call).unwrap_or_default() {
            self.handed_over(&entry, false);
        }
    }

    /// Records that this tool call was cancelled and its result not written: its messages wait again.
    pub fn handle_call_cancelled(&mut self, call: CallId) {
        self.forget_result(call);
        let returned = self.calls.remove(&call).unwrap_or_default();
        self.give_back_all(returned);
        self.offer();
    }

    fn forget_result(&mut self, call: CallId) {
        self.unwritten.remove(&call);
        if let Some(ahead) = &mut self.ahead {
            ahead.remove(&call);
        }
    }

    /// Returns how far the next received ask has come, where that has changed.
    pub fn poll_progress(&mut self) -> Option<Progress> {
        self.progress.pop_front()
    }

    /// Returns what is to be done with a reader's connection next.
    pub fn poll_command(&mut self) -> Option<ReaderCommand> {
        self.readers.poll_command()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.readers.handle_timeout(now);
        if let Some(unseen) = self.unproven.handle_timeout(now) {
            tracing::warn!("Claude Code takes no channel events: going on without them");
            self.give_back_all(unseen);
            self.give_up_channel();
        }
        self.offer();
        self.announce_if_held();
    }

    /// Returns when something is due: [`Inbox::handle_timeout`], or the first channel events.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let waits = !self.waiting.is_empty() && self.channel && self.writing.is_none();
        let opens = self.opens_at().filter(|at| waits && now < *at);
        [opens, self.readers.poll_timeout(), self.unproven.poll_timeout()].into_iter().flatten().min()
    }

    fn opens_at(&self) -> Option<Instant> {
        let initialized = self.initialized?;
        Some(self.tools_listed.map_or(initialized, |listed| listed.max(initialized)) + FIRST_EVENT_DELAY)
    }

    /// Gives what waits to the reader that can wake the session.
    fn offer(&mut self) {
        if self.channel || self.waiting.is_empty() {
            return;
        }
        let Some(reader) = self.readers.free() else { return };
        let entries = if reader == ReaderId::ROUTE {
            self.waiting.pop_for_route(readers::ROUTE_BYTES, envelope::OVERHEAD_BYTES)
        } else if self.is_plugin(reader) {
            self.waiting.pop_for_plugin().into_iter().collect()
        } else {
            self.waiting.pop_for(readers::WAKE_BYTES, envelope::OVERHEAD_BYTES)
        };
        if entries.is_empty() {
            return;
        }
        let left = self.waiting.len();
        let receipt = self.readers.receipt(reader);
        self.readers.deliver(reader, entries, &[], left, receipt);
    }

    /// Says that the waiting asks are held, once nothing wakes the session any more.
    fn announce_if_held(&mut self) {
        let held = self.wakes_by() == Wake::NextPrompt;
        if held && !self.announced_held {
            let waiting: Vec<AskId> = self.waiting.iter().filter_map(|entry| entry.ask).collect();
            waiting.into_iter().for_each(|ask_id| self.report(ask_id, AskState::Held, false));
        }
        self.announced_held = held;
    }

    fn give_back_all(&mut self, entries: Vec<Entry>) {
        for entry in entries.into_iter().rev() {
            self.give_back(entry);
        }
    }

    fn give_back(&mut self, entry: Entry) {
        let closed = entry.ask.is_some_and(|ask_id| !self.open.contains(&ask_id));
        (!closed).then(|| self.waiting.give_back(entry));
    }

    /// `has_receipts`: whether a receipt is to come once the message goes before the model.
    fn handed_over(&mut self, entry: &Entry, has_receipts: bool) {
        if let Some(ask_id) = entry.ask {
            self.report(ask_id, AskState::HandedOver, !has_receipts);
        }
    }
}

#[cfg(test)]
mod tests;
