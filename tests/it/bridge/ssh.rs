//! Machines that are linked by a real sshd, with a key that is good for nothing else.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use super::stage::{Machine, signal, transports};
use crate::support::hub_process::SOON;
use crate::support::skip::needs;

/// An sshd of this user's that lets one key into one machine, by the line that `relayctl machines key` prints.
struct Sshd {
    child: Child,
    port: u16,
    directory: tempfile::TempDir,
}

impl Sshd {
    fn start(desk: &Machine) -> Self {
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
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
             PidFile none\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n\
             SetEnv RELAY_SOCKET={} HOME={}\n",
            path("host").display(),
            path("authorized").display(),
            desk.hub_socket().display(),
            // What a login shell of this user's reads could take long.
            directory.path().display(),
        );
        fs::write(path("sshd"), config).unwrap();
        // Started by root, sshd wants this directory, which its unit makes elsewhere.
        let _there_or_not_needed = fs::create_dir("/run/sshd");
        let program = which("sshd");
        let log = fs::File::create(path("log")).unwrap();
        let child =
            Command::new(program).args(["-D", "-e", "-f"]).arg(path("sshd")).stderr(log).stdin(Stdio::null()).spawn();
        let sshd = Self { child: child.unwrap(), port, directory };
        let user = rustix::process::geteuid().as_raw();
        let user = Command::new("id").args(["-nu", &user.to_string()]).output().unwrap();
        let client = format!(
            "Host desk\nHostName 127.0.0.1\nPort {port}\nUser {}\nIdentityFile {}\nIdentitiesOnly yes\nIdentityAgent none\n\
             StrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nLogLevel ERROR\nBatchMode yes\n",
            String::from_utf8(user.stdout).unwrap().trim(),
            sshd.path("key").display(),
        );
        fs::write(sshd.path("client"), client).unwrap();
        let end = Instant::now() + SOON;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "sshd does not listen: {}", sshd.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        sshd
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
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn which(program: &str) -> PathBuf {
    let directories = std::env::var("PATH").unwrap_or_default();
    let found = directories.split(':').map(|directory| Path::new(directory).join(program)).find(|path| path.is_file());
    found.unwrap_or_else(|| Path::new("/usr/sbin").join(program))
}

fn linked() -> (Machine, Machine, Sshd) {
    let (laptop, desk) = (Machine::start("laptop"), Machine::start("desk"));
    let sshd = Sshd::start(&desk);
    let client = sshd.path("client");
    fs::set_permissions(&client, fs::Permissions::from_mode(0o600)).unwrap();
    let via = format!(
        r#"via = {{ exec = ["ssh", "-T", "-F", {:?}, "desk", "relay-bridge", "stdio"] }}"#,
        client.display().to_string()
    );
    laptop.decide(&desk, &format!("{via}\nas = \"laptop\"\nthey_may = \"ask\"\n"));
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
