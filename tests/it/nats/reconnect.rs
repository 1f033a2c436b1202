//! Servers that go and come back.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use super::carrier::Carrier;
use super::keys::Key;
use super::server::{NEWEST, OLDEST, Server, needs_servers, users};
use crate::support::skip::needs;

#[test]
fn server_that_was_killed_and_started_again_is_up_by_itself_and_brings_nothing_late() {
    needs!("openssl");
    needs_servers!(NEWEST, OLDEST);
    let keys = [Key::new(), Key::new()];
    for version in [NEWEST, OLDEST] {
        let mut server = Server::of_version(version, &users(&[("laptop", &keys[0]), ("desk", &keys[1])]));
        let mut laptop = Carrier::up(&server.url(), "laptop", &keys[0]);
        let desk = Carrier::up(&server.url(), "desk", &keys[1]);
        for round in 0..5 {
            server.kill();
            // Some of them before it can know.
            for _ in 0..50 {
                laptop.send("desk", "late");
            }
            let (at_laptop, at_desk) = (laptop.state("down"), desk.state("down"));
            assert!(at_laptop["why"].as_str().unwrap().contains("was lost"), "{at_laptop} {at_desk}");
            for _ in 0..50 {
                laptop.send("desk", "late");
            }
            thread::sleep(Duration::from_millis(300 * round));
            laptop.send("desk", "late");
            server.restart();
            for machine in [&laptop, &desk] {
                // It may have found nobody in between.
                while machine.next()["state"] == "down" {}
            }
            laptop.send("desk", "after");
            assert_eq!(desk.next(), json!({"from": "laptop", "line": "after"}), "{version} {round}");
            desk.stays_silent();
        }
    }
}

#[test]
fn server_that_hangs_is_down_within_seconds_and_up_again_when_it_goes_on() {
    needs!("openssl");
    needs_servers!(NEWEST);
    let keys = [Key::new(), Key::new()];
    let server = Server::restricted(&[("laptop", &keys[0]), ("desk", &keys[1])]);
    let mut laptop = Carrier::up(&server.url(), "laptop", &keys[0]);
    let desk = Carrier::up(&server.url(), "desk", &keys[1]);
    server.signal(Signal::STOP);
    let start = Instant::now();
    laptop.state("down");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    laptop.send("desk", "late");
    desk.state("down");
    server.signal(Signal::CONT);
    for machine in [&laptop, &desk] {
        while machine.next()["state"] == "down" {}
    }
    laptop.send("desk", "after");
    assert_eq!(desk.next(), json!({"from": "laptop", "line": "after"}));
    desk.stays_silent();
}
