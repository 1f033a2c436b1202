//! What a check found.

use clap::builder::styling::{AnsiColor, Style};
use serde::Serialize;

use crate::advice::pasteable;
use crate::cli::output::{Line, visible_line};
use crate::cli::service_view::{Fix, Warning};

/// How a checked part stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// As it should be.
    Ok,
    /// Worth knowing, whatever one wants to do about it.
    Note,
    /// It works, but not as it could.
    Warn,
    /// It does not work.
    Fail,
}

/// What a check found, and what cures it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// The check.
    pub(super) name: &'static str,
    /// How the part stands.
    pub(super) state: State,
    /// What was found.
    pub(super) what: String,
    /// The command that cures it, or what else to do.
    pub(super) cure: Option<String>,
    /// What can be done about it without asking.
    #[serde(skip)]
    pub(super) fix: Option<Fix>,
}

impl Finding {
    pub(super) fn ok(name: &'static str, what: impl Into<String>) -> Self {
        Self { name, state: State::Ok, what: what.into(), cure: None, fix: None }
    }

    pub(super) fn note(name: &'static str, what: impl Into<String>) -> Self {
        Self { state: State::Note, ..Self::ok(name, what) }
    }

    pub(super) fn warn(name: &'static str, what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { state: State::Warn, cure: Some(pasteable(&cure.into())), ..Self::ok(name, what) }
    }

    pub(super) fn fail(name: &'static str, what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { state: State::Fail, ..Self::warn(name, what, cure) }
    }

    pub(super) fn of_warning(name: &'static str, state: State, warning: Warning) -> Self {
        let Warning { what, next, fix } = warning;
        Self { fix, state, ..Self::warn(name, what, next) }
    }

    pub(super) fn with_fix(mut self, fix: Fix) -> Self {
        self.fix = Some(fix);
        self
    }

    /// Returns it for people: a line, and one more for the cure.
    pub(super) fn line(&self) -> Line {
        let (word, style) = match self.state {
            State::Ok => ("ok", AnsiColor::Green.on_default()),
            State::Note => ("note", Style::new()),
            State::Warn => ("warn", AnsiColor::Yellow.on_default()),
            State::Fail => ("FAIL", AnsiColor::Red.on_default().bold()),
        };
        let line = Line::default().styled(style, &format!("{word:<4}"));
        let line = line.plain(&format!("  {:<18} {}", self.name, visible_line(&self.what)));
        match &self.cure {
            Some(cure) => line.plain(&format!("\n{:26}cure: {}", "", visible_line(cure))),
            None => line,
        }
    }
}
