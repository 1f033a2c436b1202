//! A log in daily files, `relay-YYYY-MM-DD.log`, of which the newest are kept.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};

use super::{Entry, Wanted};
use crate::cli::error::CliError;

/// How often is looked whether a file has grown.
const LOOK: Duration = Duration::from_millis(250);

/// Tells what the files have.
///
/// # Errors
/// The directory cannot be read, or who is told says so.
pub(super) async fn read(
    directory: &Path,
    wanted: Wanted,
    told: &mut dyn FnMut(Entry) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let unreadable = |source: io::Error| CliError::LogFiles { directory: directory.display().to_string(), source };
    let mut tail = Tail::new(directory);
    let mut newest = VecDeque::new();
    tail.read(&mut |entry| {
        if wanted.since.is_none_or(|since| entry.at >= since) && wanted.has(&entry) {
            newest.push_back(entry);
            if wanted.lines.is_some_and(|lines| newest.len() > lines) {
                newest.pop_front();
            }
        }
    })
    .map_err(unreadable)?;
    newest.into_iter().try_for_each(&mut *told)?;
    if !wanted.follow {
        return Ok(());
    }
    loop {
        tokio::time::sleep(LOOK).await;
        let mut entries = Vec::new();
        tail.read(&mut |entry| entries.push(entry)).map_err(unreadable)?;
        entries.into_iter().filter(|entry| wanted.has(entry)).try_for_each(&mut *told)?;
    }
}

/// How far the files were read.
struct Tail {
    directory: PathBuf,
    file: Option<NaiveDate>,
    offset: u64,
    /// The beginning of a line whose end was not there yet.
    rest: Vec<u8>,
    at: DateTime<Utc>,
}

impl Tail {
    fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            file: None,
            offset: 0,
            rest: Vec::new(),
            at: DateTime::<Utc>::UNIX_EPOCH,
        }
    }

    /// Reads what is new, in all files from the one on that was read last.
    fn read(&mut self, told: &mut dyn FnMut(Entry)) -> io::Result<()> {
        for date in dates(&self.directory)? {
            if self.file.is_some_and(|file| date < file) {
                continue;
            }
            if self.file != Some(date) {
                (self.file, self.offset) = (Some(date), 0);
                self.rest.clear();
            }
            let mut file = match File::open(self.directory.join(name(date))) {
                // Removed meanwhile, since it was too old.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened?,
            };
            file.seek(SeekFrom::Start(self.offset))?;
            let mut bytes = Vec::new();
            self.offset += file.read_to_end(&mut bytes)? as u64;
            self.rest.extend(bytes);
            while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line[..end]);
                if !line.trim().is_empty() {
                    let entry = Entry::of_file(&line, "relay", self.at);
                    self.at = entry.at;
                    told(entry);
                }
            }
        }
        Ok(())
    }
}

fn name(date: NaiveDate) -> String {
    format!("relay-{date}.log")
}

/// Returns the dates of the files, the oldest first. No directory is an empty log.
fn dates(directory: &Path) -> io::Result<Vec<NaiveDate>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut dates = Vec::new();
    for entry in entries {
        let found = entry?.file_name();
        let date: Option<NaiveDate> =
            found.to_str().and_then(|name| name.strip_prefix("relay-")?.strip_suffix(".log")?.parse().ok());
        dates.extend(date);
    }
    dates.sort_unstable();
    Ok(dates)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn line(day: u32, message: &str) -> String {
        format!("{{\"timestamp\":\"2026-03-{day:02}T12:00:00Z\",\"level\":\"INFO\",\"message\":\"{message}\"}}\n")
    }

    fn directory() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for day in 1..4 {
            let text = line(day, &format!("first of {day}")) + &line(day, &format!("second of {day}"));
            fs::write(directory.path().join(format!("relay-2026-03-{day:02}.log")), text).unwrap();
        }
        fs::write(directory.path().join("hub.stderr.log"), "not ours").unwrap();
        directory
    }

    fn messages(directory: &Path, wanted: Wanted) -> Vec<String> {
        let mut messages = Vec::new();
        let mut told = |entry: Entry| {
            messages.push(entry.message);
            Ok(())
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(read(directory, wanted, &mut told)).unwrap();
        messages
    }

    #[test]
    fn the_newest_lines_are_shown_in_their_order_across_files() {
        let directory = directory();
        let wanted = Wanted { follow: false, since: None, lines: Some(3), targets: &[] };
        assert_eq!(messages(directory.path(), wanted), ["second of 2", "first of 3", "second of 3"]);
        let since = Some("2026-03-03T00:00:00Z".parse().unwrap());
        assert_eq!(messages(directory.path(), Wanted { since, lines: None, ..wanted }), ["first of 3", "second of 3"]);
        assert!(messages(&directory.path().join("none"), wanted).is_empty());
    }

    #[test]
    fn a_file_that_grows_and_the_next_days_file_are_followed() {
        let directory = directory();
        let mut tail = Tail::new(directory.path());
        let mut read = || {
            let mut messages = Vec::new();
            tail.read(&mut |entry| messages.push(entry.message)).unwrap();
            messages
        };
        assert_eq!(read().len(), 6);
        assert!(read().is_empty());
        let today = directory.path().join("relay-2026-03-03.log");
        let mut today = File::options().append(true).open(today).unwrap();
        let (begin, end) = (line(3, "late"), line(3, "later"));
        today.write_all(begin.as_bytes()).unwrap();
        today.write_all(&end.as_bytes()[..20]).unwrap();
        assert_eq!(read(), ["late"]);
        today.write_all(&end.as_bytes()[20..]).unwrap();
        fs::write(directory.path().join("relay-2026-03-04.log"), line(4, "tomorrow")).unwrap();
        assert_eq!(read(), ["later", "tomorrow"]);
    }
}
