//! Whether the file that this program was started from has become another one: an upgrade.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The program's file as it was at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl ProgramFile {
    /// Returns the file of this process; none where the system does not tell. To be called at the start.
    ///
    /// Service managers name a program by its path in `argv[0]`, links and all: where a link leads elsewhere later, that
    /// is a replacement too.
    pub fn of_process() -> Option<Self> {
        let named = env::args_os().next().map(PathBuf::from).filter(|path| path.is_absolute());
        let path = named.or_else(|| env::current_exe().ok())?;
        // The same look as later: what runs may have other numbers where a file system makes them up, and a hub that
        // took that for a replacement would leave for ever. A replacement in these first milliseconds is not noticed.
        let identity = identity(&path)?;
        Some(Self { path, identity })
    }

    /// Returns whether another file is at the path now. One that is missing is being replaced: it is not yet.
    pub(super) fn is_replaced(&self) -> bool {
        identity(&self.path).is_some_and(|found| found != self.identity)
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().filter(fs::Metadata::is_file).map(|found| (found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_by_another_one_and_not_by_its_absence() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("relay-hub");
        fs::write(&path, "old").unwrap();
        let program = ProgramFile { identity: identity(&path).unwrap(), path: path.clone() };
        assert!(!program.is_replaced());

        let new = directory.path().join("new");
        fs::write(&new, "new").unwrap();
        fs::remove_file(&path).unwrap();
        assert!(!program.is_replaced());
        fs::rename(&new, &path).unwrap();
        assert!(program.is_replaced());
    }

    #[test]
    fn a_link_that_leads_elsewhere_is_a_replacement() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("1"), "").unwrap();
        fs::write(path("2"), "").unwrap();
        std::os::unix::fs::symlink(path("1"), path("relay-hub")).unwrap();
        let program = ProgramFile { identity: identity(&path("relay-hub")).unwrap(), path: path("relay-hub") };
        assert!(!program.is_replaced());
        fs::remove_file(path("relay-hub")).unwrap();
        std::os::unix::fs::symlink(path("2"), path("relay-hub")).unwrap();
        assert!(program.is_replaced());
    }
}
