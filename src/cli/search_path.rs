//! What a shell finds: the programs in the directories of `PATH`, the first of each name.

use std::env;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The programs of claude-relay.
pub(super) const PROGRAMS: [&str; 3] = ["relayctl", "relay-hub", "relay-channel"];

/// Returns the directories of this process's `PATH`.
pub(super) fn directories() -> Vec<PathBuf> {
    env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect()
}

/// Returns whether this is a file that may be executed.
pub(super) fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Returns the first program of this name.
pub(super) fn first(directories: &[PathBuf], name: &str) -> Option<PathBuf> {
    directories.iter().map(|directory| directory.join(name)).find(|found| is_program(found))
}

/// Returns what keeps a shell from finding the programs in `bindir`, and the command that makes it find them; none where it
/// does.
pub(super) fn obstacle(bindir: &Path, directories: &[PathBuf]) -> Option<(String, String)> {
    let mut elsewhere = Vec::new();
    let mut missing = None;
    for name in PROGRAMS {
        match first(directories, name) {
            Some(found) if found.canonicalize().ok() == bindir.join(name).canonicalize().ok() => {}
            Some(found) => elsewhere.push(found.display().to_string()),
            None => missing = missing.or(Some(format!("{name} is in no directory of PATH"))),
        }
    }
    let others = || (!elsewhere.is_empty()).then(|| format!("the shell finds others first: {}", elsewhere.join(", ")));
    let what = missing.or_else(others)?;
    Some((what, format!("export PATH={}:$PATH", bindir.display())))
}
