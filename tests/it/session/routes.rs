//! A hundred asks over each route into a session, its hub killed at random: each shown once, each ended once.
//!
//! The asked session is of this test process, which plays Claude Code: its waiters and hooks are started here.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::claude_code::{self, Waiter};
use crate::support::mcp::{Answer, Session};
use crate::support::random::Random;
use crate::support::stage::Stage;

const ASKS: usize = 100;

/// How many are on their way at a time.
const AT_ONCE: usize = 5;

/// How long a hub may live, in milliseconds.
const LIFE: std::ops::Range<u64> = 300..900;

/// A breath between rounds, so that the hub is killed often enough also where all is fast.
const BREATH: Duration = Duration::from_millis(150);

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Channel,
    Waiter,
    Hook,
    ToolResult,
}

/// The asked session, and how often it was shown what.
struct Asked {
    session: Session,
    socket: PathBuf,
    route: Route,
    shown: BTreeMap<String, usize>,
}

impl Asked {
    /// Takes note of the asks in a text.
    fn read(&mut self, text: &str) {
        for tag in text.split("<relay-message kind=\"ask\"").skip(1) {
            let ask_id = tag.split_once(" ask_id=\"").and_then(|(_, rest)| rest.split_once('"')).unwrap().0;
            *self.shown.entry(ask_id.to_owned()).or_default() += 1;
        }
    }

    /// Calls a tool, with what its result may show.
    fn call(&mut self, tool: &str, arguments: Value) -> Answer {
        let answer = self.session.call(tool, arguments);
        for message in answer.json["messages"].as_array().into_iter().flatten() {
            self.read(message.as_str().unwrap());
        }
        answer
    }

    /// Looks once for what the route shows.
    fn look(&mut self) {
        match self.route {
            Route::Channel => {
                while let Some(event) = self.session.event_within(Duration::from_millis(20)) {
                    *self.shown.entry(event.get("ask_id").to_owned()).or_default() += 1;
                }
            }
            Route::Waiter => {
                let mut waiter = Waiter::start_at(&self.socket);
                let end = Instant::now() + Duration::from_secs(2);
                while waiter.is_there() && Instant::now() < end {
                    std::thread::sleep(Duration::from_millis(5));
                }
                if !waiter.is_there() {
                    let (status, text) = waiter.end();
                    assert!(status == 2 || text.is_empty(), "{status}: {text}");
                    self.read(&text);
                }
            }
            Route::Hook => {
                let input = json!({"hook_event_name": "PostToolUse", "tool_name": "Bash"});
                if let Some(output) = claude_code::hook_at(&self.socket, &input) {
                    self.read(output["hookSpecificOutput"]["additionalContext"].as_str().unwrap());
                }
            }
            Route::ToolResult => {
                self.call("relay_peers", json!({}));
            }
        }
    }
}

/// Asks until a hub has the ask: one that no hub took in time was refused, and is not asked.
fn accepted(asker: &Session, question: &Value) -> String {
    loop {
        let answer = asker.call("relay_ask", question.clone());
        if !answer.is_error {
            return answer.json["ask_id"].as_str().unwrap().to_owned();
        }
        assert_eq!(answer.code(), "hub_unreachable");
    }
}

/// Asks, shows, answers and waits for the outcomes. Returns how often each ask ended.
fn converse(asker: &Session, asked: &mut Asked) -> BTreeMap<String, usize> {
    let mut ended: BTreeMap<String, usize> = BTreeMap::new();
    for round in 0..ASKS / AT_ONCE {
        std::thread::sleep(BREATH);
        let mut open = Vec::new();
        for n in 0..AT_ONCE {
            let question = json!({"to": "web", "question": format!("{round}.{n}?"), "timeout_seconds": 300});
            open.push(accepted(asker, &question));
        }
        let end = Instant::now() + PATIENCE;
        while open.iter().any(|ask_id| !asked.shown.contains_key(ask_id)) {
            assert!(Instant::now() < end, "{:?}: {open:?} of {:?}", asked.route, asked.shown);
            asked.look();
        }
        for ask_id in &open {
            let state = asked.call("relay_reply", json!({"ask_id": ask_id, "text": "yes"})).ok()["state"].take();
            assert!(state == "accepted" || state == "pending", "{state}");
        }
        while open.iter().any(|ask_id| !ended.contains_key(ask_id)) {
            let event = asker.event();
            assert_eq!(event.kind(), "reply", "{event:?}");
            *ended.entry(event.get("ask_id").to_owned()).or_default() += 1;
        }
    }
    ended
}

fn a_hundred_asks(route: Route) {
    let mut stage = Stage::settled(&["--limit", "rate=off"]);
    let folder = stage.folders().join("web");
    std::fs::create_dir_all(&folder).unwrap();
    let channel = if route == Route::Channel { "on" } else { "off" };
    let session = claude_code::session(&stage.hub, &folder, stage.folders()).env("RELAY_CHANNEL", channel).start();
    let asker = stage.session("asker");
    stage.wait_for_peers(&asker, |peers| peers.len() == 1);
    let mut asked = Asked { session, socket: stage.hub.socket(), route, shown: BTreeMap::new() };

    let over = AtomicBool::new(false);
    let (ended, kills) = std::thread::scope(|scope| {
        let killer = scope.spawn(|| {
            let (mut random, mut kills) = (Random::new(route as u64), 0);
            while !over.load(Ordering::Relaxed) {
                std::thread::sleep(random.millis(LIFE));
                stage.hub.kill_and_restart(&["--limit", "rate=off"]);
                kills += 1;
            }
            kills
        });
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| converse(&asker, &mut asked)));
        over.store(true, Ordering::Relaxed);
        let kills = killer.join().unwrap();
        (ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic)), kills)
    });

    // Whatever would come a second time comes within the time in which a new hub has settled.
    std::thread::sleep(Duration::from_secs(2));
    asked.look();
    asked.call("relay_peers", json!({}));
    assert_eq!(asker.events_within(Duration::ZERO), []);
    assert!(kills >= 3, "the hub was killed {kills} times only");
    assert_eq!((asked.shown.len(), ended.len()), (ASKS, ASKS));
    let twice = |counts: &BTreeMap<String, usize>| counts.values().filter(|n| **n != 1).count();
    assert_eq!((twice(&asked.shown), twice(&ended)), (0, 0), "{:?} {ended:?}", asked.shown);
}

#[test]
fn over_channel_events_each_is_shown_once_and_ends_once() {
    a_hundred_asks(Route::Channel);
}

#[test]
fn over_waiters_each_is_shown_once_and_ends_once() {
    a_hundred_asks(Route::Waiter);
}

#[test]
fn over_hooks_each_is_shown_once_and_ends_once() {
    a_hundred_asks(Route::Hook);
}

#[test]
fn over_tool_results_each_is_shown_once_and_ends_once() {
    a_hundred_asks(Route::ToolResult);
}
