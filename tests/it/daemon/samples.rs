//! Messages of every released version must still be understood, and the specification's table must be the code's.
//! Samples are added, and never changed.

use std::collections::BTreeSet;

use relay::protocol::codec::{decode, encode};
use relay::protocol::{Answer, ClientMessage, Event, Frame, HubMessage, Notice, Request};

const CLIENT: &str = include_str!("samples/v1/client.jsonl");
const HUB: &str = include_str!("samples/v1/hub.jsonl");

/// Reads each line, writes it again, and reads that: nothing of it may be lost.
fn assert_understood<T: Frame + PartialEq + std::fmt::Debug>(samples: &str) -> Vec<T> {
    let understood = |sample: &str| {
        let message: T = decode(sample.as_bytes()).unwrap_or_else(|error| panic!("{sample}: {error}"));
        let mut written = Vec::new();
        encode(&message, &mut written);
        assert_eq!(decode::<T>(written.trim_ascii_end()).unwrap(), message, "{sample}");
        let newer = sample.replacen('{', r#"{"a_member_of_the_future":[{"x":1}],"#, 1);
        assert_eq!(decode::<T>(newer.as_bytes()).unwrap(), message, "unknown members are ignored");
        message
    };
    samples.lines().map(understood).collect()
}

#[test]
fn samples_of_every_version_are_understood() {
    assert_understood::<ClientMessage>(CLIENT);
    assert_understood::<HubMessage>(HUB);
}

#[test]
fn samples_hold_every_kind_of_message() {
    let (client, hub) = (assert_understood::<ClientMessage>(CLIENT), assert_understood::<HubMessage>(HUB));
    let kinds = |table: &[(&'static str, u32)]| table.iter().map(|(kind, _)| *kind).collect::<BTreeSet<_>>();
    let requests =
        client.iter().filter_map(|m| if let ClientMessage::Request(_, r) = m { Some(r.kind()) } else { None });
    let notices = client.iter().filter_map(|m| if let ClientMessage::Notice(n) = m { Some(n.kind()) } else { None });
    let answers = hub.iter().filter_map(|m| if let HubMessage::Answer(_, a) = m { Some(a.kind()) } else { None });
    let events = hub.iter().filter_map(|m| if let HubMessage::Event(e) = m { Some(e.kind()) } else { None });
    assert_eq!(requests.collect::<BTreeSet<_>>(), kinds(Request::KINDS));
    assert_eq!(notices.collect::<BTreeSet<_>>(), kinds(Notice::KINDS));
    assert_eq!(answers.collect::<BTreeSet<_>>(), kinds(Answer::KINDS));
    assert_eq!(events.collect::<BTreeSet<_>>(), kinds(Event::KINDS));
}

/// The specification's table, column by column, with the version that brought each kind.
#[test]
fn specification_lists_the_kinds_and_versions_of_the_code() {
    let page = include_str!("../../../src/protocol.rs");
    let table = page.lines().skip_while(|line| !line.starts_with("//! | requests")).skip(2);
    let rows: Vec<Vec<&str>> = table
        .map_while(|line| line.strip_prefix("//! |"))
        .map(|line| line.split('|').map(|cell| cell.trim().trim_matches('`')).collect())
        .collect();
    let columns = [Request::KINDS, Notice::KINDS, Answer::KINDS, Event::KINDS];
    for (n, kinds) in columns.into_iter().enumerate() {
        let cells = rows.iter().map(|row| (row[3 * n], row[3 * n + 1])).filter(|(kind, _)| !kind.is_empty());
        let listed: Vec<(&str, u32)> = cells.map(|(kind, since)| (kind, since.parse().unwrap())).collect();
        assert_eq!(listed, kinds);
    }
}
