//! Peer names: how a folder's name, a user's wish or an address becomes a slug.

use std::fmt;

use super::invisible::{is_invisible, is_variation_selector};
use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// The most characters that a name may have.
pub const NAME_MAX_CHARS: usize = 64;

/// The name of a session whose folder's name holds no letter or digit.
pub const FALLBACK_NAME: &str = "session";

/// What a message from the person's shell says in `from`.
pub const SHELL: &str = "shell";

/// What stands between a session's name and that of its machine.
const AT: char = '@';

/// The most characters that a machine's name may have.
const MACHINE_MAX_CHARS: usize = 32;

/// Names that no peer may have, since they mean something else in an address or a sentence.
pub const RESERVED_NAMES: [&str; 5] = [SHELL, "all", "everyone", "hub", "you"];

/// Says why a text cannot be a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text holds no letter and no digit.
    #[error("a name needs at least one letter or digit")]
    Empty,
    /// The name is one of [`RESERVED_NAMES`].
    #[error("this name is reserved")]
    Reserved,
    /// The text is no machine's name.
    #[error("a machine's name is 1 to 32 of a-z, 0-9 and -, without -- and with none at its ends")]
    NoMachine,
}

/// The name of another machine, given by this one's person: 1 to 32 of `a-z 0-9 -`. It is a file's name, a part of an
/// address and a token of a NATS subject as it stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MachineName(String);

impl MachineName {
    /// Makes a name of a text, whatever its case.
    ///
    /// # Errors
    /// It is none, or reserved.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let name = text.trim().to_ascii_lowercase();
        if !is_plain_slug(&name) || name.len() > MACHINE_MAX_CHARS {
            Err(NameError::NoMachine)
        } else if RESERVED_NAMES.contains(&name.as_str()) {
            Err(NameError::Reserved)
        } else {
            Ok(Self(name))
        }
    }

    /// Returns the name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns who the messages of this machine's shell are from: `shell@desk`.
    pub fn shell(&self) -> String {
        format!("{SHELL}{AT}{self}")
    }
}

impl fmt::Display for MachineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for MachineName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(&text)
    }
}

impl From<MachineName> for String {
    fn from(name: MachineName) -> Self {
        name.0
    }
}

/// A peer's name: a slug of 1 to [`NAME_MAX_CHARS`] characters, NFC, lower case, letters and digits of any script and `-`.
/// That of a session on another machine has `@` and the machine's name behind it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PeerName(String);

impl PeerName {
    /// Makes a name of free text, as a user or a folder gives it.
    ///
    /// # Errors
    /// The text holds no letter or digit, or its slug is reserved.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let name = slug(text).ok_or(NameError::Empty)?;
        if RESERVED_NAMES.contains(&name.as_str()) { Err(NameError::Reserved) } else { Ok(Self(name)) }
    }

    /// Makes the name of a session that works in this folder; [`FALLBACK_NAME`] where the folder gives none.
    pub fn of_folder(path: &str) -> Self {
        let folder = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        match slug(folder) {
            Some(name) if RESERVED_NAMES.contains(&name.as_str()) => Self(format!("{FALLBACK_NAME}-{name}")),
            Some(name) => Self(name),
            None => Self(FALLBACK_NAME.to_owned()),
        }
    }

    /// Makes the name of a session on another machine, by its name there.
    pub fn at(&self, machine: &MachineName) -> Self {
        Self(format!("{}{AT}{machine}", self.here()))
    }

    /// Returns the parts of an address of the form `name@machine`; none where it has another form.
    pub fn split_address(address: &str) -> Option<(&str, MachineName)> {
        let (name, machine) = address.rsplit_once(AT)?;
        Some((name, MachineName::parse(machine).ok()?))
    }

    /// Makes the name that an address means; [`FALLBACK_NAME`] where it means none.
    pub fn of_address(address: &str) -> Self {
        Self::try_from(address.to_owned()).unwrap_or_else(|_| Self::of_folder(address))
    }

    /// Returns the machine of a session that is not on this one.
    pub fn machine(&self) -> Option<&str> {
        self.0.rsplit_once(AT).map(|(_, machine)| machine)
    }

    /// Returns the name without its machine.
    fn here(&self) -> &str {
        self.0.rsplit_once(AT).map_or(&self.0, |(name, _)| name)
    }

    /// Returns this name with a number behind it, before the machine's where it has one, cut so that it stays within
    /// [`NAME_MAX_CHARS`].
    pub fn with_suffix(&self, number: u64) -> Self {
        let suffix = format!("-{number}");
        let kept: String = self.here().chars().take(NAME_MAX_CHARS - suffix.len()).collect();
        let machine = self.0.strip_prefix(self.here()).unwrap_or_default();
        Self(format!("{}{suffix}{machine}", kept.trim_end_matches('-')))
    }

    /// Returns the name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl TryFrom<String> for PeerName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        match Self::split_address(&text) {
            Some((name, machine)) => Ok(Self::parse(name)?.at(&machine)),
            None => Self::parse(&text),
        }
    }
}

impl From<PeerName> for String {
    fn from(name: PeerName) -> Self {
        name.0
    }
}

/// Returns whether the text is a slug that needs no look at Unicode, as most names are that come over the wire.
fn is_plain_slug(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=NAME_MAX_CHARS).contains(&text.len())
        && text.bytes().all(is_plain)
        && !text.starts_with('-')
        && !text.ends_with('-')
        && !text.contains("--")
}

/// Lowers, composes, keeps letters, digits and their marks, and joins what is left with single hyphens.
fn slug(text: &str) -> Option<String> {
    if is_plain_slug(text) {
        return Some(text.to_owned());
    }
    slug_of_any(text)
}

fn slug_of_any(text: &str) -> Option<String> {
    let lowered: String = text.nfc().collect::<String>().to_lowercase();
    let mut name = String::new();
    let mut chars = 0;
    // What is not seen must not tell two names apart.
    for c in lowered.nfc().filter(|c| !is_invisible(*c) && !is_variation_selector(*c)) {
        let kept = c.is_alphanumeric() || (is_combining_mark(c) && !name.is_empty() && !name.ends_with('-'));
        if chars == NAME_MAX_CHARS {
            break;
        }
        if kept {
            name.push(c);
            chars += 1;
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
            chars += 1;
        }
    }
    let name = name.trim_end_matches('-');
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn folder(path: &str) -> String {
        PeerName::of_folder(path).to_string()
    }

    #[test]
    fn a_folder_names_its_session() {
        assert_eq!(folder("/home/me/Backend API"), "backend-api");
        assert_eq!(folder("/srv/my_app.v2/"), "my-app-v2");
        assert_eq!(folder("/home/me/Größe"), "größe");
        assert_eq!(folder("/home/me/プロジェクト"), "プロジェクト");
        assert_eq!(folder("/home/me/हिन्दी"), "हिन्दी");
        assert_eq!(folder("/home/me/🚀🚀"), "session");
        assert_eq!(folder("/"), "session");
        assert_eq!(folder("/home/all"), "session-all");
        assert_eq!(folder(&"x".repeat(100)), "x".repeat(64));
    }

    #[test]
    fn composed_and_decomposed_are_one_name() {
        assert_eq!(PeerName::parse("cafe\u{301}"), PeerName::parse("caf\u{e9}"));
    }

    #[test]
    fn what_is_not_seen_tells_no_names_apart() {
        for unseen in ["\u{3164}", "\u{34f}", "\u{fe0f}", "\u{200b}", "\u{115f}", "\u{e0041}"] {
            assert_eq!(PeerName::parse(&format!("back{unseen}end{unseen}")), PeerName::parse("backend"), "{unseen:?}");
        }
    }

    #[test]
    fn reserved_and_empty_are_refused() {
        for text in ["shell", "ALL", " everyone ", "Hub", "you"] {
            assert_eq!(PeerName::parse(text), Err(NameError::Reserved), "{text}");
        }
        for text in ["", "--", "!?"] {
            assert_eq!(PeerName::parse(text), Err(NameError::Empty), "{text}");
        }
    }

    #[test]
    fn a_suffix_fits() {
        assert_eq!(PeerName::parse("api").unwrap().with_suffix(2).as_str(), "api-2");
        assert_eq!(PeerName::of_folder(&"x".repeat(64)).with_suffix(12).as_str().chars().count(), 64);
    }

    proptest! {
        #[test]
        fn a_plain_slug_is_what_any_text_becomes(text in "[a-z0-9-]{0,70}") {
            if is_plain_slug(&text) {
                prop_assert_eq!(slug_of_any(&text), Some(text));
            } else {
                prop_assert_ne!(slug_of_any(&text), Some(text));
            }
        }

        #[test]
        fn a_name_is_its_own_slug(text in "\\PC{0,80}") {
            if let Ok(name) = PeerName::parse(&text) {
                prop_assert_eq!(PeerName::parse(name.as_str()), Ok(name.clone()));
                prop_assert!((1..=NAME_MAX_CHARS).contains(&name.as_str().chars().count()));
                prop_assert!(!name.as_str().starts_with('-') && !name.as_str().ends_with('-'));
            }
        }
    }
}
