//! What `relayctl history` tells of the asks that went through a real hub, out of a real journal.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::checker::violations;
use crate::support::hub_process::RawClient;
use crate::support::installed::{Installed, signal, soon};
use crate::support::load::{Clock, summary, talk};
use crate::support::record::Record;
use crate::support::user_manager::user_manager;

/// Connects as a session that works in this folder.
fn session(relay: &Installed, folder: &str) -> RawClient {
    let mut client = RawClient::over(relay.connect().unwrap());
    client.say(&json!({
        "type": "hello", "id": 1, "versions": relay::protocol::VERSIONS, "program": "test 1", "kind": "session",
        "session": {"pid": std::process::id(), "start": 1, "thread": folder}, "agent": "test",
        "cwd": format!("/test/{folder}"), "status": "idle", "wakes_by": "channel",
    }));
    assert_eq!(client.hear()["type"], "welcome");
    client
}

/// Returns the next message of this kind.
fn hear(client: &mut RawClient, kind: &str) -> Value {
    loop {
        let message = client.hear();
        if message["type"] == kind {
            return message;
        }
    }
}

fn ask(client: &mut RawClient, id: &str, to: &str, timeout_ms: u64) {
    client.say(&json!({
        "type": "ask", "id": 9, "ask_id": id, "to": to, "question": "a secret question", "timeout_ms": timeout_ms,
    }));
    assert_eq!(hear(client, "accepted")["ask_id"], id);
}

/// Answers a question, and lets its asker take the answer.
fn answer(asker: &mut RawClient, asked: &mut RawClient, id: &str) {
    while hear(asked, "ask")["ask_id"] != id {}
    asked.say(&json!({"type": "reply", "id": 3, "ask_id": id, "text": "a secret answer"}));
    let reply = hear(asker, "reply");
    asker.say(&json!({"type": "taken", "ask_id": reply["ask_id"], "by": reply["by"]}));
    hear(asked, "replied");
}

fn history(relay: &Installed, arguments: &str) -> Vec<Value> {
    let said = relay.relayctl_ok(&format!("history --json {arguments}"));
    said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Returns how each ask ended, by its id.
fn outcomes(lines: &[Value]) -> BTreeMap<String, String> {
    let asks = lines.iter().filter(|line| line["type"] == "history");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    asks.map(|ask| (text(&ask["ask_id"]), text(&ask["outcome"]))).collect()
}

#[test]
fn every_ask_is_told_with_the_one_outcome_that_it_had() {
    let relay = Installed::with(user_manager!());
    relay.hub_arguments("--limit rate=off --limit loop=off");
    let (mut web, mut backend, mut goner) =
        (session(&relay, "web"), session(&relay, "backend"), session(&relay, "goner"));
    let mut expected = BTreeMap::new();
    for n in 0..120 {
        let id = format!("0000-000{}-{:04}", n % 4, 1000 + n);
        let outcome = match n % 4 {
            0 => {
                ask(&mut web, &id, "backend", 60_000);
                answer(&mut web, &mut backend, &id);
                "reply"
            }
            1 => {
                ask(&mut web, &id, "backend", 1);
                assert_eq!(hear(&mut web, "failed")["ask_id"], id.as_str());
                "timeout"
            }
            2 => {
                ask(&mut web, &id, "backend", 60_000);
                web.say(&json!({"type": "withdraw", "ask_id": id}));
                "withdrawn"
            }
            _ => {
                ask(&mut web, &id, "goner", 60_000);
                "peer_gone"
            }
        };
        expected.insert(id, outcome.to_owned());
    }
    goner.say(&json!({"type": "bye"}));
    for _ in 0..30 {
        hear(&mut web, "failed");
    }
    // A hub tells the journal once nothing else is to be done. One that is killed then has told it of everything, and the
    // next one goes on.
    soon("the journal", || (outcomes(&history(&relay, "")) == expected).then_some(()));
    signal(relay.hub(), rustix::process::Signal::KILL);
    drop((web, backend));
    let (mut web, mut backend) = (session(&relay, "web"), session(&relay, "backend"));
    ask(&mut web, "0000-0000-2000", "backend", 60_000);
    answer(&mut web, &mut backend, "0000-0000-2000");
    expected.insert("0000-0000-2000".to_owned(), "reply".to_owned());
    ask(&mut web, "0000-0000-2001", "backend", 60_000);
    expected.insert("0000-0000-2001".to_owned(), "open".to_owned());

    let told = soon("the journal", || {
        let told = history(&relay, "");
        (outcomes(&told).len() >= expected.len()).then_some(told)
    });
    assert_eq!(outcomes(&told), expected);
    let day = told.iter().find(|line| line["type"] == "history_day").unwrap();
    let counts = ["asks", "replied", "timed_out", "withdrawn", "gone", "open", "unrecorded"].map(|key| &day[key]);
    assert_eq!(counts.map(|count| count.as_u64().unwrap()), [122, 31, 30, 30, 30, 1, 0]);
    assert_eq!(outcomes(&history(&relay, "--failed")).len(), 60);
    assert_eq!(outcomes(&history(&relay, "--with goner")).len(), 30);
    assert!(history(&relay, "--since 2099-01-01").is_empty());
    assert!(!relay.manager.journal("relay.service").contains("secret"));
}

/// How long sessions talk before their history is looked at.
const TALK: Duration = Duration::from_secs(8);

const NAMES: [&str; 4] = ["backend", "docs", "ops", "web"];

/// Returns how each ask and tell that was accepted ended as its session saw it, by its id: nothing where it was told nothing,
/// as of a tell that came, or of what was open when it left.
fn seen(record: &Record) -> BTreeMap<String, Option<String>> {
    let mut seen = BTreeMap::new();
    for log in &record.sessions {
        let answers = log.calls.iter().filter_map(|call| call.answer.as_ref()).filter(|answer| !answer.is_error);
        let accepted = answers.flat_map(|answer| {
            let of_broadcast = answer.json["asks"].as_array().into_iter().flatten();
            let one = Some(&answer.json).filter(|json| json["state"] != "pending" && !json["cwd"].is_null());
            of_broadcast.chain(one).filter_map(|ask| ask["ask_id"].as_str().or(ask["tell_id"].as_str()))
        });
        seen.extend(accepted.map(|id| (id.to_owned(), None)));
        for event in log.events.iter().filter(|event| ["reply", "failed"].contains(&event.get("kind"))) {
            let id = if event.meta.contains_key("tell_id") { event.get("tell_id") } else { event.get("ask_id") };
            let outcome = if event.get("kind") == "reply" { "reply" } else { event.get("code") };
            seen.insert(id.to_owned(), Some(outcome.to_owned()));
        }
    }
    seen
}

#[test]
fn history_is_what_the_sessions_saw() {
    let relay = Installed::with(user_manager!());
    relay.hub_arguments("--limit rate=off --limit loop=off");
    let clock = Clock::start(getrandom::u64().unwrap());
    let channel = relay.program("relay-channel");
    let record = talk(&relay.manager, &clock, &channel, &NAMES, || std::thread::sleep(TALK));
    assert_eq!(violations(&record), [""; 0]);
    let seen = seen(&record);
    assert!(seen.len() > 50, "{}", summary(&record));
    let told = soon("the end of everything in the journal", || {
        let told = outcomes(&history(&relay, ""));
        (told.len() >= seen.len() && !told.values().any(|outcome| outcome == "open")).then_some(told)
    });
    assert_eq!(told.keys().collect::<Vec<_>>(), seen.keys().collect::<Vec<_>>());
    for (id, outcome) in &seen {
        let told = told[id].as_str();
        match outcome {
            Some(outcome) => assert_eq!(told, outcome, "{id}"),
            None => assert!(["shown", "handed_over", "withdrawn", "peer_gone"].contains(&told), "{id}: {told}"),
        }
    }
}

#[test]
fn texts_are_in_the_log_only_where_a_person_has_turned_that_on() {
    let relay = Installed::with(user_manager!());
    relay.drop_in("Environment=RELAY_LOG_TEXT=1");
    let (mut web, mut backend) = (session(&relay, "web"), session(&relay, "backend"));
    ask(&mut web, "0000-0000-2000", "backend", 60_000);
    answer(&mut web, &mut backend, "0000-0000-2000");
    let asked =
        soon("the answer in the journal", || history(&relay, "").into_iter().find(|line| !line["reply"].is_null()));
    assert_eq!((&asked["question"], &asked["reply"]), (&json!("a secret question"), &json!("a secret answer")));
    assert!(relay.relayctl_ok("history").contains("          | a secret question\n"));
}
