//! Lines that go from machine to machine.

use serde_json::{Value, json};

use super::carrier::Carrier;
use super::keys::Key;
use super::server::{NEWEST, OLDEST, Server, needs_servers, users};
use crate::support::skip::needs;

#[test]
fn two_machines_send_each_other_lines_over_the_newest_and_the_oldest_server() {
    needs!("openssl");
    needs_servers!(NEWEST, OLDEST);
    let keys = [Key::new(), Key::new()];
    for version in [NEWEST, OLDEST] {
        let server = Server::of_version(version, &users(&[("laptop", &keys[0]), ("größe-2", &keys[1])]));
        let mut laptop = Carrier::with_key(&server.url(), "laptop", &keys[0]);
        assert_eq!(laptop.next(), json!({"state": "up", "server": version}));
        let mut other = Carrier::up(&server.url(), "größe-2", &keys[1]);
        for n in 0..20 {
            let line = format!("{{\"n\":{n},\"text\":\"a\\nb \\\"c\\\" ü\"}}");
            laptop.send("größe-2", &line);
            assert_eq!(other.next(), json!({"from": "laptop", "line": line}));
            other.send("laptop", &line);
            assert_eq!(laptop.next(), json!({"from": "größe-2", "line": line}));
        }
    }
}

#[test]
fn lines_of_every_size_up_to_the_largest_frame_arrive_whole_and_in_order() {
    needs!("openssl");
    needs_servers!(NEWEST);
    let keys = [Key::new(), Key::new()];
    let server = Server::restricted(&[("laptop", &keys[0]), ("desk", &keys[1])]);
    let mut laptop = Carrier::up(&server.url(), "laptop", &keys[0]);
    let mut desk = Carrier::up(&server.url(), "desk", &keys[1]);
    for size in [64 * 1024, 500 * 1024] {
        // Each quote takes two bytes where it is read.
        let lines: Vec<String> = ["a", "\"", "ü"].iter().map(|part| part.repeat(size / part.len())).collect();
        for line in &lines {
            laptop.send("desk", line);
            desk.send("laptop", line);
        }
        for line in &lines {
            let [at_desk, at_laptop] = [desk.next(), laptop.next()];
            assert!(at_desk == json!({"from": "laptop", "line": line}), "{size}");
            assert!(at_laptop == json!({"from": "desk", "line": line}), "{size}");
        }
    }
    for n in 0..500 {
        laptop.send("desk", &n.to_string());
    }
    let arrived: Vec<Value> = (0..500).map(|_| desk.next()["line"].clone()).collect();
    assert_eq!(arrived, (0..500).map(|n| json!(n.to_string())).collect::<Vec<_>>());
}

#[test]
fn line_that_cannot_be_sent_is_told_of_and_the_next_one_sent() {
    needs!("openssl");
    needs_servers!(NEWEST);
    let keys = [Key::new(), Key::new()];
    let configuration = format!("max_payload: 1000\n{}", users(&[("laptop", &keys[0]), ("desk", &keys[1])]));
    let server = Server::new(&configuration);
    let mut laptop = Carrier::up(&server.url(), "laptop", &keys[0]);
    let desk = Carrier::up(&server.url(), "desk", &keys[1]);
    laptop.send("desk", &"x".repeat(1001));
    laptop.says("1001 bytes are more than the server takes");
    laptop.write(&"x".repeat(5 * 1024 * 1024));
    laptop.says("too long");
    for nobody in ["desk.laptop", "*", ">", "desk laptop", "desk\r\nPUB relay.1.desk.laptop 0"] {
        laptop.send(nobody, "x");
    }
    laptop.says("PUB relay.1.desk.laptop 0");
    laptop.write("no JSON");
    laptop.says("not of the form");
    laptop.send("desk", &"x".repeat(1000));
    assert_eq!(desk.next(), json!({"from": "laptop", "line": "x".repeat(1000)}));
    desk.stays_silent();
}

#[test]
fn last_lines_before_the_end_of_the_input_are_sent() {
    needs!("openssl");
    needs_servers!(NEWEST);
    let keys = [Key::new(), Key::new()];
    let server = Server::restricted(&[("laptop", &keys[0]), ("desk", &keys[1])]);
    let mut laptop = Carrier::up(&server.url(), "laptop", &keys[0]);
    let desk = Carrier::up(&server.url(), "desk", &keys[1]);
    laptop.send("desk", "bye");
    laptop.close();
    assert_eq!(desk.next(), json!({"from": "laptop", "line": "bye"}));
}
