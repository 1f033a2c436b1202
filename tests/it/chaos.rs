//! Four sessions that talk all the time while their hub is killed again and again, under a real `systemd --user`.
//!
//! What every MCP client saw is recorded and judged by `support::checker`, which knows only the promises.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{Scope, sleep};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::checker::{Answered, BACK, Called, Log, PEACE, Record, Shown, violations};
use crate::support::mcp::{Event, Session};
use crate::support::user_manager::{UserManager, user_manager};

/// How often the hub is killed.
const KILLS: usize = 200;

/// The names of the sessions, which are their folders'.
const NAMES: [&str; 4] = ["backend", "docs", "ops", "web"];

/// How many questions each session has on the way at a time.
const ASKERS: u64 = 3;

/// How long a call is waited for; the checker wants it sooner.
const CALL_WAIT: Duration = Duration::from_secs(12);

/// The longest timeout of an ask, in seconds, and how long after the last one everything has ended: its deadline, a
/// late reply's two seconds, and the four seconds after which a reply is given up.
const TIMEOUT_MAX_S: u64 = 5;
const DRAIN: Duration = Duration::from_secs(TIMEOUT_MAX_S + 4);

/// SplitMix64: good enough to choose, and the same everywhere for the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn millis(&mut self, bound: u64) -> Duration {
        Duration::from_millis(self.below(bound))
    }
}

/// What all threads of the test share.
struct Clock {
    start: Instant,
    seed: u64,
    /// No new questions.
    stop: AtomicBool,
    /// No more listening.
    over: AtomicBool,
    next_text: AtomicU64,
}

impl Clock {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn runs(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn chance(&self, of: u64) -> Chance {
        Chance(self.seed ^ of.wrapping_mul(0xd134_2543_de82_ef95))
    }

    /// Returns a text that nobody else says.
    fn text(&self, what: &str) -> String {
        format!("{what} {}", self.next_text.fetch_add(1, Ordering::Relaxed))
    }
}

/// One session and what its client has seen.
struct Talker<'a> {
    name: &'static str,
    session: Session,
    clock: &'a Clock,
    log: Mutex<Log>,
}

impl<'a> Talker<'a> {
    fn start(manager: &UserManager, clock: &'a Clock, channel: &Path, name: &'static str) -> Self {
        let folder = manager.home().join(name);
        assert!(manager.command("mkdir").arg(&folder).status().unwrap().success());
        let command = manager.command_in(&folder, channel);
        let session = Session::builder_of(command).env("RELAY_CHANNEL", "on").start();
        assert_eq!(session.call("relay_peers", json!({})).ok()["you"], name);
        Self { name, session, clock, log: Mutex::new(Log { name: name.to_owned(), ..Log::default() }) }
    }

    fn run<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, number: u64) {
        for asker in 0..ASKERS {
            let chance = self.clock.chance(number * 100 + asker);
            scope.spawn(move || self.keep_asking(chance));
        }
        scope.spawn(|| self.keep_listing());
        scope.spawn(move || self.keep_listening(scope, self.clock.chance(number * 100 + 99)));
    }

    fn call(&self, tool: &'static str, arguments: Value) {
        let sent = self.clock.now();
        let answer = self.session.send_call(tool, arguments.clone()).tool_within(CALL_WAIT);
        let at = self.clock.now();
        let answer = answer.map(|answer| Answered { at, json: answer.json, is_error: answer.is_error });
        self.log.lock().unwrap().calls.push(Called { tool, arguments, sent, answer });
    }

    fn keep_asking(&self, mut chance: Chance) {
        while self.clock.runs() {
            let question = self.clock.text("question");
            let timeout_seconds = 2 + chance.below(TIMEOUT_MAX_S - 1);
            if chance.below(12) == 0 {
                self.call("relay_broadcast", json!({"question": question, "timeout_seconds": timeout_seconds}));
            } else {
                let others: Vec<&str> = NAMES.into_iter().filter(|name| *name != self.name).collect();
                let to = others[chance.below(3) as usize];
                self.call("relay_ask", json!({"to": to, "question": question, "timeout_seconds": timeout_seconds}));
            }
            sleep(chance.millis(250));
        }
    }

    fn keep_listing(&self) {
        while self.clock.runs() {
            self.call("relay_peers", json!({}));
            sleep(Duration::from_millis(50));
        }
    }

    fn keep_listening<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, mut chance: Chance) {
        while !self.clock.over.load(Ordering::Relaxed) {
            let Some(event) = self.session.event_within(Duration::from_millis(100)) else { continue };
            if event.kind() == "ask"
                && let Some(pause) = pause_before_reply(&event, &mut chance)
            {
                let arguments = json!({"ask_id": event.get("ask_id"), "text": self.clock.text("answer")});
                scope.spawn(move || {
                    sleep(pause);
                    self.call("relay_reply", arguments);
                });
            }
            let at = event.at.saturating_duration_since(self.clock.start);
            let shown = Shown { at, content: event.content, meta: event.meta };
            self.log.lock().unwrap().events.push(shown);
        }
    }
}

/// Most are answered at once, some later, some too late, some never.
fn pause_before_reply(ask: &Event, chance: &mut Chance) -> Option<Duration> {
    let timeout: u64 = ask.get("timeout_s").parse().unwrap();
    match chance.below(100) {
        0..60 => Some(Duration::ZERO),
        60..75 => Some(chance.millis(1500)),
        75..85 => Some(Duration::from_secs(timeout) + chance.millis(1000)),
        _ => None,
    }
}

/// Returns the running processes of a user whose program is in this directory.
fn processes_of(uid: u32, programs: &Path) -> Vec<(Pid, PathBuf)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else {
            continue;
        };
        if entry.metadata().is_ok_and(|process| process.uid() == uid)
            && let Ok(program) = fs::read_link(entry.path().join("exe"))
            && program.starts_with(programs)
        {
            found.push((pid, program));
        }
    }
    found
}

/// Finds the hub: the processes of its unit, which are in one control group.
struct HubFinder {
    processes: PathBuf,
}

impl HubFinder {
    fn new(manager: &UserManager) -> Self {
        let group = manager.property("relay.service", "ControlGroup");
        let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"];
        let files = roots.map(|root| PathBuf::from(format!("{root}{group}/cgroup.procs")));
        Self { processes: files.into_iter().find(|file| file.exists()).expect("the unit has a control group") }
    }

    fn find(&self) -> Option<Pid> {
        let listed = fs::read_to_string(&self.processes).ok()?;
        let pid = Pid::from_raw(listed.lines().next()?.parse().ok()?)?;
        // Before it executes the hub the process is still the service manager.
        let program = fs::read_link(format!("/proc/{}/exe", pid.as_raw_nonzero())).ok()?;
        program.ends_with("relay-hub").then_some(pid)
    }
}

/// Makes the service manager start the next hub at once. By the unit it waits for 200 ms, and with its timers' accuracy
/// for up to 450: time in which nothing happens.
fn restart_at_once(manager: &UserManager) {
    let drop_in = manager.home().join(".config/systemd/user/relay.service.d/test.conf");
    let write = "mkdir -p \"${1%/*}\" && printf '[Service]\nRestartSec=0\n' > \"$1\"";
    assert!(manager.command("sh").args(["-c", write, "sh"]).arg(&drop_in).status().unwrap().success());
    manager.systemctl("daemon-reload");
}

/// Kills hubs in bursts, each as soon as it is there or some time later, with peace between the bursts. Returns when.
fn kill_hubs(manager: &UserManager, clock: &Clock) -> Vec<Duration> {
    let hub = HubFinder::new(manager);
    let mut chance = clock.chance(7777);
    let mut kills = Vec::new();
    let mut killed = None;
    while kills.len() < KILLS {
        // The first burst is at the unit's own pace.
        let burst = if kills.is_empty() { 10 } else { 10 + chance.below(30) as usize };
        for _ in 0..burst.min(KILLS - kills.len()) {
            let pid = loop {
                match hub.find() {
                    Some(pid) if killed != Some(pid) => break pid,
                    _ => sleep(Duration::from_millis(2)),
                }
            };
            let longest_ms = [60, 60, 60, 400, 400, 400, 900][chance.below(7) as usize];
            sleep(chance.millis(longest_ms));
            kill_process(pid, Signal::KILL).expect("the hub was alive");
            kills.push(clock.now());
            killed = Some(pid);
        }
        sleep(PEACE + chance.millis(1000));
        restart_at_once(manager);
    }
    kills
}

#[test]
fn two_hundred_kills_of_the_hub_break_no_promise() {
    let manager = user_manager!();
    let seed = match std::env::var("RELAY_CHAOS_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => getrandom::u64().unwrap(),
    };
    println!("RELAY_CHAOS_SEED={seed}");
    let programs = manager.install_programs(&[
        env!("CARGO_BIN_EXE_relay-hub"),
        env!("CARGO_BIN_EXE_relay-channel"),
        env!("CARGO_BIN_EXE_relayctl"),
    ]);
    // The brakes on loops and storms have tests of their own; here they would keep the sessions from talking.
    manager.systemctl("set-environment RELAY_LIMITS=rate=off,loop=off");
    let relayctl = |subcommand: &str| {
        let output = manager.command(programs.join("relayctl")).arg(subcommand).output().unwrap();
        assert!(output.status.success(), "{subcommand}: {output:?}");
    };
    relayctl("install-service");

    let clock = Clock {
        start: Instant::now(),
        seed,
        stop: AtomicBool::new(false),
        over: AtomicBool::new(false),
        next_text: AtomicU64::new(0),
    };
    let channel = programs.join("relay-channel");
    let talkers = NAMES.map(|name| Talker::start(&manager, &clock, &channel, name));
    let kills = std::thread::scope(|scope| {
        for (number, talker) in (0..).zip(&talkers) {
            talker.run(scope, number);
        }
        let kills = kill_hubs(&manager, &clock);
        clock.stop.store(true, Ordering::Relaxed);
        sleep(DRAIN);
        clock.over.store(true, Ordering::Relaxed);
        kills
    });

    for talker in &talkers {
        assert!(talker.session.is_alive(), "{} ended", talker.name);
    }
    let [one, two, three, four] = &talkers;
    one.session.close();
    two.session.signal(Signal::TERM);
    three.session.signal(Signal::INT);
    four.session.signal(Signal::HUP);
    for talker in &talkers {
        assert_eq!(talker.session.wait().0.code(), Some(0), "{}", talker.name);
    }
    relayctl("uninstall-service");
    assert_eq!(processes_of(manager.uid(), &programs), [], "no process of ours is left");

    let sessions = talkers.into_iter().map(|talker| talker.log.into_inner().unwrap()).collect();
    let record = Record { sessions, kills, end: clock.now() };
    println!("{}", summary(&record));
    let found = violations(&record);
    assert!(
        found.is_empty(),
        "seed {seed}, {}: {} broken promises:\n{}",
        summary(&record),
        found.len(),
        found.join("\n")
    );
    assert_enough_was_tried(&record);
}

/// What was not tried was not tested.
fn assert_enough_was_tried(record: &Record) {
    assert!(record.kills.len() >= KILLS);
    let peaceful = record.kills.windows(2).filter(|pair| pair[1] - pair[0] > BACK).count();
    assert!(peaceful >= 3, "{peaceful} kills were followed by peace");
    for (tool, state, least) in [
        ("relay_ask", "accepted", 200),
        ("relay_broadcast", "", 5),
        ("relay_reply", "accepted", 100),
        ("relay_peers", "", 200),
    ] {
        let n = worked(record, tool, state);
        assert!(n >= least, "only {n} of {tool} {state}");
    }
}

fn worked(record: &Record, tool: &str, state: &str) -> usize {
    let calls = record.sessions.iter().flat_map(|log| &log.calls).filter(|call| call.tool == tool);
    let answers = calls.filter_map(|call| call.answer.as_ref()).filter(|answer| !answer.is_error);
    answers.filter(|answer| state.is_empty() || answer.json["state"] == state).count()
}

fn summary(record: &Record) -> String {
    let shown = |kind: &str| {
        let events = record.sessions.iter().flat_map(|log| &log.events);
        events.filter(|event| event.meta.get("kind").is_some_and(|found| found == kind)).count()
    };
    let calls = record.sessions.iter().map(|log| log.calls.len()).sum::<usize>();
    format!(
        "{} kills in {:?}; {calls} calls; accepted: {} asks, {} broadcasts, {} replies, {} more pending; shown: {} asks, {} \
         replies, {} failures, {} tallies, {} failed replies",
        record.kills.len(),
        record.end,
        worked(record, "relay_ask", "accepted"),
        worked(record, "relay_broadcast", ""),
        worked(record, "relay_reply", "accepted"),
        worked(record, "relay_reply", "pending"),
        shown("ask"),
        shown("reply"),
        shown("failed"),
        shown("tally"),
        shown("reply_failed"),
    )
}
