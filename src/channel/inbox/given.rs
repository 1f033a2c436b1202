//! What a plugin or a hook has given to its agent and the agent has not yet said to go before the model: it may be lost with
//! an interrupted turn, and is then given again. Pure.

use std::collections::VecDeque;

use super::entry::Entry;
use crate::protocol::AskId;

/// The most messages that are kept. Of older ones is not known any more that they were lost.
const KEPT_MAX: usize = 256;

/// The most bytes of them.
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// The messages, oldest first.
#[derive(Debug, Default)]
pub(super) struct Given {
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl Given {
    /// Records a message that was taken. One without an id has no receipt.
    pub(super) fn insert(&mut self, entry: Entry) {
        if entry.message.id().is_none() {
            return;
        }
        self.bytes += entry.message.bytes();
        self.entries.push_back(entry);
        while self.entries.len() > KEPT_MAX || self.bytes > BYTES_MAX {
            self.remove(0);
        }
    }

    /// Forgets the message with this id, and returns it.
    pub(super) fn take(&mut self, id: &str) -> Option<Entry> {
        self.remove(self.entries.iter().position(|entry| entry.message.id() == Some(id))?)
    }

    /// Forgets all, and returns them.
    pub(super) fn take_all(&mut self) -> Vec<Entry> {
        std::mem::take(self).entries.into()
    }

    /// Forgets a received ask that is over.
    pub(super) fn forget(&mut self, ask_id: AskId) {
        if let Some(at) = self.entries.iter().position(|entry| entry.ask == Some(ask_id)) {
            self.remove(at);
        }
    }

    fn remove(&mut self, at: usize) -> Option<Entry> {
        let entry = self.entries.remove(at)?;
        self.bytes -= entry.message.bytes();
        Some(entry)
    }
}
