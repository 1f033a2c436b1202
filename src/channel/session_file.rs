//! What Claude Code says of a session in its own file, `sessions/<pid>.json` in its configuration directory: the name that
//! its user gave it, and whether its model works.
//!
//! The file is no documented interface (seen in 2.1.197 and 2.1.330), so everything works without it: then the session's
//! activity is unknown and its user's `/rename` is not followed.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::protocol::{Activity, PeerName};

/// The most bytes of a file that are read.
const FILE_MAX_BYTES: u64 = 64 * 1024;

/// The file, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    session_id: Option<String>,
    name: Option<String>,
    name_source: Option<String>,
    status: Option<String>,
}

/// What has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What the session does now.
    pub activity: Activity,
    /// The name that its user has given it since the last look.
    pub name: Option<String>,
}

/// A session's file, and what it said at the last look.
#[derive(Debug)]
pub struct SessionFile {
    path: PathBuf,
    /// The folder's name as a slug: names that the client derives begin with it.
    folder: PeerName,
    last: Option<Record>,
}

impl SessionFile {
    /// Returns the file of the session whose client has this process id and works in this folder.
    pub fn new(config: &Path, pid: u32, folder: &Path) -> Self {
        let path = config.join("sessions").join(format!("{pid}.json"));
        Self { path, folder: PeerName::of_folder(&folder.to_string_lossy()), last: None }
    }

    /// Returns where the file is, or would be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Looks at the file; none where nothing can be read, which can be for a moment only: it is rewritten in place.
    pub fn look(&mut self) -> Option<Change> {
        use std::io::Read;
        let mut text = String::new();
        // Of anything but a file, opening it could take for ever.
        std::fs::metadata(&self.path).ok().filter(std::fs::Metadata::is_file)?;
        std::fs::File::open(&self.path).ok()?.take(FILE_MAX_BYTES).read_to_string(&mut text).ok()?;
        Some(self.take(serde_json::from_str(&text).ok()?))
    }

    fn take(&mut self, record: Record) -> Change {
        let activity = match record.status.as_deref() {
            Some("idle") => Activity::Idle,
            Some("busy") => Activity::Busy,
            Some(_) | None => Activity::Unknown,
        };
        let given = record.name.clone().filter(|name| self.is_given(name, record.name_source.as_deref()));
        // Another conversation brings its own name along (`/resume`), which nobody has given this session now.
        let name = match &self.last {
            Some(last) if last.name == record.name || last.session_id != record.session_id => None,
            Some(_) | None => given,
        };
        self.last = Some(record);
        Change { activity, name }
    }

    /// Returns whether the user gave this name. 2.1.330 says so; 2.1.197 says nothing, and derives `folder-ee`. A branch of
    /// a conversation is named by the client in both.
    fn is_given(&self, name: &str, source: Option<&str>) -> bool {
        if name.ends_with(" (Branch)") {
            return false;
        }
        match source {
            Some(source) => matches!(source, "user" | "collision"),
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

/// Calls `changed` whenever the file may have changed, until the receiver has gone: when it returns `false`.
///
/// The kernel tells (inotify(7)). Other systems have no safe binding for it here: there the file is only looked at when the
/// session's hooks or tools run.
#[cfg(target_os = "linux")]
pub async fn follow(path: PathBuf, changed: impl Fn() -> bool) -> std::io::Result<()> {
    use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
    use std::collections::BTreeSet;
    use std::mem::MaybeUninit;
    use tokio::io::Interest;

    use crate::watched;

    let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    let watch = watched::watch(watch, Interest::READABLE)?;
    let add = |path: &Path, flags| inotify::add_watch(watch.get_ref(), path, flags).ok();
    let writes = WatchFlags::MODIFY | WatchFlags::CLOSE_WRITE;
    let made = WatchFlags::CREATE | WatchFlags::MOVED_TO;
    // Watches of the directories above the file, which matter as long as it was never there: both, since the client's first
    // session ever makes `sessions` as well. Others come and go in them.
    let mut above = BTreeSet::new();
    loop {
        // The file is rewritten in place. What is made while the watches are set, from the top down, is met by the next
        // one; who is watched already stays so. Removing a watch is an event as well, so that is done once.
        let mut is_there = add(&path, writes).is_some();
        if !is_there {
            let directories: Vec<&Path> = path.ancestors().skip(1).take(2).collect();
            above.extend(directories.into_iter().rev().filter_map(|directory| add(directory, made)));
            is_there = add(&path, writes).is_some();
            if !is_there && above.is_empty() {
                return Err(std::io::ErrorKind::NotFound.into());
            }
        }
        if is_there {
            for directory in std::mem::take(&mut above) {
                // Of a directory that was removed the watch has gone already.
                let _has_gone = inotify::remove_watch(watch.get_ref(), directory);
            }
        }
        if !changed() {
            return Ok(());
        }
        let mut ready = watch.readable().await?;
        let mut bytes = [MaybeUninit::uninit(); 1024];
        let mut events = inotify::Reader::new(watch.get_ref(), &mut bytes);
        while events.next().is_ok() {}
        ready.clear_ready();
    }
}

/// Calls `changed` once: nothing tells of changes here.
#[cfg(not(target_os = "linux"))]
pub async fn follow(_: PathBuf, changed: impl Fn() -> bool) -> std::io::Result<()> {
    changed();
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn file() -> SessionFile {
        SessionFile::new(Path::new("/nonexistent"), 4711, Path::new("/srv/Back End"))
    }

    fn take(file: &mut SessionFile, record: Value) -> Change {
        file.take(serde_json::from_value(record).unwrap())
    }

    fn named(name: &str, source: Option<&str>) -> Option<String> {
        take(&mut file(), json!({"sessionId": "s", "name": name, "nameSource": source, "status": "idle"})).name
    }

    #[test]
    fn only_a_name_that_the_user_gave_counts() {
        assert_eq!(named("Tokens & keys", Some("user")).as_deref(), Some("Tokens & keys"));
        assert_eq!(named("same-recursive-rocket", Some("collision")).as_deref(), Some("same-recursive-rocket"));
        assert_eq!(named("back-end-3f", Some("derived")), None);
        assert_eq!(named("back-end-3f", None), None);
        assert_eq!(named("back-end-3", None).as_deref(), Some("back-end-3"));
        assert_eq!(named("front-end-3f", None).as_deref(), Some("front-end-3f"));
        assert_eq!(named("what is up (Branch)", None), None);
    }

    #[test]
    fn a_name_is_told_once_and_not_when_another_conversation_brings_it() {
        let mut file = file();
        let record = |id: &str, name: &str, status: &str| json!({"sessionId": id, "name": name, "nameSource": "user", "status": status, "pid": 4711});
        let change = |activity, name: Option<&str>| Change { activity, name: name.map(str::to_owned) };
        assert_eq!(take(&mut file, record("1", "alpha", "idle")), change(Activity::Idle, Some("alpha")));
        assert_eq!(take(&mut file, record("1", "alpha", "busy")), change(Activity::Busy, None));
        assert_eq!(take(&mut file, record("1", "beta", "waiting")), change(Activity::Unknown, Some("beta")));
        assert_eq!(take(&mut file, record("2", "beta", "idle")), change(Activity::Idle, None));
        assert_eq!(take(&mut file, record("3", "gamma", "idle")), change(Activity::Idle, None));
        assert_eq!(take(&mut file, record("3", "delta", "idle")), change(Activity::Idle, Some("delta")));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_is_followed_from_before_its_directory_was_made() {
        use std::cell::{Cell, RefCell};
        let config = tempfile::tempdir().unwrap();
        let path = config.path().join("sessions/4711.json");
        let file = RefCell::new(SessionFile::new(config.path(), 4711, Path::new("/srv/api")));
        let looks = Cell::new(0);
        // Each step is taken when the one before it was told.
        let changed = || {
            looks.set(looks.get() + 1);
            match file.borrow_mut().look().map(|change| change.activity) {
                Some(Activity::Idle) => return false,
                Some(_) => std::fs::write(&path, r#"{"name":"api-1e","status":"idle"}"#).unwrap(),
                None if looks.get() == 1 => std::fs::create_dir(path.parent().unwrap()).unwrap(),
                None => std::fs::write(&path, r#"{"name":"api-1e"}"#).unwrap(),
            }
            true
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let followed =
            async { tokio::time::timeout(std::time::Duration::from_secs(20), follow(path.clone(), changed)).await };
        runtime.block_on(followed).unwrap().unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_others_make_is_one_look_and_no_more() {
        use std::cell::Cell;
        use std::time::Duration;
        let config = tempfile::tempdir().unwrap();
        let path = config.path().join("sessions/4711.json");
        let looks = Cell::new(0);
        let changed = || {
            looks.set(looks.get() + 1);
            true
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let others = async {
                for (n, name) in ["history", "settings", "plugins"].into_iter().enumerate() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    assert_eq!(looks.get(), n + 1);
                    std::fs::write(config.path().join(name), "").unwrap();
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            };
            tokio::select! {
                _ = follow(path.clone(), changed) => panic!("it is followed for good"),
                () = others => {}
            }
        });
        assert_eq!(looks.get(), 4);
    }
}
