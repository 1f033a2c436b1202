//! Clients that stand in for sessions of another machine: what only they may say, and what they are told.

use relay::hub::{GRACE, Limits};
use relay::protocol::{
    Activity, AskId, AskState, ClientKind, ClientMessage, Decline, ErrorCode, MachineName, Notice, PeerName, Presence,
    Reach, Refusal, RemoteFacts, RemoteSession, Wake,
};

use crate::support::hub::{Actor, Stage, ask, ask_again, id, progress, session_id, withdraw};

/// A client that stands in for a session of the machine `desk`; for its shell without a name.
fn stand_in(stage: &mut Stage, number: u32, name: Option<&str>) -> Actor {
    let presence = Presence {
        cwd: String::new(),
        branch: None,
        status: Activity::Idle,
        waiting_for: None,
        wakes_by: Wake::Channel,
    };
    let session = name.map(|name| RemoteSession {
        id: session_id(number).tag(),
        name: PeerName::parse(name).unwrap(),
        agent: "test".to_owned(),
        client: None,
        presence,
    });
    let machine = MachineName::parse("desk").unwrap();
    let actor = stage.hello(number, ClientKind::Remote(Box::new(RemoteFacts { machine, session })));
    if name.is_none() {
        stage.say(actor.conn, ClientMessage::Notice(Notice::Reach(Reach { reachable: true })));
    }
    actor
}

fn decline(ask_id: AskId, code: ErrorCode) -> ClientMessage {
    ClientMessage::Notice(Notice::Decline(Decline { ask_id, error: Refusal::new(code, "so", "do") }))
}

/// A settled hub with a session, and with the shell and a session of another machine.
fn linked() -> (Stage, Actor, Actor) {
    let mut stage = Stage::new();
    let (api, _shell) = (stage.session("/w/api"), stand_in(&mut stage, 90, None));
    let web = stand_in(&mut stage, 91, Some("web"));
    stage.hush();
    (stage, api, web)
}

#[test]
fn reply_is_unconfirmed_where_the_askers_machine_does_not_know_what_became_of_it() {
    let (mut stage, api, web) = linked();
    stage.say(web.conn, ask(1, "api", "ready?", 60_000));
    stage.reply(api, id(1), "yes");
    stage.hush();
    stage.say(web.conn, decline(id(1), ErrorCode::Unconfirmed));
    assert_eq!(stage.heard(api), ["refused: unconfirmed"]);
    stage.reply(api, id(1), "once more");
    let refusal = stage.refusal(api.conn);
    assert_eq!(refusal.code, ErrorCode::UnknownAsk);
    assert!(refusal.message.contains("it is not known whether the answer arrived"), "{refusal:?}");
}

#[test]
fn reply_that_the_askers_machine_does_not_know_is_unconfirmed_in_the_grace_period_as_well() {
    let mut stage = Stage::in_grace(Limits::default(), None);
    let _shell = stand_in(&mut stage, 90, None);
    let (web, api) = (stand_in(&mut stage, 91, Some("web")), Actor::away());
    stage.say(web.conn, ask_again(1, api, ""));
    stage.say(web.conn, decline(id(1), ErrorCode::Unconfirmed));
    let api = stage.back(api, "/w/api", Some("api"));
    stage.hush();
    stage.say(api.conn, progress(1, AskState::Shown));
    stage.reply(api, id(1), "yes");
    stage.pass(GRACE);
    let heard = stage.heard(api);
    assert!(heard.contains(&"refused: unknown_ask".to_owned()), "its client knows that a hub before had it: {heard:?}");
}

#[test]
fn late_reply_to_an_ask_that_its_asker_withdrew_from_a_former_hub_is_refused() {
    let (mut stage, api, web) = linked();
    stage.say(api.conn, withdraw(7));
    stage.reply(web, id(7), "yes");
    assert_eq!(stage.heard(web), ["refused: unknown_ask"]);
}

#[test]
fn late_reply_of_another_machine_is_unconfirmed_by_a_hub_that_does_not_know_the_ask() {
    let mut stage = Stage::in_grace(Limits::default(), None);
    let web = stand_in(&mut stage, 91, Some("web"));
    stage.hush();
    stage.reply(web, id(1), "yes");
    stage.pass(GRACE);
    assert_eq!(stage.heard(web), ["refused: unconfirmed"]);

    let (mut stage, api, web) = linked();
    stage.ask(api, 2, "web@desk", "ready?");
    stage.say(web.conn, progress(2, AskState::Shown));
    stage.say(api.conn, withdraw(2));
    stage.hush();
    stage.reply(web, id(2), "yes");
    assert_eq!(stage.heard(web), ["refused: unknown_ask"], "this hub knows that nobody has it");

    stage.say(api.conn, ask(3, "web@desk", "ready?", 60_000));
    stage.say(api.conn, withdraw(3));
    stage.hush();
    stage.reply(web, id(3), "yes");
    assert_eq!(
        stage.heard(web),
        ["refused: unknown_ask"],
        "it was taken back before the machine had said that it has it"
    );
}

#[test]
fn only_another_machines_client_declines() {
    let (mut stage, api, web) = linked();
    let other = stage.session("/w/other");
    stage.ask(other, 1, "api", "ready?");
    stage.hush();
    for code in [ErrorCode::PeerGone, ErrorCode::Unconfirmed] {
        for actor in [api, web, other] {
            stage.say(actor.conn, decline(id(1), code));
        }
    }
    stage.reply(api, id(1), "yes");
    assert_eq!(stage.heard(other), ["api answers: yes"]);
}
