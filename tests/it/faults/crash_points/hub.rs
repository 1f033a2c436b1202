//! The hub dies by its own hand, exactly at a point, as `kill -9` would do it there. The service manager starts the next,
//! with the next point in its environment; what the sessions saw is judged by `support::checker`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use relay::fault;
use relay::protocol::{Answer, Event, Notice, Request};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::chaos_clients::{End, invite};
use crate::support::checker::{PEACE, violations};
use crate::support::hub_process::RawClient;
use crate::support::installed::{Installed, runs, soon};
use crate::support::load::{Chance, Clock, processes_of, summary, talk, worked};
use crate::support::user_manager::user_manager;

/// The sessions of each hub.
const NAMES: [&str; 3] = ["backend", "docs", "web"];

/// The points that only a hub without clients comes to, and those that it comes to otherwise as well.
const QUIET: [&str; 2] = ["due.idle", "leave"];

/// The deadlines of the rules.
const DUE: [&str; 5] = ["due.grace", "due.hello", "due.ask", "due.gone", "due.idle"];

/// What happens to a hub beside messages. Congestion is left out, which takes more to bring about than a kill is worth.
const INPUTS: [&str; 4] = ["connected", "malformed", "disconnected", "process_ended"];

/// What only a bridge says or is told. Hubs are killed under bridges in `tests/it/bridge/faults.rs`.
const OF_BRIDGES: [&str; 3] = ["advanced", "decline", "reach"];

/// Returns every point of the hub: what it does in any case, and what it receives and sends, kind by kind.
fn points_of_hub() -> Vec<String> {
    let kinds = |tables: [&'static [(&'static str, u32)]; 2]| {
        let all = tables.into_iter().flatten().map(|(kind, _)| *kind);
        all.filter(|kind| !OF_BRIDGES.contains(kind)).collect::<BTreeSet<&str>>()
    };
    let received = kinds([Request::KINDS, Notice::KINDS]);
    let sent = kinds([Answer::KINDS, Event::KINDS]);
    let once = fault::HUB.iter().chain(&DUE).map(|point| (*point).to_owned());
    let inputs = fault::points_of_inputs(received.into_iter().chain(INPUTS));
    once.chain(inputs).chain(fault::points_of_messages(sent)).collect()
}

/// The points that take long to come to.
const SLOW: [&str; 1] = ["due.hello"];

/// How many kills one set of sessions lives through.
const KILLS_A_RECORD: usize = 150;

/// How long a hub is left alone before it is brought to a point that no client brings it to, and again.
const PROVOKED_AFTER: Duration = Duration::from_millis(200);

/// How often a point is tried before it counts as one that cannot be come to.
const ATTEMPTS: usize = 4;

/// What all hubs share: where is still to be killed, and how often it was.
struct Plan {
    points: VecDeque<(String, usize)>,
    killed: BTreeMap<String, usize>,
    unreached: Vec<String>,
    /// What each set of sessions has done.
    summaries: Vec<String>,
    /// The asks and broadcasts of all of them that were accepted.
    n_asks: usize,
    n_broadcasts: usize,
}

impl Plan {
    /// Every point in each round, the slow ones first in the first and then in every eighth.
    fn new(kills: usize) -> Self {
        let all = points_of_hub();
        let mut points = VecDeque::new();
        for round in 0.. {
            let of_round = all.iter().filter(|point| !QUIET.contains(&point.as_str()) || point.as_str() == "leave");
            let (slow, quick): (Vec<_>, Vec<_>) = of_round.partition(|point| SLOW.contains(&point.as_str()));
            let slow = slow.into_iter().filter(|_| round % 8 == 0);
            points.extend(slow.chain(quick).map(|point| (point.clone(), 0)));
            if points.len() >= kills {
                break;
            }
        }
        Self {
            points,
            killed: BTreeMap::new(),
            unreached: Vec::new(),
            summaries: Vec::new(),
            n_asks: 0,
            n_broadcasts: 0,
        }
    }

    fn count(&mut self, point: &str) {
        *self.killed.entry(point.to_owned()).or_default() += 1;
    }
}

/// Where a hub that is to live is armed: it passes no such point, but says in the log that it runs, as every hub does.
const NOWHERE: &str = "nowhere:1";

/// A hub that is to die, by what its own log says.
struct Victim<'a> {
    relay: &'a Installed,
    /// Where the service manager reads the hub's environment, and where the hub writes.
    environment: PathBuf,
    log: BufReader<fs::File>,
    /// The line of the log that is being written.
    line: String,
    /// Where the hub that is started next is to die.
    next: String,
}

impl<'a> Victim<'a> {
    fn new(relay: &'a Installed) -> Self {
        let directory = relay.manager.outside(relay.manager.runtime_dir());
        let log = directory.join("fault.log");
        fs::write(&log, "").unwrap();
        fs::set_permissions(&log, fs::Permissions::from_mode(0o666)).unwrap();
        let log = BufReader::new(fs::File::open(log).unwrap());
        let mut victim =
            Self { relay, environment: directory.join("fault"), log, line: String::new(), next: String::new() };
        victim.arm(NOWHERE);
        relay.drop_in(&format!(
            "EnvironmentFile=%t/fault\nRestartSec=0\nWatchdogSec=2s\nExecStart=\nExecStart=\"{}\" --idle-timeout 300ms \
             --limit rate=off --limit loop=off --limit queued_bytes=60000",
            relay.program("relay-hub").display()
        ));
        // One that was started before that is not armed.
        relay.manager.systemctl("stop relay.service");
        victim
    }

    /// Says where the hub that is started next is to die.
    fn arm(&mut self, name: &str) {
        if self.next == name {
            return;
        }
        name.clone_into(&mut self.next);
        let log = self.relay.manager.runtime_dir().join("fault.log");
        let new = self.environment.with_extension("new");
        fs::write(&new, format!("RELAY_FAULT={name}\nRELAY_FAULT_LOG={}\n", log.display())).unwrap();
        fs::rename(new, &self.environment).unwrap();
    }

    /// Returns the next line of the log: what, which point, which process.
    fn line(&mut self) -> Option<(String, String, Pid)> {
        self.log.read_line(&mut self.line).unwrap();
        if !self.line.ends_with('\n') {
            return None;
        }
        let line = std::mem::take(&mut self.line);
        let [what, name, pid] = line.split_ascii_whitespace().collect::<Vec<_>>()[..] else { return None };
        Some((what.to_owned(), name.to_owned(), Pid::from_raw(pid.parse().unwrap()).unwrap()))
    }

    /// Waits until a hub has died at this point; the one after it is armed for `next`. Returns whether it did in time.
    ///
    /// Before the time is up only a hub is killed that has said that it is armed for another point: one that is armed for
    /// this one would die for nothing, and the next would not be armed for it.
    fn die(&mut self, name: &str, next: &str) -> bool {
        let point = name.split(':').next().unwrap();
        let patience = Duration::from_secs(if SLOW.contains(&point) { 15 } else { 5 });
        self.arm(name);
        let (mut since, mut provoked) = (Instant::now(), Instant::now());
        let (mut was_armed, mut hub) = (false, None);
        loop {
            match self.line() {
                Some((what, armed, pid)) if what == "armed" => {
                    if armed == name {
                        self.arm(next);
                        // Hubs that end elsewhere again and again do not prolong the time.
                        if !was_armed {
                            (since, was_armed) = (Instant::now(), true);
                        }
                        (provoked, hub) = (Instant::now(), Some(pid));
                    } else {
                        // It was started before it could be told, or the one that was armed has ended elsewhere.
                        self.arm(name);
                        hub = None;
                        kill_hub(pid, Signal::KILL);
                    }
                }
                Some((_, killed, pid)) => {
                    if killed == name {
                        soon("the end", || (!runs(pid.as_raw_nonzero().get().cast_unsigned())).then_some(()));
                        return true;
                    }
                }
                None if since.elapsed() > patience => {
                    self.arm(next);
                    if let Some(hub) = hub {
                        kill_hub(hub, Signal::KILL);
                    }
                    return false;
                }
                None => {
                    if let Some(hub) = hub.filter(|_| provoked.elapsed() >= PROVOKED_AFTER) {
                        provoke(self.relay, point, hub);
                        provoked = Instant::now();
                    }
                    sleep(Duration::from_millis(2));
                }
            }
        }
    }
}

/// Sends a hub a signal. One that has ended by itself has said so long ago, and its id may be another process's by now.
fn kill_hub(pid: Pid, signal: Signal) {
    if fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "relay-hub\n") {
        let _has_died = kill_process(pid, signal);
    }
}

/// Brings the hub to points that no client brings it to.
fn provoke(relay: &Installed, point: &str, hub: Pid) {
    if point == "leave" {
        kill_hub(hub, Signal::TERM);
    } else if point == "replaced" {
        relay.manager.install_programs(&[env!("CARGO_BIN_EXE_relay-hub")]);
        let _pending = relay.connect();
    } else if point.ends_with(".process_ended") {
        let mut tool =
            relay.manager.command(relay.program("relayctl")).arg("watch").stdout(Stdio::null()).spawn().unwrap();
        sleep(Duration::from_millis(150));
        tool.kill().unwrap();
        tool.wait().unwrap();
    }
}

/// Kills a hub that nobody is connected to for long. Whoever comes is served: at once, or by the next hub.
fn kill_quietly(victim: &mut Victim<'_>, plan: &Mutex<Plan>) {
    let over = AtomicBool::new(false);
    let relay = victim.relay;
    scope(|scope| {
        let visitor = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                visit(relay);
                sleep(Duration::from_millis(600));
            }
        });
        let end = End(&over);
        for point in QUIET {
            let name = format!("{point}:1");
            let killed = (0..ATTEMPTS).any(|_| victim.die(&name, NOWHERE));
            assert!(killed, "an idle hub did not come to {point}");
            plan.lock().unwrap().count(point);
        }
        drop(end);
        visitor.join().unwrap();
    });
}

/// Connects, and again if the hub dies meanwhile, until a hub answers.
fn visit(relay: &Installed) {
    soon("an answer", || {
        let mut client = RawClient::over(relay.connect().ok()?);
        client.write(b"{\"type\":\"status\",\"id\":1}\n").ok()?;
        client.try_hear()
    });
}

/// Kills a hub again and again until nothing is left of the plan.
fn kill_hubs(victim: &mut Victim<'_>, plan: &Mutex<Plan>, clock: &Clock) {
    let mut chance = clock.chance(7777);
    let mut next = take(plan, &mut chance);
    for n in 1.. {
        let Some((point, name, attempts)) = next else { break };
        next = if n < KILLS_A_RECORD { take(plan, &mut chance) } else { None };
        let killed = victim.die(&name, next.as_ref().map_or(NOWHERE, |(_, name, _)| name));
        let mut plan = plan.lock().unwrap();
        match killed {
            true => plan.count(&point),
            false if attempts + 1 < ATTEMPTS => plan.points.push_front((point, attempts + 1)),
            false => plan.unreached.push(point),
        }
    }
    // What was said must arrive now, and everybody be back.
    sleep(PEACE);
}

/// Takes a point from the plan, and chooses at which passing the hub dies there.
fn take(plan: &Mutex<Plan>, chance: &mut Chance) -> Option<(String, String, usize)> {
    let (point, attempts) = plan.lock().unwrap().points.pop_front()?;
    // A second time does not come to points at which the hub is going, or comes only after long.
    let is_once = ["start", "leave", "replaced", "due."].iter().any(|step| point.starts_with(step));
    let passing = if is_once || attempts > 0 { 1 } else { 1 + chance.below(3) };
    Some((point.clone(), format!("{point}:{passing}"), attempts))
}

/// One hub with its sessions and guests, until nothing is left of the plan. Returns what each set of sessions saw.
fn run(relay: &Installed, plan: &Mutex<Plan>, seed: u64) {
    let programs = relay.program("relay-hub").parent().unwrap().to_owned();
    let mut victim = Victim::new(relay);
    for n in 0.. {
        kill_quietly(&mut victim, plan);
        let clock = Clock::start(seed.wrapping_add(n));
        let over = AtomicBool::new(false);
        let record = scope(|scope| {
            invite(scope, relay, &over);
            let end = End(&over);
            talk(&relay.manager, &clock, &relay.program("relay-channel"), &NAMES, || {
                kill_hubs(&mut victim, plan, &clock);
                drop(end);
            })
        });
        {
            let mut plan = plan.lock().unwrap();
            plan.summaries.push(summary(&record));
            plan.n_asks += worked(&record, "relay_ask", "accepted");
            plan.n_broadcasts += worked(&record, "relay_broadcast", "");
        }
        let found = violations(&record);
        assert!(found.is_empty(), "seed {seed}: {} broken promises:\n{}", found.len(), found.join("\n"));
        soon("the end of every process but the hub", || {
            let left = processes_of(relay.manager.uid(), &programs);
            left.iter().all(|(_, program)| program.starts_with(relay.program("relay-hub"))).then_some(())
        });
        if plan.lock().unwrap().points.is_empty() {
            break;
        }
    }
    relay.relayctl_ok("uninstall-service");
    assert_eq!(processes_of(relay.manager.uid(), &programs), [], "no process of ours is left");
}

#[test]
fn a_hub_that_is_killed_at_any_point_breaks_no_promise() {
    let variable = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().unwrap());
    let points = points_of_hub();
    let kills = variable("RELAY_TEST_KILLS").map_or(1, |kills| kills.try_into().unwrap());
    let seed = variable("RELAY_CHAOS_SEED").unwrap_or_else(|| getrandom::u64().unwrap());
    let hubs = variable("RELAY_TEST_HUBS").unwrap_or(4);
    println!("RELAY_CHAOS_SEED={seed}");
    let mut relays = vec![Installed::with(user_manager!())];
    for _ in 1..hubs {
        relays.push(Installed::with(user_manager!()));
    }
    let (plan, start) = (Mutex::new(Plan::new(kills)), Instant::now());
    scope(|scope| {
        let runs: Vec<_> = (1..).zip(&relays).map(|(n, relay)| (n, relay, &plan)).collect();
        let runs: Vec<_> =
            runs.into_iter().map(|(n, relay, plan)| scope.spawn(move || run(relay, plan, seed ^ (n << 32)))).collect();
        for run in runs {
            run.join().unwrap_or_else(|panic| resume_unwind(panic));
        }
    });

    let Plan { killed, unreached, summaries, n_asks, n_broadcasts, .. } = plan.into_inner().unwrap();
    println!("{}", summaries.join("\n"));
    let never: Vec<&String> = points.iter().filter(|point| !killed.contains_key(*point)).collect();
    println!(
        "{} kills of {hubs} hubs at {} of {} points in {:?}, at each {} to {} times; {n_asks} asks and {n_broadcasts} \
         broadcasts; not come to in time: {unreached:?}",
        killed.values().sum::<usize>(),
        killed.len(),
        points.len(),
        start.elapsed(),
        killed.values().min().unwrap_or(&0),
        killed.values().max().unwrap_or(&0),
    );
    assert!(never.is_empty(), "never killed at {never:?}");
}
