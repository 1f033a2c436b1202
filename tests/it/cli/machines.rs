//! `relayctl machines` with two hubs and two bridges on this machine, whose transport is a command.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::hub_process::HubProcess;
use crate::support::installed::{soon, within};
use crate::support::mcp::Session;

const RELAYCTL: &str = env!("CARGO_BIN_EXE_relayctl");
const BRIDGE: &str = env!("CARGO_BIN_EXE_relay-bridge");

/// How long a link may take.
const LINK: Duration = Duration::from_secs(20);

/// One machine: a hub, a configuration of its own, and perhaps a bridge.
struct Machine {
    hub: HubProcess,
    home: tempfile::TempDir,
    bridge: Option<Child>,
}

impl Machine {
    fn without_bridge() -> Self {
        Self { hub: HubProcess::start(&[]), home: tempfile::tempdir().unwrap(), bridge: None }
    }

    fn new() -> Self {
        let mut machine = Self::without_bridge();
        machine.start_bridge();
        machine
    }

    fn start_bridge(&mut self) {
        let log = std::fs::File::create(self.home.path().join("bridge.log")).unwrap();
        let child = self.command(BRIDGE).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        self.bridge = Some(child);
        let socket = self.hub.socket().with_file_name("bridge.sock");
        soon("the bridge", || std::os::unix::net::UnixStream::connect(&socket).ok());
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("RELAY_SOCKET", self.hub.socket())
            .env("HOME", self.home.path())
            .env("XDG_CONFIG_HOME", self.home.path().join("config"))
            .env("CLAUDE_CONFIG_DIR", self.home.path().join("claude"));
        command
    }

    fn relayctl(&self, arguments: &[&str]) -> Output {
        self.command(RELAYCTL).args(arguments).stdin(Stdio::null()).output().unwrap()
    }

    #[track_caller]
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.relayctl(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}\n{}", self.log());
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.relayctl(&[arguments, &["--json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
    }

    /// Returns the command that joins a transport to this machine's bridge.
    fn stdio(&self) -> Vec<String> {
        let set = |name: &str, value: &Path| format!("{name}={}", value.display());
        ["env".to_owned(), set("RELAY_SOCKET", &self.hub.socket()), BRIDGE.to_owned(), "stdio".to_owned()].into()
    }

    fn session(&self, name: &str) -> Session {
        let folder = self.home.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        Session::builder().cwd(&folder).socket(&self.hub.socket()).env("RELAY_CHANNEL", "on").start()
    }

    fn names(&self) -> Vec<String> {
        let peers = self.json(&["peers"]);
        peers["peers"].as_array().unwrap().iter().map(|peer| peer["name"].as_str().unwrap().to_owned()).collect()
    }

    fn wait_for_peer(&self, name: &str) {
        within(LINK, name, || self.names().contains(&name.to_owned()).then_some(()));
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("bridge.log")).unwrap_or_default()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(bridge) = &mut self.bridge {
            let _already_ended = bridge.kill();
            let _reaped = bridge.wait();
        }
    }
}

/// Returns a laptop and a desk that the laptop has dialled.
fn linked() -> (Machine, Machine) {
    let (laptop, desk) = (Machine::new(), Machine::new());
    let stdio = desk.stdio();
    let words: Vec<&str> = stdio.iter().map(String::as_str).collect();
    laptop.ok(&[&["machines", "add", "desk", "--as", "laptop", "--exec"], words.as_slice()].concat());
    (laptop, desk)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn without_a_machine_the_list_says_how_to_begin() {
    let machine = Machine::without_bridge();
    let output = machine.relayctl(&["machines"]);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), b"".as_slice()));
    assert!(said(&output).contains("no machine is configured") && said(&output).contains("machines add desk --ssh"));
    let list = machine.json(&["machines"]);
    assert_eq!((&list["type"], &list["machines"], &list["bridge"]), (&json!("machines"), &json!([]), &json!(null)));
}

#[test]
fn without_a_bridge_a_file_is_written_and_the_cure_is_named() {
    let machine = Machine::without_bridge();
    let added = machine.ok(&["machines", "add", "desk", "--ssh", "me@desk"]);
    assert!(added.contains("no bridge runs here") && added.contains("next: "), "{added}");
    let listed = machine.ok(&["machines"]);
    assert!(listed.contains("ssh me@desk") && listed.contains("reply"), "{listed}");
    for (arguments, words) in [
        (["machines", "add", "desk", "--ssh", "x"].as_slice(), "relayctl machines remove desk"),
        (&["machines", "add", "box", "--ssh=-oProxyCommand=x"], "relayctl machines add --help"),
        (&["machines", "add", "box", "--nats", "tls://n"], "relayctl machines add --help"),
        (&["machines", "allow", "nobody"], "relayctl machines"),
        (&["machines", "remove", "nobody"], "relayctl machines"),
        (&["machines", "release", "desk"], "relay-bridge"),
    ] {
        let output = machine.relayctl(arguments);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.lines().last().unwrap().starts_with("next: ") && said.contains(words), "{arguments:?}: {said}");
    }
    machine.ok(&["machines", "remove", "desk"]);
    assert!(!machine.home.path().join("config/relay").exists());
}

#[test]
fn a_session_on_another_machine_is_listed_asked_and_answers() {
    let (laptop, desk) = linked();
    let docs = desk.session("docs");
    laptop.wait_for_peer("docs@desk");
    let tested = laptop.ok(&["machines", "test", "desk"]);
    assert!(tested.lines().all(|line| line.starts_with("ok")) && tested.contains("1 session of desk"), "{tested}");

    let child = laptop
        .command(RELAYCTL)
        .args(["ask", "docs@desk", "is the build green?", "--timeout", "30s"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let event = docs.event_of("ask");
    assert_eq!((event.get("from"), event.get("machine")), ("shell@laptop", "laptop"));
    docs.call("relay_reply", json!({"ask_id": event.get("ask_id"), "text": "yes"})).ok();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), b"yes\n".as_slice()), "{output:?}");

    let peers = laptop.ok(&["peers", "--machine", "desk"]);
    assert!(peers.contains("MACHINE") && peers.contains("docs@desk"), "{peers}");
    assert!(!laptop.ok(&["peers", "--here"]).contains("docs@desk"));
    let list = laptop.ok(&["machines"]);
    assert!(list.contains("up ") && list.contains("reply"), "{list}");
    let doctor = laptop.relayctl(&["doctor"]);
    assert!(String::from_utf8_lossy(&doctor.stdout).contains("desk: up"), "{doctor:?}");
}

#[test]
fn a_paused_machine_is_not_reached_and_a_removed_one_has_gone() {
    let (laptop, desk) = linked();
    let _docs = desk.session("docs");
    laptop.wait_for_peer("docs@desk");
    laptop.ok(&["machines", "pause", "desk"]);
    within(LINK, "its end", || {
        let output = laptop.relayctl(&["ask", "docs@desk", "?", "--timeout", "2s"]);
        (output.status.code() == Some(7)).then_some(())
    });
    assert!(laptop.ok(&["peers"]).contains("unreachable"));
    assert!(laptop.ok(&["status"]).contains("1 machine cannot be reached"));
    let output = laptop.relayctl(&["machines", "test", "desk"]);
    assert!(said(&output).ends_with("next: relayctl machines resume desk\n"), "{output:?}");
    laptop.ok(&["machines", "resume", "desk"]);
    laptop.ok(&["machines", "test", "desk"]);
    laptop.ok(&["machines", "remove", "desk"]);
    within(LINK, "the end of its sessions", || laptop.names().is_empty().then_some(()));
    let asked = laptop.relayctl(&["ask", "docs@desk", "?", "--timeout", "2s"]);
    assert_eq!(asked.status.code(), Some(6));
    assert!(said(&asked).contains("no machine is linked by the name \"desk\""), "{asked:?}");
}

#[test]
fn what_a_machine_asks_is_let_in_held_or_refused_as_its_file_says() {
    let (laptop, desk) = linked();
    let (docs, _web) = (desk.session("docs"), desk.session("web"));
    laptop.wait_for_peer("web@desk");

    // It came by itself: whoever may log in may ask, until something else is said.
    desk.ok(&["machines", "allow", "laptop", "--sessions", "do*"]);
    within(LINK, "the end of what is hidden", || (laptop.names() == ["docs@desk"]).then_some(()));
    desk.ok(&["machines", "hold", "laptop"]);
    let child = laptop
        .command(RELAYCTL)
        .args(["ask", "docs@desk", "?", "--timeout", "60s"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let listed = within(LINK, "the held ask", || {
        let listed = desk.ok(&["machines"]);
        listed.contains("held: ").then_some(listed)
    });
    assert!(listed.contains("shell@laptop → docs"), "{listed}");
    let release = listed.lines().find_map(|line| line.split_once("relayctl ")).unwrap().1;
    let words: Vec<&str> = release.split(' ').collect();
    desk.ok(&words);
    let event = docs.event_of("ask");
    docs.call("relay_reply", json!({"ask_id": event.get("ask_id"), "text": "at last"})).ok();
    assert_eq!(child.wait_with_output().unwrap().stdout, b"at last\n");

    desk.ok(&["machines", "allow", "laptop", "--replies-only"]);
    within(LINK, "the refusal", || {
        let output = laptop.relayctl(&["ask", "docs@desk", "?", "--timeout", "2s"]);
        said(&output).contains("not_allowed").then(|| assert_eq!(output.status.code(), Some(1)))
    });
    desk.ok(&["machines", "refuse", "laptop"]);
    within(LINK, "the end of all sessions", || laptop.names().is_empty().then_some(()));
}

#[test]
fn a_shell_completes_the_names_of_machines() {
    let (laptop, desk) = linked();
    let _docs = desk.session("docs");
    laptop.wait_for_peer("docs@desk");
    let complete = |words: &[&str]| {
        let mut command = laptop.command(RELAYCTL);
        let output = command.args(["--", "relayctl"]).args(words).env("COMPLETE", "fish").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(complete(&["machines", "pause", "de"]).contains("desk"));
    assert!(complete(&["ask", "docs"]).contains("docs@desk\ton desk"), "{}", complete(&["ask", "docs"]));
}

#[test]
fn a_broken_file_is_named_with_its_line_and_leaves_the_rest_in() {
    let machine = Machine::new();
    machine.ok(&["machines", "add", "desk", "--exec", "true"]);
    let directory = machine.home.path().join("config/relay/machines");
    std::fs::write(directory.join("broken.toml"), "share = \"names\"\nthey_may = \"everything\"\n").unwrap();
    let listed = machine.ok(&["machines"]);
    assert!(listed.contains("desk") && listed.contains("broken.toml, line 2") && listed.contains("`ask`"), "{listed}");
    let output = machine.relayctl(&["doctor"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("FAIL  machine-files"), "{output:?}");
}
