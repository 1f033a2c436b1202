//! What the board knows: the sessions, the open asks and how the last ones ended, as the hub tells of them. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::cli::peers::natural;
use crate::hub::GRACE;
use crate::protocol::{
    Activity, AskId, AskOutcome, AskState, AskView, ErrorCode, PeerName, PeerView, Presence, Watched, Watching,
};

/// How many ended asks are remembered.
const ENDS_MAX: usize = 100;

/// A session, and since when what is shown of it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Session {
    /// It, as the hub last told of it.
    pub(super) view: PeerView,
    /// When it came, as far as a hub knows.
    pub(super) came_at: Option<Instant>,
    /// Since when it is in its state, as far as a hub knows.
    pub(super) state_since: Option<Instant>,
}

impl Session {
    /// Returns whether it stands at a dialog until its user decides.
    pub(super) fn waits_for_its_user(&self) -> bool {
        self.view.presence.status == Activity::Waiting
    }

    fn does(&self) -> (Activity, &Option<String>) {
        (self.view.presence.status, &self.view.presence.waiting_for)
    }

    fn set_presence(&mut self, now: Instant, presence: Presence) {
        if self.does() != (presence.status, &presence.waiting_for) {
            self.state_since = Some(now);
        }
        self.view.presence = presence;
    }
}

/// An open ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Open {
    /// It.
    pub(super) ask_id: AskId,
    /// Who asks.
    pub(super) from: String,
    /// Who is asked.
    pub(super) to: String,
    /// How far it has come.
    pub(super) state: AskState,
    /// When it was asked, as far as a hub knows.
    pub(super) asked_at: Option<Instant>,
}

/// How an ask ended, or that it was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// It ended so, had come so far, after this time.
    Ended(AskOutcome, AskState, Duration),
    /// It was not accepted.
    Refused(ErrorCode),
}

/// An ask that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct End {
    /// Who asked.
    pub(super) from: String,
    /// Who was asked.
    pub(super) to: String,
    /// How.
    pub(super) how: How,
    /// When.
    pub(super) at: Instant,
}

/// The whole.
#[derive(Debug, Default)]
pub(super) struct Board {
    sessions: BTreeMap<PeerName, Session>,
    /// The sessions and asks that a hub before this one has told of, as long as they may come back.
    former: BTreeMap<PeerName, Session>,
    former_asks: BTreeMap<AskId, Open>,
    asks: Vec<Open>,
    ends: VecDeque<End>,
    /// Whether the hub is away: what is shown is what it told last.
    is_away: bool,
    /// Until when a hub that has just started may not know everybody.
    settles_at: Option<Instant>,
}

impl Board {
    /// Takes the whole state, as the hub tells it first and after each reconnect.
    ///
    /// A hub that was started anew counts ages from its own start: what was known before stays, where it still holds.
    pub(super) fn handle_state(&mut self, now: Instant, state: &Watching) {
        (self.is_away, self.settles_at) = (false, state.settling.then_some(now + GRACE));
        self.former.append(&mut self.sessions);
        self.former_asks.extend(std::mem::take(&mut self.asks).into_iter().map(|ask| (ask.ask_id, ask)));
        for view in &state.peers {
            self.come(now, view);
        }
        for ask in &state.asks {
            self.open(now, ask);
        }
        if !state.settling {
            self.former.clear();
            self.former_asks.clear();
        }
    }

    /// Takes a session that is there: what was known of it before stays, where it still holds.
    fn come(&mut self, now: Instant, view: &PeerView) {
        let ago = |seconds| now.checked_sub(Duration::from_secs(seconds));
        let (mut came_at, mut state_since) = (ago(view.connected_s), ago(view.status_s));
        if let Some(former) = self.former.remove(&view.name) {
            let does_the_same = former.does() == (view.presence.status, &view.presence.waiting_for);
            came_at = [former.came_at, came_at].into_iter().flatten().min();
            let known = former.state_since.filter(|_| does_the_same);
            state_since = [known, state_since].into_iter().flatten().min();
        }
        self.sessions.insert(view.name.clone(), Session { view: view.clone(), came_at, state_since });
    }

    /// Takes one change.
    pub(super) fn handle_change(&mut self, now: Instant, change: &Watched) {
        match change {
            Watched::PeerCame { peer } => self.come(now, peer),
            Watched::PeerLeft { name } => drop(self.sessions.remove(name)),
            Watched::PeerRenamed { former, name } => {
                if let Some(mut session) = self.sessions.remove(former) {
                    session.view.name = name.clone();
                    self.sessions.insert(name.clone(), session);
                }
                self.rename(former.as_str(), name.as_str());
            }
            Watched::PeerChanged { name, presence } => {
                if let Some(session) = self.sessions.get_mut(name) {
                    session.set_presence(now, presence.clone());
                }
            }
            Watched::MachineChanged(machine) => {
                let is_there = |session: &&mut Session| session.view.machine.as_ref() == Some(&machine.name);
                for session in self.sessions.values_mut().filter(is_there) {
                    session.view.reachable = Some(machine.reachable);
                    session.state_since = Some(now);
                }
            }
            // Its sessions leave one by one.
            Watched::MachineLeft { .. } => {}
            Watched::AskOpened(ask) => {
                if let Some(at) = self.asks.iter().position(|open| open.ask_id == ask.ask_id) {
                    let open = self.asks.remove(at);
                    self.former_asks.insert(open.ask_id, open);
                }
                self.open(now, ask);
            }
            Watched::AskAdvanced { ask_id, state, .. } => {
                if let Some(ask) = self.asks.iter_mut().find(|ask| ask.ask_id == *ask_id) {
                    ask.state = *state;
                }
            }
            Watched::AskRefused { from, to, code } => self.end(now, from, to, How::Refused(*code)),
            Watched::AskEnded { ask_id, from, to, outcome, state, latency_ms, .. } => {
                let known = self.asks.iter().position(|ask| ask.ask_id == *ask_id);
                let asked_at = known.and_then(|at| self.asks.remove(at).asked_at);
                let told = Duration::from_millis(*latency_ms);
                let took = asked_at.map_or(told, |at| told.max(now.saturating_duration_since(at)));
                self.end(now, from, to, How::Ended(*outcome, *state, took));
            }
        }
    }

    /// Takes it that the hub is away.
    pub(super) const fn handle_away(&mut self) {
        self.is_away = true;
    }

    fn open(&mut self, now: Instant, ask: &AskView) {
        let known = self.former_asks.remove(&ask.ask_id).and_then(|ask| ask.asked_at);
        let told = now.checked_sub(Duration::from_millis(ask.age_ms));
        let asked_at = [known, told].into_iter().flatten().min();
        let AskView { ask_id, from, to, state, .. } = ask;
        self.asks.push(Open { ask_id: *ask_id, from: from.clone(), to: to.clone(), state: *state, asked_at });
    }

    fn end(&mut self, now: Instant, from: &str, to: &str, how: How) {
        self.ends.truncate(ENDS_MAX - 1);
        self.ends.push_front(End { from: from.to_owned(), to: to.to_owned(), how, at: now });
    }

    fn rename(&mut self, former: &str, name: &str) {
        for ask in &mut self.asks {
            for side in [&mut ask.from, &mut ask.to] {
                if *side == former {
                    name.clone_into(side);
                }
            }
        }
    }

    /// Returns the sessions with this text in what is shown of them: who waits for its user first, and of those who has
    /// done so for the longest; then by name.
    pub(super) fn sessions(&self, filter: &str) -> Vec<&Session> {
        let filter = filter.to_lowercase();
        let mut sessions: Vec<&Session> = self.sessions.values().filter(|session| has(session, &filter)).collect();
        sessions.sort_by_cached_key(|session| {
            let waits = session.waits_for_its_user();
            (!waits, waits.then_some(session.state_since), natural(session.view.name.as_str()))
        });
        sessions
    }

    /// Returns the session with this name.
    pub(super) fn session(&self, name: &PeerName) -> Option<&Session> {
        self.sessions.get(name)
    }

    /// Returns the open asks, in the order in which they were accepted.
    pub(super) fn asks(&self) -> &[Open] {
        &self.asks
    }

    /// Returns how asks ended, the last first.
    pub(super) const fn ends(&self) -> &VecDeque<End> {
        &self.ends
    }

    /// Returns whether the hub is away.
    pub(super) const fn is_away(&self) -> bool {
        self.is_away
    }

    /// Returns until when more sessions may come back to a hub that has just started.
    pub(super) const fn settles_at(&self) -> Option<Instant> {
        self.settles_at
    }

    /// Returns whether an age is shown, which grows although nothing happens.
    pub(super) fn has_ages(&self) -> bool {
        !(self.sessions.is_empty() && self.asks.is_empty() && self.ends.is_empty())
    }
}

/// Whether a session has this text, in lower case, in what is shown of it.
fn has(session: &Session, filter: &str) -> bool {
    let PeerView { name, agent, presence, .. } = &session.view;
    let status = crate::cli::peers::status(presence.status);
    let shown = [name.as_str(), agent, &presence.cwd, status, presence.branch.as_deref().unwrap_or_default()];
    shown.iter().any(|text| text.to_lowercase().contains(filter))
}
