//! Sessions that talk all the time: each asks, broadcasts, answers and lists, and records what its MCP client saw.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{Scope, sleep};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::{Value, json};

use super::checker::is_guest;
use super::hub_finder::HubFinder;
use super::mcp::{Event, Session};
use super::record::{Answered, Called, Life, Log, Record, Shown};
use super::user_manager::UserManager;

/// How many questions each session has on the way at a time.
const ASKERS: u64 = 3;

/// How long a call is waited for; the checker wants it sooner.
const CALL_WAIT: Duration = Duration::from_secs(12);

/// The longest timeout of an ask, in seconds, and how long after the last one everything has ended: its deadline, a
/// late reply's two seconds, and the four seconds after which a reply is given up.
const TIMEOUT_MAX_S: u64 = 5;
const DRAIN: Duration = Duration::from_secs(TIMEOUT_MAX_S + 4);

/// SplitMix64: good enough to choose, and the same everywhere for the same seed.
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    pub(crate) fn millis(&mut self, bound: u64) -> Duration {
        Duration::from_millis(self.below(bound))
    }
}

/// What all threads of one record share.
pub(crate) struct Clock {
    start: Instant,
    seed: u64,
    /// No new questions.
    stop: AtomicBool,
    /// No more listening.
    over: AtomicBool,
    next_text: AtomicU64,
}

impl Clock {
    /// Starts; the same seed makes the same choices.
    pub(crate) fn start(seed: u64) -> Self {
        Self {
            start: Instant::now(),
            seed,
            stop: AtomicBool::new(false),
            over: AtomicBool::new(false),
            next_text: AtomicU64::new(0),
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    pub(crate) fn runs(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    pub(crate) fn chance(&self, of: u64) -> Chance {
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
    /// The names of all sessions.
    names: &'static [&'static str],
    session: Session,
    clock: &'a Clock,
    log: Mutex<Log>,
}

impl<'a> Talker<'a> {
    fn start(
        manager: &UserManager,
        clock: &'a Clock,
        channel: &Path,
        names: &'static [&'static str],
        name: &'static str,
    ) -> Self {
        let folder = manager.home().join(name);
        assert!(manager.command("mkdir").arg("-p").arg(&folder).status().unwrap().success());
        let command = manager.command_in(&folder, channel);
        let session = Session::builder_of(command).env("RELAY_CHANNEL", "on").start();
        assert_eq!(session.call("relay_peers", json!({})).ok()["you"], name);
        Self { name, names, session, clock, log: Mutex::new(Log { name: name.to_owned(), ..Log::default() }) }
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
            let others: Vec<&&str> = self.names.iter().filter(|name| **name != self.name).collect();
            let to = others[chance.below(others.len() as u64) as usize];
            match chance.below(24) {
                0 => self.call("relay_broadcast", json!({"question": question, "timeout_seconds": timeout_seconds})),
                1 => self.call(
                    "relay_broadcast",
                    json!({"question": question, "to": [to], "timeout_seconds": timeout_seconds}),
                ),
                2..7 => {
                    self.call("relay_tell", json!({"to": to, "text": question, "timeout_seconds": timeout_seconds}));
                }
                _ => {
                    self.call("relay_ask", json!({"to": to, "question": question, "timeout_seconds": timeout_seconds}))
                }
            }
            sleep(chance.millis(250));
        }
    }

    fn keep_listing(&self) {
        while self.clock.runs() {
            self.call("relay_peers", json!({}));
            sleep(Duration::from_millis(100));
        }
    }

    fn keep_listening<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, mut chance: Chance) {
        while !self.clock.over.load(Ordering::Relaxed) {
            let Some(event) = self.session.event_within(Duration::from_millis(100)) else { continue };
            if event.kind() == "ask" && is_guest(event.get("from")) {
                continue;
            }
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

/// How often the processes are looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Runs sessions with these names, which talk until `during` has ended, and ends them each in another way. Returns what
/// they saw.
pub(crate) fn talk(
    manager: &UserManager,
    clock: &Clock,
    channel: &Path,
    names: &'static [&'static str],
    during: impl FnOnce(),
) -> Record {
    let talkers: Vec<Talker<'_>> =
        names.iter().map(|name| Talker::start(manager, clock, channel, names, name)).collect();
    let hub = HubFinder::new(manager);
    let mut record = std::thread::scope(|scope| {
        for (number, talker) in (0..).zip(&talkers) {
            talker.run(scope, number);
        }
        let looking = scope.spawn(|| keep_looking(&talkers, &hub, clock));
        // A test that fails must not wait for its threads for ever.
        let ended = catch_unwind(AssertUnwindSafe(during));
        let asked_until = clock.now();
        clock.stop.store(true, Ordering::Relaxed);
        sleep(if ended.is_ok() { DRAIN } else { Duration::ZERO });
        clock.over.store(true, Ordering::Relaxed);
        ended.unwrap_or_else(|panic| resume_unwind(panic));
        Record { asked_until, ..looking.join().unwrap() }
    });
    for (number, talker) in talkers.iter().enumerate() {
        assert!(talker.session.is_alive(), "{} ended", talker.name);
        match number % 4 {
            0 => talker.session.close(),
            1 => talker.session.signal(Signal::TERM),
            2 => talker.session.signal(Signal::INT),
            _ => talker.session.signal(Signal::HUP),
        }
    }
    for talker in &talkers {
        assert_eq!(talker.session.wait().0.code(), Some(0), "{}", talker.name);
    }
    record.sessions = talkers.into_iter().map(|talker| talker.log.into_inner().unwrap()).collect();
    record
}

/// Records which hubs live, and how long processes wait: for a processor those of the sessions and the hubs, and for
/// whatever it may be this one, which writes down what they say.
fn keep_looking(talkers: &[Talker<'_>], hub: &HubFinder, clock: &Clock) -> Record {
    let (mut record, mut living, mut total) = (Record { end: clock.now(), ..Record::default() }, None, Duration::ZERO);
    let mut known: BTreeMap<i32, Duration> = BTreeMap::new();
    while !clock.over.load(Ordering::Relaxed) {
        sleep(LOOK);
        let (now, found) = (clock.now(), hub.find());
        match record.lives.last_mut() {
            Some(life) if found.is_some() && found == living => life.until = now,
            _ if found.is_some() => record.lives.push(Life { from: now, until: now }),
            _ => {}
        }
        living = found;
        let channels = talkers.iter().map(|talker| talker.session.pid.cast_signed());
        for pid in channels.chain(found.map(|hub| hub.as_raw_nonzero().get())) {
            let waited = waited(pid);
            total += waited.saturating_sub(known.insert(pid, waited).unwrap_or(waited));
        }
        total += now.saturating_sub(record.end + LOOK);
        record.waited.push((now, total));
        record.end = now;
    }
    record
}

/// Returns how long a process has waited for a processor.
fn waited(pid: i32) -> Duration {
    // proc_pid_schedstat: the second of three numbers is the time spent waiting on a run queue, in nanoseconds.
    let line = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    Duration::from_nanos(line.split_ascii_whitespace().nth(1).and_then(|text| text.parse().ok()).unwrap_or(0))
}

/// Returns the running processes of a user whose program is in this directory.
pub(crate) fn processes_of(uid: u32, programs: &Path) -> Vec<(Pid, PathBuf)> {
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

pub(crate) fn worked(record: &Record, tool: &str, state: &str) -> usize {
    let calls = record.sessions.iter().flat_map(|log| &log.calls).filter(|call| call.tool == tool);
    let answers = calls.filter_map(|call| call.answer.as_ref()).filter(|answer| !answer.is_error);
    answers.filter(|answer| state.is_empty() || answer.json["state"] == state).count()
}

pub(crate) fn summary(record: &Record) -> String {
    let shown = |kind: &str| {
        let events = record.sessions.iter().flat_map(|log| &log.events);
        events.filter(|event| event.meta.get("kind").is_some_and(|found| found == kind)).count()
    };
    let calls = record.sessions.iter().map(|log| log.calls.len()).sum::<usize>();
    let waited = record.waited.last().map_or(Duration::ZERO, |(_, total)| *total);
    format!(
        "{} hubs seen in {:?}, in which processes waited {waited:?} for the machine; {calls} calls; accepted: \
         {} asks, {} tells, {} broadcasts, {} replies, {} more pending; shown: {} asks, {} tells, {} replies, {} \
         failures, {} tallies, {} failed replies",
        record.lives.len(),
        record.end,
        worked(record, "relay_ask", "accepted"),
        worked(record, "relay_tell", "accepted"),
        worked(record, "relay_broadcast", ""),
        worked(record, "relay_reply", "accepted"),
        worked(record, "relay_reply", "pending"),
        shown("ask"),
        shown("tell"),
        shown("reply"),
        shown("failed"),
        shown("tally"),
        shown("reply_failed"),
    )
}
