//! The promises under faults: a hub and its clients in one process, on one clock, with one seed for everything.
//!
//! `RELAY_SIM_SEED=n` runs that seed alone and prints what happens. `RELAY_SIM_SEEDS=n` runs so many seeds, the first of
//! which is `RELAY_SIM_FIRST`, on all processors.

#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks at what it is about")]
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]
#![expect(clippy::print_stdout, reason = "a run of one seed is printed to be read")]

mod checker;
mod world;

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use relay::client::Call;
use relay::protocol::{AskId, AskKind, AskState, Audience, BroadcastId, ErrorCode, Notice, Progress, Request};

use self::checker::{Counts, Fate};
use self::world::{Step, World};

const DEFAULT_SEEDS: u64 = 10_000;

/// How long things are asked and faults happen.
const LIVELY: Duration = Duration::from_secs(20);

/// The longest time that an ask stays open.
const LONGEST: u64 = 60_000;

/// How long an ended ask is remembered at most, beyond its deadline; with some room.
const REMEMBERED: Duration = Duration::from_secs(80);

const FOLDERS: [&str; 4] = ["/w/api", "/w/web", "/x/api", "/w/Büro 7"];
const ADDRESSES: [&str; 9] = ["api", "web", "api-2", "büro-7", "API", "Büro 7", "nobody", "all", "-"];
const WISHES: [&str; 5] = ["api", "fresh", "web-2", "hub", "!"];

/// What every run of the default length must have met, besides every error code and every input of the hub.
const MUST_MEET: [&str; 44] = [
    "fault: connection cut",
    "fault: connection congested",
    "fault: stranger",
    "fault: hub killed",
    "fault: hub paused",
    "fault: client killed",
    "fault: client left",
    "fault: client paused",
    "fault: channel renewed",
    "fault: channel killed and renewed",
    "outcome inherited",
    "agent end seen",
    "value parked",
    "process end seen",
    "idle exit",
    "ask accepted",
    "ask shown",
    "broadcast accepted",
    "tally",
    "closed",
    "withdrawn",
    "renamed",
    "reply taken",
    "reply pending",
    "reply refused",
    "reply failed after it was pending",
    "outcome reply",
    "outcome timeout",
    "outcome peer_gone",
    "session: answers",
    "session: ignores",
    "session: asks back",
    "session: answers twice",
    "session: answers late",
    "tell accepted",
    "tell shown",
    "outcome shown",
    "outcome handed_over",
    "tell timeout",
    "tell peer_gone",
    "reply to a tell refused",
    "broadcast to some",
    "broadcast to nobody",
    "audience listed",
];

/// One run's script.
struct Run {
    /// Only the hub and connections fail: then nothing at all may be lost.
    gentle: bool,
    lively_until: Instant,
    next_text: u64,
}

impl Run {
    fn text(&mut self, what: &str) -> String {
        self.next_text += 1;
        format!("{what} {}", self.next_text)
    }

    fn perform(&mut self, world: &mut World, step: Step) {
        let lively = world.now < self.lively_until;
        match step {
            Step::Act(client) if lively && world.clients[client].alive => {
                self.act(world, client);
                world.schedule_in(0..2500, Step::Act(client));
            }
            Step::Handle(client, ask, AskKind::Ask) if world.clients[client].alive => self.handle(world, client, ask),
            Step::Handle(client, tell, AskKind::Tell) if world.clients[client].alive => {
                self.handle_tell(world, client, tell)
            }
            Step::Fault if lively => {
                self.fault(world);
                world.schedule_in(0..5000, Step::Fault);
            }
            _ => {}
        }
    }

    fn act(&mut self, world: &mut World, client: usize) {
        match world.random.below(24) {
            0..10 => self.ask(world, client, AskKind::Ask),
            20..24 => self.ask(world, client, AskKind::Tell),
            10..13 => {
                let broadcast_id = BroadcastId::from_bits(world.random.next());
                let (question, timeout) = (self.text("broadcast"), timeout(world));
                let audience = audience(world);
                world.call(client, Call::Broadcast { broadcast_id, audience, question, timeout });
            }
            13 if world.random.chance(50) => {
                let audience = audience(world);
                world.call(client, Call::Audience(audience));
            }
            13 => world.call(client, Call::Peers),
            14 => world.call(client, Call::Status),
            15 | 16 => {
                let name = (*world.random.pick(&WISHES)).to_owned();
                world.call(client, Call::Rename { name });
            }
            17 => {
                let open = world.checker.open_of(client);
                // A channel withdraws nothing, so nothing that it has from the one before.
                if !open.is_empty() && world.clients[client].channels == 1 {
                    let ask = *world.random.pick(&open);
                    world.withdraw(client, ask);
                }
            }
            18 => {
                let (ask_id, text) = (AskId::from_bits(world.random.next()), self.text("stray reply"));
                world.call(client, Call::Reply { ask_id, text });
            }
            _ => {
                let open = world.checker.open_of(client);
                if !open.is_empty() {
                    let (ask_id, text) = (*world.random.pick(&open), self.text("own reply"));
                    world.call(client, Call::Reply { ask_id, text });
                }
            }
        }
    }

    fn ask(&mut self, world: &mut World, client: usize, kind: AskKind) {
        let other = world.random.below(world.clients.len() as u64) as usize;
        let to = match &world.clients[other].name {
            Some(name) if world.random.chance(70) => name.to_string(),
            Some(_) | None => (*world.random.pick(&ADDRESSES)).to_owned(),
        };
        let id = AskId::from_bits(world.random.next());
        let (text, timeout) = (self.text("ask"), timeout(world));
        let call = match kind {
            AskKind::Ask => Call::Ask { ask_id: id, to, question: text, timeout },
            AskKind::Tell => Call::Tell { tell_id: id, to, text, timeout },
        };
        world.call(client, call);
    }

    /// What becomes of a tell in the session that has it.
    fn handle_tell(&mut self, world: &mut World, client: usize, tell: AskId) {
        let (state, is_final) = *world.random.pick(&[
            (AskState::Held, false),
            (AskState::HandedOver, false),
            (AskState::HandedOver, true),
            (AskState::Shown, true),
            (AskState::Shown, true),
        ]);
        world.progress(client, Progress { ask_id: tell, state, is_final });
        if state < AskState::Shown && !is_final && world.random.chance(60) {
            world.schedule_in(0..8000, Step::Handle(client, tell, AskKind::Tell));
        }
        if world.random.chance(10) {
            self.reply(world, client, tell);
        }
    }

    /// What a session does with an ask that it was shown.
    fn handle(&mut self, world: &mut World, client: usize, ask_id: AskId) {
        if world.random.chance(60) {
            let state = *world.random.pick(&[AskState::Held, AskState::HandedOver, AskState::Shown]);
            let is_final = world.random.chance(50);
            world.progress(client, Progress { ask_id, state, is_final });
        }
        if world.tight && world.random.chance(40) {
            self.ask(world, client, AskKind::Ask);
        }
        match world.random.below(20) {
            0..11 => {
                world.checker.count("session: answers");
                self.reply(world, client, ask_id);
            }
            11..13 => {
                world.checker.count("session: answers twice");
                self.reply(world, client, ask_id);
                self.reply(world, client, ask_id);
            }
            13..15 => {
                world.checker.count("session: asks back");
                self.ask(world, client, AskKind::Ask);
                self.reply(world, client, ask_id);
            }
            15..18 => {
                world.checker.count("session: answers late");
                world.schedule_in(0..8000, Step::Handle(client, ask_id, AskKind::Ask));
            }
            _ => world.checker.count("session: ignores"),
        }
    }

    fn reply(&mut self, world: &mut World, client: usize, ask_id: AskId) {
        let text = self.text("reply");
        world.call(client, Call::Reply { ask_id, text });
    }

    fn fault(&self, world: &mut World) {
        let client = world.random.below(world.clients.len() as u64) as usize;
        let concerns = world.clients[client].alive && !world.is_paused(client);
        match world.random.below(if self.gentle { 6 } else { 14 }) {
            0..3 => {
                let down = *world.random.pick(&[0, 0, 300, 3000, 15_000]);
                let down = world.random.millis(0..down + 1);
                world.kill_hub(down);
            }
            3 | 4 if concerns => world.cut(client),
            5 if world.random.chance(50) => world.visit(),
            5 => world.congest(client),
            6 | 7 if concerns => {
                let orderly = world.random.chance(50);
                world.end_client(client, orderly);
            }
            8 if concerns => {
                let pause = world.random.millis(100..12_000);
                world.pause_client(client, pause);
            }
            9 => {
                let pause = world.random.millis(100..6000);
                world.pause_hub(pause);
            }
            10 | 11 => {
                let folder = *world.random.pick(&FOLDERS);
                let newcomer = world.add_client(Some(folder));
                world.schedule_in(0..1000, Step::Act(newcomer));
            }
            12 | 13 if concerns => {
                let orderly = world.random.chance(70);
                world.renew(client, orderly);
            }
            _ => {}
        }
    }
}

/// Everybody, some by name, those below a folder, or both.
fn audience(world: &mut World) -> Audience {
    let mut audience = Audience::default();
    if world.random.chance(40) {
        audience.to = Some((0..world.random.below(4)).map(|_| (*world.random.pick(&ADDRESSES)).to_owned()).collect());
    }
    if world.random.chance(20) {
        audience.folder = Some((*world.random.pick(&["/w", "/w/api", "/nowhere"])).to_owned());
    }
    audience
}

fn timeout(world: &mut World) -> Duration {
    match world.random.below(3) {
        0 => world.random.millis(1..2000),
        1 => world.random.millis(1000..10_000),
        _ => world.random.millis(40_000..LONGEST),
    }
}

/// Runs one seed and checks everything that was promised.
fn simulate(seed: u64, prints: bool, keeps_history: bool) -> (Counts, Vec<String>) {
    let mut world = World::new(seed, prints);
    world.history = keeps_history.then(Vec::new);
    let gentle = world.random.chance(40);
    let lively_until = world.now + LIVELY;
    let mut run = Run { gentle, lively_until, next_text: 0 };
    for n in 0..world.random.below(4) + 2 {
        let folder = *world.random.pick(&FOLDERS);
        let is_session = n == 0 || world.random.chance(80);
        let client = world.add_client(is_session.then_some(folder));
        world.schedule_in(0..1500, Step::Act(client));
    }
    world.schedule_in(100..4000, Step::Fault);
    let quiet_by = lively_until + Duration::from_millis(LONGEST) + REMEMBERED;
    world.run(quiet_by, &mut |world, step| run.perform(world, step));

    let alive: Vec<bool> = world.clients.iter().map(|client| client.alive).collect();
    let World { missed, silent, hub_was_paused, hub_overslept, .. } = &world;
    let fate =
        Fate { alive: &alive, gentle, missed, silent, hub_was_paused: *hub_was_paused, hub_overslept: *hub_overslept };
    world.checker.finish(&fate);
    let counts = std::mem::take(&mut world.checker.counts);
    for client in (0..alive.len()).filter(|client| alive[*client]) {
        world.end_client(client, true);
    }
    world.run(quiet_by + REMEMBERED * 2, &mut |_, _| {});
    assert!(world.is_quiet(), "something is left at the end");
    (counts, world.history.unwrap_or_default())
}

/// Runs these seeds on all processors. Returns what they met, and which of them break a promise.
fn simulate_all(seeds: &Range<u64>) -> (Counts, BTreeSet<u64>) {
    let next = AtomicU64::new(seeds.start);
    let work = || {
        let (mut counts, mut broken) = (Counts::new(), BTreeSet::new());
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if !seeds.contains(&seed) {
                return (counts, broken);
            }
            match std::panic::catch_unwind(|| simulate(seed, false, false)) {
                Ok((met, _)) => met.into_iter().for_each(|(what, n)| *counts.entry(what).or_default() += n),
                Err(_) => {
                    println!("seed {seed} breaks a promise");
                    broken.insert(seed);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let workers = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let (mut counts, mut broken) = (Counts::new(), BTreeSet::new());
        for worker in workers {
            let (met, more) = worker.join().unwrap();
            met.into_iter().for_each(|(what, n)| *counts.entry(what).or_default() += n);
            broken.extend(more);
        }
        (counts, broken)
    })
}

#[test]
fn promises_hold_under_faults() {
    if let Some(seed) = number("RELAY_SIM_SEED") {
        simulate(seed, true, false);
        return;
    }
    let first = number("RELAY_SIM_FIRST").unwrap_or(0);
    let seeds = first..first + number("RELAY_SIM_SEEDS").unwrap_or(DEFAULT_SEEDS);
    let (counts, broken) = simulate_all(&seeds);
    assert!(broken.is_empty(), "these seeds break a promise: {broken:?}; run one alone with RELAY_SIM_SEED");
    println!("{seeds:?}");
    println!("{counts:#?}");
    let inputs = ["connected", "malformed", "disconnected", "process_ended", "congested", "drained"];
    let inputs = inputs.into_iter().chain(Request::KINDS.iter().chain(Notice::KINDS).map(|(kind, _)| *kind));
    // What only a bridge says is simulated with linked machines: tests/it/bridge.
    let inputs = inputs.filter(|kind| !["decline", "reach"].contains(kind));
    // Storms are made elsewhere: here so few open asks are allowed that no ring goes round.
    let elsewhere =
        [ErrorCode::LoopDetected, ErrorCode::MachineUnreachable, ErrorCode::NotAllowed, ErrorCode::Unconfirmed];
    let codes = ErrorCode::ALL.into_iter().filter(|code| !elsewhere.contains(code));
    for what in inputs.chain(codes.map(ErrorCode::as_str)).chain(MUST_MEET) {
        assert!(counts.contains_key(what), "no run met {what}: {counts:#?}");
    }
}

#[test]
fn seed_is_one_run() {
    for seed in 0..20 {
        let (first, second) = (simulate(seed, false, true).1, simulate(seed, false, true).1);
        assert!(!first.is_empty());
        assert_eq!(first, second, "seed {seed} ran differently the second time");
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}
