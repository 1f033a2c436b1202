//! Who has which name, which name is free, whom an address means, and which names nobody may have.

use std::collections::BTreeMap;

use unicode_normalization::char::is_combining_mark;

use crate::confusables::skeleton;
use crate::protocol::{
    ClientTag, FALLBACK_NAME, NAME_MAX_CHARS, PeerName, RESERVED_NAMES, is_invisible, is_variation_selector,
};

/// The most names that a refusal says are similar.
const NEAREST_MAX: usize = 3;

/// The names that sessions have.
#[derive(Debug, Clone)]
pub(super) struct Names {
    holders: BTreeMap<PeerName, ClientTag>,
}

impl Names {
    /// Returns names that nobody holds.
    pub(super) const fn new() -> Self {
        Self { holders: BTreeMap::new() }
    }

    /// Returns who holds this name.
    pub(super) fn holder(&self, name: &PeerName) -> Option<ClientTag> {
        self.holders.get(name).copied()
    }

    /// Returns the holders in the order of their names.
    pub(super) fn holders(&self) -> impl Iterator<Item = ClientTag> {
        self.holders.values().copied()
    }

    /// Returns how many names are held.
    pub(super) fn len(&self) -> usize {
        self.holders.len()
    }

    /// Gives a name that is free to this session.
    pub(super) fn insert(&mut self, name: PeerName, tag: ClientTag) {
        self.holders.insert(name, tag);
    }

    /// Makes a name free.
    pub(super) fn remove(&mut self, name: &PeerName) {
        self.holders.remove(name);
    }

    /// Returns the wanted name, or the same with the smallest number behind it that makes it free.
    pub(super) fn free(&self, wanted: &PeerName) -> PeerName {
        let numbered = (2..).map(|number| wanted.with_suffix(number));
        let mut all = std::iter::once(wanted.clone()).chain(numbered);
        all.find(|name| !self.holders.contains_key(name)).unwrap_or_else(|| wanted.clone())
    }

    /// Returns the names that this one may have been meant for, the most similar first.
    pub(super) fn nearest(&self, name: &PeerName) -> Vec<&PeerName> {
        let wanted = name.as_str();
        let most = wanted.chars().count().div_ceil(3);
        let distance = |held: &str| {
            if held.starts_with(wanted) || wanted.starts_with(held) { 0 } else { strsim::osa_distance(held, wanted) }
        };
        let names = self.holders.keys().map(|held| (distance(held.as_str()), held));
        let mut near: Vec<_> = names.filter(|(distance, _)| *distance <= most).collect();
        near.sort();
        near.into_iter().map(|(_, held)| held).take(NEAREST_MAX).collect()
    }
}

/// Returns whether the slug of an address says less than the address: whether it loses anything beside case, spaces and
/// `_ - .`, as `c++` does, whose slug is `c`.
pub(super) fn is_lossy(address: &str) -> bool {
    let is_kept = |c: char| c.is_alphanumeric() || is_combining_mark(c);
    let is_free =
        |c: char| c.is_whitespace() || matches!(c, '_' | '-' | '.') || is_invisible(c) || is_variation_selector(c);
    address.chars().any(|c| !is_kept(c) && !is_free(c)) || address.trim().chars().count() > NAME_MAX_CHARS
}

/// Returns whether an address could be some session's: one that is no name, or reserved, is nobody's.
pub(super) fn may_be_address(address: &str) -> bool {
    is_lossy(address) || PeerName::parse(address).is_ok()
}

/// Returns the name of a folder: the last part of its path.
pub(super) fn folder(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

/// Returns whether a name is drawn like one of [`RESERVED_NAMES`], with letters of other scripts or digits in their place:
/// like a sender that no session is. Compares skeletons (Unicode Technical Standard 39, section 4), whatever their case.
pub(super) fn looks_reserved(name: &PeerName) -> bool {
    let folded = |text: &str| skeleton(text).flat_map(char::to_lowercase).collect::<String>();
    let drawn = folded(name.as_str());
    RESERVED_NAMES.iter().any(|reserved| folded(reserved) == drawn)
}

/// Returns whether a path is this folder or below it.
pub(super) fn is_in(path: &str, folder: &str) -> bool {
    let rest = path.strip_prefix(folder.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns the name of a session that works in this folder.
pub(super) fn of_folder(path: &str) -> PeerName {
    let name = PeerName::of_folder(path);
    if looks_reserved(&name) { PeerName::of_folder(&format!("{FALLBACK_NAME}-{name}")) } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ClientKey;

    fn name(text: &str) -> PeerName {
        PeerName::parse(text).unwrap()
    }

    fn tag() -> ClientTag {
        ClientKey::from_bytes([1; 16]).tag()
    }

    #[test]
    fn name_drawn_like_a_reserved_one_is_found_in_any_script() {
        for text in ["ѕhell", "ѕһеӏӏ", "shel1", "аll", "evеryone", "hυb", "уоu", "y0u", "ｈｕｂ"] {
            assert!(PeerName::parse(text).map_or(true, |name| looks_reserved(&name)), "{text}");
        }
        let plain = [
            "shell-2",
            "shells",
            "ally",
            "a11y",
            "оболочка",
            "все",
            "хаб",
            "προς",
            "プロジェクト",
            "हिन्दी",
            "größe",
            "全部",
        ];
        for text in plain {
            assert!(!looks_reserved(&name(text)), "{text}");
        }
        assert_eq!(of_folder("/w/ѕhell").as_str(), "session-ѕhell");
    }

    #[test]
    fn number_that_was_given_back_is_given_again() {
        let mut names = Names::new();
        for n in 1..=30 {
            let free = names.free(&name("api"));
            assert_eq!(free.as_str(), if n == 1 { "api".to_owned() } else { format!("api-{n}") });
            names.insert(free, tag());
        }
        for gone in ["api-7", "api-20", "api-8"] {
            names.remove(&name(gone));
        }
        for wanted in ["api-7", "api-8", "api-20", "api-31"] {
            let free = names.free(&name("api"));
            assert_eq!(free.as_str(), wanted);
            names.insert(free, tag());
        }
    }

    #[test]
    fn address_is_lossy_where_its_slug_could_mean_another_project() {
        for address in ["c++", "c#", "a/b", "backend@desk", "b&w", "🚀", &"x".repeat(65)] {
            assert!(is_lossy(address), "{address}");
        }
        for address in
            ["api", " Backend API ", "backend_api", "v1.2", "größe", "プロジェクト", "हिन्दी", "zero\u{200b}width"]
        {
            assert!(!is_lossy(address), "{address}");
        }
    }

    #[test]
    fn folder_holds_itself_and_what_is_below() {
        for (path, folder) in
            [("/w/api", "/w"), ("/w/api", "/w/"), ("/w", "/w"), ("/w", "/w/"), ("/w", "/"), ("/", "/")]
        {
            assert!(is_in(path, folder), "{path} {folder}");
        }
        for (path, folder) in [("/work", "/w"), ("/", "/w"), ("/v/w", "/w")] {
            assert!(!is_in(path, folder), "{path} {folder}");
        }
    }

    #[test]
    fn names_nearest_to_a_wrong_one_are_few_and_the_most_similar_first() {
        let mut names = Names::new();
        for held in ["backend-api-v2", "backend-ap", "backend-apo", "backend-apu", "frontend", "x"] {
            names.insert(name(held), tag());
        }
        let near = |wanted: &str| names.nearest(&name(wanted)).iter().map(|near| near.as_str()).collect::<Vec<_>>();
        assert_eq!(near("backend-api"), ["backend-ap", "backend-api-v2", "backend-apo"]);
        assert_eq!(near("frontedn"), ["frontend"]);
        assert_eq!(near("database"), [""; 0]);
    }
}
