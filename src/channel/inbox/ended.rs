//! Received asks that have ended lately, for a message that goes before the model only afterwards.

use std::collections::VecDeque;
use std::time::Instant;

use crate::protocol::AskId;

/// How many are remembered.
const REMEMBERED: usize = 256;

/// The received asks that ended last without a reply of this session.
#[derive(Debug, Default)]
pub(super) struct Ended(VecDeque<(AskId, Instant)>);

impl Ended {
    /// Records the end of an ask.
    pub(super) fn insert(&mut self, now: Instant, ask_id: AskId) {
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back((ask_id, now));
    }

    /// Returns what a session is told that is shown this ask now, once; none where it has not ended.
    pub(super) fn take_line(&mut self, now: Instant, ask_id: AskId) -> Option<String> {
        let at = self.0.iter().position(|(ended, _)| *ended == ask_id)?;
        let (_, since) = self.0.remove(at)?;
        let seconds = now.saturating_duration_since(since).as_secs();
        Some(format!(
            "claude-relay: the question {ask_id} has been over for {seconds} seconds. Nobody waits for an answer to it any \
             more: do not work on it and do not answer it."
        ))
    }
}
