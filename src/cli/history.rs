//! `relayctl history`: who asked or told whom, and how each ended, from what the hub has logged.

use std::path::PathBuf;

use chrono::{DateTime, Local, SecondsFormat, TimeDelta, Utc};
use clap::Args;
use clap_complete::ArgValueCompleter;
use serde::Serialize;

use super::completions::session_names;
use super::error::{CliError, Exit};
use super::interrupt::Interrupt;
use super::logs::{Entry, Source, Wanted, since};
use super::output::{Format, Line, Output, visible_line};
use super::{Context, wording};
use crate::hub::history::{TARGET, TEXT_TARGET};
use crate::paths::Environment;
use crate::protocol::{AskId, AskKind, AskOutcome, AskState, PeerName};

mod record;
mod summary;

use record::{End, Record, Records};
use summary::{Day, days};

/// Show who asked or told whom and how each ended, from what the hub has logged
///
/// A line for each ask and each tell, and one for each day. Texts of questions and answers are there only if the hub had
/// RELAY_LOG_TEXT=1 in its environment.
#[derive(Debug, Args)]
pub(super) struct HistoryArgs {
    /// Show what this session asked or was asked; shell means relayctl
    #[arg(long, value_name = "NAME", add = ArgValueCompleter::new(session_names))]
    with: Option<String>,
    /// Show what was asked since then: 10m, 2h, 2026-02-28, "2026-02-28 09:30" [default: 1day]
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<DateTime<Utc>>,
    /// Show only what was not answered in time, whose session went away, or whose end no hub has logged
    #[arg(long)]
    failed: bool,
    /// Show for each day who asked whom how often, and no single asks
    #[arg(long)]
    summary: bool,
    /// Read the daily files in this directory, instead of where the hub logs to as the system shows it
    #[arg(long, value_name = "DIR")]
    files: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
}

/// The lines that are read.
const TARGETS: &[&str] = &[TARGET, TEXT_TARGET];

impl HistoryArgs {
    /// Prints the asks and the days. None is no failure.
    ///
    /// # Errors
    /// The log cannot be read, or nobody keeps one.
    pub(super) async fn run(self, context: &mut Context) -> Result<Exit, CliError> {
        context.out.use_json(self.format.json);
        let environment = Environment::of_process();
        let source = Source::find(self.files.clone(), &environment)?;
        let now = Utc::now();
        let since = self.since.unwrap_or(now - TimeDelta::days(1));
        let wanted = Wanted { follow: false, since: Some(since), lines: None, targets: TARGETS };
        let mut interrupt = Interrupt::listen()?;
        let mut records = Records::default();
        let mut add = |entry: Entry| {
            records.add(&entry);
            Ok(())
        };
        tokio::select! {
            read = source.read(&environment, wanted, &mut add) => read?,
            signal = interrupt.wait() => return Err(CliError::Signalled(signal)),
        }
        let dropped = records.dropped();
        let mut records = records.finish(now);
        // What was asked before that time may have ended since.
        records.retain(|record| record.asked_at >= since && self.wants(record));
        self.show(&records, &mut context.out)?;
        if dropped > 0 {
            let said = format!("{dropped} log entries were dropped in that time: asks may be missing, or their ends");
            context.out.say(&Line::of(&said));
        }
        if records.is_empty() {
            context.out.say(&Line::of(&format!("no ask or tell of that kind and time is in {}", source.place())));
        }
        Ok(Exit::Done)
    }

    fn wants(&self, record: &Record) -> bool {
        let name = self.with.as_ref().map(|text| {
            PeerName::try_from(text.clone())
                .map_or_else(|_reserved| text.trim().to_lowercase(), |name| name.to_string())
        });
        let concerns = name.is_none_or(|name| record.from == name || record.to == name);
        concerns && (!self.failed || record.end.is_failure())
    }

    fn show(&self, records: &[Record], out: &mut Output) -> Result<(), CliError> {
        if !self.summary {
            for record in records {
                if out.is_json() { out.print_json("history", &RecordJson::of(record))? } else { show(record, out)? }
            }
        }
        for day in days(records) {
            if out.is_json() { out.print_json("history_day", &day)? } else { self.show_day(&day, out)? }
        }
        Ok(())
    }

    fn show_day(&self, day: &Day, out: &mut Output) -> Result<(), CliError> {
        out.print(&Line::of(&format!("{}  {}", day.day, day.counts.words())))?;
        for pair in day.pairs.iter().filter(|_| self.summary) {
            let (from, to) = (visible_line(&pair.from), visible_line(&pair.to));
            out.print(&Line::of(&format!("  {from} → {to}  {}", pair.counts.words())))?;
        }
        Ok(())
    }
}

fn show(record: &Record, out: &mut Output) -> Result<(), CliError> {
    let at = record.asked_at.with_timezone(&Local).format("%Y-%m-%d %H:%M:%S");
    let how = match record.end {
        End::Ended { outcome, state, took } => wording::ended(outcome, state, took),
        End::Open => "open".to_owned(),
        End::Unrecorded => "without a logged end".to_owned(),
    };
    let who = wording::ask(record.ask_id, &visible_line(&record.from), &visible_line(&record.to));
    out.print(&Line::of(&format!("{at}  {who}  {how}")))?;
    for text in [&record.question, &record.reply].into_iter().flatten() {
        out.print(&wording::quoted(text))?;
    }
    Ok(())
}

/// An ask as JSON.
#[derive(Serialize)]
struct RecordJson<'a> {
    ask_id: AskId,
    kind: AskKind,
    from: &'a str,
    to: &'a str,
    asked_at: String,
    outcome: OutcomeJson,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<AskState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    took_ms: Option<u128>,
    #[serde(skip_serializing_if = "Option::is_none")]
    question: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<&'a str>,
}

/// An outcome, or why there is none.
#[derive(Serialize)]
#[serde(untagged)]
enum OutcomeJson {
    Ended(AskOutcome),
    Not(&'static str),
}

impl<'a> RecordJson<'a> {
    fn of(record: &'a Record) -> Self {
        let (outcome, state, took_ms) = match record.end {
            End::Ended { outcome, state, took } => (OutcomeJson::Ended(outcome), Some(state), Some(took.as_millis())),
            End::Open => (OutcomeJson::Not("open"), None, None),
            End::Unrecorded => (OutcomeJson::Not("unrecorded"), None, None),
        };
        Self {
            ask_id: record.ask_id,
            kind: record.kind,
            from: &record.from,
            to: &record.to,
            asked_at: record.asked_at.to_rfc3339_opts(SecondsFormat::Millis, true),
            outcome,
            state,
            took_ms,
            question: record.question.as_deref(),
            reply: record.reply.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::TimeZone;
    use clap::Parser;

    use super::*;
    use crate::cli::output::capture;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        history: HistoryArgs,
    }

    fn told(arguments: &[&str]) -> String {
        let at = |minute| Local.with_ymd_and_hms(2026, 3, 1, 12, minute, 0).unwrap().to_utc();
        let record = |minute: u32, from: &str, to: &str, end| Record {
            ask_id: AskId::from_bits(minute.into()),
            kind: AskKind::Ask,
            from: from.to_owned(),
            to: to.to_owned(),
            asked_at: at(minute),
            end,
            question: None,
            reply: None,
        };
        let ended = |outcome, state, ms| End::Ended { outcome, state, took: Duration::from_millis(ms) };
        let with_texts = Record {
            question: Some("green?\n2026-03-01 forged".to_owned()),
            reply: Some("yes\x1b[2J".to_owned()),
            ..record(1, "shell", "backend-api", ended(AskOutcome::Reply, AskState::Shown, 4_210))
        };
        let records = [
            with_texts,
            record(2, "web", "backend-api", ended(AskOutcome::Timeout, AskState::Held, 120_000)),
            record(3, "backend-api", "web", ended(AskOutcome::Withdrawn, AskState::Accepted, 20)),
            record(4, "web", "docs", End::Open),
            record(5, "web", "docs", End::Unrecorded),
        ];
        let arguments = Command::parse_from([&["history"], arguments].concat()).history;
        let wanted: Vec<Record> = records.into_iter().filter(|record| arguments.wants(record)).collect();
        let (mut out, captured) = capture::output(arguments.format.json);
        arguments.show(&wanted, &mut out).unwrap();
        captured.text().replace("--- stdout\n", "").replace("--- stderr\n", "")
    }

    #[test]
    fn asks_are_lines_and_no_text_passes_for_one() {
        insta::assert_snapshot!(told(&[]), @r"
        2026-03-01 12:01:00  shell → backend-api  0000-0000-0001  answered after 4.2s
                  | green?
                  | 2026-03-01 forged
                  | yes\u{1b}[2J
        2026-03-01 12:02:00  web → backend-api  0000-0000-0002  timed out after 2m, held
        2026-03-01 12:03:00  backend-api → web  0000-0000-0003  withdrawn after 20ms
        2026-03-01 12:04:00  web → docs  0000-0000-0004  open
        2026-03-01 12:05:00  web → docs  0000-0000-0005  without a logged end
        2026-03-01  5 asks: 1 answered (median 4.2s), 1 timed out, 1 withdrawn, 1 open, 1 without a logged end
        ");
    }

    #[test]
    fn one_sees_what_concerns_a_session_what_failed_or_the_days_alone() {
        assert_eq!(told(&["--with", "Backend API"]).matches(" → ").count(), 3);
        assert_eq!(told(&["--with", "shell"]).matches(" → ").count(), 1);
        let failed = told(&["--failed"]);
        assert!(failed.contains("timed out") && failed.contains("without a logged end"), "{failed}");
        assert_eq!(failed.matches(" → ").count(), 2);
        insta::assert_snapshot!(told(&["--summary", "--with", "docs"]), @"
        2026-03-01  2 asks: 1 open, 1 without a logged end
          web → docs  2 asks: 1 open, 1 without a logged end
        ");
    }

    #[test]
    fn asks_and_days_have_their_json() {
        let text = told(&["--json", "--with", "shell"]);
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((&lines[0]["type"], &lines[0]["outcome"]), (&"history".into(), &"reply".into()));
        assert_eq!((&lines[0]["took_ms"], &lines[0]["reply"]), (&4_210.into(), &"yes\u{1b}[2J".into()));
        assert_eq!((&lines[1]["type"], &lines[1]["replied"]), (&"history_day".into(), &1.into()));
        assert_eq!(lines[1]["pairs"][0]["from"], "shell");
    }
}
