//! What those see who look at the traffic or at the hub itself.

use std::time::Duration;

use relay::hub::limits::WATCHERS_MAX;
use relay::hub::{GONE_WAIT, Limits, ProgramStatus};
use relay::protocol::{
    Activity, Answer, AskOutcome, AskState, ClientMessage, ErrorCode, Event, HubMessage, Notice, Presence, Request,
    Status, Wake, Watched,
};

use crate::support::hub::{Actor, Stage, ask, id, peers, presence, progress, rename, watch, withdraw};

const NONE: [&str; 0] = [];

/// Returns what a watcher has seen since it was asked last.
fn seen(stage: &mut Stage, watcher: Actor) -> Vec<String> {
    let line = |event: Watched| match event {
        Watched::PeerCame { peer } => format!("{} came", peer.name),
        Watched::PeerLeft { name } => format!("{name} left"),
        Watched::PeerRenamed { former, name } => format!("{former} is {name}"),
        Watched::PeerChanged { name, presence } => format!("{name} is {:?}", presence.status),
        Watched::MachineChanged(machine) => format!("{} is reachable: {}", machine.name, machine.reachable),
        Watched::MachineLeft { name } => format!("{name} left"),
        Watched::AskOpened(ask) => format!("{} asks {}: {:?}", ask.from, ask.to, ask.question),
        Watched::AskAdvanced { from, to, state, .. } => format!("{from} to {to}: {state:?}"),
        Watched::AskRefused { from, to, code } => format!("{from} to {to}: {code}"),
        Watched::AskEnded { from, to, outcome, latency_ms, reply, .. } => {
            format!("{from} to {to}: {outcome:?} after {latency_ms} ms: {reply:?}")
        }
    };
    let events = stage.messages(watcher.conn).into_iter().map(|message| match message {
        HubMessage::Event(Event::Watched(event)) => line(*event),
        other => format!("{other:?}"),
    });
    events.collect()
}

fn status(stage: &mut Stage, tool: Actor) -> Box<Status> {
    stage.hush();
    stage.say(tool.conn, ClientMessage::Request(5, Request::Status));
    match stage.answers(tool.conn).pop() {
        Some(Answer::Status(status)) => status,
        other => panic!("no status: {other:?}"),
    }
}

#[test]
fn watchers_have_a_bound() {
    let mut stage = Stage::new();
    let watchers: Vec<Actor> = (0..WATCHERS_MAX).map(|_| stage.tool()).collect();
    let late = stage.tool();
    let watch = watch(true);
    watchers.iter().for_each(|watcher| stage.say(watcher.conn, watch.clone()));
    stage.hush();
    stage.say(watchers[0].conn, watch.clone());
    stage.say(late.conn, watch.clone());
    assert!(matches!(stage.answers(watchers[0].conn)[..], [Answer::Watching(_)]));
    let error = stage.refusal(late.conn);
    assert_eq!((error.code, error.message.contains("the limit is 32")), (ErrorCode::RateLimited, true), "{error:?}");
    assert_eq!(status(&mut stage, late).refused.get("watchers"), Some(&1));
    stage.bye(watchers[1]);
    stage.hush();
    stage.say(late.conn, watch);
    assert!(matches!(stage.answers(late.conn)[..], [Answer::Watching(_)]));
}

#[test]
fn watcher_is_told_everything_and_texts_only_if_it_wants_them() {
    let mut stage = Stage::new();
    let (tool, curious) = (stage.tool(), stage.tool());
    stage.hush();
    stage.say(tool.conn, watch(false));
    stage.say(curious.conn, watch(true));
    stage.hush();
    let (web, api) = (stage.session("/w/web"), stage.session("/w/api"));
    stage.ask(web, 1, "api", "ready?");
    for state in [AskState::HandedOver, AskState::Shown, AskState::Shown, AskState::HandedOver] {
        stage.say(api.conn, progress(1, state));
    }
    stage.pass(Duration::from_millis(500));
    stage.reply(api, id(1), "yes");
    stage.taken(web, id(1), api);
    for status in [Activity::Busy, Activity::Busy, Activity::Idle] {
        stage.say(web.conn, ClientMessage::Notice(Notice::Presence(presence("/w/web", status, Wake::Channel))));
    }
    stage.say(web.conn, rename("front"));
    stage.say(web.conn, rename("front"));
    stage.ask(api, 2, "front", "and you?");
    stage.say(api.conn, withdraw(2));
    stage.ask(web, 3, "api", "there?");
    stage.bye(api);
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

    stage.lose(curious);
    stage.session("/w/db");
    assert_eq!((seen(&mut stage, tool), seen(&mut stage, curious)), (vec!["db came".to_owned()], vec![]));
}

#[test]
fn watcher_begins_with_who_is_there_and_what_is_open() {
    let mut stage = Stage::new();
    let (web, api, tool) = (stage.session("/w/web"), stage.session("/w/api"), stage.tool());
    for (n, asker, to) in [(9, web, "api"), (2, api, "web"), (5, web, "api")] {
        stage.ask(asker, n, to, "ready?");
    }
    stage.pass(Duration::from_secs(1));
    stage.hush();
    stage.say(tool.conn, watch(true));
    let Some(Answer::Watching(answer)) = stage.answers(tool.conn).pop() else { panic!("not watching") };
    assert_eq!(answer.peers.iter().map(|peer| peer.name.as_str()).collect::<Vec<_>>(), ["api", "web"]);
    assert_eq!(answer.asks.iter().map(|ask| ask.ask_id).collect::<Vec<_>>(), [id(9), id(2), id(5)], "as accepted");
    let first = &answer.asks[0];
    assert_eq!((first.from.as_str(), first.to.as_str(), first.age_ms, first.timeout_ms), ("web", "api", 1000, 59_000));
    assert_eq!(first.question, None, "what was said before it came is not for it");
    stage.say(web.conn, watch(false));
    assert_eq!(stage.heard(web), ["refused: not_registered"]);
    stage.session("/w/db");
    assert_eq!(stage.heard(web), NONE);
}

#[test]
fn watcher_is_told_each_outcome() {
    let mut stage = Stage::new();
    let (web, api, tool) = (stage.session("/w/web"), stage.session("/w/api"), stage.tool());
    stage.say(tool.conn, watch(false));
    stage.hush();
    stage.say(web.conn, ask(1, "api", "ready?", 1000));
    stage.pass(Duration::from_secs(1));
    stage.ask(web, 2, "api", "ready?");
    stage.bye(api);
    let ended = stage.messages(tool.conn).into_iter().filter_map(|message| match message {
        HubMessage::Event(Event::Watched(event)) => match *event {
            Watched::AskEnded { outcome, .. } => Some(outcome),
            _ => None,
        },
        _ => None,
    });
    assert_eq!(ended.collect::<Vec<_>>(), [AskOutcome::Timeout, AskOutcome::PeerGone]);
}

#[test]
fn status_tells_of_the_program_and_of_limits_that_were_reached() {
    let mut stage = Stage::with_limits(Limits { open_asks: 1, ..Limits::default() });
    let (web, _api, tool) = (stage.session("/w/web"), stage.session("/w/api"), stage.tool());
    let plain = status(&mut stage, tool);
    assert_eq!((plain.connections, plain.peers, plain.open_asks), (3, 2, 0));
    assert_eq!((plain.activated, plain.replaced, plain.settling), (false, false, false));
    assert!(plain.refused.is_empty(), "{:?}", plain.refused);
    assert_eq!(stage.hub.status_line().to_string(), "2 sessions, 0 open asks");

    stage.hub.set_program_status(ProgramStatus { activated: true, replaced: true });
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
    assert_eq!(stage.hub.status_line().to_string(), "2 sessions, 1 open ask");
}

#[test]
fn large_frame_is_for_who_has_said_hello() {
    let mut stage = Stage::new();
    let conn = stage.connect();
    assert!(!stage.hub.has_greeted(conn));
    let web = stage.session("/w/web");
    assert!(stage.hub.has_greeted(web.conn) && !stage.hub.has_greeted(conn));
}

#[test]
fn facts_of_a_client_are_cut_to_what_people_read() {
    let mut stage = Stage::new();
    let (web, long) = (stage.session("/w/we\nb"), stage.session(&format!("/w/{}", "x".repeat(1022))));
    stage.hush();
    stage.say(web.conn, peers());
    stage.say(long.conn, peers());
    let mut folder = |of: Actor| match stage.answers(of.conn).pop() {
        Some(Answer::Peers(answer)) => answer.peers[0].presence.cwd.clone(),
        other => panic!("no list: {other:?}"),
    };
    assert_eq!((folder(web).len(), folder(long)), (256, "/w/web".to_owned()));
    let mut stage = Stage::new();
    let web = stage.session("/w/web");
    stage.session(&format!("/w/{}", "x".repeat(1021)));
    stage.hush();
    stage.say(web.conn, peers());
    let Some(Answer::Peers(answer)) = stage.answers(web.conn).pop() else { panic!("no list") };
    assert_eq!(answer.peers[0].presence.cwd.len(), 1024, "so much is kept");
}

#[test]
fn watcher_leaves_nothing_behind() {
    let mut stage = Stage::new();
    for leaves in [true, false] {
        let tool = stage.tool();
        stage.say(tool.conn, watch(true));
        if leaves {
            stage.bye(tool);
        } else {
            stage.lose(tool);
        }
        stage.pass(GONE_WAIT);
        assert!(stage.hub.is_quiet(), "{:?}", stage.hub);
    }
}

#[test]
fn watcher_is_told_where_a_session_works_now() {
    let mut stage = Stage::new();
    let (web, tool) = (stage.session("/w/web"), stage.tool());
    stage.say(tool.conn, watch(false));
    stage.hush();
    let branch = Some("next".to_owned());
    let now = Presence { branch, ..presence("/w/web/tree", Activity::Idle, Wake::Channel) };
    stage.say(web.conn, ClientMessage::Notice(Notice::Presence(now.clone())));
    let Some(HubMessage::Event(Event::Watched(change))) = stage.messages(tool.conn).pop() else { panic!("nothing") };
    assert!(matches!(*change, Watched::PeerChanged { presence, .. } if presence == now));
    stage.say(tool.conn, peers());
    let Some(Answer::Peers(answer)) = stage.answers(tool.conn).pop() else { panic!("no list") };
    assert_eq!(answer.peers[0].presence, now);
}
