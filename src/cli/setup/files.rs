//! The files of the plugins, as this program carries them, and the plan that puts them where agents find them.
//!
//! They lie below the data directory as they do in the repository, so that every path between them holds.

use std::fs;
use std::path::{Path, PathBuf};

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

/// The plugin that several agents share, with the marketplace that it is in, and the parts of agents that load scripts.
pub(super) const PLUGIN: &[File] = files! {
    ".claude-plugin/marketplace.json" 0o644,
    "packaging/opencode/relay.js" 0o644,
    "packaging/pi/relay.js" 0o644,
    "packaging/plugin/.claude-plugin/plugin.json" 0o644,
    "packaging/plugin/.codex-plugin/mcp.json" 0o644,
    "packaging/plugin/.codex-plugin/plugin.json" 0o644,
    "packaging/plugin/README.md" 0o644,
    "packaging/plugin/extensions/relay/extension.mjs" 0o644,
    "packaging/plugin/extensions/relay/session.mjs" 0o644,
    "packaging/plugin/hooks/hooks.json" 0o644,
    "packaging/plugin/launch" 0o755,
    "packaging/plugin/skills/relay-ask/SKILL.md" 0o644,
    "packaging/plugin/skills/relay-broadcast/SKILL.md" 0o644,
    "packaging/plugin/skills/relay-peers/SKILL.md" 0o644,
    "packaging/plugin/skills/relay-rename/SKILL.md" 0o644,
    "packaging/plugin/skills/relay-status/SKILL.md" 0o644,
    "packaging/plugin/skills/relay-tell/SKILL.md" 0o644,
};

/// The extension of Gemini CLI.
pub(super) const GEMINI: &[File] = files! {
    "packaging/gemini/gemini-extension.json" 0o644,
    "packaging/gemini/hooks/hooks.json" 0o644,
};

/// Every file that this program carries.
fn all() -> impl Iterator<Item = &'static File> {
    PLUGIN.iter().chain(GEMINI)
}

/// The files that name the channel's program, which is looked for in `PATH` unless setup says where it is: their agents
/// expand no variable there, or copy the files away from the launcher.
const NAMING_CHANNEL: [&str; 3] = [
    "packaging/plugin/.codex-plugin/mcp.json",
    "packaging/gemini/gemini-extension.json",
    "packaging/gemini/hooks/hooks.json",
];

/// Returns what setup writes into this file of the repository, with the programs in this directory.
pub(super) fn content(path: &str, bindir: &Path) -> Option<String> {
    all().find(|file| file.path == path).map(|file| file.content(bindir))
}

impl File {
    /// Returns what setup writes, with the programs in this directory.
    pub(super) fn content(&self, bindir: &Path) -> String {
        if !NAMING_CHANNEL.contains(&self.path) {
            return self.content.to_owned();
        }
        let program = bindir.join("relay-channel").to_string_lossy().into_owned();
        // A path in JSON, and in a shell's command in JSON.
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let in_shell = quoted(&format!("exec '{}' hook", program.replace('\'', r"'\''")));
        self.content.replace("\"relay-channel\"", &quoted(&program)).replace("\"exec relay-channel hook\"", &in_shell)
    }
}

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
        add(file.path, file.content(bindir), file.mode);
    }
    add(BINDIR, format!("{}\n", bindir.display()), 0o644);
    steps
}

/// Where the plugin is, in the repository.
const PLUGIN_FOLDER: &str = "packaging/plugin";

/// Returns the steps that remove a copy of the plugin's folder.
pub(super) fn remove_copy(copy: &Path) -> Vec<Step> {
    let below = |path: &&str| Path::new(path).strip_prefix(PLUGIN_FOLDER).ok().map(Path::to_owned);
    let files: Vec<_> = PLUGIN.iter().map(|file| file.path).chain([BINDIR]).filter_map(|path| below(&path)).collect();
    let mut directories: Vec<&Path> = files.iter().flat_map(|file| file.ancestors().skip(1)).collect();
    directories.sort_by_key(|directory| std::cmp::Reverse(directory.components().count()));
    directories.dedup();
    let removed = files.iter().map(|file| Step::RemoveFile { path: copy.join(file) });
    removed.chain(directories.iter().map(|path| Step::RemoveEmptyDirectory { path: copy.join(path) })).collect()
}

/// Returns the plan that removes what setup has written, and what hubs in the background and sessions have left.
///
/// # Errors
/// The home directory is not known.
pub(super) fn remove(environment: &Environment) -> Result<Plan, PathError> {
    let (data, logs) = (environment.data_dir()?, environment.log_dir()?);
    let mut steps: Vec<Step> =
        all().map(|file| file.path).chain([BINDIR]).map(|path| Step::RemoveFile { path: data.join(path) }).collect();
    // Deepest first: each is empty when its turn comes.
    let mut directories: Vec<_> = all().filter_map(|file| Path::new(file.path).parent()).collect();
    directories.extend(["packaging/plugin/skills", "packaging/plugin/extensions", "packaging", ""].map(Path::new));
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
    steps.extend(environment.home.iter().map(|home| Step::RemoveEmptyDirectory { path: home.join(".local") }));
    let socket = environment.service_socket()?;
    // Beside it are the sessions' sockets, in a directory of their own.
    for directory in socket.parent().map(entries).unwrap_or_default().into_iter().filter(|path| path.is_dir()) {
        steps.extend(entries(&directory).into_iter().map(|path| Step::RemoveDeadSocket { path }));
        steps.push(Step::RemoveEmptyDirectory { path: directory });
    }
    steps.push(Step::RemoveDeadSocket { path: socket.clone() });
    steps.extend(socket.parent().map(|path| Step::RemoveEmptyDirectory { path: path.to_owned() }));
    Ok(Plan { steps })
}

/// Returns what is in a directory; nothing where it is none.
fn entries(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

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
        for folder in ["packaging/gemini", "packaging/opencode", "packaging/pi", "packaging/plugin"] {
            below(&root.join(folder), &mut found);
        }
        let carried: BTreeSet<PathBuf> = all().map(|file| root.join(file.path)).collect();
        assert_eq!(carried, found);
        for file in all() {
            let mode = fs::metadata(root.join(file.path)).unwrap().permissions().mode();
            assert_eq!(mode & 0o100, file.mode & 0o100, "{}", file.path);
        }
    }

    #[test]
    fn what_was_written_is_removed_without_a_trace() {
        let home = tempfile::tempdir().unwrap();
        let environment = Environment {
            home: Some(home.path().to_owned()),
            data_home: None,
            state_home: None,
            run_user: home.path().join("none"),
            runtime_dir: None,
            ..Environment::of_process()
        };
        fs::create_dir_all(environment.log_dir().unwrap()).unwrap();
        let sockets = environment.service_socket().unwrap().with_file_name("s");
        fs::create_dir_all(&sockets).unwrap();
        for dead in [environment.service_socket().unwrap(), sockets.join("1-2.sock")] {
            drop(UnixListener::bind(dead).unwrap());
        }
        let data = environment.data_dir().unwrap();
        let mut none = crate::service::SystemCommands::default();
        let steps = [PLUGIN, GEMINI].map(|files| write(&data, files, Path::new("/opt/it's"))).concat();
        let plan = Plan { steps };
        assert!(plan.perform(&mut none, |_, _| {}).unwrap());
        assert!(!plan.perform(&mut none, |_, _| {}).unwrap(), "a second time changes nothing");
        assert_eq!(fs::read_to_string(data.join(BINDIR)).unwrap(), "/opt/it's\n");
        let read = |path: &str| -> serde_json::Value {
            serde_json::from_str(&fs::read_to_string(data.join(path)).unwrap()).unwrap()
        };
        let server = &read("packaging/plugin/.codex-plugin/mcp.json")["mcpServers"]["relay"];
        assert_eq!(server["command"], "/opt/it's/relay-channel");
        let hook = &read("packaging/gemini/hooks/hooks.json")["hooks"]["AfterTool"][0]["hooks"][0];
        assert_eq!(hook["command"], r"exec '/opt/it'\''s/relay-channel' hook");
        remove(&environment).unwrap().perform(&mut none, |_, _| {}).unwrap();
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }
}
