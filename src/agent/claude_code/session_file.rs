//! The file in which Claude Code says what a session does: `sessions/PID.json` in its configuration directory, with its
//! folder, the name that its user gave it, and whether its model works or it stands at a dialog.
//!
//! The file is no documented interface (seen in 2.1.197 and 2.1.330), so everything works without it: then the session's
//! activity is unknown, and neither its user's `/rename` nor a change of its folder is followed.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::super::kind::State;
use crate::process::Process;
use crate::protocol::{Activity, PeerName};

/// The most bytes of a file that are read.
const FILE_MAX_BYTES: u64 = 64 * 1024;

/// The most characters of what the session is said to wait for.
const WAITING_FOR_MAX_CHARS: usize = 80;

/// The file, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    session_id: Option<String>,
    name: Option<String>,
    name_source: Option<String>,
    status: Option<String>,
    waiting_for: Option<String>,
    cwd: Option<PathBuf>,
    proc_start: Option<String>,
}

/// A session's file, and what it said at the last look.
#[derive(Debug)]
pub struct SessionFile {
    path: PathBuf,
    process: Process,
    /// The folder's name as a slug: names that the client derives begin with it.
    folder: PeerName,
    last: Option<Record>,
}

/// Returns where the file of the session with this process id is, or would be.
pub fn path(config: &Path, pid: u32) -> PathBuf {
    config.join("sessions").join(format!("{pid}.json"))
}

impl SessionFile {
    /// Returns the file of the session with this process, which was started in this folder.
    pub fn new(config: &Path, process: Process, folder: &Path) -> Self {
        let folder = PeerName::of_folder(&folder.to_string_lossy());
        Self { path: path(config, process.pid), process, folder, last: None }
    }

    /// Looks at the file; none where nothing can be read, which can be for a moment only: it is rewritten in place.
    pub fn look(&mut self) -> Option<State> {
        // Of anything but a file, opening it could take for ever.
        std::fs::metadata(&self.path).ok().filter(std::fs::Metadata::is_file)?;
        let mut text = String::new();
        std::fs::File::open(&self.path).ok()?.take(FILE_MAX_BYTES).read_to_string(&mut text).ok()?;
        self.take(serde_json::from_str(&text).ok()?)
    }

    /// Returns what a record says; nothing where it is left over from an earlier process with the same id.
    fn take(&mut self, record: Record) -> Option<State> {
        let start = record.proc_start.as_deref().and_then(|start| start.parse().ok());
        if cfg!(target_os = "linux") && start.is_some_and(|start: u64| start != self.process.plain_start()) {
            return None;
        }
        let activity = match record.status.as_deref() {
            Some("idle") => Activity::Idle,
            Some("busy") => Activity::Busy,
            Some("waiting") => Activity::Waiting,
            Some(_) | None => Activity::Unknown,
        };
        let given = record.name.clone().filter(|name| self.is_given(name, record.name_source.as_deref()));
        // Another conversation brings its own name along (`/resume`), which nobody has given this session now.
        let name = match &self.last {
            Some(last) if last.name == record.name || last.session_id != record.session_id => None,
            Some(_) | None => given,
        };
        let waiting_for = record.waiting_for.as_deref().filter(|_| activity == Activity::Waiting);
        let waiting_for = waiting_for.map(|text| text.chars().take(WAITING_FOR_MAX_CHARS).collect());
        let cwd = record.cwd.clone();
        self.last = Some(record);
        Some(State { activity, waiting_for, cwd, name })
    }

    /// Returns whether the user gave this name. 2.1.330 says so; 2.1.197 says nothing, and derives `folder-ee`. A branch of
    /// a conversation is named by the client in both.
    fn is_given(&self, name: &str, source: Option<&str>) -> bool {
        if name.ends_with(" (Branch)") {
            return false;
        }
        match source {
            // Of a session that was started in the background (`--bg -n NAME`) it is "peer".
            Some(source) => matches!(source, "user" | "collision" | "peer"),
            None => !self.is_derived(name),
        }
    }

    fn is_derived(&self, name: &str) -> bool {
        name.rsplit_once('-').is_some_and(|(folder, digits)| {
            let is_short_hex = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_short_hex && PeerName::of_folder(folder) == self.folder
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn file() -> SessionFile {
        SessionFile::new(Path::new("/nonexistent"), Process { pid: 4711, start: 7 }, Path::new("/srv/Back End"))
    }

    fn take(file: &mut SessionFile, record: Value) -> State {
        file.take(serde_json::from_value(record).unwrap()).unwrap()
    }

    fn named(name: &str, source: Option<&str>) -> Option<String> {
        take(&mut file(), json!({"sessionId": "s", "name": name, "nameSource": source, "status": "idle"})).name
    }

    #[test]
    fn name_counts_only_if_the_user_gave_it() {
        for (name, source) in [
            ("Tokens & keys", Some("user")),
            ("same-recursive-rocket", Some("collision")),
            ("bgworker", Some("peer")),
            ("back-end-3", None),
            ("front-end-3f", None),
        ] {
            assert_eq!(named(name, source).as_deref(), Some(name));
        }
        for (name, source) in [("back-end-3f", Some("derived")), ("back-end-3f", None), ("what is up (Branch)", None)] {
            assert_eq!(named(name, source), None);
        }
    }

    #[test]
    fn name_is_told_once_and_not_when_another_conversation_brings_it() {
        let mut file = file();
        let mut name =
            |id: &str, name: &str| take(&mut file, json!({"sessionId": id, "name": name, "nameSource": "user"})).name;
        assert_eq!(name("1", "alpha").as_deref(), Some("alpha"));
        assert_eq!(name("1", "alpha"), None);
        assert_eq!(name("1", "beta").as_deref(), Some("beta"));
        assert_eq!(name("2", "beta"), None);
        assert_eq!(name("3", "gamma"), None);
        assert_eq!(name("3", "delta").as_deref(), Some("delta"));
    }

    #[test]
    fn waiting_session_says_at_which_dialog_it_stands() {
        let state = |status: &str| {
            let state =
                take(&mut file(), json!({"status": status, "waitingFor": "permission prompt", "cwd": "/srv/x"}));
            (state.activity, state.waiting_for, state.cwd)
        };
        let cwd = Some(PathBuf::from("/srv/x"));
        let waiting_for = Some("permission prompt".to_owned());
        assert_eq!(state("waiting"), (Activity::Waiting, waiting_for, cwd.clone()));
        assert_eq!(state("idle"), (Activity::Idle, None, cwd.clone()));
        assert_eq!(state("busy"), (Activity::Busy, None, cwd.clone()));
        assert_eq!(state("dreaming"), (Activity::Unknown, None, cwd));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn file_of_an_earlier_process_says_nothing() {
        let record = |start: &str| serde_json::from_value(json!({"procStart": start, "status": "idle"})).unwrap();
        assert_eq!(file().take(record("6")), None);
        assert!(file().take(record("7")).is_some());
    }
}
