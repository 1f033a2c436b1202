//! The words of every refusal, in one place to be read.

use std::time::Duration;

use relay::hub::{CloseReason, GONE_WAIT, Input, Limits};
use relay::protocol::codec::FrameError;
use relay::protocol::{
    AskState, BODY_MAX_BYTES, ClientKind, ClientMessage, ErrorCode, Hello, PeerKey, Refusal, ReplyRequest, VersionRange,
};

use crate::support::hub::{Stage, ask, ask_again, channel, id, progress};

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
fn what_cannot_be_asked() {
    let mut stage = Stage::new();
    let gone = stage.session("/w/old");
    stage.say(gone.conn, ClientMessage::Bye {});
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
    insta::assert_snapshot!(refusals(&mut stage, messages), @"
    peer_not_found: no peer is named backend
      next: list the peers (relay_peers, or relayctl peers) and use one of their names
    peer_not_found: the address is empty: it needs at least one letter or digit
      next: list the peers (relay_peers, or relayctl peers) and use one of their names
    peer_not_found: a question from the shell is answered with its ask_id; the shell itself cannot be asked
      next: ask a peer by its name, or everybody by a broadcast
    peer_not_found: everyone names no peer; everybody is asked by a broadcast
      next: ask a peer by its name, or everybody by a broadcast
    bad_args: web is this session itself
      next: list the peers (relay_peers, or relayctl peers) and use one of their names
    peer_gone: the session whoever has ended
      next: ask again when it is back
    bad_args: the text is empty
      next: say what is to be asked or answered
    too_large: the text has 65537 bytes and the limit is 65536
      next: put it into a file and send the file's path: all sessions are on one machine
    bad_args: a timeout of 0 s is out of bounds: 1 to 86400 s
      next: give a timeout within these bounds
    bad_args: a timeout of 90000 s is out of bounds: 1 to 86400 s
      next: give a timeout within these bounds
    ");
}

#[test]
fn an_address_that_is_too_long_is_said_to_be() {
    let mut stage = Stage::new();
    let web = stage.session("/w/web");
    for (bytes, code) in [(1024, ErrorCode::PeerNotFound), (1025, ErrorCode::BadArgs)] {
        stage.hush();
        stage.ask(web, 1, &"a".repeat(bytes), "ready?");
        assert_eq!(stage.refusal(web.conn).code, code, "{bytes} bytes");
    }
}

#[test]
fn what_cannot_be_answered() {
    let mut stage = Stage::new();
    let db = stage.session("/w/db");
    let web = stage.session("/w/web");
    let api = stage.session("/w/api");
    for n in 1..=4 {
        stage.ask(web, n, "api", "ready?");
    }
    stage.say(web.conn, ask(5, "api", "ready?", 3000));
    stage.say(web.conn, ClientMessage::Withdraw { ask_id: id(1) });
    stage.ask(db, 6, "api", "ready?");
    stage.say(db.conn, ClientMessage::Bye {});
    stage.pass(Duration::from_secs(4));
    stage.tell(Input::Disconnected { conn: api.conn });
    stage.pass(GONE_WAIT * 2);
    let api = stage.hello(api.key, channel("/w/api", None));
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
    unknown_ask: no open ask 0000-0000-0033 waits for an answer of this session
      next: check the ask_id; if the answer still matters, ask that session a question of your own
    unknown_ask: the ask 0000-0000-0001 was withdrawn by its asker, 8 s ago; nothing of it can be delivered any more
      next: check the ask_id; if the answer still matters, ask that session a question of your own
    unknown_ask: the ask 0000-0000-0002 ended when its session was gone, 2 s ago; nothing of it can be delivered any more
      next: check the ask_id; if the answer still matters, ask that session a question of your own
    unknown_ask: the ask 0000-0000-0005 timed out, 5 s ago; nothing of it can be delivered any more
      next: check the ask_id; if the answer still matters, ask that session a question of your own
    unknown_ask: the ask 0000-0000-0006 was withdrawn by its asker, 8 s ago; nothing of it can be delivered any more
      next: check the ask_id; if the answer still matters, ask that session a question of your own
    bad_args: the ask_id 0000-0000-0002 names an ask of another client
      next: make a new random id
    unknown_ask: an answer of this session to the ask 0000-0000-0007 is on its way already
      next: wait for the end of that one; to say more, ask that session a question of your own
    not_registered: only a session can reply, and this connection said hello as something else
      next: say hello with kind channel on a connection of its own
    ");
}

#[test]
fn what_cannot_be_a_name() {
    let mut stage = Stage::new();
    let _api = stage.session("/w/api");
    let rename = |name: &str| ClientMessage::Rename { id: 2, name: name.to_owned() };
    let mut text = refusals(&mut stage, vec![rename("API"), rename("You"), rename("...")]);
    let tool = stage.tool();
    stage.say(tool.conn, rename("me"));
    text += &words(&[stage.refusal(tool.conn)]);
    insta::assert_snapshot!(text, @r"
    name_taken: another peer is named api; this session is still web
      next: choose another name
    bad_args: these names are reserved: shell, all, everyone, hub, you
      next: choose another name
    bad_args: a name needs at least one letter or digit
      next: choose a name such as backend-api
    not_registered: only a session can have a name, and this connection said hello as something else
      next: say hello with kind channel on a connection of its own
    ");
}

#[test]
fn what_is_no_conversation() {
    let mut stage = Stage::new();
    let mut all = Vec::new();
    let conn = stage.connect();
    stage.say(conn, progress(1, AskState::Shown, None));
    all.push(stage.refusal(conn));
    for (program, min, max) in [("relay-channel 9", 0, 0), ("relayctl 9", 0, 0), ("relay-channel 9", 3, 4)] {
        let conn = stage.connect();
        let (versions, key) = (VersionRange { min, max }, PeerKey::from_bytes([9; 16]));
        let hello = Hello { id: 1, versions, key, program: program.to_owned(), kind: ClientKind::Control {} };
        stage.say(conn, ClientMessage::Hello(Box::new(hello)));
        all.push(stage.refusal(conn));
        assert_eq!(stage.closed(conn), Some(CloseReason::ProtocolMismatch));
    }
    let web = stage.session("/w/web");
    let hello = Hello {
        id: 2,
        versions: VersionRange { min: 1, max: 1 },
        key: web.key,
        program: "again".to_owned(),
        kind: ClientKind::Control {},
    };
    stage.say(web.conn, ClientMessage::Hello(Box::new(hello)));
    all.push(stage.refusal(web.conn));
    let unknown = FrameError::NotAMessage { id: Some(3), reason: "unknown variant `dance`".to_owned() };
    for error in [unknown, FrameError::TooLong { limit: 524_288 }] {
        stage.tell(Input::Malformed { conn: web.conn, error });
        all.push(stage.refusal(web.conn));
    }
    assert_eq!(stage.closed(web.conn), Some(CloseReason::Malformed));
    insta::assert_snapshot!(words(&all), @"
    not_registered: progress needs a hello first
      next: say hello, then ask again
    protocol_mismatch: relay-channel 9 speaks protocol 0 to 0, this hub 1 to 2: relay-channel 9 is too old
      next: install the newer claude-relay, then start the session's client again (or in it: /mcp, reconnect)
    protocol_mismatch: relayctl 9 speaks protocol 0 to 0, this hub 1 to 2: relayctl 9 is too old
      next: install the newer claude-relay, then try again
    protocol_mismatch: relay-channel 9 speaks protocol 3 to 4, this hub 1 to 2: relay-hub is too old
      next: install the newer claude-relay, then run: relayctl doctor --fix
    already_registered: this connection has said hello before
      next: go on without, or open another connection
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
fn what_is_over_a_limit() {
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
        let text = "x".repeat(60);
        stage.say(api.conn, ClientMessage::Reply(ReplyRequest { id: 5, ask_id, text }));
    }
    all.push(stage.refusal(api.conn));

    let mut stage = Stage::settling(limits, None);
    let web = stage.session("/w/web");
    for n in 1..=3 {
        stage.ask(web, n, "api", &"x".repeat(60));
    }
    all.push(stage.refusal(web.conn));

    all.extend(what_is_too_fast_or_in_a_ring());
    insta::assert_snapshot!(words(&all), @"
    rate_limited: this session waits for 2 answers and the limit is 2
      next: wait until some of them have ended
    peer_busy: 2 asks wait for api and the limit is 2
      next: ask again when it has answered some of them
    rate_limited: the hub has 3 connections and the limit is 3
      next: close sessions that are not needed, or raise the limit: relay-hub --limit connections=NUMBER, or RELAY_LIMITS=connections=NUMBER in the service's environment
    rate_limited: 60 bytes do not fit: the hub holds 62 bytes of questions of this session, for which there may be as many as are left, 38 of 100
      next: wait until some of them were taken, or send the path of a file
    rate_limited: 60 bytes do not fit: the hub holds 62 bytes of questions and the limit is 100
      next: wait until some of them were taken, or send the path of a file
    rate_limited: 60 bytes do not fit: the hub holds 60 bytes of replies for the session that asked, for which there may be as many as are left, 40 of 100
      next: wait a moment and reply again, or send the path of a file
    rate_limited: 575 bytes do not fit: the hub holds 0 bytes of questions and the limit is 100
      next: wait until some of them were taken, or send the path of a file
    rate_limited: too many asks between these two sessions: the limit is 40 at once, then one every 400 ms
      next: wait 1 s, and put several questions into one
    rate_limited: too many asks from the shell to this session: the limit is 256 at once, then one every 100 ms
      next: wait 1 s, and put several questions into one
    loop_detected: these sessions keep asking each other, one question making the next, and api is asked again and again
      next: stop asking for a minute; answer what is open with what is known, or tell your user
    ");
}
