//! The folder that a session works in and the branch that is checked out there: facts of the moment.

use std::fs;
use std::path::{Path, PathBuf};

/// How many directories up a `.git` is looked for.
const PARENTS_MAX: usize = 64;

/// The most bytes of a `.git` or `HEAD` file that are read.
const FILE_MAX_BYTES: u64 = 64 * 1024;

/// A folder and its branch, as of the last look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    path: PathBuf,
    branch: Option<String>,
}

impl Folder {
    /// Returns this folder. Reads `.git/HEAD`.
    pub fn new(path: PathBuf) -> Self {
        Self { branch: branch_of(&path), path }
    }

    /// Returns the folder's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the branch of the last look; the first digits of the commit where no branch was checked out.
    pub fn branch(&self) -> Option<&str> {
        self.branch.as_deref()
    }

    /// Records that the session works in this folder now, which is not looked at yet.
    pub fn go(&mut self, path: &Path) {
        if path.is_absolute() && self.path != path {
            path.clone_into(&mut self.path);
        }
    }

    /// Reads `.git/HEAD` again.
    pub fn look(&mut self) {
        self.branch = branch_of(&self.path);
    }
}

/// Returns the branch that is checked out in this folder or the next one above that is a repository.
fn branch_of(folder: &Path) -> Option<String> {
    let git = folder.ancestors().take(PARENTS_MAX).map(|parent| parent.join(".git")).find(|path| path.exists())?;
    let directory = if git.is_dir() {
        git
    } else {
        // A linked worktree and a submodule have a file that says where the directory is (gitrepository-layout(5)).
        let pointer = read(&git)?;
        git.parent()?.join(pointer.strip_prefix("gitdir:")?.trim())
    };
    branch_of_head(&read(&directory.join("HEAD"))?)
}

fn read(path: &Path) -> Option<String> {
    use std::io::Read;
    // Of anything but a file, opening it could take for ever.
    fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    let mut text = String::new();
    fs::File::open(path).ok()?.take(FILE_MAX_BYTES).read_to_string(&mut text).ok()?;
    Some(text)
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
    fn head_names_its_branch_or_its_commit() {
        assert_eq!(branch_of_head("ref: refs/heads/fix/token-shape\n").as_deref(), Some("fix/token-shape"));
        assert_eq!(branch_of_head("e65dd62c0ffee0123456789abcdef0123456789a\n").as_deref(), Some("e65dd62c"));
        assert_eq!(branch_of_head("nonsense\n"), None);
    }

    #[test]
    fn branch_is_found_from_below_and_through_a_worktree() {
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

    #[test]
    fn folder_and_branch_follow_the_session() {
        let root = tempfile::tempdir().unwrap();
        let (one, two) = (root.path().join("one"), root.path().join("two"));
        for (path, branch) in [(&one, "main"), (&two, "hotfix")] {
            fs::create_dir_all(path.join(".git")).unwrap();
            fs::write(path.join(".git/HEAD"), format!("ref: refs/heads/{branch}\n")).unwrap();
        }
        let mut folder = Folder::new(one.clone());
        assert_eq!(folder.branch(), Some("main"));
        fs::write(one.join(".git/HEAD"), "ref: refs/heads/next\n").unwrap();
        folder.look();
        assert_eq!(folder.branch(), Some("next"));
        folder.go(&two);
        folder.go(Path::new("relative"));
        folder.look();
        assert_eq!((folder.path(), folder.branch()), (two.as_path(), Some("hotfix")));
    }
}
