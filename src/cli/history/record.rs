//! What the log has of each ask, put together from the lines about it.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::cli::logs::{Entry, text_of};
use crate::hub::history::{TARGET, TEXT_TARGET};
use crate::protocol::{AskId, AskKind, AskOutcome, AskState};

/// How an ask stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It has ended.
    Ended {
        /// How.
        outcome: AskOutcome,
        /// How far it had come.
        state: AskState,
        /// After which time.
        took: Duration,
    },
    /// It may still be answered.
    Open,
    /// Its time has passed, and no hub has logged how it ended.
    Unrecorded,
}

impl End {
    /// Returns whether whoever asked got no answer for which they still waited.
    pub(super) const fn is_failure(self) -> bool {
        match self {
            Self::Ended { outcome, .. } => {
                matches!(outcome, AskOutcome::Timeout | AskOutcome::PeerGone | AskOutcome::Unconfirmed)
            }
            Self::Open => false,
            Self::Unrecorded => true,
        }
    }
}

/// One ask or tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// It.
    pub(super) ask_id: AskId,
    /// Whether an answer was wanted.
    pub(super) kind: AskKind,
    /// Who asked.
    pub(super) from: String,
    /// Who was asked.
    pub(super) to: String,
    /// When.
    pub(super) asked_at: DateTime<Utc>,
    /// How it stands.
    pub(super) end: End,
    /// The question, where texts are logged.
    pub(super) question: Option<String>,
    /// The answer, where texts are logged.
    pub(super) reply: Option<String>,
}

/// What is known of an ask or a tell while lines are read.
#[derive(Debug, Default)]
struct Known {
    kind: AskKind,
    from: String,
    to: String,
    asked_at: Option<DateTime<Utc>>,
    deadline: Option<DateTime<Utc>>,
    ended: Option<(DateTime<Utc>, AskOutcome, AskState)>,
    question: Option<String>,
    reply: Option<String>,
}

/// The asks that were met so far.
#[derive(Debug, Default)]
pub(super) struct Records {
    asks: BTreeMap<AskId, Known>,
    /// How many entries are not in the log, since nobody took them.
    dropped: i64,
}

impl Records {
    /// Takes a line of the log into account. What is not about an ask is passed over.
    ///
    /// An ask that outlives its hub is logged again by the next one, and may be ended by both: it began with the first
    /// line, and ended as its asker heard last.
    pub(super) fn add(&mut self, entry: &Entry) {
        self.dropped += number(entry, "dropped").unwrap_or(0);
        let Some(ask_id) = parsed::<AskId>(entry, "ask_id") else { return };
        let text = |name: &str| text_of(entry.fields.get(name));
        // The hub logs when it has nothing else to do.
        let at = number(entry, "at_ms").and_then(DateTime::from_timestamp_millis).unwrap_or(entry.at);
        let known = || (text("from"), text("to"));
        match (entry.target.as_str(), entry.message.as_str(), known()) {
            (TARGET, word @ ("ask" | "tell"), (Some(from), Some(to))) => {
                let known = self.asks.entry(ask_id).or_default();
                (known.from, known.to) = (from, to);
                known.kind = if word == "tell" { AskKind::Tell } else { AskKind::Ask };
                known.asked_at = Some(known.asked_at.map_or(at, |first| first.min(at)));
                known.deadline = number(entry, "timeout_ms").and_then(|ms| after(at, ms));
            }
            (TARGET, "outcome", (Some(from), Some(to))) => {
                let (Some(outcome), Some(state)) = (parsed(entry, "outcome"), parsed(entry, "state")) else { return };
                let began = number(entry, "duration_ms").and_then(|ms| after(at, -ms)).unwrap_or(at);
                let known = self.asks.entry(ask_id).or_default();
                (known.from, known.to) = (from, to);
                if matches!(outcome, AskOutcome::Shown | AskOutcome::HandedOver) {
                    known.kind = AskKind::Tell;
                }
                known.asked_at = Some(known.asked_at.map_or(began, |first| first.min(began)));
                known.ended = Some((at, outcome, state));
            }
            (TEXT_TARGET, "question", _) => self.asks.entry(ask_id).or_default().question = text("question"),
            (TEXT_TARGET, "reply", _) => self.asks.entry(ask_id).or_default().reply = text("reply"),
            _ => {}
        }
    }

    /// Returns how many entries are not in the log, since it had no room for them.
    pub(super) const fn dropped(&self) -> i64 {
        self.dropped
    }

    /// Returns the asks, by the time at which they were asked.
    pub(super) fn finish(self, now: DateTime<Utc>) -> Vec<Record> {
        let records = self.asks.into_iter().filter_map(|(ask_id, known)| {
            let asked_at = known.asked_at?;
            let end = match known.ended {
                Some((at, outcome, state)) => {
                    End::Ended { outcome, state, took: (at - asked_at).to_std().unwrap_or_default() }
                }
                None if known.deadline.is_some_and(|deadline| deadline > now) => End::Open,
                None => End::Unrecorded,
            };
            let Known { kind, from, to, question, reply, .. } = known;
            Some(Record { ask_id, kind, from, to, asked_at, end, question, reply })
        });
        let mut records: Vec<Record> = records.collect();
        records.sort_by_key(|record| (record.asked_at, record.ask_id));
        records
    }
}

/// Reads a field by the name that the protocol has for its value.
fn parsed<T: DeserializeOwned>(entry: &Entry, name: &str) -> Option<T> {
    serde_json::from_value(Value::String(text_of(entry.fields.get(name))?)).ok()
}

/// Reads a number: the journal has text, files have numbers.
fn number(entry: &Entry, name: &str) -> Option<i64> {
    let value = entry.fields.get(name)?;
    value.as_i64().or_else(|| text_of(Some(value))?.parse().ok())
}

fn after(at: DateTime<Utc>, milliseconds: i64) -> Option<DateTime<Utc>> {
    at.checked_add_signed(TimeDelta::try_milliseconds(milliseconds)?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const A: &str = "0000-0000-0001";
    const B: &str = "0000-0000-0002";

    fn entry(second: u32, target: &str, message: &str, fields: Value) -> Entry {
        let mut line = json!({
            "timestamp": format!("2026-03-01T12:00:{second:02}Z"), "level": "INFO", "target": target, "message": message,
        });
        line.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        Entry::of_file(&line.to_string(), "relay-hub", DateTime::UNIX_EPOCH)
    }

    fn ask(second: u32, id: &str, timeout_ms: u64) -> Entry {
        let fields = json!({"ask_id": id, "from": "web", "to": "backend", "timeout_ms": timeout_ms});
        entry(second, TARGET, "ask", fields)
    }

    fn outcome(second: u32, id: &str, outcome: &str, duration_ms: u64) -> Entry {
        let mut fields = json!({"ask_id": id, "from": "web", "to": "backend", "outcome": outcome, "state": "shown"});
        fields["duration_ms"] = json!(duration_ms);
        entry(second, TARGET, "outcome", fields)
    }

    fn ends(entries: &[Entry], now_second: u32) -> Vec<End> {
        let mut records = Records::default();
        entries.iter().for_each(|entry| records.add(entry));
        let now = format!("2026-03-01T12:00:{now_second:02}Z").parse().unwrap();
        records.finish(now).into_iter().map(|record| record.end).collect()
    }

    fn ended(outcome: AskOutcome, seconds: u64) -> End {
        End::Ended { outcome, state: AskState::Shown, took: Duration::from_secs(seconds) }
    }

    #[test]
    fn an_ask_has_the_outcome_that_was_logged_of_it() {
        let log =
            [ask(1, A, 60_000), ask(2, B, 60_000), outcome(5, B, "timeout", 3_000), outcome(9, A, "reply", 8_000)];
        assert_eq!(ends(&log, 30), [ended(AskOutcome::Reply, 8), ended(AskOutcome::Timeout, 3)]);
    }

    #[test]
    fn an_ask_that_outlives_its_hub_is_one_and_lasts_from_its_first_line_to_its_last() {
        let log =
            [ask(1, A, 60_000), ask(10, A, 51_000), outcome(12, A, "peer_gone", 2_000), outcome(14, A, "reply", 1)];
        assert_eq!(ends(&log, 30), [ended(AskOutcome::Reply, 13)]);
    }

    #[test]
    fn an_ask_without_an_outcome_is_open_until_its_time_has_passed() {
        let log = [ask(1, A, 20_000)];
        assert_eq!(ends(&log, 15), [End::Open]);
        assert_eq!(ends(&log, 25), [End::Unrecorded]);
        assert!(End::Unrecorded.is_failure() && !End::Open.is_failure());
    }

    #[test]
    fn a_tell_is_known_by_its_line_and_by_how_only_tells_end() {
        let fields = json!({"ask_id": A, "from": "web", "to": "backend", "timeout_ms": 60_000});
        let mut records = Records::default();
        records.add(&entry(1, TARGET, "tell", fields));
        records.add(&outcome(2, A, "withdrawn", 1_000));
        records.add(&outcome(3, B, "handed_over", 1_000));
        let kinds: Vec<AskKind> = records.finish(DateTime::UNIX_EPOCH).iter().map(|record| record.kind).collect();
        assert_eq!(kinds, [AskKind::Tell, AskKind::Tell]);
    }

    #[test]
    fn a_line_that_was_logged_late_says_when_it_happened() {
        let mut records = Records::default();
        let at_ms = |second: i64| {
            DateTime::parse_from_rfc3339("2026-03-01T12:00:00Z").unwrap().timestamp_millis() + second * 1000
        };
        let asked = json!({"ask_id": A, "from": "web", "to": "api", "timeout_ms": 60_000, "at_ms": at_ms(1)});
        let ended =
            json!({"ask_id": A, "from": "web", "to": "api", "outcome": "reply", "state": "shown", "at_ms": at_ms(4)});
        records.add(&entry(8, TARGET, "ask", asked));
        records.add(&entry(9, TARGET, "outcome", ended));
        let records = records.finish(DateTime::UNIX_EPOCH);
        assert_eq!(
            (records[0].asked_at.timestamp_millis(), records[0].end),
            (at_ms(1), self::ended(AskOutcome::Reply, 3))
        );
    }

    #[test]
    fn an_outcome_alone_tells_when_its_ask_began() {
        assert_eq!(ends(&[outcome(9, A, "withdrawn", 4_000)], 30), [ended(AskOutcome::Withdrawn, 4)]);
    }

    #[test]
    fn texts_belong_to_their_ask_and_other_lines_to_none() {
        let mut records = Records::default();
        records.add(&ask(1, A, 1));
        records.add(&entry(1, TEXT_TARGET, "question", json!({"ask_id": A, "question": "green?"})));
        records.add(&entry(2, TEXT_TARGET, "reply", json!({"ask_id": A, "reply": "yes"})));
        records.add(&entry(2, "relay::hub", "ask", json!({"ask_id": B, "from": "x", "to": "y"})));
        records.add(&entry(2, TARGET, "ask", json!({"ask_id": "no id", "from": "x", "to": "y"})));
        let records = records.finish(DateTime::UNIX_EPOCH);
        assert_eq!(records.len(), 1);
        assert_eq!((records[0].question.as_deref(), records[0].reply.as_deref()), (Some("green?"), Some("yes")));
    }
}
