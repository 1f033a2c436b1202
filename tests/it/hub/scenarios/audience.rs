//! A broadcast to some: whom it asks, whom it refuses, and who would be asked.

use relay::hub::{GRACE, Limits};
use relay::protocol::{Answer, Audience, ClientMessage, ErrorCode, Request};

use crate::support::hub::{Actor, Stage};

/// A stage with an asker `web`, and `api` and `docs` below one folder and `ops` elsewhere.
fn stage() -> (Stage, [Actor; 4]) {
    let mut stage = Stage::new();
    let actors = ["/w/web", "/w/team/api", "/w/team/docs", "/x/ops"].map(|folder| stage.session(folder));
    stage.hush();
    (stage, actors)
}

fn named(to: &[&str], folder: Option<&str>) -> Audience {
    Audience {
        to: Some(to.iter().map(|to| (*to).to_owned()).collect()),
        folder: folder.map(str::to_owned),
        machines: None,
    }
}

#[test]
fn broadcast_to_some_asks_these_alone() {
    let (mut stage, [web, api, docs, ops]) = stage();
    stage.broadcast_to(web, 1, "ready?", named(&["OPS", "api", "ops"], None));
    assert_eq!(stage.heard(web), ["broadcast to: api, ops"]);
    assert_eq!(stage.heard(api), ["web asks: ready? (60 s)"]);
    assert_eq!((stage.heard(docs).len(), stage.heard(ops).len()), (0, 1));
    let below = Audience { to: None, folder: Some("/w/team/".to_owned()), machines: None };
    stage.broadcast_to(web, 2, "ready?", below);
    assert_eq!(stage.heard(web), ["broadcast to: api, docs"]);
    stage.broadcast_to(web, 3, "ready?", named(&["ops"], Some("/w/team/docs")));
    assert_eq!(stage.heard(web), ["broadcast to: docs, ops"]);
}

#[test]
fn name_that_is_nobodys_is_refused_by_itself_with_the_nearest() {
    let (mut stage, [web, ..]) = stage();
    stage.broadcast_to(web, 1, "ready?", named(&["api", "dosc", "web", "all"], None));
    let answers = stage.answers(web.conn);
    let [Answer::BroadcastAccepted(accepted)] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!(accepted.asks.iter().map(|ask| ask.to.as_str()).collect::<Vec<_>>(), ["api"]);
    let refused: Vec<_> = accepted.refused.iter().map(|it| (it.to.as_str(), it.error.code)).collect();
    let (unknown, own) = (ErrorCode::PeerNotFound, ErrorCode::BadArgs);
    assert_eq!(refused, [("dosc", unknown), ("web", own), ("all", unknown)]);
    assert!(accepted.refused[0].error.message.ends_with("similar names: docs"), "{:?}", accepted.refused[0]);
}

#[test]
fn nobody_named_is_nobody_asked() {
    let (mut stage, [web, api, ..]) = stage();
    stage.broadcast_to(web, 1, "ready?", named(&[], None));
    assert_eq!(stage.heard(web), ["broadcast to: "]);
    assert_eq!(stage.heard(api).len(), 0);
}

#[test]
fn broadcast_that_names_too_many_or_a_relative_folder_is_refused() {
    let (mut stage, [web, ..]) = stage();
    let many = Audience { to: Some(vec!["api".to_owned(); 257]), folder: None, machines: None };
    let long = Audience { to: Some(vec!["x".repeat(1025)]), folder: None, machines: None };
    let relative = Audience { to: None, folder: Some("team".to_owned()), machines: None };
    for audience in [many, long, relative] {
        stage.broadcast_to(web, 1, "ready?", audience);
        assert_eq!(stage.refusal(web.conn).code, ErrorCode::BadArgs);
    }
}

#[test]
fn whom_a_broadcast_would_ask_is_told_and_nobody_asked() {
    let (mut stage, [web, api, ..]) = stage();
    stage.say(web.conn, ClientMessage::Request(7, Request::Audience(named(&["api", "nobody"], Some("/x")))));
    let answers = stage.answers(web.conn);
    let [Answer::Audience(view)] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!(view.names.iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["api", "ops"]);
    assert_eq!((view.refused.len(), view.settling), (1, false));
    assert_eq!(stage.heard(api).len(), 0);
}

#[test]
fn broadcast_to_some_waits_for_those_who_come_back() {
    let mut stage = Stage::in_grace(Limits::default(), None);
    let web = stage.session("/w/web");
    stage.hush();
    stage.broadcast_to(web, 1, "ready?", named(&["api"], None));
    stage.named("/w/api", "api");
    stage.session("/w/docs");
    stage.pass(GRACE);
    assert_eq!(stage.heard(web), ["broadcast to: api"]);
}
