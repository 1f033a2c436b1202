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

/// The steps that the hub takes once, whatever is said: it is ready; has accepted a connection; leaves to a new program;
/// leaves.
pub const HUB: &[&str] = &["start", "accept", "replaced", "leave"];

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

/// Returns the points of what happens to a hub, by the kinds of its inputs: it is about to be handed to the rules.
pub fn points_of_inputs<'a>(kinds: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    kinds.into_iter().map(|kind| format!("input.{kind}")).collect()
}

/// Returns the points of what the hub says, by the kinds of messages: nothing of its frame is written, half of it, all.
pub fn points_of_messages<'a>(kinds: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let steps = |kind| ["effect", "half", "written"].map(|step| format!("{step}.{kind}"));
    kinds.into_iter().flat_map(steps).collect()
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
        let armed = Armed { name: String::new(), point: "input.ask".to_owned(), left: AtomicU32::new(2) };
        assert!(!armed.counts("input", "asked") && !armed.counts("input", "") && !armed.counts("effect", "ask"));
        assert!(!armed.counts("input", "ask"));
        assert!(armed.counts("input", "ask"));
        assert!(!armed.counts("input", "ask"));
    }

    #[test]
    fn kind_of_a_frame_is_its_first_member() {
        assert_eq!(kind_of(b"{\"type\":\"ask\",\"id\":1}\n"), "ask");
    }
}
