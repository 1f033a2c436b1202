//! Who belongs to a session, as the system says it: real processes of one user, and one in a container.

use std::process::{Child, Command, Stdio};

use relay::process;
use relay::protocol::ClientProcess;
use serde_json::{Value, json};

use crate::support::hub_process::{HubProcess, RawClient};

/// A process that runs until the test is over.
struct Running(Child);

impl Running {
    fn start(mut command: Command) -> Self {
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _already_ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Says hello as something that belongs to the session of this client, and returns the answer.
fn greet(client: &mut RawClient, kind: &str, key: u8, of: ClientProcess) -> Value {
    let mut hello = json!({
        "type": "hello", "id": 1, "versions": {"min": 1, "max": 1}, "key": format!("{key:02x}").repeat(16),
        "program": "test 1", "kind": kind, "pid": of.pid, "start": of.start,
    });
    if kind == "channel" {
        let facts = json!({"cwd": format!("/w/s{key}"), "status": "idle", "wakes_by": "next_prompt"});
        hello.as_object_mut().unwrap().extend(facts.as_object().unwrap().clone());
    }
    client.say(&hello);
    client.hear()
}

fn own() -> ClientProcess {
    process::of(std::process::id()).unwrap()
}

#[test]
fn a_stranger_that_names_a_sessions_client_gets_neither_its_messages_nor_its_name() {
    let hub = HubProcess::start(&[]);
    hub.settle();
    let mut sleep = Command::new("sleep");
    sleep.arg("60");
    let client = Running::start(sleep);
    let theirs = process::of(client.0.id()).unwrap();
    for kind in ["waiter", "hook"] {
        let refused = greet(&mut hub.connect(), kind, 1, theirs);
        assert_eq!(refused["error"]["code"], "bad_args", "{refused}");
        let said = refused["error"]["message"].as_str().unwrap();
        assert!(said.contains(&format!("{} was not started by the process {}", own().pid, theirs.pid)), "{said}");
    }
    let mut channel = hub.connect();
    assert_eq!(greet(&mut channel, "channel", 2, theirs)["name"], "s2");
    let mut other = hub.session("other");
    other.say(&json!({"type": "peers", "id": 2}));
    assert_eq!(other.hear()["peers"][0]["pid"], own().pid, "the session is its own process's");
    hub.wait_for_log("names a client process that did not start it");
    // A later process with the id of the one that is named is another one as well.
    let refused = greet(&mut hub.connect(), "waiter", 3, ClientProcess { start: own().start + 1, ..own() });
    assert_eq!(refused["error"]["code"], "bad_args", "{refused}");
}

#[test]
fn what_the_client_or_a_program_of_its_started_belongs_to_it() {
    let hub = HubProcess::start(&[]);
    hub.settle();
    let parent = process::of(process::descent(own().pid).unwrap().parent).unwrap();
    for (key, client) in [(1, own()), (3, parent)] {
        let (mut channel, mut waiter) = (hub.connect(), hub.connect());
        assert_eq!(greet(&mut channel, "channel", key, client)["type"], "welcome");
        assert_eq!(channel.hear(), json!({"type": "waiter"}));
        assert_eq!(greet(&mut waiter, "waiter", key + 1, client)["type"], "welcome");
        let told = channel.hear();
        assert!(told["type"] == "waiter" && told["tag"].is_string(), "{told}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_session_in_a_container_is_believed_and_kept_apart() {
    use std::time::Instant;

    use crate::support::hub_process::SOON;

    if !rustix::process::geteuid().is_root() {
        let test = "identity::a_session_in_a_container_is_believed_and_kept_apart";
        return crate::support::user_manager::skipped(test, &"only root makes a pid namespace without more");
    }
    let hub = HubProcess::start(&[]);
    hub.settle();
    // The shell is process 1 of the container, and not the process 1 that the hub sees.
    let script = format!("{} wait; exit 0", env!("CARGO_BIN_EXE_relay-channel"));
    let mut container = Command::new("unshare");
    container.args(["--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", &script]);
    container.env("RELAY_SOCKET", hub.socket()).env_remove("CLAUDE_CODE_ENTRYPOINT").stderr(Stdio::null());
    let _container = Running::start(container);
    let mut client = hub.session("other");
    let end = Instant::now() + SOON;
    loop {
        client.say(&json!({"type": "status", "id": 2}));
        if client.hear()["connections"] == 2 {
            break;
        }
        assert!(Instant::now() < end, "the waiter is not let in: {}", hub.log());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(!hub.log().contains("not started by"), "{}", hub.log());
    // Process 1 started everybody, the container's waiter is another 1's.
    let mut channel = hub.connect();
    assert_eq!(greet(&mut channel, "channel", 1, process::of(1).unwrap())["type"], "welcome");
    assert_eq!(channel.hear(), json!({"type": "waiter"}));
}
