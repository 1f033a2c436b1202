//! Every order in which things can happen to three peers and two asks, up to a depth: the real hub and ledgers.
//!
//! Breadth first, so the first broken promise is one of the shortest. Two ways that lead to the same state are one:
//! states are told apart by a fingerprint of their whole text. Between states only the ways are kept, and gone again.
//!
//! `RELAY_MODEL_DEPTH=n` looks so many steps ahead; from 13 on under more faults.

#![expect(clippy::print_stdout, reason = "the figures are to be read")]

mod fingerprint;
mod promises;
mod world;

use std::collections::{BTreeMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use self::world::{Action, Faults, World};

const DEFAULT_DEPTH: usize = 12;

/// How far the default looks ahead where the hub is killed: everybody comes back then, in every order, which makes five
/// times as many states of two more steps. So far as well where the second ask is a tell: what it shares with an ask is
/// looked at farther.
const DEFAULT_DEPTH_OF_KILLS: usize = 10;

/// By this depth a run without faults has ended, whatever its order.
const CLOSED_BY: usize = 20;

/// How many kinds of actions there are.
const KINDS: usize = 11;

/// So many ways, which mostly begin alike, are gone by one thread.
const CHUNK: usize = 64;

/// One of so many states is followed to its end.
const ENDED_OF: u128 = 32;

/// The visited states are kept in so many sets, so that threads seldom wait for each other.
const SHARDS: usize = 64;

/// What was met on the way.
#[derive(Debug, Default)]
struct Figures {
    states: usize,
    steps: usize,
    /// From how many states the run was ended without further faults, to see that everything still ends well.
    completed: usize,
    by_action: BTreeMap<&'static str, usize>,
    longest: Duration,
    /// Whether there is no state beyond those that were seen.
    closed: bool,
}

impl Figures {
    fn add(&mut self, other: Self) {
        self.states += other.states;
        self.steps += other.steps;
        self.completed += other.completed;
        self.longest = self.longest.max(other.longest);
        other.by_action.into_iter().for_each(|(what, n)| *self.by_action.entry(what).or_default() += n);
    }
}

fn name(action: Action) -> &'static str {
    match action {
        Action::ToHub(_) => "a message or an end arrives at the hub",
        Action::ToClient(_) => "a message or an end arrives at a client",
        Action::Breaks(_) => "a client finds its connection broken",
        Action::ClientCuts(_) => "a client closes its connection",
        Action::HubCuts(_) => "the hub closes a connection",
        Action::Connects(_) => "a client connects",
        Action::HubKilled => "the hub is killed",
        Action::Replies(_) => "a session replies",
        Action::Shows(_) => "a session is shown a tell",
        Action::HandsOver(_) => "a tell is handed over for good",
        Action::Withdraws(_) => "an asker withdraws",
        Action::Passes => "time passes to the next timer",
    }
}

/// The way that was gone last, with the world after each of its steps: the next way mostly begins alike.
struct Trail {
    way: Vec<Action>,
    worlds: Vec<World>,
    text: String,
}

impl Trail {
    fn new(beginning: World) -> Self {
        Self { way: Vec::new(), worlds: vec![beginning], text: String::new() }
    }

    /// Goes a way from the beginning.
    fn walk(&mut self, way: &[Action]) -> &World {
        let alike = self.way.iter().zip(way).take_while(|(old, new)| old == new).count();
        self.worlds.truncate(alike + 1);
        for action in &way[alike..] {
            let mut world = self.worlds[self.worlds.len() - 1].clone();
            world.perform(*action);
            // What is not touched from here on keeps its fingerprint in all that is tried.
            world.fingerprint(&mut self.text);
            self.worlds.push(world);
        }
        self.way = way.to_vec();
        &self.worlds[way.len()]
    }
}

/// Goes one layer of ways, and returns the next: those that lead where no way has led.
fn expand(
    (start, faults): (Instant, Faults),
    layer: &[Vec<Action>],
    visited: &[Mutex<HashSet<u128>>],
    figures: &Mutex<Figures>,
) -> Vec<Vec<Action>> {
    let next_chunk = AtomicUsize::new(0);
    let work = || {
        let mut trail = Trail::new(World::new(start, faults));
        let (mut found, mut own, mut text) = (Vec::new(), Figures::default(), String::new());
        while let Some(ways) = layer.chunks(CHUNK).nth(next_chunk.fetch_add(1, Ordering::Relaxed)) {
            let mut steps = Vec::new();
            for way in ways {
                let world = trail.walk(way);
                steps.extend(world.enabled().into_iter().map(|action| (way, action, world.clone())));
            }
            for (way, action, mut next) in steps {
                let way: Vec<Action> = way.iter().copied().chain([action]).collect();
                unbroken(&way, || next.perform(action));
                own.steps += 1;
                *own.by_action.entry(name(action)).or_default() += 1;
                let fingerprint = next.fingerprint(&mut text);
                if visited[fingerprint as usize % SHARDS].lock().expect("no thread failed").insert(fingerprint) {
                    own.states += 1;
                    own.longest = own.longest.max(next.elapsed());
                    if (fingerprint >> 64).is_multiple_of(ENDED_OF) {
                        own.completed += 1;
                        unbroken(&way, || next.complete());
                    }
                    found.push(way);
                }
            }
        }
        figures.lock().expect("no thread failed").add(own);
        found
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("every promise holds")).collect()
    })
}

/// Says which way broke a promise.
fn unbroken(way: &[Action], step: impl FnOnce()) {
    assert!(catch_unwind(AssertUnwindSafe(step)).is_ok(), "this way breaks a promise: {way:?}");
}

/// Looks at every order of events under these faults.
fn explore(what: &str, faults: Faults, depth: usize) -> Figures {
    let (start, began) = (Instant::now(), Instant::now());
    let visited: Vec<Mutex<HashSet<u128>>> = (0..SHARDS).map(|_| Mutex::default()).collect();
    let figures = Mutex::new(Figures { states: 1, ..Figures::default() });
    let mut layer = vec![Vec::new()];
    let mut reached = 0;
    while reached < depth && !layer.is_empty() {
        layer = expand((start, faults), &layer, &visited, &figures);
        reached += 1;
    }
    let end = if layer.is_empty() { "there is no further state" } else { "there are more behind it" };
    let mut figures = figures.into_inner().expect("no thread failed");
    figures.closed = layer.is_empty();
    let Figures { states, steps, completed, longest, .. } = &figures;
    println!(
        "{what}: {states} states, {steps} steps to depth {reached} ({end}), {completed} runs ended from there, \
         up to {longest:?} long, in {:.1} s",
        began.elapsed().as_secs_f64()
    );
    figures
}

#[test]
fn no_order_of_events_breaks_a_promise() {
    let asked = std::env::var("RELAY_MODEL_DEPTH").ok().map(|text| text.parse().expect("a number"));
    let depth = asked.unwrap_or(DEFAULT_DEPTH);
    let none = Faults { kills: 0, cuts: 0, whose: None, slow: None, tells: false };
    let tells = Faults { tells: true, ..none };
    // Of the three, b is the one that both asks and is asked: what befalls it is seen at either end of an ask.
    let b = Some(1);
    let mut runs = vec![
        ("no fault", none),
        ("b reads late", Faults { slow: b, ..none }),
        ("a connection of b is cut", Faults { cuts: 1, whose: b, ..none }),
        ("the hub is killed", Faults { kills: 1, ..none }),
        ("a tell, no fault", tells),
        ("a tell, a connection of b is cut", Faults { cuts: 1, whose: b, ..tells }),
        ("a tell, the hub is killed", Faults { kills: 1, ..tells }),
    ];
    if asked.is_some_and(|depth| depth > DEFAULT_DEPTH) {
        runs.extend([
            ("a reads late", Faults { slow: Some(0), ..none }),
            ("c reads late", Faults { slow: Some(2), ..none }),
            ("b reads late and its connection is cut", Faults { cuts: 1, whose: b, slow: b, ..none }),
            ("any connection is cut, and the hub is killed", Faults { cuts: 1, kills: 1, ..none }),
        ]);
    }
    let mut by_action = BTreeMap::new();
    let mut states = 0;
    for (what, faults) in runs {
        let depth = if asked.is_none() && (faults.kills > 0 || faults.tells) { DEFAULT_DEPTH_OF_KILLS } else { depth };
        let figures = explore(what, faults, depth);
        states += figures.states;
        assert!(figures.closed || depth < CLOSED_BY || faults.kills + faults.cuts > 0, "{what} goes on for ever");
        figures.by_action.into_iter().for_each(|(what, n)| *by_action.entry(what).or_insert(0) += n);
    }
    println!("{states} states; how often each thing happened: {by_action:#?}");
    // Only with more faults does a client close a connection that its hub still reads.
    let kinds = KINDS + usize::from(asked.is_some_and(|depth| depth > DEFAULT_DEPTH));
    assert_eq!(by_action.len(), kinds, "something never happened: {by_action:#?}");
}
