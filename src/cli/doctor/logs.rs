//! Where logs are written: there must be room.

use std::path::{Path, PathBuf};

use super::Examined;
use super::finding::Finding;
use crate::paths::Platform;

/// Below this nothing sensible fits any more, in bytes.
const ROOM_MIN: u64 = 1024 * 1024;

pub(super) fn check(examined: &Examined) -> Vec<Finding> {
    let mut places: Vec<PathBuf> = Vec::new();
    places.extend(std::env::var_os("CLAUDE_PLUGIN_DATA").map(|data| PathBuf::from(data).join("logs")));
    match examined.environment.platform {
        Platform::MacOs => places.extend(examined.environment.log_dir().ok()),
        // Persistent or volatile: journald takes the first that is there (journald.conf(5)).
        Platform::Linux => {
            let journals = ["/var/log/journal", "/run/log/journal"].map(PathBuf::from);
            places.extend(journals.into_iter().find(|journal| journal.is_dir()));
        }
    }
    let full: Vec<Finding> = places.iter().filter_map(|place| room(place)).collect();
    if full.is_empty() { vec![Finding::ok("log-room", "logs have room")] } else { full }
}

/// Looks at the file system of a place, or of what is above it where it is not there yet.
fn room(place: &Path) -> Option<Finding> {
    let found = place.ancestors().find_map(|path| rustix::fs::statvfs(path).ok())?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    lacks_room(place, free)
}

fn lacks_room(place: &Path, free: u64) -> Option<Finding> {
    let cure = format!("df -h {0}   (make room there; nothing but log lines is lost)", place.display());
    (free < ROOM_MIN).then(|| {
        let what = format!("the disk of {} is full ({free} bytes free): nothing can be logged there", place.display());
        Finding::warn("log-room", what, cure)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_named_and_a_directory_that_is_not_there_yet_is_none() {
        assert_eq!(lacks_room(Path::new("/x"), ROOM_MIN), None);
        let full = lacks_room(Path::new("/x/logs"), 0).unwrap();
        assert!(full.what.contains("/x/logs") && full.cure.unwrap().starts_with("df -h /x/logs"));
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(room(&directory.path().join("not/there/yet")), None);
    }
}
