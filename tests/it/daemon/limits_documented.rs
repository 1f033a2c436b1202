//! What is told to whoever meets a limit, by a real hub, and what the documentation says of the limits.

use relay::channel::mcp::OPEN_MAX;
use relay::hub::limits::{
    ADDRESS_MAX_BYTES, ADDRESSES_MAX, BROADCASTS_WAITING_MAX, CLIENT_RATE, FRAMES_TOTAL_MAX, OPEN_ASKS_FACTOR,
    PAIR_RATE, QUEUED_TOTAL_MAX, Rate, STUCK_WAIT, WATCHERS_MAX,
};
use relay::hub::{GRACE, HELLO_WAIT, Limits};
use relay::protocol::codec::{FRAME_MAX_BYTES, HELLO_MAX_BYTES};
use relay::protocol::{AskId, BODY_MAX_BYTES, BroadcastId, ErrorCode, TIMEOUT_MAX_S};
use serde_json::{Value, json};

use crate::support::hub_process::{HubProcess, RawClient};

/// One row of the tables: a limit, its bound, of what, why so, and what is told.
struct Row {
    name: String,
    bound: String,
    rest: [String; 3],
}

fn rows() -> Vec<Row> {
    let page = include_str!("../../../docs/operations.md");
    let (_, limits) = page.split_once("\n## Limits\n").unwrap();
    let (limits, _) = limits.split_once("\n## ").unwrap();
    let cells = |line: &str| line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let row = |line: &str| {
        let [name, bound, of, why, told] = cells(line).try_into().unwrap_or_else(|cells| panic!("{cells:?}"));
        Row { name: name.trim_matches('`').to_owned(), bound, rest: [of, why, told] }
    };
    let is_row = |line: &&str| line.starts_with("| ") && !line.starts_with("| name ") && !line.starts_with("| ---");
    limits.lines().filter(is_row).map(row).collect()
}

fn bytes(n: impl TryInto<u64>) -> String {
    let n = n.try_into().ok().unwrap();
    if n >= 1 << 20 { format!("{} MiB", n >> 20) } else { format!("{} KiB", n >> 10) }
}

#[test]
fn the_documentation_has_every_limit_with_its_name_and_bound() {
    // Whoever adds an option must say here, and in the table, what it is.
    let Limits { connections, open_asks, held_bytes, queued_bytes, rate, loops } = Limits::default();
    let on = |switch| if switch { "on" } else { "off" }.to_owned();
    let expected = [
        ("connections", connections.to_string()),
        ("open_asks", open_asks.to_string()),
        ("held_bytes", bytes(held_bytes)),
        ("queued_bytes", bytes(queued_bytes)),
        ("rate", on(rate)),
        ("loop", on(loops)),
        ("text_bytes", bytes(BODY_MAX_BYTES)),
        ("frame_bytes", bytes(FRAME_MAX_BYTES)),
        ("frame_bytes", bytes(HELLO_MAX_BYTES)),
        ("unfinished_bytes", bytes(FRAMES_TOTAL_MAX)),
        ("queued in all", bytes(QUEUED_TOTAL_MAX)),
        ("broadcasts_waiting", BROADCASTS_WAITING_MAX.to_string()),
        ("watchers", WATCHERS_MAX.to_string()),
        ("silent", format!("{} s", HELLO_WAIT.as_secs())),
        ("address", format!("{ADDRESS_MAX_BYTES} bytes")),
        ("addresses", ADDRESSES_MAX.to_string()),
        ("timeout", format!("{TIMEOUT_MAX_S} s")),
        ("requests open", OPEN_MAX.to_string()),
    ];
    let rows = rows();
    let found: Vec<(&str, String)> = rows.iter().map(|row| (row.name.as_str(), row.bound.clone())).collect();
    assert_eq!(found, expected);

    let of = |name: &str| rows.iter().find(|row| row.name == name).unwrap().rest.join(" | ");
    for name in ["connections", "open_asks", "held_bytes", "queued_bytes"] {
        assert_eq!(Limits::default().set(&format!("{name}=7")), Ok(()));
    }
    let rate = |rate: Rate| format!("{} at once, then one every {} ms", rate.burst, rate.interval.as_millis());
    assert!(of("rate").contains(&rate(PAIR_RATE)) && of("rate").contains(&rate(CLIENT_RATE)));
    assert!(of("open_asks").contains(&format!("{OPEN_ASKS_FACTOR} times as many in all")));
    assert!(of("queued_bytes").contains(&format!("nothing for {} s", STUCK_WAIT.as_secs())));
    assert!(of("broadcasts_waiting").contains(&format!("first {} s", GRACE.as_secs())));
    for row in &rows {
        let codes = row.rest[2].split('`').skip(1).step_by(2);
        for code in codes {
            assert!(ErrorCode::ALL.iter().any(|known| known.as_str() == code), "{}: {code}", row.name);
        }
    }
}

/// A hub whose limits are low, somebody who meets them, and two who must not notice.
struct Told {
    hub: HubProcess,
    asker: RawClient,
    asked: RawClient,
    n: u64,
    words: String,
}

impl Told {
    /// Takes the refusal that this client must be told, and lets the two others talk.
    #[track_caller]
    fn hear(&mut self, limit: &str, client: &mut RawClient) {
        let (code, message, next) = client.hear_refusal();
        self.words += &format!("{limit}: {code}: {message}\n  next: {next}\n");
        self.talk();
    }

    #[track_caller]
    fn talk(&mut self) {
        self.n += 1;
        self.asker.say(&ask(self.n, "quiet-asked", "still there?"));
        assert_eq!(self.asker.hear()["type"], "accepted");
        let event = self.asked.hear();
        self.asked.say(&json!({"type": "reply", "id": 2, "ask_id": event["ask_id"], "text": "yes"}));
        let reply = self.asker.hear();
        assert_eq!(reply["text"], "yes", "{reply}");
        self.asker.say(&json!({"type": "taken", "ask_id": reply["ask_id"], "by": reply["by"]}));
        assert_eq!(self.asked.hear()["type"], "replied");
    }
}

fn ask(n: u64, to: &str, question: &str) -> Value {
    let ask_id = AskId::from_bits(n);
    json!({"type": "ask", "id": n, "ask_id": ask_id, "to": to, "question": question, "timeout_ms": 60_000})
}

fn withdraw(n: u64) -> Value {
    json!({"type": "withdraw", "ask_id": AskId::from_bits(n)})
}

fn broadcast(n: u64) -> Value {
    let id = BroadcastId::from_bits(n);
    json!({"type": "broadcast", "id": n, "broadcast_id": id, "question": "?", "timeout_ms": 60_000})
}

/// Asks, and expects that it is accepted.
#[track_caller]
fn accepted(client: &mut RawClient, n: u64, to: &str, question: &str) {
    client.say(&ask(n, to, question));
    assert_eq!(client.hear()["type"], "accepted");
}

#[test]
fn whoever_meets_a_limit_is_told_which_and_how_much_and_others_are_served() {
    let limits = ["open_asks=4", "held_bytes=370000", "connections=12", "loop=off"];
    let hub = HubProcess::start(&limits.map(|limit| ["--limit", limit]).concat());
    let (asker, asked) = (hub.session("quiet-asker"), hub.session("quiet-asked"));
    let mut told = Told { hub, asker, asked, n: 1 << 40, words: String::new() };

    let mut early = told.hub.session("early");
    for n in 0..=BROADCASTS_WAITING_MAX as u64 {
        early.say(&broadcast(n));
    }
    told.hear("broadcasts_waiting", &mut early);
    early.say(&json!({"type": "bye"}));
    early.expect_end();
    told.hub.settle();

    let mut web = told.hub.session("web");
    web.say(&ask(1, "api", &"x".repeat(BODY_MAX_BYTES + 1)));
    told.hear("text_bytes", &mut web);
    web.say(&ask(1, &"x".repeat(ADDRESS_MAX_BYTES + 1), "?"));
    told.hear("address", &mut web);
    let mut late = ask(1, "api", "?");
    late["timeout_ms"] = json!((TIMEOUT_MAX_S + 1) * 1000);
    web.say(&late);
    told.hear("timeout", &mut web);
    let mut long = told.hub.session("long");
    long.write(&vec![b' '; FRAME_MAX_BYTES]).unwrap();
    told.hear("frame_bytes", &mut long);
    long.expect_end();
    let mut stranger = told.hub.connect();
    stranger.write(&vec![b' '; HELLO_MAX_BYTES]).unwrap();
    told.hear("frame_bytes", &mut stranger);
    stranger.expect_end();

    let (mut api, mut db) = (told.hub.session("api"), told.hub.session("db"));
    let text = "x".repeat(60_000);
    for n in [10, 11] {
        accepted(&mut web, n, "api", &text);
        assert_eq!(api.hear()["type"], "ask");
    }
    web.say(&ask(12, "api", &text));
    told.hear("held_bytes", &mut web);
    for n in [10, 11] {
        api.say(&json!({"type": "progress", "ask_id": AskId::from_bits(n), "state": "handed_over"}));
    }
    api.say(&json!({"type": "status", "id": 4}));
    assert_eq!(api.hear()["type"], "status");
    for n in [13, 14] {
        accepted(&mut web, n, "api", "?");
        assert_eq!(api.hear()["type"], "ask");
    }
    web.say(&ask(15, "api", "?"));
    told.hear("open_asks", &mut web);
    db.say(&ask(16, "api", "?"));
    told.hear("open_asks", &mut db);
    for n in [10, 11, 13] {
        api.say(&json!({"type": "reply", "id": n, "ask_id": AskId::from_bits(n), "text": text}));
    }
    told.hear("held_bytes", &mut api);

    let _eve = told.hub.session("eve");
    for n in 100..140 {
        accepted(&mut db, n, "eve", "?");
        db.say(&withdraw(n));
    }
    db.say(&ask(140, "eve", "?"));
    told.hear("rate", &mut db);

    let _silent: Vec<RawClient> = (0..6).map(|_| told.hub.connect()).collect();
    let mut last = told.hub.connect();
    told.hear("connections", &mut last);
    last.expect_end();

    insta::assert_snapshot!(told.words);
    db.say(&json!({"type": "status", "id": 5}));
    let refused = db.hear()["refused"].take();
    insta::assert_snapshot!(refused);
}
