//! What a shell finds: the programs in the directories of `PATH`, the first of each name.

use std::env;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The programs of claude-relay.
pub(super) const PROGRAMS: [&str; 4] = ["relayctl", "relay-hub", "relay-channel", "relay-bridge"];

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

/// Returns whether what was found starts this program: it is the program, or the script of the package of npm beside it.
fn starts(found: &Path, program: &Path) -> bool {
    let (Ok(found), Ok(program)) = (found.canonicalize(), program.canonicalize()) else { return false };
    let is_script_of = |package: &Path| {
        let platforms = [package.with_file_name("@claude-relay"), package.join("node_modules/@claude-relay")];
        platforms.iter().any(|platforms| program.starts_with(platforms))
    };
    found == program || found.ancestors().nth(2).is_some_and(is_script_of)
}

/// Returns what keeps a shell from finding the programs in `bindir`, and the command that makes it find them; none where it
/// does.
pub(super) fn obstacle(bindir: &Path, directories: &[PathBuf]) -> Option<(String, String)> {
    let mut elsewhere = Vec::new();
    let mut missing = None;
    for name in PROGRAMS {
        match first(directories, name) {
            Some(found) if starts(&found, &bindir.join(name)) => {}
            Some(found) => elsewhere.push(found.display().to_string()),
            None => missing = missing.or(Some(format!("{name} is in no directory of PATH"))),
        }
    }
    let others = || (!elsewhere.is_empty()).then(|| format!("the shell finds others first: {}", elsewhere.join(", ")));
    let what = missing.or_else(others)?;
    Some((what, format!("export PATH={}:$PATH", bindir.display())))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_script_of_npm_stands_for_its_program_and_another_copy_does_not() {
        let root = tempfile::tempdir().unwrap();
        let modules = root.path().join("lib/node_modules");
        let platforms = ["@claude-relay/linux-x64/bin", "claude-relay/node_modules/@claude-relay/linux-x64/bin"];
        let folders = [platforms[0], platforms[1], "claude-relay/bin"].map(|folder| modules.join(folder));
        for folder in &folders {
            fs::create_dir_all(folder).unwrap();
            fs::write(folder.join("relayctl"), "").unwrap();
        }
        let link = root.path().join("relayctl");
        symlink(folders[2].join("relayctl"), &link).unwrap();
        assert!(folders[..2].iter().all(|bindir| starts(&link, &bindir.join("relayctl"))));
        let copy = root.path().join("copy");
        fs::write(&copy, "").unwrap();
        assert!(!starts(&copy, &folders[0].join("relayctl")) && starts(&copy, &copy));
    }
}
