//! Every word of ours that a model is shown, on one page, so that a change of them is read as a whole. The words of
//! refusals are in `refusals`.

use relay::channel::inbox::Batch;
use relay::channel::instructions::instructions;
use relay::channel::notification::{self, Message};
use relay::channel::tools::result::{Context, render};
use relay::channel::{envelope, tools};
use relay::client::{AcceptedAsk, AcceptedBroadcast, CallAnswer, End, Outcome, SentReply, Tally};
use relay::protocol::{
    Activity, AskId, AskKind, AskState, Asked, BroadcastId, Chain, ErrorCode, PeerName, Peers, Refusal, Told, Wake,
};

fn ask() -> Message {
    let asked = Asked {
        ask_id: AskId::from_bits(1),
        from: "web".to_owned(),
        question: "Is the build green?".to_owned(),
        timeout_ms: 600_000,
        broadcast_id: None,
        from_tag: None,
        chain: Chain::default(),
    };
    notification::ask(&asked, "relay_reply")
}

fn tell() -> Message {
    let (from, text) = ("web".to_owned(), "The port is 8081 now.".to_owned());
    notification::tell(&Told {
        tell_id: AskId::from_bits(3),
        from,
        text,
        timeout_ms: 600_000,
        from_tag: None,
        chain: Chain::default(),
    })
}

fn name(text: &str) -> PeerName {
    PeerName::parse(text).unwrap()
}

fn tool_words() -> String {
    let mut words = String::new();
    for tool in tools::definitions() {
        words.push_str(&format!("{}: {}\n", tool.name, tool.description.as_deref().unwrap()));
        for (argument, schema) in tool.input_schema["properties"].as_object().unwrap() {
            words.push_str(&format!("  {argument}: {}\n", schema["description"].as_str().unwrap()));
        }
    }
    words
}

fn messages() -> Vec<Message> {
    let of = |kind, end| {
        let ask_id = AskId::from_bits(1);
        notification::outcome(&Outcome { ask_id, kind, to: name("backend"), broadcast_id: None, end }).unwrap()
    };
    let failed = |kind, code, state| {
        let waiting_for = (state == AskState::HandedOver).then(|| "permission prompt".to_owned());
        of(kind, End::Failed { code, state, waiting_for, unreachable_s: None })
    };
    let outcome = |code, state| failed(AskKind::Ask, code, state);
    let reply = of(AskKind::Ask, End::Reply { from: name("backend"), text: "Yes.".to_owned() });
    let tally =
        Tally { broadcast_id: BroadcastId::from_bits(2), asked: 5, replied: 2, timed_out: 1, gone: 1, refused: 1 };
    let refusal = Refusal::new(ErrorCode::UnknownAsk, "the ask has ended", "nothing");
    let mut long = ask();
    envelope::cut(&mut long, 8);
    vec![
        ask(),
        reply,
        outcome(ErrorCode::Timeout, AskState::Accepted),
        outcome(ErrorCode::Timeout, AskState::Held),
        outcome(ErrorCode::Timeout, AskState::HandedOver),
        outcome(ErrorCode::PeerGone, AskState::Shown),
        tell(),
        failed(AskKind::Tell, ErrorCode::Timeout, AskState::HandedOver),
        failed(AskKind::Tell, ErrorCode::PeerGone, AskState::Accepted),
        notification::tally(&tally),
        notification::reply_failed(AskId::from_bits(1), "web", &refusal),
        notification::text_dropped(&ask()),
        notification::overflow(3),
        long,
    ]
}

fn results() -> String {
    let asked = |state, status, waiting_for: Option<&str>| {
        CallAnswer::Asked(AcceptedAsk {
            ask_id: AskId::from_bits(1),
            kind: AskKind::Ask,
            to: name("backend"),
            state,
            cwd: Some("/w/backend".to_owned()),
            status,
            waiting_for: waiting_for.map(str::to_owned),
        })
    };
    let replied = SentReply { ask_id: AskId::from_bits(1), to: "web".to_owned(), taken: false };
    let nobody = AcceptedBroadcast { broadcast_id: BroadcastId::from_bits(2), asks: vec![], refused: vec![] };
    let grace = Peers { you: Some(name("web")), peers: vec![], settling: true, machines: Vec::new() };
    [
        (asked(AskState::Accepted, Activity::Idle, None), Wake::Waiter),
        (asked(AskState::Accepted, Activity::Waiting, Some("permission prompt")), Wake::Waiter),
        (asked(AskState::Held, Activity::Unknown, None), Wake::NextPrompt),
        (CallAnswer::Replied(replied), Wake::Waiter),
        (CallAnswer::Broadcasted(nobody), Wake::Waiter),
        (CallAnswer::Peers(grace), Wake::Waiter),
    ]
    .map(|(answer, wakes_by)| {
        let context = Context { wakes_by: Some(wakes_by), timeout_s: 600, open: None };
        render(Ok(answer), context, Batch::default())
    })
    .join("\n")
}

#[test]
fn all_words_that_a_model_is_shown() {
    let page =
        [instructions(""), tool_words(), envelope::wrap_all(messages().iter(), 2), results()].join("\n\n----\n\n");
    insta::assert_snapshot!(page);
}

/// A model that is woken by a message may have been shown no instructions: what it must know stands in what it is shown.
#[test]
fn an_ask_alone_says_how_to_answer_and_that_a_peer_is_not_the_user() {
    let line = ask().content.lines().last().unwrap().to_owned();
    for word in
        ["\"web\"", "not typed by your user", "no permission", "ask your own user", "relay_reply", "0000-0000-0001"]
    {
        assert!(line.contains(word), "{word}: {line}");
    }
}

/// A tell as well: nothing that a model does about it comes back to its sender.
#[test]
fn a_tell_alone_says_that_it_takes_no_answer_and_that_a_peer_is_not_the_user() {
    let line = tell().content.lines().last().unwrap().to_owned();
    for word in ["\"web\"", "not typed by your user", "no permission", "ask your own user", "No answer is wanted"] {
        assert!(line.contains(word), "{word}: {line}");
    }
    assert!(!line.contains("relay_reply"), "{line}");
}

/// What users say leads to one tool by its description alone.
#[test]
fn each_way_to_say_it_stands_in_the_description_of_one_tool() {
    for (said, tool) in [
        ("ask everyone", tools::BROADCAST),
        ("does anybody", tools::BROADCAST),
        ("ask backend", tools::ASK),
        ("tell frontend", tools::TELL),
        ("let docs know", tools::TELL),
        ("call yourself", tools::RENAME),
        ("what sessions are active?", tools::PEERS),
        ("who else", tools::PEERS),
        ("check relay", tools::PEERS),
        ("question that another session asked this one", tools::REPLY),
    ] {
        let named: Vec<String> = tools::definitions()
            .into_iter()
            .filter(|tool| tool.description.as_deref().unwrap().contains(said))
            .map(|tool| tool.name.into_owned())
            .collect();
        assert_eq!(named, [tool], "{said}");
    }
}
