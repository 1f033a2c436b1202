//! Every error code that an MCP client can meet, met by one, in the words that its model reads. The other three
//! (`not_registered`, `already_registered`, `bad_msg`) need a client that breaks the protocol: see `wire`.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::mcp::{Answer, Session};
use crate::support::stage::{Stage, ask, masked, reply, seen, shown};

const HUB: [&str; 0] = [];

/// Returns what a model is told, one part a line.
#[track_caller]
fn told(answer: &Answer) -> String {
    let error = &answer.json["error"];
    let part = |name: &str| error[name].as_str().filter(|text| !text.is_empty()).unwrap_or_else(|| panic!("{error}"));
    assert_eq!(answer.code(), part("code"));
    assert_eq!(answer.json.as_object().unwrap().len(), 1, "{}", answer.json);
    format!("{}\n{}\n{}", part("code"), part("message"), part("next"))
}

#[track_caller]
fn refused(session: &Session, tool: &str, arguments: Value) -> String {
    told(&session.call(tool, arguments))
}

#[test]
fn peer_not_found() {
    let stage = Stage::settled(&HUB);
    let web = stage.session("web");
    insta::assert_snapshot!(refused(&web, "relay_ask", json!({"to": "Back End", "question": "?"})), @"
    peer_not_found
    no session is named back-end
    list the sessions (relay_peers, or relayctl peers) and use one of their names
    ");
    insta::assert_snapshot!(refused(&web, "relay_ask", json!({"to": "everybody", "question": "?"})), @"
    peer_not_found
    no session is named everybody
    list the sessions (relay_peers, or relayctl peers) and use one of their names
    ");
    insta::assert_snapshot!(refused(&web, "relay_ask", json!({"to": "…", "question": "?"})), @r#"
    peer_not_found
    no session works in a folder named exactly "…"
    list the sessions (relay_peers, or relayctl peers) and use one of their names
    "#);
}

#[test]
fn peer_gone_and_timeout_are_outcomes() {
    let stage = Stage::settled(&HUB);
    let (web, quiet, dying) = (stage.session("web"), stage.held_session("quiet"), stage.session("dying"));
    let late = ask(&web, "quiet", "?", 1);
    insta::assert_snapshot!(shown(&web.event(), &[(&late, "ASK")]), @r#"
    {"ask_id":"ASK","code":"timeout","from":"quiet","kind":"failed","state":"held"}
    "quiet" did not answer your ask ASK in time. The ask was held by the hub: nothing could wake the session, which has not seen it. No answer will come any more; ask again if it still matters.
    "#);
    let gone = ask(&web, "dying", "?", 60);
    seen(&dying);
    dying.signal(rustix::process::Signal::KILL);
    insta::assert_snapshot!(shown(&web.event(), &[(&gone, "ASK")]), @r#"
    {"ask_id":"ASK","code":"peer_gone","from":"dying","kind":"failed","state":"handed_over"}
    The session "dying" ended before it answered your ask ASK. The ask was delivered to the session; not confirmed that its model has read it. No answer will come any more; ask again if it still matters.
    "#);
    drop(quiet);
}

#[test]
fn name_taken() {
    let stage = Stage::new(&HUB);
    let (web, _backend) = (stage.session("web"), stage.session("backend"));
    insta::assert_snapshot!(refused(&web, "relay_rename", json!({"name": "Backend"})), @"
    name_taken
    another session is named backend; this session is still web
    choose another name
    ");
}

#[test]
fn unknown_ask() {
    let stage = Stage::settled(&HUB);
    let (web, backend) = (stage.session("web"), stage.session("backend"));
    insta::assert_snapshot!(refused(&backend, "relay_reply", json!({"ask_id": "k3v9", "text": "!"})), @r#"
    unknown_ask
    no ask has the id "k3v9": an identifier is twelve of 0-9 a-h j k m n p-t v-z, in groups of four
    copy the ask_id from the question that you answer and call relay_reply again
    "#);
    insta::assert_snapshot!(refused(&backend, "relay_reply", json!({"ask_id": "k3v9-x2mq-7bd4", "text": "!"})), @"
    unknown_ask
    no open ask k3v9-x2mq-7bd4 waits for a reply of this session
    check the ask_id; if the answer still matters, ask that session a question of your own
    ");
    let ask_id = ask(&web, "backend", "?", 60);
    let ids = [(ask_id.as_str(), "ASK")];
    // Not the one that was asked.
    insta::assert_snapshot!(masked(&refused(&web, "relay_reply", json!({"ask_id": ask_id, "text": "!"})), &ids), @"
    unknown_ask
    no open ask ASK waits for a reply of this session
    check the ask_id; if the answer still matters, ask that session a question of your own
    ");
    reply(&backend, &backend.event(), "!");
    insta::assert_snapshot!(masked(&refused(&backend, "relay_reply", json!({"ask_id": ask_id, "text": "!"})), &ids), @"
    unknown_ask
    this session has answered the ask ASK before; an ask takes one answer
    to say more, ask that session a question of your own
    ");
    web.event();
    let late = ask(&web, "backend", "?", 1);
    web.event();
    insta::assert_snapshot!(masked(&refused(&backend, "relay_reply", json!({"ask_id": late, "text": "!"})), &[(&late, "ASK")]), @"
    unknown_ask
    the ask ASK timed out, N s ago; a reply can no longer be delivered
    check the ask_id; if the answer still matters, ask that session a question of your own
    ");
}

#[test]
fn hub_unreachable() {
    let mut stage = Stage::new(&HUB);
    let web = stage.session("web");
    let socket = stage.hub.socket().display().to_string();
    let ids = [(socket.as_str(), "SOCKET")];
    stage.hub.signal(rustix::process::Signal::STOP);
    insta::assert_snapshot!(masked(&refused(&web, "relay_peers", json!({})), &ids), @"
    hub_unreachable
    the hub at SOCKET does not answer
    run: relayctl doctor --fix, then try again
    ");
    stage.hub.kill();
    insta::assert_snapshot!(masked(&refused(&web, "relay_broadcast", json!({"question": "?"})), &ids), @"
    hub_unreachable
    no hub listens at SOCKET, where RELAY_SOCKET leads
    start a hub there: relay-hub --socket 'SOCKET' &; or correct RELAY_SOCKET (a session has what its client was started with)
    ");
}

#[test]
fn bad_args() {
    let stage = Stage::new(&HUB);
    let web = stage.session("web");
    for (tool, arguments) in [
        ("relay_ask", json!({"to": "web", "question": "Me?"})),
        ("relay_ask", json!({"to": "all", "question": "?"})),
        ("relay_ask", json!({"to": "shell", "question": "?"})),
        ("relay_ask", json!({"to": "hub", "question": "?"})),
        ("relay_ask", json!({"to": "backend", "question": " "})),
        ("relay_ask", json!({"to": "backend", "question": "?", "timeout_seconds": 0})),
        ("relay_ask", json!({"to": "backend", "message": "?"})),
        ("relay_rename", json!({"name": "everyone"})),
    ] {
        let told = refused(&web, tool, arguments.clone());
        assert!(told.starts_with("bad_args\n"), "{told}");
        insta::assert_snapshot!(format!("bad_args_{}", slug(&arguments)), told);
    }
}

fn slug(arguments: &Value) -> String {
    let words = arguments.to_string();
    let parts = words.split(|c: char| !c.is_alphanumeric()).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("_")
}

#[test]
fn error_is_no_error_of_mcp_where_the_agent_would_show_the_long_call_instead() {
    let folder = tempfile::tempdir().unwrap();
    for (client, repeats) in [("qwen-cli-mcp-client-relay", true), ("gemini-cli-mcp-client", false)] {
        let session = Session::builder().socket(&folder.path().join("hub.sock")).spawn();
        session.initialize_as(&json!({"name": client, "version": "1"}));
        session.notify("notifications/initialized", json!({}));
        for (bytes, code, is_long) in [(10, "hub_unreachable", false), (70_000, "too_large", true)] {
            let answer = session.call("relay_ask", json!({"to": "web", "question": "x".repeat(bytes)}));
            assert_eq!(
                (&answer.json["error"]["code"], answer.is_error),
                (&json!(code), !(repeats && is_long)),
                "{client}"
            );
        }
    }
}

#[test]
fn too_large() {
    let stage = Stage::new(&HUB);
    let web = stage.session("web");
    let text = "x".repeat(70_000);
    insta::assert_snapshot!(refused(&web, "relay_ask", json!({"to": "web", "question": text})), @"
    too_large
    question has 70000 bytes; the limit is 65536
    put the text into a file and send its path; to a session on another machine (name@machine) send less, or use git or scp
    ");
}

#[test]
fn rate_limited_and_peer_busy() {
    let stage = Stage::settled(&["--limit", "open_asks=2"]);
    let (web, docs, _backend) = (stage.session("web"), stage.session("docs"), stage.held_session("backend"));
    for _ in 0..2 {
        ask(&web, "backend", "?", 60);
    }
    let question = json!({"to": "backend", "question": "?"});
    insta::assert_snapshot!(refused(&web, "relay_ask", question.clone()), @"
    rate_limited
    this session waits for 2 replies; the limit is 2
    wait until some of its asks have ended
    ");
    insta::assert_snapshot!(refused(&docs, "relay_ask", question), @"
    peer_busy
    2 asks wait for backend; the limit is 2
    ask again when it has answered some of them
    ");
    let broadcast = docs.call("relay_broadcast", json!({"question": "?"})).ok();
    insta::assert_snapshot!(broadcast["refused"].to_string(), @r#"[{"to":"backend","error":{"code":"peer_busy","message":"2 asks wait for backend; the limit is 2","next":"ask again when it has answered some of them"}}]"#);
}

#[test]
fn rate_limited_by_the_pace() {
    let stage = Stage::settled(&HUB);
    let (web, _backend) = (stage.session("web"), stage.held_session("backend"));
    let question = json!({"to": "backend", "question": "?"});
    let last = (0..60).map(|_| web.call("relay_ask", question.clone())).find(|answer| answer.is_error).unwrap();
    insta::assert_snapshot!(told(&last), @"
    rate_limited
    too many asks between these two sessions: the limit is 40 at once, then one every 400 ms
    wait 1 s, and put several questions into one
    ");
}

#[test]
fn loop_detected() {
    let stage = Stage::settled(&HUB);
    let sessions = [stage.session("ping"), stage.session("pong")];
    let mut last = None;
    for n in 0..60 {
        let (from, to) = (&sessions[n % 2], &sessions[1 - n % 2]);
        let name = ["pong", "ping"][n % 2];
        let asked = from.call("relay_ask", json!({"to": name, "question": "and you?"}));
        if asked.is_error {
            last = Some(asked);
            break;
        }
        reply(to, &to.event_of("ask"), "well");
        from.event_of("reply");
    }
    insta::assert_snapshot!(told(&last.expect("the loop stops")), @"
    loop_detected
    these sessions keep asking each other: each question leads to the next, and pong is asked again
    stop asking for a minute; answer what is open with what is known, or tell your user
    ");
}

#[test]
fn protocol_mismatch() {
    let stage = Stage::new(&HUB);
    for (min, max) in [(90, 99), (0, 0)] {
        let socket = speak_other_versions(stage.folders(), &stage.hub.socket(), min, max);
        let session = Session::builder().cwd(stage.folders()).socket(&socket).start();
        let told = masked(&refused(&session, "relay_peers", json!({})), &[(env!("CARGO_PKG_VERSION"), "VERSION")]);
        insta::assert_snapshot!(format!("protocol_mismatch_{min}"), told);
        // It is no dead end either: the session goes on and says the same of every tool.
        assert_eq!(session.call("relay_ask", json!({"to": "a", "question": "?"})).code(), "protocol_mismatch");
        assert!(session.is_alive());
    }
}

/// Listens at a socket of its own and passes everything on to the hub, but for the versions in a hello: whoever
/// connects is a client of another time.
fn speak_other_versions(folder: &Path, hub: &Path, min: u32, max: u32) -> PathBuf {
    let socket = folder.join(format!("versions-{min}.sock"));
    let listener = UnixListener::bind(&socket).unwrap();
    let hub = hub.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (client, mut hub) = (stream.unwrap(), UnixStream::connect(&hub).unwrap());
            let (mut back, mut answers) = (client.try_clone().unwrap(), hub.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut answers, &mut back));
            let mut hello = String::new();
            BufReader::new(client).read_line(&mut hello).unwrap();
            let mut hello: Value = serde_json::from_str(&hello).unwrap();
            hello["versions"] = json!({"min": min, "max": max});
            writeln!(hub, "{hello}").ok();
        }
    });
    socket
}
