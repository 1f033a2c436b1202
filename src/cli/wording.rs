//! How times and folders are written for people.

use std::path::Path;
use std::time::Duration;

use super::output::Line;
use crate::protocol::{AskId, AskKind, AskOutcome, AskState};

/// Returns a time to the second: `2m`, `1h 5m 3s`.
pub(super) fn exact(time: Duration) -> String {
    humantime::format_duration(Duration::from_secs(time.as_secs())).to_string()
}

/// Returns a time by its largest unit, for a list: `40s`, `3m`, `5h`, `2d`.
pub(super) fn rough(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Returns a time as precisely as it matters: `12ms`, `4.2s`, `3m 5s`.
pub(super) fn latency(time: Duration) -> String {
    match time.as_millis() {
        0..1_000 => format!("{}ms", time.as_millis()),
        1_000..60_000 => format!("{:.1}s", time.as_secs_f64()),
        _ => exact(time),
    }
}

/// Returns how many there are of something: `1 peer`, `2 peers`.
pub(super) fn count(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

/// Returns who asks whom, and the ask.
pub(super) fn ask(ask_id: AskId, from: &str, to: &str) -> String {
    format!("{from} → {to}  {ask_id}")
}

/// Returns what was done by whoever sent this: `asked` or `told`.
pub(super) const fn sent(kind: AskKind) -> &'static str {
    match kind {
        AskKind::Ask => "asked",
        AskKind::Tell => "told",
    }
}

/// Returns how an ask ended, after which time and how far it had come.
pub(super) fn ended(outcome: AskOutcome, far: AskState, after: Duration) -> String {
    let after = latency(after);
    match outcome {
        AskOutcome::Reply => format!("answered after {after}"),
        AskOutcome::Shown => format!("shown after {after}"),
        AskOutcome::HandedOver => format!("{} after {after}", AskState::HandedOver.in_short()),
        AskOutcome::Timeout => format!("timed out after {after}, {}", far.in_short()),
        AskOutcome::PeerGone => format!("peer gone after {after}, {}", far.in_short()),
        AskOutcome::Withdrawn => format!("withdrawn after {after}"),
        AskOutcome::Unconfirmed => format!("answered, unconfirmed after {after}"),
    }
}

/// Returns a text that somebody wrote, in lines that cannot pass for lines of ours.
pub(super) fn quoted(text: &str) -> Line {
    const BORDER: &str = "          | ";
    Line::of(BORDER).bordered(text, BORDER)
}

/// Returns a folder with the home directory written as `~`.
pub(super) fn folder(path: &str, home: Option<&Path>) -> String {
    match home.and_then(|home| Path::new(path).strip_prefix(home).ok()) {
        Some(rest) if rest.as_os_str().is_empty() => "~".to_owned(),
        Some(rest) => format!("~/{}", rest.display()),
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_below_home_begins_with_a_tilde() {
        let home = Some(Path::new("/home/ada"));
        assert_eq!(folder("/home/ada/src/web", home), "~/src/web");
        assert_eq!(folder("/home/ada", home), "~");
        assert_eq!(folder("/home/adam/web", home), "/home/adam/web");
        assert_eq!(folder("/home/ada/web", None), "/home/ada/web");
    }

    #[test]
    fn a_latency_is_as_precise_as_it_matters() {
        let said: Vec<String> = [12, 4_210, 185_000].map(|ms| latency(Duration::from_millis(ms))).into();
        assert_eq!(said, ["12ms", "4.2s", "3m 5s"]);
    }

    #[test]
    fn times_are_short() {
        assert_eq!(exact(Duration::from_millis(120_900)), "2m");
        assert_eq!([59, 60, 7_199, 86_400].map(rough), ["59s", "1m", "1h", "1d"]);
    }
}
