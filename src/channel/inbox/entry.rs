//! One message that arrived for the session. Pure.

use crate::channel::notification::Message;
use crate::protocol::AskId;

/// A message, and the ask that it is.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// The received ask or tell that this message is; none for what became of own asks.
    pub(super) ask: Option<AskId>,
    pub(super) message: Message,
}
