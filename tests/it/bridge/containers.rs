//! Containers, made as container engines make them: of namespaces. Those of this user share the hub; into others a pipe leads.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use super::stage::Machine;
use crate::support::hub_process::{HubProcess, SOON};
use crate::support::mcp::Session;
use crate::support::skip::skipped;

const CHANNEL: &str = env!("CARGO_BIN_EXE_relay-channel");

/// Returns a command that runs what follows in namespaces of its own, or why there are none here.
fn container(more: &[&str]) -> Result<Command, String> {
    let namespaces = ["--user", "--pid", "--fork", "--mount-proc", "--kill-child"];
    let tried = Command::new("unshare").args(namespaces).args(more).arg("true").output();
    match tried {
        Ok(output) if output.status.success() => {}
        Ok(output) => return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => return Err(format!("unshare: {error}")),
    }
    let mut command = Command::new("unshare");
    command.args(namespaces).args(more);
    Ok(command)
}

/// A session whose agent is the first process of a container that has the hub's directory. Its waiter writes what it is
/// woken with into a file.
fn session_in_container(mut container: Command, hub: &HubProcess, folder: &Path) -> Session {
    fs::create_dir(folder).unwrap();
    container.args(["sh", "-c", r#""$0" wait </dev/null >/dev/null 2>woken & "$0"; :"#, CHANNEL]);
    let session = Session::builder_of(container).cwd(folder).socket(&hub.socket());
    session.env("CLAUDECODE", "1").env("CLAUDE_CODE_ENTRYPOINT", "cli").env("CLAUDE_CONFIG_DIR", folder).start()
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + SOON;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "no {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn sessions_in_containers_of_this_user_share_the_hub() {
    let own = || container(&["--map-current-user"]);
    if let Err(why) = own() {
        return skipped("bridge::containers::sessions_in_containers_of_this_user_share_the_hub", &why);
    }
    let (hub, directory) = (HubProcess::start(&[]), tempfile::tempdir().unwrap());
    let here = directory.path().join("here");
    fs::create_dir(&here).unwrap();
    let here = Session::builder().cwd(&here).socket(&hub.socket()).env("RELAY_CHANNEL", "on").start();
    // Their agents have the same process id, each in its own container.
    let [web, api] =
        ["web", "api"].map(|name| session_in_container(own().unwrap(), &hub, &directory.path().join(name)));
    wait_for("list of both", || {
        let listed = here.call("relay_peers", json!({})).ok();
        (listed["peers"].as_array()?.len() == 2).then_some(())
    });

    here.call("relay_ask", json!({"to": "api", "question": "in a container?"})).ok();
    let woken = wait_for("question at the waiter", || {
        let woken = fs::read_to_string(directory.path().join("api/woken")).unwrap_or_default();
        woken.contains("in a container?").then_some(woken)
    });
    assert!(woken.contains("from=\"here\""), "{woken}");
    let open = api.call("relay_peers", json!({})).ok();
    let ask = open["open"]["received"][0]["ask_id"].as_str().unwrap_or_else(|| panic!("{open}")).to_owned();
    api.call("relay_reply", json!({"ask_id": ask, "text": "Yes."})).ok();
    assert_eq!(here.event_of("reply").content, "Yes.");

    web.call("relay_tell", json!({"to": "here", "text": "from the other one"})).ok();
    assert_eq!(here.event_of("tell").get("from"), "web");

    here.call("relay_ask", json!({"to": "web", "question": "?"})).ok();
    drop(web);
    assert_eq!(here.event_of("failed").get("code"), "peer_gone");
}

/// A machine that is a container with a network of its own, whose user is root there.
struct RootContainer {
    first: Child,
    directory: tempfile::TempDir,
}

impl RootContainer {
    fn start(mut container: Command) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let script = r#"cd "$0" && mkdir docs
            "$1" --socket "$0/run/hub.sock" 2>hub.log &
            while ! [ -S run/hub.sock ]; do sleep 0.05; done
            "$2" --socket "$0/run/hub.sock" 2>bridge.log & wait"#;
        container.args(["sh", "-c", script]).arg(directory.path());
        container.args([env!("CARGO_BIN_EXE_relay-hub"), env!("CARGO_BIN_EXE_relay-bridge")]);
        container.env("XDG_CONFIG_HOME", directory.path().join("config")).env("HOME", directory.path());
        let first = container.stdin(Stdio::null()).spawn().unwrap();
        let container = Self { first, directory };
        let bridge = container.directory.path().join("run/bridge.sock");
        wait_for("bridge in the container", || bridge.exists().then_some(()));
        container
    }

    /// Returns the command that runs what follows in the container, as `docker exec -i` does.
    fn exec(&self) -> Vec<String> {
        // The container's first process, as seen from outside.
        let children = format!("/proc/{0}/task/{0}/children", self.first.id());
        let pid = fs::read_to_string(children).unwrap().trim().to_owned();
        ["nsenter", "--preserve-credentials", "--user", "--pid", "--net", "--mount", "--target", &pid]
            .map(str::to_owned)
            .to_vec()
    }
}

impl Drop for RootContainer {
    fn drop(&mut self) {
        let _ended = self.first.kill();
        let _reaped = self.first.wait();
    }
}

#[test]
fn container_of_another_user_is_a_machine_that_a_command_leads_into() {
    let own = container(&["--map-root-user", "--net"]);
    let own = match own {
        Ok(own) => own,
        Err(why) => {
            let test = "bridge::containers::container_of_another_user_is_a_machine_that_a_command_leads_into";
            return skipped(test, &why);
        }
    };
    let (laptop, inside) = (Machine::start("laptop"), RootContainer::start(own));
    let socket = inside.directory.path().join("run/hub.sock");
    let mut argv = inside.exec();
    argv.extend([env!("CARGO_BIN_EXE_relay-bridge"), "--socket", socket.to_str().unwrap(), "stdio"].map(str::to_owned));
    laptop.decide_on("box", &format!("via = {{ exec = {argv:?} }}\nas = \"laptop\"\nthey_may = \"ask\"\n"));

    let mut command = Command::new("nsenter");
    command.args(&inside.exec()[1..]).args(["sh", "-c", r#"cd "$1" && "$0"; :"#, CHANNEL]);
    command.arg(inside.directory.path().join("docs"));
    let docs = Session::builder_of(command).socket(&socket).env("RELAY_CHANNEL", "on").start();
    let web = laptop.session("web");
    laptop.wait_for_peer("docs@box");
    web.call("relay_ask", json!({"to": "docs@box", "question": "root?"})).ok();
    let ask = docs.event_of("ask");
    assert_eq!(ask.get("from"), "web@laptop");
    docs.call("relay_reply", json!({"ask_id": ask.get("ask_id"), "text": "Yes."})).ok();
    assert_eq!(web.event_of("reply").content, "Yes.");
    docs.call("relay_tell", json!({"to": "web@laptop", "text": "and back"})).ok();
    assert_eq!(web.event_of("tell").get("from"), "docs@box");
}
