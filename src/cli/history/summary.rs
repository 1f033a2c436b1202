//! How many asks and tells there were, and how they ended: for each day, and in it for each who asked whom.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{Local, NaiveDate};
use serde::Serialize;

use super::record::{End, Record};
use crate::cli::wording;
use crate::protocol::{AskKind, AskOutcome, AskState};

/// How many asks and tells there were and how they ended. The kinds of ends sum to `asks` and `tells` together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    asks: usize,
    tells: usize,
    replied: usize,
    shown: usize,
    handed_over: usize,
    timed_out: usize,
    gone: usize,
    withdrawn: usize,
    unconfirmed: usize,
    open: usize,
    unrecorded: usize,
    /// The time that the middle one of the answers took, in milliseconds.
    median_ms: Option<u64>,
    #[serde(skip)]
    took: Vec<Duration>,
}

impl Counts {
    fn add(&mut self, record: &Record) {
        match record.kind {
            AskKind::Ask => self.asks += 1,
            AskKind::Tell => self.tells += 1,
        }
        let kind = match record.end {
            End::Ended { outcome: AskOutcome::Reply, took, .. } => {
                self.took.push(took);
                &mut self.replied
            }
            End::Ended { outcome: AskOutcome::Shown, .. } => &mut self.shown,
            End::Ended { outcome: AskOutcome::HandedOver, .. } => &mut self.handed_over,
            End::Ended { outcome: AskOutcome::Timeout, .. } => &mut self.timed_out,
            End::Ended { outcome: AskOutcome::PeerGone, .. } => &mut self.gone,
            End::Ended { outcome: AskOutcome::Withdrawn, .. } => &mut self.withdrawn,
            End::Ended { outcome: AskOutcome::Unconfirmed, .. } => &mut self.unconfirmed,
            End::Open => &mut self.open,
            End::Unrecorded => &mut self.unrecorded,
        };
        *kind += 1;
    }

    fn finish(&mut self) {
        self.took.sort_unstable();
        let middle = self.took.get(self.took.len() / 2);
        self.median_ms = middle.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    }

    /// Returns them in words: `3 asks, 1 tell: 2 answered (median 4.2s), 1 shown, 1 timed out`.
    pub(super) fn words(&self) -> String {
        let median = self.median_ms.map(|ms| wording::latency(Duration::from_millis(ms)));
        let answered = median.map_or_else(String::new, |median| format!(" (median {median})"));
        let kinds = [
            (self.replied, format!("answered{answered}")),
            (self.shown, "shown".to_owned()),
            (self.handed_over, AskState::HandedOver.in_short().to_owned()),
            (self.timed_out, "timed out".to_owned()),
            (self.gone, "peer gone".to_owned()),
            (self.withdrawn, "withdrawn".to_owned()),
            (self.unconfirmed, "unconfirmed".to_owned()),
            (self.open, "open".to_owned()),
            (self.unrecorded, "without a logged end".to_owned()),
        ];
        let kinds = kinds.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}"));
        let counted = [(self.asks, "ask"), (self.tells, "tell")];
        let counted = counted.iter().filter(|(n, _)| *n > 0).map(|(n, noun)| wording::count(*n, noun));
        format!("{}: {}", counted.collect::<Vec<_>>().join(", "), kinds.collect::<Vec<_>>().join(", "))
    }
}

/// One who asked another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Pair {
    /// Who asked.
    pub(super) from: String,
    /// Who was asked.
    pub(super) to: String,
    /// How often, and what came of it.
    #[serde(flatten)]
    pub(super) counts: Counts,
}

/// A day of the local calendar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Day {
    /// Which.
    pub(super) day: NaiveDate,
    /// All asks that were asked on it.
    #[serde(flatten)]
    pub(super) counts: Counts,
    /// Those who asked, the busiest first.
    pub(super) pairs: Vec<Pair>,
}

/// Who asked whom, and what came of it.
type Pairs<'a> = BTreeMap<(&'a str, &'a str), Counts>;

/// Returns the days on which something was asked.
pub(super) fn days(records: &[Record]) -> Vec<Day> {
    let mut days: BTreeMap<NaiveDate, (Counts, Pairs<'_>)> = BTreeMap::new();
    for record in records {
        let day = record.asked_at.with_timezone(&Local).date_naive();
        let (all, pairs) = days.entry(day).or_default();
        all.add(record);
        pairs.entry((&record.from, &record.to)).or_default().add(record);
    }
    let days = days.into_iter().map(|(day, (mut counts, pairs))| {
        counts.finish();
        let pairs = pairs.into_iter().map(|((from, to), mut counts)| {
            counts.finish();
            Pair { from: from.to_owned(), to: to.to_owned(), counts }
        });
        let mut pairs: Vec<Pair> = pairs.collect();
        // Stable: those with the same count stay by name.
        pairs.sort_by_key(|pair| std::cmp::Reverse(pair.counts.asks + pair.counts.tells));
        Day { day, counts, pairs }
    });
    days.collect()
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeZone};

    use super::*;
    use crate::protocol::{AskId, AskState};

    fn record(day: u32, from: &str, end: End) -> Record {
        let asked_at: DateTime<chrono::Utc> = Local.with_ymd_and_hms(2026, 3, day, 12, 0, 0).unwrap().to_utc();
        let (from, to) = (from.to_owned(), "backend".to_owned());
        Record { ask_id: AskId::from_bits(1), kind: AskKind::Ask, from, to, asked_at, end, question: None, reply: None }
    }

    fn ended(outcome: AskOutcome, seconds: u64) -> End {
        End::Ended { outcome, state: AskState::Shown, took: Duration::from_secs(seconds) }
    }

    #[test]
    fn each_day_counts_its_asks_by_their_ends_and_by_who_asked() {
        let records = [
            record(1, "web", ended(AskOutcome::Reply, 2)),
            record(2, "api", ended(AskOutcome::Withdrawn, 1)),
            record(2, "web", ended(AskOutcome::Reply, 1)),
            record(2, "web", ended(AskOutcome::Reply, 4)),
            record(2, "web", ended(AskOutcome::Reply, 40)),
            record(2, "web", ended(AskOutcome::Timeout, 9)),
            record(2, "web", ended(AskOutcome::PeerGone, 9)),
            Record { kind: AskKind::Tell, ..record(2, "web", ended(AskOutcome::Shown, 1)) },
            record(2, "web", End::Open),
            record(2, "web", End::Unrecorded),
        ];
        let told: Vec<String> = days(&records)
            .iter()
            .map(|day| {
                let pairs =
                    day.pairs.iter().map(|pair| format!("\n  {} → {}  {}", pair.from, pair.to, pair.counts.words()));
                format!("{}  {}{}", day.day, day.counts.words(), pairs.collect::<String>())
            })
            .collect();
        insta::assert_snapshot!(told.join("\n"), @"
        2026-03-01  1 ask: 1 answered (median 2.0s)
          web → backend  1 ask: 1 answered (median 2.0s)
        2026-03-02  8 asks, 1 tell: 3 answered (median 4.0s), 1 shown, 1 timed out, 1 peer gone, 1 withdrawn, 1 open, 1 without a logged end
          web → backend  7 asks, 1 tell: 3 answered (median 4.0s), 1 shown, 1 timed out, 1 peer gone, 1 open, 1 without a logged end
          api → backend  1 ask: 1 withdrawn
        ");
    }
}
