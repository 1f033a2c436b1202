//! What a channel waits for, and which of it was woken.

use std::task::Waker;

use crate::agent;
use crate::ready::ReadyList;

#[derive(Debug, Clone, Copy)]
pub(super) enum Source {
    Signals,
    Stdio,
    Hub,
    Session,
    Agent,
    Alarm,
}

/// The sources in the order of their wakers.
const ALL: [Source; 6] = [Source::Signals, Source::Stdio, Source::Hub, Source::Session, Source::Agent, Source::Alarm];

/// The sources whose wait begins anew with each turn. That for signals goes on.
pub(super) const OF_A_TURN: &[Source] = ALL.split_at(1).1;

/// Which sources were woken.
#[derive(Debug)]
pub(super) struct Sources {
    pub ready: ReadyList<Source>,
    /// In the order of the sources.
    pub wakers: [Waker; ALL.len()],
    /// Those that are to be asked.
    pub woken: Vec<Source>,
}

impl Default for Sources {
    fn default() -> Self {
        let ready = ReadyList::default();
        let wakers = ALL.map(|source| ready.waker(source));
        Self { ready, wakers, woken: ALL.to_vec() }
    }
}

/// What has happened when a wait is over.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Happened {
    /// The client has said something, has taken something, or is gone.
    pub stdio: bool,
    /// The hub has said something, or something is due with it.
    pub hub: bool,
    /// There is something to do at the session's socket.
    pub session: bool,
    /// Of the agent.
    pub agent: Option<agent::Happened>,
    /// Something else is due.
    pub alarm: bool,
}

impl Happened {
    /// Returns whether there is something to do.
    pub(super) const fn is_anything(self) -> bool {
        self.stdio || self.hub || self.session || self.agent.is_some() || self.alarm
    }
}
