//! Points at which a debug build can be made to die, one at each step of the protocol: the tests kill it at all of them.
//!
//! `RELAY_FAULT=POINT:N` makes the process kill itself, as `kill -9` does, when it passes that point for the N-th time.
//! `RELAY_FAULT_LOG=PATH` names a file to which it adds a line when it starts to count and one when it dies:
//! `armed POINT:N PID`, `killed POINT:N PID`.
//!
//! A release build has none of this: [`BUILT_IN`] is false there, and what depends on it is left out of the program.

use std::env;
use std::fs::File;
use std::io::Write;
use std::process;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Signal, getpid, kill_process};

/// Whether this build can be made to die.
pub const BUILT_IN: bool = cfg!(debug_assertions);

/// The steps that the hub takes once, whatever is said.
pub const HUB: &[&str] = &[
    // Its start: nothing is told to the service manager yet; ready.
    "start.begun",
    "start.ready",
    // Somebody wants to connect; is accepted; is known to the rules.
    "knock.heard",
    "knock.accepted",
    "knock.connected",
    // Bytes were read; a part of a frame waits for its rest; a frame waits for the owner; the owner has it; the end.
    "read.bytes",
    "read.part",
    "read.frame",
    "read.handed",
    "read.end",
    // Everything that came in one turn was handled and nothing of it written; all of it was written.
    "turn.handled",
    "turn.written",
    // A socket takes no more bytes; takes them again; is broken; its reader is too slow.
    "flush.full",
    "flush.resumed",
    "flush.broken",
    "flush.slow",
    // A connection is closed by the hub: before and after the last that is written to it.
    "close.begun",
    "close.done",
    // A deadline of the rules, before they hear of it.
    "due.settling",
    "due.hello",
    "due.ask",
    "due.gone",
    "due.orphaned",
    "due.idle",
    // The service manager is told that the hub is alive; its status.
    "notify.watchdog",
    "notify.status",
    // The program was replaced: noticed; everything is written.
    "replaced.noticed",
    "replaced.written",
    // A signal; the end of the loop; `STOPPING=1` was said; the farewell is over.
    "leave.signal",
    "leave.begun",
    "leave.told",
    "leave.done",
];

/// The kinds of what comes in: what clients say, and how they leave. Each with the points `heard.KIND` and `handled.KIND`: before the rules have it, and
/// after them, when nothing of what follows is queued.
pub const HEARD: &[&str] = &[
    "hello",
    "peers",
    "status",
    "watch",
    "ask",
    "broadcast",
    "reply",
    "rename",
    "progress",
    "taken",
    "withdraw",
    "presence",
    "named",
    "offer",
    "holding",
    "verdict",
    "bye",
    "malformed",
    "disconnected",
    "process_ended",
];

/// The kinds of what the hub says, each with the points `queued.KIND`, `half.KIND` and `written.KIND`: nothing of it is
/// written, the first half of its frame, all of it.
pub const SAID: &[&str] = &[
    "welcome",
    "peers",
    "status",
    "watching",
    "watched",
    "accepted",
    "broadcast_accepted",
    "replied",
    "renamed",
    "error",
    "ask",
    "reply",
    "failed",
    "closed",
    "waiter",
    "hook",
    "hook_gone",
    "holding",
    "offer",
    "verdict",
    "end",
];

/// The steps of a session's channel.
pub const CHANNEL: &[&str] = &[
    // Connected, nothing said; what was to be said is written; something was read.
    "link.connected",
    "link.written",
    "link.read",
    // A tool was called; its result is known, and not yet given; is written.
    "tool.called",
    "tool.done",
    "tool.answered",
    // What the hub told, before and after the rules; on its way to the MCP client; written; the hub is about to be told.
    "event.heard",
    "event.handled",
    "event.shown",
    "event.written",
    "event.reported",
];

/// Returns every point of the hub.
pub fn points_of_hub() -> Vec<String> {
    let heard = HEARD.iter().flat_map(|kind| ["heard", "handled"].map(|step| format!("{step}.{kind}")));
    let said = SAID.iter().flat_map(|kind| ["queued", "half", "written"].map(|step| format!("{step}.{kind}")));
    HUB.iter().map(|point| (*point).to_owned()).chain(heard).chain(said).collect()
}

/// Where this process is to die.
struct Armed {
    name: String,
    point: String,
    left: AtomicU32,
}

fn armed() -> Option<&'static Armed> {
    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
    let read = || {
        let name = env::var("RELAY_FAULT").ok()?;
        let (point, passings) = name.split_once(':')?;
        let armed = Armed { point: point.to_owned(), left: AtomicU32::new(passings.parse().ok()?), name };
        log("armed", &armed);
        Some(armed)
    };
    ARMED.get_or_init(read).as_ref()
}

fn log(what: &str, armed: &Armed) {
    let Some(path) = env::var_os("RELAY_FAULT_LOG") else { return };
    if let Ok(mut file) = File::options().create(true).append(true).open(path) {
        // One write: a line is whole or not there.
        let _nobody_looks = file.write_all(format!("{what} {} {}\n", armed.name, process::id()).as_bytes());
    }
}

/// Passes a point, where the process may die.
#[inline(always)]
pub fn pass(point: &str) {
    if reach(point, "") {
        die();
    }
}

/// Passes the point `STEP.KIND`.
#[inline(always)]
pub fn pass_kind(step: &str, kind: &str) {
    if reach(step, kind) {
        die();
    }
}

/// Returns whether the process is to die here, once it has done what the point is about. See [`die`].
#[inline(always)]
pub fn reach(step: &str, kind: &str) -> bool {
    BUILT_IN && armed().is_some_and(|armed| armed.counts(step, kind))
}

/// Returns the kind of an encoded message: the value of its first member.
pub fn kind_of(frame: &[u8]) -> &str {
    let kind = frame.strip_prefix(b"{\"type\":\"").and_then(|rest| rest.split(|byte| *byte == b'"').next());
    kind.and_then(|kind| str::from_utf8(kind).ok()).unwrap_or_default()
}

impl Armed {
    fn counts(&self, step: &str, kind: &str) -> bool {
        let is_here = match self.point.strip_prefix(step) {
            Some("") => kind.is_empty(),
            Some(rest) => !kind.is_empty() && rest.strip_prefix('.') == Some(kind),
            None => false,
        };
        is_here && self.left.fetch_sub(1, Ordering::Relaxed) == 1
    }
}

/// Kills this process.
pub fn die() -> ! {
    if let Some(armed) = armed() {
        log("killed", armed);
    }
    let _unfailing = kill_process(getpid(), Signal::KILL);
    process::abort()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_counts_its_own_passings_only() {
        let armed = Armed { name: String::new(), point: "heard.ask".to_owned(), left: AtomicU32::new(2) };
        assert!(!armed.counts("heard", "asked") && !armed.counts("heard", "") && !armed.counts("handled", "ask"));
        assert!(!armed.counts("heard", "ask"));
        assert!(armed.counts("heard", "ask"));
        assert!(!armed.counts("heard", "ask"));
    }

    #[test]
    fn every_kind_of_message_is_listed() {
        assert_eq!(kind_of(b"{\"type\":\"ask\",\"id\":1}\n"), "ask");
        let points = points_of_hub();
        let mut once = points.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), points.len());
    }
}
