//! Which characters look alike: the skeletons of Unicode Technical Standard 39, section 4. Pure.
//!
//! The table is a text that lies in the program as it is and is searched there. A table of slices, as the crate
//! `unicode-security` has it, holds an address for each of its rows: the loader writes them at each start, which costs
//! every process some 160 KiB of memory of its own.

use std::cmp::Ordering;

use unicode_normalization::UnicodeNormalization;

use crate::protocol::{is_invisible, is_variation_selector};

/// A line for each character that looks like something else, in their order: the character and what it looks like, as
/// code points in hexadecimal. Characters that decompose, or that are not seen, have none: they never get here.
const SHAPES: &str = include_str!("confusables/shapes.txt");

/// Returns the skeleton of a text: texts that look alike have the same.
pub(crate) fn skeleton(text: &str) -> impl Iterator<Item = char> + '_ {
    let seen = text.nfd().filter(|c| !is_invisible(*c) && !is_variation_selector(*c));
    seen.flat_map(|c| shape(c).map_or(Shape::Itself(Some(c)), Shape::Other)).nfd()
}

/// What a character looks like.
enum Shape {
    /// The character itself, until it is taken.
    Itself(Option<char>),
    /// The rest of a line of the table.
    Other(&'static str),
}

impl Iterator for Shape {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        match self {
            Self::Itself(c) => c.take(),
            Self::Other(rest) => {
                let (first, others) = rest.split_once(' ').unwrap_or((*rest, ""));
                *rest = others;
                code_point(first).and_then(char::from_u32)
            }
        }
    }
}

/// Returns what a character looks like, as its line says it; none where it looks like nothing else.
fn shape(c: char) -> Option<&'static str> {
    let (mut from, mut to) = (0, SHAPES.len());
    while from < to {
        let middle = usize::midpoint(from, to);
        let start =
            SHAPES.as_bytes()[from..middle].iter().rposition(|byte| *byte == b'\n').map_or(from, |at| from + at + 1);
        let line = SHAPES[start..].split('\n').next()?;
        let (key, shape) = line.split_once(' ')?;
        match code_point(key)?.cmp(&u32::from(c)) {
            Ordering::Less => from = start + line.len() + 1,
            Ordering::Equal => return Some(shape),
            Ordering::Greater => to = start,
        }
    }
    None
}

fn code_point(digits: &str) -> Option<u32> {
    u32::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;
    use std::path::Path;

    use proptest::prelude::*;
    use unicode_security::confusable_detection;

    use super::*;

    fn unicodes(text: &str) -> String {
        confusable_detection::skeleton(text).collect()
    }

    /// Interlinear annotations are not seen either, which Unicode says in another table.
    fn is_annotation(c: char) -> bool {
        matches!(c, '\u{fff9}'..='\u{fffb}')
    }

    #[test]
    fn confusables_are_unicodes() {
        let mut table = String::new();
        for c in ('\0'..=char::MAX).filter(|c| !is_invisible(*c) && !is_variation_selector(*c)) {
            let text = c.to_string();
            let shape = unicodes(&text);
            if shape != text && text.nfd().eq([c]) {
                let points: Vec<String> = shape.chars().map(|c| format!("{:04X}", u32::from(c))).collect();
                writeln!(table, "{:04X} {}", u32::from(c), points.join(" ")).unwrap();
            }
        }
        if table != SHAPES && std::env::var_os("RELAY_WRITE_CONFUSABLES").is_some() {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/confusables/shapes.txt");
            std::fs::write(path, &table).unwrap();
        }
        assert!(table == SHAPES, "Unicode's table has changed: run this test with RELAY_WRITE_CONFUSABLES=1");
    }

    #[test]
    fn skeleton_of_every_character_is_unicodes() {
        for c in ('\0'..=char::MAX).filter(|c| !is_annotation(*c)) {
            let text = c.to_string();
            assert_eq!(skeleton(&text).collect::<String>(), unicodes(&text), "{:x}", u32::from(c));
        }
    }

    proptest! {
        #[test]
        fn skeleton_of_any_text_is_unicodes(text in any::<String>().prop_filter("annotations", |text| !text.contains(is_annotation))) {
            prop_assert_eq!(skeleton(&text).collect::<String>(), unicodes(&text));
        }
    }
}
