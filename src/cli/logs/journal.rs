//! The hub's log in the journal: what `journalctl` reads, in the look of this program.

use std::io;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;

use super::{Entry, Wanted};
use crate::cli::error::CliError;
use crate::paths::Environment;
use crate::service::{SERVICE_UNIT, SOCKET_UNIT};

/// Tells what the journal has.
///
/// # Errors
/// `journalctl` cannot be run or may not read the journal, or who is told says so.
pub(super) async fn read(
    environment: &Environment,
    wanted: Wanted,
    told: &mut dyn FnMut(Entry) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let mut command = Command::new("journalctl");
    command.args(arguments(wanted)).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env("SYSTEMD_COLORS", "0").env("LC_ALL", "C").kill_on_drop(true);
    if let Some(directory) = environment.user_runtime_dir() {
        command.env("XDG_RUNTIME_DIR", directory);
    }
    let unreadable = |source: io::Error| CliError::Journal(source.to_string());
    let mut child = command.spawn().map_err(unreadable)?;
    if let Some(stdout) = child.stdout.take() {
        let mut lines = BufReader::new(stdout).lines();
        while let Some(line) = lines.next_line().await.map_err(unreadable)? {
            if let Some(entry) = Entry::of_journal(&line) {
                told(entry)?;
            }
        }
    }
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        stderr.read_to_string(&mut said).await.map_err(unreadable)?;
    }
    let status = child.wait().await.map_err(unreadable)?;
    // Without an entry the code of older versions is 1, and nothing is said.
    if status.success() || said.trim().is_empty() { Ok(()) } else { Err(CliError::Journal(said.trim().to_owned())) }
}

/// Returns the arguments of `journalctl`. `--user-unit` finds the unit's entries wherever they are; `--user` would look
/// into the user's own journal alone, which is empty where the journal is volatile.
fn arguments(wanted: Wanted) -> Vec<String> {
    let mut arguments: Vec<String> = ["--quiet", "--no-pager", "--output=json", "--all"].map(str::to_owned).into();
    arguments.extend([SERVICE_UNIT, SOCKET_UNIT].map(|unit| format!("--user-unit={unit}")));
    arguments.extend(wanted.since.map(|since| format!("--since=@{}", since.timestamp())));
    arguments.extend(wanted.lines.map(|lines| format!("--lines={lines}")));
    // Several values of one field are alternatives; they narrow what the units have.
    arguments.extend(wanted.targets.iter().map(|target| format!("TARGET={target}")));
    if wanted.follow {
        arguments.push("--follow".to_owned());
        if wanted.lines.is_none() {
            // Following alone shows the last ten lines only.
            arguments.push("--no-tail".to_owned());
        }
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_asked_for_both_units() {
        let wanted = Wanted { follow: false, since: None, lines: Some(100), targets: &[] };
        let line = |wanted| arguments(wanted).join(" ");
        let always = "--quiet --no-pager --output=json --all --user-unit=relay.service --user-unit=relay.socket";
        assert_eq!(line(wanted), format!("{always} --lines=100"));
        let since = Some("2026-03-01T12:00:00Z".parse().unwrap());
        let following = Wanted { follow: true, since, lines: None, targets: &[] };
        assert_eq!(line(following), format!("{always} --since=@1772366400 --follow --no-tail"));
        let narrowed = Wanted { lines: None, targets: &["relay::history"], ..wanted };
        assert_eq!(line(narrowed), format!("{always} TARGET=relay::history"));
    }
}
