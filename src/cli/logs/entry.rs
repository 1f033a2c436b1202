//! One entry of a log, whatever it was read from.

use chrono::{DateTime, Local, Utc};
use clap::builder::styling::{AnsiColor, Style};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::cli::output::{Line, visible_line};

/// One entry.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(in crate::cli) struct Entry {
    /// When.
    pub(in crate::cli) at: DateTime<Utc>,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub(super) level: String,
    /// Who logged it.
    pub(super) program: String,
    /// The part of the program that logged it; empty where it is not one of ours.
    #[serde(skip)]
    pub(in crate::cli) target: String,
    /// What.
    pub(in crate::cli) message: String,
    /// What else is known of it.
    pub(in crate::cli) fields: Map<String, Value>,
}

/// The members of a line in a file that are not fields of the event.
const OF_THE_LINE: [&str; 6] = ["timestamp", "level", "message", "target", "span", "spans"];

impl Entry {
    /// Reads a line of a file: what `relay::logging` writes. A line that is no JSON, such as the message of a panic, is
    /// taken as it is; it belongs to the time of the one before.
    pub(in crate::cli) fn of_file(line: &str, program: &str, before: DateTime<Utc>) -> Self {
        let Ok(Value::Object(mut members)) = serde_json::from_str(line) else {
            return Self {
                at: before,
                level: "error".to_owned(),
                program: program.to_owned(),
                target: String::new(),
                message: line.to_owned(),
                fields: Map::new(),
            };
        };
        let text = |name: &str| members.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (at, level, message) = (text("timestamp"), text("level").to_lowercase(), text("message"));
        let target = text("target");
        members.retain(|name, _| !OF_THE_LINE.contains(&name.as_str()));
        let at = DateTime::parse_from_rfc3339(&at).map_or(before, |at| at.to_utc());
        Self { at, level, program: program.to_owned(), target, message, fields: members }
    }

    /// Reads an entry of `journalctl --output=json` (systemd.journal-fields(7)); `None` where it is none.
    pub(in crate::cli) fn of_journal(line: &str) -> Option<Self> {
        let Ok(Value::Object(mut members)) = serde_json::from_str(line) else { return None };
        let micros = members.get("__REALTIME_TIMESTAMP")?.as_str()?.parse().ok()?;
        // tracing-journald writes TARGET, and has a priority of its own for each level.
        let target = text_of(members.get("TARGET"));
        let is_ours = target.is_some();
        let level = match (members.get("PRIORITY").and_then(Value::as_str).unwrap_or("6"), is_ours) {
            ("0" | "1" | "2" | "3", _) => "error",
            ("4", _) => "warn",
            ("5", _) | ("6", false) => "info",
            ("6", true) | ("7", false) => "debug",
            _ => "trace",
        };
        let program = text_of(members.get("SYSLOG_IDENTIFIER")).unwrap_or_else(|| "?".to_owned());
        let message = text_of(members.get("MESSAGE")).unwrap_or_default();
        members.retain(|name, _| is_ours && is_field(name));
        let fields = members.into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect();
        let (at, target) = (DateTime::from_timestamp_micros(micros)?, target.unwrap_or_default());
        Some(Self { at, level: level.to_owned(), program, target, message, fields })
    }

    /// Returns it as one line for people, in local time.
    pub(super) fn line(&self) -> Line {
        let at = self.at.with_timezone(&Local).format("%Y-%m-%d %H:%M:%S%.3f");
        let style = match self.level.as_str() {
            "error" => AnsiColor::Red.on_default().bold(),
            "warn" => AnsiColor::Yellow.on_default(),
            _ => Style::new(),
        };
        let dimmed = Style::new().dimmed();
        let mut line = Line::of(&format!("{at}  ")).styled(style, &format!("{:<5}", self.level));
        line = line.plain(&format!("  {}  {}", visible_line(&self.program), visible_line(&self.message)));
        for (name, value) in &self.fields {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            line = line.plain("  ").styled(dimmed, &format!("{}=", visible_line(name))).plain(&visible_line(&value));
        }
        line
    }
}

/// Whether a field of the journal is one of the event's own: the journal's begin with `_`, and those of the protocol are
/// known.
fn is_field(name: &str) -> bool {
    let of_the_protocol = ["SYSLOG_", "CODE_"].iter().any(|prefix| name.starts_with(prefix));
    !name.starts_with('_') && !of_the_protocol && !["MESSAGE", "PRIORITY", "TARGET", "TID"].contains(&name)
}

/// Returns a value of the journal as text: bytes that are no text come as numbers, values that are too long as null.
pub(in crate::cli) fn text_of(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.clone()),
        Value::Array(bytes) => {
            let bytes: Vec<u8> = bytes.iter().filter_map(|byte| u8::try_from(byte.as_u64()?).ok()).collect();
            Some(String::from_utf8_lossy(&bytes).into_owned())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: &str = "2026-03-01T12:00:00.250Z";

    fn told(entry: &Entry) -> String {
        let text = anstream::adapter::strip_str(entry.line().as_str()).to_string();
        text.split_once("  ").unwrap().1.to_owned()
    }

    #[test]
    fn an_entry_looks_the_same_from_the_journal_and_from_a_file() {
        let file = format!(
            r#"{{"timestamp":"{AT}","level":"WARN","message":"closed a connection","conn":3,"reason":"NoHello","target":"relay::daemon"}}"#
        );
        let journal = r#"{"__REALTIME_TIMESTAMP":"1772366400250000","PRIORITY":"4","SYSLOG_IDENTIFIER":"relay-hub","MESSAGE":"closed a connection","CONN":"3","REASON":"NoHello","TARGET":"relay::daemon","CODE_LINE":"7","_PID":"42","__CURSOR":"s"}"#;
        let from_file = Entry::of_file(&file, "relay-hub", DateTime::UNIX_EPOCH);
        let from_journal = Entry::of_journal(journal).unwrap();
        assert_eq!(told(&from_file), "warn   relay-hub  closed a connection  conn=3  reason=NoHello");
        assert_eq!(told(&from_journal), told(&from_file));
        assert_eq!(from_journal.at, from_file.at);
    }

    #[test]
    fn the_managers_own_entries_are_shown_without_its_fields() {
        let line = r#"{"__REALTIME_TIMESTAMP":"1772366400250000","PRIORITY":"6","SYSLOG_IDENTIFIER":"systemd","MESSAGE":"Started relay.service.","JOB_TYPE":"start","USER_UNIT":"relay.service"}"#;
        assert_eq!(told(&Entry::of_journal(line).unwrap()), "info   systemd  Started relay.service.");
        assert_eq!(Entry::of_journal("-- cursor"), None);
    }

    #[test]
    fn what_is_no_json_and_what_commands_a_terminal_is_shown_and_not_obeyed() {
        let before = AT.parse().unwrap();
        let entry = Entry::of_file("thread 'main' panicked\x1b[2J", "relay-hub", before);
        assert_eq!(entry.at, before);
        assert_eq!(told(&entry), r"error  relay-hub  thread 'main' panicked\u{1b}[2J");
        let bytes = r#"{"__REALTIME_TIMESTAMP":"1","MESSAGE":[104,105,27]}"#;
        assert_eq!(told(&Entry::of_journal(bytes).unwrap()), r"info   ?  hi\u{1b}");
    }
}
