//! Machines that are linked over a real NATS server, which stamps who says what.

use serde_json::json;

use super::stage::Machine;
use crate::nats::keys::Key;
use crate::nats::server::{NEWEST, Server, needs_servers};

fn via(server: &Server, key: &Key, own: &str, may: &str) -> String {
    let (server, file) = (server.url(), key.file().display().to_string());
    format!("via = {{ nats = {{ server = {server:?}, nkey = {file:?}, as = {own:?} }} }}\nthey_may = {may:?}\n")
}

#[test]
fn machines_are_linked_by_nats_and_linked_again_when_the_server_dies() {
    needs_servers!(NEWEST);
    let (keys, machines) = ([Key::new(), Key::new()], [Machine::start("laptop"), Machine::start("desk")]);
    let [laptop, desk] = &machines;
    let mut server = Server::restricted(&[("laptop", &keys[0]), ("desk", &keys[1])]);
    laptop.decide(desk, &via(&server, &keys[0], "laptop", "ask"));
    desk.decide(laptop, &via(&server, &keys[1], "desk", "ask"));
    let (web, api) = (laptop.session("web"), desk.session("api"));
    for round in 0..2 {
        laptop.wait_for_peer("api@desk");
        desk.wait_for_peer("web@laptop");
        web.call("relay_ask", json!({"to": "api@desk", "question": "over NATS?"})).ok();
        let ask = api.event_of("ask");
        assert_eq!(ask.get("from"), "web@laptop");
        api.call("relay_reply", json!({"ask_id": ask.get("ask_id"), "text": "Yes."})).ok();
        assert_eq!(web.event_of("reply").content, "Yes.");
        api.call("relay_tell", json!({"to": "web@laptop", "text": "and back"})).ok();
        assert_eq!(web.event_of("tell").get("from"), "api@desk");
        if round == 0 {
            server.kill();
            laptop.wait_until("the link is lost", || laptop.peers().contains(&("api@desk".to_owned(), false)));
            let refused = web.call("relay_ask", json!({"to": "api@desk", "question": "?"}));
            assert_eq!(refused.code(), "machine_unreachable");
            server.restart();
        }
    }
}

#[test]
fn machine_may_do_nothing_over_nats_until_it_is_allowed() {
    needs_servers!(NEWEST);
    let (keys, machines) = ([Key::new(), Key::new()], [Machine::start("laptop"), Machine::start("desk")]);
    let [laptop, desk] = &machines;
    let server = Server::restricted(&[("laptop", &keys[0]), ("desk", &keys[1])]);
    let usual = |key: &Key, own: &str| via(&server, key, own, "nothing");
    laptop.decide(desk, &usual(&keys[0], "laptop"));
    desk.decide(laptop, &usual(&keys[1], "desk"));
    let (_web, api) = (laptop.session("web"), desk.session("api"));
    laptop.wait_until("the link is up", || {
        laptop.tell_bridge(r#"{"type":"machines"}"#)["machines"][0]["link"]["state"] == "up"
    });
    assert_eq!((laptop.peers().len(), desk.peers().len()), (1, 1), "nobody is shown");
    laptop.decide(desk, &via(&server, &keys[0], "laptop", "ask"));
    desk.wait_for_peer("web@laptop");
    let asked = api.call("relay_ask", json!({"to": "web@laptop", "question": "?"}));
    assert!(asked.is_error, "who shows itself to nobody asks nobody: {asked:?}");
}
