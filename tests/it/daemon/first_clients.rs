//! The clients that the documents show a stranger: each under a hundred lines, and right.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::json;

use crate::support::hub_process::HubProcess;
use crate::support::skip::{is_installed, skipped};

/// Each with what it is run by.
const CLIENTS: [(&str, &[&str]); 2] = [("ask.py", &["python3"]), ("ask.sh", &["bash", "socat", "jq"])];

/// Returns the clients that can be run here.
fn clients(test: &str) -> impl Iterator<Item = &'static str> {
    CLIENTS.iter().filter_map(move |(client, programs)| match programs.iter().find(|program| !is_installed(program)) {
        None => Some(*client),
        Some(program) => {
            skipped(test, &format!("{client} needs {program}"));
            None
        }
    })
}

/// A text with all that a quoting mistake would break.
const TEXT: &str = "yes: \"green\" $(id) \\n `x` ß";

fn path(client: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/clients").join(client)
}

fn ask(client: &str, socket: &Path, arguments: &[&str]) -> Child {
    let mut command = Command::new(path(client));
    command.args(arguments).env("RELAY_SOCKET", socket).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_shown_client_prints_the_answer() {
    let hub = HubProcess::start(&[]);
    for client in clients("a_shown_client_prints_the_answer") {
        let mut backend = hub.session("backend");
        let asker = ask(client, &hub.socket(), &["backend", TEXT]);
        let asked = backend.hear();
        assert_eq!(
            (&asked["type"], &asked["question"], &asked["from"]),
            (&json!("ask"), &json!(TEXT), &json!("shell"))
        );
        backend.say(&json!({"type": "reply", "id": 2, "ask_id": asked["ask_id"], "text": TEXT}));
        assert_eq!(said(&asker.wait_with_output().unwrap()), (0, TEXT.to_owned(), String::new()), "{client}");
        // The asker has said that it has the reply.
        assert_eq!(backend.hear()["type"], "replied", "{client}");
    }
}

#[test]
fn a_shown_client_ends_with_what_happened() {
    let hub = HubProcess::start(&[]);
    hub.settle();
    for client in clients("a_shown_client_ends_with_what_happened") {
        let ends = |arguments: &[&str]| said(&ask(client, &hub.socket(), arguments).wait_with_output().unwrap());
        let (status, _, error) = ends(&["nobody", "Are you there?"]);
        assert!(status == 1 && error.contains("peer_not_found") && error.contains("next: "), "{client}: {error}");
        let mut backend = hub.session("backend");
        assert_eq!(ends(&["backend", "Red?", "1"]), (4, String::new(), "timeout".to_owned()), "{client}");
        let asker = ask(client, &hub.socket(), &["backend", "Green?"]);
        while backend.hear()["question"] != "Green?" {}
        backend.say(&json!({"type": "bye"}));
        let end = said(&asker.wait_with_output().unwrap());
        assert_eq!(end, (5, String::new(), "peer_gone".to_owned()), "{client}");
        let nowhere = ask(client, Path::new("/nonexistent"), &["backend", "Green?"]).wait_with_output().unwrap();
        assert_eq!(said(&nowhere).0, 3, "{client}");
    }
}

#[test]
fn the_complete_client_does_not_notice_that_the_hub_is_killed() {
    let Some(client) = clients("the_complete_client").find(|client| *client == "ask.py") else { return };
    let mut hub = HubProcess::start(&[]);
    let mut backend = hub.session("backend");
    let asker = ask(client, &hub.socket(), &["backend", "Green?"]);
    let first = backend.hear();
    hub.kill_and_restart(&[]);
    let mut backend = hub.session("backend");
    let again = backend.hear();
    assert_eq!(first["ask_id"], again["ask_id"]);
    backend.say(&json!({"type": "reply", "id": 2, "ask_id": again["ask_id"], "text": "yes"}));
    assert_eq!(said(&asker.wait_with_output().unwrap()), (0, "yes".to_owned(), String::new()));
}

#[test]
fn a_shown_client_is_short() {
    for (client, _) in CLIENTS {
        assert!(std::fs::read_to_string(path(client)).unwrap().lines().count() < 100, "{client}");
    }
}
