//! One log file a day, of which the newest are kept.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{Local, NaiveDate};
use tracing_subscriber::fmt::MakeWriter;

/// How many files are kept, today's included.
const KEPT: usize = 7;

const PREFIX: &str = "relay-";
const SUFFIX: &str = ".log";

/// Appends to `relay-YYYY-MM-DD.log`, with the local date of each line. Several processes may write to the same file:
/// each line is one write to its end.
#[derive(Debug)]
pub(super) struct DailyFile {
    directory: PathBuf,
    today: Mutex<Today>,
}

#[derive(Debug)]
struct Today {
    date: NaiveDate,
    file: File,
}

impl DailyFile {
    /// Opens today's file in `directory`, which is created if it is missing.
    ///
    /// # Errors
    /// The directory or the file cannot be written to.
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let date = Local::now().date_naive();
        let today = Today { date, file: open(directory, date)? };
        Ok(Self { directory: directory.to_owned(), today: Mutex::new(today) })
    }

    fn on(&self, date: NaiveDate) -> MutexGuard<'_, Today> {
        let mut today = self.today.lock().unwrap_or_else(PoisonError::into_inner);
        if today.date != date
            && let Ok(file) = open(&self.directory, date)
        {
            *today = Today { date, file };
        }
        today
    }
}

impl<'w> MakeWriter<'w> for DailyFile {
    type Writer = DailyLine<'w>;

    fn make_writer(&'w self) -> Self::Writer {
        DailyLine(self.on(Local::now().date_naive()))
    }
}

/// Writes one line.
pub(super) struct DailyLine<'w>(MutexGuard<'w, Today>);

impl Write for DailyLine<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Opens the file of a date and removes those that are too many.
fn open(directory: &Path, date: NaiveDate) -> io::Result<File> {
    let path = directory.join(format!("{PREFIX}{date}{SUFFIX}"));
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    remove_old(directory);
    Ok(file)
}

/// Removes all but the newest files. What is not named like one is left alone.
fn remove_old(directory: &Path) {
    let date_of = |name: &str| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse::<NaiveDate>().ok();
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut dated: Vec<_> =
        entries.filter_map(|entry| Some((date_of(entry.file_name().to_str()?)?, entry.path()))).collect();
    dated.sort();
    for (_, path) in dated.iter().rev().skip(KEPT) {
        // Another process may have been faster; what cannot be removed is tried again tomorrow.
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use chrono::Days;

    use super::*;

    fn date(day: u64) -> NaiveDate {
        "2026-02-26".parse::<NaiveDate>().unwrap() + Days::new(day)
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn lines_go_to_the_file_of_their_day_and_the_newest_seven_are_kept() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("logs");
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("relay-notes.log"), "not ours").unwrap();
        let first = Today { date: date(0), file: open(&directory, date(0)).unwrap() };
        let log = DailyFile { directory: directory.clone(), today: Mutex::new(first) };
        for day in 0..9 {
            DailyLine(log.on(date(day))).write_all(format!("{{\"day\":{day}}}\n").as_bytes()).unwrap();
        }
        let kept = names(&directory);
        assert_eq!(kept.len(), 8);
        assert_eq!(kept[0], "relay-2026-02-28.log");
        assert_eq!(kept[6..], ["relay-2026-03-06.log", "relay-notes.log"]);
        assert_eq!(fs::read_to_string(directory.join("relay-2026-03-01.log")).unwrap(), "{\"day\":3}\n");
    }

    #[test]
    fn the_file_of_today_is_appended_to_and_only_ours_to_read() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("data/logs");
        for _ in 0..2 {
            DailyFile::open(&directory).unwrap().make_writer().write_all(b"{}\n").unwrap();
        }
        let path = directory.join(&names(&directory)[0]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "{}\n{}\n");
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(fs::metadata(directory).unwrap().permissions().mode() & 0o7777, 0o700);
    }
}
