//! How times and folders are written for people.

use std::path::Path;
use std::time::Duration;

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
    fn times_are_short() {
        assert_eq!(exact(Duration::from_millis(120_900)), "2m");
        assert_eq!([59, 60, 7_199, 86_400].map(rough), ["59s", "1m", "1h", "1d"]);
    }
}
