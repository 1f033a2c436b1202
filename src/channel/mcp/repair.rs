//! Makes a line readable that a client should not have sent: half a surrogate pair, or bytes that are no UTF-8. Pure.

/// What stands for what cannot be read: U+FFFD.
const REPLACEMENT: &[u8] = b"\\ufffd";

/// Returns the line with U+FFFD for each half of a surrogate pair and each sequence that is no UTF-8.
pub fn repair(line: &[u8]) -> Vec<u8> {
    let line = String::from_utf8_lossy(line);
    let mut rest = line.as_bytes();
    let mut out = Vec::with_capacity(rest.len() + REPLACEMENT.len());
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        let taken = match unit(rest) {
            Some(0xd800..=0xdbff) if matches!(unit(&rest[6..]), Some(0xdc00..=0xdfff)) => 12,
            Some(0xd800..=0xdfff) => {
                out.extend_from_slice(REPLACEMENT);
                rest = &rest[6..];
                continue;
            }
            Some(_) => 6,
            None => rest.len().min(2),
        };
        out.extend_from_slice(&rest[..taken]);
        rest = &rest[taken..];
    }
    out.extend_from_slice(rest);
    out
}

/// Returns the UTF-16 unit that is written as `\uXXXX` at the beginning of the text.
fn unit(text: &[u8]) -> Option<u32> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    digits.iter().try_fold(0, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn repaired(text: &[u8]) -> String {
        String::from_utf8(repair(text)).unwrap()
    }

    #[test]
    fn half_a_surrogate_pair_becomes_the_replacement_character() {
        for (text, expected) in [
            (r#""done \ud83d""#, r#""done \ufffd""#),
            (r#""\ude00 \ud83d\ud83d\ude00 \uD83Dx""#, r#""\ufffd \ufffd\ud83d\ude00 \ufffdx""#),
            (r#""\\ud83d \u00e9 \n \" \u12"#, r#""\\ud83d \u00e9 \n \" \u12"#),
        ] {
            assert_eq!(repaired(text.as_bytes()), expected);
        }
        assert_eq!(repaired(b"a\xffb\\"), "a\u{fffd}b\\");
    }

    proptest! {
        #[test]
        fn text_of_whole_characters_stays(text in any::<String>()) {
            let json = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(repaired(json.as_bytes()), json);
        }

        #[test]
        fn no_line_panics(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            repair(&bytes);
        }
    }
}
