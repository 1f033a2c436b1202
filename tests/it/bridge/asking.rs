//! Asks, tells and broadcasts between machines.

use std::time::{Duration, Instant};

use serde_json::json;

use super::stage::{Machine, pair, transports};

fn text(output: &std::process::Output) -> (Option<i32>, String, String) {
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), said(&output.stdout), said(&output.stderr))
}

#[test]
fn sessions_of_two_machines_ask_each_other() {
    let (laptop, desk) = pair();
    let (web, api) = (laptop.session("web"), desk.session("api"));
    laptop.wait_for_peer("api@desk");
    desk.wait_for_peer("web@laptop");

    let asked = web.call("relay_ask", json!({"to": "api@desk", "question": "Is it green?"})).ok();
    assert_eq!((&asked["to"], &asked["state"]), (&json!("api@desk"), &json!("accepted")));
    let ask = api.event();
    assert_eq!((ask.get("from"), ask.get("machine"), ask.get("timeout_s")), ("web@laptop", "laptop", "600"));
    assert!(ask.content.contains("on another machine (laptop)"), "{}", ask.content);
    let replied = api.call("relay_reply", json!({"ask_id": ask.get("ask_id"), "text": "Yes."})).ok();
    assert_eq!((&replied["to"], &replied["state"]), (&json!("web@laptop"), &json!("accepted")));
    let reply = web.event();
    assert_eq!((reply.kind(), reply.get("from"), reply.content.as_str()), ("reply", "api@desk", "Yes."));
    assert_eq!(reply.get("machine"), "desk");

    api.call("relay_tell", json!({"to": "web@laptop", "text": "The port is 8081."})).ok();
    let told = web.event();
    assert_eq!((told.kind(), told.get("from")), ("tell", "api@desk"));
}

#[test]
fn shell_asks_a_session_of_another_machine_and_cannot_be_asked() {
    let (laptop, desk) = pair();
    let api = desk.session("api");
    laptop.wait_for_peer("api@desk");
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| text(&laptop.relayctl(&["ask", "api@desk", "ready?"])));
        let ask = api.event();
        assert_eq!(ask.get("from"), "shell@laptop");
        api.call("relay_reply", json!({"ask_id": ask.get("ask_id"), "text": "Ready."})).ok();
        assert_eq!(asking.join().unwrap(), (Some(0), "Ready.\n".to_owned(), String::new()));
    });
    assert_eq!(api.call("relay_ask", json!({"to": "shell@laptop", "question": "?"})).code(), "peer_not_found");
    assert_eq!(laptop.relayctl(&["ask", "nobody@desk", "?"]).status.code(), Some(6));
    assert_eq!(laptop.relayctl(&["ask", "api", "a bare name is a local one"]).status.code(), Some(6));
}

#[test]
fn broadcast_stays_on_its_machine_unless_it_names_others() {
    let (laptop, desk) = pair();
    let (web, docs, api) = (laptop.session("web"), laptop.session("docs"), desk.session("api"));
    laptop.wait_for_peer("api@desk");
    let here = web.call("relay_broadcast", json!({"question": "here?"})).ok();
    assert_eq!(here["asks"].as_array().unwrap().len(), 1);
    assert_eq!(docs.event().content.lines().next(), Some("here?"));

    let everywhere = web.call("relay_broadcast", json!({"question": "there?", "machines": ["all"]})).ok();
    assert_eq!((everywhere["asks"].as_array().unwrap().len(), &everywhere["refused"]), (2, &json!([])));
    let ask = api.event();
    assert_eq!(ask.content.lines().next(), Some("there?"));
    api.call("relay_reply", json!({"ask_id": ask.get("ask_id"), "text": "Here."})).ok();
    assert_eq!(web.event().content, "Here.");

    let unknown = web.call("relay_broadcast", json!({"question": "?", "machines": ["moon"]})).ok();
    assert_eq!(unknown["refused"][0]["to"], "moon");
}

#[test]
fn machine_that_is_away_is_said_at_once_and_its_sessions_stay() {
    let (laptop, desk) = pair();
    let (web, api) = (laptop.session("web"), desk.session("api"));
    laptop.wait_for_peer("api@desk");
    let asked = web.call("relay_ask", json!({"to": "api@desk", "question": "?", "timeout_seconds": 3})).ok();
    assert_eq!(api.event().get("ask_id"), asked["ask_id"].as_str().unwrap());
    laptop.wait_until("it is known to have been handed over", || {
        let status = laptop.relayctl(&["board", "--json"]);
        String::from_utf8_lossy(&status.stdout).contains("handed_over")
    });
    desk.kill_bridge();
    laptop.wait_until("api@desk cannot be reached", || laptop.peers().contains(&("api@desk".to_owned(), false)));

    let start = Instant::now();
    let (code, _, said) = text(&laptop.relayctl(&["ask", "api@desk", "?"]));
    assert_eq!(code, Some(7), "{said}");
    assert!(said.contains("machine_unreachable") && said.contains("next: relayctl machines test desk"), "{said}");
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    let failed = web.event();
    assert_eq!((failed.get("code"), failed.get("state")), ("timeout", "handed_over"));
    assert!(!failed.get("unreachable_s").is_empty(), "{failed:?}");

    desk.start_bridge();
    laptop.wait_for_peer("api@desk");
    web.call("relay_ask", json!({"to": "api@desk", "question": "again?"})).ok();
    assert_eq!(api.event().content.lines().next(), Some("again?"));
}

#[test]
fn reply_that_is_given_while_the_link_is_down_arrives_when_it_is_back() {
    let (laptop, desk) = pair();
    let (web, api) = (laptop.session("web"), desk.session("api"));
    laptop.wait_for_peer("api@desk");
    web.call("relay_ask", json!({"to": "api@desk", "question": "?"})).ok();
    let ask = api.event();
    let transport = transports(&laptop);
    super::stage::signal(transport[0], rustix::process::Signal::STOP);
    let replied = api.call("relay_reply", json!({"ask_id": ask.get("ask_id"), "text": "Late."})).ok();
    assert_eq!(replied["state"], "pending");
    assert_eq!(web.event_within(Duration::from_millis(500)), None);
    super::stage::signal(transport[0], rustix::process::Signal::KILL);
    assert_eq!(web.event().content, "Late.");
    // It was said to be kept; that it arrived is no news.
    assert_eq!(api.event_within(Duration::from_millis(500)), None);
}

#[test]
fn session_of_another_machine_that_ends_is_gone() {
    let (laptop, desk) = pair();
    let (web, api) = (laptop.session("web"), desk.session("api"));
    laptop.wait_for_peer("api@desk");
    web.call("relay_ask", json!({"to": "api@desk", "question": "?"})).ok();
    api.event();
    drop(api);
    let failed = web.event();
    assert_eq!((failed.get("code"), failed.get("from")), ("peer_gone", "api@desk"));
    laptop.wait_until("it is not listed", || laptop.peers().iter().all(|(name, _)| name != "api@desk"));
}

#[test]
fn texts_of_64_kib_cross_both_ways() {
    let (laptop, desk) = pair();
    let (web, api) = (laptop.session("web"), desk.session("api"));
    laptop.wait_for_peer("api@desk");
    let text = "\u{1}x".repeat(32 * 1024);
    web.call("relay_ask", json!({"to": "api@desk", "question": text})).ok();
    let ask = api.event();
    assert!(ask.content.len() > 32 * 1024);
    let reply = "ä".repeat(32 * 1024);
    api.call("relay_reply", json!({"ask_id": ask.get("ask_id"), "text": reply})).ok();
    assert_eq!(web.event().content, reply);
}

#[test]
fn names_are_never_exported_again() {
    let machines = ["one", "two", "three"].map(Machine::start);
    let [one, two, three] = &machines;
    for (from, to) in [(one, two), (two, three), (three, one)] {
        from.dial(to, "they_may = \"ask\"");
    }
    let _sessions = [(one, "alpha"), (two, "beta"), (three, "gamma")].map(|(machine, name)| machine.session(name));
    for machine in &machines {
        machine.wait_until("every machine's session is there", || machine.peers().len() == 3);
    }
    std::thread::sleep(Duration::from_secs(3));
    for machine in &machines {
        let peers = machine.peers();
        assert_eq!(peers.len(), 3, "{}: {peers:?}", machine.name);
        assert!(peers.iter().all(|(name, _)| name.matches('@').count() <= 1), "{peers:?}");
    }
}
