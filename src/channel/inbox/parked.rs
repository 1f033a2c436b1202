//! What the inbox leaves to the session's next channel: the messages that the session was not shown.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Inbox;
use super::entry::Entry;
use crate::channel::meta::Meta;
use crate::channel::notification::{self, Message};
use crate::client::PROGRAM_PART_MAX_BYTES;
use crate::protocol::AskId;

/// What the brackets and the names of the members may take, in bytes.
const FRAME_BYTES: usize = 64;

/// What an open ask takes, in bytes.
const ASK_BYTES: usize = 17;

/// The value that is parked.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Parked {
    /// The received asks that are open.
    open: Vec<AskId>,
    /// The messages that were not handed over, oldest first.
    messages: Vec<ParkedMessage>,
}

/// A message.
#[derive(Debug, Serialize, Deserialize)]
struct ParkedMessage {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ask_id: Option<AskId>,
    content: String,
    meta: Meta,
}

impl ParkedMessage {
    fn into_entry(self) -> Entry {
        Entry::new(self.ask_id, Message { content: self.content, meta: self.meta })
    }
}

impl Inbox {
    /// Takes over what the session's channel before this one has parked.
    pub fn handle_parked(&mut self, value: Value) {
        let Parked { open, messages } = match serde_json::from_value(value) {
            Ok(parked) => parked,
            Err(error) => {
                tracing::error!(%error, "what the channel before this one has parked cannot be read");
                return;
            }
        };
        self.open.extend(open);
        // They are older than what has come since.
        for message in messages.into_iter().rev() {
            self.give_back(message.into_entry());
        }
        self.offer();
    }

    /// Returns what the session's next channel must know: what is open and which messages were not handed over. To be called
    /// when all readers have gone.
    pub fn park(&mut self) -> Value {
        let calls = std::mem::take(&mut self.calls);
        let returned = calls.into_values().flatten();
        let entries = self.writing.take().into_iter().chain(returned).chain(self.waiting.take());
        let open = &self.open;
        let wanted = entries.filter(|entry| entry.ask.is_none_or(|ask_id| open.contains(&ask_id)));
        park(open.iter().copied().collect(), wanted)
    }
}

/// Returns the value to be parked. Of messages that do not fit the text is left out, and said to be.
fn park(open: Vec<AskId>, entries: impl Iterator<Item = Entry>) -> Value {
    let mut room = PROGRAM_PART_MAX_BYTES.saturating_sub(FRAME_BYTES + ASK_BYTES * open.len());
    let mut parked = Parked { open, messages: Vec::new() };
    for Entry { ask, message, .. } in entries {
        for message in [notification::text_dropped(&message), message].into_iter().rev() {
            let message = ParkedMessage { ask_id: ask, content: message.content, meta: message.meta };
            let bytes = serde_json::to_vec(&message).map_or(usize::MAX, |json| json.len() + 1);
            if bytes <= room {
                room -= bytes;
                parked.messages.push(message);
                break;
            }
        }
    }
    serde_json::to_value(parked).unwrap_or_default()
}
