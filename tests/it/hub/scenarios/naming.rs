//! How sessions get, change and keep their names.

use crate::support::hub::{Stage, ask, id, named, peers, rename};

#[test]
fn folder_names_its_session_and_the_next_one_gets_a_number() {
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
fn name_is_free_again_when_its_session_has_left() {
    let mut stage = Stage::new();
    let first = stage.session("/w/api");
    stage.bye(first);
    let second = stage.session("/w/api");
    assert_eq!(stage.heard(second), ["welcome, api"]);
}

#[test]
fn rename_takes_a_free_name_of_any_script_and_no_other() {
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
fn address_is_read_like_a_name() {
    let mut stage = Stage::new();
    let (web, _api) = (stage.session("/w/web"), stage.session("/w/Backend API"));
    stage.hush();
    for (n, address) in (1..).zip(["backend-api", "Backend API", " BACKEND_API "]) {
        stage.say(web.conn, ask(n, address, "ready?", 60_000));
        assert_eq!(stage.heard(web), ["accepted for backend-api: Accepted"], "{address}");
    }
}

#[test]
fn ask_stays_with_its_session_through_a_rename() {
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
fn peers_are_listed_by_name_without_the_caller_and_tools() {
    let mut stage = Stage::new();
    let (web, _api, _db) = (stage.session("/w/web"), stage.session("/w/api"), stage.session("/w/db"));
    let tool = stage.tool();
    stage.hush();
    stage.say(web.conn, peers());
    stage.say(tool.conn, peers());
    assert_eq!(stage.heard(web), ["peers: api, db"]);
    assert_eq!(stage.heard(tool), ["peers: api, db, web"]);
}

#[test]
fn name_drawn_like_a_reserved_one_is_refused() {
    let mut stage = Stage::new();
    let web = stage.session("/w/web");
    stage.hush();
    for wish in ["ѕhell", "shel1", "аll", "evеryone", "hυb", "y0u"] {
        stage.say(web.conn, rename(wish));
        assert_eq!(stage.heard(web), ["refused: bad_args"], "{wish}");
        stage.say(web.conn, named(wish));
        assert_eq!(stage.heard(web), [""; 0], "{wish}");
    }
    let folder = stage.session("/w/ѕhell");
    assert_eq!(stage.heard(folder), ["welcome, session-ѕhell"]);
    let brought = stage.named("/w/db", "ѕhell");
    assert_eq!(stage.heard(brought), ["welcome, db"]);
}

#[test]
fn name_that_the_agent_gives_again_changes_nothing() {
    let mut stage = Stage::new();
    let (_api, web) = (stage.session("/w/api"), stage.session("/w/web"));
    stage.hush();
    stage.say(web.conn, named("api"));
    assert_eq!(stage.heard(web), ["renamed api-2"]);
    stage.say(web.conn, named("api"));
    assert_eq!(stage.heard(web), [""; 0]);
}

#[test]
fn address_whose_slug_means_less_reaches_its_folder_or_nobody() {
    let mut stage = Stage::new();
    let web = stage.session("/w/web");
    let (sharp, plus) = (stage.session("/w/c#"), stage.session("/w/c++"));
    stage.hush();
    stage.ask(web, 1, "c++", "ready?");
    assert_eq!(stage.heard(web), ["accepted for c-2: Accepted"]);
    assert_eq!((stage.heard(sharp).len(), stage.heard(plus).len()), (0, 1));
    stage.ask(web, 2, "C#", "ready?");
    assert_eq!(stage.heard(web), ["refused: peer_not_found"], "a folder is meant exactly");
    stage.ask(web, 3, "c", "ready?");
    assert_eq!(stage.heard(web), ["accepted for c: Accepted"], "a name is a name");
    stage.bye(plus);
    stage.ask(web, 4, "c++", "ready?");
    insta::assert_snapshot!(stage.refusal(web.conn).message, @r#"no session works in a folder named exactly "c++"; similar names: c"#);
    stage.session("/x/c#");
    stage.ask(web, 5, "c#", "ready?");
    insta::assert_snapshot!(stage.refusal(web.conn).message, @r#"2 sessions work in folders named "c#": c, c-2"#);
}

#[test]
fn unknown_name_is_answered_with_the_nearest_ones() {
    let mut stage = Stage::new();
    let web = stage.session("/w/web");
    for folder in ["/w/backend-api-v2", "/w/backend", "/w/docs"] {
        stage.session(folder);
    }
    stage.ask(web, 1, "backend-api", "ready?");
    insta::assert_snapshot!(stage.refusal(web.conn).message, @"no session is named backend-api; similar names: backend, backend-api-v2");
}
