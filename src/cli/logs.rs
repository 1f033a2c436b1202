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

pub(super) use entry::{Entry, text_of};

/// Show what the hub has logged: from the journal, or from its daily files
///
/// Texts of questions and answers are not in it, unless the hub has RELAY_LOG_TEXT=1 in its environment.
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
pub(super) struct Wanted {
    /// Whether to go on with what is logged from then on.
    pub(super) follow: bool,
    /// From when on.
    pub(super) since: Option<DateTime<Utc>>,
    /// How many; all of that time without it.
    pub(super) lines: Option<usize>,
    /// Only what these parts of the program logged; everything where none is named.
    pub(super) targets: &'static [&'static str],
}

impl Wanted {
    fn has(&self, entry: &Entry) -> bool {
        self.targets.is_empty() || self.targets.contains(&entry.target.as_str())
    }
}

/// Where the hub logs to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// To the journal.
    Journal,
    /// To daily files in this directory.
    Files(PathBuf),
}

impl Source {
    /// Returns where it logs to: to files in this directory if one is named, else as the system shows it.
    ///
    /// # Errors
    /// The directory is not there, or nothing says where files would be.
    pub(super) fn find(files: Option<PathBuf>, environment: &Environment) -> Result<Self, CliError> {
        match files {
            Some(directory) => Ok(Self::Files(named(directory)?)),
            None => source(environment, || ServiceView::look(environment)),
        }
    }

    /// Tells what is logged there, the oldest first.
    ///
    /// # Errors
    /// It cannot be read, or who is told says so.
    pub(super) async fn read(
        &self,
        environment: &Environment,
        wanted: Wanted,
        told: &mut dyn FnMut(Entry) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        match self {
            Self::Journal => journal::read(environment, wanted, told).await,
            Self::Files(directory) => files::read(directory, wanted, told).await,
        }
    }

    /// Returns its name for people.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Journal => "the journal".to_owned(),
            Self::Files(directory) => directory.display().to_string(),
        }
    }
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
            targets: &[],
        };
        let environment = Environment::of_process();
        let source = Source::find(self.files, &environment)?;
        let mut interrupt = Interrupt::listen()?;
        let unread = context.out.unread();
        let mut shown = false;
        let mut show = |entry: Entry| {
            shown = true;
            show(&entry, &mut context.out)
        };
        tokio::select! {
            read = source.read(&environment, wanted, &mut show) => read?,
            () = unread => return Ok(Exit::Done),
            signal = interrupt.wait() => return Err(CliError::Signalled(signal)),
        }
        if !shown {
            context.out.say(&Line::of(&format!("nothing of that time is in {}", source.place())));
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
pub(super) fn since(text: &str) -> Result<DateTime<Utc>, String> {
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
