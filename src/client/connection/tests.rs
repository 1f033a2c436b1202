//! The shell against a socket whose other end is written by hand: what arrives, what is written, and when.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::*;
use crate::client::call::{Call, CallAnswer, CallId};
use crate::client::outgoing::Output;
use crate::protocol::{AskId, AskState, ClientKey, ClientKind, Progress};

/// The hub's end of one connection.
struct HubEnd {
    lines: BufReader<UnixStream>,
}

impl HubEnd {
    /// Accepts a connection and welcomes its client.
    fn welcome(listener: &UnixListener) -> Self {
        let mut hub = Self { lines: BufReader::new(listener.accept().unwrap().0) };
        let hello = hub.read();
        assert_eq!((&hello["type"], &hello["kind"]), (&json!("hello"), &json!("control")));
        hub.write(&json!({"type": "welcome", "id": hello["id"], "version": 1, "hub": "0", "settling": false}));
        hub
    }

    fn read(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or(Value::Null)
    }

    fn write(&mut self, message: &Value) {
        self.lines.get_mut().write_all(format!("{message}\n").as_bytes()).unwrap();
    }

    /// Answers a request for the peers.
    fn tell_peers(&mut self) {
        let request = self.read();
        assert_eq!(request["type"], "peers");
        self.write(&json!({"type": "peers", "id": request["id"], "peers": [], "settling": false}));
    }
}

fn connection(socket: &Path) -> Connection {
    Connection::new(ClientConfig {
        socket: socket.to_owned(),
        named_by: None,
        program: "test".to_owned(),
        kind: ClientKind::Control { key: ClientKey::random() },
    })
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("hub.sock");
    (directory, socket)
}

/// Takes turns until the program is told something.
async fn next_output(connection: &mut Connection) -> Output {
    loop {
        if let Some(output) = connection.ledger().poll_output() {
            return output;
        }
        connection.turn().await;
    }
}

fn reached(ask_id: AskId, state: AskState) -> Progress {
    Progress { ask_id, state, is_final: false }
}

#[tokio::test]
async fn connection_survives_a_hub_that_is_lost_and_one_that_comes_late() {
    let (_directory, socket) = place();
    let mut connection = connection(&socket);
    connection.ledger().handle_call(Instant::now(), CallId(1), Call::Peers);
    // Nobody listens yet.
    let _elapsed = tokio::time::timeout(Duration::from_millis(50), next_output(&mut connection)).await;
    let listener = UnixListener::bind(&socket).unwrap();
    let hub = std::thread::spawn(move || {
        let mut first = HubEnd::welcome(&listener);
        assert_eq!(first.read()["type"], "peers");
        drop(first);
        let mut second = HubEnd::welcome(&listener);
        second.tell_peers();
        assert_eq!(second.read()["type"], "bye");
    });
    let answer = next_output(&mut connection).await;
    assert!(matches!(answer, Output::Answer { call: CallId(1), result: Ok(CallAnswer::Peers(_)) }), "{answer:?}");
    connection.leave(None).await;
    hub.join().unwrap();
}

#[tokio::test]
async fn turn_that_is_dropped_loses_nothing() {
    let (_directory, socket) = place();
    let listener = UnixListener::bind(&socket).unwrap();
    let mut connection = connection(&socket);
    let hub = std::thread::spawn(move || {
        let mut hub = HubEnd::welcome(&listener);
        for _ in 0..200 {
            hub.tell_peers();
        }
    });
    for n in 0..200 {
        connection.ledger().handle_call(Instant::now(), CallId(n), Call::Peers);
        loop {
            if let Some(output) = connection.ledger().poll_output() {
                assert!(matches!(output, Output::Answer { call, result: Ok(_) } if call == CallId(n)), "{output:?}");
                break;
            }
            tokio::select! {
                biased;
                () = connection.turn() => {}
                () = tokio::task::yield_now() => {}
            }
        }
    }
    hub.join().unwrap();
}

#[tokio::test]
async fn message_that_can_wait_is_written_with_the_next_one_or_soon() {
    let (_directory, socket) = place();
    let listener = UnixListener::bind(&socket).unwrap();
    let mut connection = connection(&socket);
    let hub = std::thread::spawn(move || {
        let mut hub = HubEnd::welcome(&listener);
        for ask_id in ["0000-0000-0001", "0000-0000-0002"] {
            let ask = json!({"type": "ask", "ask_id": ask_id, "from": "web", "question": "?", "timeout_ms": 60_000});
            hub.write(&ask);
        }
        let progress = [hub.read(), hub.read()].map(|message| message["state"].clone());
        assert_eq!(progress, [json!("handed_over"), json!("shown")]);
        let progress = hub.read();
        assert_eq!((&progress["ask_id"], &progress["state"]), (&json!("0000-0000-0002"), &json!("handed_over")));
    });
    let mut asks = Vec::new();
    while asks.len() < 2 {
        match next_output(&mut connection).await {
            Output::Event(crate::client::ClientEvent::Ask(ask)) => asks.push(ask.ask_id),
            other @ (Output::Event(_) | Output::Answer { .. }) => panic!("{other:?}"),
        }
    }
    connection.ledger().handle_progress(reached(asks[0], AskState::HandedOver));
    connection.flush();
    assert!(connection.ledger().can_wait(), "it waits");
    connection.ledger().handle_progress(reached(asks[0], AskState::Shown));
    connection.flush();
    connection.ledger().handle_progress(reached(asks[1], AskState::HandedOver));
    while connection.ledger().can_wait() {
        connection.turn().await;
        connection.flush();
    }
    hub.join().unwrap();
}

#[tokio::test]
async fn leaving_writes_a_parked_value_that_is_larger_than_the_socket_takes_and_waits_until_it_is_read() {
    let (_directory, socket) = place();
    let listener = UnixListener::bind(&socket).unwrap();
    let mut connection = connection(&socket);
    let has_read = Arc::new(AtomicBool::new(false));
    let reads = Arc::clone(&has_read);
    let hub = std::thread::spawn(move || {
        let mut hub = HubEnd::welcome(&listener);
        let read = [hub.read(), hub.read()].map(|message| (message["type"].clone(), message.to_string().len()));
        std::thread::sleep(Duration::from_millis(20));
        reads.store(true, Ordering::SeqCst);
        read
    });
    while !connection.ledger().is_up() {
        connection.turn().await;
    }
    let part = Value::from("x".repeat(crate::client::PROGRAM_PART_MAX_BYTES - 2));
    connection.leave(Some(part)).await;
    assert!(has_read.load(Ordering::SeqCst));
    let [park, bye] = hub.join().unwrap();
    assert!(park.0 == "park" && park.1 > crate::client::PROGRAM_PART_MAX_BYTES, "{park:?}");
    assert_eq!(bye.0, json!("bye"));
}
