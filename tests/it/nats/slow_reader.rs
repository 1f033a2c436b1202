//! A reader that does not read, and a server that takes nothing, cost lines and no memory.

use std::time::{Duration, Instant};

use serde_json::json;

use super::carrier::Carrier;
use super::server::{NEWEST, Server, needs_servers};

/// The most memory that it may ever have, in KiB, of a build that is not optimised for size.
const MEMORY_MAX: u64 = 40 * 1024;

#[test]
fn reader_that_does_not_read_costs_lines_and_no_memory() {
    needs_servers!(NEWEST);
    let server = Server::new("");
    let mut laptop = Carrier::start(&server.url(), "laptop", &["--insecure-shared"]);
    let mut desk = Carrier::unread(&server.url(), "desk", &["--insecure-shared"]);
    laptop.state("up");
    assert!(desk.read_once().contains("up"));
    let line = "x".repeat(500 * 1024);
    for _ in 0..400 {
        laptop.send("desk", &line);
    }
    for _ in 0..5000 {
        laptop.send("desk", "small");
    }
    desk.says("dropped until those before them are read");
    // The last ones are still on their way.
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        laptop.stays_silent();
    }
    for (name, carrier) in [("sender", &laptop), ("receiver", &desk)] {
        let most = carrier.size("VmHWM");
        println!("{name}: at most {most} KiB, now {} KiB", carrier.size("VmRSS"));
        assert!(most < MEMORY_MAX, "{name}: {most} KiB");
    }
    desk.read();
    desk.says("lines were dropped, since nobody read them");
    laptop.send("desk", "and on");
    assert!(std::iter::repeat_with(|| desk.next()).any(|got| got == json!({"from": "laptop", "line": "and on"})));
}
