//! A real `systemd --user` for tests, private to each of them: own user, own `/run`, own journal, own control groups.
//!
//! Several run beside each other, in one process or in many. Everything is gone when the value is dropped; what a
//! killed run has left is removed by the next one. Without root the tests are skipped, each in a line that CI can look
//! for, unless `RELAY_TEST_USER_MANAGER=1` lets them use the manager of the user who runs them.

use crate::support::program_copy::copy_program;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SCRIPT: &str = include_str!("user_manager.sh");

/// The users of the managers: outside the ranges of people, packages and systemd.
const UIDS: std::ops::Range<u32> = 61_000..61_032;

/// Where each manager has a directory: the user must be able to reach it, and `/run` is another one for it.
const DIRECTORIES: &str = "/var/tmp";

/// Why there is no user manager for this test.
#[derive(Debug)]
pub struct Unavailable(String);

impl std::fmt::Display for Unavailable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<io::Error> for Unavailable {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

/// Returns a user manager, or skips the test that calls it.
macro_rules! user_manager {
    () => {{
        fn here() {}
        match $crate::support::user_manager::UserManager::start() {
            Ok(manager) => manager,
            Err(why) => {
                let test = std::any::type_name_of_val(&here).trim_end_matches("::here");
                return $crate::support::skip::skipped(test, &why);
            }
        }
    }};
}
pub(crate) use user_manager;

/// A running user manager. Dropping it ends everything that it and [`UserManager::command`] have started.
#[derive(Debug)]
pub struct UserManager {
    uid: u32,
    directory: PathBuf,
    home: PathBuf,
    runtime_dir: PathBuf,
    /// The process that keeps the manager, unless it is the user's own manager.
    supervisor: Option<Child>,
    /// Held as long as the user id is in use; the kernel releases it with the process.
    _claim: Option<UnixListener>,
}

impl UserManager {
    /// Starts a private user manager and returns when it answers.
    pub fn start() -> Result<Self, Unavailable> {
        if !rustix::process::geteuid().is_root() {
            return Self::own();
        }
        for program in
            ["unshare", "nsenter", "setpriv", "systemctl", "/lib/systemd/systemd", "/lib/systemd/systemd-journald"]
        {
            let found = Command::new("sh").args(["-c", "command -v \"$0\"", program]).stdout(Stdio::null()).status()?;
            if !found.success() {
                return Err(Unavailable(format!("{program} is missing (Debian packages systemd and util-linux)")));
            }
        }
        let (uid, claim) = claim()?;
        let directory = Path::new(DIRECTORIES).join(directory_name(uid));
        fs::DirBuilder::new().mode(0o755).create(&directory)?;
        let home = directory.join("home");
        for path in [&home, &directory.join("bin")] {
            fs::create_dir(path)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
        }
        fs::write(directory.join("script"), SCRIPT)?;
        let mut manager = Self {
            uid,
            directory,
            home,
            runtime_dir: format!("/run/user/{uid}").into(),
            supervisor: None,
            _claim: Some(claim),
        };
        manager.supervise()?;
        Ok(manager)
    }

    fn supervise(&mut self) -> Result<(), Unavailable> {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", SCRIPT, "user_manager", "start"]).arg(self.uid.to_string());
        command.arg(&self.directory).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.environment(&mut command);
        let supervisor = self.supervisor.insert(command.spawn()?);
        let mut line = String::new();
        if let Some(stdout) = supervisor.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        if line != "ready\n" {
            let mut said = String::new();
            if let Some(mut stderr) = supervisor.stderr.take() {
                io::Read::read_to_string(&mut stderr, &mut said)?;
            }
            return Err(Unavailable(format!("a private user manager cannot be set up here: {}", said.trim())));
        }
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let output = self.command("systemctl").args(["--user", "is-system-running"]).output()?;
            if output.stdout == b"running\n" {
                return Ok(());
            }
            if Instant::now() > deadline {
                let log = fs::read_to_string(self.directory.join("manager.log")).unwrap_or_default();
                let said =
                    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
                return Err(Unavailable(format!("the private user manager does not answer: {said}{log}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Returns the manager of the user who runs the tests, if that is allowed: they change what is installed there.
    fn own() -> Result<Self, Unavailable> {
        if std::env::var_os("RELAY_TEST_USER_MANAGER").is_none_or(|value| value != "1") {
            return Err(Unavailable(
                "a private user manager needs root; RELAY_TEST_USER_MANAGER=1 uses your own".to_owned(),
            ));
        }
        let variable = |name: &str| {
            std::env::var_os(name).map(PathBuf::from).ok_or_else(|| Unavailable(format!("{name} is not set")))
        };
        let uid = rustix::process::geteuid().as_raw();
        let (home, runtime_dir) = (variable("HOME")?, variable("XDG_RUNTIME_DIR")?);
        let directory = tempfile::Builder::new().prefix("relay-test-").tempdir_in(DIRECTORIES)?.keep();
        fs::create_dir(directory.join("bin"))?;
        let manager = Self { uid, directory, home, runtime_dir, supervisor: None, _claim: None };
        let output = manager.command("systemctl").args(["--user", "show", "--property=Version"]).output()?;
        match output.status.success() {
            true => Ok(manager),
            false => Err(Unavailable(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
        }
    }

    /// Returns a command that the user runs in the home directory, beside the manager, with a small environment of its
    /// own. Arguments and variables can be added; the child's id is that of the program.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.command_in(&self.home, program)
    }

    /// Returns a [`UserManager::command`] that runs in another directory.
    pub fn command_in(&self, directory: &Path, program: impl AsRef<OsStr>) -> Command {
        let mut command = match &self.supervisor {
            Some(supervisor) => {
                let mut command = Command::new("sh");
                command.args(["-c", SCRIPT, "user_manager", "enter"]).arg(self.uid.to_string());
                command.arg(supervisor.id().to_string()).arg(directory).arg(program);
                command
            }
            None => {
                let mut command = Command::new(program);
                command.current_dir(directory);
                command
            }
        };
        self.environment(&mut command);
        command.stdin(Stdio::null());
        command
    }

    /// Runs `systemctl --user` with these arguments, separated by blanks, and returns what it wrote.
    ///
    /// # Panics
    /// The command fails.
    pub fn systemctl(&self, arguments: &str) -> String {
        let output = self.command("systemctl").arg("--user").args(arguments.split_ascii_whitespace()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "systemctl --user {arguments}: {} {said}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    /// Returns one property of a unit.
    pub fn property(&self, unit: &str, property: &str) -> String {
        self.systemctl(&format!("show {unit} --property={property} --value")).trim_end().to_owned()
    }

    /// Returns what the journal has from a unit of this manager, one JSON object in each line.
    pub fn journal(&self, unit: &str) -> String {
        let output = self.command("journalctl").args(["--user-unit", unit, "-o", "json", "--all"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Returns the process id of the journal; nothing where it is everybody's.
    pub fn journal_pid(&self) -> Option<u32> {
        self.supervisor.as_ref()?;
        first_process(&format!("user.slice/user-{}.slice/journal.scope", self.uid))
    }

    /// Returns the id of the user.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// Returns the user's home directory, which has the same path for everybody.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Returns the user's runtime directory (`%t`), by its path inside.
    pub fn runtime_dir(&self) -> &Path {
        &self.runtime_dir
    }

    /// Returns the path by which this process reaches a file that the user sees at `path`, such as one in `/run`.
    pub fn outside(&self, path: &Path) -> PathBuf {
        match &self.supervisor {
            Some(supervisor) => {
                let root = PathBuf::from(format!("/proc/{}/root", supervisor.id()));
                root.join(path.strip_prefix("/").unwrap_or(path))
            }
            None => path.to_owned(),
        }
    }

    /// Copies programs into a directory from which the user can run them, and returns it. A running program of the same
    /// name is replaced as a package would do it: by a new file.
    pub fn install_programs(&self, programs: &[impl AsRef<Path>]) -> PathBuf {
        let directory = self.directory.join("bin");
        for program in programs.iter().map(AsRef::as_ref) {
            let target = directory.join(program.file_name().unwrap());
            let new = target.with_extension("new");
            copy_program(program, &new);
            fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
            fs::rename(&new, &target).unwrap();
        }
        directory
    }

    /// Mounts a file system of memory with these options over a directory, for the user of a private manager alone. It goes with the
    /// manager. Returns nothing where that cannot be done.
    pub fn mount_memory(&self, directory: &Path, options: &str) -> Option<()> {
        let namespace = format!("--mount=/proc/{}/ns/mnt", self.supervisor.as_ref()?.id());
        let mut command = Command::new("nsenter");
        command.arg(namespace).args(["mount", "-t", "tmpfs", "-o", options, "tmpfs"]).arg(directory);
        command.status().is_ok_and(|status| status.success()).then_some(())
    }

    fn environment(&self, command: &mut Command) {
        command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("HOME", &self.home).env("XDG_RUNTIME_DIR", &self.runtime_dir).env("LANG", "C.UTF-8");
        command.env("SYSTEMD_PAGER", "").env("SYSTEMD_COLORS", "0");
    }
}

impl Drop for UserManager {
    fn drop(&mut self) {
        if let Some(supervisor) = &mut self.supervisor {
            drop(supervisor.stdin.take());
            let _ = supervisor.wait();
        }
        if self._claim.is_some() {
            clean(self.uid);
        } else {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

/// Returns the first process of a control group, in whichever hierarchy has it.
pub fn first_process(group: &str) -> Option<u32> {
    let mut roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"].iter();
    roots.find_map(|root| fs::read_to_string(format!("{root}/{group}/cgroup.procs")).ok()?.lines().next()?.parse().ok())
}

/// Returns a user id that nobody uses, and removes what killed runs have left of any.
fn claim() -> Result<(u32, UnixListener), Unavailable> {
    let mut claimed = None;
    for uid in UIDS {
        // An abstract name is taken by one process at a time and leaves nothing behind.
        let name = SocketAddr::from_abstract_name(format!("claude-relay-test-user-manager-{uid}"))?;
        let Ok(claim) = UnixListener::bind_addr(&name) else { continue };
        let is_dirty = fs::symlink_metadata(Path::new(DIRECTORIES).join(directory_name(uid))).is_ok();
        if is_dirty {
            clean(uid);
        }
        if claimed.is_none() {
            claimed = Some((uid, claim));
        }
    }
    claimed.ok_or_else(|| Unavailable(format!("all of the {} user managers are in use", UIDS.len())))
}

/// Ends and removes everything of a user. The directory goes last: it is what says that there is something to remove.
fn clean(uid: u32) {
    let status = Command::new("sh").args(["-c", SCRIPT, "user_manager", "clean"]).arg(uid.to_string()).status();
    let directory = Path::new(DIRECTORIES).join(directory_name(uid));
    // In a directory for everybody, what is not root's is not ours.
    let is_ours = fs::symlink_metadata(&directory).is_ok_and(|found| found.is_dir() && found.uid() == 0);
    if is_ours && status.is_ok_and(|status| status.success()) {
        let _ = fs::remove_dir_all(directory);
    }
}

fn directory_name(uid: u32) -> String {
    format!("relay-test-user-{uid}")
}
