//! How sessions get, change and keep their names.

use relay::protocol::ClientMessage;

use crate::support::hub::{Stage, ask, id};

fn rename(name: &str) -> ClientMessage {
    ClientMessage::Rename { id: 9, name: name.to_owned() }
}

#[test]
fn a_folder_names_its_session_and_the_next_one_gets_a_number() {
    let mut stage = Stage::new();
    for (folder, name) in [
        ("/w/Backend API", "backend-api"),
        ("/x/backend_api", "backend-api-2"),
        ("/y/backend-api/", "backend-api-3"),
        ("/w/プロジェクト", "プロジェクト"),
        ("/w/Größe", "größe"),
        ("/w/🚀", "session"),
        ("/", "session-2"),
        ("/w/all", "session-all"),
    ] {
        let actor = stage.session(folder);
        assert_eq!(stage.heard(actor), [format!("welcome, {name}")]);
    }
}

#[test]
fn a_name_is_free_again_when_its_session_has_left() {
    let mut stage = Stage::new();
    let first = stage.session("/w/api");
    stage.say(first.conn, ClientMessage::Bye {});
    let second = stage.session("/w/api");
    assert_eq!(stage.heard(second), ["welcome, api"]);
}

#[test]
fn a_rename_takes_a_free_name_of_any_script_and_no_other() {
    let mut stage = Stage::new();
    let (api, web) = (stage.session("/w/api"), stage.session("/w/web"));
    stage.hush();
    for (wish, answer) in [
        ("Front End", "renamed front-end"),
        ("фронт", "renamed фронт"),
        ("фронт", "renamed фронт"),
        ("api", "refused: name_taken"),
        ("hub", "refused: bad_args"),
        ("!", "refused: bad_args"),
    ] {
        stage.say(web.conn, rename(wish));
        assert_eq!(stage.heard(web), [answer], "{wish}");
    }
    stage.say(api.conn, rename("web"));
    assert_eq!(stage.heard(api), ["renamed web"], "the former name is free");
}

#[test]
fn an_address_is_read_like_a_name() {
    let mut stage = Stage::new();
    let (web, _api) = (stage.session("/w/web"), stage.session("/w/Backend API"));
    stage.hush();
    for (n, address) in (1..).zip(["backend-api", "Backend API", " BACKEND_API "]) {
        stage.say(web.conn, ask(n, address, "ready?", 60_000));
        assert_eq!(stage.heard(web), ["accepted for backend-api: Accepted"], "{address}");
    }
}

#[test]
fn an_ask_stays_with_its_session_through_a_rename() {
    let mut stage = Stage::new();
    let (web, api) = (stage.session("/w/web"), stage.session("/w/api"));
    stage.ask(web, 1, "api", "ready?");
    stage.say(api.conn, rename("backend"));
    let usurper = stage.session("/w/api");
    stage.hush();
    stage.reply(usurper, id(1), "yes");
    stage.reply(api, id(1), "no");
    assert_eq!(stage.heard(usurper), ["refused: unknown_ask"]);
    assert_eq!(stage.heard(web), ["backend answers: no"]);
}

#[test]
fn the_peers_are_listed_by_name_without_the_one_that_asks_and_without_tools() {
    let mut stage = Stage::new();
    let (web, _api, _db) = (stage.session("/w/web"), stage.session("/w/api"), stage.session("/w/db"));
    let tool = stage.tool();
    stage.hush();
    stage.say(web.conn, ClientMessage::Peers { id: 2 });
    stage.say(tool.conn, ClientMessage::Peers { id: 2 });
    assert_eq!(stage.heard(web), ["peers: api, db"]);
    assert_eq!(stage.heard(tool), ["peers: api, db, web"]);
}

#[test]
fn nobody_is_called_what_is_drawn_like_a_reserved_name() {
    let mut stage = Stage::new();
    let web = stage.session("/w/web");
    stage.hush();
    for wish in ["ѕhell", "shel1", "аll", "evеryone", "hυb", "y0u"] {
        stage.say(web.conn, rename(wish));
        assert_eq!(stage.heard(web), ["refused: bad_args"], "{wish}");
        stage.say(web.conn, ClientMessage::Named { name: wish.to_owned() });
        assert_eq!(stage.heard(web), [""; 0], "{wish}");
    }
    let folder = stage.session("/w/ѕhell");
    assert_eq!(stage.heard(folder), ["welcome, session-ѕhell"]);
    let brought = stage.named("/w/db", "ѕhell");
    assert_eq!(stage.heard(brought), ["welcome, db"]);
}

#[test]
fn the_name_that_its_client_gives_a_session_again_changes_nothing() {
    let mut stage = Stage::new();
    let (_api, web) = (stage.session("/w/api"), stage.session("/w/web"));
    let named = || ClientMessage::Named { name: "api".to_owned() };
    stage.hush();
    stage.say(web.conn, named());
    assert_eq!(stage.heard(web), ["renamed api-2"]);
    stage.say(web.conn, named());
    assert_eq!(stage.heard(web), [""; 0]);
}
