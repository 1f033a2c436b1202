//! Hubs, bridges and transports of two machines are killed and stopped while their sessions ask each other: every ask has
//! one truthful outcome. `RELAY_TEST_MACHINE_FAULTS=n` makes so many faults.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{Scope, sleep};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use super::stage::{Machine, pair, signal, transports};
use crate::support::mcp::{Event, Session};
use crate::support::random::Random;

/// How many faults a run makes where nothing says otherwise.
const FAULTS: usize = 16;

/// The longest time that an ask of a run stays open.
const TIMEOUT_MAX_S: u64 = 20;

/// How much later than a second after its deadline an outcome may come: the machine is busy, and one side may be stopped.
const SLACK: Duration = Duration::from_secs(9);

/// What is known of one ask.
#[derive(Debug, Default)]
struct Asked {
    deadline: Option<Instant>,
    /// How often its session was shown it.
    shown: u32,
    /// What its session answered, and what it was told of that.
    replied: Option<(String, String)>,
    /// Its outcomes: a reply's text, or a code.
    outcomes: Vec<Result<String, String>>,
    ended: Option<Instant>,
}

/// All that happened.
#[derive(Debug, Default)]
struct Record {
    asks: Mutex<BTreeMap<String, Asked>>,
    refused: AtomicU32,
    is_over: AtomicBool,
}

impl Record {
    fn asks(&self) -> MutexGuard<'_, BTreeMap<String, Asked>> {
        self.asks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Takes what a session was shown; returns an ask that it is to answer.
    fn saw(&self, event: &Event) -> Option<String> {
        let id = event.get("ask_id").to_owned();
        let mut asks = self.asks();
        let asked = asks.entry(id.clone()).or_default();
        match event.kind() {
            "ask" => {
                asked.shown += 1;
                return Some(id);
            }
            "reply" => asked.outcomes.push(Ok(event.content.clone())),
            "failed" => asked.outcomes.push(Err(event.get("code").to_owned())),
            // A pending reply that did not arrive.
            _ => return None,
        }
        asked.ended = Some(event.at);
        None
    }

    /// Checks the promises, and returns how many asks were answered, timed out, and were refused.
    fn check(&self) -> (usize, usize) {
        let (mut answered, mut timed_out) = (0, 0);
        for (id, asked) in &*self.asks() {
            assert!(asked.shown <= 1, "{id} was shown {} times", asked.shown);
            let Some(deadline) = asked.deadline else {
                // Its asker was told that it was not accepted, or never told.
                assert!(asked.outcomes.is_empty(), "{id} has an outcome and was not accepted: {asked:?}");
                continue;
            };
            assert_eq!(asked.outcomes.len(), 1, "{id} has not one outcome: {asked:?}");
            let late = asked.ended.unwrap().saturating_duration_since(deadline);
            assert!(late <= Duration::from_secs(1) + SLACK, "{id} ended {late:?} after its deadline");
            let told = asked.replied.as_ref().map(|(text, state)| (text.as_str(), state.as_str()));
            match &asked.outcomes[0] {
                Ok(text) => {
                    answered += 1;
                    assert_eq!(told.map(|(text, _)| text), Some(text.as_str()), "{id}: nobody said that");
                }
                Err(code) => {
                    timed_out += 1;
                    assert_eq!(code, "timeout", "{id}: no session has ended");
                    assert_ne!(told.map(|(_, state)| state), Some("accepted"), "{id}: its reply was told as taken");
                }
            }
        }
        (answered, timed_out)
    }
}

/// Lets a session answer what it is asked, each time after a while.
fn answer<'scope>(scope: &'scope Scope<'scope, '_>, session: &'scope Session, record: &'scope Record, seed: u64) {
    scope.spawn(move || {
        let mut random = Random::new(seed);
        while !record.is_over() {
            let Some(event) = session.event_within(Duration::from_millis(200)) else { continue };
            let Some(id) = record.saw(&event) else { continue };
            let (wait, text) = (random.millis(0..1500), format!("answer to {id}"));
            scope.spawn(move || {
                sleep(wait);
                record.asks().entry(id.clone()).or_default().replied = Some((text.clone(), "unknown".to_owned()));
                let answer = session.call("relay_reply", json!({"ask_id": id, "text": text}));
                let told = answer.json["state"].as_str().map_or_else(|| answer.code().to_owned(), str::to_owned);
                record.asks().entry(id).or_default().replied = Some((text, told));
            });
        }
    });
}

/// Lets a session ask another one again and again, until the faults are over.
fn ask<'scope>(
    scope: &'scope Scope<'scope, '_>,
    session: &'scope Session,
    to: &'static str,
    record: &'scope Record,
    faults: &'scope AtomicBool,
    seed: u64,
) {
    scope.spawn(move || {
        let mut random = Random::new(seed);
        while !faults.load(Ordering::Relaxed) {
            let timeout = *random.pick(&[2, 5, TIMEOUT_MAX_S]);
            let began = Instant::now();
            let answer = session.call("relay_ask", json!({"to": to, "question": "?", "timeout_seconds": timeout}));
            if answer.is_error {
                record.refused.fetch_add(1, Ordering::Relaxed);
            } else {
                let id = answer.json["ask_id"].as_str().unwrap().to_owned();
                record.asks().entry(id).or_default().deadline = Some(began + Duration::from_secs(timeout));
            }
            sleep(random.millis(50..400));
        }
    });
}

fn break_something(random: &mut Random, machines: [&Machine; 2], sessions: [&Session; 2]) -> &'static str {
    let side = *random.pick(&[0, 1]);
    let (machine, dialler) = (machines[side], machines[0]);
    match *random.pick(&[0, 1, 2, 3, 4, 5]) {
        0 => {
            machine.restart_hub();
            "a hub is killed"
        }
        1 => {
            machine.restart_bridge();
            "a bridge is killed"
        }
        2 => {
            transports(dialler).into_iter().for_each(|pid| signal(pid, Signal::KILL));
            "the transport is killed"
        }
        3 => {
            let pids = transports(dialler);
            pids.iter().for_each(|pid| signal(*pid, Signal::STOP));
            sleep(random.millis(500..6000));
            pids.iter().for_each(|pid| signal(*pid, Signal::CONT));
            "the link stands still"
        }
        4 => {
            machine.signal(Signal::STOP);
            sessions[side].signal(Signal::STOP);
            sleep(random.millis(500..5000));
            sessions[side].signal(Signal::CONT);
            machine.signal(Signal::CONT);
            "one side stands still"
        }
        _ => {
            machine.kill_bridge();
            machine.restart_hub();
            machine.start_bridge();
            "a hub and its bridge are killed"
        }
    }
}

#[test]
fn asks_between_machines_have_one_truthful_outcome_under_faults() {
    let faults = std::env::var("RELAY_TEST_MACHINE_FAULTS").map_or(FAULTS, |text| text.parse().expect("a number"));
    let seed = std::env::var("RELAY_CHAOS_SEED")
        .map_or_else(|_| u64::from(getrandom::u32().unwrap()), |text| text.parse().unwrap());
    println!("RELAY_CHAOS_SEED={seed}");
    let began = Instant::now();
    let (laptop, desk) = pair();
    let (web, api) = (laptop.session("web"), desk.session("api"));
    laptop.wait_for_peer("api@desk");
    desk.wait_for_peer("web@laptop");
    let (record, no_more, mut random) = (Record::default(), AtomicBool::new(false), Random::new(seed));
    let mut made: BTreeMap<&str, u32> = BTreeMap::new();
    std::thread::scope(|scope| {
        for (n, session) in [&web, &api].into_iter().enumerate() {
            answer(scope, session, &record, seed + n as u64);
        }
        ask(scope, &web, "api@desk", &record, &no_more, seed + 2);
        ask(scope, &api, "web@laptop", &record, &no_more, seed + 3);
        for _ in 0..faults {
            sleep(random.millis(200..1800));
            *made.entry(break_something(&mut random, [&laptop, &desk], [&web, &api])).or_default() += 1;
        }
        no_more.store(true, Ordering::Relaxed);
        // The last ask has its outcome by then.
        sleep(Duration::from_secs(TIMEOUT_MAX_S) + SLACK);
        record.is_over.store(true, Ordering::Relaxed);
    });
    let (answered, timed_out) = record.check();
    let refused = record.refused.load(Ordering::Relaxed);
    println!(
        "{faults} faults in {:?}: {made:?}; {answered} asks answered, {timed_out} timed out, {refused} refused",
        began.elapsed()
    );
    assert!(answered > faults, "{answered} answered");
}
