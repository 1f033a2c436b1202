//! What is known about the session: where it works, whose process it is, and whether it takes channel events.
//!
//! Reading is one function, [`Surroundings::of_process`]; everything else is pure. What Claude Code tells a server of
//! itself was seen in 2.1.197 and 2.1.330.

use std::fs;
use std::path::{Path, PathBuf};

use super::session_file::SessionFile;
use crate::claude_code::{self, channel_blockers, command_line, lets_us_in};
use crate::process;
use crate::protocol::{Activity, Presence, Seat, SessionFacts, Wake};

/// The variable that overrides whether channel events are used: `on`, `off` or `auto`.
pub const CHANNEL_VARIABLE: &str = "RELAY_CHANNEL";

/// How the entry point of `-p` and of programs begins.
const HEADLESS: &str = "sdk";

/// How many directories up a `.git` is looked for.
const PARENTS_MAX: usize = 64;

/// What the channel's process can see of the session around it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// The folder that the session works in.
    pub cwd: PathBuf,
    /// The branch that is checked out there.
    pub branch: Option<String>,
    /// Our process id.
    pub own_pid: u32,
    /// The parent's process id.
    pub parent_pid: u32,
    /// The parent's command line; empty unless the parent is Claude Code.
    pub parent_command: Vec<String>,
    /// How Claude Code was entered (`CLAUDE_CODE_ENTRYPOINT`): `cli` for a person's session, `sdk-…` for `-p` and
    /// programs. None where the parent is not Claude Code.
    pub entrypoint: Option<String>,
    /// Whether we are started by the plugin.
    pub plugin: bool,
    /// The value of [`CHANNEL_VARIABLE`].
    pub channel_override: Option<String>,
    /// Whether a setting switches channels off.
    pub channels_blocked: bool,
}

impl Surroundings {
    /// Returns what this process sees. Reads the environment, `.git/HEAD`, and the parent's command line.
    pub fn of_process() -> Self {
        let cwd = text_variable("CLAUDE_PROJECT_DIR")
            .map(PathBuf::from)
            .filter(|path| path.is_dir())
            .or_else(|| std::env::current_dir().ok())
            .unwrap_or_else(|| PathBuf::from("/"));
        let parent_pid = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get().unsigned_abs());
        let from_claude = text_variable("CLAUDECODE").is_some();
        let entrypoint = text_variable("CLAUDE_CODE_ENTRYPOINT").filter(|_| from_claude);
        Self {
            branch: branch_of(&cwd),
            cwd,
            own_pid: std::process::id(),
            parent_pid,
            parent_command: if entrypoint.is_some() { command_line(parent_pid) } else { Vec::new() },
            entrypoint,
            plugin: text_variable("CLAUDE_PLUGIN_ROOT").is_some(),
            channel_override: text_variable(CHANNEL_VARIABLE),
            channels_blocked: !channel_blockers(text_variable).is_empty(),
        }
    }

    /// Returns whether the session takes our channel events.
    pub fn takes_channel_events(&self) -> bool {
        match self.channel_override.as_deref() {
            Some("on") => true,
            Some("off") => false,
            _ => !self.is_headless() && !self.channels_blocked && lets_us_in(&self.parent_command, self.plugin),
        }
    }

    /// Returns whether nobody sits before the session: `claude -p`, a program, `claude mcp list`. It gets no channel
    /// events and is no peer before it uses a tool.
    pub fn is_headless(&self) -> bool {
        self.entrypoint.as_deref().is_some_and(|entrypoint| entrypoint.starts_with(HEADLESS))
    }

    /// Returns the file in which Claude Code says what this session does; none of another client.
    pub fn file(&self) -> Option<SessionFile> {
        self.entrypoint.as_ref()?;
        Some(SessionFile::new(&claude_code::config_directory()?, self.parent_pid, &self.cwd))
    }

    /// Returns the best route into the session.
    pub fn wakes_by(&self) -> Wake {
        if self.takes_channel_events() { Wake::Channel } else { Wake::NextPrompt }
    }

    /// Returns what the hub is told. `client` is the MCP client and its version.
    pub fn facts(&self, client: Option<String>) -> SessionFacts {
        let pid = if self.entrypoint.is_some() { self.parent_pid } else { self.own_pid };
        SessionFacts {
            name: None,
            cwd: self.cwd.to_string_lossy().into_owned(),
            branch: self.branch.clone(),
            pid,
            start: process::of(pid).map(|process| process.start),
            seat: self.entrypoint.is_some().then(Seat::default),
            client,
            presence: Presence { status: Activity::Unknown, wakes_by: self.wakes_by() },
        }
    }
}

/// Returns whether nobody sits before the session that started this process, as far as the environment says.
pub fn is_headless_process() -> bool {
    text_variable("CLAUDE_CODE_ENTRYPOINT").is_some_and(|entrypoint| entrypoint.starts_with(HEADLESS))
}

fn text_variable(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()).filter(|value| !value.is_empty())
}

/// Returns the branch that is checked out in this folder or the next one above that is a repository; the first digits
/// of the commit where no branch is.
fn branch_of(folder: &Path) -> Option<String> {
    let git = folder.ancestors().take(PARENTS_MAX).map(|parent| parent.join(".git")).find(|path| path.exists())?;
    let directory = if git.is_dir() {
        git
    } else {
        // A linked worktree and a submodule have a file that says where the directory is (gitrepository-layout(5)).
        let pointer = fs::read_to_string(&git).ok()?;
        git.parent()?.join(pointer.strip_prefix("gitdir:")?.trim())
    };
    branch_of_head(&fs::read_to_string(directory.join("HEAD")).ok()?)
}

/// Returns what the text of a `.git/HEAD` names: a branch, or the first digits of a commit.
pub fn branch_of_head(head: &str) -> Option<String> {
    let head = head.trim();
    if let Some(reference) = head.strip_prefix("ref:") {
        let reference = reference.trim();
        return Some(reference.strip_prefix("refs/heads/").unwrap_or(reference).to_owned());
    }
    let is_commit = head.len() >= 40 && head.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_commit.then(|| head[..8].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_wins_over_what_is_seen() {
        let seen = Surroundings {
            entrypoint: Some("cli".to_owned()),
            parent_command: vec![claude_code::CHANNEL_FLAG.to_owned(), "server:relay".to_owned()],
            ..Surroundings::default()
        };
        assert!(seen.takes_channel_events());
        let with = |value: &str| Surroundings { channel_override: Some(value.to_owned()), ..seen.clone() };
        assert!(!with("off").takes_channel_events());
        assert!(with("auto").takes_channel_events());
        assert!(!Surroundings::default().takes_channel_events());
        assert!(
            Surroundings { channel_override: Some("on".to_owned()), ..Surroundings::default() }.takes_channel_events()
        );
        assert!(!Surroundings { channels_blocked: true, ..seen.clone() }.takes_channel_events());
        assert!(!Surroundings { entrypoint: Some("sdk-cli".to_owned()), ..seen }.takes_channel_events());
    }

    #[test]
    fn a_session_of_claude_code_is_its_process_and_another_is_our_own() {
        let mut seen = Surroundings { own_pid: 11, parent_pid: 10, ..Surroundings::default() };
        assert_eq!(seen.facts(None).pid, 11);
        assert_eq!(seen.facts(None).presence.wakes_by, Wake::NextPrompt);
        seen.entrypoint = Some("cli".to_owned());
        assert_eq!(seen.facts(Some("claude-code 2.1.330".to_owned())).pid, 10);
    }

    #[test]
    fn a_head_names_its_branch_or_its_commit() {
        assert_eq!(branch_of_head("ref: refs/heads/fix/token-shape\n").as_deref(), Some("fix/token-shape"));
        assert_eq!(branch_of_head("e65dd62c0ffee0123456789abcdef0123456789a\n").as_deref(), Some("e65dd62c"));
        assert_eq!(branch_of_head("nonsense\n"), None);
    }

    #[test]
    fn a_branch_is_found_from_below_and_through_a_worktree() {
        let root = tempfile::tempdir().unwrap();
        let (repository, worktree) = (root.path().join("repo"), root.path().join("tree"));
        fs::create_dir_all(repository.join(".git/worktrees/tree")).unwrap();
        fs::create_dir_all(repository.join("src/deep")).unwrap();
        fs::create_dir(&worktree).unwrap();
        fs::write(repository.join(".git/HEAD"), "ref: refs/heads/main\n").unwrap();
        fs::write(repository.join(".git/worktrees/tree/HEAD"), "ref: refs/heads/side\n").unwrap();
        fs::write(worktree.join(".git"), "gitdir: ../repo/.git/worktrees/tree\n").unwrap();
        assert_eq!(branch_of(&repository.join("src/deep")).as_deref(), Some("main"));
        assert_eq!(branch_of(&worktree).as_deref(), Some("side"));
    }
}
