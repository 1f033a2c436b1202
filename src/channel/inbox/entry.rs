//! One message that arrived for the session. Pure.

use crate::channel::notification::Message;
use crate::protocol::AskId;

/// How often a message is given to a plugin that its agent loses: whoever interrupts turn after turn wants quiet.
const LOSSES_MAX: u8 = 3;

/// A message, and the ask that it is.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// The received ask or tell that this message is; none for what became of own asks.
    pub(super) ask: Option<AskId>,
    pub(super) message: Message,
    /// How often the agent has lost it with an interrupted turn.
    losses: u8,
}

impl Entry {
    pub(super) const fn new(ask: Option<AskId>, message: Message) -> Self {
        Self { ask, message, losses: 0 }
    }

    /// Records that the agent has lost it.
    pub(super) fn lose(&mut self) {
        self.losses = self.losses.saturating_add(1);
    }

    /// Returns whether a plugin may be given it: else it waits for a relay tool call.
    pub(super) const fn is_for_plugin(&self) -> bool {
        self.losses < LOSSES_MAX
    }
}
