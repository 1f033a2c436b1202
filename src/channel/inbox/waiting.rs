//! The messages that wait for a route, oldest first, within the inbox's bounds. Pure.

use std::collections::VecDeque;

use super::entry::Entry;
use crate::channel::notification;
use crate::session::frame::IDS_MAX;

/// The most messages that wait: twice what the hub lets one session have open as asker and as asked, with their tallies.
pub const MESSAGES_MAX: usize = 4096;

/// The most bytes of waiting messages; over it a message is kept without its text.
pub const BYTES_MAX: usize = 32 * 1024 * 1024;

/// The messages that arrived and were not yet handed over.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    entries: VecDeque<Entry>,
    bytes: usize,
    dropped: u64,
}

impl Waiting {
    /// Returns how many wait.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether there is nothing to be told: neither a message nor that some were dropped.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.dropped == 0
    }

    /// Returns their bytes.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Adds the newest message. Over the bounds its text or the whole is dropped, which is told later.
    pub(super) fn push(&mut self, mut entry: Entry) {
        if self.entries.len() >= MESSAGES_MAX {
            self.dropped += 1;
            return;
        }
        if self.bytes + entry.message.bytes() > BYTES_MAX {
            entry.message = notification::text_dropped(&entry.message);
        }
        self.bytes += entry.message.bytes();
        self.entries.push_back(entry);
    }

    /// Puts back what was taken and not handed over.
    pub(super) fn give_back(&mut self, entry: Entry) {
        self.bytes += entry.message.bytes();
        self.entries.push_front(entry);
    }

    /// Keeps only those that are still wanted.
    pub(super) fn retain(&mut self, is_wanted: impl Fn(&Entry) -> bool) {
        let bytes = &mut self.bytes;
        self.entries.retain(|entry| {
            let wanted = is_wanted(entry);
            if !wanted {
                *bytes -= entry.message.bytes();
            }
            wanted
        });
    }

    /// Takes the oldest message.
    pub(super) fn pop(&mut self) -> Option<Entry> {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= entry.message.bytes();
            return Some(entry);
        }
        self.entries = VecDeque::new();
        let dropped = std::mem::take(&mut self.dropped);
        (dropped > 0).then(|| Entry::new(None, notification::overflow(dropped)))
    }

    /// Takes one message: each may belong into another conversation of the agent, and is lost and found alone.
    pub(super) fn pop_for_plugin(&mut self) -> Option<Entry> {
        let Some(at) = self.entries.iter().position(Entry::is_for_plugin) else {
            return if self.entries.is_empty() { self.pop() } else { None };
        };
        let entry = self.entries.remove(at)?;
        self.bytes -= entry.message.bytes();
        Some(entry)
    }

    /// Takes the messages for one turn of the session's conversation: those that fit into these bytes, and one that is larger
    /// if it comes first.
    pub(super) fn pop_for_route(&mut self, bytes: usize, overhead: usize) -> Vec<Entry> {
        let mut taken: Vec<Entry> = self.pop_for_plugin().into_iter().collect();
        let mut sum = taken.iter().map(|entry| entry.message.bytes() + overhead).sum::<usize>();
        while !taken.is_empty() && taken.len() < IDS_MAX {
            let Some(next) = self.entries.iter().find(|entry| entry.is_for_plugin()) else { break };
            sum += next.message.bytes() + overhead;
            if sum > bytes {
                break;
            }
            taken.extend(self.pop_for_plugin());
        }
        taken
    }

    /// Takes the messages that fit into these bytes, and one that is larger if it comes first. `overhead`: what each one
    /// costs beside its text.
    pub(super) fn pop_for(&mut self, bytes: usize, overhead: usize) -> Vec<Entry> {
        let mut taken = Vec::new();
        let mut sum = 0;
        loop {
            let next = self.entries.front().map_or(0, |entry| entry.message.bytes()) + overhead;
            if !taken.is_empty() && sum + next > bytes {
                return taken;
            }
            let Some(entry) = self.pop() else { return taken };
            sum += next;
            taken.push(entry);
        }
    }

    /// Takes all messages.
    pub(super) fn take(&mut self) -> VecDeque<Entry> {
        std::mem::take(self).entries
    }
}
