//! Hubs, bridges, transports, servers and links of two and three machines are killed, stopped, cut and replaced while their
//! sessions ask each other: every ask has one truthful outcome.
//!
//! `RELAY_TEST_MACHINE_FAULTS=n` makes so many faults, some as long as a minute; `RELAY_TEST_MACHINE_GROUPS=n` spreads them over
//! so many groups of machines, which run beside each other.

mod fault;
mod linked;
mod record;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Scope, sleep};
use std::time::{Duration, Instant};

use serde_json::json;

use self::fault::Breaker;
use self::linked::{Linked, Over};
use self::record::{Counts, Record, SLACK, Told};
#[cfg(feature = "nats")]
use crate::nats::server::{NEWEST, OLDEST, needs_servers};
use crate::support::mcp::Session;
use crate::support::other_versions::Other;
use crate::support::random::Random;
use crate::support::skip::{needs, skipped};

/// How many faults a run makes where nothing says otherwise.
const FAULTS: usize = 16;

/// How long a session waits for an answer of its channel, which may stand still for a minute.
const CALL: Duration = Duration::from_secs(150);

/// What a run makes.
#[derive(Debug, Clone, Copy)]
struct Run {
    faults: usize,
    groups: usize,
    seed: u64,
}

impl Run {
    fn of_environment() -> Self {
        let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<usize>().expect("a number"));
        let faults = number("RELAY_TEST_MACHINE_FAULTS").unwrap_or(FAULTS);
        let groups = number("RELAY_TEST_MACHINE_GROUPS").unwrap_or(if faults > FAULTS { 8 } else { 2 });
        let seed = number("RELAY_CHAOS_SEED").map_or_else(|| u64::from(getrandom::u32().unwrap()), |seed| seed as u64);
        Self { faults, groups, seed }
    }

    /// Returns whether asks and faults may take a minute.
    const fn is_long(self) -> bool {
        self.faults > FAULTS
    }
}

/// Lets a session answer what it is asked, each time after a while.
fn answer<'scope>(scope: &'scope Scope<'scope, '_>, session: &'scope Session, record: &'scope Record, seed: u64) {
    scope.spawn(move || {
        let mut random = Random::new(seed);
        while !record.is_over() {
            let Some(event) = session.event_within(Duration::from_millis(500)) else { continue };
            let Some(id) = record.saw(&event) else { continue };
            let wait = if random.chance(20) { random.millis(1500..9000) } else { random.millis(0..1500) };
            let text = format!("answer to {id}");
            record.replied(&id, &text, Told::Nothing);
            scope.spawn(move || {
                sleep(wait);
                let call = session.send_call("relay_reply", json!({"ask_id": id, "text": text}));
                let told = match call.tool_within(CALL) {
                    None => Told::Nothing,
                    Some(answer) if answer.is_error => Told::Refused(answer.code().to_owned()),
                    Some(answer) => Told::State(answer.json["state"].as_str().unwrap_or_default().to_owned()),
                };
                record.replied(&id, &text, told);
            });
        }
    });
}

/// Lets a machine's session ask the others again and again, until the faults are over.
fn ask<'scope>(
    scope: &'scope Scope<'scope, '_>,
    (side, linked): (usize, &'scope Linked),
    record: &'scope Record,
    faults_are_over: &'scope AtomicBool,
    (seed, is_long): (u64, bool),
) {
    scope.spawn(move || {
        let (mut random, others) = (Random::new(seed), linked.others(side));
        let question = |to: &str, timeout: u64| json!({"to": to, "question": "?", "timeout_seconds": timeout});
        while !faults_are_over.load(Ordering::Relaxed) {
            let timeouts: &[u64] = if is_long { &[2, 5, 20] } else { &[2, 5] };
            let timeout = if is_long && random.chance(5) { 90 } else { *random.pick(timeouts) };
            let call = linked.sessions[side].send_call("relay_ask", question(random.pick::<String>(&others), timeout));
            match call.tool_within(CALL) {
                None => record.refused("nothing was said"),
                Some(answer) if answer.is_error => record.refused(answer.code()),
                Some(answer) => {
                    let deadline = Instant::now() + Duration::from_secs(timeout);
                    record.accepted(answer.json["ask_id"].as_str().unwrap(), side, deadline);
                }
            }
            sleep(random.millis(100..700));
        }
    });
}

/// Ends the asking and the answering when it is dropped.
struct End<'a>(&'a Record, &'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.1.store(true, Ordering::Relaxed);
        self.0.end();
    }
}

/// Makes faults in one group of machines; returns what was made, and what came of it.
fn run_group(
    over: Over,
    (number, linked): (usize, &Linked),
    n: usize,
    seed: u64,
    is_long: bool,
) -> (BTreeMap<&'static str, u32>, Counts) {
    let (record, faults_are_over) = (Record::default(), AtomicBool::new(false));
    let (mut random, mut unreachable) = (Random::new(seed), None);
    let mut breaker = Breaker::new(over, linked, &record, Random::new(random.next()), is_long);
    std::thread::scope(|scope| {
        // Whoever fails must not leave the others running.
        let _end = End(&record, &faults_are_over);
        for (side, session) in linked.sessions.iter().enumerate() {
            answer(scope, session, &record, random.next());
            ask(scope, (side, linked), &record, &faults_are_over, (random.next(), is_long));
        }
        let mut made = 0;
        while made < n {
            sleep(random.millis(200..1800));
            made += breaker.break_something();
        }
        if let Err(why) = linked.wait_until_reachable() {
            unreachable = Some((String::new(), why));
        }
        faults_are_over.store(true, Ordering::Relaxed);
        let end = Instant::now() + Duration::from_secs(if is_long { 90 } else { 10 }) + SLACK;
        while Instant::now() < end && !record.is_complete() {
            sleep(Duration::from_millis(200));
        }
        // A second outcome would come now.
        sleep(Duration::from_secs(3));
    });
    let mut counts = record.counts();
    counts.broken.extend(unreachable);
    for (id, what) in &mut counts.broken {
        let of_it = linked.machines.iter().filter(|_| !id.is_empty());
        of_it.for_each(|machine| what.push_str(&format!("\n{}", machine.logged(id))));
    }
    if !counts.broken.is_empty() {
        let logs = linked.keep_logs(number, &breaker.log);
        counts.broken.push((String::new(), format!("the logs are in {}", logs.display())));
    }
    (breaker.made, counts)
}

fn add<K: Ord>(to: &mut BTreeMap<K, u32>, more: BTreeMap<K, u32>) {
    more.into_iter().for_each(|(key, n)| *to.entry(key).or_default() += n);
}

/// Makes faults where machines are linked so, and checks the promises.
#[expect(clippy::print_stdout, reason = "what a long run has made is read")]
fn run(test: &str, over: Over) {
    let run = Run::of_environment();
    println!("RELAY_CHAOS_SEED={}", run.seed);
    // It may have to be built, which takes longer than machines wait for each other.
    Other::Later.program("relay-bridge");
    let groups: Result<Vec<Linked>, String> = (0..run.groups).map(|_| Linked::start(over)).collect();
    let groups = match groups {
        Ok(groups) => groups,
        Err(why) => return skipped(test, &why),
    };
    let began = Instant::now();
    let mut ended = Vec::new();
    std::thread::scope(|scope| {
        let n = run.faults.div_ceil(run.groups);
        let start = |(number, linked)| {
            let seed = run.seed.wrapping_add(number as u64 * 1000);
            scope.spawn(move || run_group(over, (number, linked), n, seed, run.is_long()))
        };
        let running: Vec<_> = groups.iter().enumerate().map(start).collect();
        ended.extend(running.into_iter().map(|group| group.join().expect("no group panics")));
    });
    let (mut made, mut all) = (BTreeMap::new(), Counts::default());
    for (of_it, counts) in ended {
        add(&mut made, of_it);
        add(&mut all.ended, counts.ended);
        add(&mut all.refused, counts.refused);
        add(&mut all.told, counts.told);
        all.shown = (all.shown.0 + counts.shown.0, all.shown.1 + counts.shown.1);
        all.broken.extend(counts.broken);
    }
    let faults: u32 = made.values().sum();
    println!("{over:?}: {faults} faults in {:?}, {} groups: {made:?}", began.elapsed(), run.groups);
    println!("  asks ended: {:?}; refused: {:?}", all.ended, all.refused);
    println!(
        "  shown {} times, of these {} of refused asks; repliers were told: {:?}",
        all.shown.0, all.shown.1, all.told
    );
    let broken: Vec<&str> = all.broken.iter().map(|(_, what)| what.as_str()).collect();
    assert!(broken.is_empty(), "{} promises were broken:\n{}", broken.len(), broken.join("\n"));
    // How many there are in a short run depends on how busy the machine is.
    let least = if run.is_long() { faults } else { 1 };
    assert!(all.ended.get("answered").is_some_and(|n| *n >= least), "few asks were answered");
}

#[test]
fn asks_over_a_pipe_have_one_truthful_outcome_under_faults() {
    run("bridge::faults::asks_over_a_pipe_have_one_truthful_outcome_under_faults", Over::Pipe);
}

#[test]
fn asks_over_ssh_have_one_truthful_outcome_under_faults() {
    needs!("sshd", "ssh", "python3", "nsenter");
    run("bridge::faults::asks_over_ssh_have_one_truthful_outcome_under_faults", Over::Ssh);
}

#[cfg(feature = "nats")]
#[test]
fn asks_over_nats_have_one_truthful_outcome_under_faults() {
    needs!("openssl", "python3", "nsenter");
    needs_servers!(NEWEST);
    run("bridge::faults::asks_over_nats_have_one_truthful_outcome_under_faults", Over::Nats(NEWEST, 2));
}

#[cfg(feature = "nats")]
#[test]
fn asks_over_the_oldest_nats_have_one_truthful_outcome_under_faults() {
    needs!("openssl", "python3", "nsenter");
    needs_servers!(OLDEST);
    run("bridge::faults::asks_over_the_oldest_nats_have_one_truthful_outcome_under_faults", Over::Nats(OLDEST, 2));
}

#[cfg(feature = "nats")]
#[test]
fn asks_of_three_machines_over_nats_have_one_truthful_outcome_under_faults() {
    needs!("openssl", "python3", "nsenter");
    needs_servers!(NEWEST);
    run(
        "bridge::faults::asks_of_three_machines_over_nats_have_one_truthful_outcome_under_faults",
        Over::Nats(NEWEST, 3),
    );
}
