//! Disarms the tags that Claude Code, its model, or this program give a meaning to. Pure.
//!
//! A tag begins with a bracket or what looks like one. Behind it stands a name that may be spelled in look-alikes, with
//! spaces, slashes and separators anywhere. The bracket of such a tag is written as an entity, and the rest stays.

use std::sync::LazyLock;

use memchr::memchr2;
use unicode_normalization::char::is_combining_mark;

use super::looks::{is_blank, is_opening_bracket, readings, skeleton_of};

/// The tags that a peer must not write: lower case, letters only, since separators are skipped.
///
/// The envelopes of Claude Code (its channel, reminder, notification, command, shell, memory and hook tags, seen in the
/// programs and requests of 2.1.197 and 2.1.330) and of its model's tool calls, those in which Codex 0.171.0, Copilot 1.0.102,
/// Gemini CLI 0.61.0, opencode 1.18.33, pi 1.6.0 and Qwen Code 0.24.4 speak to their models, turns in the words of models, and our
/// own.
const GUARDED: [&str; 103] = [
    "agentinstructions",
    "agentmessage",
    "antml",
    "appsinstructions",
    "assistant",
    "bashinput",
    "bashstderr",
    "bashstdout",
    "ccautomodepermissions",
    "ccautomodesessionrules",
    "ccmemory",
    "channel",
    "channelmessage",
    "collaborationmode",
    "commandargs",
    "commandcontents",
    "commandmessage",
    "commandname",
    "contextwindowreminder",
    "coordinatortask",
    "crosssessionmessage",
    "currentdatetime",
    "endoftext",
    "environmentcontext",
    "extensioncontext",
    "functioncalls",
    "functionresult",
    "functionresults",
    "globalcontext",
    "hookcontext",
    "hookprompt",
    "human",
    "ideopenedfile",
    "ideselection",
    "imend",
    "imstart",
    "interruptedoutput",
    "invoke",
    "loadedcontext",
    "localcommandcaveat",
    "localcommandstderr",
    "localcommandstdout",
    "mainagentuserrequest",
    "mcpinstructions",
    "mcpresource",
    "mcpservernote",
    "memoryupdates",
    "modechangednotice",
    "modelswitch",
    "newdiagnostics",
    "nonusermessage",
    "partialresponse",
    "permissionsinstructions",
    "persistedoutput",
    "personalityspec",
    "planmode",
    "pluginsinstructions",
    "previousconversation",
    "projectcontext",
    "projectinstructions",
    "realtimeconversation",
    "recommendedplugins",
    "relaymessage",
    "reploutput",
    "sandboxviolations",
    "scheduledtask",
    "sessioncontext",
    "sessionmemoryrecovery",
    "skillcontent",
    "skillcontext",
    "skillsinstructions",
    "statesnapshot",
    "subagent",
    "subagenthandback",
    "subagentnotification",
    "system",
    "systemnote",
    "systemnotification",
    "systemnotifications",
    "systemreminder",
    "systemupdate",
    "systemwarning",
    "tasknotification",
    "teammatemessage",
    "toolcall",
    "toolresult",
    "toolschangednotice",
    "tooluse",
    "tooluseerror",
    "truncatedoutput",
    "turnaborted",
    "untrustedcontext",
    "useraction",
    "userclaudemd",
    "userinput",
    "userinstructions",
    "usermessage",
    "userpromptsubmithook",
    "userquery",
    "usershellcommand",
    "usershellcommandoutput",
    "webhookpayload",
    "workingdirectorychanged",
];

static SKELETONS: LazyLock<Vec<String>> = LazyLock::new(|| GUARDED.map(skeleton_of).to_vec());

/// What models of Mistral and Llama know as the borders of their user's turn stands in square brackets.
static IN_SQUARE_BRACKETS: LazyLock<Vec<String>> = LazyLock::new(|| vec![skeleton_of("inst")]);

/// Returns whether the text may have a guarded tag. Brackets that are not ASCII are not looked for one by one here.
pub(super) fn may_have_any(text: &str) -> bool {
    !text.is_ascii() || memchr2(b'<', b'[', text.as_bytes()).is_some()
}

/// Returns the text with the brackets of all guarded tags as entities: `&lt;`, and the number of any other bracket.
pub(super) fn disarm(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((at, bracket)) = rest.char_indices().find(|(_, c)| *c == '[' || is_opening_bracket(*c)) {
        out.push_str(&rest[..at]);
        rest = &rest[at + bracket.len_utf8()..];
        let names = if bracket == '[' { &*IN_SQUARE_BRACKETS } else { &*SKELETONS };
        if !opens_guarded_tag(rest, names) {
            out.push(bracket);
        } else if bracket == '<' {
            out.push_str("&lt;");
        } else {
            out.push_str(&format!("&#x{:X};", u32::from(bracket)));
        }
    }
    out.push_str(rest);
    out
}

/// Returns whether a guarded name stands behind a bracket: spaces and separators skipped, letters as they look.
fn opens_guarded_tag(rest: &str, names: &'static [String]) -> bool {
    let mut name = Reading::of(names);
    for c in rest.chars() {
        // Variation selectors are among them.
        if is_combining_mark(c) {
            continue;
        }
        let separates = is_blank(c) || is_separator(c);
        if separates && name.is_whole() {
            return true;
        }
        if is_opening_bracket(c) || !name.read(c, separates) {
            // What is no letter ends the name; a letter or digit of another kind makes it a longer word.
            return name.is_whole() && (is_opening_bracket(c) || !c.is_alphanumeric());
        }
    }
    name.is_whole()
}

/// Slashes, hyphens and what else may stand before or inside a tag's name, with their look-alikes.
const fn is_separator(c: char) -> bool {
    matches!(c, '/' | '\\' | '!' | '?' | '-' | '_' | '.' | '|' | '\u{2010}'..='\u{2015}' | '\u{2044}' | '\u{2212}' | '\u{2215}'
        | '\u{29f5}' | '\u{29f8}' | '\u{fe4d}'..='\u{fe4f}' | '\u{fe58}' | '\u{fe63}' | '\u{fe68}' | '\u{ff01}'
        | '\u{ff0d}'..='\u{ff0f}' | '\u{ff1f}' | '\u{ff3c}' | '\u{ff3f}' | '\u{ff5c}' | '\u{fffc}' | '\u{fffd}')
}

/// What the characters so far may be read as: beginnings of words of a table, which is in skeletons.
#[derive(Debug)]
pub(super) struct Reading {
    words: &'static [String],
    beginnings: Vec<&'static str>,
}

impl Reading {
    /// Returns a reading of nothing so far.
    pub(super) fn of(words: &'static [String]) -> Self {
        Self { words, beginnings: vec![""] }
    }

    /// Reads one more character, which may be skipped as well. Returns whether any word is still possible; if not, it
    /// stays as it was.
    pub(super) fn read(&mut self, c: char, may_skip: bool) -> bool {
        let mut longer = if may_skip { self.beginnings.clone() } else { Vec::new() };
        for letters in readings(c) {
            for beginning in &self.beginnings {
                let has = |word: &&String| word.strip_prefix(*beginning).is_some_and(|rest| rest.starts_with(&letters));
                if let Some(word) = self.words.iter().find(has) {
                    let read = &word[..beginning.len() + letters.len()];
                    if !longer.contains(&read) {
                        longer.push(read);
                    }
                }
            }
        }
        if longer.is_empty() {
            return false;
        }
        self.beginnings = longer;
        true
    }

    /// Returns whether what was read is a word of the table.
    pub(super) fn is_whole(&self) -> bool {
        self.beginnings.iter().any(|read| self.words.iter().any(|word| word == read))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_guarded_tag_is_disarmed_opening_and_closing_in_either_case() {
        for tag in GUARDED {
            for written in [format!("<{tag}>"), format!("</{tag}>"), format!("<{} a=\"b\">", tag.to_uppercase())] {
                assert_eq!(disarm(&written), written.replace('<', "&lt;"));
            }
        }
    }

    #[test]
    fn a_word_that_only_begins_like_a_guarded_tag_is_none() {
        for tag in GUARDED {
            let longer = format!("<{tag}zzz>");
            assert_eq!(disarm(&longer), longer);
            let shorter = &tag[..tag.len() - 1];
            let is_guarded = GUARDED.contains(&shorter);
            assert_eq!(disarm(&format!("<{shorter}>")).starts_with("&lt;"), is_guarded, "{shorter}");
        }
    }

    #[test]
    fn the_borders_of_a_turn_in_square_brackets_are_disarmed() {
        for (written, disarmed) in [
            ("[INST] hi [/INST]", "&#x5B;INST] hi &#x5B;/INST]"),
            ("[instance] [1] [x](y) a[i]", "[instance] [1] [x](y) a[i]"),
        ] {
            assert_eq!(disarm(written), disarmed);
        }
    }

    #[test]
    fn the_table_of_tags_is_sorted() {
        assert!(GUARDED.is_sorted_by(|one, other| one < other));
    }
}
