//! A channel leaves at once, whatever its hub does and whatever it waits for.
//! (Without any hub: `channel_alone`; before and after the handshake: `mcp_wire`.)

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::support::mcp::Session;
use crate::support::stage::{Stage, ask};

/// The time in which Claude Code goes from SIGINT to SIGTERM: a server that takes longer is in its way.
const LEAVES_WITHIN: Duration = Duration::from_millis(200);

type Tell = fn(&Session);

const WAYS: [(&str, Tell); 4] = [
    ("end of input", Session::close),
    ("SIGINT", |session| session.signal(Signal::INT)),
    ("SIGTERM", |session| session.signal(Signal::TERM)),
    ("SIGHUP", |session| session.signal(Signal::HUP)),
];

fn leaves(session: &Session, way: &str, tell: Tell) {
    tell(session);
    let (status, time) = session.wait();
    assert_eq!(status.code(), Some(0), "{way}");
    assert!(time < LEAVES_WITHIN, "{way}: {time:?}");
}

#[test]
fn it_leaves_at_once_and_its_name_and_its_asks_leave_with_it() {
    let stage = Stage::new(&[]);
    let backend = stage.session("backend");
    for (way, tell) in WAYS {
        let web = stage.session("web");
        ask(&web, "backend", "Hm?", 60);
        let question = backend.event();
        leaves(&web, way, tell);
        stage.wait_for_peers(&backend, <[_]>::is_empty);
        let late = backend.call("relay_reply", json!({"ask_id": question.get("ask_id"), "text": "What?"}));
        assert_eq!(late.code(), "unknown_ask", "{way}");
    }
}

#[test]
fn a_hub_that_stands_still_holds_no_channel_also_not_in_the_middle_of_a_call() {
    let stage = Stage::new(&[]);
    for (way, tell) in WAYS {
        let (asker, replier, idle) = (stage.session("asker"), stage.session("replier"), stage.session("idle"));
        ask(&asker, "replier", "Hm?", 60);
        let question = replier.event();
        stage.hub.signal(Signal::STOP);
        // More than the socket takes: this leaver cannot even say that it leaves.
        for _ in 0..10 {
            asker.send_call("relay_ask", json!({"to": "idle", "question": "Well?".repeat(12_000)}));
        }
        replier.send_call("relay_reply", json!({"ask_id": question.get("ask_id"), "text": "Hm."}));
        // The channels have read the calls.
        for session in [&asker, &replier] {
            session.request("ping", json!({})).unwrap();
        }
        for session in [&asker, &replier, &idle] {
            leaves(session, way, tell);
        }
        stage.hub.signal(Signal::CONT);
        let observer = stage.session("observer");
        stage.wait_for_peers(&observer, <[_]>::is_empty);
    }
}

/// How long a client talks at most: longer than anybody waits for its channel.
const TALKS_FOR: Duration = Duration::from_secs(60);

#[test]
fn a_client_that_never_stops_talking_neither_hides_the_hub_nor_holds_the_channel() {
    let stage = Stage::new(&[]);
    let web = stage.session("web");
    let lines = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n".repeat(10_000);
    for (way, tell) in &WAYS[1..] {
        let talker = stage.session("talker");
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let end = Instant::now() + TALKS_FOR;
                while !is_over.load(Ordering::Relaxed) && Instant::now() < end {
                    talker.send_raw(lines.as_bytes());
                }
            });
            ask(&web, "talker", "Hm?", 60);
            let shown = talker.event_within(Duration::from_secs(10));
            tell(&talker);
            let (status, _) = talker.wait();
            is_over.store(true, Ordering::Relaxed);
            assert_eq!((shown.is_some(), status.code()), (true, Some(0)), "{way}");
        });
        stage.wait_for_peers(&web, <[_]>::is_empty);
    }
}
