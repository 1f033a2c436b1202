use super::*;
use crate::bridge::frame::{AskStatus, LinkOutcome, Over, Status};
use crate::bridge::rights::Decision;
use crate::protocol::{
    Activity, AskKind, AskState, Asked, Chain, ClientKey, ClientMessage, ErrorCode, OwnAsk, PeerName, Presence,
    Refusal, RemoteSession, ReplyEvent, Request, Wake,
};

/// Lets nobody ask anything anew.
struct Nobody;

impl Policy for Nobody {
    fn decide(&self, _to: &str) -> Decision {
        Decision::Refuse(Refusal::new(ErrorCode::NotAllowed, "no", "ask its person"))
    }
}

fn tag(n: u8) -> ClientTag {
    ClientKey::from_bytes([n; 16]).tag()
}

fn sessions(number: u64, is_complete: bool, tags: &[u8]) -> Sessions {
    let session = |n: &u8| RemoteSession {
        id: tag(*n),
        name: PeerName::parse(&format!("s{n}")).unwrap(),
        agent: "test".to_owned(),
        client: None,
        presence: Presence {
            cwd: String::new(),
            branch: None,
            status: Activity::Idle,
            waiting_for: None,
            wakes_by: Wake::Channel,
        },
    };
    let sessions = tags.iter().map(session).collect();
    Sessions { number, hub: is_complete, settling: !is_complete, may: "ask".to_owned(), sessions }
}

fn welcome(sent: Vec<OwnAsk>) -> Welcome {
    Welcome { version: 1, name: None, hub: "1".to_owned(), hub_pid: 1, settling: false, sent, parked: None }
}

/// An exchange over a link that is up, whose machine has session 9 and has welcomed the other machine's shell.
fn linked(now: Instant, may_answer: bool) -> Exchange {
    let mut exchange = Exchange::new(MachineName::parse("desk").unwrap());
    exchange.handle_link_up(now);
    exchange.handle_sessions(now, sessions(0, true, &[9]), may_answer);
    exchange.handle_welcome(now, None, welcome(Vec::new()));
    exchange
}

fn hear(exchange: &mut Exchange, now: Instant, message: LinkMessage) -> Vec<Effect> {
    exchange.handle_message(now, message, &Nobody);
    std::iter::from_fn(|| exchange.poll_effect()).collect()
}

#[test]
fn outcome_of_an_ask_that_is_not_known_is_closed_only_when_all_sessions_are() {
    let now = Instant::now();
    let mut exchange = linked(now, true);
    let ask_id = AskId::from_bits(1);
    let outcome = || LinkMessage::Outcome(LinkOutcome { ask_id, over: Over::Taken });
    let closed = Effect::Say(LinkMessage::Closed(LinkClosed { ask_id }));
    hear(&mut exchange, now, LinkMessage::Sessions(sessions(1, false, &[])));
    assert!(!hear(&mut exchange, now, outcome()).contains(&closed), "its session may be missing in the list");
    hear(&mut exchange, now, LinkMessage::Sessions(sessions(2, true, &[1])));
    assert!(!hear(&mut exchange, now, outcome()).contains(&closed), "the hub has not said what its session has open");
    exchange.handle_welcome(now, Some(tag(1)), welcome(Vec::new()));
    assert!(hear(&mut exchange, now, outcome()).contains(&closed));
}

#[test]
fn ask_that_the_hub_has_open_already_is_not_judged_anew() {
    let now = Instant::now();
    let mut exchange = linked(now, true);
    let (ask_id, timeout_ms, kind) = (AskId::from_bits(1), 60_000, AskKind::Ask);
    let ask = LinkAsk {
        ask_id,
        kind,
        from: Some(tag(1)),
        to: tag(9),
        text: "?".to_owned(),
        timeout_ms,
        broadcast_id: None,
        chain: Chain::default(),
    };
    let is_refused = |effects: &[Effect]| {
        effects.iter().any(|effect| match effect {
            Effect::Say(LinkMessage::Status(status)) => matches!(status.status, Status::Refused { .. }),
            Effect::Say(_) | Effect::Connect(..) | Effect::Tell(..) | Effect::Leave(_) => false,
        })
    };
    hear(&mut exchange, now, LinkMessage::Sessions(sessions(1, true, &[1])));
    assert!(!is_refused(&hear(&mut exchange, now, LinkMessage::Ask(Box::new(ask.clone())))), "no hub has welcomed it");
    let to = PeerName::parse("s9").unwrap();
    let own = OwnAsk { ask_id, to, tag: tag(9), state: AskState::Shown, timeout_ms, broadcast_id: None, kind };
    exchange.handle_welcome(now, Some(tag(1)), welcome(vec![own]));
    assert!(!is_refused(&hear(&mut exchange, now, LinkMessage::Ask(Box::new(ask)))));
}

#[test]
fn asker_is_known_by_its_tag_and_the_shell_where_the_machine_may_answer() {
    let now = Instant::now();
    let goes_out = |may_answer: bool, from: &str, from_tag: Option<ClientTag>| {
        let mut exchange = linked(now, may_answer);
        hear(&mut exchange, now, LinkMessage::Sessions(sessions(1, true, &[1])));
        exchange.handle_welcome(now, Some(tag(1)), welcome(Vec::new()));
        let asked = Asked {
            ask_id: AskId::from_bits(1),
            from: from.to_owned(),
            question: "?".to_owned(),
            timeout_ms: 60_000,
            broadcast_id: None,
            from_tag,
            chain: Chain::default(),
        };
        exchange.handle_hub(now, Some(tag(1)), HubMessage::Event(Event::Asked(asked)));
        let effects: Vec<Effect> = std::iter::from_fn(|| exchange.poll_effect()).collect();
        let is_said = effects.iter().any(|effect| matches!(effect, Effect::Say(LinkMessage::Ask(_))));
        let decline = |effect: &Effect| matches!(effect, Effect::Tell(_, ClientMessage::Notice(Notice::Decline(_))));
        assert_eq!(is_said, !effects.iter().any(decline));
        is_said
    };
    assert!(goes_out(true, "another-name-by-now", Some(tag(9))));
    assert!(!goes_out(true, "hidden", Some(tag(8))));
    assert!(!goes_out(true, "without-a-tag", None), "a session is not the shell");
    assert!(goes_out(true, SHELL, None));
    assert!(!goes_out(false, SHELL, None), "who may do nothing cannot answer");
}

#[test]
fn reply_whose_hub_is_lost_is_unconfirmed_on_both_sides() {
    let now = Instant::now();
    let ask_id = AskId::from_bits(1);
    let outcome = LinkMessage::Outcome(LinkOutcome { ask_id, over: Over::Unconfirmed });

    let mut askers = linked(now, true);
    hear(&mut askers, now, LinkMessage::Sessions(sessions(1, true, &[1])));
    askers.handle_welcome(now, Some(tag(1)), welcome(Vec::new()));
    let status = Status::Reply { text: "yes".to_owned() };
    let replied = LinkMessage::Status(Box::new(AskStatus { ask_id, by: tag(1), name: None, status }));
    let request = |effect| {
        if let Effect::Tell(_, ClientMessage::Request(id, Request::Reply(_))) = effect { Some(id) } else { None }
    };
    let given = hear(&mut askers, now, replied).into_iter().find_map(request);
    let unknown = Refusal::new(ErrorCode::Unconfirmed, "this hub knows nothing of it", "say so");
    askers.handle_hub(now, Some(tag(1)), HubMessage::Answer(given.unwrap(), Answer::Error(unknown)));
    assert!(std::iter::from_fn(|| askers.poll_effect()).any(|effect| effect == Effect::Say(outcome.clone())));

    let mut repliers = linked(now, true);
    hear(&mut repliers, now, LinkMessage::Sessions(sessions(1, true, &[1])));
    let to = PeerName::parse("s9").unwrap();
    let (state, kind) = (AskState::Shown, AskKind::Ask);
    let own = OwnAsk { ask_id, to, tag: tag(9), state, timeout_ms: 60_000, broadcast_id: None, kind };
    repliers.handle_welcome(now, Some(tag(1)), welcome(vec![own.clone()]));
    let is_told = |effect: &Effect| {
        matches!(effect, Effect::Tell(_, ClientMessage::Notice(Notice::Decline(decline)))
            if decline.error.code == ErrorCode::Unconfirmed)
    };
    assert!(hear(&mut repliers, now, outcome).iter().any(is_told));

    // Of a machine that is removed nothing more is heard.
    let mut removed = linked(now, true);
    hear(&mut removed, now, LinkMessage::Sessions(sessions(1, true, &[1])));
    removed.handle_welcome(now, Some(tag(1)), welcome(vec![own]));
    let reply = ReplyEvent { ask_id, from: PeerName::parse("s9").unwrap(), by: tag(9), text: "yes".to_owned() };
    removed.handle_hub(now, Some(tag(1)), HubMessage::Event(Event::Reply(reply)));
    removed.revoke(now);
    assert!(std::iter::from_fn(|| removed.poll_effect()).any(|effect| is_told(&effect)));
}
