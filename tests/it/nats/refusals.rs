//! What is said where nothing can be carried.

use std::io::Write;
use std::net::TcpListener;
use std::thread;

use serde_json::Value;

use super::carrier::Carrier;
use super::keys::Key;
use super::server::{NEWEST, Server, needs_servers, users};
use crate::support::skip::needs;

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[test]
fn key_that_the_server_does_not_know_is_refused_with_that_reason() {
    needs!("openssl");
    needs_servers!(NEWEST);
    let keys = [Key::new(), Key::new()];
    let server = Server::restricted(&[("laptop", &keys[0])]);
    let stranger = Carrier::with_key(&server.url(), "laptop", &keys[1]);
    let mut keyless = Carrier::start(&server.url(), "laptop", &[]);
    for carrier in [&stranger, &keyless] {
        let refused = carrier.state("refused");
        assert!(text(&refused["why"]).contains("authorization violation"), "{refused}");
        assert!(text(&refused["next"]).contains("--nkey"), "{refused}");
    }
    assert_eq!(keyless.end().0.code(), Some(1));
    keyless.says("authorization violation");
    keyless.says("next: ");
}

#[test]
fn key_that_is_revoked_ends_the_connection_with_that_reason_and_comes_back_when_it_is_allowed() {
    needs!("openssl");
    needs_servers!(NEWEST);
    let keys = [Key::new(), Key::new()];
    let both = users(&[("laptop", &keys[0]), ("desk", &keys[1])]);
    let server = Server::new(&both);
    let laptop = Carrier::up(&server.url(), "laptop", &keys[0]);
    server.reload(&users(&[("desk", &keys[1])]));
    laptop.state("down");
    let why = laptop.state("down");
    assert!(text(&why["why"]).contains("authorization violation"), "{why}");
    server.reload(&both);
    laptop.state("up");
}

#[test]
fn permissions_that_are_widened_while_it_is_up_are_found_when_it_comes_back() {
    needs!("openssl");
    needs_servers!(NEWEST);
    let key = Key::new();
    let mut server = Server::restricted(&[("laptop", &key)]);
    let mut laptop = Carrier::up(&server.url(), "laptop", &key);
    let wide = format!("authorization {{ users: [ {{ nkey: {} }} ] }}", key.public());
    server.reload(&wide);
    server.kill();
    laptop.state("down");
    server.restart();
    // Whether it tried in between is a matter of time.
    let last = std::iter::repeat_with(|| laptop.next()).find(|line| line["state"] != "down").unwrap();
    assert_eq!(last["state"], "refused", "{last}");
    assert_eq!(laptop.end().0.code(), Some(1));
}

#[test]
fn server_that_is_not_there_is_waited_for() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let laptop = Carrier::start(&format!("nats://127.0.0.1:{port}"), "laptop", &[]);
    let down = laptop.state("down");
    assert!(text(&down["why"]).to_lowercase().contains("connection refused"), "{down}");
    // The same reason again is no news.
    laptop.stays_silent();
}

#[test]
fn server_that_is_too_old_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let info = r#"{"server_id":"x","version":"2.8.4","proto":1,"max_payload":1048576}"#;
        stream.write_all(format!("INFO {info}\r\nPONG\r\n").as_bytes()).unwrap();
        thread::sleep(super::carrier::PATIENCE);
    });
    let mut laptop = Carrier::start(&format!("nats://127.0.0.1:{port}"), "laptop", &["--insecure-shared"]);
    let refused = laptop.state("refused");
    assert!(text(&refused["why"]).contains("2.8.4") && text(&refused["next"]).contains("2.9.10"), "{refused}");
    assert_eq!(laptop.end().0.code(), Some(1));
}

#[test]
fn file_that_is_missing_or_holds_no_key_is_named() {
    let directory = tempfile::TempDir::new().unwrap();
    let empty = directory.path().join("empty");
    std::fs::write(&empty, "nothing\n").unwrap();
    let empty = empty.to_str().unwrap();
    for (options, why) in [
        (["--nkey", "/nowhere"], "/nowhere cannot be read"),
        (["--creds", "/nowhere"], "/nowhere cannot be read"),
        (["--tls-ca", "/nowhere"], "/nowhere cannot be read"),
        (["--nkey", empty], "holds no seed of a user's NKey"),
        (["--creds", empty], "holds no user's JWT and its key"),
    ] {
        let mut laptop = Carrier::start("nats://127.0.0.1:1", "laptop", &options);
        let refused = laptop.state("refused");
        assert!(text(&refused["why"]).contains(why), "{refused}");
        assert_eq!(laptop.end().0.code(), Some(1));
    }
    let mut laptop = Carrier::start("nats://me:secret@127.0.0.1:1", "laptop", &[]);
    assert!(!laptop.state("refused").to_string().contains("secret"));
    assert_eq!(laptop.end().0.code(), Some(1));
}
