//! `relayctl watch --notify` with a real session bus: what the notification service gets.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use serde_json::json;
use zbus::OwnedVariant;

use crate::support::hub_process::{HubProcess, RawClient};
use crate::support::skip::needs;

const RELAYCTL: &str = env!("CARGO_BIN_EXE_relayctl");

/// How long a test waits for what must come.
const SOON: Duration = Duration::from_secs(10);

/// A program that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _already_ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Starts a session bus and returns its address.
fn bus() -> (Running, String) {
    let mut command = Command::new("dbus-daemon");
    command.args(["--session", "--nofork", "--print-address=1"]).stdout(Stdio::piped());
    let mut daemon = command.spawn().expect("dbus-daemon is installed");
    let mut address = String::new();
    BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut address).unwrap();
    (Running(daemon), address.trim_end().to_owned())
}

/// The service that shows notifications.
struct Notifications(Sender<String>);

#[zbus::interface(name = "org.freedesktop.Notifications")]
impl Notifications {
    #[expect(clippy::too_many_arguments, reason = "the specification has them")]
    fn notify(
        &self,
        app_name: &str,
        _replaces_id: u32,
        _app_icon: &str,
        summary: &str,
        body: &str,
        _actions: Vec<String>,
        _hints: HashMap<String, OwnedVariant>,
        _expire_timeout: i32,
    ) -> u32 {
        self.0.send(format!("{app_name} | {summary} | {body}")).unwrap();
        1
    }
}

/// Has notifications of this bus shown, for as long as the test's process lives.
fn desktop(bus: &str) -> Receiver<String> {
    let (shown, screen) = channel();
    let (ready, is_ready) = channel();
    let address = bus.to_owned();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let builder = zbus::connection::Builder::address(address.as_str());
            let builder = builder.serve_at("/org/freedesktop/Notifications", Notifications(shown));
            let _connection = builder.name("org.freedesktop.Notifications").build().await.unwrap();
            ready.send(()).unwrap();
            std::future::pending::<()>().await;
        });
    });
    is_ready.recv_timeout(SOON).unwrap();
    screen
}

fn notifier(hub: &HubProcess, bus: &str) -> Running {
    let mut command = Command::new(RELAYCTL);
    command.args(["watch", "--notify"]).env("RELAY_SOCKET", hub.socket()).env("DBUS_SESSION_BUS_ADDRESS", bus);
    Running(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

fn presence(session: &mut RawClient, status: &str) {
    let mut presence = json!({"type": "presence", "cwd": "/src/<web>", "status": status, "wakes_by": "channel"});
    if status == "waiting" {
        presence["waiting_for"] = json!("permission prompt");
    }
    session.say(&presence);
}

/// Lets the session begin to wait until something comes of it: what happens before somebody watches is no news.
fn wait_again_until<T>(session: &mut RawClient, mut come: impl FnMut() -> Option<T>) -> T {
    for _ in 0..100 {
        presence(session, "waiting");
        if let Some(come) = come() {
            return come;
        }
        presence(session, "idle");
    }
    panic!("nothing comes of it");
}

#[test]
fn desktop_is_told_who_waits_and_how_own_asks_end() {
    needs!("dbus-daemon");
    let (_bus, address) = bus();
    let screen = desktop(&address);
    let hub = HubProcess::start(&[]);
    hub.settle();
    let mut web = hub.session("web");
    let _notifier = notifier(&hub, &address);
    let shown = wait_again_until(&mut web, || screen.recv_timeout(Duration::from_millis(100)).ok());
    assert_eq!(shown, "relay | web waits for you | permission prompt in /src/&lt;web&gt;");
    let mut ask = Command::new(RELAYCTL);
    ask.args(["ask", "web", "green?"]).env("RELAY_SOCKET", hub.socket());
    let mut asking = ask.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let question = std::iter::repeat_with(|| web.hear()).find(|message| message["type"] == "ask").unwrap();
    web.say(&json!({"type": "reply", "id": 3, "ask_id": question["ask_id"], "text": "yes"}));
    assert!(asking.wait().unwrap().success());
    let ended = screen.recv_timeout(SOON).unwrap();
    assert!(ended.starts_with("relay | web | answered after "), "{ended}");
}

#[test]
fn without_a_desktop_its_user_is_told_so_and_the_watch_goes_on() {
    needs!("dbus-daemon");
    let (_bus, address) = bus();
    let hub = HubProcess::start(&[]);
    hub.settle();
    let mut web = hub.session("web");
    let mut notifier = notifier(&hub, &address);
    let (said, talk) = channel();
    let stderr = BufReader::new(notifier.0.stderr.take().unwrap());
    std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| said.send(line)));
    let line = wait_again_until(&mut web, || talk.recv_timeout(Duration::from_millis(100)).ok());
    assert!(line.starts_with("the desktop did not show a notification: "), "{line}");
    assert!(notifier.0.try_wait().unwrap().is_none());
    // Once somebody shows notifications it works.
    let screen = desktop(&address);
    wait_again_until(&mut web, || screen.recv_timeout(Duration::from_millis(100)).ok());
}
