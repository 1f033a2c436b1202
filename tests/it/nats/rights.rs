//! What the server keeps machines from, and that a server that does not is refused.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use serde_json::json;

use super::carrier::Carrier;
use super::keys::{Key, Role};
use super::server::{NEWEST, OLDEST, Server, needs_servers, permissions, users};
use crate::support::skip::needs;

/// A client that says what it likes.
struct Mallory {
    input: BufReader<TcpStream>,
}

impl Mallory {
    /// Connects as a user with a password.
    fn connect(port: u16) -> Self {
        let input = BufReader::new(TcpStream::connect(("127.0.0.1", port)).unwrap());
        let mut mallory = Self { input };
        assert!(mallory.line().starts_with("INFO "));
        let connect = json!({"user": "mallory", "pass": "secret", "verbose": false, "pedantic": false, "lang": "x", "version": "1"});
        assert_eq!(mallory.says(&format!("CONNECT {connect}\r\n")), Vec::<String>::new());
        mallory
    }

    /// Says something and returns what the server says of it.
    fn says(&mut self, text: &str) -> Vec<String> {
        self.input.get_mut().write_all(format!("{text}PING\r\n").as_bytes()).unwrap();
        std::iter::repeat_with(|| self.line()).take_while(|line| line != "PONG").collect()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.input.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

#[test]
fn nobody_sends_in_the_name_of_another_machine_or_reads_its_mail() {
    needs!("openssl");
    needs_servers!(NEWEST, OLDEST);
    let keys = [Key::new(), Key::new()];
    for version in [NEWEST, OLDEST] {
        let mallory = format!("{{ user: mallory, password: secret, {} }}", permissions("mallory"));
        let all = users(&[("laptop", &keys[0]), ("desk", &keys[1])]).replace("] }", &format!("{mallory} ] }}"));
        let server = Server::of_version(version, &all);
        let mut laptop = Carrier::up(&server.url(), "laptop", &keys[0]);
        let desk = Carrier::up(&server.url(), "desk", &keys[1]);
        let mut mallory = Mallory::connect(server.port());
        let refused = |said: &[String]| said.len() == 1 && said[0].starts_with("-ERR 'Permissions Violation for ");
        assert!(refused(&mallory.says("PUB relay.1.desk.laptop 6\r\nforged\r\n")));
        for subject in ["relay.1.desk.*", "relay.1.*.*", "relay.1.desk.laptop", ">", "relay.>"] {
            assert!(refused(&mallory.says(&format!("SUB {subject} 1\r\n"))), "{subject}");
        }
        desk.stays_silent();
        // In its own name it may.
        assert!(mallory.says("PUB relay.1.desk.mallory 2\r\nme\r\n").is_empty());
        assert_eq!(desk.next(), json!({"from": "mallory", "line": "me"}));
        laptop.write(&json!({"to": "desk", "from": "mallory", "line": "{\"from\":\"mallory\"}"}).to_string());
        assert_eq!(desk.next(), json!({"from": "laptop", "line": "{\"from\":\"mallory\"}"}));
        assert!(mallory.says("").is_empty());
    }
}

#[test]
fn what_is_no_text_is_told_of_and_not_passed_on() {
    needs!("openssl");
    needs_servers!(NEWEST);
    let key = Key::new();
    let mallory = format!("{{ user: mallory, password: secret, {} }}", permissions("mallory"));
    let server = Server::new(&users(&[("desk", &key)]).replace("] }", &format!("{mallory} ] }}")));
    let desk = Carrier::up(&server.url(), "desk", &key);
    let mut mallory = Mallory::connect(server.port());
    mallory.input.get_mut().write_all(b"PUB relay.1.desk.mallory 2\r\n\xff\xfe\r\n").unwrap();
    assert!(mallory.says("PUB relay.1.desk.mallory 3\r\na\nb\r\n").is_empty());
    assert_eq!(desk.next(), json!({"from": "mallory", "line": "a\nb"}));
    desk.says("no text");
}

#[test]
fn server_that_does_not_keep_machines_apart_is_refused_unless_that_is_wanted() {
    needs!("openssl");
    needs_servers!(NEWEST, OLDEST);
    let key = Key::new();
    let (reads, forges) = ("read what is sent to other machines", "send in the name of other machines");
    let own = ("\"relay.1.*.laptop\"", "\"relay.1.laptop.*\"");
    for version in [NEWEST, OLDEST] {
        for (publish, subscribe, excess) in [
            ("\">\"", "\">\"", reads),
            (own.0, "\">\"", reads),
            (own.0, "\"relay.>\"", reads),
            (own.0, "\"relay.1.*.*\"", reads),
            (own.0, "{allow: \"relay.1.>\", deny: \"relay.1.desk.*\"}", reads),
            ("\">\"", own.1, forges),
            ("\"relay.1.>\"", own.1, forges),
            ("\"relay.1.*.*\"", own.1, forges),
            ("{allow: \">\", deny: \"relay.1.*.desk\"}", own.1, forges),
        ] {
            let rights = format!("permissions: {{publish: {publish}, subscribe: {subscribe}}}");
            let server = Server::of_version(
                version,
                &format!("authorization {{ users: [ {{ nkey: {}, {rights} }} ] }}", key.public()),
            );
            let mut laptop = Carrier::with_key(&server.url(), "laptop", &key);
            let refused = laptop.state("refused");
            let why = refused["why"].as_str().unwrap();
            // Where everything is allowed, either is true.
            assert!(why.contains(excess) || publish == subscribe, "{version} {rights}: {refused}");
            assert!(refused["next"].as_str().unwrap().starts_with("relay-nats permissions --as laptop"), "{refused}");
            assert_eq!(laptop.end().0.code(), Some(1));
            laptop.says(why);
            let file = key.file();
            let shared =
                Carrier::start(&server.url(), "laptop", &["--nkey", file.to_str().unwrap(), "--insecure-shared"]);
            shared.state("up");
            shared.says("whoever has a key for it can too");
        }
    }
}

#[test]
fn server_without_users_is_refused_and_serves_whoever_wants_it_so() {
    needs_servers!(NEWEST, OLDEST);
    for version in [NEWEST, OLDEST] {
        let server = Server::of_version(version, "");
        assert!(
            Carrier::start(&server.url(), "laptop", &[]).state("refused")["why"].as_str().unwrap().contains("laptop")
        );
        let mut machines = ["laptop", "desk"].map(|name| Carrier::start(&server.url(), name, &["--insecure-shared"]));
        machines.iter().for_each(|machine| drop(machine.state("up")));
        let [laptop, desk] = &mut machines;
        laptop.send("desk", "x");
        assert_eq!(desk.next(), json!({"from": "laptop", "line": "x"}));
    }
}

#[test]
fn machine_that_may_send_to_few_is_not_refused_and_one_with_another_name_is() {
    needs!("openssl");
    needs_servers!(NEWEST, OLDEST);
    let key = Key::new();
    for version in [NEWEST, OLDEST] {
        let rights = "permissions: {publish: \"relay.1.desk.laptop\", subscribe: \"relay.1.laptop.*\"}";
        let configuration = format!("authorization {{ users: [ {{ nkey: {}, {rights} }} ] }}", key.public());
        let server = Server::of_version(version, &configuration);
        let mut laptop = Carrier::up(&server.url(), "laptop", &key);
        laptop.send("tower", "x");
        laptop.says("Permissions Violation for Publish to");
        let mut other = Carrier::with_key(&server.url(), "tower", &key);
        assert!(other.state("refused")["why"].as_str().unwrap().contains("listen to its own subject"));
        assert_eq!(other.end().0.code(), Some(1));
    }
}

#[test]
fn credentials_of_an_operator_keep_machines_apart_as_well() {
    needs!("openssl");
    needs_servers!(NEWEST, OLDEST);
    let (operator, account, keys) =
        (Key::for_role(Role::Operator), Key::for_role(Role::Account), [Key::new(), Key::new()]);
    let own = operator.jwt(&operator.public(), "operator", json!({"type": "operator", "version": 2}));
    let limits = json!({"subs": -1, "conn": -1, "leaf": -1, "imports": -1, "exports": -1, "data": -1, "payload": -1, "wildcards": true});
    let of_account =
        operator.jwt(&account.public(), "home", json!({"type": "account", "version": 2, "limits": limits}));
    for version in [NEWEST, OLDEST] {
        let id = account.public();
        let server = Server::of_version(
            version,
            &format!("operator: {own}\nresolver: MEMORY\nresolver_preload: {{ {id}: {of_account} }}\n"),
        );
        let creds = [("laptop", &keys[0]), ("desk", &keys[1])].map(|(name, key)| {
            let rights = json!({
                "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1,
                "pub": {"allow": [format!("relay.1.*.{name}")]}, "sub": {"allow": [format!("relay.1.{name}.*")]},
            });
            key.creds(&account.jwt(&key.public(), name, rights))
        });
        let [laptop, desk] = creds.each_ref().map(|file| file.to_str().unwrap());
        let mut laptop = Carrier::start(&server.url(), "laptop", &["--creds", laptop]);
        let desk = Carrier::start(&server.url(), "desk", &["--creds", desk]);
        laptop.state("up");
        desk.state("up");
        laptop.send("desk", "x");
        assert_eq!(desk.next(), json!({"from": "laptop", "line": "x"}));
    }
}
