//! What the inbox leaves to the session's next channel: the messages that the session was not shown.

use serde::{Deserialize, Serialize};
use serde_json::Value;

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
pub(super) struct Parked {
    /// The received asks that are open.
    pub(super) open: Vec<AskId>,
    /// The messages that were not handed over, oldest first.
    pub(super) messages: Vec<ParkedMessage>,
}

/// A message.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ParkedMessage {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ask_id: Option<AskId>,
    content: String,
    meta: Meta,
}

impl ParkedMessage {
    pub(super) fn into_entry(self) -> Entry {
        Entry::new(self.ask_id, Message { content: self.content, meta: self.meta })
    }
}

/// Returns the value to be parked. Of messages that do not fit the text is left out, and said to be.
pub(super) fn park(open: Vec<AskId>, entries: impl Iterator<Item = Entry>) -> Value {
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
