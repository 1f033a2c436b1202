//! It ends when it is told to, whatever it waits for.

use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use rustix::process::Signal;

use super::carrier::Carrier;
use super::server::{NEWEST, Server, needs_servers};

/// How long it may take.
const SOON: Duration = Duration::from_millis(200);

#[test]
fn end_of_the_input_and_signals_end_it_at_once_whether_it_is_up_or_not() {
    needs_servers!(NEWEST);
    let server = Server::new("");
    // One that says nothing to whoever connects.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = "nats://127.0.0.1:1".to_owned();
    for (url, state) in
        [(server.url(), Some("up")), (format!("nats://{}", silent.local_addr().unwrap()), None), (nobody, Some("down"))]
    {
        for signal in [None, Some(Signal::TERM), Some(Signal::INT)] {
            let mut carrier = Carrier::start(&url, "laptop", &["--insecure-shared"]);
            match state {
                Some(state) => drop(carrier.state(state)),
                None => carrier.stays_silent(),
            }
            match signal {
                Some(signal) => carrier.signal(signal),
                None => carrier.close(),
            }
            let (status, after) = carrier.end();
            assert!(after < SOON, "{url} {signal:?}: {after:?}");
            assert_eq!(status.signal(), signal.map(Signal::as_raw), "{url}: {status}");
            assert!(signal.is_some() || status.success(), "{url}: {status}");
        }
    }
}

#[test]
fn it_ends_with_its_input_while_the_server_takes_nothing_and_nobody_reads() {
    needs_servers!(NEWEST);
    let server = Server::new("");
    let mut carrier = Carrier::unread(&server.url(), "laptop", &["--insecure-shared"]);
    assert!(carrier.read_once().contains("up"));
    server.signal(Signal::STOP);
    // More than the system's buffers take, and less than would block whoever writes.
    for _ in 0..8 {
        carrier.send("desk", &"x".repeat(512 * 1024));
    }
    carrier.close();
    let (status, after) = carrier.end();
    assert!(after < SOON && status.success(), "{status} {after:?}");
    server.signal(Signal::CONT);
}
