//! Real NATS servers, which `tests/it/nats/fetch-servers` brings.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::keys::Key;
use crate::bridge::network::program_in;

/// The versions that are tested with: the newest, and the oldest that `relay-nats` takes.
pub const NEWEST: &str = "2.15.1";
pub const OLDEST: &str = "2.9.10";

/// How long a server has to come up.
const PATIENCE: Duration = Duration::from_secs(20);

/// Returns the program of the server of this version, if it is there.
pub fn program(version: &str) -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/nats");
    let directory = std::env::var_os("RELAY_NATS_SERVERS").map_or(default, PathBuf::from);
    let program = directory.join(version).join("nats-server");
    program.exists().then_some(program)
}

/// Skips the test that calls it where a server is missing.
macro_rules! needs_servers {
    ($($version:expr),+) => {
        for version in [$($version),+] {
            if $crate::nats::server::program(version).is_none() {
                fn here() {}
                let test = std::any::type_name_of_val(&here).trim_end_matches("::here");
                let why = format!("it needs nats-server {version}: run tests/it/nats/fetch-servers");
                return $crate::support::skip::skipped(test, &why);
            }
        }
    };
}
pub(crate) use needs_servers;

/// A server of its own, which ends with this.
pub struct Server {
    directory: TempDir,
    program: PathBuf,
    child: Child,
    /// The network namespace that it is in, if that is one of its own.
    namespace: Option<PathBuf>,
    address: String,
    port: u16,
}

impl Server {
    /// Starts the newest server with this configuration.
    pub fn new(configuration: &str) -> Self {
        Self::of_version(NEWEST, configuration)
    }

    /// Starts a server in which each of these machines has a key and its permissions, as `relay-nats` prints them.
    pub fn restricted(machines: &[(&str, &Key)]) -> Self {
        Self::new(&users(machines))
    }

    /// Starts a server.
    pub fn of_version(version: &str, configuration: &str) -> Self {
        Self::start_at(version, configuration, None, "127.0.0.1")
    }

    /// Starts a server that listens at this address, in this network namespace.
    pub fn start_at(version: &str, configuration: &str, namespace: Option<&Path>, address: &str) -> Self {
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("server.conf"), configuration).unwrap();
        let (program, namespace) = (program(version).unwrap(), namespace.map(Path::to_owned));
        let child = spawn(&program, directory.path(), namespace.as_deref(), address, -1);
        let mut server = Self { directory, program, child, namespace, address: address.to_owned(), port: 0 };
        server.port = server.await_port();
        server
    }

    /// Returns its address.
    pub fn url(&self) -> String {
        format!("nats://{}:{}", self.address, self.port)
    }

    /// Returns its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again where it was, after it was killed.
    pub fn restart(&mut self) {
        let (directory, namespace) = (self.directory.path(), self.namespace.as_deref());
        self.child = spawn(&self.program, directory, namespace, &self.address, self.port.into());
        assert_eq!(self.await_port(), self.port);
    }

    /// Gives it another configuration while it runs.
    pub fn reload(&self, configuration: &str) {
        fs::write(self.directory.path().join("server.conf"), configuration).unwrap();
        self.signal(Signal::HUP);
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn await_port(&mut self) -> u16 {
        let file = self.directory.path().join(format!("nats-server_{}.ports", self.child.id()));
        let end = Instant::now() + PATIENCE;
        loop {
            let ports = fs::read(&file).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
            if let Some(url) = ports.as_ref().and_then(|ports| ports["nats"][0].as_str()) {
                return url.rsplit_once(':').unwrap().1.parse().unwrap();
            }
            let log = || fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            assert!(self.child.try_wait().unwrap().is_none(), "the server has ended: {}", log());
            assert!(Instant::now() < end, "the server does not come up: {}", log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn spawn(program: &Path, directory: &Path, namespace: Option<&Path>, address: &str, port: i32) -> Child {
    let log = fs::File::create(directory.join("log")).unwrap();
    let mut command = program_in(namespace, program);
    command.args(["-a", address, "-c", "server.conf", "--ports_file_dir", "."]).current_dir(directory);
    command.arg(format!("-p={port}"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

/// Returns the permissions of a machine as `relay-nats` prints them.
pub fn permissions(machine: &str) -> String {
    let printed =
        Command::new(env!("CARGO_BIN_EXE_relay-nats")).args(["permissions", "--as", machine]).output().unwrap();
    assert!(printed.status.success(), "{printed:?}");
    String::from_utf8(printed.stdout).unwrap()
}

/// Returns a configuration in which each of these machines has a key and its permissions.
pub fn users(machines: &[(&str, &Key)]) -> String {
    let user = |(name, key): &(&str, &Key)| format!("{{ nkey: {}\n{} }}\n", key.public(), permissions(name));
    let users: String = machines.iter().map(user).collect();
    format!("authorization {{ users: [ {users} ] }}\n")
}
