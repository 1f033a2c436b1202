//! Clients without patience: they send everything that sessions send seldom or never, lose every hub
//! after a moment, and begin again. What becomes of them is judged by nobody.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{Scope, sleep};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::installed::Installed;

/// How long a guest waits for an answer before it begins again.
const PATIENCE: Duration = Duration::from_millis(700);

/// Counts what must differ: keys, asks, names, threads.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

fn number() -> u64 {
    NUMBERS.fetch_add(1, Ordering::Relaxed)
}

/// Ends the threads beside a test when it goes, also where the test fails: it would wait for them for ever.
pub(crate) struct End<'a>(pub(crate) &'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Starts the guests of this hub; they stay until `over`.
pub(crate) fn invite<'scope>(scope: &'scope Scope<'scope, '_>, relay: &'scope Installed, over: &'scope AtomicBool) {
    for visit in [restless, shell, broken, piecemeal, silent] {
        scope.spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let _hub_lost = visit(relay, over);
                sleep(Duration::from_millis(10));
            }
        });
    }
}

/// One connection; nothing comes of it any more once something was `None`.
struct Guest(BufReader<UnixStream>);

impl Guest {
    fn connect(relay: &Installed) -> Option<Self> {
        let stream = relay.connect().ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.set_write_timeout(Some(PATIENCE)).ok()?;
        Some(Self(BufReader::new(stream)))
    }

    /// Says hello as a client of this kind and hears the welcome.
    fn greet(relay: &Installed, facts: &Value) -> Option<Self> {
        let mut guest = Self::connect(relay)?;
        let mut hello = json!({
            "type": "hello", "id": 1, "versions": {"min": 1, "max": 1}, "program": "guest 1",
        });
        hello.as_object_mut().unwrap().extend(facts.as_object().unwrap().clone());
        guest.say(&hello)?;
        guest.hear("welcome")?;
        Some(guest)
    }

    fn say(&mut self, message: &Value) -> Option<()> {
        self.write(format!("{message}\n").as_bytes())
    }

    fn write(&mut self, bytes: &[u8]) -> Option<()> {
        self.0.get_mut().write_all(bytes).ok()
    }

    /// Waits for a message of this type and passes over others.
    fn hear(&mut self, kind: &str) -> Option<Value> {
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let message: Value = serde_json::from_str(&line).ok()?;
            if message["type"] == kind {
                return Some(message);
            }
        }
    }
}

/// A session that renames itself, asks questions that nobody answers, and changes its channel.
fn restless(relay: &Installed, _over: &AtomicBool) -> Option<()> {
    let own = relay::process::own();
    let facts = json!({
        "kind": "session", "agent": "test", "cwd": "/test/guest", "status": "idle", "wakes_by": "channel",
        "session": {"pid": own.pid, "start": own.start, "thread": number().to_string()},
    });
    let mut session = Guest::greet(relay, &facts)?;
    let busy = json!({"type": "presence", "cwd": "/test/guest", "status": "busy", "wakes_by": "waiter"});
    session.say(&busy)?;
    session.say(&json!({"type": "named", "name": format!("guest {}", number())}))?;
    session.hear("renamed")?;
    session.say(&json!({"type": "rename", "id": 2, "name": format!("guest {}", number())}))?;
    session.hear("renamed")?;

    let ask = |timeout_ms: u64| {
        let ask_id = relay::protocol::AskId::from_bits(number() << 20 | u64::from(std::process::id()));
        json!({"type": "ask", "id": 3, "ask_id": ask_id, "to": "web", "question": "guest?", "timeout_ms": timeout_ms})
    };
    session.say(&ask(60))?;
    session.hear("accepted")?;
    session.hear("failed")?;
    let withdrawn = ask(60_000);
    session.say(&withdrawn)?;
    session.hear("accepted")?;
    session.say(&json!({"type": "park", "value": {"asks": [withdrawn["ask_id"]]}}))?;
    session.say(&json!({"type": "bye"}))?;
    session.hear("nothing");
    let mut next = Guest::greet(relay, &facts)?;
    next.say(&json!({"type": "withdraw", "ask_id": withdrawn["ask_id"]}))?;
    // In every other visit it is lost without a word: its process lives, so it is waited for.
    if number().is_multiple_of(2) {
        next.say(&json!({"type": "bye"}))?;
        next.hear("nothing");
    }
    Some(())
}

/// What a person's tool says of itself.
fn control() -> Value {
    json!({"kind": "control", "key": format!("{:032x}", number())})
}

/// A person's tool, which watches.
fn shell(relay: &Installed, over: &AtomicBool) -> Option<()> {
    let mut tool = Guest::greet(relay, &control())?;
    while !over.load(Ordering::Relaxed) {
        for (question, answer) in
            [("watch", "watching"), ("status", "status"), ("peers", "peers"), ("audience", "audience")]
        {
            tool.say(&json!({"type": question, "id": 3}))?;
            tool.hear(answer)?;
        }
        tool.say(&json!({"type": "dance", "id": 4}))?;
        tool.hear("error")?;
        sleep(Duration::from_millis(50));
    }
    Some(())
}

/// Says what is no message, in pieces.
fn broken(relay: &Installed, _over: &AtomicBool) -> Option<()> {
    let mut guest = Guest::connect(relay)?;
    guest.write(b"{\"type\":\"hel")?;
    sleep(Duration::from_millis(20));
    guest.write(b"lo\n")?;
    guest.hear("error")?;
    guest.hear("nothing").map(drop)
}

/// Says every byte by itself.
fn piecemeal(relay: &Installed, _over: &AtomicBool) -> Option<()> {
    let mut guest = Guest::greet(relay, &control())?;
    for byte in b"{\"type\":\"status\",\"id\":2}\n" {
        guest.write(&[*byte])?;
        sleep(Duration::from_millis(3));
    }
    guest.hear("status").map(drop)
}

/// A session whose channel is stopped for a while and then killed: nothing of it reads or says good-bye.
pub(crate) fn stopped(relay: &Installed) {
    let session = relay.session("guest");
    let _hub_lost = session.call("relay_peers", json!({}));
    session.signal(Signal::STOP);
    sleep(PATIENCE * 3);
    session.signal(Signal::KILL);
}

/// Asks for much and leaves without waiting for it.
pub(crate) fn hasty(relay: &Installed) -> Option<()> {
    let mut guest = Guest::greet(relay, &control())?;
    guest.write("{\"type\":\"peers\",\"id\":2}\n".repeat(600).as_bytes())
}

/// Wants more than it reads: a little more, or so much that it is cut.
pub(crate) fn slow(relay: &Installed, requests: usize) -> Option<()> {
    let mut guest = Guest::greet(relay, &control())?;
    guest.0.get_ref().set_write_timeout(Some(PATIENCE * 5)).ok()?;
    guest.write("{\"type\":\"status\",\"id\":2}\n".repeat(requests).as_bytes())?;
    // A reader is too slow that takes nothing for two seconds.
    sleep(if requests > 2000 { PATIENCE * 4 } else { PATIENCE });
    let mut bytes = [0; 64 * 1024];
    while matches!(guest.0.get_mut().read(&mut bytes), Ok(n) if n > 0) {}
    Some(())
}

/// Connects and says nothing until it is turned out.
fn silent(relay: &Installed, over: &AtomicBool) -> Option<()> {
    let mut guest = Guest::connect(relay)?;
    wait_for_end(&mut guest, over)
}

fn wait_for_end(guest: &mut Guest, over: &AtomicBool) -> Option<()> {
    while !over.load(Ordering::Relaxed) {
        match guest.0.read(&mut [0; 4096]) {
            Ok(0) => break,
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => break,
            Ok(_) | Err(_) => {}
        }
    }
    Some(())
}
