//! claude-relay as its user has it: the programs in a folder, the units installed by `relayctl`, a real `systemd --user`.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use rustix::thread::set_thread_res_uid;
use serde_json::{Value, json};

use super::hub_process::{RawClient, SOON};
use super::mcp::{Builder, Session};
use super::user_manager::UserManager;

pub(crate) const PROGRAMS: [&str; 4] = [
    env!("CARGO_BIN_EXE_relay-hub"),
    env!("CARGO_BIN_EXE_relay-channel"),
    env!("CARGO_BIN_EXE_relay-bridge"),
    env!("CARGO_BIN_EXE_relayctl"),
];

/// An installation. Dropping it undoes it where the manager is not a private one, which goes as a whole.
pub(crate) struct Installed {
    pub(crate) manager: UserManager,
    bindir: PathBuf,
    /// The user's runtime directory, open: this process has no path to it that it could also use as the user.
    runtime_dir: OwnedFd,
}

impl Installed {
    /// Installs everything with this manager.
    pub(crate) fn with(manager: UserManager) -> Self {
        Self::with_programs(manager, &PROGRAMS)
    }

    /// Installs these programs with this manager: `relayctl` and what it installs.
    pub(crate) fn with_programs(manager: UserManager, programs: &[impl AsRef<Path>]) -> Self {
        let bindir = manager.install_programs(programs);
        let path = manager.outside(manager.runtime_dir());
        let runtime_dir = rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let relay = Self { manager, bindir, runtime_dir: runtime_dir.unwrap() };
        relay.relayctl_ok("install-service");
        relay
    }

    /// Replaces the programs by those that the tests are built with.
    pub(crate) fn upgrade(&self) {
        self.manager.install_programs(&PROGRAMS);
    }

    /// Returns the directory of the installed programs.
    pub(crate) fn bindir(&self) -> &Path {
        &self.bindir
    }

    /// Returns the path of an installed program.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.bindir.join(name)
    }

    /// Runs `relayctl` as the user with these arguments, separated by blanks.
    pub(crate) fn relayctl(&self, arguments: &str) -> Output {
        let mut command = self.manager.command("timeout");
        command.args(["-k", "1", "20"]).arg(self.program("relayctl")).args(arguments.split_ascii_whitespace());
        command.output().unwrap()
    }

    /// Runs `relayctl`, which must succeed, and returns what it wrote to both streams.
    #[track_caller]
    pub(crate) fn relayctl_ok(&self, arguments: &str) -> String {
        let output = self.relayctl(arguments);
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "relayctl {arguments}: {} {said}", output.status);
        said
    }

    /// Adds these lines to the service as an administrator does, in a file beside the unit, which stays as shipped.
    pub(crate) fn drop_in(&self, lines: &str) {
        self.drop_in_for("relay.service", &format!("[Service]\n{lines}"));
    }

    /// Adds these lines to a unit.
    pub(crate) fn drop_in_for(&self, unit: &str, lines: &str) {
        let directory = self.drop_ins(unit);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("test.conf"), format!("{lines}\n")).unwrap();
        self.manager.systemctl("daemon-reload");
    }

    /// Starts hubs with these further arguments, by a drop-in that leaves the rest of the unit alone.
    pub(crate) fn hub_arguments(&self, arguments: &str) {
        self.drop_in(&format!("ExecStart=\nExecStart=\"{}\" {arguments}", self.program("relay-hub").display()));
    }

    fn drop_ins(&self, unit: &str) -> PathBuf {
        self.manager.outside(&self.manager.runtime_dir().join(format!("systemd/user/{unit}.d")))
    }

    /// Returns the path of the hub's socket for this process.
    pub(crate) fn socket(&self) -> PathBuf {
        self.manager.outside(&self.manager.runtime_dir().join("relay/hub.sock"))
    }

    /// Connects as the user, and says nothing.
    pub(crate) fn connect(&self) -> io::Result<UnixStream> {
        self.connect_to("relay/hub.sock")
    }

    fn connect_to(&self, path: &str) -> io::Result<UnixStream> {
        let path = format!("/proc/self/fd/{}/{path}", self.runtime_dir.as_raw_fd());
        let _user = EffectiveUser::of(self.manager.uid());
        UnixStream::connect(path)
    }

    /// Connects as the user and is welcomed, as a tool.
    #[track_caller]
    pub(crate) fn client(&self) -> RawClient {
        let mut client = RawClient::over(self.connect().unwrap());
        greet(&mut client);
        client
    }

    /// Returns the process id of the hub that answers; starts one if none runs.
    #[track_caller]
    pub(crate) fn hub(&self) -> u32 {
        hub_of(&mut self.client())
    }

    /// Starts a session in a folder of this name, which can be woken.
    pub(crate) fn session(&self, folder: &str) -> Session {
        let path = self.manager.home().join(folder);
        fs::create_dir_all(&path).unwrap();
        let command = self.manager.command_in(&path, self.program("relay-channel"));
        Builder::of(command).env("RELAY_CHANNEL", "on").start()
    }

    /// Returns the names of the peers.
    pub(crate) fn peers(&self) -> Vec<String> {
        let mut client = self.client();
        client.say(&json!({"type": "peers", "id": 3}));
        let answer = client.hear();
        answer["peers"].as_array().unwrap().iter().map(|peer| peer["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Returns the journal's entries of the service.
    pub(crate) fn journal(&self) -> Vec<Value> {
        self.manager.journal("relay.service").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Returns the process id of the service manager.
    pub(crate) fn manager_pid(&self) -> u32 {
        let listener = rustix::net::sockopt::socket_peercred(self.connect_to("systemd/private").unwrap());
        listener.unwrap().pid.as_raw_nonzero().get().cast_unsigned()
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        for unit in ["relay.socket", "relay.service"] {
            let _removed = fs::remove_dir_all(self.drop_ins(unit));
        }
        if geteuid().as_raw() == self.manager.uid() {
            let _undone = self.relayctl("uninstall-service");
        }
    }
}

/// Makes the calling thread act as the user, whom the kernel then names to those it connects to, until it is dropped.
struct EffectiveUser;

impl EffectiveUser {
    fn of(uid: u32) -> Option<Self> {
        (geteuid().as_raw() != uid).then(|| {
            set_thread_res_uid(None, rustix::process::Uid::from_raw(uid), None).unwrap();
            Self
        })
    }
}

impl Drop for EffectiveUser {
    fn drop(&mut self) {
        set_thread_res_uid(None, rustix::process::Uid::ROOT, None).unwrap();
    }
}

/// Says hello on a fresh connection and hears the welcome.
#[track_caller]
pub(crate) fn greet(client: &mut RawClient) {
    static CLIENTS: AtomicU64 = AtomicU64::new(1);
    let key = format!("{:032x}", CLIENTS.fetch_add(1, Ordering::Relaxed));
    client.say(&json!({
        "type": "hello", "id": 1, "versions": {"min": 1, "max": 2}, "key": key, "program": "test 1", "kind": "control",
    }));
    assert_eq!(client.hear()["type"], "welcome");
}

/// Returns the process id of the hub that this client is connected to.
#[track_caller]
pub(crate) fn hub_of(client: &mut RawClient) -> u32 {
    client.say(&json!({"type": "status", "id": 2}));
    client.hear()["pid"].as_u64().unwrap().try_into().unwrap()
}

/// Sends a signal to a process.
pub(crate) fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
}

/// Returns whether a process runs; one that has ended and waits for its parent does not.
pub(crate) fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, fields)| !fields.starts_with(['Z', 'X']))
}

/// Returns how much processor time a process has had, with all of its children that have ended.
pub(crate) fn cpu_time(pid: u32) -> Duration {
    // proc_pid_stat(5): utime, stime, cutime, cstime in ticks, of which the kernel shows 100 a second.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks = fields.split_ascii_whitespace().skip(11).take(4).map(|field| field.parse::<u64>().unwrap());
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

/// Waits until `look` finds something and returns it.
#[track_caller]
pub(crate) fn soon<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(SOON, what, look)
}

/// Waits until `look` finds something and returns it, no longer than `time`.
#[track_caller]
pub(crate) fn within<T>(time: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + time;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what} did not come within {time:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Returns whether something is at this path.
pub(crate) fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}
