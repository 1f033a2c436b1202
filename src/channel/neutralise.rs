//! Makes text from other sessions harmless to whoever reads it: a model, a terminal, an envelope around it.
//!
//! Three passes, all pure. The first takes away what nobody can see: control characters, terminal sequences, bidi and
//! zero-width characters, tag characters. The second (`tags`) disarms the tags that Claude Code or this program give a
//! meaning to, however they are spelled. The third (`turns`) quotes lines that pretend to begin a turn. Everything else
//! arrives unchanged. Each pass first looks whether the text has anything for it at all, which costs next to nothing:
//! most text is plain.
//!
//! Decided, and why:
//! - Tags of markup and generics stay as they are. A type that is spelled like a guarded tag (`Arc<Channel>`) pays with
//!   `&lt;`, which stays readable.
//! - Entities, JSON and source escapes (`&lt;`, `\u003c`) stay as they are: nothing on the way decodes them.
//! - A zero-width joiner stays between letters of scripts that need it and inside emoji sequences: neither can be part
//!   of a tag's name. Subdivision flags lose their tag characters and show the plain flag.
//! - A variation selector stays once behind a visible character; a row of them, which can smuggle bytes, does not.
//!
//! Each class of break-out, with what arrives of it, is a file in `tests/it/channel/peer_text/`.

mod looks;
mod tags;
mod turns;

use std::borrow::Cow;
use std::iter::Peekable;
use std::str::Chars;

use unicode_normalization::char::is_combining_mark;

use crate::protocol::{is_invisible, is_variation_selector};

/// Neutralised text is never longer than this many times the bytes of what went in.
pub const GROWTH_MAX: usize = 2;

/// The most combining marks on one character. No script needs more than a few; rows of hundreds cover the lines around.
const MARKS_MAX: usize = 16;

/// Returns the text without what is invisible or steers a terminal, its guarded tags and forged turns disarmed.
///
/// Line ends become `\n`. Idempotent, and at most [`GROWTH_MAX`] times as long.
pub fn text(raw: &str) -> String {
    disarmed(visible(raw))
}

/// Returns the text as [`text`] does, on one line.
pub fn line(raw: &str) -> String {
    // What nearly every line is: a name.
    if raw.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return raw.to_owned();
    }
    // Joined first: what is harmless on two lines may not be so on one.
    disarmed(visible(raw).split_whitespace().collect::<Vec<_>>().join(" ").into())
}

fn disarmed(visible: Cow<'_, str>) -> String {
    let disarmed = if tags::may_have_any(&visible) { tags::disarm(&visible).into() } else { visible };
    if turns::may_have_any(&disarmed) { turns::quote(&disarmed) } else { disarmed.into_owned() }
}

fn visible(raw: &str) -> Cow<'_, str> {
    let is_plain = |all, byte: &u8| all & matches!(byte, b' '..=b'~' | b'\n' | b'\t');
    // Many bytes at a time, as the processor can, rather than one after the other.
    let all_plain = raw.as_bytes().chunks(64).all(|bytes| bytes.iter().fold(true, is_plain));
    if all_plain { raw.into() } else { without_the_invisible(raw).into() }
}

fn without_the_invisible(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut marks = 0;
    let mut rest = raw.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            ' '..='~' => {
                marks = 0;
                out.push(c);
            }
            '\n' | '\t' => out.push(c),
            '\r' => {
                rest.next_if_eq(&'\n');
                out.push('\n');
            }
            '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => out.push('\n'),
            '\u{1b}' => skip_escape(&mut rest),
            '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => skip_string(&mut rest),
            '\u{9b}' => skip_control_sequence(&mut rest),
            '\u{200c}' | '\u{200d}' if joins(c, out.chars().next_back(), rest.peek().copied()) => out.push(c),
            _ if is_variation_selector(c) => {
                let selects = |base: char| !base.is_whitespace() && !is_variation_selector(base);
                if out.chars().next_back().is_some_and(selects) {
                    out.push(c);
                }
            }
            _ if c.is_control() || is_invisible(c) || is_noncharacter(c) => {}
            _ if is_combining_mark(c) => {
                marks += 1;
                if marks <= MARKS_MAX {
                    out.push(c);
                }
                continue;
            }
            _ => {
                marks = 0;
                out.push(c);
            }
        }
    }
    out
}

/// Skips what follows an ESC: a control sequence, a string up to its terminator, or one more character of a short one.
fn skip_escape(rest: &mut Peekable<Chars<'_>>) {
    match rest.peek() {
        Some('[') => {
            rest.next();
            skip_control_sequence(rest);
        }
        Some(']' | 'P' | 'X' | '^' | '_') => skip_string(rest),
        Some('(' | ')' | '#' | '%') => {
            rest.next();
            rest.next_if(char::is_ascii_alphanumeric);
        }
        _ => {}
    }
}

/// Skips a control string and its terminator (ECMA-48, 5.6).
///
/// A string without a terminator stays: swallowing it would lose text that its writer meant.
fn skip_string(rest: &mut Peekable<Chars<'_>>) {
    let mut ahead = rest.clone();
    while let Some(c) = ahead.next() {
        match c {
            '\u{7}' | '\u{9c}' => *rest = ahead,
            '\u{1b}' if ahead.next_if_eq(&'\\').is_some() => *rest = ahead,
            '\n' | '\t' | '\r' => continue,
            _ if c.is_control() => {}
            _ => continue,
        }
        return;
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

/// The 66 code points that are never characters (Unicode, 23.7).
const fn is_noncharacter(c: char) -> bool {
    c as u32 & 0xfffe == 0xfffe || matches!(c, '\u{fdd0}'..='\u{fdef}')
}

#[cfg(test)]
mod tests;
