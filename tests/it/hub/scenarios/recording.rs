//! What the hub has logged of asks and tells.

use std::time::Duration;

use relay::hub::history::{Detail, Record, Recorded};
use relay::protocol::AskState;

use crate::support::hub::{Stage, id, progress, tell};

/// An ask that is answered, a tell that is shown and an ask whose time passes, as a hub records them.
fn recorded(detail: Detail) -> Vec<Record> {
    let mut stage = Stage::new();
    stage.record(detail);
    let (web, api) = (stage.session("/w/web"), stage.session("/w/api"));
    stage.ask(web, 1, "api", "ready?");
    stage.pass(Duration::from_millis(40));
    stage.say(api.conn, progress(1, AskState::Shown));
    stage.reply(api, id(1), "yes");
    stage.taken(web, id(1), api);
    stage.say(web.conn, tell(2, "api", "done", None));
    stage.say(api.conn, progress(2, AskState::Shown));
    stage.ask(api, 3, "web", "and you?");
    stage.pass(Duration::from_secs(61));
    stage.records()
}

#[test]
fn each_ask_is_recorded_when_it_is_accepted_and_when_it_ends() {
    let records = recorded(Detail::Asks);
    let line = |record: &Record| {
        let Record { ask_id, from, to, what } = record;
        format!("{ask_id} {from} to {to}: {what:?}")
    };
    insta::assert_snapshot!(records.iter().map(line).collect::<Vec<_>>().join("\n"), @r"
    0000-0000-0001 web to api: Accepted { kind: Ask, timeout_ms: 60000, question: None }
    0000-0000-0001 web to api: Ended { outcome: Reply, state: Shown, duration_ms: 40, reply: None }
    0000-0000-0002 web to api: Accepted { kind: Tell, timeout_ms: 60000, question: None }
    0000-0000-0002 web to api: Ended { outcome: Shown, state: Shown, duration_ms: 0, reply: None }
    0000-0000-0003 api to web: Accepted { kind: Ask, timeout_ms: 60000, question: None }
    0000-0000-0003 api to web: Ended { outcome: Timeout, state: Accepted, duration_ms: 60000, reply: None }
    ");
    assert_eq!(recorded(Detail::Nothing), []);
}

#[test]
fn texts_are_recorded_only_where_they_are_wanted() {
    let texts = |detail| {
        let text = |record: Record| match record.what {
            Recorded::Accepted { question: text, .. } | Recorded::Ended { reply: text, .. } => text,
        };
        recorded(detail).into_iter().filter_map(text).collect::<Vec<_>>()
    };
    assert_eq!(texts(Detail::Texts), ["ready?", "yes", "done", "and you?"]);
    assert_eq!(texts(Detail::Asks), Vec::<String>::new());
}
