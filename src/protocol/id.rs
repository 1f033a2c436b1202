//! Identifiers: asks and broadcasts (seen by models), sessions, client keys (secret) and client tags.

use std::cell::RefCell;
use std::fmt;
use std::hash::Hasher;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use siphasher::sip::SipHasher24;

use super::name::MachineName;

/// Crockford's base 32 in lower case: no `i`, `l`, `o`, `u`, so that a model or a person copies it without error.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// What each byte of a text is worth as a digit.
const VALUES: [u8; 256] = {
    let (mut values, mut value) = ([NO_DIGIT; 256], 0);
    while value < ALPHABET.len() {
        values[ALPHABET[value] as usize] = value as u8;
        value += 1;
    }
    values
};
const NO_DIGIT: u8 = u8::MAX;

/// Characters in an identifier's text, hyphens not counted; five bits each.
const DIGITS: u32 = 12;
const BITS: u32 = DIGITS * 5;

/// How many random bytes are fetched at once: one system call brings those of many ids.
const UNUSED_BYTES: usize = 256;

/// Says why a text is no identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text has a wrong length or a character outside the alphabet.
    #[error("an identifier is twelve of {}, in groups of four", "0-9 a-h j k m n p-t v-z")]
    Malformed,
}

macro_rules! token {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(NonZeroU64);

        impl $name {
            /// Returns a fresh random identifier of 60 bits.
            pub fn random() -> Self {
                Self::from_bits(u64::from_le_bytes(random_bytes()) >> (64 - BITS))
            }

            /// Returns the identifier with this number, of which the low 60 bits count: for tests and simulations.
            pub const fn from_bits(bits: u64) -> Self {
                // One more than the number, so that where there may be none it takes no more room.
                Self(NonZeroU64::MIN.saturating_add(bits & ((1 << BITS) - 1)))
            }

            const fn bits(self) -> u64 {
                self.0.get() - 1
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(TokenText::of(self.bits()).as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                parse_token(text).map(Self::from_bits)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(TokenText::of(self.bits()).as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(TokenVisitor).map(Self::from_bits)
            }
        }
    };
}

token! {
    /// Names one ask: made by the asker's client, unique across restarts, and the ask's idempotency key.
    ///
    /// Written as `k3v9-x2mq-7bd4`. Parsing forgives upper case and missing hyphens.
    AskId
}

token! {
    /// Names one broadcast: made by the asker's client; each of its asks has an [`AskId`] derived from it.
    BroadcastId
}

impl BroadcastId {
    /// Returns the identifier with the number of an ask's: for where it is not known yet which of them is needed.
    pub const fn like(ask_id: AskId) -> Self {
        Self::from_bits(ask_id.bits())
    }
}

impl AskId {
    /// Returns the id that the ask of this broadcast to the peer with this tag has, in whatever hub expands it.
    ///
    /// The same broadcast sent again after a hub's death so meets the same asks, not second questions.
    pub fn of_broadcast(broadcast: BroadcastId, asked: ClientTag) -> Self {
        let mut hasher = hasher(b'b');
        hasher.write_u64(broadcast.bits().to_le());
        hasher.write_u64(asked.0.to_le());
        Self::from_bits(hasher.finish())
    }
}

/// Identifies a person's or a script's tool across connections and hubs: random, sent only in `hello`.
///
/// `Debug` does not show it, and it has no `Display`: it must never reach a log or a screen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientKey([u8; 16]);

impl ClientKey {
    /// Returns a fresh random key of 128 bits.
    pub fn random() -> Self {
        Self(random_bytes())
    }

    /// Returns the key with these bytes: for tests and simulations.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Returns the public tag of this key's owner.
    pub fn tag(&self) -> ClientTag {
        let mut hasher = hasher(b'k');
        hasher.write(&self.0);
        ClientTag(hasher.finish())
    }
}

/// Identifies a session across connections, channels and hubs: the agent's process, and the thread where one process holds
/// several.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionId {
    /// The agent's process id; the channel's own where no known agent is its parent.
    pub pid: u32,
    /// When that process was started, in a unit of the system's own: tells it from a later process with the same id.
    pub start: u64,
    /// The agent's own id of the session or thread, where one process holds several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<String>,
}

impl SessionId {
    /// Returns the public tag of this session.
    pub fn tag(&self) -> ClientTag {
        let mut hasher = hasher(b's');
        hasher.write_u32(self.pid.to_le());
        hasher.write_u64(self.start.to_le());
        hasher.write(self.thread.as_deref().unwrap_or_default().as_bytes());
        ClientTag(hasher.finish())
    }
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientKey(secret)")
    }
}

impl Serialize for ClientKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:032x}", u128::from_be_bytes(self.0)))
    }
}

impl<'de> Deserialize<'de> for ClientKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_hex::<32>(&text).map(|n| Self(n.to_be_bytes())).ok_or_else(|| de::Error::custom("a key is 32 hex digits"))
    }
}

/// Tells clients apart where a name may have changed hands: public, derived from the [`ClientKey`] or the [`SessionId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientTag(u64);

impl ClientTag {
    /// Returns the number.
    pub(super) const fn bits(self) -> u64 {
        self.0
    }

    /// Returns the address that means the client with this tag, whatever its name.
    pub fn address(self) -> String {
        format!("#{:016x}", self.0)
    }

    /// Returns the tag that an address of this form means.
    pub fn of_address(address: &str) -> Option<Self> {
        let text = address.strip_prefix('#')?;
        parse_hex::<16>(text).and_then(|n| u64::try_from(n).ok()).map(Self)
    }
}

impl MachineName {
    /// Returns the tag that a session of this machine has here, by its tag there; without one that of the machine's shell.
    pub(super) fn tag_of(&self, id: Option<ClientTag>) -> ClientTag {
        let mut hasher = hasher(b'm');
        hasher.write(self.as_str().as_bytes());
        hasher.write_u8(u8::from(id.is_some()));
        hasher.write_u64(id.map_or(0, ClientTag::bits).to_le());
        ClientTag(hasher.finish())
    }
}

impl Serialize for ClientTag {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The first digits of the alphabet are the hexadecimal ones. Not formatted: a tag is in the answer to every ask.
        let text: [u8; 16] = std::array::from_fn(|digit| ALPHABET[(self.0 >> (4 * (15 - digit))) as usize & 15]);
        serializer.serialize_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for ClientTag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_hex::<16>(&text)
            .and_then(|n| u64::try_from(n).ok())
            .map(Self)
            .ok_or_else(|| de::Error::custom("a tag is 16 hex digits"))
    }
}

/// Random bytes that no id is made of yet.
struct Unused {
    bytes: [u8; UNUSED_BYTES],
    left: usize,
}

thread_local! {
    static UNUSED: RefCell<Unused> = const { RefCell::new(Unused { bytes: [0; UNUSED_BYTES], left: 0 }) };
}

fn random_bytes<const N: usize>() -> [u8; N] {
    UNUSED.with_borrow_mut(|unused| {
        if unused.left < N {
            #[expect(
                clippy::expect_used,
                reason = "without the system's random source no id could be trusted to be unique"
            )]
            getrandom::fill(&mut unused.bytes).expect("the system's random source");
            unused.left = UNUSED_BYTES;
        }
        unused.left -= N;
        std::array::from_fn(|at| unused.bytes[unused.left + at])
    })
}

fn hasher(domain: u8) -> SipHasher24 {
    let mut hasher = SipHasher24::new();
    hasher.write_u8(domain);
    hasher
}

/// An identifier's text.
struct TokenText([u8; 14]);

impl TokenText {
    fn of(bits: u64) -> Self {
        let mut text = [b'-'; 14];
        for digit in 0..DIGITS {
            let value = (bits >> (5 * (DIGITS - 1 - digit))) & 31;
            text[(digit + digit / 4) as usize] = ALPHABET[value as usize];
        }
        Self(text)
    }

    fn as_str(&self) -> &str {
        // It is ASCII.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

fn parse_token(text: &str) -> Result<u64, IdError> {
    let mut bits = 0;
    let mut digits = 0;
    for byte in text.trim().bytes().filter(|byte| *byte != b'-') {
        let value = VALUES[usize::from(byte.to_ascii_lowercase())];
        digits += 1;
        if value == NO_DIGIT || digits > DIGITS {
            return Err(IdError::Malformed);
        }
        bits = bits << 5 | u64::from(value);
    }
    if digits == DIGITS { Ok(bits) } else { Err(IdError::Malformed) }
}

fn parse_hex<const DIGITS: usize>(text: &str) -> Option<u128> {
    let plain = text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

struct TokenVisitor;

impl de::Visitor<'_> for TokenVisitor {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an identifier such as k3v9-x2mq-7bd4")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
        parse_token(text).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_however_many_are_made() {
        let ids: std::collections::BTreeSet<AskId> = (0..1000).map(|_| AskId::random()).collect();
        assert_eq!(ids.len(), 1000);
    }

    #[test]
    fn an_id_survives_its_text() {
        for _ in 0..100 {
            let id = AskId::random();
            let text = id.to_string();
            assert_eq!(text.len(), 14);
            assert_eq!(text.parse(), Ok(id));
            assert_eq!(text.to_uppercase().replace('-', "").parse(), Ok(id));
        }
        assert_eq!(AskId::from_bits(0).to_string(), "0000-0000-0000");
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in ["", "k3v9", "k3v9-x2mq-7bd", "k3v9-x2mq-7bd44", "u3v9-x2mq-7bd4", "k3v9 x2mq 7bd4"] {
            assert_eq!(text.parse::<AskId>(), Err(IdError::Malformed), "{text}");
        }
    }

    #[test]
    fn broadcast_has_one_ask_id_a_peer() {
        let (a, b) = (ClientKey::from_bytes([1; 16]).tag(), ClientKey::from_bytes([2; 16]).tag());
        let broadcast = BroadcastId::from_bits(7);
        assert_eq!(AskId::of_broadcast(broadcast, a), AskId::of_broadcast(broadcast, a));
        assert_ne!(AskId::of_broadcast(broadcast, a), AskId::of_broadcast(broadcast, b));
        assert_ne!(a, b);
    }

    #[test]
    fn a_tag_is_written_as_the_address_has_it() {
        for bits in [0, 7, 0x0123_4567_89ab_cdef, u64::MAX] {
            let tag = ClientTag(bits);
            let json = serde_json::to_string(&tag).unwrap();
            assert_eq!(json, format!("\"{}\"", &tag.address()[1..]));
            assert_eq!(serde_json::from_str::<ClientTag>(&json).unwrap(), tag);
        }
    }

    #[test]
    fn session_is_told_apart_by_process_start_and_thread() {
        let session = |pid, start, thread: Option<&str>| SessionId { pid, start, thread: thread.map(str::to_owned) };
        let tags = [session(1, 2, None), session(2, 2, None), session(1, 3, None), session(1, 2, Some("a"))];
        let tags: std::collections::BTreeSet<_> = tags.iter().map(SessionId::tag).collect();
        assert_eq!(tags.len(), 4);
    }

    #[test]
    fn a_key_is_not_shown() {
        assert_eq!(format!("{:?}", ClientKey::from_bytes([7; 16])), "ClientKey(secret)");
        let json = serde_json::to_string(&ClientKey::from_bytes([0xab; 16])).unwrap();
        assert_eq!(json, format!("\"{}\"", "ab".repeat(16)));
        assert_eq!(serde_json::from_str::<ClientKey>(&json).unwrap(), ClientKey::from_bytes([0xab; 16]));
        assert!(serde_json::from_str::<ClientKey>("\"+b\"").is_err());
    }
}
