//! What a character looks like to a reader: the Latin letters that it may be read as. Pure.
//!
//! The look-alikes are Unicode's own (UTS 39, `crate::confusables`), of a character and of its other case, since that
//! table tells `в` from `B` but not from `b`. What it leaves out, because it is Latin itself, stands in [`LATIN`].

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use crate::confusables::skeleton;

/// Latin letters with hooks, strokes and tails, and small capitals, that the Unicode table keeps apart from the plain
/// ones; and a few letters of other scripts.
const LATIN: [(char, &str); 25] = [
    ('a', "ᴀȺⱥᶏꬰ"),
    ('b', "ʙᵬᶀꞖꞗ"),
    ('c', "ɕꞒꞓꞔꟄ"),
    ('d', "ᴅȡᵭᶁᶑꟇꟈ"),
    ('e', "ᴇєᶒⱸꬴ"),
    ('f', "ꜰᶂ"),
    ('g', "ɢʛꞠꞡ"),
    ('h', "ʜꞕ"),
    ('i', "ᶖꙵ"),
    ('j', "ᴊ"),
    ('k', "ᴋᶄꝂꝃꝄꝅꞢꞣ"),
    ('l', "ʟȴɬᴌᶅⱠⱡꝈꝉꞎꬷꬸꬹ"),
    ('m', "ᴍᶆꬺ"),
    ('n', "ɴȵᶇꞐꞑꞤꞥꬻп"),
    ('o', "ⱺꝌꝍ"),
    ('p', "ᴘᵱᶈꝐꝑꝒꝓꝔꝕ"),
    ('q', "ɊɋꝖꝗꝘꝙꞯ"),
    ('r', "ɾᵳᶉꞦꞧꭆꭉ"),
    ('s', "ȿᶊⱾꞨꞩꟉꟊ"),
    ('t', "ᴛȶ"),
    ('u', "ᶙꙷꞸꞹ"),
    ('v', "Ʋʋᶌⱱⱴꝟ"),
    ('w', "Ⱳⱳω"),
    ('x', "ᶍꭖꭗꭘꭙ"),
    ('z', "ɀʑᶎⱿꟆ"),
];

/// The first of each row of letters in a frame, from A to Z, that the Unicode table does not know: parenthesised, squared,
/// negative circled, negative squared, regional indicators.
const FRAMED: [u32; 5] = [0x1f110, 0x1f130, 0x1f150, 0x1f170, 0x1f1e6];

/// What a reader may take for `<` besides itself: brackets, quotation marks, relations and letters drawn as an angle.
const BRACKETS: &str = "«˂˱ᐸ᚜‹≤≦≨≪≮≰≲≴≶≸≺≼≾⊀⊰⊲⋖⋘⋚⋜⋞⋠⋦⋨⋪\u{2329}⍃◁◃◅❬❮❰⟨⟪⥶⥷⦑⦓⦕⧀⧏⧼⩹⩻⩽⩿⪁⪃⪅⪇⪉⪋⪍⪏⪑⪓⪕⪗⪙⪛⪝⪟⪡⪣⪦⪨⪪⪬⪯⪱⪳⪵⪷⪹⪻⫷⫹⭠⮘⮜⯇〈《くㄑ㋗︽︿﹤＜\u{1d236}🠀🠄🠈🠐🠔🠘🢐ᑄᑅᔌᚲ⪥Ⲵⲵⵦ𐌭𖫬";

/// The one character that is drawn like a space and that Unicode does not count as one.
const BRAILLE_BLANK: char = '\u{2800}';

/// Returns whether a reader may take the character for `<`.
pub(super) fn is_opening_bracket(c: char) -> bool {
    c == '<' || (!c.is_ascii() && BRACKETS.contains(c))
}

/// Returns whether a reader may take the character for a space.
pub(super) const fn is_blank(c: char) -> bool {
    c.is_whitespace() || c == BRAILLE_BLANK
}

/// Returns what a reader may take the character for: lower-case Latin letters, one, or several for a ligature; nothing for
/// what looks like no Latin letter. Digits that look like letters are letters.
pub(super) fn readings(c: char) -> Vec<String> {
    let plain: String = std::iter::once(c).nfkd().filter(|c| !is_combining_mark(*c)).collect();
    let mut all = vec![letters(&plain), letters(&plain.to_lowercase())];
    if !c.is_ascii() {
        // A compatibility form is another letter at times: the lunate sigma, drawn like c, is a sigma.
        all.extend([letters(&plain.to_uppercase()), letters(c.encode_utf8(&mut [0; 4]))]);
        all.extend(listed(c).map(|letter| skeleton_of(&letter.to_string())));
    }
    all.retain(|letters| !letters.is_empty());
    all.sort();
    all.dedup();
    all
}

/// Returns the skeleton of a word, by which words that look alike are compared.
pub(super) fn skeleton_of(word: &str) -> String {
    skeleton(word).collect()
}

fn letters(plain: &str) -> String {
    let shape: String = skeleton(plain).filter(|c| !is_combining_mark(*c)).flat_map(char::to_lowercase).collect();
    // A letter of another script that looks like no Latin one makes it another word.
    if shape.chars().any(|c| c.is_alphanumeric() && !c.is_ascii()) {
        return String::new();
    }
    let small: String = shape.chars().filter(char::is_ascii_lowercase).collect();
    skeleton_of(&small)
}

fn listed(c: char) -> Option<char> {
    let framed = FRAMED.iter().find_map(|first| {
        let nth = (c as u32).checked_sub(*first).filter(|nth| *nth < 26)?;
        char::from_u32('a' as u32 + nth)
    });
    framed.or_else(|| LATIN.iter().find(|(_, looks)| looks.contains(c)).map(|(letter, _)| *letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_read_as_what_it_looks_like_in_either_case() {
        for (c, letters) in [
            ('C', vec!["c"]),
            ('ϲ', vec!["c"]),
            ('М', vec!["rn"]),
            ('I', vec!["i", "l"]),
            ('1', vec!["l"]),
            ('m', vec!["rn"]),
            ('в', vec!["b"]),
            ('η', vec!["h", "n"]),
            ('ﬆ', vec!["st"]),
            ('ꮯ', vec!["c"]),
            ('𐊢', vec!["c"]),
            ('ƈ', vec!["c"]),
            ('ɴ', vec!["n"]),
            ('🅲', vec!["c"]),
            ('🇿', vec!["z"]),
            ('⒞', vec!["c"]),
            ('é', vec!["e"]),
            ('中', vec![]),
            ('>', vec![]),
        ] {
            assert_eq!(readings(c), letters, "{c}");
        }
    }

    #[test]
    fn every_plain_letter_reads_as_itself_whatever_its_dress() {
        for plain in 'a'..='z' {
            let own = skeleton_of(&plain.to_string());
            let nth = plain as u32 - 'a' as u32;
            let rows = [0x41, 0xff21, 0xff41, 0x24b6, 0x24d0, 0x249c, 0x1d400, 0x1d41a, 0x1d5d4, 0x1d68a];
            for dressed in rows.into_iter().chain(FRAMED).filter_map(|first| char::from_u32(first + nth)) {
                assert!(readings(dressed).contains(&own), "{dressed} is read as {:?}", readings(dressed));
            }
        }
        for behind_z in FRAMED.into_iter().filter_map(|first| char::from_u32(first + 26)) {
            assert_eq!(listed(behind_z), None, "{behind_z}");
        }
    }

    #[test]
    fn the_table_of_letters_holds_only_what_unicode_does_not() {
        for (letter, looks) in LATIN {
            let own = skeleton_of(&letter.to_string());
            for look in looks.chars() {
                let known = [look.to_string(), look.to_lowercase().collect(), look.to_uppercase().collect()];
                assert!(!known.iter().any(|known| letters(known) == own), "Unicode knows {look}");
            }
        }
    }

    #[test]
    fn everything_that_unicode_takes_for_an_angle_is_a_bracket() {
        for c in ('\u{80}'..='\u{1ffff}').filter(|c| !is_opening_bracket(*c)) {
            let plain: String = std::iter::once(c).nfkd().collect();
            assert!(!skeleton(&plain).any(|shape| shape == '<'), "{c} {:x}", c as u32);
        }
    }

    #[test]
    fn everything_that_unicode_takes_for_a_space_is_blank() {
        for c in ('\u{80}'..='\u{1ffff}').filter(|c| !is_blank(*c)) {
            let shape = skeleton_of(&c.to_string());
            assert!(shape.is_empty() || !shape.chars().all(char::is_whitespace), "{:x}", c as u32);
        }
    }
}
