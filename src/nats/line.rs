//! The lines that are read and written: one JSON object each. Pure.

use std::borrow::Cow;

use memchr::memchr;
use serde::{Deserialize, Serialize};

/// The longest line that is read, in bytes: the largest message of a server with the usual limit of 1 MiB, however its
/// characters are escaped, but for control characters.
const LINE_MAX_BYTES: usize = 4 * 1024 * 1024;

/// What is to be sent, as it is read.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Outgoing<'a> {
    /// The machine that it is for.
    #[serde(borrow)]
    pub to: Cow<'a, str>,
    /// What it is told.
    #[serde(borrow)]
    pub line: Cow<'a, str>,
}

/// What has come, as it is written.
#[derive(Debug, Serialize)]
pub(super) struct Incoming<'a> {
    /// The machine that has sent it, as the server knows it.
    pub from: &'a str,
    /// What it says.
    pub line: &'a str,
}

/// How it stands with the server, as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub(super) enum State {
    /// Lines are sent and received from here on; those that were written before this was read are dropped.
    Up {
        /// The server's version.
        server: String,
    },
    /// Lines are dropped from here on.
    Down {
        /// What was observed.
        why: String,
    },
    /// It will never be up: the program ends.
    Refused {
        /// What was observed.
        why: String,
        /// What to do about it.
        next: String,
    },
}

/// A line that was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// The bytes without the newline.
    Whole(Vec<u8>),
    /// It was longer than the limit and is gone.
    TooLong,
}

/// Cuts a byte stream into lines and keeps no more than what it was given and one line.
#[derive(Debug, Default)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    /// Up to where `bytes` is known to hold no newline.
    searched: usize,
    /// Whether the rest of the line that has begun is to be dropped, and is told to be too long.
    skipping: Option<TellTooLong>,
}

/// Whether a dropped line is told.
type TellTooLong = bool;

impl Lines {
    /// Adds bytes that were read.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Returns whether there is more than a line's worth, so that nothing has to be read before lines are taken.
    pub(super) const fn is_full(&self) -> bool {
        self.bytes.len() > LINE_MAX_BYTES
    }

    /// Takes the next line; `None` where more bytes are needed.
    pub(super) fn next_line(&mut self) -> Option<Line> {
        loop {
            let Some(offset) = memchr(b'\n', &self.bytes[self.searched..]) else {
                self.searched = self.bytes.len();
                if self.searched > LINE_MAX_BYTES || self.skipping.is_some() {
                    self.skipping.get_or_insert(true);
                    self.bytes = Vec::new();
                    self.searched = 0;
                }
                return None;
            };
            let rest = self.bytes.split_off(self.searched + offset + 1);
            let mut line = std::mem::replace(&mut self.bytes, rest);
            self.searched = 0;
            line.pop();
            return match self.skipping.take() {
                Some(false) => continue,
                Some(true) => Some(Line::TooLong),
                None if line.len() > LINE_MAX_BYTES => Some(Line::TooLong),
                None => Some(Line::Whole(line)),
            };
        }
    }

    /// Drops all that was read, and the rest of a line that has begun.
    pub(super) fn drop_all(&mut self) {
        while self.next_line().is_some() {}
        if !self.bytes.is_empty() {
            self.skipping.get_or_insert(false);
        }
        self.bytes = Vec::new();
        self.searched = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(parts: &[&str]) -> Vec<Line> {
        let mut lines = Lines::default();
        let mut all = Vec::new();
        for part in parts {
            lines.push(part.as_bytes());
            all.extend(std::iter::from_fn(|| lines.next_line()));
        }
        all
    }

    fn whole(text: &str) -> Line {
        Line::Whole(text.as_bytes().to_vec())
    }

    #[test]
    fn lines_are_what_is_between_newlines_however_they_come() {
        assert_eq!(lines(&["a", "b\nc", "\n\nd"]), [whole("ab"), whole("c"), whole("")]);
    }

    #[test]
    fn line_over_the_limit_is_told_and_the_next_one_read() {
        let long = "x".repeat(LINE_MAX_BYTES);
        assert_eq!(lines(&[&long, "\n"]), [whole(&long)]);
        assert_eq!(lines(&[&long, "x", "x\nnext\n"]), [Line::TooLong, whole("next")]);
        assert_eq!(lines(&[&format!("{long}x\nnext\n")]), [Line::TooLong, whole("next")]);
        let mut endless = Lines::default();
        for _ in 0..16 {
            endless.push(long.as_bytes());
            assert_eq!(endless.next_line(), None);
            assert!(endless.bytes.len() <= LINE_MAX_BYTES);
        }
    }

    #[test]
    fn dropped_line_has_no_end_that_counts() {
        let mut lines = Lines::default();
        lines.push(b"one\ntwo, which has beg");
        lines.drop_all();
        lines.push(b"un\nthree\n");
        assert_eq!([lines.next_line(), lines.next_line()], [Some(whole("three")), None]);
        lines.push(b"four\n");
        lines.drop_all();
        lines.push(b"five\n");
        assert_eq!(lines.next_line(), Some(whole("five")));
    }

    #[test]
    fn states_and_mail_have_their_documented_form() {
        let states = [
            State::Up { server: "2.15.1".into() },
            State::Down { why: "lost".into() },
            State::Refused { why: "shared".into(), next: "ls".into() },
        ];
        let states = states.map(|state| serde_json::to_string(&state).unwrap()).join("\n");
        let mail = serde_json::to_string(&Incoming { from: "desk", line: "{\"a\":\"\n\"}" }).unwrap();
        insta::assert_snapshot!(format!("{states}\n{mail}"), @r#"
        {"state":"up","server":"2.15.1"}
        {"state":"down","why":"lost"}
        {"state":"refused","why":"shared","next":"ls"}
        {"from":"desk","line":"{\"a\":\"\n\"}"}
        "#);
        let read: Outgoing<'_> = serde_json::from_str(r#"{"to":"desk","line":"{\"a\":1}"}"#).unwrap();
        assert_eq!((read.to.as_ref(), read.line.as_ref()), ("desk", "{\"a\":1}"));
    }
}
