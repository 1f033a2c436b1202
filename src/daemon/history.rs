//! The log lines of who asked whom and how it ended, written when the hub has nothing else to do: a line takes as long as
//! an ask does.
//!
//! So each says when it happened. Under load they gather up to a bound; beyond it the oldest are written at the end of each
//! turn, behind what goes to the clients. A hub that is killed takes those with it that have gathered.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tracing::Level;

use crate::hub::history::{Detail, Record, Recorded, TARGET, TEXT_TARGET};
use crate::protocol::AskKind;

/// How long nothing must have been recorded before the lines are written.
const QUIET: Duration = Duration::from_millis(20);

/// The most records that gather.
const GATHERED_MAX: usize = 512;

/// The most bytes of texts that gather.
const GATHERED_TEXT_MAX: usize = 64 * 1024;

/// How many lines are written in a turn when it is quiet: the journal may make each wait for a moment.
const PORTION: usize = 8;

/// The records whose lines are not written yet, each with its time.
#[derive(Debug, Default)]
pub(super) struct HistoryLog {
    records: VecDeque<(Instant, Record)>,
    text_bytes: usize,
    /// When it was quiet for long enough.
    due: Option<Instant>,
}

impl HistoryLog {
    /// Returns how much is logged in this process.
    pub(super) fn detail() -> Detail {
        if tracing::enabled!(target: TEXT_TARGET, Level::INFO) {
            Detail::Texts
        } else if tracing::enabled!(target: TARGET, Level::INFO) {
            Detail::Asks
        } else {
            Detail::Nothing
        }
    }

    /// Takes what happened at this time.
    pub(super) fn push(&mut self, now: Instant, record: Record) {
        self.text_bytes += text_of(&record).map_or(0, str::len);
        self.records.push_back((now, record));
        self.due = Some(now + QUIET);
    }

    /// Writes the lines that are too many.
    pub(super) fn bound(&mut self) {
        while self.records.len() > GATHERED_MAX || self.text_bytes > GATHERED_TEXT_MAX {
            self.write_oldest();
        }
    }

    /// Writes a portion of the lines if it was quiet for long enough.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.due.is_some_and(|due| due <= now) {
            for _ in 0..PORTION {
                self.write_oldest();
            }
        }
    }

    /// Returns when lines are to be written.
    pub(super) const fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// Writes all lines.
    pub(super) fn write_all(&mut self) {
        while self.due.is_some() {
            self.write_oldest();
        }
    }

    fn write_oldest(&mut self) {
        if let Some((at, record)) = self.records.pop_front() {
            self.text_bytes -= text_of(&record).map_or(0, str::len);
            write(millis(SystemTime::now() - at.elapsed()), &record);
        }
        if self.records.is_empty() {
            self.due = None;
        }
    }
}

fn text_of(record: &Record) -> Option<&str> {
    match &record.what {
        Recorded::Accepted { question: text, .. } | Recorded::Ended { reply: text, .. } => text.as_deref(),
    }
}

/// Returns the time in milliseconds of the Unix epoch.
fn millis(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn write(at_ms: u64, Record { ask_id, from, to, what }: &Record) {
    let (from, to) = (from.as_str(), to.as_str());
    match what {
        Recorded::Accepted { kind, timeout_ms, question } => {
            match kind {
                AskKind::Ask => tracing::info!(target: TARGET, at_ms, %ask_id, from, to, timeout_ms, "ask"),
                AskKind::Tell => tracing::info!(target: TARGET, at_ms, %ask_id, from, to, timeout_ms, "tell"),
            }
            if let Some(question) = question {
                tracing::info!(target: TEXT_TARGET, at_ms, %ask_id, question, "question");
            }
        }
        Recorded::Ended { outcome, state, duration_ms, reply } => {
            let (outcome, state) = (outcome.as_str(), state.as_str());
            tracing::info!(target: TARGET, at_ms, %ask_id, from, to, outcome, state, duration_ms, "outcome");
            if let Some(reply) = reply {
                tracing::info!(target: TEXT_TARGET, at_ms, %ask_id, reply, "reply");
            }
        }
    }
}
