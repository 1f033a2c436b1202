//! Programs of several protocol versions together: those that have one in common talk, others are told why not.
//!
//! The other programs are real builds of the same source ([`Other`]).

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::hub_process::HubProcess;
use crate::support::mcp::Session;
use crate::support::other_versions::Other;
use crate::support::stage::{Stage, ask, name, reply, text};

const OWN: &str = env!("CARGO_PKG_VERSION");

/// Returns a hub of this version; the tests' own where none is named.
fn hub(version: Option<Other>) -> HubProcess {
    version.map_or_else(|| HubProcess::start(&[]), |other| HubProcess::start_program(&other.program("relay-hub"), &[]))
}

/// Starts a session with a channel of this version; returns when it is a peer.
fn session(stage: &Stage, version: Option<Other>, flater: &str) -> Session {
    let own = || PathBuf::from(env!("CARGO_BIN_EXE_relay-channel"));
    let program = version.map_or_else(own, |other| other.program("relay-channel"));
    let session = stage.start_program(&program, flater);
    session.call("relay_peers", json!({})).ok();
    session
}

/// Has one session ask another, which answers.
#[track_caller]
fn assert_answered(from: &Session, to: &Session, question: &str) {
    let ask_id = ask(from, &name(to), question, 60);
    let event = to.event_of("ask");
    assert!(event.content.starts_with(question), "{event:?}");
    assert_eq!(reply(to, &event, "yes")["state"], "accepted");
    let outcome = from.event_of("reply");
    assert_eq!((outcome.get("ask_id"), outcome.content.as_str()), (ask_id.as_str(), "yes"));
}

/// Has one session ask everybody; the other answers.
#[track_caller]
fn assert_broadcast(from: &Session, to: &Session) {
    let broadcast = from.call("relay_broadcast", json!({"question": "all?", "timeout_seconds": 60})).ok();
    assert_eq!(broadcast["asks"].as_array().unwrap().len(), 1, "{broadcast}");
    reply(to, &to.event_of("ask"), "me");
    assert_eq!(from.event_of("reply").content, "me");
    assert_eq!(from.event_of("tally").get("replied"), "1");
}

#[test]
fn hubs_and_channels_of_neighbouring_versions_talk_in_all_pairings() {
    for hub_version in [None, Some(Other::Later)] {
        let stage = Stage::with(hub(hub_version));
        stage.hub.settle();
        let (own, later) = (session(&stage, None, "own"), session(&stage, Some(Other::Later), "later"));
        assert_answered(&own, &later, "to the later?");
        assert_answered(&later, &own, "to the own?");
        assert_broadcast(&own, &later);
        assert_broadcast(&later, &own);
        for (session, wanted) in [(&own, "one"), (&later, "two")] {
            assert_eq!(session.call("relay_rename", json!({"name": wanted})).ok()["name"], wanted);
        }
        let unanswered = ask(&own, "two", "never?", 60);
        later.close();
        let outcome = own.event_of("failed");
        assert_eq!((outcome.get("ask_id"), outcome.get("code")), (unanswered.as_str(), "peer_gone"));
        assert!(!stage.hub.log().contains("no message"), "{}", stage.hub.log());
    }
}

#[test]
fn status_names_programs_of_another_version_while_they_are_there() {
    let mut stage = Stage::with(hub(Some(Other::Later)));
    let later = session(&stage, Some(Other::Later), "later");
    let status = || {
        let output = stage.relayctl(&["status"]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let hub_warning = format!("warning: the hub has version {} and relayctl has {OWN}\n", Other::Later.version());
    let channel_warning = format!(
        "warning: sessions run a channel of another version: 1 relay-channel {}\nnext: # reconnect in these sessions: /mcp\n",
        Other::Later.version()
    );
    assert!(status().contains(&hub_warning) && status().contains(&channel_warning), "{}", status());
    stage.hub.kill_and_start_own();
    later.call("relay_peers", json!({})).ok();
    let status = || String::from_utf8(stage.relayctl(&["status"]).output().unwrap().stderr).unwrap();
    assert!(!status().contains(&hub_warning) && status().contains(&channel_warning), "{}", status());
    later.close();
    later.wait();
    let own = session(&stage, None, "later");
    assert_eq!((name(&own).as_str(), status().as_str()), ("later", ""));
}

/// Returns code, sentence and advice of a tool's refusal.
fn told(session: &Session) -> String {
    let error = session.call("relay_peers", json!({})).json["error"].clone();
    [&error["code"], &error["message"], &error["next"]].map(text).join("\n")
}

#[test]
fn versions_with_nothing_in_common_say_which_side_is_too_old_and_what_updates_it() {
    let stage = Stage::with(hub(None));
    let session = stage.start_program(&Other::Foreign.program("relay-channel"), "future");
    insta::assert_snapshot!(told(&session).replace(Other::Foreign.version(), "NEWER"), @"
    protocol_mismatch
    relay-channel NEWER speaks protocol 90 to 91, this hub 1 to 1: relay-hub is too old
    install the newer claude-relay, then run: relayctl doctor --fix
    ");
    assert!(session.is_alive());

    let mut stage = Stage::with(hub(Some(Other::Foreign)));
    let session = stage.start("past", "on");
    insta::assert_snapshot!(told(&session).replace(OWN, "OLDER"), @"
    protocol_mismatch
    relay-channel OLDER speaks protocol 1 to 1, this hub 90 to 91: relay-channel OLDER is too old
    install the newer claude-relay, then start the session's client again (or in it: /mcp, reconnect)
    ");
    let status = stage.relayctl(&["status"]).output().unwrap();
    assert_eq!(status.status.code(), Some(1));
    let said = String::from_utf8(status.stderr).unwrap();
    let wanted = format!(
        "relayctl {OWN} is too old (protocol_mismatch)\nnext: # install the newer claude-relay, then try again"
    );
    assert!(said.contains(&wanted), "{said}");

    // No dead end: the next hub is found without a step.
    stage.hub.kill_and_start_own();
    let end = std::time::Instant::now() + crate::support::hub_process::SOON;
    while session.call("relay_peers", json!({})).is_error {
        assert!(std::time::Instant::now() < end);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn ask_between_other_programs_survives_their_replacement() {
    use std::path::Path;

    use crate::support::installed::Installed;
    use crate::support::user_manager::user_manager;

    let programs = ["relay-hub", "relay-channel", "relayctl"].map(|name| Other::Later.program(name));
    let relay = Installed::with_programs(user_manager!(), &programs);
    let status = || -> Value { serde_json::from_str(&relay.relayctl_ok("status --json")).unwrap() };
    let (web, backend) = (relay.session("web"), relay.session("backend"));
    let old = status();
    assert_eq!((&old["hub"], &old["versions"]["max"]), (&json!(Other::Later.version()), &json!(2)));
    let ask_id = ask(&web, "backend", "ready?", 60);
    let question = backend.event_of("ask");

    relay.upgrade();
    let new = status();
    assert_eq!((&new["hub"], &new["versions"]["max"]), (&json!(OWN), &json!(1)));
    assert_ne!(new["pid"], old["pid"]);
    assert_eq!(relay.manager.property("relay.service", "NRestarts"), "0");
    assert_eq!(reply(&backend, &question, "at last")["state"], "accepted");
    let outcome = web.event_of("reply");
    assert_eq!((outcome.get("ask_id"), outcome.content.as_str()), (ask_id.as_str(), "at last"));
    let skew = format!("sessions run a channel of another version: 2 relay-channel {}", Other::Later.version());
    assert_eq!(status()["warnings"][0]["what"], skew);

    for session in [web, backend] {
        session.close();
        session.wait();
    }
    let (web, backend) = (relay.session("web"), relay.session("backend"));
    assert_answered(&web, &backend, "and now?");
    assert_eq!(status()["warnings"], json!([]));
    assert!(!Path::new(&format!("/proc/{}", old["pid"])).exists());
}
