//! The words of every refusal, in one place to be read.

use std::time::Duration;

use relay::hub::{CloseReason, GONE_WAIT, Input, Limits};
use relay::protocol::codec::FrameError;
use relay::protocol::{AskState, BODY_MAX_BYTES, ClientMessage, ErrorCode, Hello, Refusal, Request, VersionRange};

use crate::support::hub::{Stage, ask, ask_again, hello, id, progress, rename, tool, withdraw};

fn words(refusals: &[Refusal]) -> String {
    refusals
        .iter()
        .map(|refusal| format!("{}: {}\n  next: {}\n", refusal.code, refusal.message, refusal.next))
        .collect()
}

/// Lets one session say these messages, and returns the refusal of each.
fn refusals(stage: &mut Stage, messages: Vec<ClientMessage>) -> String {
    let web = stage.session("/w/web");
    let refused = messages.into_iter().map(|message| {
        stage.hush();
        stage.say(web.conn, message);
        stage.refusal(web.conn)
    });
    words(&refused.collect::<Vec<_>>())
}

#[test]
fn refused_asks() {
    let mut stage = Stage::new();
    let gone = stage.session("/w/old");
    stage.bye(gone);
    let _api = stage.session("/w/api");
    let long = "x".repeat(BODY_MAX_BYTES + 1);
    let messages = vec![
        ask(1, "backend", "ready?", 1000),
        ask(1, "?!", "ready?", 1000),
        ask(1, "Shell", "ready?", 1000),
        ask(1, "everyone", "ready?", 1000),
        ask(1, "web", "ready?", 1000),
        ask_again(1, gone, "ready?"),
        ask(1, "api", " ", 1000),
        ask(1, "api", &long, 1000),
        ask(1, "api", "ready?", 0),
        ask(1, "api", "ready?", 90_000_000),
    ];
    insta::assert_snapshot!(refusals(&mut stage, messages), @r#"
    peer_not_found: no session is named backend
      next: list the sessions (relay_peers, or relayctl peers) and use one of their names
    peer_not_found: no session works in a folder named exactly "?!"
      next: list the sessions (relay_peers, or relayctl peers) and use one of their names
    peer_not_found: a question from the shell is answered with its ask_id; the shell itself cannot be asked
      next: ask a session by its name, or all of them by a broadcast
    peer_not_found: everyone names no session; a broadcast asks every session
      next: ask a session by its name, or all of them by a broadcast
    bad_args: web is this session itself
      next: list the sessions (relay_peers, or relayctl peers) and use one of their names
    peer_gone: the session whoever has ended
      next: ask again when it is back
    bad_args: the text is empty
      next: write the question or the reply
    too_large: the text has 65537 bytes; the limit is 65536
      next: put it into a file and send the file's path: all sessions are on one machine
    bad_args: a timeout of 0 s is out of bounds: 1 to 86400 s
      next: give a timeout within these bounds
    bad_args: a timeout of 90000 s is out of bounds: 1 to 86400 s
      next: give a timeout within these bounds
    "#);
}

#[test]
fn address_that_is_too_long_is_named() {
    let mut stage = Stage::new();
    let web = stage.session("/w/web");
    for (bytes, code) in [(1024, ErrorCode::PeerNotFound), (1025, ErrorCode::BadArgs)] {
        stage.hush();
        stage.ask(web, 1, &"a".repeat(bytes), "ready?");
        assert_eq!(stage.refusal(web.conn).code, code, "{bytes} bytes");
    }
}

#[test]
fn refused_replies() {
    let mut stage = Stage::new();
    let db = stage.session("/w/db");
    let web = stage.session("/w/web");
    let api = stage.session("/w/api");
    for n in 1..=4 {
        stage.ask(web, n, "api", "ready?");
    }
    stage.say(web.conn, ask(5, "api", "ready?", 3000));
    stage.say(web.conn, withdraw(1));
    stage.ask(db, 6, "api", "ready?");
    stage.bye(db);
    stage.pass(Duration::from_secs(4));
    stage.lose(api);
    stage.pass(GONE_WAIT * 2);
    let api = stage.back(api, "/w/api", None);
    let mut all = Vec::new();
    for n in [99, 1, 2, 5, 6] {
        stage.hush();
        stage.reply(api, id(n), "yes");
        all.push(stage.refusal(api.conn));
    }
    stage.ask(api, 2, "web", "whose id is this?");
    all.push(stage.refusal(api.conn));
    stage.ask(web, 7, "api", "ready?");
    stage.reply(api, id(7), "yes");
    stage.reply(api, id(7), "yes, really");
    all.push(stage.refusal(api.conn));
    let tool = stage.tool();
    stage.reply(tool, id(2), "yes");
    all.push(stage.refusal(tool.conn));
    insta::assert_snapshot!(words(&all), @"
    unknown_ask: no open ask 0000-0000-0033 waits for a reply of this session
      next: check the ask_id; if the answer still matters, ask that session a question of your own
    unknown_ask: the ask 0000-0000-0001 was withdrawn by its asker or ended with it, 8 s ago; a reply can no longer be delivered
      next: check the ask_id; if the answer still matters, ask that session a question of your own
    unknown_ask: the ask 0000-0000-0002 ended when its session was gone, 2 s ago; a reply can no longer be delivered
      next: check the ask_id; if the answer still matters, ask that session a question of your own
    unknown_ask: the ask 0000-0000-0005 timed out, 5 s ago; a reply can no longer be delivered
      next: check the ask_id; if the answer still matters, ask that session a question of your own
    unknown_ask: the ask 0000-0000-0006 was withdrawn by its asker or ended with it, 8 s ago; a reply can no longer be delivered
      next: check the ask_id; if the answer still matters, ask that session a question of your own
    bad_args: the ask_id 0000-0000-0002 names an ask of another client
      next: make a new random id
    unknown_ask: a reply of this session to the ask 0000-0000-0007 is on its way already
      next: wait for its result; to add something, ask that session a question of your own
    not_registered: only a session can reply, and this connection has the kind control
      next: send hello with the kind session on a connection of its own
    ");
}

#[test]
fn refused_names() {
    let mut stage = Stage::new();
    let _api = stage.session("/w/api");
    let mut text = refusals(&mut stage, vec![rename("API"), rename("You"), rename("...")]);
    let tool = stage.tool();
    stage.say(tool.conn, rename("me"));
    text += &words(&[stage.refusal(tool.conn)]);
    insta::assert_snapshot!(text, @"
    name_taken: another session is named api; this session is still web
      next: choose another name
    bad_args: these names are reserved: shell, all, everyone, hub, you
      next: choose another name
    bad_args: a name needs at least one letter or digit
      next: choose a name such as backend-api
    not_registered: only a session can have a name, and this connection has the kind control
      next: send hello with the kind session on a connection of its own
    ");
}

#[test]
fn refused_frames_and_hellos() {
    let mut stage = Stage::new();
    let mut all = Vec::new();
    let conn = stage.connect();
    stage.say(conn, progress(1, AskState::Shown));
    all.push(stage.refusal(conn));
    for (program, min, max) in [("relay-channel 9", 0, 0), ("relayctl 9", 0, 0), ("relay-channel 9", 3, 4)] {
        let conn = stage.connect();
        let hello = Hello { versions: VersionRange { min, max }, program: program.to_owned(), kind: tool(9) };
        stage.say(conn, ClientMessage::Request(1, Request::Hello(Box::new(hello))));
        all.push(stage.refusal(conn));
        assert_eq!(stage.closed(conn), Some(CloseReason::ProtocolMismatch));
    }
    let web = stage.session("/w/web");
    stage.say(web.conn, hello("again", tool(9)));
    all.push(stage.refusal(web.conn));
    let unknown = FrameError::NotAMessage { id: Some(3), reason: "unknown variant `dance`".to_owned() };
    for error in [unknown, FrameError::TooLong { limit: 524_288 }] {
        stage.tell(Input::Malformed { conn: web.conn, error });
        all.push(stage.refusal(web.conn));
    }
    assert_eq!(stage.closed(web.conn), Some(CloseReason::Malformed));
    insta::assert_snapshot!(words(&all), @"
    not_registered: progress needs a hello first
      next: send hello, then try again
    protocol_mismatch: relay-channel 9 speaks protocol 0 to 0, this hub 1 to 1: relay-channel 9 is too old
      next: install the newer claude-relay, then start the session's client again (or in it: /mcp, reconnect)
    protocol_mismatch: relayctl 9 speaks protocol 0 to 0, this hub 1 to 1: relayctl 9 is too old
      next: install the newer claude-relay, then try again
    protocol_mismatch: relay-channel 9 speaks protocol 3 to 4, this hub 1 to 1: relay-hub is too old
      next: install the newer claude-relay, then run: relayctl doctor --fix
    already_registered: this connection has sent hello before
      next: continue without, or open another connection
    bad_msg: not a message of this protocol: unknown variant `dance`
      next: send one JSON object a line, as the protocol's documentation says
    too_large: a frame is longer than 524288 bytes
      next: put the text into a file and send its path
    ");
}

fn what_is_too_fast_or_in_a_ring() -> Vec<Refusal> {
    let mut all = Vec::new();
    let mut stage = Stage::new();
    let (web, _api) = (stage.session("/w/web"), stage.session("/w/api"));
    for n in 0..=40 {
        stage.ask(web, n, "api", "ready?");
    }
    all.push(stage.refusal(web.conn));

    let tool = stage.tool();
    for n in 0..=256 {
        stage.ask(tool, 1000 + n, "api", "ready?");
    }
    all.push(stage.refusal(tool.conn));

    let mut stage = Stage::with_limits(Limits { rate: false, ..Limits::default() });
    let (web, api) = (stage.session("/w/web"), stage.session("/w/api"));
    for n in 0..8 {
        stage.ask(web, 2 * n, "api", "and you?");
        stage.ask(api, 2 * n + 1, "web", "and you?");
    }
    stage.ask(web, 16, "api", "and you?");
    all.push(stage.refusal(web.conn));
    all
}

#[test]
fn refusals_by_limits() {
    let mut all = Vec::new();
    let limits = Limits { open_asks: 2, held_bytes: 100, connections: 3, ..Limits::default() };

    let mut stage = Stage::with_limits(limits.clone());
    let (web, _api) = (stage.session("/w/web"), stage.session("/w/api"));
    for n in 1..=3 {
        stage.ask(web, n, "api", "ready?");
    }
    all.push(stage.refusal(web.conn));
    let db = stage.session("/w/db");
    stage.ask(db, 4, "api", "ready?");
    all.push(stage.refusal(db.conn));
    let conn = stage.connect();
    all.push(stage.refusal(conn));
    assert_eq!(stage.closed(conn), Some(CloseReason::TooManyConnections));

    let mut stage = Stage::with_limits(Limits { held_bytes: 100, ..Limits::default() });
    let (web, api, db) = (stage.session("/w/web"), stage.session("/w/api"), stage.session("/w/db"));
    for n in [1, 2] {
        stage.ask(web, n, "api", "?");
    }
    for n in [3, 4] {
        stage.ask(web, n, "api", &"x".repeat(60));
    }
    all.push(stage.refusal(web.conn));
    stage.ask(db, 5, "api", &"x".repeat(60));
    all.push(stage.refusal(db.conn));
    for ask_id in [id(1), id(2)] {
        stage.reply(api, ask_id, &"x".repeat(60));
    }
    all.push(stage.refusal(api.conn));

    let mut stage = Stage::in_grace(limits, None);
    let web = stage.session("/w/web");
    for n in 1..=3 {
        stage.ask(web, n, "api", &"x".repeat(60));
    }
    all.push(stage.refusal(web.conn));

    all.extend(what_is_too_fast_or_in_a_ring());
    insta::assert_snapshot!(words(&all), @"
    rate_limited: this session waits for 2 replies; the limit is 2
      next: wait until some of its asks have ended
    peer_busy: 2 asks wait for api; the limit is 2
      next: ask again when it has answered some of them
    rate_limited: the hub has 3 connections; the limit is 3
      next: close sessions that are not needed, or raise the limit: relay-hub --limit connections=NUMBER, or RELAY_LIMITS=connections=NUMBER in the service's environment
    rate_limited: 60 bytes do not fit: this session already has 2 bytes of unread questions; its share is 33 of 100
      next: wait until some of them were read, or send the path of a file
    rate_limited: 60 bytes do not fit: this session already has 0 bytes of unread questions; its share is 33 of 100
      next: wait until some of them were read, or send the path of a file
    rate_limited: 60 bytes do not fit: the session that asked already has 0 bytes of unread replies; its share is 33 of 100
      next: wait a moment and reply again, or send the path of a file
    rate_limited: 575 bytes do not fit: this session already has 0 bytes of unread questions; its share is 33 of 100
      next: wait until some of them were read, or send the path of a file
    rate_limited: too many asks between these two sessions: the limit is 40 at once, then one every 400 ms
      next: wait 1 s, and put several questions into one
    rate_limited: too many asks from the shell to this session: the limit is 256 at once, then one every 100 ms
      next: wait 1 s, and put several questions into one
    loop_detected: these sessions keep asking each other: each question leads to the next, and api is asked again
      next: stop asking for a minute; answer what is open with what is known, or tell your user
    ");
}
