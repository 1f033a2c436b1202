//! What this machine's person has decided about another machine: how it is reached, and what it may do here. Pure;
//! `files` reads and writes it.
//!
//! ```toml
//! via = { ssh = "me@desk" }          # or exec = ["docker", "exec", …], or nats = { server = "tls://…", creds = "FILE", as = "laptop" };
//!                                    # without it the other machine comes to us
//! they_may = "reply"                 # ask, hold, reply, nothing
//! sessions = ["backend", "docs-*"]   # which of our sessions they may see and ask; all without it
//! share = "names"                    # all, names, nothing
//! paused = false
//! as = "laptop"                      # what this machine is called there
//! ```

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::protocol::MachineName;

mod files;
mod pattern;
mod quoted;
mod via;

pub use files::{Loaded, MachineError, MachineFiles};
pub use pattern::Pattern;
pub use via::{Identity, Nats, SshHost, Via, ViaError, own_name};

use quoted::{list, quoted};

/// Another machine, and what is decided about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its name here.
    pub name: MachineName,
    /// How it is reached; none where it comes to us.
    pub via: Option<Via>,
    /// What it may do here.
    pub they_may: TheyMay,
    /// Which of our sessions it may see and ask; all without it.
    pub sessions: Option<Vec<Pattern>>,
    /// What it is told of them.
    pub share: Share,
    /// Whether its link is to be down.
    pub is_paused: bool,
    /// What this machine is called there, if that is not its host name.
    pub own_name: Option<MachineName>,
}

/// What another machine may do here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TheyMay {
    /// Ask our sessions, and answer them.
    Ask,
    /// Ask, but each ask waits until this machine's person lets it through; and answer.
    Hold,
    /// Answer what our sessions ask, and nothing else.
    Reply,
    /// Nothing: it is not told of our sessions either, and ours do not ask it.
    Nothing,
}

impl TheyMay {
    /// Returns the word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ask => "ask",
            Self::Hold => "hold",
            Self::Reply => "reply",
            Self::Nothing => "nothing",
        }
    }
}

/// What another machine is told of our sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Share {
    /// The folder as well.
    All,
    /// Name, branch, agent and what it does.
    Names,
    /// That they are there at all: no.
    Nothing,
}

impl Share {
    const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Names => "names",
            Self::Nothing => "nothing",
        }
    }
}

/// The file's members.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Members {
    via: Option<Via>,
    they_may: Option<TheyMay>,
    sessions: Option<Vec<Pattern>>,
    share: Option<Share>,
    #[serde(default)]
    paused: bool,
    #[serde(rename = "as")]
    own_name: Option<MachineName>,
}

/// What is wrong with a file's text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct TextError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong, and what is allowed.
    pub what: String,
}

impl Machine {
    /// Returns a machine that is reached in this way, with the rights that the way itself proves: whoever is dialled by ssh
    /// or a command may answer; whoever can log in here may ask; over NATS nothing is proved.
    pub fn new(name: MachineName, via: Option<Via>) -> Self {
        let they_may = match &via {
            Some(Via::Ssh(_) | Via::Exec(_)) => TheyMay::Reply,
            None => TheyMay::Ask,
            Some(Via::Nats(_)) => TheyMay::Nothing,
        };
        Self { name, via, they_may, sessions: None, share: Share::Names, is_paused: false, own_name: None }
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// It is no TOML, or a member is unknown or has a value that is not allowed.
    pub fn parse(name: MachineName, text: &str) -> Result<Self, TextError> {
        let members: Members = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let line = text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
            TextError { line, what: error.message().lines().collect::<Vec<_>>().join("; ") }
        })?;
        let usual = Self::new(name, members.via);
        Ok(Self {
            they_may: members.they_may.unwrap_or(usual.they_may),
            sessions: members.sessions,
            share: members.share.unwrap_or(usual.share),
            is_paused: members.paused,
            own_name: members.own_name,
            ..usual
        })
    }

    /// Returns the file's text.
    pub fn to_text(&self) -> String {
        let mut text = "# Written by relayctl machines; docs/machines.md says what each line means.\n".to_owned();
        let mut line = |name: &str, value: &str| {
            // A text takes whatever is written to it.
            let _written = writeln!(text, "{name} = {value}");
        };
        if let Some(via) = &self.via {
            line("via", &via.to_toml());
        }
        line("they_may", &quoted(self.they_may.as_str()));
        if let Some(sessions) = &self.sessions {
            line("sessions", &list(sessions.iter().map(Pattern::as_str)));
        }
        line("share", &quoted(self.share.as_str()));
        if self.is_paused {
            line("paused", "true");
        }
        if let Some(own_name) = &self.own_name {
            line("as", &quoted(own_name.as_str()));
        }
        text
    }

    /// Returns what this machine is called there; `host` is its host name.
    pub fn own_name(&self, host: &str) -> MachineName {
        match (&self.via, &self.own_name) {
            (Some(Via::Nats(nats)), _) => nats.own_name.clone(),
            (_, Some(name)) => name.clone(),
            (_, None) => own_name(host),
        }
    }

    /// Returns the words for the way to it.
    pub fn via_text(&self) -> String {
        self.via.as_ref().map_or_else(|| "comes to us".to_owned(), Via::to_string)
    }
}

#[cfg(test)]
mod tests;
