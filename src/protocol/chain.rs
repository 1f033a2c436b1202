//! What an ask follows from, as it travels to another machine: the hubs there must see a ring that goes over them.

use std::fmt::Write as _;
use std::hash::Hasher;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use siphasher::sip::SipHasher24;

use super::id::ClientTag;

/// The most edges of a chain. As text they fit into 512 bytes.
const EDGES_MAX: usize = 59;

/// Who asked whom, as a hash of both, each by its tag at home: the same on every machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Edge(u32);

impl Edge {
    /// Returns the edge of an ask.
    pub fn new(asker: ClientTag, asked: ClientTag) -> Self {
        let mut hasher = SipHasher24::new();
        hasher.write_u8(b'e');
        hasher.write_u64(asker.bits().to_le());
        hasher.write_u64(asked.bits().to_le());
        let [a, b, c, d, ..] = hasher.finish().to_le_bytes();
        Self(u32::from_le_bytes([a, b, c, d]))
    }
}

/// How a chain went up to some ask. Each number stops at 255.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Course {
    /// How many sessions make the ring: how far back the same peer asked the same peer.
    pub sessions: u8,
    /// How many asks in a row were each the same as the one a round before.
    pub alike: u8,
    /// How many asks in a row were never answered.
    pub unanswered: u8,
}

/// The asks that led to one, the latest first, and how they went up to the latest. On the wire a text of hex digits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chain {
    /// The asks, at most [`EDGES_MAX`].
    pub edges: Vec<Edge>,
    /// How the chain went up to the latest of them.
    pub course: Course,
}

impl Chain {
    /// Returns whether the ask follows from none: it is left out on the wire.
    pub const fn is_empty(&self) -> bool {
        self.edges.is_empty()
    }
}

impl Serialize for Chain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Course { sessions, alike, unanswered } = self.course;
        let mut text = format!("{sessions:02x}{alike:02x}{unanswered:02x}");
        for Edge(edge) in self.edges.iter().take(EDGES_MAX) {
            // A text takes whatever is written to it.
            let _written = write!(text, "{edge:08x}");
        }
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Chain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).ok_or_else(|| de::Error::custom("a chain is 6 hex digits and 8 for each of at most 59 asks"))
    }
}

fn parse(text: &str) -> Option<Chain> {
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let (course, edges) = text.split_at_checked(6).filter(|_| is_hex)?;
    if edges.len() % 8 != 0 || edges.len() / 8 > EDGES_MAX {
        return None;
    }
    let byte = |at: usize| u8::from_str_radix(course.get(at..at + 2)?, 16).ok();
    let course = Course { sessions: byte(0)?, alike: byte(2)?, unanswered: byte(4)? };
    let edge = |at: usize| u32::from_str_radix(edges.get(at..at + 8)?, 16).ok().map(Edge);
    let edges = (0..edges.len()).step_by(8).map(edge).collect::<Option<Vec<_>>>()?;
    Some(Chain { edges, course })
}

#[cfg(test)]
mod tests {
    use super::super::ClientKey;
    use super::*;

    fn tag(number: u8) -> ClientTag {
        ClientKey::from_bytes([number; 16]).tag()
    }

    #[test]
    fn chain_survives_the_wire_and_is_short() {
        let edges: Vec<Edge> = (0..EDGES_MAX as u8).map(|n| Edge::new(tag(n), tag(n + 1))).collect();
        let chain = Chain { edges, course: Course { sessions: 3, alike: 255, unanswered: 0 } };
        let text = serde_json::to_string(&chain).unwrap();
        assert!(text.len() <= 512, "{}", text.len());
        assert_eq!(serde_json::from_str::<Chain>(&text).unwrap(), chain);
        assert_ne!(Edge::new(tag(1), tag(2)), Edge::new(tag(2), tag(1)));
    }

    #[test]
    fn text_that_is_no_chain_is_refused() {
        for text in ["", "03ff0", "03ff00abc", "03ff00+0000000", "03ff00größe567", &"0".repeat(6 + 8 * 60)] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse("000000"), Some(Chain::default()));
    }
}
