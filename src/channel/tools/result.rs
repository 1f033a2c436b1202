//! What a model is told about its tool call: one compact JSON object. Pure.

use serde_json::{Map, Value, json};

use crate::channel::inbox::Batch;
use crate::channel::{envelope, neutralise};
use crate::client::{Asked, Broadcasted, Replied};
use crate::protocol::{AskState, PeerName, PeersAnswer, Refusal, Wake};

/// Why an ask is held, and what can be done about it.
const HELD: &str = "held: nothing can wake that session now; it sees the question at its next prompt if the plugin's hooks run \
                    there, else at its next relay tool call. Tell your user so; to have it seen at once, \
                    type 'check relay' there";

/// What a session that nothing can wake must know of its answers.
const NOT_WOKEN: &str = "nothing can wake this session for the answer: it comes with the next prompt if the plugin's hooks run \
                         here, else with the result of a later relay tool call, such as relay_peers";

/// What a model does to see the rest of what waits.
const MORE: &str = "more messages wait: call relay_peers to see them";

/// Why the list may lack somebody.
const SETTLING: &str = "the hub has just started: sessions that are not back yet may appear within two seconds";

/// What a tool call came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The peers.
    Peers(PeersAnswer),
    /// An accepted ask and its timeout in seconds.
    Asked(Asked, u64),
    /// What became of a reply.
    Replied(Replied),
    /// An accepted broadcast and its timeout in seconds.
    Broadcasted(Broadcasted, u64),
    /// The session's name.
    Renamed(PeerName),
}

/// Returns the result of a tool call, with the messages that go with it. `wakes_by` is this session's own best route.
pub fn render(answer: Result<Answer, Refusal>, wakes_by: Wake, batch: Batch) -> Value {
    let mut result = match answer {
        Ok(Answer::Peers(peers)) => render_peers(peers),
        Ok(Answer::Asked(asked, timeout_s)) => render_asked(&asked, timeout_s, wakes_by),
        Ok(Answer::Replied(replied)) => render_replied(&replied),
        Ok(Answer::Broadcasted(broadcast, timeout_s)) => render_broadcast(&broadcast, timeout_s, wakes_by),
        Ok(Answer::Renamed(name)) => object(json!({"name": name})),
        Err(refusal) => object(json!({"error": refusal})),
    };
    if !batch.messages.is_empty() {
        result.insert("messages".to_owned(), batch.messages.iter().map(envelope::wrap).collect());
    }
    if batch.left > 0 {
        result.insert("messages_left".to_owned(), batch.left.into());
        note(&mut result, [Some(MORE), None]);
    }
    Value::Object(result)
}

fn render_peers(mut answer: PeersAnswer) -> Map<String, Value> {
    for peer in &mut answer.peers {
        peer.cwd = neutralise::line(&peer.cwd);
        peer.branch = peer.branch.as_deref().map(neutralise::line);
        peer.client = peer.client.as_deref().map(neutralise::line);
    }
    let mut result = object(json!({"you": answer.you, "peers": answer.peers}));
    if answer.settling {
        result.insert("settling".to_owned(), true.into());
        note(&mut result, [Some(SETTLING), None]);
    }
    result
}

fn render_asked(asked: &Asked, timeout_s: u64, wakes_by: Wake) -> Map<String, Value> {
    let mut result = object(json!({
        "ask_id": asked.ask_id,
        "to": asked.to,
        "state": ask_state(asked.state),
        "deadline_seconds": timeout_s,
    }));
    let held = (asked.state == AskState::Held).then_some(HELD);
    note(&mut result, [held, not_woken(wakes_by)]);
    result
}

fn render_replied(replied: &Replied) -> Map<String, Value> {
    let state = if replied.taken { "accepted" } else { "pending" };
    let mut result = object(json!({
        "ask_id": replied.ask_id,
        "to": neutralise::line(&replied.to),
        "state": state,
    }));
    let pending = "the asker has not taken the reply yet; it is kept and handed over, or you are told that it failed";
    note(&mut result, [(!replied.taken).then_some(pending), None]);
    result
}

fn render_broadcast(broadcast: &Broadcasted, timeout_s: u64, wakes_by: Wake) -> Map<String, Value> {
    let ask = |asked: &Asked| json!({"to": asked.to, "ask_id": asked.ask_id, "state": ask_state(asked.state)});
    let mut result = object(json!({
        "broadcast_id": broadcast.broadcast_id,
        "asks": broadcast.asks.iter().map(ask).collect::<Vec<_>>(),
        "refused": broadcast.refused,
        "deadline_seconds": timeout_s,
    }));
    if broadcast.asks.is_empty() && broadcast.refused.is_empty() {
        note(&mut result, [Some("nobody was asked: no other session is there"), None]);
    } else {
        let held = broadcast.asks.iter().any(|asked| asked.state == AskState::Held).then_some(HELD);
        note(&mut result, [held, not_woken(wakes_by)]);
    }
    result
}

/// The finer states are for outcomes: at the time of the call they promise nothing more.
fn ask_state(state: AskState) -> &'static str {
    match state {
        AskState::Held => "held",
        AskState::Accepted | AskState::HandedOver | AskState::Shown => "accepted",
    }
}

fn not_woken(wakes_by: Wake) -> Option<&'static str> {
    (wakes_by == Wake::NextPrompt).then_some(NOT_WOKEN)
}

/// Adds to what the result says in words.
fn note(result: &mut Map<String, Value>, notes: [Option<&str>; 2]) {
    let said = result.remove("note");
    let text: Vec<&str> =
        said.as_ref().and_then(Value::as_str).into_iter().chain(notes.into_iter().flatten()).collect();
    if !text.is_empty() {
        result.insert("note".to_owned(), text.join("; ").into());
    }
}

fn object(value: Value) -> Map<String, Value> {
    if let Value::Object(object) = value { object } else { Map::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::notification::Message;
    use crate::protocol::{Activity, AskId, BroadcastId, BroadcastRefusal, ErrorCode, OpenAsks, PeerView, Presence};

    fn name(text: &str) -> PeerName {
        PeerName::parse(text).unwrap()
    }

    fn rendered(answer: Result<Answer, Refusal>) -> String {
        render(answer, Wake::Channel, Batch::default()).to_string()
    }

    fn asked(to: &str, state: AskState) -> Asked {
        Asked { ask_id: AskId::from_bits(1), to: name(to), state }
    }

    #[test]
    fn peers_are_listed_with_what_tells_them_apart() {
        let peer = PeerView {
            name: name("backend"),
            cwd: "/srv/back\u{202e}end".to_owned(),
            branch: Some("main".to_owned()),
            pid: 4711,
            client: Some("claude-code 2.1.330".to_owned()),
            presence: Presence { status: Activity::Idle, wakes_by: Wake::Channel },
            connected_s: 12,
            open_asks: OpenAsks { sent: 0, received: 1 },
        };
        let answer = PeersAnswer { id: 1, you: Some(name("web")), peers: vec![peer], settling: false };
        let settling = PeersAnswer { peers: Vec::new(), settling: true, ..answer.clone() };
        insta::assert_snapshot!(rendered(Ok(Answer::Peers(settling))), @r#"{"you":"web","peers":[],"settling":true,"note":"the hub has just started: sessions that are not back yet may appear within two seconds"}"#);
        insta::assert_snapshot!(rendered(Ok(Answer::Peers(answer))), @r#"{"you":"web","peers":[{"name":"backend","cwd":"/srv/backend","branch":"main","pid":4711,"client":"claude-code 2.1.330","status":"idle","wakes_by":"channel","connected_s":12,"open_asks":{"sent":0,"received":1}}]}"#);
    }

    #[test]
    fn an_ask_is_accepted_or_held() {
        insta::assert_snapshot!(rendered(Ok(Answer::Asked(asked("backend", AskState::Shown), 600))), @r#"{"ask_id":"0000-0000-0001","to":"backend","state":"accepted","deadline_seconds":600}"#);
        insta::assert_snapshot!(rendered(Ok(Answer::Asked(asked("backend", AskState::Held), 5))), @r#"{"ask_id":"0000-0000-0001","to":"backend","state":"held","deadline_seconds":5,"note":"held: nothing can wake that session now; it sees the question at its next prompt if the plugin's hooks run there, else at its next relay tool call. Tell your user so; to have it seen at once, type 'check relay' there"}"#);
    }

    #[test]
    fn a_session_that_nothing_wakes_is_told_where_its_answers_come() {
        let result = render(Ok(Answer::Asked(asked("b", AskState::Accepted), 5)), Wake::NextPrompt, Batch::default());
        assert!(result["note"].as_str().unwrap().contains("a later relay tool call"));
    }

    #[test]
    fn a_reply_is_taken_or_kept() {
        let replied = |taken| Replied { ask_id: AskId::from_bits(1), to: "shell".to_owned(), taken };
        insta::assert_snapshot!(rendered(Ok(Answer::Replied(replied(true)))), @r#"{"ask_id":"0000-0000-0001","to":"shell","state":"accepted"}"#);
        insta::assert_snapshot!(rendered(Ok(Answer::Replied(replied(false)))), @r#"{"ask_id":"0000-0000-0001","to":"shell","state":"pending","note":"the asker has not taken the reply yet; it is kept and handed over, or you are told that it failed"}"#);
    }

    #[test]
    fn a_broadcast_lists_whom_it_asked_and_who_refused() {
        let busy = Refusal::new(ErrorCode::PeerBusy, "it has 1024 open asks", "ask later");
        let broadcast = Broadcasted {
            broadcast_id: BroadcastId::from_bits(2),
            asks: vec![asked("backend", AskState::HandedOver)],
            refused: vec![BroadcastRefusal { to: name("docs"), error: busy }],
        };
        insta::assert_snapshot!(rendered(Ok(Answer::Broadcasted(broadcast, 600))), @r#"{"broadcast_id":"0000-0000-0002","asks":[{"to":"backend","ask_id":"0000-0000-0001","state":"accepted"}],"refused":[{"to":"docs","error":{"code":"peer_busy","message":"it has 1024 open asks","next":"ask later"}}],"deadline_seconds":600}"#);
        let nobody = Broadcasted { broadcast_id: BroadcastId::from_bits(2), asks: vec![], refused: vec![] };
        insta::assert_snapshot!(rendered(Ok(Answer::Broadcasted(nobody, 600))), @r#"{"broadcast_id":"0000-0000-0002","asks":[],"refused":[],"deadline_seconds":600,"note":"nobody was asked: no other session is there"}"#);
    }

    #[test]
    fn a_refusal_says_what_to_do_and_carries_messages_too() {
        let refusal = Refusal::new(ErrorCode::HubUnreachable, "no hub answers", "relayctl doctor --fix");
        let message = Message { content: "hi".to_owned(), meta: object(json!({"kind": "reply"})) };
        let batch = Batch { messages: vec![message], left: 2 };
        insta::assert_snapshot!(render(Err(refusal), Wake::NextPrompt, batch), @r##"{"error":{"code":"hub_unreachable","message":"no hub answers","next":"relayctl doctor --fix"},"messages":["<relay-message kind=\"reply\">\nhi\n</relay-message>"],"messages_left":2,"note":"more messages wait: call relay_peers to see them"}"##);
        insta::assert_snapshot!(rendered(Ok(Answer::Renamed(name("api")))), @r##"{"name":"api"}"##);
    }
}
