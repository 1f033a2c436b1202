//! Loops of asks: sessions that keep asking each other, in pairs, in rings, or everybody at once.
//!
//! In a loop one message in flight causes the next. The hub cannot see causes; it sees only what a session had received
//! last when it asked. That makes a *chain* of asks, and in a busy room every ask belongs to one: ten sessions that ask
//! each other all day make chains without end by accident. So a chain alone proves nothing. Two things do that ordinary
//! use does not have:
//!
//! - **A ring**: the chain passed the same sessions in the same order again and again, without one deviation. Accident
//!   makes two sessions of ten do so eight times once in 9^14 asks. At most [`CHAIN_MAX`] asks are looked at, so this sees
//!   rings of up to nine sessions, however slow they are; up to seven may go round eight times. Ten sessions that each ask
//!   their neighbour now and then are a ring of ten to anybody who watches: that is ordinary use, and a ring of any other
//!   shape counts only where none of its last [`CHAIN_MAX`] asks was answered. Ordinary replies come.
//! - **A budget for all that follows from one cause**: so many asks and so many broadcasts may follow from one ask at once,
//!   and more in time: somewhat more than the sessions that are there make by themselves. So a storm is stopped however it
//!   branches. What one session asks in answer to one ask is free: it may have much to ask. What was let through is still
//!   answered with asks, so more passes only after [`CAUSE_QUIET`] without an attempt.
//!
//! What this cannot stop is what goes no faster than ordinary use and is no small ring: ten or more sessions in a ring that
//! reply before they ask on and take their time, or slow rounds of broadcasts. A new hub begins to look anew, and a pause
//! of a minute between an answer and the next question ends a chain.

use std::collections::BTreeMap;
use std::time::Duration;

use super::limits::{
    AT_ONCE, CAUSE_ASKS, CAUSE_ASKS_EACH, CAUSE_BROADCASTS, CAUSE_BROADCASTS_AT_ONCE, CAUSE_BROADCASTS_EACH,
    CAUSE_BROADCASTS_TIME, CAUSE_QUIET, CHAIN_MAX, RING_ROUNDS_MAX, RING_ROUNDS_MIN,
};
use crate::protocol::{AskId, Chain, ClientTag, Course, Edge};

/// Why an ask was taken for part of a loop; its text is for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loop {
    /// The same sessions ask each other in the same order.
    Ring {
        /// How many they are.
        sessions: usize,
    },
    /// Nobody in a long chain has answered.
    Unanswered,
    /// Too much has followed from one ask.
    OverBudget,
}

/// What is kept of each ask for the chains that it is part of. Times are milliseconds of the hub's life.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    /// Who asked.
    pub(super) asker: ClientTag,
    /// Who was asked.
    pub(super) asked: ClientTag,
    /// What its asker had received last.
    pub(super) parent: Option<AskId>,
    /// When the hub accepted it.
    pub(super) opened_ms: u64,
    /// How many asks followed from it, but for those that answered it.
    pub(super) asks: u16,
    /// How many broadcasts did.
    pub(super) broadcasts: u16,
    /// How the chain went up to here.
    pub(super) course: Course,
}

/// A link of the chain that the next ask would go on with, the latest one first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ancestor {
    /// The ask.
    pub(super) id: AskId,
    /// What is kept of it.
    pub(super) link: Link,
    /// Who asked whom.
    pub(super) edge: Edge,
    /// Whether nobody answered it, or not yet.
    pub(super) is_unanswered: bool,
}

/// The chain that the next ask would go on with: first what this hub has seen of it, then what another machine says.
#[derive(Debug, Clone)]
pub(super) struct Trail {
    /// The asks here, the latest first.
    pub(super) ancestors: Vec<Ancestor>,
    /// What led to the oldest of them, on the machine that it came from.
    pub(super) carried: Option<Chain>,
}

impl Trail {
    /// Returns all asks, the latest first.
    fn edges(&self) -> impl Iterator<Item = Edge> {
        let carried = self.carried.iter().flat_map(|chain| chain.edges.iter().copied());
        self.ancestors.iter().map(|ancestor| ancestor.edge).chain(carried).take(CHAIN_MAX)
    }

    /// Returns how the chain went up to the latest ask.
    fn course(&self) -> Course {
        let carried = || self.carried.as_ref().map(|chain| chain.course);
        self.ancestors.first().map(|parent| parent.link.course).or_else(carried).unwrap_or_default()
    }

    /// Returns how many of the latest asks nobody has answered.
    fn unanswered(&self) -> usize {
        let here = self.ancestors.iter().take_while(|ancestor| ancestor.is_unanswered).count();
        if here < self.ancestors.len() {
            return here;
        }
        let before = self.carried.as_ref().map(|chain| chain.course);
        let oldest = before.or_else(|| self.ancestors.last().map(|oldest| oldest.link.course)).unwrap_or_default();
        here + usize::from(oldest.unanswered)
    }

    /// Returns the chain for the machine that the next ask goes to.
    pub(super) fn exported(&self) -> Chain {
        Chain { edges: self.edges().collect(), course: self.course() }
    }
}

/// An ask that is not in the table yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    /// Who asks whom.
    pub(super) edge: Edge,
    /// How many sessions are there.
    pub(super) n_sessions: usize,
    /// Whether it belongs to a broadcast.
    pub(super) is_broadcast: bool,
}

/// Returns how a chain goes on with one more ask. Kept with each ask, so that a slow ring is seen though the hub forgets
/// ended asks.
fn next_course(trail: &Trail, next: Candidate) -> Course {
    let before = trail.course();
    let (sessions, alike) = match trail.edges().position(|edge| edge == next.edge).map(|at| byte(at + 1)) {
        Some(sessions) if sessions == before.sessions => (sessions, before.alike.saturating_add(1)),
        Some(sessions) => (sessions, 1),
        None => (0, 0),
    };
    Course { sessions, alike, unanswered: byte(trail.unanswered()) }
}

/// Checks that the ask does not begin one round too many.
fn check_course(course: Course) -> Result<Course, Loop> {
    let sessions = usize::from(course.sessions);
    let rounds = CHAIN_MAX.checked_div(sessions).map_or(0, |rounds| rounds.min(RING_ROUNDS_MAX));
    if rounds >= RING_ROUNDS_MIN && usize::from(course.alike) > sessions * (rounds - 1) {
        Err(Loop::Ring { sessions })
    } else if usize::from(course.unanswered) >= CHAIN_MAX {
        Err(Loop::Unanswered)
    } else {
        Ok(course)
    }
}

fn byte(count: usize) -> u8 {
    u8::try_from(count).unwrap_or(u8::MAX)
}

/// An ask and its place in the order in which the hub accepted asks.
type Numbered = (u64, AskId);

/// What each client received and broadcast last, and the causes whose budget is used up.
#[derive(Debug, Clone, Default)]
pub(super) struct Brakes {
    received: BTreeMap<ClientTag, Numbered>,
    /// One ask of each client's last broadcast.
    broadcast: BTreeMap<ClientTag, Numbered>,
    /// Until when nothing may follow from a cause, in milliseconds of the hub's life.
    quiet: BTreeMap<AskId, u64>,
}

impl Brakes {
    /// Records that a session has received an ask.
    pub(super) fn record_received(&mut self, asked: ClientTag, number: u64, id: AskId) {
        self.received.insert(asked, (number, id));
    }

    /// Records that a client has broadcast, with one of the broadcast's asks.
    pub(super) fn record_broadcast(&mut self, asker: ClientTag, number: u64, id: AskId) {
        self.broadcast.insert(asker, (number, id));
    }

    /// Returns what this client may ask, or broadcast, in answer to.
    pub(super) fn latest(&self, asker: ClientTag, is_broadcast: bool) -> [Option<Numbered>; 2] {
        let own = self.broadcast.get(&asker).filter(|_| is_broadcast);
        [self.received.get(&asker).copied(), own.copied()]
    }

    /// Forgets a client that has left.
    pub(super) fn forget(&mut self, tag: ClientTag) {
        self.received.remove(&tag);
        self.broadcast.remove(&tag);
    }

    /// Returns whether nothing of any client is left.
    pub(super) fn is_quiet(&self) -> bool {
        self.received.is_empty() && self.broadcast.is_empty()
    }

    /// Returns how the course of a chain goes on with one more ask.
    ///
    /// # Errors
    /// The ask would go on with a loop.
    pub(super) fn check(&mut self, now_ms: u64, trail: &Trail, next: Candidate) -> Result<Course, Loop> {
        if let Some(cause) = self.used_up(now_ms, &trail.ancestors, next) {
            self.quiet.retain(|_, until| now_ms < *until);
            self.quiet.insert(cause, now_ms + millis(CAUSE_QUIET));
            return Err(Loop::OverBudget);
        }
        check_course(next_course(trail, next))
    }

    /// Returns the cause whose budget is used up: the oldest of the last minute that led there.
    fn used_up(&self, now_ms: u64, chain: &[Ancestor], next: Candidate) -> Option<AskId> {
        let (mut oldest, mut is_over_budget) = (None, false);
        for Ancestor { id, link, .. } in chain.iter().skip(1) {
            let age_ms = now_ms.saturating_sub(link.opened_ms);
            let (made, most) = if next.is_broadcast {
                (link.broadcasts, most_broadcasts(next.n_sessions, age_ms))
            } else {
                (link.asks, most_asks(next.n_sessions, age_ms))
            };
            let is_over = u64::from(made) >= most || self.quiet.get(id).is_some_and(|until| now_ms < *until);
            is_over_budget |= is_over;
            if is_over || age_ms < millis(CAUSE_QUIET) {
                oldest = Some(*id);
            }
        }
        oldest.filter(|_| is_over_budget)
    }
}

fn most_asks(n_sessions: usize, age_ms: u64) -> u64 {
    let n = n_sessions as u64;
    CAUSE_ASKS.max(CAUSE_ASKS_EACH * n) + age_ms / 1000 * n
}

fn most_broadcasts(n_sessions: usize, age_ms: u64) -> u64 {
    if age_ms < millis(AT_ONCE) {
        return CAUSE_BROADCASTS_AT_ONCE;
    }
    let each = CAUSE_BROADCASTS_EACH * n_sessions as u64;
    CAUSE_BROADCASTS.max(each) + age_ms * each / millis(CAUSE_BROADCASTS_TIME)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
