//! Loops of asks: sessions that keep asking each other, in pairs, in rings, or everybody at once.
//!
//! # What tells a loop from ordinary use
//!
//! In a loop one message in flight causes the next. The hub cannot see causes; it sees only what a session had received
//! last when it asked. That makes a *chain* of asks, and in a busy room every ask belongs to one: ten sessions that ask
//! each other all day make chains without end by accident. So a chain alone proves nothing. Five things do that ordinary
//! use does not have (each with what it costs a loop, in asks):
//!
//! - **A ring**: the chain passed the same sessions in the same order again and again, without one deviation. Accident
//!   makes two sessions of ten do so eight times once in 9^14 asks. At most [`CHAIN_MAX`] asks are looked at, so this sees
//!   rings of up to nine sessions, however slow they are; up to seven may go round eight times.
//!   Ten sessions that each ask their neighbour now and then are a ring of ten to anybody who watches: that is ordinary
//!   use, and a larger ring is stopped only by what follows.
//! - **Nesting**: no ask of a chain of [`CHAIN_MAX`] was ever answered. Ordinary answers come.
//! - **Haste**: [`HASTE`] asks of one chain came faster than any model reads.
//! - **A wake**: what one ask led to made sessions ask ever more: [`WAKE_MIN`] at once, and more in time than the sessions
//!   that are there make by themselves. So a storm that branches is stopped, however slowly its chains grow. Those that
//!   were let through are still answered with asks, so such pass again only after [`WAKE_QUIET`] without any.
//! - **Echoes**: a broadcast made somebody broadcast, and so on: [`ECHOES_AT_ONCE`], or at leisure twice as often as each of
//!   the sessions that are there would by itself ([`ECHOES_EACH`]). They are fewer since each is an ask for everybody.
//!   Those that were let through are still echoed, so such broadcasts pass again only after [`ECHOES_QUIET`] without any.
//!
//! What this cannot stop is what goes no faster than ordinary use and is no small ring: ten or more sessions in a ring that
//! answer before they ask on and take their time, or slow rounds of broadcasts. A new hub begins to look anew, and a pause
//! of a minute between an answer and the next question ends a chain.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::asks::{Ask, Asks, Ending, Phase};
use super::limits::{
    CHAIN_MAX, ECHOES_AT_ONCE, ECHOES_EACH, ECHOES_MIN, ECHOES_QUIET, HASTE, RING_ROUNDS_MAX, RING_ROUNDS_MIN,
    WAKE_MIN, WAKE_QUIET,
};
use crate::protocol::{AskId, PeerTag};

/// Why an ask was taken for part of a loop; its text is for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loop {
    /// The same sessions ask each other in the same order.
    Ring {
        /// How many they are.
        sessions: usize,
    },
    /// Nobody in a long chain has answered.
    Nested,
    /// A chain grows faster than anybody reads.
    Hasty,
    /// One ask has led to more and more of them.
    Wake,
    /// Broadcasts are answered by broadcasts.
    Echoes,
}

/// An ask that is not in the table yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    /// What its asker had received last.
    pub(super) parent: Option<AskId>,
    /// Who asks.
    pub(super) asker: PeerTag,
    /// Who is asked.
    pub(super) asked: PeerTag,
    /// How many sessions are there.
    pub(super) n_sessions: usize,
    /// Whether it belongs to a broadcast.
    pub(super) is_broadcast: bool,
}

/// How a chain went up to some ask: kept with the ask, so that a slow loop is seen though the hub forgets ended asks.
/// No number counts on beyond a byte: all are held against [`CHAIN_MAX`] or less.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Course {
    /// How many sessions make the ring: how far back the same peer asked the same peer.
    sessions: u8,
    /// How many asks in a row were each the same as the one a round before.
    alike: u8,
    /// How many asks in a row were never answered.
    nested: u8,
}

impl Course {
    /// Returns how the course goes on with one more ask.
    fn next(chain: &[&Ask], next: (PeerTag, PeerTag)) -> Self {
        let before = chain.first().map(|parent| parent.course).unwrap_or_default();
        let unanswered =
            |ask: &&&Ask| matches!(ask.phase, Phase::Open { .. } | Phase::Ended { ending: Ending::TimedOut, .. });
        let mut nested = chain.iter().take_while(unanswered).count();
        if let Some(oldest) = chain.last().filter(|_| nested == chain.len()) {
            nested += usize::from(oldest.course.nested);
        }
        let nested = byte(nested);
        let same = |ask: &&Ask| (ask.asker, ask.asked) == next;
        match chain.iter().position(same).map(|at| byte(at + 1)) {
            Some(sessions) if sessions == before.sessions => {
                Self { sessions, alike: before.alike.saturating_add(1), nested }
            }
            Some(sessions) => Self { sessions, alike: 1, nested },
            None => Self { sessions: 0, alike: 0, nested },
        }
    }

    /// Returns whether the ask begins one round too many.
    fn is_ring(self) -> bool {
        let sessions = usize::from(self.sessions);
        let rounds = CHAIN_MAX.checked_div(sessions).map_or(0, |rounds| rounds.min(RING_ROUNDS_MAX));
        rounds >= RING_ROUNDS_MIN && usize::from(self.alike) > sessions * (rounds - 1)
    }
}

fn byte(count: usize) -> u8 {
    u8::try_from(count).unwrap_or(u8::MAX)
}

/// Watches chains of asks.
#[derive(Debug, Clone, Default)]
pub(super) struct Loops {
    /// Until when no broadcast may follow on another. Each one that tries puts it off: those who were refused are not
    /// heard by the others, but those who were not may still be echoed.
    quiet_until: Option<Instant>,
    /// The asks in whose wake nobody may ask, and until when.
    wakes: BTreeMap<AskId, Instant>,
}

impl Loops {
    /// Returns how the course of a chain goes on with one more ask.
    ///
    /// # Errors
    /// The ask would carry on a loop.
    pub(super) fn follow(&mut self, asks: &Asks, now: Instant, next: Candidate) -> Result<Course, Loop> {
        let echoes =
            next.is_broadcast && next.parent.and_then(|id| asks.get(id)).is_some_and(|ask| ask.broadcast.is_some());
        if let Some(id) = self.stormy(asks, now, next) {
            self.wakes.retain(|_, until| now < *until);
            self.wakes.insert(id, now + WAKE_QUIET);
            return Err(Loop::Wake);
        }
        let followed = if echoes && self.quiet_until.is_some_and(|until| now < until) {
            Err(Loop::Echoes)
        } else {
            follow(asks, now, next)
        };
        if followed == Err(Loop::Echoes) {
            self.quiet_until = Some(now + ECHOES_QUIET);
        }
        followed
    }

    /// Returns the ask in whose wake the next one would be one too many: the oldest of the last minute that led there.
    fn stormy(&self, asks: &Asks, now: Instant, next: Candidate) -> Option<AskId> {
        let is_quiet = |id| self.wakes.get(&id).is_some_and(|until| now < *until);
        let (mut oldest, mut is_storm) = (None, false);
        for (id, ask) in asks.chain_from(next.parent).skip(1) {
            let age = now.saturating_duration_since(ask.opened);
            let more = usize::try_from(age.as_secs()).unwrap_or(usize::MAX).saturating_mul(next.n_sessions);
            let most = WAKE_MIN.max(2 * next.n_sessions).saturating_add(more);
            let is_over = ask.wake as usize >= most || is_quiet(id);
            is_storm |= is_over;
            if is_over || age < WAKE_QUIET {
                oldest = Some(id);
            }
        }
        oldest.filter(|_| is_storm)
    }
}

fn follow(asks: &Asks, now: Instant, next: Candidate) -> Result<Course, Loop> {
    let chain: Vec<&Ask> = asks.chain_from(next.parent).map(|(_, ask)| ask).collect();
    let within = |n: usize, time: Duration| {
        chain.get(n - 1).is_some_and(|oldest| now.saturating_duration_since(oldest.opened) < time)
    };
    let broadcasts = chain.iter().take_while(|ask| ask.broadcast.is_some()).count();
    let echoes = [ECHOES_AT_ONCE, (ECHOES_MIN.max(ECHOES_EACH.0 * next.n_sessions), ECHOES_EACH.1)];
    let course = Course::next(&chain, (next.asker, next.asked));
    if course.is_ring() {
        Err(Loop::Ring { sessions: course.sessions.into() })
    } else if usize::from(course.nested) >= CHAIN_MAX {
        Err(Loop::Nested)
    } else if within(HASTE.0, HASTE.1) {
        Err(Loop::Hasty)
    } else if next.is_broadcast && echoes.iter().any(|(n, time)| within(*n, *time) && broadcasts >= *n) {
        Err(Loop::Echoes)
    } else {
        Ok(course)
    }
}
