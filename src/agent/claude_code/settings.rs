//! What Claude Code's settings files decide about other sessions and other machines. Best effort: a file that cannot be read
//! decides nothing. Seen in 2.1.330.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The most bytes of a file that are read.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Where an administrator's settings are.
const MANAGED: &str = if cfg!(target_os = "macos") {
    "/Library/Application Support/ClaudeCode/managed-settings.json"
} else {
    "/etc/claude-code/managed-settings.json"
};

/// What is done with the messages of other sessions: the setting `crossSessionInbound`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Inbound {
    /// They are shown.
    #[default]
    Accept,
    /// They wait for the user.
    Hold,
    /// They are refused.
    Refuse,
}

/// Returns the directory of Claude Code's settings and state, as this process's environment names it.
pub fn config_directory() -> Option<PathBuf> {
    let set = std::env::var_os("CLAUDE_CONFIG_DIR").filter(|value| !value.is_empty()).map(PathBuf::from);
    set.or_else(|| std::env::home_dir().map(|home| home.join(".claude")))
}

/// Returns what the user's and the administrator's settings do with the messages of other sessions: the strictest.
pub fn inbound() -> Inbound {
    strictest(&settings(&[]))
}

/// Returns whether any of the settings of these folders, the user's or the administrator's wants the user to be asked before
/// anything goes to another machine: `isolatePeerMachines`.
pub fn isolates_machines(folders: &[&Path]) -> bool {
    isolates(&settings(folders))
}

fn strictest(settings: &[Value]) -> Inbound {
    let decided = |settings: &Value| match settings["crossSessionInbound"].as_str() {
        Some("hold") => Inbound::Hold,
        Some("refuse") => Inbound::Refuse,
        Some(_) | None => Inbound::Accept,
    };
    settings.iter().map(decided).max().unwrap_or_default()
}

fn isolates(settings: &[Value]) -> bool {
    settings.iter().any(|settings| settings["isolatePeerMachines"] == true)
}

fn settings(folders: &[&Path]) -> Vec<Value> {
    let user = config_directory().map(|directory| directory.join("settings.json"));
    let of_folder =
        |folder: &&Path| ["settings.json", "settings.local.json"].map(|name| folder.join(".claude").join(name));
    let files = user.into_iter().chain([PathBuf::from(MANAGED)]).chain(folders.iter().flat_map(of_folder));
    files.filter_map(|file| read(&file)).collect()
}

fn read(file: &Path) -> Option<Value> {
    let mut text = String::new();
    File::open(file).ok()?.take(MAX_BYTES).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_strictest_setting_holds() {
        for (given, expected) in [
            (vec![], Inbound::Accept),
            (vec![json!({"crossSessionInbound": "accept"}), json!({})], Inbound::Accept),
            (vec![json!({"crossSessionInbound": "hold"}), json!({"crossSessionInbound": "accept"})], Inbound::Hold),
            (vec![json!({"crossSessionInbound": "hold"}), json!({"crossSessionInbound": "refuse"})], Inbound::Refuse),
            (vec![json!({"crossSessionInbound": 7}), json!([])], Inbound::Accept),
        ] {
            assert_eq!(strictest(&given), expected, "{given:?}");
        }
    }

    #[test]
    fn one_file_that_isolates_suffices() {
        assert!(isolates(&[json!({}), json!({"isolatePeerMachines": true}), json!({"isolatePeerMachines": false})]));
        assert!(!isolates(&[json!({"isolatePeerMachines": "yes"}), json!(null)]));
    }

    #[test]
    fn settings_of_a_folder_are_read() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(".claude")).unwrap();
        assert!(!isolates(&settings(&[folder.path()])));
        std::fs::write(folder.path().join(".claude/settings.local.json"), r#"{"isolatePeerMachines": true}"#).unwrap();
        assert!(isolates(&settings(&[folder.path()])));
    }
}
