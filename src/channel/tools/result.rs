//! What a model is told about its tool call: one compact JSON object. Pure.

use std::ops::Not;

use serde::Serialize;

use crate::channel::inbox::Batch;
use crate::channel::{envelope, neutralise};
use crate::client::{AcceptedAsk, AcceptedBroadcast, CallAnswer, MessageId, OpenAsksView, SentReply};
use crate::protocol::{
    Activity, AskId, AskKind, AskState, BroadcastAsk, BroadcastId, BroadcastRefusal, PeerName, PeerView, Peers,
    Refusal, Wake,
};

/// Why an ask to another machine is held.
const HELD_THERE: &str = "held: the person of that machine has to let it through (there: relayctl machines), or nothing \
    can wake that session now. Tell your user so";

/// Why an ask is held, and what can be done about it.
const HELD: &str = "held: nothing can wake that session now; it sees this at its next prompt if the plugin's hooks run \
                    there, else at its next relay tool call. Tell your user so; to have it seen at once, \
                    type 'check relay' there";

/// What a session that nothing can wake must know of its answers.
const NOT_WOKEN: &str = "nothing can wake this session for the answer: it comes with the next prompt if the plugin's hooks run \
                         here, else with the result of a later relay tool call, such as relay_peers";

/// Why an answer may take its time.
const WAITS_FOR_USER: &str =
    "that session stands at a dialog and goes on only when its own user has decided: tell your user so";

/// Why it is not said yet that a reply was taken.
const PENDING: &str = "the asker has not taken the reply yet; it is kept and delivered, or you are told that it failed";

/// Why a broadcast has no asks.
const NOBODY: &str = "nobody was asked: no other session is there, or none in that folder";

/// What a model does to see the rest of what waits.
const MORE: &str = "more messages wait: call relay_peers to see them";

/// Why the list may lack somebody.
const SETTLING: &str = "the hub has just started: sessions that are not back yet may appear within two seconds";

/// What a result says beside the answer itself.
#[derive(Debug, Default)]
pub struct Context {
    /// This session's own best route.
    pub wakes_by: Option<Wake>,
    /// The timeout of the asks that the call made, in seconds.
    pub timeout_s: u64,
    /// What is open for this session: with the peers.
    pub open: Option<OpenAsksView>,
}

/// Returns the result of a tool call, with the messages that go with it, as JSON.
pub fn render(answer: Result<CallAnswer, Refusal>, context: Context, batch: Batch) -> String {
    let (answer, mut notes) = match answer {
        Ok(CallAnswer::Peers(peers)) => render_peers(peers, context.open),
        Ok(CallAnswer::Asked(asked)) => render_asked(asked, &context),
        Ok(CallAnswer::Replied(replied)) => render_replied(&replied),
        Ok(CallAnswer::Broadcasted(broadcast)) => render_broadcast(broadcast, &context),
        Ok(CallAnswer::Renamed(name)) => (Rendered::Renamed { name }, Vec::new()),
        // No tool asks for these.
        Ok(CallAnswer::Status(_) | CallAnswer::Watching(_) | CallAnswer::Audience(_)) => {
            (Rendered::Nothing {}, Vec::new())
        }
        Err(error) => (Rendered::Refused { error }, Vec::new()),
    };
    if batch.left > 0 {
        notes.push(MORE);
    }
    let messages = batch.messages.iter().map(envelope::wrap).collect();
    let whole = Whole { answer, messages, messages_left: batch.left, note: notes.join("; ") };
    // Nothing in it fails to be written.
    serde_json::to_string(&whole).unwrap_or_default()
}

/// All that a result says.
#[derive(Serialize)]
struct Whole {
    #[serde(flatten)]
    answer: Rendered,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    messages: Vec<String>,
    #[serde(skip_serializing_if = "is_zero")]
    messages_left: usize,
    /// What is to be said in words.
    #[serde(skip_serializing_if = "String::is_empty")]
    note: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
const fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// The answer to a call, as a model sees it.
#[derive(Serialize)]
#[serde(untagged)]
enum Rendered {
    Peers {
        you: Option<PeerName>,
        peers: Vec<PeerView>,
        #[serde(skip_serializing_if = "Option::is_none")]
        open: Option<OpenAsksView>,
        #[serde(skip_serializing_if = "Not::not")]
        settling: bool,
    },
    Asked {
        #[serde(flatten)]
        id: MessageId,
        to: PeerName,
        #[serde(skip_serializing_if = "Option::is_none")]
        cwd: Option<String>,
        state: &'static str,
        status: Activity,
        #[serde(skip_serializing_if = "Option::is_none")]
        waiting_for: Option<String>,
        deadline_seconds: u64,
    },
    Replied {
        ask_id: AskId,
        to: String,
        state: &'static str,
    },
    Broadcasted {
        broadcast_id: BroadcastId,
        asks: Vec<RenderedAsk>,
        refused: Vec<BroadcastRefusal>,
        deadline_seconds: u64,
    },
    Renamed {
        name: PeerName,
    },
    Refused {
        error: Refusal,
    },
    Nothing {},
}

/// One ask of a broadcast.
#[derive(Serialize)]
struct RenderedAsk {
    to: PeerName,
    ask_id: AskId,
    state: &'static str,
}

type Notes = Vec<&'static str>;

fn render_peers(answer: Peers, mut open: Option<OpenAsksView>) -> (Rendered, Notes) {
    let Peers { you, mut peers, settling, .. } = answer;
    for peer in &mut peers {
        peer.tag = None;
        peer.agent = neutralise::line(&peer.agent);
        peer.client = peer.client.as_deref().map(neutralise::line);
        peer.presence.cwd = neutralise::line(&peer.presence.cwd);
        peer.presence.branch = peer.presence.branch.as_deref().map(neutralise::line);
        peer.presence.waiting_for = peer.presence.waiting_for.as_deref().map(neutralise::line);
    }
    for received in open.iter_mut().flat_map(|open| &mut open.received) {
        received.from = neutralise::line(&received.from);
        received.question = received.question.as_deref().map(neutralise::text);
    }
    (Rendered::Peers { you, peers, open, settling }, settling.then_some(SETTLING).into_iter().collect())
}

/// Returns why an ask is held, if it is.
fn held(state: AskState, to: &PeerName) -> Option<&'static str> {
    (state == AskState::Held).then_some(if to.machine().is_some() { HELD_THERE } else { HELD })
}

fn render_asked(asked: AcceptedAsk, context: &Context) -> (Rendered, Notes) {
    let AcceptedAsk { ask_id, kind, to, state, cwd, status, waiting_for } = asked;
    let held = held(state, &to);
    let waits = (status == Activity::Waiting).then_some(WAITS_FOR_USER);
    // Of a tell nothing comes back but its failure.
    let not_woken = not_woken(context.wakes_by).filter(|_| kind == AskKind::Ask);
    let rendered = Rendered::Asked {
        id: MessageId::of(ask_id, kind),
        to,
        cwd: cwd.as_deref().map(neutralise::line),
        state: ask_state(state),
        status,
        waiting_for: waiting_for.as_deref().map(neutralise::line),
        deadline_seconds: context.timeout_s,
    };
    (rendered, [held, waits, not_woken].into_iter().flatten().collect())
}

fn render_replied(replied: &SentReply) -> (Rendered, Notes) {
    let to = neutralise::line(&replied.to);
    let state = if replied.taken { "accepted" } else { "pending" };
    let notes = (!replied.taken).then_some(PENDING).into_iter().collect();
    (Rendered::Replied { ask_id: replied.ask_id, to, state }, notes)
}

fn render_broadcast(broadcast: AcceptedBroadcast, context: &Context) -> (Rendered, Notes) {
    let AcceptedBroadcast { broadcast_id, asks, mut refused } = broadcast;
    refused.iter_mut().for_each(|refused| refused.to = neutralise::line(&refused.to));
    let notes = if asks.is_empty() && refused.is_empty() {
        vec![NOBODY]
    } else {
        let held = asks.iter().find_map(|asked| held(asked.state, &asked.to));
        [held, not_woken(context.wakes_by)].into_iter().flatten().collect()
    };
    let ask = |asked: BroadcastAsk| RenderedAsk { to: asked.to, ask_id: asked.ask_id, state: ask_state(asked.state) };
    let asks = asks.into_iter().map(ask).collect();
    (Rendered::Broadcasted { broadcast_id, asks, refused, deadline_seconds: context.timeout_s }, notes)
}

/// The finer states are for outcomes: at the time of the call they promise nothing more.
fn ask_state(state: AskState) -> &'static str {
    match state {
        AskState::Held => "held",
        AskState::Accepted | AskState::HandedOver | AskState::Shown => "accepted",
    }
}

fn not_woken(wakes_by: Option<Wake>) -> Option<&'static str> {
    (wakes_by == Some(Wake::NextPrompt)).then_some(NOT_WOKEN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::meta::Meta;
    use crate::channel::notification::Message;
    use crate::client::{OpenReceivedView, OpenSentView};
    use crate::protocol::{ClientTag, ErrorCode, OpenAsks, Presence, SessionId};

    fn name(text: &str) -> PeerName {
        PeerName::parse(text).unwrap()
    }

    fn context(wakes_by: Wake, timeout_s: u64) -> Context {
        Context { wakes_by: Some(wakes_by), timeout_s, open: None }
    }

    fn rendered(answer: Result<CallAnswer, Refusal>) -> String {
        render(answer, context(Wake::Channel, 600), Batch::default())
    }

    fn asked(to: &str, state: AskState) -> AcceptedAsk {
        let cwd = Some("/srv/backend".to_owned());
        let (ask_id, kind, status) = (AskId::from_bits(1), AskKind::Ask, Activity::Idle);
        AcceptedAsk { ask_id, kind, to: name(to), state, cwd, status, waiting_for: None }
    }

    fn tag() -> ClientTag {
        SessionId { pid: 1, start: 1, thread: None }.tag()
    }

    #[test]
    fn peers_are_listed_with_what_tells_them_apart() {
        let peer = PeerView {
            name: name("backend"),
            pid: Some(4711),
            agent: "claude-code".to_owned(),
            client: Some("claude-code 2.1.330".to_owned()),
            presence: Presence {
                cwd: "/srv/back\u{202e}end".to_owned(),
                branch: Some("main".to_owned()),
                status: Activity::Waiting,
                waiting_for: Some("permission prompt".to_owned()),
                wakes_by: Wake::Channel,
            },
            status_s: 0,
            connected_s: 12,
            open_asks: OpenAsks { sent: 0, received: 1 },
            machine: None,
            reachable: None,
            tag: None,
        };
        let answer = Peers { you: Some(name("web")), peers: vec![peer], settling: false, machines: Vec::new() };
        let settling = Peers { peers: Vec::new(), settling: true, ..answer.clone() };
        insta::assert_snapshot!(rendered(Ok(CallAnswer::Peers(settling))), @r#"{"you":"web","peers":[],"settling":true,"note":"the hub has just started: sessions that are not back yet may appear within two seconds"}"#);
        insta::assert_snapshot!(rendered(Ok(CallAnswer::Peers(answer))), @r#"{"you":"web","peers":[{"name":"backend","pid":4711,"agent":"claude-code","client":"claude-code 2.1.330","cwd":"/srv/backend","branch":"main","status":"waiting","waiting_for":"permission prompt","wakes_by":"channel","status_s":0,"connected_s":12,"open_asks":{"sent":0,"received":1}}]}"#);
    }

    #[test]
    fn open_asks_are_listed_with_the_peers_and_neutralised() {
        let open = {
            let (ask_id, left_s) = (AskId::from_bits(1), 9);
            let question = Some("<channel source=\"x\">".to_owned());
            let received = OpenReceivedView { ask_id, from: "web".to_owned(), question, left_s };
            let sent = |id| OpenSentView { id, to: "api".to_owned(), state: AskState::Shown, left_s };
            let sent = [MessageId::AskId(ask_id), MessageId::TellId(ask_id)].map(sent).to_vec();
            OpenAsksView { received: vec![received], sent }
        };
        let answer =
            Ok(CallAnswer::Peers(Peers { you: None, peers: Vec::new(), settling: false, machines: Vec::new() }));
        let result = render(answer, Context { open: Some(open), ..Context::default() }, Batch::default());
        insta::assert_snapshot!(result, @r#"{"you":null,"peers":[],"open":{"received":[{"ask_id":"0000-0000-0001","from":"web","question":"&lt;channel source=\"x\">","left_s":9}],"sent":[{"ask_id":"0000-0000-0001","to":"api","state":"shown","left_s":9},{"tell_id":"0000-0000-0001","to":"api","state":"shown","left_s":9}]}}"#);
    }

    #[test]
    fn ask_is_accepted_or_held() {
        insta::assert_snapshot!(rendered(Ok(CallAnswer::Asked(asked("backend", AskState::Shown)))), @r#"{"ask_id":"0000-0000-0001","to":"backend","cwd":"/srv/backend","state":"accepted","status":"idle","deadline_seconds":600}"#);
        insta::assert_snapshot!(rendered(Ok(CallAnswer::Asked(asked("backend", AskState::Held)))), @r#"{"ask_id":"0000-0000-0001","to":"backend","cwd":"/srv/backend","state":"held","status":"idle","deadline_seconds":600,"note":"held: nothing can wake that session now; it sees this at its next prompt if the plugin's hooks run there, else at its next relay tool call. Tell your user so; to have it seen at once, type 'check relay' there"}"#);
    }

    #[test]
    fn tell_has_an_id_of_its_own_and_promises_no_answer() {
        let told = AcceptedAsk { kind: AskKind::Tell, ..asked("backend", AskState::Held) };
        let result = render(Ok(CallAnswer::Asked(told)), context(Wake::NextPrompt, 600), Batch::default());
        insta::assert_snapshot!(result, @r#"{"tell_id":"0000-0000-0001","to":"backend","cwd":"/srv/backend","state":"held","status":"idle","deadline_seconds":600,"note":"held: nothing can wake that session now; it sees this at its next prompt if the plugin's hooks run there, else at its next relay tool call. Tell your user so; to have it seen at once, type 'check relay' there"}"#);
    }

    #[test]
    fn ask_of_a_session_at_a_dialog_says_so() {
        let waiting_for = Some("permission prompt".to_owned());
        let asked = AcceptedAsk { status: Activity::Waiting, waiting_for, ..asked("backend", AskState::Accepted) };
        insta::assert_snapshot!(rendered(Ok(CallAnswer::Asked(asked))), @r#"{"ask_id":"0000-0000-0001","to":"backend","cwd":"/srv/backend","state":"accepted","status":"waiting","waiting_for":"permission prompt","deadline_seconds":600,"note":"that session stands at a dialog and goes on only when its own user has decided: tell your user so"}"#);
    }

    #[test]
    fn session_that_nothing_wakes_is_told_where_its_answers_come() {
        let answer = Ok(CallAnswer::Asked(asked("b", AskState::Accepted)));
        let result = render(answer, context(Wake::NextPrompt, 5), Batch::default());
        assert!(result.contains("a later relay tool call"), "{result}");
    }

    #[test]
    fn reply_is_taken_or_kept() {
        let replied = |taken| SentReply { ask_id: AskId::from_bits(1), to: "shell".to_owned(), taken };
        insta::assert_snapshot!(rendered(Ok(CallAnswer::Replied(replied(true)))), @r#"{"ask_id":"0000-0000-0001","to":"shell","state":"accepted"}"#);
        insta::assert_snapshot!(rendered(Ok(CallAnswer::Replied(replied(false)))), @r#"{"ask_id":"0000-0000-0001","to":"shell","state":"pending","note":"the asker has not taken the reply yet; it is kept and delivered, or you are told that it failed"}"#);
    }

    #[test]
    fn broadcast_lists_whom_it_asked_and_who_refused() {
        let busy = Refusal::new(ErrorCode::PeerBusy, "it has 1024 open asks", "ask later");
        let (ask_id, state) = (AskId::from_bits(1), AskState::HandedOver);
        let broadcast = AcceptedBroadcast {
            broadcast_id: BroadcastId::from_bits(2),
            asks: vec![BroadcastAsk { to: name("backend"), ask_id, tag: tag(), state }],
            refused: vec![BroadcastRefusal { to: "docs".to_owned(), error: busy }],
        };
        insta::assert_snapshot!(rendered(Ok(CallAnswer::Broadcasted(broadcast))), @r#"{"broadcast_id":"0000-0000-0002","asks":[{"to":"backend","ask_id":"0000-0000-0001","state":"accepted"}],"refused":[{"to":"docs","error":{"code":"peer_busy","message":"it has 1024 open asks","next":"ask later"}}],"deadline_seconds":600}"#);
        let nobody = AcceptedBroadcast { broadcast_id: BroadcastId::from_bits(2), asks: vec![], refused: vec![] };
        insta::assert_snapshot!(rendered(Ok(CallAnswer::Broadcasted(nobody))), @r#"{"broadcast_id":"0000-0000-0002","asks":[],"refused":[],"deadline_seconds":600,"note":"nobody was asked: no other session is there, or none in that folder"}"#);
    }

    #[test]
    fn refusal_says_what_to_do_and_carries_messages_too() {
        let refusal = Refusal::new(ErrorCode::HubUnreachable, "no hub answers", "relayctl doctor --fix");
        let mut meta = Meta::default();
        meta.insert("kind", "reply".to_owned());
        let message = Message { content: "hi".to_owned(), meta };
        let batch = Batch { messages: vec![message], left: 2 };
        insta::assert_snapshot!(render(Err(refusal), context(Wake::NextPrompt, 0), batch), @r##"{"error":{"code":"hub_unreachable","message":"no hub answers","next":"relayctl doctor --fix"},"messages":["<relay-message kind=\"reply\">\nhi\n</relay-message>"],"messages_left":2,"note":"more messages wait: call relay_peers to see them"}"##);
        insta::assert_snapshot!(rendered(Ok(CallAnswer::Renamed(name("api")))), @r##"{"name":"api"}"##);
    }
}
