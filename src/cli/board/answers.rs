//! The answers to questions that were asked from the board: which are unread, which is read, and how far. Pure.

use std::collections::VecDeque;

/// How many answers are kept. The oldest goes first, read or not.
const KEPT_MAX: usize = 100;

/// How few letters of an answer fill a line: it cannot be scrolled further than all of them.
const LINE_MIN: usize = 20;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// Who was asked.
    pub(super) of: String,
    /// The text.
    pub(super) text: String,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Answers {
    kept: VecDeque<Answer>,
    /// How many of the kept ones, from the first, were read.
    n_read: usize,
    /// How many lines of the one that is read are above the screen.
    scroll: u16,
}

impl Answers {
    /// Adds one that has come.
    pub(super) fn add(&mut self, answer: Answer) {
        self.kept.push_back(answer);
        if self.kept.len() > KEPT_MAX {
            self.kept.pop_front();
            self.n_read = self.n_read.saturating_sub(1);
        }
    }

    /// Returns how many were not read.
    pub(super) fn n_unread(&self) -> usize {
        self.kept.len() - self.n_read
    }

    /// Begins to read the next one, or the last one again where all were read. Returns whether there is one.
    pub(super) fn read_next(&mut self) -> bool {
        self.n_read = (self.n_read + 1).min(self.kept.len());
        self.scroll = 0;
        self.n_read > 0
    }

    /// Returns the one that is read, and how many of its lines are above the screen.
    pub(super) fn reading(&self) -> Option<(&Answer, u16)> {
        Some((self.kept.get(self.n_read.checked_sub(1)?)?, self.scroll))
    }

    /// Moves on in the one that is read, by so many lines, back where they are negative.
    pub(super) fn scroll_by(&mut self, lines: i32) {
        let Some((answer, scroll)) = self.reading() else { return };
        let most: usize = answer.text.lines().map(|line| 1 + line.len() / LINE_MIN).sum();
        let to = (i32::from(scroll) + lines).clamp(0, i32::try_from(most).unwrap_or(i32::MAX));
        self.scroll = u16::try_from(to).unwrap_or(u16::MAX);
    }
}
