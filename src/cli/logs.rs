//! `relayctl logs`: what the hub has logged, from wherever it logs to, in one look.

use std::io;
use std::path::PathBuf;

use chrono::{DateTime, Duration, Local, NaiveDate, NaiveDateTime, Utc};
use clap::Args;

use super::Context;
use super::error::{CliError, Exit};
use super::interrupt::Interrupt;
use super::output::{Format, Line, Output};
use super::service_view::ServiceView;
use crate::paths::{Environment, Platform};

mod entry;
mod files;
mod journal;

use entry::Entry;

/// Show what the hub has logged: from the journal, or from its daily files
///
/// Texts of questions and answers are never logged.
#[derive(Debug, Args)]
pub(super) struct LogsArgs {
    /// Go on and show what is logged from now on
    #[arg(long, short)]
    follow: bool,
    /// Show everything since then: 10m, 2h, 2026-02-28, "2026-02-28 09:30"
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<DateTime<Utc>>,
    /// Show this many lines, the newest [default: 100, or all since --since]
    #[arg(long, short = 'n', value_name = "N")]
    lines: Option<usize>,
    /// Read the daily files in this directory, such as $CLAUDE_PLUGIN_DATA/logs of a session's channel
    #[arg(long, value_name = "DIR")]
    files: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
}

/// How many lines are shown where nothing else is said.
const LINES: usize = 100;

/// What is wanted of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wanted {
    follow: bool,
    since: Option<DateTime<Utc>>,
    /// How many; all of that time without it.
    lines: Option<usize>,
}

/// Where the hub logs to.
#[derive(Debug, PartialEq, Eq)]
enum Source {
    Journal,
    Files(PathBuf),
}

impl LogsArgs {
    /// Prints the log. An empty one is no failure.
    ///
    /// # Errors
    /// It cannot be read, or nobody keeps one.
    pub(super) async fn run(self, context: &mut Context) -> Result<Exit, CliError> {
        context.out.use_json(self.format.json);
        let wanted = Wanted {
            follow: self.follow,
            since: self.since,
            lines: self.lines.or_else(|| self.since.is_none().then_some(LINES)),
        };
        let environment = Environment::of_process();
        let source = match self.files {
            Some(directory) => Source::Files(named(directory)?),
            None => source(&environment, || ServiceView::look(&environment))?,
        };
        let mut interrupt = Interrupt::listen()?;
        let unread = context.out.unread();
        let shown = async {
            match &source {
                Source::Journal => journal::show(&environment, wanted, &mut context.out).await,
                Source::Files(directory) => files::show(directory, wanted, &mut context.out).await,
            }
        };
        let shown = tokio::select! {
            shown = shown => shown?,
            () = unread => return Ok(Exit::Done),
            signal = interrupt.wait() => return Err(CliError::Signalled(signal)),
        };
        if !shown {
            let place = match &source {
                Source::Journal => "the journal".to_owned(),
                Source::Files(directory) => directory.display().to_string(),
            };
            context.out.say(&Line::of(&format!("nothing of that time is in {place}")));
        }
        Ok(Exit::Done)
    }
}

/// Checks that a directory that the user named is there: an empty log is not what a wrong path is.
fn named(directory: PathBuf) -> Result<PathBuf, CliError> {
    match std::fs::metadata(&directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(CliError::NoLogFiles { directory: directory.display().to_string() })
        }
        // What else is wrong is told by whoever reads it.
        Ok(_) | Err(_) => Ok(directory),
    }
}

/// Returns where the hub logs to.
fn source(environment: &Environment, service: impl FnOnce() -> ServiceView) -> Result<Source, CliError> {
    match environment.platform {
        Platform::MacOs => Ok(Source::Files(environment.log_dir()?)),
        Platform::Linux => match service() {
            ServiceView::Seen { .. } => Ok(Source::Journal),
            // As of a hub that hub start has started.
            ServiceView::None(_) => Ok(Source::Files(environment.log_dir()?)),
        },
    }
}

/// Prints one entry.
fn show(entry: &Entry, out: &mut Output) -> Result<(), CliError> {
    if out.is_json() { out.print_json("log", entry) } else { out.print(&entry.line()) }
}

/// Reads a time: so long ago, or a date of the local calendar with or without a time.
fn since(text: &str) -> Result<DateTime<Utc>, String> {
    since_at(text, Utc::now())
}

fn since_at(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, String> {
    if let Ok(ago) = humantime::parse_duration(text) {
        let ago = Duration::from_std(ago).ok().and_then(|ago| now.checked_sub_signed(ago));
        return ago.ok_or_else(|| "it is too long ago".to_owned());
    }
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Ok(at.to_utc());
    }
    let local = ["%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
        .or_else(|| text.parse::<NaiveDate>().ok()?.and_hms_opt(0, 0, 0));
    let local = local.and_then(|local| local.and_local_timezone(Local).earliest());
    local
        .map(|at| at.to_utc())
        .ok_or_else(|| "it has to be like 10m, 2h, 2026-02-28 or \"2026-02-28 09:30\"".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::service_view::tests::{IDLE, LISTENS, systemd};

    #[test]
    fn a_time_is_so_long_ago_or_a_date() {
        let now: DateTime<Utc> = "2026-03-01T12:00:00Z".parse().unwrap();
        assert_eq!(since_at("2h", now).unwrap().to_rfc3339(), "2026-03-01T10:00:00+00:00");
        assert_eq!(since_at("2026-02-28T09:30:00+01:00", now).unwrap().to_rfc3339(), "2026-02-28T08:30:00+00:00");
        let day = since_at("2026-02-28", now).unwrap().with_timezone(&Local);
        assert_eq!(day.format("%Y-%m-%d %H:%M").to_string(), "2026-02-28 00:00");
        let minute = since_at("2026-02-28 09:30", now).unwrap().with_timezone(&Local);
        assert_eq!(minute.format("%H:%M:%S").to_string(), "09:30:00");
        assert!(since_at("yesterday-ish", now).unwrap_err().starts_with("it has to be like 10m"));
    }

    #[test]
    fn each_platform_has_its_place() {
        let linux = Environment { platform: Platform::Linux, ..Environment::of_process() };
        assert_eq!(source(&linux, || systemd(LISTENS, IDLE)).unwrap(), Source::Journal);
        let linux = Environment { home: Some("/home/ada".into()), state_home: None, ..linux };
        let files = source(&linux, || ServiceView::None("no bus".into())).unwrap();
        assert_eq!(files, Source::Files("/home/ada/.local/state/relay".into()));
        let mac = Environment { platform: Platform::MacOs, home: Some("/Users/ada".into()), ..linux };
        let logs = source(&mac, || unreachable!("launchd keeps no log")).unwrap();
        assert_eq!(logs, Source::Files("/Users/ada/Library/Logs/relay".into()));
    }
}
