//! Machines that are linked by a real sshd, with a key that is good for nothing else.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use super::network::program_in;
use super::stage::{Machine, children, signal, transports};
use crate::support::hub_process::SOON;
use crate::support::skip::needs;

/// An sshd of this user's that lets one key into one machine, by the line that `relayctl machines key` prints.
pub(super) struct Sshd {
    child: Mutex<Child>,
    port: u16,
    /// The network namespace that it is in, if that is one of its own.
    namespace: Option<PathBuf>,
    directory: tempfile::TempDir,
}

impl Sshd {
    fn start(desk: &Machine) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self::start_at(desk, None, "127.0.0.1", port)
    }

    /// Starts one that listens at this address, in this network namespace.
    pub(super) fn start_at(desk: &Machine, namespace: Option<&Path>, address: &str, port: u16) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for key in ["host", "key"] {
            let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path(key)).status();
            assert!(made.unwrap().success());
        }
        let public = path("key.pub").display().to_string();
        let line = desk.relayctl(&["machines", "key", "laptop", "--key", &public]);
        assert!(line.status.success(), "{line:?}");
        let line = String::from_utf8(line.stdout).unwrap();
        assert!(line.starts_with("restrict,command=\""), "{line}");
        fs::write(path("authorized"), &line).unwrap();
        let config = format!(
            "Port {port}\nListenAddress {address}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
             PidFile none\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n\
             SetEnv RELAY_SOCKET={} HOME={}\n",
            path("host").display(),
            path("authorized").display(),
            desk.hub_socket().display(),
            // What a login shell of this user's reads could take long.
            directory.path().display(),
        );
        fs::write(path("sshd"), config).unwrap();
        let namespace = namespace.map(Path::to_owned);
        let child = Mutex::new(spawn(directory.path(), namespace.as_deref()));
        let sshd = Self { child, port, namespace, directory };
        let user = rustix::process::geteuid().as_raw();
        let user = Command::new("id").args(["-nu", &user.to_string()]).output().unwrap();
        let client = format!(
            "Host desk\nHostName {address}\nPort {port}\nUser {}\nIdentityFile {}\nIdentitiesOnly yes\nIdentityAgent none\n\
             StrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nLogLevel ERROR\nBatchMode yes\n\
             ServerAliveInterval 5\nServerAliveCountMax 3\nConnectTimeout 10\n",
            String::from_utf8(user.stdout).unwrap().trim(),
            sshd.path("key").display(),
        );
        fs::write(sshd.path("client"), client).unwrap();
        fs::set_permissions(sshd.path("client"), fs::Permissions::from_mode(0o600)).unwrap();
        sshd.wait_until_listening();
        sshd
    }

    fn wait_until_listening(&self) {
        let end = Instant::now() + SOON;
        while !self.log().contains("Server listening on") {
            assert!(Instant::now() < end, "sshd does not listen: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Returns how the machine that has the key reaches this one, as a line of a machine's file.
    pub(super) fn via(&self) -> String {
        let client = self.path("client").display().to_string();
        format!(r#"via = {{ exec = ["ssh", "-T", "-F", {client:?}, "desk", "relay-bridge", "stdio"] }}"#)
    }

    /// Returns the processes of the sessions that it has let in, what runs in them among them.
    pub(super) fn sessions(&self) -> Vec<u32> {
        let mut all = children(self.child().id());
        let mut seen = 0;
        while let Some(pid) = all.get(seen).copied() {
            all.extend(children(pid));
            seen += 1;
        }
        all
    }

    /// Sends a signal to it and its sessions.
    pub(super) fn signal(&self, to_all: Signal) {
        self.sessions().into_iter().chain([self.child().id()]).for_each(|pid| signal(pid, to_all));
    }

    /// Kills it and its sessions.
    pub(super) fn kill(&self) {
        self.signal(Signal::KILL);
        self.child().wait().unwrap();
    }

    /// Starts it again, after it was killed.
    pub(super) fn start_again(&self) {
        *self.child() = spawn(self.directory.path(), self.namespace.as_deref());
        self.wait_until_listening();
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Runs ssh as the machine that has the key, until it ends or some seconds have passed.
    fn ssh(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("timeout");
        command.args(["3", "ssh", "-F"]).arg(self.path("client")).args(arguments);
        command.stdin(Stdio::null()).output().unwrap()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        let _reaped = self.child().wait();
    }
}

fn spawn(directory: &Path, namespace: Option<&Path>) -> Child {
    // Started by root, sshd wants this directory, which its unit makes elsewhere.
    let _there_or_not_needed = fs::create_dir("/run/sshd");
    let log = fs::File::create(directory.join("log")).unwrap();
    let mut command = program_in(namespace, &which("sshd"));
    command.args(["-D", "-e", "-f"]).arg(directory.join("sshd")).stderr(log).stdin(Stdio::null()).spawn().unwrap()
}

fn which(program: &str) -> PathBuf {
    let directories = std::env::var("PATH").unwrap_or_default();
    let found = directories.split(':').map(|directory| Path::new(directory).join(program)).find(|path| path.is_file());
    found.unwrap_or_else(|| Path::new("/usr/sbin").join(program))
}

fn linked() -> (Machine, Machine, Sshd) {
    let (laptop, desk) = (Machine::start("laptop"), Machine::start("desk"));
    let sshd = Sshd::start(&desk);
    laptop.decide(&desk, &format!("{}\nas = \"laptop\"\nthey_may = \"ask\"\n", sshd.via()));
    (laptop, desk, sshd)
}

#[test]
fn machines_are_linked_by_ssh_and_linked_again_when_it_dies() {
    needs!("sshd", "ssh");
    let (laptop, desk, sshd) = linked();
    let (web, api) = (laptop.session("web"), desk.session("api"));
    laptop.wait_for_peer("api@desk");
    desk.wait_for_peer("web@laptop");
    for round in 0..2 {
        web.call("relay_ask", json!({"to": "api@desk", "question": "over ssh?"})).ok();
        let ask = api.event_of("ask");
        api.call("relay_reply", json!({"ask_id": ask.get("ask_id"), "text": "Yes."})).ok();
        assert_eq!(web.event_of("reply").content, "Yes.", "{}", sshd.log());
        api.call("relay_tell", json!({"to": "web@laptop", "text": "and back"})).ok();
        assert_eq!(web.event_of("tell").get("from"), "api@desk");
        if round == 0 {
            transports(&laptop).into_iter().for_each(|pid| signal(pid, Signal::KILL));
            laptop.wait_until("the link is lost", || laptop.peers().contains(&("api@desk".to_owned(), false)));
            laptop.wait_for_peer("api@desk");
        }
    }
}

#[test]
fn testing_a_machine_whose_key_may_do_nothing_else_leaves_its_link_alone() {
    needs!("sshd", "ssh");
    let (laptop, desk) = (Machine::start("laptop"), Machine::start("desk"));
    let sshd = Sshd::start(&desk);
    // ssh itself looks for its settings where the user's account says, whatever HOME is.
    let (ssh, client) = (which("ssh"), sshd.path("client"));
    laptop.add_program("ssh", &format!("#!/bin/sh\nexec {} -F {} \"$@\"\n", ssh.display(), client.display()));
    laptop.decide(&desk, "via = { ssh = \"desk\" }\nas = \"laptop\"\n");
    let _api = desk.session("api");
    laptop.wait_for_peer("api@desk");
    let test = || {
        let tested = laptop.relayctl(&["machines", "test", "desk"]);
        let said = [tested.stdout, tested.stderr].concat();
        (tested.status.code(), String::from_utf8(said).unwrap())
    };

    let by = transports(&laptop);
    let (code, said) = test();
    assert!(code == Some(0) && said.contains("not tried, since the link is up"), "{code:?} {said}");
    assert_eq!(transports(&laptop), by, "another link took the place of the one that was up");

    sshd.kill();
    laptop.wait_until("the link is lost", || laptop.peers().contains(&("api@desk".to_owned(), false)));
    let (code, said) = test();
    assert!(code == Some(1) && said.contains("Connection refused"), "{code:?} {said}");
    assert!(said.contains("next: ssh desk true"), "{said}");
    sshd.start_again();
    let (code, said) = test();
    assert_eq!(code, Some(0), "{said}");
    laptop.wait_for_peer("api@desk");
}

#[test]
fn key_of_a_machine_is_good_for_nothing_else() {
    needs!("sshd", "ssh");
    let (_laptop, _desk, sshd) = linked();
    let ran = sshd.ssh(&["desk", "id; cat /etc/passwd; echo $0"]);
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(!said.contains("root:") && !said.contains("uid="), "{said}");
    let terminal = sshd.ssh(&["-tt", "desk"]);
    assert!(String::from_utf8_lossy(&terminal.stderr).contains("PTY allocation request failed"), "{terminal:?}");
    let files = sshd.ssh(&["-s", "desk", "sftp"]);
    assert!(
        !String::from_utf8_lossy(&files.stdout).contains("SSH_FXP") && files.stdout.first() != Some(&0),
        "{files:?}"
    );
    // To the server itself and by it, where a banner would be seen.
    let forwarded = sshd.ssh(&["-W", &format!("127.0.0.1:{}", sshd.port), "desk"]);
    assert!(!String::from_utf8_lossy(&forwarded.stdout).contains("SSH-2.0"), "{forwarded:?}");
    let back = sshd.ssh(&["-N", "-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1", "desk"]);
    assert!(!back.status.success() && back.status.code() != Some(124), "a port was opened there: {back:?}");
}
