//! Where a program logs, and what.
//!
//! `RELAY_LOG` is the filter: levels (`error`, `warn`, `info`, `debug`, `trace`, `off`) with commas between them, each for
//! everything or, behind `TARGET=`, for a module and what is below it: `info,relay::hub=debug`. By default it is `info`.
//! What rmcp and async-nats log has the bodies of messages in it, so `rmcp=warn` and `async_nats=off` hold unless the filter
//! names them; what matters of the latter, `relay-nats` says itself.
//! The texts of questions and answers (`relay::text`) are logged by a hub that has `RELAY_LOG_TEXT=1`, whatever the filter
//! says of them, and by nobody else.
//!
//! | program | goes to |
//! | --- | --- |
//! | `relay-hub`, `relay-bridge` | the journal if its standard error is the journal's (`JOURNAL_STREAM`); on macOS, where it has no terminal, a file a day; else JSON lines to standard error |
//! | `relay-hub` in the background (`relayctl hub start`) | a file a day, `~/.local/state/relay/relay-YYYY-MM-DD.log` |
//! | `relay-channel` | a file a day, `$CLAUDE_PLUGIN_DATA/logs/relay-YYYY-MM-DD.log`, if that variable is set; else warnings to standard error |
//! | `relay-nats` | warnings to standard error, which `relay-bridge` passes on |
//! | `relayctl` | standard error, and only if `RELAY_LOG` is set |
//!
//! Nobody waits for a reader that takes nothing: the journal's entries and standard error's lines are dropped and counted when they are not
//! taken. A file has the local date in its name, as `date +%Y-%m-%d` prints it; the times in it are UTC. The newest seven are kept.

use std::env;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use tracing::Subscriber;
use tracing_subscriber::filter::{ParseError, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

mod daily;
#[cfg(target_os = "linux")]
mod journal;
mod json;
mod stderr;

use daily::DailyFile;
use json::JsonLines;
use stderr::{DrainGuard, Queue};

/// The variable with the filter.
const FILTER_VARIABLE: &str = "RELAY_LOG";

/// The variable that has the texts of messages logged, where it is 1.
const TEXT_VARIABLE: &str = "RELAY_LOG_TEXT";

/// Libraries that log the bodies of messages, and what of them is logged where they are not named.
const TALKATIVE: [(&str, &str); 2] = [("rmcp", "warn"), ("async_nats", "off")];

/// The target of the lines about asks, as the hub's rules name it.
#[cfg(target_os = "linux")]
const HISTORY_TARGET: &str = "relay::history";

/// The target of the texts of messages, as the hub's rules name it.
const TEXT_TARGET: &str = "relay::text";

/// The programs, by what their logs are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// `relay-hub`: the operator reads it.
    Hub,
    /// `relay-hub` that `relayctl hub start` has started: nobody sees its standard error.
    DetachedHub,
    /// `relay-bridge`: the operator reads it.
    Bridge,
    /// `relay-channel`: nobody sees its standard error unless they look for it.
    Channel,
    /// `relay-nats`: whoever started it reads its standard error.
    Transport,
    /// `relayctl`: the person sees its standard error.
    Control,
}

/// Where the lines go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Destination {
    Journal,
    Files(PathBuf),
    StandardError,
    #[default]
    Nowhere,
}

/// What decides where a program logs.
#[derive(Debug, Clone, Default)]
struct LogEnvironment {
    filter: Option<String>,
    /// Whether the texts of messages are to be logged.
    text: bool,
    stderr_is_the_journal: bool,
    stderr_is_a_terminal: bool,
    plugin_data: Option<PathBuf>,
    /// The directory for the hub's files.
    hub_logs: Option<PathBuf>,
    is_macos: bool,
}

/// The log of this process, to be kept until it ends: its last lines are written when this is dropped.
#[derive(Debug, Default)]
#[must_use = "the last lines are lost without it"]
pub struct Log {
    destination: Destination,
    _drain: Option<DrainGuard>,
}

impl Log {
    /// Returns whether it goes to the journal, and standard error with it.
    pub fn is_the_journal(&self) -> bool {
        self.destination == Destination::Journal
    }

    /// Returns whether it goes to standard error as JSON lines.
    pub fn is_standard_error(&self) -> bool {
        self.destination == Destination::StandardError
    }
}

/// Starts the log of this process. To be called once, at the start, before a runtime.
///
/// # Errors
/// `RELAY_LOG` is not a filter, or a log was started before. A place that cannot be written to is no error: then
/// standard error has the lines.
pub fn init(program: Program) -> Result<Log, LoggingError> {
    let environment = LogEnvironment::of_process();
    let destination = environment.destination(program);
    let filter = environment.filter(&destination, program)?;
    match destination {
        Destination::Nowhere => return Ok(Log::default()),
        #[cfg(target_os = "linux")]
        Destination::Journal => {
            if let Ok(layer) = journal::layer(program.name()) {
                tracing_subscriber::registry().with(filter).with(layer).try_init()?;
                return Ok(Log { destination: Destination::Journal, _drain: None });
            }
        }
        Destination::Files(directory) => {
            if let Ok(file) = DailyFile::open(&directory) {
                json(filter, file).try_init()?;
                return Ok(Log { destination: Destination::Files(directory), _drain: None });
            }
        }
        #[cfg(not(target_os = "linux"))]
        Destination::Journal => {}
        Destination::StandardError => {}
    }
    // A file takes every line at once.
    let queue = if stderr_is_a_file() { None } else { Some(Queue::new(io::stderr())) };
    let drain = match queue {
        Some((queue, drain)) => {
            json(filter, queue).try_init()?;
            Some(drain)
        }
        None => {
            json(filter, io::stderr).try_init()?;
            None
        }
    };
    Ok(Log { destination: Destination::StandardError, _drain: drain })
}

fn stderr_is_a_file() -> bool {
    let mode = rustix::fs::fstat(rustix::stdio::stderr()).map(|found| found.st_mode);
    mode.is_ok_and(|mode| rustix::fs::FileType::from_raw_mode(mode).is_file())
}

impl Program {
    #[cfg(target_os = "linux")]
    const fn name(self) -> &'static str {
        match self {
            Self::Hub | Self::DetachedHub => "relay-hub",
            Self::Bridge => "relay-bridge",
            Self::Channel => "relay-channel",
            Self::Transport => "relay-nats",
            Self::Control => "relayctl",
        }
    }
}

impl LogEnvironment {
    fn of_process() -> Self {
        let paths = crate::paths::Environment::of_process();
        let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        Self {
            filter: variable(FILTER_VARIABLE).and_then(|value| OsString::into_string(value).ok()),
            text: variable(TEXT_VARIABLE).is_some_and(|value| value == "1"),
            stderr_is_the_journal: stderr_is_the_journal(variable("JOURNAL_STREAM")),
            stderr_is_a_terminal: io::IsTerminal::is_terminal(&io::stderr()),
            plugin_data: variable("CLAUDE_PLUGIN_DATA").map(PathBuf::from),
            hub_logs: paths.log_dir().ok(),
            is_macos: cfg!(target_os = "macos"),
        }
    }

    fn destination(&self, program: Program) -> Destination {
        match program {
            Program::Hub | Program::Bridge if self.stderr_is_the_journal => Destination::Journal,
            Program::Hub | Program::Bridge if !self.is_macos || self.stderr_is_a_terminal => Destination::StandardError,
            Program::Hub | Program::Bridge | Program::DetachedHub => {
                self.hub_logs.clone().map_or(Destination::StandardError, Destination::Files)
            }
            Program::Channel => self
                .plugin_data
                .as_ref()
                .map_or(Destination::StandardError, |data| Destination::Files(data.join("logs"))),
            Program::Control if self.filter.is_none() => Destination::Nowhere,
            Program::Transport | Program::Control => Destination::StandardError,
        }
    }

    fn filter(&self, destination: &Destination, program: Program) -> Result<Targets, LoggingError> {
        let default = match (program, destination) {
            (Program::Channel | Program::Transport, Destination::StandardError) => "warn",
            // A person's terminal is for what matters.
            (Program::Hub | Program::Bridge, Destination::StandardError) if self.stderr_is_a_terminal => "warn",
            _ => "info",
        };
        let wanted = self.filter.as_deref().unwrap_or(default);
        let is_named = |target| {
            let names = |directive: &str| {
                directive.strip_prefix(target).is_some_and(|rest| rest.is_empty() || rest.starts_with(['=', ':']))
            };
            wanted.split(',').any(names)
        };
        let mut directives = wanted.to_owned();
        for (target, level) in TALKATIVE {
            if !is_named(target) {
                directives.push_str(&format!(",{target}={level}"));
            }
        }
        // The last word on a target is the one that holds.
        directives.push_str(&format!(",{TEXT_TARGET}={}", if self.text { "info" } else { "off" }));
        directives.parse().map_err(|source| LoggingError::Filter { filter: wanted.to_owned(), source })
    }
}

/// Returns a subscriber that writes one JSON object a line.
fn json<W>(filter: Targets, writer: W) -> impl Subscriber + Send + Sync + 'static
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    tracing_subscriber::registry().with(filter).with(JsonLines(writer))
}

/// Whether standard error leads to the journal: `JOURNAL_STREAM` is `DEVICE:INODE` of the stream that systemd made,
/// which is inherited by children whose standard error leads elsewhere (systemd.exec(5)).
fn stderr_is_the_journal(journal_stream: Option<OsString>) -> bool {
    let Some((device, inode)) = journal_stream.as_ref().and_then(|value| value.to_str()?.split_once(':')) else {
        return false;
    };
    rustix::fs::fstat(rustix::stdio::stderr())
        .is_ok_and(|found| device.parse() == Ok(found.st_dev) && inode.parse() == Ok(found.st_ino))
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// `RELAY_LOG` cannot be read.
    #[error("RELAY_LOG is no filter: \"{filter}\"")]
    Filter {
        /// What it is.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// A log was started before.
    #[error("the log was started before")]
    Twice(#[from] TryInitError),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter_of(filter: Option<&str>, program: Program) -> String {
        let environment = LogEnvironment { filter: filter.map(str::to_owned), ..LogEnvironment::default() };
        let destination = environment.destination(program);
        environment.filter(&destination, program).unwrap().to_string()
    }

    #[test]
    fn library_that_logs_message_bodies_is_quiet_unless_it_is_named() {
        assert!(filter_of(None, Program::Hub).contains("rmcp=warn"));
        assert!(filter_of(Some("trace"), Program::Channel).contains("rmcp=warn"));
        assert!(filter_of(Some("relay=debug,rmcpx=info"), Program::Channel).contains("rmcp=warn"));
        for named in ["rmcp=debug", "info,rmcp=debug", "warn,rmcp::service=debug"] {
            assert!(!filter_of(Some(named), Program::Channel).contains("rmcp=warn"), "{named}");
        }
        assert!(filter_of(Some("trace"), Program::Transport).contains("async_nats=off"));
        assert!(filter_of(Some("async_nats=debug"), Program::Transport).contains("async_nats=debug"));
    }

    #[test]
    fn texts_are_logged_where_their_variable_says_so_and_nowhere_else() {
        let logs_texts = |filter: &str, text| {
            let environment = LogEnvironment { filter: Some(filter.to_owned()), text, ..LogEnvironment::default() };
            let filter = environment.filter(&Destination::Journal, Program::Hub).unwrap();
            filter.would_enable(TEXT_TARGET, &tracing::Level::INFO)
        };
        assert!(!logs_texts("info", false) && !logs_texts("trace,relay::text=trace", false));
        assert!(logs_texts("info", true));
        assert_eq!(TEXT_TARGET, crate::hub::history::TEXT_TARGET);
        #[cfg(target_os = "linux")]
        assert_eq!(HISTORY_TARGET, crate::hub::history::TARGET);
    }

    #[test]
    fn a_channel_without_a_place_for_its_log_only_warns() {
        assert!(filter_of(None, Program::Channel).contains("warn"));
        assert!(!filter_of(None, Program::Channel).contains("info"));
        assert!(filter_of(Some("debug"), Program::Channel).contains("debug"));
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_named() {
        let environment = LogEnvironment { filter: Some("relay=loud".to_owned()), ..LogEnvironment::default() };
        let error = environment.filter(&Destination::StandardError, Program::Hub).unwrap_err();
        assert!(error.to_string().contains("relay=loud"), "{error}");
    }

    #[test]
    fn each_program_logs_where_its_reader_looks() {
        let nothing = LogEnvironment::default();
        assert_eq!(nothing.destination(Program::Hub), Destination::StandardError);
        assert_eq!(nothing.destination(Program::Channel), Destination::StandardError);
        assert_eq!(nothing.destination(Program::Control), Destination::Nowhere);

        let all = LogEnvironment {
            filter: Some("debug".to_owned()),
            stderr_is_the_journal: true,
            plugin_data: Some("/data".into()),
            ..LogEnvironment::default()
        };
        assert_eq!(all.destination(Program::Hub), Destination::Journal);
        assert_eq!(all.destination(Program::Channel), Destination::Files("/data/logs".into()));
        assert_eq!(all.destination(Program::Control), Destination::StandardError);
    }

    #[test]
    fn on_macos_the_hub_logs_to_files_unless_somebody_looks() {
        let mac = LogEnvironment { hub_logs: Some("/logs".into()), is_macos: true, ..LogEnvironment::default() };
        assert_eq!(mac.destination(Program::Hub), Destination::Files("/logs".into()));
        let in_a_terminal = LogEnvironment { stderr_is_a_terminal: true, ..mac };
        assert_eq!(in_a_terminal.destination(Program::Hub), Destination::StandardError);
        let linux = LogEnvironment { is_macos: false, ..in_a_terminal };
        assert_eq!(linux.destination(Program::Hub), Destination::StandardError);
        assert_eq!(linux.destination(Program::DetachedHub), Destination::Files("/logs".into()));
        assert!(linux.filter(&Destination::StandardError, Program::Hub).unwrap().to_string().contains("warn"));
    }

    #[test]
    fn an_inherited_journal_stream_of_somebody_else_is_not_ours() {
        let own = rustix::fs::fstat(rustix::stdio::stderr()).unwrap();
        let (device, inode) = (own.st_dev, own.st_ino);
        assert!(stderr_is_the_journal(Some(format!("{device}:{inode}").into())));
        assert!(!stderr_is_the_journal(Some(format!("{device}:{}", inode + 1).into())));
        assert!(!stderr_is_the_journal(Some("nonsense".into())));
        assert!(!stderr_is_the_journal(None));
    }
}
