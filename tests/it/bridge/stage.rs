//! The machines: what runs on each, and how they are reached from each other.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::network::program_in;
use crate::support::hub_process::{HubProcess, SOON};
use crate::support::mcp::Session;
use crate::support::other_versions::Other;

/// One machine.
pub(super) struct Machine {
    pub(super) name: &'static str,
    hub: Mutex<HubProcess>,
    bridge: Mutex<Option<Child>>,
    /// Whether its hub and bridge are of the later version.
    is_later: Mutex<bool>,
    /// The network namespace of its bridge, if that is one of its own.
    namespace: Option<PathBuf>,
    directory: tempfile::TempDir,
}

impl Machine {
    /// Starts a machine of this name, of which no other knows.
    pub(super) fn start(name: &'static str) -> Self {
        Self::start_in(name, None)
    }

    /// Starts a machine whose bridge, and what that starts, is in this network namespace.
    pub(super) fn start_in(name: &'static str, namespace: Option<&Path>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let machines = directory.path().join("config/relay/machines");
        fs::create_dir_all(&machines).unwrap();
        for directory in machines.ancestors().take(3) {
            fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).unwrap();
        }
        install(directory.path(), own_programs());
        let hub = HubProcess::start_program(&directory.path().join("bin/relay-hub"), HUB_ARGUMENTS);
        let (hub, bridge, is_later) = (Mutex::new(hub), Mutex::new(None), Mutex::new(false));
        let machine = Self { name, hub, bridge, is_later, namespace: namespace.map(Path::to_owned), directory };
        machine.start_bridge();
        machine
    }

    /// Starts the bridge.
    pub(super) fn start_bridge(&self) {
        let log = fs::File::options().create(true).append(true).open(self.directory.path().join("bridge.log")).unwrap();
        let mut command = self.in_environment(program_in(self.namespace.as_deref(), &self.bridge_program()));
        let child = command.env("RELAY_LOG", "debug").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        *self.bridge() = Some(child.unwrap());
        let end = Instant::now() + SOON;
        while std::os::unix::net::UnixStream::connect(self.hub_socket().with_file_name("bridge.sock")).is_err() {
            assert!(Instant::now() < end, "the bridge does not listen: {}", self.bridge_log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Returns a program in this machine's environment.
    pub(super) fn command(&self, program: &Path) -> Command {
        self.in_environment(Command::new(program))
    }

    fn in_environment(&self, mut command: Command) -> Command {
        command
            .env("RELAY_SOCKET", self.hub_socket())
            .env("XDG_CONFIG_HOME", self.directory.path().join("config"))
            .env("HOME", self.directory.path())
            .env("PATH", self.search_path())
            .env_remove("RELAY_LIMITS")
            .env_remove("XDG_RUNTIME_DIR");
        command
    }

    /// Returns where its programs are looked for: its own come first.
    fn search_path(&self) -> OsString {
        let others = std::env::var_os("PATH").unwrap_or_default();
        let own = self.directory.path().join("bin");
        std::env::join_paths([own].into_iter().chain(std::env::split_paths(&others))).unwrap()
    }

    /// Gives it a program of its own, a script.
    pub(super) fn add_program(&self, name: &str, script: &str) {
        let path = self.directory.path().join("bin").join(name);
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Returns the path of its bridge's program, which stays where it is when another version is installed.
    pub(super) fn bridge_program(&self) -> PathBuf {
        self.directory.path().join("bin/relay-bridge")
    }

    /// Replaces its programs by those of the other version, and restarts hub and bridge in order.
    pub(super) fn replace_programs(&self) {
        let mut is_later = self.is_later.lock().unwrap();
        *is_later = !*is_later;
        let hub = Other::Later.program("relay-hub");
        install(self.directory.path(), if *is_later { hub.parent().unwrap() } else { own_programs() });
        self.signal(Signal::TERM);
        if let Some(mut bridge) = self.bridge().take() {
            bridge.wait().unwrap();
        }
        self.hub().end();
        self.hub().start_again(HUB_ARGUMENTS);
        self.start_bridge();
    }

    /// Returns what the hub and the bridge have logged with this word in it.
    pub(super) fn logged(&self, word: &str) -> String {
        let logs = [("hub", self.hub().log()), ("bridge", self.bridge_log())];
        let lines = logs.iter().flat_map(|(whose, log)| log.lines().map(move |line| (whose, line)));
        let found = lines.filter(|(_, line)| line.contains(word));
        found.map(|(whose, line)| format!("{} {whose}: {line}\n", self.name)).collect()
    }

    fn bridge(&self) -> MutexGuard<'_, Option<Child>> {
        self.bridge.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hub(&self) -> MutexGuard<'_, HubProcess> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn hub_socket(&self) -> PathBuf {
        self.hub().socket()
    }

    pub(super) fn bridge_log(&self) -> String {
        fs::read_to_string(self.directory.path().join("bridge.log")).unwrap_or_default()
    }

    /// Kills the hub and starts another.
    pub(super) fn restart_hub(&self) {
        self.hub().kill_and_restart(HUB_ARGUMENTS);
    }

    /// Kills the bridge and starts another.
    pub(super) fn restart_bridge(&self) {
        self.kill_bridge();
        self.start_bridge();
    }

    /// Kills the bridge.
    pub(super) fn kill_bridge(&self) {
        if let Some(mut bridge) = self.bridge().take() {
            bridge.kill().unwrap();
            bridge.wait().unwrap();
        }
    }

    /// Stops the hub and the bridge, or lets them go on.
    pub(super) fn signal(&self, signal: Signal) {
        self.hub().signal(signal);
        let pid = self.bridge().as_ref().map(Child::id);
        if let Some(pid) = pid {
            kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
        }
    }

    pub(super) fn bridge_pid(&self) -> u32 {
        self.bridge().as_ref().unwrap().id()
    }

    /// Writes what this machine's person has decided about another one, and has it hold.
    pub(super) fn decide(&self, other: &Self, text: &str) {
        self.decide_on(other.name, text);
    }

    /// Writes what this machine's person has decided about the machine of this name, and has it hold.
    pub(super) fn decide_on(&self, name: &str, text: &str) {
        self.write_file(name, text);
        self.reload();
    }

    /// Removes another machine's file, and has that hold.
    pub(super) fn forget(&self, other: &Self) {
        fs::remove_file(self.directory.path().join(format!("config/relay/machines/{}.toml", other.name))).unwrap();
        self.reload();
    }

    fn write_file(&self, name: &str, text: &str) {
        let file = self.directory.path().join(format!("config/relay/machines/{name}.toml"));
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Has this machine reach another one by a command, which is the pipe to that one's bridge.
    pub(super) fn dial(&self, other: &Self, more: &str) {
        let (program, socket) = (other.bridge_program(), other.hub_socket());
        let argv = format!("[{program:?}, \"--socket\", {:?}, \"stdio\"]", socket.display().to_string());
        self.decide(other, &format!("via = {{ exec = {argv} }}\nas = {:?}\n{more}\n", self.name));
    }

    /// Has the bridge read the machines' files again.
    pub(super) fn reload(&self) {
        assert_eq!(self.tell_bridge(r#"{"type":"reload"}"#)["type"], "done", "{}", self.bridge_log());
    }

    /// Says one line to the bridge, and returns what it answers.
    pub(super) fn tell_bridge(&self, line: &str) -> Value {
        use std::io::{BufRead as _, BufReader, Write as _};
        let socket = self.hub_socket().with_file_name("bridge.sock");
        let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.write_all(format!("{line}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap()
    }

    /// Starts a session in a folder of this name.
    pub(super) fn session(&self, folder: &str) -> Session {
        let folder = self.directory.path().join(folder);
        fs::create_dir_all(&folder).unwrap();
        let session = Session::builder().cwd(&folder).socket(&self.hub_socket()).env("RELAY_CHANNEL", "on").start();
        self.wait_for_peer(folder.file_name().unwrap().to_str().unwrap());
        session
    }

    /// Runs `relayctl` with these arguments.
    pub(super) fn relayctl(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(Path::new(env!("CARGO_BIN_EXE_relayctl")));
        command.args(arguments).stdin(Stdio::null()).output().unwrap()
    }

    /// Returns the sessions that this machine knows, each with whether it can be reached.
    pub(super) fn peers(&self) -> Vec<(String, bool)> {
        let output = self.relayctl(&["peers", "--json"]);
        let listed: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let peers = listed["peers"].as_array().cloned().unwrap_or_default();
        let facts = |peer: &Value| (peer["name"].as_str().unwrap().to_owned(), peer["reachable"] != false);
        peers.iter().map(facts).collect()
    }

    /// Waits until a session of this name is there and can be reached.
    pub(super) fn wait_for_peer(&self, name: &str) {
        self.wait_until(&format!("{name} can be reached"), || self.peers().contains(&(name.to_owned(), true)));
    }

    /// Waits until something holds.
    pub(super) fn wait_until(&self, what: &str, holds: impl Fn() -> bool) {
        let end = Instant::now() + SOON * 2;
        while !holds() {
            assert!(Instant::now() < end, "{}: not {what}; peers {:?}; {}", self.name, self.peers(), self.bridge_log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// How hubs of machines are started.
const HUB_ARGUMENTS: &[&str] = &["--limit", "rate=off"];

fn own_programs() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_relay-hub")).parent().unwrap()
}

/// Makes the programs in this directory the machine's.
fn install(machine: &Path, programs: &Path) {
    let bin = machine.join("bin");
    fs::create_dir_all(&bin).unwrap();
    for name in ["relay-hub", "relay-bridge"] {
        let new = bin.join(format!("{name}.new"));
        std::os::unix::fs::symlink(programs.join(name), &new).unwrap();
        fs::rename(new, bin.join(name)).unwrap();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.signal(Signal::CONT);
        self.kill_bridge();
    }
}

/// Returns the processes that are the pipes of links, which a bridge has started.
pub(super) fn transports(of: &Machine) -> Vec<u32> {
    children(of.bridge_pid())
}

/// Returns the processes that one has started.
pub(super) fn children(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Sends a signal to a process that may have gone.
pub(super) fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _gone = kill_process(pid, signal);
    }
}

/// Starts two machines, of which the first dials the second and lets it ask.
pub(super) fn pair() -> (Machine, Machine) {
    let (laptop, desk) = (Machine::start("laptop"), Machine::start("desk"));
    laptop.dial(&desk, "they_may = \"ask\"");
    (laptop, desk)
}
