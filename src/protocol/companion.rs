//! A session's other connections: its waiter and its hooks, and what goes between them and the channel.

use serde::{Deserialize, Serialize};

use super::id::PeerTag;

/// The most bytes of an offer's text, as UTF-8. Claude Code shows a waiter's text whole up to 100 KB (seen in 2.1.330).
pub const OFFER_MAX_BYTES: usize = 96 * 1024;

/// The most receipts that one hook reports.
pub const RECEIPTS_MAX: usize = 64;

/// The process of a session's client: what its channel, its waiter and its hooks have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ClientProcess {
    /// Its process id.
    pub pid: u32,
    /// When it was started, in a unit of the system's own: tells it from a later process with the same id.
    pub start: u64,
}

/// What a waiter or a hook says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompanionFacts {
    /// The client's process.
    #[serde(flatten)]
    pub process: ClientProcess,
    /// The batch that it holds and has had no verdict for: said after a reconnect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holding: Option<u64>,
    /// What the client is about to put before the model, as far as it came from the channel.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub receipts: Vec<Receipt>,
}

/// Tells that one message of the channel goes before the model.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Receipt {
    /// What kind of message it is: `ask`, `reply`, `failed`, `tally`.
    pub kind: String,
    /// The ask that it belongs to, or for a tally the broadcast.
    pub of: String,
}

/// Text for the session, from its channel to one of its companions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The companion.
    pub to: PeerTag,
    /// A number of the channel's choice, different for each text.
    pub batch: u64,
    /// The text, at most [`OFFER_MAX_BYTES`].
    pub text: String,
}

/// The channel's last word on a batch: only one that is to be shown may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The companion.
    pub to: PeerTag,
    /// The batch; without one there is nothing for the companion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<u64>,
    /// Whether the companion shows it and ends, or forgets it.
    pub show: bool,
}
