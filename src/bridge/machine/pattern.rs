//! Patterns for names of sessions: `*` for any characters, `?` for one. Pure.

use serde::{Deserialize, Serialize};

/// The most characters of a pattern.
const MAX_CHARS: usize = 128;

/// What a session's name may look like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(String);

/// Says what a pattern is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a pattern is a session's name in which * stands for any characters and ? for one, at most {MAX_CHARS} of them"
)]
pub struct PatternError;

impl Pattern {
    /// Makes a pattern of a text, whatever its case.
    ///
    /// # Errors
    /// It could fit no session's name.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let text = text.trim().to_lowercase();
        let is_name = |c: char| c.is_alphanumeric() || unicode_normalization::char::is_combining_mark(c);
        let is_fit = |c: char| is_name(c) || matches!(c, '-' | '*' | '?');
        let length = text.chars().count();
        if (1..=MAX_CHARS).contains(&length) && text.chars().all(is_fit) { Ok(Self(text)) } else { Err(PatternError) }
    }

    /// Returns its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether a name fits.
    pub fn fits(&self, name: &str) -> bool {
        let (pattern, name): (Vec<char>, Vec<char>) = (self.0.chars().collect(), name.chars().collect());
        let (mut at, mut seen) = (0, 0);
        // Where the last `*` is, and up to where it reaches.
        let mut star: Option<(usize, usize)> = None;
        while seen < name.len() {
            match pattern.get(at) {
                Some('*') => {
                    star = Some((at, seen));
                    at += 1;
                }
                Some(c) if *c == '?' || *c == name[seen] => (at, seen) = (at + 1, seen + 1),
                Some(_) | None => match star {
                    Some((place, reach)) => {
                        star = Some((place, reach + 1));
                        (at, seen) = (place + 1, reach + 1);
                    }
                    None => return false,
                },
            }
        }
        pattern[at..].iter().all(|c| *c == '*')
    }
}

impl TryFrom<String> for Pattern {
    type Error = PatternError;

    fn try_from(text: String) -> Result<Self, PatternError> {
        Self::parse(&text)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fits(pattern: &str, name: &str) -> bool {
        Pattern::parse(pattern).unwrap().fits(name)
    }

    #[test]
    fn a_star_is_any_characters_and_a_question_mark_is_one() {
        for (pattern, name) in [
            ("backend", "backend"),
            ("Docs-*", "docs-a"),
            ("docs-*", "docs-"),
            ("*", "größe"),
            ("?ap?", "naps"),
            ("a*b*c", "a-b-b-c"),
        ] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in
            [("backend", "backend-2"), ("docs-*", "docs"), ("?", ""), ("?ap?", "nap"), ("a*b", "a-b-c"), ("*x", "y")]
        {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn what_fits_no_name_is_no_pattern() {
        for text in ["", " ", "a@desk", "[ab]", "{a,b}", "a/b", "a b", "a\nb", &"x".repeat(129)] {
            assert_eq!(Pattern::parse(text), Err(PatternError), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_name_fits_itself_and_every_star_in_it(name in "[a-z0-9-]{1,20}", at in 0usize..20, n in 0usize..5) {
            prop_assert!(fits(&name, &name));
            let at = at.min(name.len());
            let end = (at + n).min(name.len());
            let starred = format!("{}*{}", &name[..at], &name[end..]);
            prop_assert!(fits(&starred, &name));
        }
    }
}
