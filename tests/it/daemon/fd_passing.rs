//! The hub without a service manager: a socket handed over by the letter of `sd_listen_fds(3)`, and the foreground.

use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::support::hub_process::{RawClient, SOON};

/// A hub whose end is waited for; killed when it is dropped.
struct Hub {
    child: Child,
    log: PathBuf,
}

impl Hub {
    /// Starts a hub by this command, with the log in this directory.
    fn start(command: &mut Command, directory: &Path) -> Self {
        let log = directory.join("log");
        for variable in ["RELAY_LIMITS", "RELAY_LOG", "NOTIFY_SOCKET", "LISTEN_PID", "JOURNAL_STREAM"] {
            command.env_remove(variable);
        }
        let child = command.stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
        Self { child, log }
    }

    /// Starts a hub that is told of descriptor 3 as systemd does it. A place that it could bind is there as well.
    fn inheriting(listener: &UnixListener, variables: &str, arguments: &[&str], directory: &Path) -> Self {
        let script = format!("exec 3<&0 </dev/null; export {variables}; exec \"$0\" \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_relay-hub")]).args(arguments);
        command.env("RELAY_SOCKET", directory.join("bound/hub.sock"));
        command.stdin(OwnedFd::from(listener.try_clone().unwrap()));
        Self::start(&mut command, directory)
    }

    fn in_the_foreground(directory: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_relay-hub"));
        command.args(arguments).env("RELAY_SOCKET", directory.join("bound/hub.sock")).stdin(Stdio::null());
        let hub = Self::start(&mut command, directory);
        let end = Instant::now() + SOON;
        while UnixStream::connect(directory.join("bound/hub.sock")).is_err() {
            assert!(Instant::now() < end, "the hub does not listen: {}", hub.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        hub
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn ends(&mut self) -> ExitStatus {
        let end = Instant::now() + SOON;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "the hub does not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn terminate(&mut self) -> ExitStatus {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.ends()
    }

    fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _already_ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Returns the process id of the hub that serves this connection.
#[track_caller]
fn served_by(client: &mut RawClient) -> u64 {
    client.say(&json!({
        "type": "hello", "id": 1, "versions": {"min": 1, "max": 2}, "key": "0".repeat(32), "program": "test 1",
        "kind": "control",
    }));
    assert_eq!(client.hear()["type"], "welcome");
    client.say(&json!({"type": "status", "id": 2}));
    client.hear()["pid"].as_u64().unwrap()
}

const BY_THE_LETTER: &str = "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=hub";

#[test]
fn a_socket_that_was_handed_over_is_served_and_never_unlinked() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("handed.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let inode = fs::metadata(&path).unwrap().ino();
    // Whoever came before the hub waits in the backlog.
    let mut early = RawClient::connect(&path);
    let mut hub = Hub::inheriting(&listener, BY_THE_LETTER, &["--idle-timeout", "50ms"], directory.path());
    assert_eq!(served_by(&mut early), u64::from(hub.child.id()));
    assert!(!directory.path().join("bound").exists(), "what was handed over wins");
    drop(early);
    assert!(hub.ends().success(), "{}", hub.log());
    assert_eq!(fs::metadata(&path).unwrap().ino(), inode);

    // The next one waits for the next hub, and a hub that is told to end leaves the socket as well.
    let mut next = RawClient::connect(&path);
    let mut hub = Hub::inheriting(&listener, BY_THE_LETTER, &[], directory.path());
    assert_eq!(served_by(&mut next), u64::from(hub.child.id()));
    assert!(hub.terminate().success(), "{}", hub.log());
    assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
}

#[test]
fn sockets_that_are_not_the_hubs_are_refused_with_their_names_and_nothing_is_bound_instead() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("handed.sock");
    let listener = UnixListener::bind(&path).unwrap();
    for (variables, says) in [
        ("LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web", r#"the sockets ["web"]"#),
        ("LISTEN_PID=$$ LISTEN_FDS=1", r#"expected one with the name "hub""#),
        ("LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=hub:hub", "LISTEN_FDNAMES) are wrong"),
        ("LISTEN_PID=$$ LISTEN_FDS=many LISTEN_FDNAMES=hub", "LISTEN_FDNAMES) are wrong"),
    ] {
        let mut hub = Hub::inheriting(&listener, variables, &[], directory.path());
        assert_eq!(hub.ends().code(), Some(1), "{variables}");
        assert!(hub.log().contains(says), "{variables}: {}", hub.log());
        assert!(hub.log().ends_with("next: relayctl install-service\n"), "{variables}: {}", hub.log());
        assert!(path.exists() && !directory.path().join("bound").exists(), "{variables}");
    }
}

#[test]
fn a_socket_that_was_handed_to_another_process_is_not_taken() {
    let directory = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(directory.path().join("handed.sock")).unwrap();
    let mut hub = Hub::inheriting(
        &listener,
        "LISTEN_PID=1 LISTEN_FDS=1 LISTEN_FDNAMES=hub",
        &["--idle-timeout", "100ms"],
        directory.path(),
    );
    assert!(hub.ends().success(), "{}", hub.log());
    assert!(hub.log().contains("bound/hub.sock"), "it binds its own: {}", hub.log());
}

#[test]
fn a_foreground_hub_leaves_when_told_and_when_idle_only_if_asked() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("bound/hub.sock");
    let mut hub = Hub::in_the_foreground(directory.path(), &[]);
    std::thread::sleep(Duration::from_millis(500));
    assert!(hub.runs());
    assert!(!hub.log().contains("idle_timeout"), "no time is set: {}", hub.log());
    let mut client = RawClient::connect(&socket);
    assert_eq!(served_by(&mut client), u64::from(hub.child.id()));
    assert!(hub.terminate().success());
    assert!(!socket.exists(), "what it bound goes with it");

    let mut hub = Hub::in_the_foreground(directory.path(), &["--idle-timeout", "100ms"]);
    assert!(hub.ends().success());
    assert!(hub.log().contains(r#""idle_timeout":"100ms""#), "{}", hub.log());
    assert!(!socket.exists());
}

#[test]
fn a_hub_whose_log_nobody_reads_serves_and_leaves_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let (_unread, log) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&log, true).unwrap();
    while (&log).write(&[b'x'; 4096]).is_ok() {}
    rustix::io::ioctl_fionbio(&log, false).unwrap();
    let socket = directory.path().join("bound/hub.sock");
    let mut command = Command::new(env!("CARGO_BIN_EXE_relay-hub"));
    command.env("RELAY_SOCKET", &socket).env("RELAY_LOG", "debug").env_remove("JOURNAL_STREAM");
    let child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    let mut hub = Hub { child, log: directory.path().join("log") };
    let end = Instant::now() + SOON;
    while UnixStream::connect(&socket).is_err() {
        assert!(Instant::now() < end, "the hub does not listen");
        std::thread::sleep(Duration::from_millis(5));
    }
    for _ in 0..200 {
        assert_eq!(served_by(&mut RawClient::connect(&socket)), u64::from(hub.child.id()));
    }
    fs::write(&hub.log, "nobody reads it").unwrap();
    assert!(hub.terminate().success());
    assert!(!socket.exists());
}

#[test]
fn an_inheriting_hub_leaves_after_five_minutes_unless_told_otherwise() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("handed.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let hub = Hub::inheriting(&listener, BY_THE_LETTER, &[], directory.path());
    served_by(&mut RawClient::connect(&path));
    assert!(hub.log().contains(r#""idle_timeout":"5m""#), "{}", hub.log());
}

#[test]
fn a_hub_that_is_told_to_end_twice_at_once_ends_in_order() {
    for _ in 0..20 {
        let directory = tempfile::tempdir().unwrap();
        let mut hub = Hub::in_the_foreground(directory.path(), &[]);
        served_by(&mut RawClient::connect(&directory.path().join("bound/hub.sock")));
        // Stopped, it finds both when it goes on.
        for signal in [Signal::STOP, Signal::INT, Signal::TERM, Signal::CONT] {
            kill_process(Pid::from_child(&hub.child), signal).unwrap();
        }
        assert!(hub.ends().success(), "{}", hub.log());
    }
}

#[test]
fn a_foreground_hub_unlinks_no_socket_but_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("bound/hub.sock");
    let mut hub = Hub::in_the_foreground(directory.path(), &[]);
    served_by(&mut RawClient::connect(&socket));
    let other = directory.path().join("bound/other.sock");
    let _other = UnixListener::bind(&other).unwrap();
    fs::rename(&other, &socket).unwrap();
    assert!(hub.terminate().success(), "{}", hub.log());
    UnixStream::connect(&socket).expect("the other one's socket is there");
}
