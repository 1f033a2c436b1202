//! Loops of asks that go over machines.

use std::time::{Duration, Instant};

use serde_json::json;

use super::stage::Machine;

#[test]
fn ring_over_three_machines_stops_within_60_messages() {
    let machines = ["one", "two", "three"].map(Machine::start);
    let [one, two, three] = &machines;
    for (from, to) in [(one, two), (two, three), (three, one)] {
        from.dial(to, "they_may = \"ask\"");
    }
    let names = [("alpha", one), ("beta", two), ("gamma", three)];
    let sessions = names.map(|(name, machine)| machine.session(name));
    let next = ["beta@two", "gamma@three", "alpha@one"];
    for (machine, to) in machines.iter().zip(next) {
        machine.wait_for_peer(to);
    }
    sessions[0].call("relay_ask", json!({"to": next[0], "question": "on?"})).ok();
    let (mut asks, end) = (1, Instant::now() + Duration::from_secs(60));
    let stopped = 'ring: loop {
        assert!(asks <= 60 && Instant::now() < end, "{asks} asks went round");
        for (session, to) in sessions.iter().zip(next) {
            let Some(event) = session.event_within(Duration::from_millis(20)).filter(|event| event.kind() == "ask")
            else {
                continue;
            };
            let asked = session.call("relay_ask", json!({"to": to, "question": "on?"}));
            session.call("relay_reply", json!({"ask_id": event.get("ask_id"), "text": "I ask on."}));
            if asked.is_error {
                break 'ring asked.code().to_owned();
            }
            asks += 1;
        }
    };
    assert_eq!(stopped, "loop_detected", "after {asks} asks");
}
