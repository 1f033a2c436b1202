//! What those see who look at the traffic or at the hub itself.

use std::time::Duration;

use relay::hub::limits::WATCHERS_MAX;
use relay::hub::{GONE_WAIT, Input, Limits, Standing};
use relay::protocol::{
    Activity, AskOutcome, AskState, ClientMessage, ErrorCode, HubMessage, Presence, StatusAnswer, Wake, WatchedEvent,
};

use crate::support::hub::{Actor, Stage, ask, id, progress};

const NONE: [&str; 0] = [];

/// Returns what a watcher has seen since it was asked last.
fn seen(stage: &mut Stage, watcher: Actor) -> Vec<String> {
    let line = |event: WatchedEvent| match event {
        WatchedEvent::PeerCame { peer } => format!("{} came", peer.name),
        WatchedEvent::PeerLeft { name } => format!("{name} left"),
        WatchedEvent::PeerRenamed { former, name } => format!("{former} is {name}"),
        WatchedEvent::PeerChanged { name, presence } => format!("{name} is {:?}", presence.status),
        WatchedEvent::AskOpened(ask) => format!("{} asks {}: {:?}", ask.from, ask.to, ask.question),
        WatchedEvent::AskAdvanced { from, to, state, .. } => format!("{from} to {to}: {state:?}"),
        WatchedEvent::AskRefused { from, to, code } => format!("{from} to {to}: {code}"),
        WatchedEvent::AskEnded { from, to, outcome, latency_ms, reply, .. } => {
            format!("{from} to {to}: {outcome:?} after {latency_ms} ms: {reply:?}")
        }
    };
    let events = stage.messages(watcher.conn).into_iter().map(|message| match message {
        HubMessage::Watched(event) => line(event),
        other => format!("{other:?}"),
    });
    events.collect()
}

fn status(stage: &mut Stage, tool: Actor) -> StatusAnswer {
    stage.hush();
    stage.say(tool.conn, ClientMessage::Status { id: 5 });
    match stage.messages(tool.conn).pop() {
        Some(HubMessage::Status(status)) => status,
        other => panic!("no status: {other:?}"),
    }
}

#[test]
fn so_many_may_watch_and_no_more_until_one_leaves() {
    let mut stage = Stage::new();
    let watchers: Vec<Actor> = (0..WATCHERS_MAX).map(|_| stage.tool()).collect();
    let late = stage.tool();
    let watch = ClientMessage::Watch { id: 2, text: true };
    watchers.iter().for_each(|watcher| stage.say(watcher.conn, watch.clone()));
    stage.hush();
    stage.say(watchers[0].conn, watch.clone());
    stage.say(late.conn, watch.clone());
    assert!(matches!(stage.messages(watchers[0].conn)[..], [HubMessage::Watching(_)]));
    let refused = stage.messages(late.conn).pop();
    let Some(HubMessage::Error { error, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!((error.code, error.message.contains("the limit is 32")), (ErrorCode::RateLimited, true), "{error:?}");
    assert_eq!(status(&mut stage, late).refused.get("watchers"), Some(&1));
    stage.say(watchers[1].conn, ClientMessage::Bye {});
    stage.hush();
    stage.say(late.conn, watch);
    assert!(matches!(stage.messages(late.conn)[..], [HubMessage::Watching(_)]));
}

#[test]
fn a_watcher_hears_of_everything_and_of_texts_only_if_it_wants_them() {
    let mut stage = Stage::new();
    let (tool, curious) = (stage.tool(), stage.tool());
    stage.hush();
    stage.say(tool.conn, ClientMessage::Watch { id: 2, text: false });
    stage.say(curious.conn, ClientMessage::Watch { id: 2, text: true });
    stage.hush();
    let (web, api) = (stage.session("/w/web"), stage.session("/w/api"));
    stage.ask(web, 1, "api", "ready?");
    for state in [AskState::HandedOver, AskState::Shown, AskState::Shown, AskState::HandedOver] {
        stage.say(api.conn, progress(1, state, None));
    }
    stage.pass(Duration::from_millis(500));
    stage.reply(api, id(1), "yes");
    stage.taken(web, id(1), api);
    for status in [Activity::Busy, Activity::Busy, Activity::Idle] {
        stage.say(web.conn, ClientMessage::Presence(Presence { status, wakes_by: Wake::Channel }));
    }
    stage.say(web.conn, ClientMessage::Rename { id: 3, name: "front".to_owned() });
    stage.say(web.conn, ClientMessage::Rename { id: 3, name: "front".to_owned() });
    stage.ask(api, 2, "front", "and you?");
    stage.say(api.conn, ClientMessage::Withdraw { ask_id: id(2) });
    stage.ask(web, 3, "api", "there?");
    stage.say(api.conn, ClientMessage::Bye {});
    stage.say(web.conn, ask(4, "api", "there?", 1));
    let all = |question: &str, reply: &str| {
        [
            "web came".to_owned(),
            "api came".to_owned(),
            format!("web asks api: {}", question.replace('_', "ready?")),
            "web to api: HandedOver".to_owned(),
            "web to api: Shown".to_owned(),
            format!("web to api: Reply after 500 ms: {reply}"),
            "web is Busy".to_owned(),
            "web is Idle".to_owned(),
            "web is front".to_owned(),
            format!("api asks front: {}", question.replace('_', "and you?")),
            "api to front: Withdrawn after 0 ms: None".to_owned(),
            format!("front asks api: {}", question.replace('_', "there?")),
            "front to api: PeerGone after 0 ms: None".to_owned(),
            "api left".to_owned(),
        ]
    };
    assert_eq!(seen(&mut stage, tool), all("None", "None"));
    assert_eq!(seen(&mut stage, curious), all("Some(\"_\")", "Some(\"yes\")"));

    stage.tell(Input::Disconnected { conn: curious.conn });
    stage.session("/w/db");
    assert_eq!((seen(&mut stage, tool), seen(&mut stage, curious)), (vec!["db came".to_owned()], vec![]));
}

#[test]
fn a_watcher_begins_with_who_is_there_and_what_is_open_and_is_no_session() {
    let mut stage = Stage::new();
    let (web, api, tool) = (stage.session("/w/web"), stage.session("/w/api"), stage.tool());
    for (n, asker, to) in [(9, web, "api"), (2, api, "web"), (5, web, "api")] {
        stage.ask(asker, n, to, "ready?");
    }
    stage.pass(Duration::from_secs(1));
    stage.hush();
    stage.say(tool.conn, ClientMessage::Watch { id: 2, text: true });
    let Some(HubMessage::Watching(answer)) = stage.messages(tool.conn).pop() else { panic!("not watching") };
    assert_eq!(answer.peers.iter().map(|peer| peer.name.as_str()).collect::<Vec<_>>(), ["api", "web"]);
    assert_eq!(answer.asks.iter().map(|ask| ask.ask_id).collect::<Vec<_>>(), [id(9), id(2), id(5)], "as accepted");
    let first = &answer.asks[0];
    assert_eq!((first.from.as_str(), first.to.as_str(), first.age_ms, first.timeout_ms), ("web", "api", 1000, 59_000));
    assert_eq!(first.question, None, "what was said before it came is not for it");
    stage.say(web.conn, ClientMessage::Watch { id: 2, text: false });
    assert_eq!(stage.heard(web), ["refused: not_registered"]);
    stage.session("/w/db");
    assert_eq!(stage.heard(web), NONE);
}

#[test]
fn every_outcome_has_its_word() {
    let mut stage = Stage::new();
    let (web, api, tool) = (stage.session("/w/web"), stage.session("/w/api"), stage.tool());
    stage.say(tool.conn, ClientMessage::Watch { id: 2, text: false });
    stage.hush();
    stage.say(web.conn, ask(1, "api", "ready?", 1000));
    stage.pass(Duration::from_secs(1));
    stage.ask(web, 2, "api", "ready?");
    stage.say(api.conn, ClientMessage::Bye {});
    let ended = stage.messages(tool.conn).into_iter().filter_map(|message| match message {
        HubMessage::Watched(WatchedEvent::AskEnded { outcome, .. }) => Some(outcome),
        _ => None,
    });
    assert_eq!(ended.collect::<Vec<_>>(), [AskOutcome::Timeout, AskOutcome::PeerGone]);
}

#[test]
fn the_status_says_how_the_hub_stands_and_which_limits_were_reached() {
    let mut stage = Stage::with_limits(Limits { open_asks: 1, ..Limits::default() });
    let (web, _api, tool) = (stage.session("/w/web"), stage.session("/w/api"), stage.tool());
    let plain = status(&mut stage, tool);
    assert_eq!((plain.connections, plain.peers, plain.open_asks), (3, 2, 0));
    assert_eq!((plain.activated, plain.replaced, plain.settling), (false, false, false));
    assert!(plain.refused.is_empty(), "{:?}", plain.refused);
    assert_eq!(stage.hub.headline().to_string(), "2 peers, 0 open asks");

    stage.hub.set_standing(Standing { activated: true, replaced: true });
    stage.hub.count_slow_reader();
    stage.ask(web, 1, "api", "ready?");
    stage.ask(web, 2, "api", "ready?");
    stage.ask(web, 3, "api", "ready?");
    stage.pass(Duration::from_secs(1));
    let later = status(&mut stage, tool);
    assert_eq!((later.activated, later.replaced, later.open_asks), (true, true, 1));
    assert_eq!(later.uptime_s, plain.uptime_s + 1);
    let refused: Vec<_> = later.refused.iter().map(|(limit, n)| (limit.as_str(), *n)).collect();
    assert_eq!(refused, [("open_asks", 2), ("queued_bytes", 1)]);
    assert_eq!(stage.hub.headline().to_string(), "2 peers, 1 open ask");
}

#[test]
fn only_who_has_said_hello_may_send_a_large_frame() {
    let mut stage = Stage::new();
    let conn = stage.connect();
    assert!(!stage.hub.has_greeted(conn));
    let web = stage.session("/w/web");
    assert!(stage.hub.has_greeted(web.conn) && !stage.hub.has_greeted(conn));
}

#[test]
fn what_a_client_says_of_itself_is_cut_to_what_people_read() {
    let mut stage = Stage::new();
    let (web, long) = (stage.session("/w/we\nb"), stage.session(&format!("/w/{}", "x".repeat(1022))));
    stage.hush();
    stage.say(web.conn, ClientMessage::Peers { id: 3 });
    stage.say(long.conn, ClientMessage::Peers { id: 3 });
    let mut folder = |of: Actor| match stage.messages(of.conn).pop() {
        Some(HubMessage::Peers(answer)) => answer.peers[0].cwd.clone(),
        other => panic!("no list: {other:?}"),
    };
    assert_eq!((folder(web).len(), folder(long)), (256, "/w/web".to_owned()));
    let mut stage = Stage::new();
    let web = stage.session("/w/web");
    stage.session(&format!("/w/{}", "x".repeat(1021)));
    stage.hush();
    stage.say(web.conn, ClientMessage::Peers { id: 3 });
    let Some(HubMessage::Peers(answer)) = stage.messages(web.conn).pop() else { panic!("no list") };
    assert_eq!(answer.peers[0].cwd.len(), 1024, "so much is kept");
}

#[test]
fn nothing_is_left_of_a_watcher() {
    let mut stage = Stage::new();
    for leaves in [true, false] {
        let tool = stage.tool();
        stage.say(tool.conn, ClientMessage::Watch { id: 2, text: true });
        if leaves {
            stage.say(tool.conn, ClientMessage::Bye {});
        } else {
            stage.tell(Input::Disconnected { conn: tool.conn });
        }
        stage.pass(GONE_WAIT);
        assert!(stage.hub.is_quiet(), "{:?}", stage.hub);
    }
}
