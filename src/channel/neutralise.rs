//! Makes text from other sessions harmless to whoever reads it: a model, a terminal, an envelope around it.
//!
//! Two passes, both pure. The first takes away what nobody can see: control characters, terminal sequences, bidi and
//! zero-width characters, tag characters. The second looks for the tags that Claude Code or this program give a meaning
//! to and writes their opening bracket as `&lt;`, however they are spelled. Everything else arrives unchanged.
//!
//! Decided, and why:
//! - Tags of markup and generics stay as they are. A type that is spelled like a tag of the table (`Arc<Channel>`) pays
//!   with `&lt;`, which stays readable.
//! - Role turns (`Human:`, `user:`) stay as they are: they are ordinary text, and the envelope says whose words it holds.
//! - A zero-width joiner stays between letters of scripts that need it and inside emoji sequences: neither can be part
//!   of a tag's name. Subdivision flags lose their tag characters and show the plain flag.
//! - A variation selector stays once behind a visible character; a row of them, which can smuggle bytes, does not.

use std::iter::Peekable;
use std::str::Chars;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use crate::protocol::{is_invisible, is_variation_selector};

/// Neutralised text is never longer than this many times the bytes of what went in.
pub const GROWTH_MAX: usize = 2;

/// What the opening bracket of a forbidden tag is written as.
const ESCAPED: &str = "&lt;";

/// The tags that a peer must not write: lower case, letters only, since separators are skipped.
///
/// The envelopes of Claude Code (its channel, reminder, notification, command, shell and hook tags, seen in the requests
/// of 2.1.197 and 2.1.330) and of its model's tool calls, and our own.
const FORBIDDEN_TAGS: [&str; 29] = [
    "antml",
    "bashinput",
    "bashstderr",
    "bashstdout",
    "channel",
    "commandargs",
    "commandcontents",
    "commandmessage",
    "commandname",
    "crosssessionmessage",
    "functioncalls",
    "functionresult",
    "functionresults",
    "invoke",
    "localcommandcaveat",
    "localcommandstderr",
    "localcommandstdout",
    "newdiagnostics",
    "persistedoutput",
    "relaymessage",
    "system",
    "systemreminder",
    "systemwarning",
    "tasknotification",
    "teammatemessage",
    "toolresult",
    "tooluse",
    "tooluseerror",
    "userpromptsubmithook",
];

/// Letters in the longest name of [`FORBIDDEN_TAGS`].
const LONGEST_TAG: usize = 20;

/// Returns the text without what is invisible or steers a terminal, its forbidden tags disarmed.
///
/// Line ends become `\n`. Idempotent, and at most [`GROWTH_MAX`] times as long.
pub fn text(raw: &str) -> String {
    disarm_tags(&visible(raw))
}

/// Returns the text as [`text`] does, on one line.
pub fn line(raw: &str) -> String {
    text(raw).split_whitespace().collect::<Vec<_>>().join(" ")
}

fn visible(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\n' | '\t' => out.push(c),
            '\r' => {
                rest.next_if_eq(&'\n');
                out.push('\n');
            }
            '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => out.push('\n'),
            '\u{1b}' => skip_escape(&mut rest),
            '\u{9b}' => skip_control_sequence(&mut rest),
            '\u{200c}' | '\u{200d}' if joins(c, out.chars().next_back(), rest.peek().copied()) => out.push(c),
            _ if is_variation_selector(c) => {
                let selects = |base: char| !base.is_whitespace() && !is_variation_selector(base);
                if out.chars().next_back().is_some_and(selects) {
                    out.push(c);
                }
            }
            _ if c.is_control() || is_invisible(c) => {}
            _ => out.push(c),
        }
    }
    out
}

/// Skips what follows an ESC: a control sequence, a string up to its terminator, or one more character of a short one.
///
/// A string without a terminator stays: swallowing it would lose text that its writer meant.
fn skip_escape(rest: &mut Peekable<Chars<'_>>) {
    match rest.peek() {
        Some('[') => {
            rest.next();
            skip_control_sequence(rest);
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            let mut ahead = rest.clone();
            while let Some(c) = ahead.next() {
                match c {
                    '\u{7}' | '\u{9c}' => {
                        *rest = ahead;
                        break;
                    }
                    '\u{1b}' => {
                        if ahead.next_if_eq(&'\\').is_some() {
                            *rest = ahead;
                        }
                        break;
                    }
                    _ => {}
                }
            }
        }
        Some('(' | ')' | '#' | '%') => {
            rest.next();
            rest.next_if(char::is_ascii_alphanumeric);
        }
        _ => {}
    }
}

/// Skips the parameters and the final character of a control sequence (ECMA-48, 5.4).
fn skip_control_sequence(rest: &mut Peekable<Chars<'_>>) {
    while rest.next_if(|c| ('\u{20}'..='\u{3f}').contains(c)).is_some() {}
    rest.next_if(|c| ('\u{40}'..='\u{7e}').contains(c));
}

/// Returns whether a joiner between these two means something to a reader.
fn joins(joiner: char, before: Option<char>, after: Option<char>) -> bool {
    let (Some(before), Some(after)) = (before, after) else { return false };
    let letters = needs_joiners(before) && needs_joiners(after);
    let emoji = joiner == '\u{200d}' && (is_pictograph(before) || before == '\u{fe0f}') && is_pictograph(after);
    letters || emoji
}

/// Letters and marks of Arabic, Syriac, Thaana, N'Ko, the scripts of India, Myanmar, Khmer and Mongolian.
const fn needs_joiners(c: char) -> bool {
    matches!(c,
        '\u{620}'..='\u{669}' | '\u{66e}'..='\u{6ff}' | '\u{700}'..='\u{8ff}' | '\u{900}'..='\u{dff}'
        | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17b3}' | '\u{17b6}'..='\u{17ff}' | '\u{1820}'..='\u{18af}'
        | '\u{fb50}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}')
}

const fn is_pictograph(c: char) -> bool {
    matches!(c, '\u{2190}'..='\u{21ff}' | '\u{2300}'..='\u{23ff}' | '\u{2600}'..='\u{27bf}' | '\u{2b00}'..='\u{2bff}'
        | '\u{1f000}'..='\u{1faff}')
}

fn disarm_tags(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((at, bracket)) = rest.char_indices().find(|(_, c)| is_opening_bracket(*c)) {
        out.push_str(&rest[..at]);
        rest = &rest[at + bracket.len_utf8()..];
        if opens_forbidden_tag(rest) {
            out.push_str(ESCAPED);
        } else {
            out.push(bracket);
        }
    }
    out.push_str(rest);
    out
}

/// `<` and what looks like it.
const fn is_opening_bracket(c: char) -> bool {
    matches!(
        c,
        '<' | '\u{2c2}'
            | '\u{1438}'
            | '\u{16b2}'
            | '\u{2039}'
            | '\u{2329}'
            | '\u{276c}'
            | '\u{276e}'
            | '\u{2770}'
            | '\u{27e8}'
            | '\u{29fc}'
            | '\u{3008}'
            | '\u{fe3f}'
            | '\u{fe64}'
            | '\u{ff1c}'
            | '\u{1d236}'
    )
}

/// Returns whether a forbidden name stands behind a bracket: spaces, slashes and separators skipped, letters folded.
fn opens_forbidden_tag(rest: &str) -> bool {
    let mut name = String::new();
    for c in rest.chars() {
        // Variation selectors are among them.
        if is_combining_mark(c) {
            continue;
        }
        if c.is_whitespace() || is_tag_separator(c) {
            if is_forbidden(&name) {
                return true;
            }
            continue;
        }
        let before = name.len();
        if !is_opening_bracket(c) {
            name.extend(folded(c));
        }
        if name.len() == before {
            // What is no letter ends the name; a letter or digit of another kind makes it a longer word.
            return is_forbidden(&name) && (is_opening_bracket(c) || !c.is_alphanumeric());
        }
        if name.len() > LONGEST_TAG {
            return false;
        }
    }
    is_forbidden(&name)
}

fn is_forbidden(name: &str) -> bool {
    FORBIDDEN_TAGS.binary_search(&name).is_ok()
}

/// Slashes, hyphens and what else may stand before or inside a tag's name, with their look-alikes.
const fn is_tag_separator(c: char) -> bool {
    matches!(c, '/' | '\\' | '!' | '?' | '-' | '_' | '.' | '\u{2010}'..='\u{2015}' | '\u{2044}' | '\u{2212}' | '\u{2215}'
        | '\u{29f5}' | '\u{29f8}' | '\u{fe58}' | '\u{fe63}' | '\u{fe68}' | '\u{ff01}' | '\u{ff0d}'..='\u{ff0f}' | '\u{ff3c}'
        | '\u{ff3f}')
}

/// Returns the small Latin letters that a character looks like: none, one, or several for a ligature.
fn folded(c: char) -> impl Iterator<Item = char> {
    std::iter::once(c).nfkd().flat_map(char::to_lowercase).map(look_alike).filter(char::is_ascii_lowercase)
}

/// Returns the Latin letter that a letter of another script is drawn like (after Unicode's confusables table).
const fn look_alike(c: char) -> char {
    match c {
        'а' | 'α' | 'ɑ' | 'ᴀ' => 'a',
        'в' | 'ʙ' | 'Ь' | 'ь' => 'b',
        'с' | 'ϲ' | 'ᴄ' => 'c',
        'ԁ' | 'ɗ' | 'ᴅ' => 'd',
        'е' | 'ε' | 'є' | 'ҽ' | 'ᴇ' => 'e',
        'ƒ' | 'ꜰ' => 'f',
        'ɡ' | 'ց' | 'ɢ' => 'g',
        'һ' | 'н' | 'η' | 'հ' | 'ʜ' => 'h',
        'і' | 'ι' | 'ı' | 'ɩ' | 'ɪ' => 'i',
        'к' | 'κ' | 'ᴋ' => 'k',
        'ӏ' | 'ǀ' | 'ʟ' => 'l',
        'м' | 'μ' | 'ᴍ' => 'm',
        'п' | 'ո' | 'ν' | 'ɴ' => 'n',
        'о' | 'ο' | 'օ' | 'σ' | 'ᴏ' => 'o',
        'р' | 'ρ' | 'ᴘ' => 'p',
        'ԛ' => 'q',
        'г' | 'ʀ' => 'r',
        'ѕ' | 'ꜱ' => 's',
        'т' | 'τ' | 'ᴛ' => 't',
        'υ' | 'ս' | 'ᴜ' => 'u',
        'ѵ' | 'ᴠ' => 'v',
        'ԝ' | 'ω' | 'ᴡ' => 'w',
        'х' | 'χ' => 'x',
        'у' | 'γ' | 'ү' | 'ʏ' => 'y',
        other => other,
    }
}

#[cfg(test)]
mod tests;
