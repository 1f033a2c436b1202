//! What happened while faults were made, and whether the promises held.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::support::mcp::Event;

/// How much later than a second after its deadline an outcome may come: the machine is busy, and hubs are killed.
pub(super) const SLACK: Duration = Duration::from_secs(9);

/// What a session that replied was told of its reply.
#[derive(Debug, Clone)]
pub(super) enum Told {
    /// Nothing yet.
    Nothing,
    /// `accepted` or `pending`.
    State(String),
    /// The code of the refusal.
    Refused(String),
}

/// What is known of one ask.
#[derive(Debug, Default)]
struct Asked {
    /// Which machine's session asked, and when the ask is to have ended at the latest; none where it was not accepted.
    accepted: Option<(usize, Instant)>,
    /// How often its session was shown it.
    shown: u32,
    /// What its session answered, and what it was told of that.
    replied: Option<(String, Told)>,
    /// The codes by which its session was told later that its reply was not delivered.
    undelivered: Vec<String>,
    /// Its outcomes: a reply's text, or a code.
    outcomes: Vec<Result<String, String>>,
    ended: Option<Instant>,
}

/// All that happened.
#[derive(Debug, Default)]
pub(super) struct Record {
    asks: Mutex<BTreeMap<String, Asked>>,
    refused: Mutex<BTreeMap<String, u32>>,
    /// When all of a machine stood still.
    stops: Mutex<Vec<(usize, Instant, Instant)>>,
    is_over: AtomicBool,
}

/// What a record comes to.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// How many asks ended in each way: `answered` or a code.
    pub(super) ended: BTreeMap<String, u32>,
    /// How many were refused, by the code.
    pub(super) refused: BTreeMap<String, u32>,
    /// How often an ask was shown to its session, and how often one of which its asker was told that it was refused.
    pub(super) shown: (u32, u32),
    /// What those who replied were told, and how often.
    pub(super) told: BTreeMap<String, u32>,
    /// The promises that were broken, each with the id of its ask.
    pub(super) broken: Vec<(String, String)>,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Record {
    /// Returns whether nothing more is recorded.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Ends the recording.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Takes what a session was shown; returns an ask that it is to answer.
    pub(super) fn saw(&self, event: &Event) -> Option<String> {
        let id = event.get("ask_id").to_owned();
        let mut asks = lock(&self.asks);
        let asked = asks.entry(id.clone()).or_default();
        match event.kind() {
            "ask" => {
                asked.shown += 1;
                return Some(id);
            }
            "reply" => asked.outcomes.push(Ok(event.content.clone())),
            "failed" => asked.outcomes.push(Err(event.get("code").to_owned())),
            "reply_failed" => {
                asked.undelivered.push(event.get("code").to_owned());
                return None;
            }
            kind => panic!("nobody says {kind}: {event:?}"),
        }
        asked.ended = Some(event.at);
        None
    }

    /// Records that an ask of a machine's session was accepted, and when it ends at the latest.
    pub(super) fn accepted(&self, id: &str, machine: usize, deadline: Instant) {
        lock(&self.asks).entry(id.to_owned()).or_default().accepted = Some((machine, deadline));
    }

    /// Records that an ask was refused.
    pub(super) fn refused(&self, code: &str) {
        *lock(&self.refused).entry(code.to_owned()).or_default() += 1;
    }

    /// Records what a session replies, or what it is told of that.
    pub(super) fn replied(&self, id: &str, text: &str, told: Told) {
        lock(&self.asks).entry(id.to_owned()).or_default().replied = Some((text.to_owned(), told));
    }

    /// Records that all of a machine stood still since then, and goes on now.
    pub(super) fn stopped(&self, machine: usize, since: Instant) {
        lock(&self.stops).push((machine, since, Instant::now()));
    }

    /// Returns whether each ask that was accepted has an outcome, and each reply its answer.
    pub(super) fn is_complete(&self) -> bool {
        lock(&self.asks).values().all(|asked| {
            let is_told = !matches!(asked.replied, Some((_, Told::Nothing)));
            is_told && (asked.accepted.is_none() || !asked.outcomes.is_empty())
        })
    }

    /// Returns when an ask of a machine's session is to have ended: who stands still ends nothing.
    fn latest(&self, machine: usize, deadline: Instant) -> Instant {
        let allowed = Duration::from_secs(1) + SLACK;
        let stops = lock(&self.stops);
        let of_it = stops.iter().filter(|(whose, _, _)| *whose == machine);
        of_it.fold(
            deadline + allowed,
            |latest, (_, from, to)| if *from <= latest { latest.max(*to + allowed) } else { latest },
        )
    }

    /// Checks the promises.
    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts { refused: lock(&self.refused).clone(), ..Counts::default() };
        for (id, asked) in &*lock(&self.asks) {
            counts.shown.0 += asked.shown;
            if asked.accepted.is_none() {
                counts.shown.1 += asked.shown;
            }
            if let Some(told) = asked.replied.as_ref().map(|(_, told)| told) {
                let word = match told {
                    Told::Nothing => "nothing",
                    Told::State(state) => state,
                    Told::Refused(code) => code,
                };
                *counts.told.entry(word.to_owned()).or_default() += 1;
            }
            let broken = self.of_asker(asked, &mut counts.ended).into_iter().chain(of_replier(asked));
            for what in broken.collect::<Vec<_>>() {
                counts.broken.push((id.clone(), format!("{id} {what}: {asked:?}")));
            }
        }
        counts
    }

    /// Returns what was promised of an ask to its asker and its asked session, and did not come true.
    fn of_asker(&self, asked: &Asked, ended: &mut BTreeMap<String, u32>) -> Vec<String> {
        let mut broken = Vec::new();
        if asked.shown > 1 {
            broken.push(format!("was shown {} times", asked.shown));
        }
        let Some((machine, deadline)) = asked.accepted else {
            // Its asker was told that it was not accepted.
            if !asked.outcomes.is_empty() {
                broken.push("has an outcome and was not accepted".to_owned());
            }
            return broken;
        };
        if asked.outcomes.len() != 1 {
            broken.push(format!("has {} outcomes", asked.outcomes.len()));
        }
        let late = asked.ended.map(|at| at.saturating_duration_since(self.latest(machine, deadline)));
        if let Some(late) = late.filter(|late| !late.is_zero()) {
            broken.push(format!("ended {late:?} later than it may"));
        }
        let said = asked.replied.as_ref().map(|(text, _)| text);
        for outcome in &asked.outcomes {
            *ended.entry(outcome.as_ref().err().map_or("answered", String::as_str).to_owned()).or_default() += 1;
            match outcome {
                Ok(text) if said != Some(text) => broken.push("has a reply that nobody gave".to_owned()),
                Err(code) if code != "timeout" => broken.push(format!("ended with {code}, and no session has ended")),
                Ok(_) | Err(_) => {}
            }
        }
        broken
    }
}

/// Returns what was promised of a reply to the session that gave it, and did not come true.
fn of_replier(asked: &Asked) -> Option<String> {
    let (_, told) = asked.replied.as_ref()?;
    let arrived = asked.outcomes.iter().any(Result::is_ok);
    let is_unknown = |code: &String| code == "unconfirmed";
    let mut broken = String::new();
    match told {
        Told::Nothing => broken.push_str("was replied to, and its replier was told nothing"),
        Told::State(state) if state == "accepted" && !arrived => {
            broken.push_str("was replied to, which was accepted and did not arrive");
        }
        Told::State(state) if state == "pending" && !arrived && asked.undelivered.is_empty() => {
            broken.push_str("was replied to, which did not arrive, and its replier was not told");
        }
        Told::Refused(code) if arrived && !is_unknown(code) => {
            write!(broken, "has a reply of which its replier was told {code}").unwrap();
        }
        Told::State(_) | Told::Refused(_) => {}
    }
    if arrived && !asked.undelivered.iter().all(is_unknown) {
        broken.push_str("has a reply of which its replier was told later that it failed");
    }
    Some(broken).filter(|broken| !broken.is_empty())
}
