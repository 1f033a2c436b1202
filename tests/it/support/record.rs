//! What some sessions' MCP clients saw, which hubs ran meanwhile, and how long processes were kept from running.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

/// Everything that was seen. All times count from one start.
#[derive(Debug, Clone, Default)]
pub(crate) struct Record {
    pub(crate) sessions: Vec<Log>,
    /// The hubs that were seen to run, in order.
    pub(crate) lives: Vec<Life>,
    /// How long the sessions' and the hubs' processes had been kept from running in all, up to some moments, in their
    /// order.
    pub(crate) waited: Vec<(Duration, Duration)>,
    /// Until when the sessions asked and listed; after that they only answer.
    pub(crate) asked_until: Duration,
    /// When the hubs were looked for last.
    pub(crate) end: Duration,
}

impl Record {
    /// Returns when a time from `from` on has passed that no process was kept from running.
    pub(crate) fn granted(&self, from: Duration, span: Duration) -> Duration {
        let mut to = from + span;
        loop {
            let granted = from + span + self.waited(from, to);
            if granted <= to {
                return to;
            }
            to = granted;
        }
    }

    /// Returns how long processes were kept from running between two moments.
    fn waited(&self, from: Duration, to: Duration) -> Duration {
        let waited = &self.waited;
        let before = waited[..waited.partition_point(|(at, _)| *at <= from)].last();
        let after = waited.get(waited.partition_point(|(at, _)| *at < to)).or(waited.last());
        let total = |sample: Option<&(Duration, Duration)>| sample.map_or(Duration::ZERO, |(_, total)| *total);
        total(after).saturating_sub(total(before))
    }
}

/// The time from when a hub was first seen to run to when it was last seen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Life {
    pub(crate) from: Duration,
    pub(crate) until: Duration,
}

/// What one session's MCP client saw.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log {
    pub(crate) name: String,
    pub(crate) calls: Vec<Called>,
    pub(crate) events: Vec<Shown>,
}

/// A tool call.
#[derive(Debug, Clone)]
pub(crate) struct Called {
    pub(crate) tool: &'static str,
    pub(crate) arguments: Value,
    pub(crate) sent: Duration,
    pub(crate) answer: Option<Answered>,
}

/// The result of a tool call.
#[derive(Debug, Clone)]
pub(crate) struct Answered {
    pub(crate) at: Duration,
    pub(crate) json: Value,
    pub(crate) is_error: bool,
}

/// A channel event.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) at: Duration,
    pub(crate) content: String,
    pub(crate) meta: BTreeMap<String, String>,
}

impl Shown {
    pub(crate) fn get(&self, key: &str) -> &str {
        self.meta.get(key).map_or("", String::as_str)
    }
}
