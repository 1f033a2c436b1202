//! Who has which name, which name is free, and which ones nobody may have.

use std::collections::BTreeMap;

use crate::confusables::skeleton;
use crate::protocol::{FALLBACK_NAME, PeerName, PeerTag, RESERVED_NAMES};

/// The names that are held. Whatever is looked for or changed costs the logarithm of their number.
///
/// Invariant: `numbered` holds exactly the names that end in a number.
#[derive(Debug, Clone)]
pub(super) struct Names {
    holders: BTreeMap<PeerName, PeerTag>,
    /// The numbers that are taken behind each stem: `api-2` takes 2 behind `api`.
    numbered: BTreeMap<String, Runs>,
}

impl Names {
    /// Returns names that nobody holds.
    pub(super) const fn new() -> Self {
        Self { holders: BTreeMap::new(), numbered: BTreeMap::new() }
    }

    /// Returns who holds this name.
    pub(super) fn holder(&self, name: &PeerName) -> Option<PeerTag> {
        self.holders.get(name).copied()
    }

    /// Returns the holders in the order of their names.
    pub(super) fn holders(&self) -> impl Iterator<Item = PeerTag> {
        self.holders.values().copied()
    }

    /// Returns how many names are held.
    pub(super) fn len(&self) -> usize {
        self.holders.len()
    }

    /// Gives a name that is free to this peer.
    pub(super) fn insert(&mut self, name: PeerName, tag: PeerTag) {
        if let Some((stem, number)) = parts(&name) {
            self.numbered.entry(stem.to_owned()).or_default().insert(number);
        }
        self.holders.insert(name, tag);
    }

    /// Makes a name free.
    pub(super) fn remove(&mut self, name: &PeerName) {
        if self.holders.remove(name).is_some()
            && let Some((stem, number)) = parts(name)
            && let Some(runs) = self.numbered.get_mut(stem)
        {
            runs.remove(number);
            if runs.0.is_empty() {
                self.numbered.remove(stem);
            }
        }
    }

    /// Returns the wanted name, or the same with the smallest number behind it that makes it free.
    pub(super) fn free(&self, wanted: &PeerName) -> PeerName {
        if !self.holders.contains_key(wanted) {
            return wanted.clone();
        }
        let mut from = 2;
        loop {
            // A long name is cut by as much as its number is long, so that the stem may differ with each digit.
            let name = wanted.with_suffix(from);
            let taken = parts(&name).and_then(|(stem, _)| self.numbered.get(stem));
            let number = taken.map_or(from, |runs| runs.first_free(from));
            let more_digits = 10_u64.pow(from.ilog10() + 1);
            if number < more_digits {
                return wanted.with_suffix(number);
            }
            from = more_digits;
        }
    }
}

/// Returns the stem and the number of a name that [`PeerName::with_suffix`] could have made. More than 32 bits are never
/// counted up to.
fn parts(name: &PeerName) -> Option<(&str, u64)> {
    let (stem, digits) = name.as_str().rsplit_once('-')?;
    let number: u32 = digits.parse().ok()?;
    (number.to_string() == digits).then_some((stem, number.into()))
}

/// A set of numbers as runs of consecutive ones: each first number with its last.
#[derive(Debug, Clone, Default)]
struct Runs(BTreeMap<u64, u64>);

impl Runs {
    fn run_of(&self, number: u64) -> Option<(u64, u64)> {
        let (first, last) = self.0.range(..=number).next_back()?;
        (number <= *last).then_some((*first, *last))
    }

    fn insert(&mut self, number: u64) {
        if self.run_of(number).is_some() {
            return;
        }
        let last = self.0.remove(&(number + 1)).unwrap_or(number);
        match number.checked_sub(1).and_then(|before| self.run_of(before)) {
            Some((first, _)) => self.0.insert(first, last),
            None => self.0.insert(number, last),
        };
    }

    fn remove(&mut self, number: u64) {
        let Some((first, last)) = self.run_of(number) else { return };
        self.0.remove(&first);
        if first < number {
            self.0.insert(first, number - 1);
        }
        if number < last {
            self.0.insert(number + 1, last);
        }
    }

    /// Returns the smallest number from this one on that is not in the set.
    fn first_free(&self, from: u64) -> u64 {
        self.run_of(from).map_or(from, |(_, last)| last + 1)
    }
}

/// Returns whether a name is drawn like one of [`RESERVED_NAMES`], with letters of other scripts or digits in their place:
/// like a sender that no session is. Compares skeletons (Unicode Technical Standard 39, section 4), whatever their case.
pub(super) fn looks_reserved(name: &PeerName) -> bool {
    let folded = |text: &str| skeleton(text).flat_map(char::to_lowercase).collect::<String>();
    let drawn = folded(name.as_str());
    RESERVED_NAMES.iter().any(|reserved| folded(reserved) == drawn)
}

/// Returns the name of a session that works in this folder.
pub(super) fn of_folder(path: &str) -> PeerName {
    let name = PeerName::of_folder(path);
    if looks_reserved(&name) { PeerName::of_folder(&format!("{FALLBACK_NAME}-{name}")) } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{NAME_MAX_CHARS, PeerKey};
    use proptest::prelude::*;

    fn name(text: &str) -> PeerName {
        PeerName::parse(text).unwrap()
    }

    fn tag() -> PeerTag {
        PeerKey::from_bytes([1; 16]).tag()
    }

    #[test]
    fn what_is_drawn_like_a_reserved_name_is_none_and_every_script_has_names() {
        for text in ["ѕhell", "ѕһеӏӏ", "shel1", "аll", "evеryone", "hυb", "уоu", "y0u", "ｈｕｂ"] {
            assert!(PeerName::parse(text).map_or(true, |name| looks_reserved(&name)), "{text}");
        }
        for text in [
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
        ] {
            assert!(!looks_reserved(&name(text)), "{text}");
        }
        assert_eq!(of_folder("/w/ѕhell").as_str(), "session-ѕhell");
    }

    #[test]
    fn a_number_that_was_given_back_is_given_again() {
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

    proptest! {
        #[test]
        fn the_free_name_is_the_first_one_that_counting_finds(
            changes in proptest::collection::vec((any::<bool>(), 0..6usize, 1..120u64), 1..300),
        ) {
            let long = "x".repeat(NAME_MAX_CHARS);
            let hyphen = format!("{}-y", "x".repeat(NAME_MAX_CHARS - 3));
            let wishes = ["api", "api-2", "api-02", "2", &long, &hyphen].map(name);
            let mut names = Names::new();
            for (comes, wish, number) in changes {
                let wish = &wishes[wish];
                if comes {
                    let counted = (2..).map(|n| wish.with_suffix(n)).find(|name| names.holder(name).is_none());
                    let wanted = if names.holder(wish).is_none() { wish.clone() } else { counted.unwrap() };
                    let free = names.free(wish);
                    prop_assert_eq!(&free, &wanted);
                    names.insert(free, tag());
                } else {
                    names.remove(&wish.with_suffix(number));
                }
            }
            for name in names.holders.keys().cloned().collect::<Vec<_>>() {
                names.remove(&name);
            }
            prop_assert!(names.numbered.is_empty());
        }
    }
}
