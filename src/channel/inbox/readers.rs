//! The processes that show messages to the session: its waiter, its hooks, its agent's plugin; and the batch that each has.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::entry::Entry;
use crate::channel::envelope;
use crate::channel::notification::Message;
use crate::protocol::{Activity, Wake};
use crate::session::ReaderId;
use crate::session::frame::{Deliver, IDS_MAX};

/// The bytes of messages in one wake: Claude Code 2.1.330 cuts the middle out of more than 100,000.
pub(super) const WAKE_BYTES: usize = 86 * 1024;

/// The bytes of messages that one hook adds, exceeded only by a single message: Claude Code puts what has more than 10,000
/// characters into a file and shows the first two thousand and the file's path (seen in 2.1.197 and 2.1.330).
pub(super) const HOOK_BYTES: usize = 9000;

/// The bytes of messages in one turn that the channel itself has started, exceeded only by a single message.
pub(super) const ROUTE_BYTES: usize = 32 * 1024;

/// The most bytes of one message in an envelope; the rest is cut, and said to be. A question or a reply of the most bytes
/// fits, unless much of it had to be neutralised.
const MESSAGE_MAX_BYTES: usize = 72 * 1024;

/// How long after a wake the next waiter may take, once the session is idle: it is started at the turn's end.
const SUCCESSOR_WAIT: Duration = Duration::from_secs(3);

/// The same where nothing tells what the session does.
const SUCCESSOR_WAIT_UNKNOWN: Duration = Duration::from_secs(60);

/// What is to be done with a reader's connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReaderCommand {
    /// Give it this batch.
    Deliver(ReaderId, Deliver),
    /// Tell it that nothing is left to do.
    End(ReaderId),
    /// Close its connection; what it wrote before counts.
    Close(ReaderId),
}

/// Who comes after a waiter that has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Successor {
    /// Nobody is expected.
    None,
    /// A waiter, at the end of the turn.
    AfterTurn,
    /// A waiter, until then.
    Until(Instant),
}

/// What tells that the messages of a batch went before the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Receipt {
    /// Nothing.
    None,
    /// A hook, since they start a turn.
    Prompt,
    /// The plugin.
    Plugin,
    /// The hook before the next request.
    Request,
}

/// The messages that a reader has and does not show yet.
#[derive(Debug)]
struct Given {
    batch: u64,
    entries: Vec<Entry>,
    receipt: Receipt,
}

/// The readers, and what is to be done with them.
#[derive(Debug)]
pub(super) struct Readers {
    waiter: Option<ReaderId>,
    /// Whether a waiter has ever come: then the end of each turn starts one.
    waiters_come: bool,
    successor: Successor,
    plugin: Option<ReaderId>,
    /// The channel's own way into the session, and whether it is only for one that is idle.
    route: Option<(Wake, bool)>,
    /// Whether the agent has not shown yet what it has from there.
    is_route_full: bool,
    activity: Activity,
    batches: BTreeMap<ReaderId, Given>,
    last_batch: u64,
    commands: VecDeque<ReaderCommand>,
}

impl Readers {
    pub(super) fn new() -> Self {
        Self {
            waiter: None,
            waiters_come: false,
            successor: Successor::None,
            plugin: None,
            route: None,
            is_route_full: false,
            activity: Activity::Unknown,
            batches: BTreeMap::new(),
            last_batch: 0,
            commands: VecDeque::new(),
        }
    }

    /// Returns whether a waiter is there, or comes at the end of the present turn.
    pub(super) fn is_woken_by_waiter(&self) -> bool {
        self.waiter.is_some() || self.successor != Successor::None
    }

    /// Returns whether a plugin is there.
    pub(super) fn is_woken_by_plugin(&self) -> bool {
        self.plugin.is_some()
    }

    /// Returns whether this is the plugin.
    pub(super) fn is_plugin(&self, reader: ReaderId) -> bool {
        self.plugin == Some(reader) || reader == ReaderId::ROUTE
    }

    /// Returns what the channel's own way into the session is, where it has one.
    pub(super) fn wake_of_route(&self) -> Option<Wake> {
        self.route.map(|(wake, _)| wake)
    }

    /// Returns the reader that can wake the session and has nothing to show yet.
    pub(super) fn free(&self) -> Option<ReaderId> {
        let is_idle = self.activity == Activity::Idle;
        let route = self.route.filter(|(_, is_for_idle)| !self.is_route_full && (is_idle || !is_for_idle));
        let route = route.map(|_| ReaderId::ROUTE);
        self.plugin.or(self.waiter).or(route).filter(|reader| !self.batches.contains_key(reader))
    }

    /// Records what the session does.
    pub(super) fn handle_activity(&mut self, now: Instant, activity: Activity) {
        if self.activity != activity {
            self.activity = activity;
            let turn_begins = activity == Activity::Busy && self.waiters_come && self.waiter.is_none();
            if turn_begins || self.successor != Successor::None {
                self.successor = successor(now, activity);
            }
        }
    }

    /// Records a new waiter, which ends the older one.
    pub(super) fn handle_waiter(&mut self, by: ReaderId) {
        self.waiters_come = true;
        self.successor = Successor::None;
        let former = self.waiter.replace(by);
        self.end(former);
    }

    /// Records a new plugin, which ends the older one.
    pub(super) fn handle_plugin(&mut self, by: ReaderId) {
        let former = self.plugin.replace(by);
        self.end(former);
    }

    /// Records that the channel has a way of its own into the session.
    pub(super) fn handle_route(&mut self, wake: Wake, is_for_idle: bool) {
        self.route = Some((wake, is_for_idle));
    }

    /// Records whether the agent has messages from there that it has not shown yet.
    pub(super) fn handle_route_full(&mut self, is_full: bool) {
        self.is_route_full = is_full;
    }

    fn end(&mut self, former: Option<ReaderId>) {
        if let Some(former) = former {
            self.commands.extend([ReaderCommand::End(former), ReaderCommand::Close(former)]);
        }
    }

    /// Tells a reader that there is nothing for it.
    pub(super) fn dismiss(&mut self, reader: ReaderId) {
        self.commands.push_back(ReaderCommand::End(reader));
    }

    /// Returns what tells that what this waiter or plugin shows went before the model.
    pub(super) fn receipt(&self, of: ReaderId) -> Receipt {
        if self.is_plugin(of) { Receipt::Plugin } else { Receipt::Prompt }
    }

    /// Gives a reader these messages and lines; `left` more messages wait.
    pub(super) fn deliver(
        &mut self,
        to: ReaderId,
        entries: Vec<Entry>,
        lines: &[String],
        left: usize,
        receipt: Receipt,
    ) {
        self.last_batch += 1;
        let cut = |entry: &Entry| {
            let mut message = entry.message.clone();
            envelope::cut(&mut message, MESSAGE_MAX_BYTES);
            message
        };
        let messages: Vec<Message> = entries.iter().map(cut).collect();
        let mut text = if messages.is_empty() { String::new() } else { envelope::wrap_all(messages.iter(), left) };
        for line in lines {
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(line);
        }
        let ids = messages.iter().filter_map(Message::id).take(IDS_MAX).map(str::to_owned).collect();
        self.batches.insert(to, Given { batch: self.last_batch, entries, receipt });
        self.commands.push_back(ReaderCommand::Deliver(to, Deliver { batch: self.last_batch, text, ids }));
    }

    /// Returns the messages that readers have and do not show yet.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.batches.values().flat_map(|given| &given.entries)
    }

    /// Records that a reader shows its batch. Returns the batch's messages, and what tells that they went before the model.
    pub(super) fn handle_taken(&mut self, now: Instant, by: ReaderId, batch: u64) -> (Vec<Entry>, Receipt) {
        let Some(given) = self.batches.get(&by).filter(|given| given.batch == batch) else {
            return (Vec::new(), Receipt::None);
        };
        let receipt = given.receipt;
        if self.waiter == Some(by) {
            self.waiter = None;
            self.successor = successor(now, self.activity);
        }
        (self.take_back(by), receipt)
    }

    /// Records that a reader has gone. Returns what it had and did not take.
    pub(super) fn handle_gone(&mut self, now: Instant, reader: ReaderId) -> Vec<Entry> {
        if self.waiter == Some(reader) {
            self.waiter = None;
            if self.activity == Activity::Busy {
                // It was killed in the middle of a turn: the turn's end starts another.
                self.successor = successor(now, self.activity);
            }
        }
        if self.plugin == Some(reader) {
            self.plugin = None;
        }
        if reader == ReaderId::ROUTE {
            self.route = None;
            self.is_route_full = false;
        }
        self.take_back(reader)
    }

    fn take_back(&mut self, from: ReaderId) -> Vec<Entry> {
        self.batches.remove(&from).map(|given| given.entries).unwrap_or_default()
    }

    pub(super) fn poll_command(&mut self) -> Option<ReaderCommand> {
        self.commands.pop_front()
    }

    /// Records that no waiter has come in time.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if matches!(self.successor, Successor::Until(at) if at <= now) {
            self.successor = Successor::None;
        }
    }

    pub(super) const fn poll_timeout(&self) -> Option<Instant> {
        match self.successor {
            Successor::Until(at) => Some(at),
            Successor::None | Successor::AfterTurn => None,
        }
    }
}

/// Returns until when the next waiter is expected. A dialog stands in the middle of a turn.
fn successor(now: Instant, activity: Activity) -> Successor {
    match activity {
        Activity::Busy | Activity::Waiting => Successor::AfterTurn,
        Activity::Idle => Successor::Until(now + SUCCESSOR_WAIT),
        Activity::Unknown => Successor::Until(now + SUCCESSOR_WAIT_UNKNOWN),
    }
}
