//! What a leaving channel of a session parks for the next one: the form of the value, and what fits into it. Pure.
//!
//! Times are what is left of them in milliseconds: no clock is known to both channels. The hub keeps the value for two
//! seconds at most, and tells the exact time of the asks that it knows. Of the others [`KEPT_MAX`] is taken off: an ask ends
//! a little early rather than after its deadline.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::protocol::{AskId, AskKind, BroadcastId, OwnAsk, PARKED_MAX_BYTES, Progress, Taken};

/// The longest time for which a hub keeps a parked value.
pub(super) const KEPT_MAX: Duration = Duration::from_secs(2);

/// The most bytes of JSON that the program's own part may have.
pub const PROGRAM_PART_MAX_BYTES: usize = 256 * 1024;

/// What the names of the members and the brackets around the lists may take, in bytes.
const FRAME_BYTES: usize = 256;

/// The value that is parked, beside the program's own part in the member `channel`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Parked {
    /// Own asks that a hub has accepted and that are open.
    pub(super) sent: Vec<ParkedAsk>,
    /// Own broadcasts of which asks are open.
    pub(super) broadcasts: Vec<ParkedBroadcast>,
    /// Own broadcasts that no hub has accepted: a hub that has done so meanwhile is told that nobody waits for their asks.
    pub(super) unaccepted: Vec<BroadcastId>,
    /// Replies that were taken, of which their repliers may not know.
    pub(super) taken: Vec<Taken>,
    /// Asks that came in and are open.
    pub(super) received: Vec<ParkedReceived>,
    /// Asks that came in and have ended, those first that ended last.
    pub(super) ended: Vec<ParkedEnded>,
    /// Replies that were not taken yet.
    pub(super) replies: Vec<ParkedReply>,
}

/// An own ask.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ParkedAsk {
    #[serde(flatten)]
    pub(super) ask: OwnAsk,
    /// The text, where there is room for it; that of a broadcast's ask stands in the broadcast.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) question: Option<String>,
}

/// An own broadcast: how its asks have ended so far.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ParkedBroadcast {
    pub(super) broadcast_id: BroadcastId,
    pub(super) replied: u64,
    pub(super) timed_out: u64,
    pub(super) gone: u64,
    pub(super) refused: u64,
    /// The text, where there is room for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) question: Option<String>,
}

/// An ask that came in and is open.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ParkedReceived {
    #[serde(flatten)]
    pub(super) progress: Progress,
    #[serde(default, skip_serializing_if = "AskKind::is_ask")]
    pub(super) kind: AskKind,
    pub(super) from: String,
    /// The beginning of the text.
    pub(super) excerpt: String,
    pub(super) timeout_ms: u64,
}

/// An ask that came in and has ended.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ParkedEnded {
    #[serde(flatten)]
    pub(super) progress: Progress,
    #[serde(default, skip_serializing_if = "AskKind::is_ask")]
    pub(super) kind: AskKind,
    pub(super) answered: bool,
}

/// A reply that was not taken yet.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ParkedReply {
    pub(super) ask_id: AskId,
    pub(super) to: String,
    pub(super) text: String,
    /// The hub that it was given to last.
    pub(super) hub: Option<u32>,
}

/// The room in a parked value.
#[derive(Debug)]
pub(super) struct Room {
    left: usize,
}

impl Room {
    /// Returns the room in an empty value.
    pub(super) const fn new() -> Self {
        Self { left: PARKED_MAX_BYTES - FRAME_BYTES }
    }

    /// Takes the room for this part of the value, if there is enough.
    pub(super) fn take(&mut self, part: &impl Serialize) -> bool {
        let mut counter = Counter(0);
        if serde_json::to_writer(&mut counter, part).is_err() {
            return false;
        }
        // A comma, or the name of the member.
        let bytes = counter.0 + 16;
        if bytes > self.left {
            return false;
        }
        self.left -= bytes;
        true
    }

    /// Returns the text if there is room for it.
    pub(super) fn take_text(&mut self, text: &str) -> Option<String> {
        self.take(&text).then(|| text.to_owned())
    }
}

/// Counts what is written to it.
struct Counter(usize);

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the value with the program's own part.
pub(super) fn join(parked: &Parked, program_part: Value) -> Value {
    let mut value = serde_json::to_value(parked).unwrap_or_default();
    if let Value::Object(members) = &mut value {
        members.insert("channel".to_owned(), program_part);
    }
    value
}

/// Returns the parts of a value: the ledger's, empty where it cannot be read, and the program's own.
pub(super) fn split(mut value: Value) -> (Parked, Option<Value>) {
    let program_part = value.as_object_mut().and_then(|members| members.remove("channel"));
    let program_part = program_part.filter(|part| !part.is_null());
    let parked = serde_json::from_value(value).unwrap_or_else(|error| {
        tracing::warn!(%error, "the channel before this one has parked something else than this version reads");
        Parked::default()
    });
    (parked, program_part)
}
