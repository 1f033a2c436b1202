//! The files of the plugins, as this program carries them, and the plan that puts them where agents find them.
//!
//! They lie below the data directory as they do in the repository, so that every path between them holds.

use std::fs;
use std::path::Path;

use crate::paths::{Environment, PathError};
use crate::service::{Plan, Step};

/// A file of a plugin.
pub(super) struct File {
    /// Its path below the data directory.
    pub(super) path: &'static str,
    content: &'static str,
    /// Its permissions.
    mode: u32,
}

/// Lists files by their paths in the repository.
macro_rules! files {
    ($($path:literal $mode:literal,)*) => {
        &[$(File { path: $path, content: include_str!(concat!("../../../", $path)), mode: $mode },)*]
    };
}

/// The plugin that several agents share, with the marketplace that it is in.
pub(super) const PLUGIN: &[File] = files! {
    ".claude-plugin/marketplace.json" 0o644,
    "packaging/plugin/.claude-plugin/plugin.json" 0o644,
    "packaging/plugin/.mcp.json" 0o644,
    "packaging/plugin/README.md" 0o644,
    "packaging/plugin/hooks/hooks.json" 0o644,
    "packaging/plugin/launch" 0o755,
    "packaging/plugin/skills/relay-ask/SKILL.md" 0o644,
    "packaging/plugin/skills/relay-broadcast/SKILL.md" 0o644,
    "packaging/plugin/skills/relay-peers/SKILL.md" 0o644,
    "packaging/plugin/skills/relay-rename/SKILL.md" 0o644,
    "packaging/plugin/skills/relay-status/SKILL.md" 0o644,
    "packaging/plugin/skills/relay-tell/SKILL.md" 0o644,
};

/// Where the plugin says in which directory its programs are: its launcher reads it.
const BINDIR: &str = "packaging/plugin/bindir";

/// Returns the steps that write these files, and where the programs are.
pub(super) fn write(data: &Path, files: &[File], bindir: &Path) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut add = |path: &str, content: String, mode| {
        let path = data.join(path);
        if let Some(directory) = path.parent() {
            let step = Step::MakeDirectory { path: directory.to_owned(), mode: 0o755 };
            if !steps.contains(&step) {
                steps.push(step);
            }
        }
        steps.push(Step::WriteFile { path, content, mode });
    };
    for file in files {
        add(file.path, file.content.to_owned(), file.mode);
    }
    add(BINDIR, format!("{}\n", bindir.display()), 0o644);
    steps
}

/// Returns the plan that removes what setup has written, and the logs of hubs that ran in the background.
///
/// # Errors
/// The home directory is not known.
pub(super) fn remove(environment: &Environment) -> Result<Plan, PathError> {
    let (data, logs) = (environment.data_dir()?, environment.log_dir()?);
    let mut steps: Vec<Step> = PLUGIN
        .iter()
        .map(|file| file.path)
        .chain([BINDIR])
        .map(|path| Step::RemoveFile { path: data.join(path) })
        .collect();
    // Deepest first: each is empty when its turn comes.
    let mut directories: Vec<_> = PLUGIN.iter().filter_map(|file| Path::new(file.path).parent()).collect();
    directories.extend(["packaging/plugin/skills", "packaging", ""].map(Path::new));
    directories.sort_by_key(|directory| std::cmp::Reverse(directory.components().count()));
    directories.dedup();
    let below = |path: &&Path| if path.as_os_str().is_empty() { data.clone() } else { data.join(path) };
    steps.extend(directories.iter().map(below).map(|path| Step::RemoveEmptyDirectory { path }));
    let is_log = |name: &str| name.starts_with("relay-") && name.ends_with(".log") || name == "hub.stderr.log";
    let found = fs::read_dir(&logs).into_iter().flatten().flatten();
    let found = found.filter(|entry| entry.file_name().to_str().is_some_and(is_log));
    steps.extend(found.map(|entry| Step::RemoveFile { path: entry.path() }));
    steps.push(Step::RemoveEmptyDirectory { path: logs.clone() });
    // What was made on the way to them.
    steps.extend(
        [&data, &logs]
            .into_iter()
            .filter_map(|path| path.parent())
            .map(Path::to_owned)
            .map(|path| Step::RemoveEmptyDirectory { path }),
    );
    let socket = environment.service_socket()?;
    steps.push(Step::RemoveDeadSocket { path: socket.clone() });
    steps.extend(socket.parent().map(|path| Step::RemoveEmptyDirectory { path: path.to_owned() }));
    Ok(Plan { steps })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use super::*;

    fn below(directory: &Path, found: &mut BTreeSet<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            if entry.path().is_dir() {
                below(&entry.path(), found);
            } else {
                found.insert(entry.path());
            }
        }
    }

    #[test]
    fn every_file_of_the_plugin_is_carried_with_its_mode() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut found = BTreeSet::from([root.join(".claude-plugin/marketplace.json")]);
        below(&root.join("packaging/plugin"), &mut found);
        let carried: BTreeSet<PathBuf> = PLUGIN.iter().map(|file| root.join(file.path)).collect();
        assert_eq!(carried, found);
        for file in PLUGIN {
            let mode = fs::metadata(root.join(file.path)).unwrap().permissions().mode();
            assert_eq!(mode & 0o100, file.mode & 0o100, "{}", file.path);
        }
    }

    #[test]
    fn what_was_written_is_removed_without_a_trace() {
        let home = tempfile::tempdir().unwrap();
        let environment = Environment {
            home: Some(home.path().to_owned()),
            data_home: Some(home.path().join("data")),
            state_home: Some(home.path().join("state")),
            ..Environment::of_process()
        };
        fs::create_dir_all(home.path().join("data")).unwrap();
        let data = environment.data_dir().unwrap();
        let mut none = crate::service::SystemCommands::default();
        let plan = Plan { steps: write(&data, PLUGIN, Path::new("/opt/bin")) };
        assert!(plan.perform(&mut none, |_, _| {}).unwrap());
        assert!(!plan.perform(&mut none, |_, _| {}).unwrap(), "a second time changes nothing");
        assert_eq!(fs::read_to_string(data.join(BINDIR)).unwrap(), "/opt/bin\n");
        remove(&environment).unwrap().perform(&mut none, |_, _| {}).unwrap();
        assert!(!data.exists());
    }
}
