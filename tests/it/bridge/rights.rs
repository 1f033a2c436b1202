//! What another machine may do, and how it is cut.

use std::time::{Duration, Instant};

use serde_json::json;

use super::stage::{Machine, pair};

#[test]
fn machine_that_is_dialled_may_only_reply_until_it_is_allowed_more() {
    let (laptop, desk) = (Machine::start("laptop"), Machine::start("desk"));
    laptop.dial(&desk, "");
    let (web, api) = (laptop.session("web"), desk.session("api"));
    desk.wait_for_peer("web@laptop");
    laptop.wait_for_peer("api@desk");
    let refused = api.call("relay_ask", json!({"to": "web@laptop", "question": "?"}));
    assert_eq!(refused.code(), "not_allowed");
    web.call("relay_ask", json!({"to": "api@desk", "question": "?"})).ok();
    assert_eq!(api.event().get("from"), "web@laptop");

    laptop.dial(&desk, "they_may = \"ask\"\nsessions = [\"we*\"]");
    desk.wait_for_peer("web@laptop");
    api.call("relay_ask", json!({"to": "web@laptop", "question": "now?"})).ok();
    assert_eq!(web.event().content.lines().next(), Some("now?"));
}

#[test]
fn machine_that_may_do_nothing_answers_nobody_and_is_told_when_that_changes() {
    let (laptop, desk) = pair();
    let (_web, api) = (laptop.session("web"), desk.session("api"));
    laptop.wait_for_peer("api@desk");
    let we_may = |wanted: &str| {
        desk.wait_until(&format!("told that it may {wanted}"), || {
            desk.tell_bridge(r#"{"type":"machines"}"#)["machines"][0]["we_may"] == wanted
        });
    };
    we_may("ask");
    laptop.dial(&desk, "they_may = \"nothing\"");
    we_may("nothing");
    let asked = laptop.relayctl(&["ask", "api@desk", "?", "--timeout", "2s"]);
    let said = String::from_utf8_lossy(&asked.stderr).into_owned();
    assert!(asked.status.code() == Some(1) && said.contains("not_allowed"), "{asked:?}");
    assert_eq!(api.event_within(Duration::from_millis(500)), None);
}

#[test]
fn held_ask_waits_for_this_machines_person() {
    let (laptop, desk) = (Machine::start("laptop"), Machine::start("desk"));
    laptop.dial(&desk, "they_may = \"hold\"");
    let (web, api) = (laptop.session("web"), desk.session("api"));
    desk.wait_for_peer("web@laptop");
    let asked = api.call("relay_ask", json!({"to": "web@laptop", "question": "may I?"})).ok();
    assert_eq!(asked["state"], "held");
    assert_eq!(web.event_within(Duration::from_secs(1)), None);
    let state = laptop.tell_bridge(r#"{"type":"machines"}"#);
    let held = &state["machines"][0]["held"][0];
    assert_eq!((&held["from"], &held["to"]), (&json!("api@desk"), &json!("web")));
    assert_eq!(laptop.tell_bridge(r#"{"type":"release","machine":"desk"}"#)["type"], "done");
    assert_eq!(web.event().content.lines().next(), Some("may I?"));
}

#[test]
fn machine_that_is_removed_is_out_within_a_second_and_its_asks_end() {
    let (laptop, desk) = pair();
    let (web, api) = (laptop.session("web"), desk.session("api"));
    desk.wait_for_peer("web@laptop");
    laptop.wait_for_peer("api@desk");
    web.call("relay_ask", json!({"to": "api@desk", "question": "?", "timeout_seconds": 5})).ok();
    let at_desk = api.event();
    api.call("relay_ask", json!({"to": "web@laptop", "question": "?", "timeout_seconds": 5})).ok();
    let at_laptop = web.event();

    let start = Instant::now();
    laptop.forget(&desk);
    assert!(laptop.peers().iter().all(|(name, _)| !name.contains('@')), "{:?}", laptop.peers());
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    let ended = web.event();
    assert_eq!((ended.kind(), ended.get("code")), ("failed", "peer_gone"));
    let late = web.call("relay_reply", json!({"ask_id": at_laptop.get("ask_id"), "text": "late"}));
    assert_eq!(late.code(), "unknown_ask", "{late:?}");
    // There nothing is known but that nothing comes any more.
    let ended = api.event();
    assert_eq!((ended.kind(), ended.get("code")), ("failed", "timeout"));
    assert!(!ended.get("unreachable_s").is_empty());
    let replied = api.call("relay_reply", json!({"ask_id": at_desk.get("ask_id"), "text": "late"})).ok();
    assert_eq!(replied["state"], "pending", "never told as taken");
}

#[test]
fn decision_about_one_machine_costs_another_that_is_away_nothing() {
    let (laptop, desk) = pair();
    let (web, api) = (laptop.session("web"), desk.session("api"));
    desk.wait_for_peer("web@laptop");
    let asked = api.call("relay_ask", json!({"to": "web@laptop", "question": "?"})).ok();
    let ask = web.event();
    laptop.kill_bridge();
    desk.wait_until("laptop is away", || desk.peers().contains(&("web@laptop".to_owned(), false)));

    // No file of desk's names laptop: it comes by itself.
    desk.decide_on("third", "they_may = \"reply\"\n");
    assert!(desk.peers().contains(&("web@laptop".to_owned(), false)), "{:?}", desk.peers());
    laptop.start_bridge();
    web.call("relay_reply", json!({"ask_id": ask.get("ask_id"), "text": "Yes."})).ok();
    let reply = api.event();
    assert_eq!((reply.kind(), reply.get("ask_id")), ("reply", asked["ask_id"].as_str().unwrap()));
}

#[test]
fn machine_whose_file_is_broken_may_do_nothing() {
    let (laptop, desk) = pair();
    let (web, _api) = (laptop.session("web"), desk.session("api"));
    laptop.wait_for_peer("api@desk");
    desk.decide_on("laptop", "they_may = \"nothing\"\nsesions = []\n");
    laptop.wait_until("its sessions are hidden", || laptop.peers().iter().all(|(name, _)| !name.contains('@')));
    let refused = web.call("relay_ask", json!({"to": "api@desk", "question": "?"}));
    assert!(refused.is_error, "{refused:?}");
    desk.decide_on("laptop", "they_may = \"ask\"\n");
    laptop.wait_for_peer("api@desk");
}

#[test]
fn transport_that_is_not_on_this_machine_is_to_be_installed_here() {
    let laptop = Machine::start("laptop");
    laptop.decide_on("desk", "via = { exec = [\"no-such-program\", \"--once\"] }\n");
    let tested = laptop.relayctl(&["machines", "test", "desk"]);
    let said = String::from_utf8(tested.stderr).unwrap();
    assert_eq!(tested.status.code(), Some(1));
    assert!(said.contains("no-such-program cannot be started"), "{said}");
    assert!(said.contains("next: # install no-such-program on this machine"), "{said}");
}

#[test]
fn bridge_has_no_network_socket() {
    let (laptop, desk) = pair();
    let (_web, _api) = (laptop.session("web"), desk.session("api"));
    laptop.wait_for_peer("api@desk");
    for machine in [&laptop, &desk] {
        let pid = machine.bridge_pid();
        let tcp = ["tcp", "tcp6", "udp", "udp6"].map(|kind| {
            let table = std::fs::read_to_string(format!("/proc/{pid}/net/{kind}")).unwrap();
            table
                .lines()
                .skip(1)
                .filter_map(|line| line.split_whitespace().nth(9).map(str::to_owned))
                .collect::<Vec<_>>()
        });
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        for descriptor in descriptors.flatten() {
            let target = std::fs::read_link(descriptor.path()).unwrap_or_default().display().to_string();
            let inode = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
            let is_network = inode.is_some_and(|inode| tcp.iter().flatten().any(|open| open == inode));
            assert!(!is_network, "{}: {target}", machine.name);
        }
    }
}
