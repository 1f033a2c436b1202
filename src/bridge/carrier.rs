//! A transport: a program that carries lines to other machines, started again whenever it ends.
//!
//! Most carry one link. `relay-nats` carries those of all machines on one server: each of its lines has the other machine's
//! name beside it.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::task::Waker;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};

use super::control::Down;
use super::frame::LinkFrame;
use super::lines::Lines;
use crate::protocol::codec::{FRAME_MAX_BYTES, decode, encode};

/// The shortest and the longest pause before a transport is started again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// How long a transport must have carried a link for the next start to be made soon.
const STEADY: Duration = Duration::from_secs(30);

/// The most bytes of a line of a transport that carries several links.
const SHARED_LINE_MAX_BYTES: usize = 2 * FRAME_MAX_BYTES;

/// The longest line of standard error that is kept, in characters.
const SAID_MAX_CHARS: usize = 300;

/// How a transport is started.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Start {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Whether it carries the links of several machines.
    pub is_shared: bool,
}

/// What a transport brings.
#[derive(Debug)]
pub(super) enum FromCarrier {
    /// It carries lines from here on.
    Up,
    /// A frame, and the machine that it is from where the transport carries several links.
    Frame(Option<String>, LinkFrame),
    /// It has ended, or carries nothing at present.
    Down(Down),
}

/// What goes to a transport that carries several links.
#[derive(Debug, Serialize)]
struct SharedOut<'a> {
    to: &'a str,
    line: &'a str,
}

/// What comes from it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum SharedIn {
    Line {
        from: String,
        line: String,
    },
    State {
        state: String,
        #[serde(flatten)]
        down: Option<Down>,
    },
}

#[derive(Debug)]
struct Running {
    child: Child,
    lines: Lines,
    errors: Lines,
    since: Instant,
    is_up: bool,
}

/// One transport.
#[derive(Debug)]
pub(super) struct Carrier {
    start: Start,
    waker: Waker,
    running: Option<Running>,
    starts_at: Option<Instant>,
    pause: Duration,
    said: Said,
}

/// What a transport wrote to standard error last.
#[derive(Debug, Default)]
struct Said {
    what: Option<String>,
    /// What a program of ours advised.
    next: Option<String>,
}

impl Said {
    fn keep(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let line: String = line.trim().chars().take(SAID_MAX_CHARS).collect();
        if let Some(next) = line.strip_prefix("next: ") {
            self.next = Some(next.to_owned());
        } else if !line.is_empty() {
            let what = line.strip_prefix("error: ").unwrap_or(&line).to_owned();
            *self = Self { what: Some(what), next: None };
        }
    }

    /// Returns how the link was lost; `ended`: how the transport has ended. What the other end of a pipe advises is for who
    /// is there.
    fn into_down(self, ended: String, is_here: bool) -> Down {
        let why = match self.what {
            Some(said) => format!("{ended}: {said}"),
            None => ended,
        };
        Down { why, next: self.next.filter(|_| is_here) }
    }
}

impl Carrier {
    /// Returns a transport that is started when it is next driven. The waker is woken when it brings something.
    pub(super) const fn new(now: Instant, start: Start, waker: Waker) -> Self {
        Self {
            start,
            waker,
            running: None,
            starts_at: Some(now),
            pause: PAUSE.0,
            said: Said { what: None, next: None },
        }
    }

    /// Returns whether it carries lines at present.
    pub(super) fn is_up(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.is_up)
    }

    /// Starts it if it is time, and takes what is there.
    pub(super) fn turn(&mut self, now: Instant, out: &mut Vec<FromCarrier>) {
        if self.running.is_none() && self.starts_at.is_some_and(|at| at <= now) {
            match self.start(now) {
                Ok(()) => out.extend((!self.start.is_shared).then_some(FromCarrier::Up)),
                Err(error) => {
                    let program = self.start.argv.first().map_or("", String::as_str);
                    let why = format!("{program} cannot be started: {error}");
                    let next = if error.kind() == io::ErrorKind::NotFound {
                        format!("install {program} on this machine: docs/machines.md")
                    } else {
                        format!("see why this machine does not start it: {}", self.start.argv.join(" "))
                    };
                    out.push(FromCarrier::Down(Down { why, next: Some(next) }));
                    self.plan(now);
                }
            }
        }
        let Some(running) = &mut self.running else { return };
        running.take_errors(&mut self.said);
        let is_over = running.lines.read();
        let is_understood = running.take_lines(self.start.is_shared, &mut self.said, out);
        if is_over || !is_understood {
            self.end(now, out);
        }
    }

    fn start(&mut self, now: Instant) -> io::Result<()> {
        self.starts_at = None;
        let (program, arguments) = self.start.argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true);
        let mut child = command.spawn()?;
        let (Some(input), Some(output), Some(errors)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let lines = Lines::of_pipes(output.into_owned_fd()?, input.into_owned_fd()?, self.waker.clone())?;
        let errors = Lines::of_pipe(errors.into_owned_fd()?, self.waker.clone())?;
        self.said = Said::default();
        self.running = Some(Running { child, lines, errors, since: now, is_up: !self.start.is_shared });
        Ok(())
    }

    fn end(&mut self, now: Instant, out: &mut Vec<FromCarrier>) {
        let Some(mut running) = self.running.take() else { return };
        running.take_errors(&mut self.said);
        if now.saturating_duration_since(running.since) >= STEADY {
            self.pause = PAUSE.0;
        }
        // It has closed its standard output: it ends, or is made to.
        let status = running.child.try_wait().ok().flatten();
        let _ended = running.child.start_kill();
        let program = self.start.argv.first().map_or("the transport", String::as_str);
        let ended = status.map_or_else(|| format!("{program} has ended"), |status| how(program, status));
        let said = std::mem::take(&mut self.said);
        out.push(FromCarrier::Down(said.into_down(ended, self.start.is_shared)));
        self.plan(now);
    }

    fn plan(&mut self, now: Instant) {
        self.starts_at = Some(now + self.pause);
        self.pause = (self.pause * 2).min(PAUSE.1);
    }

    /// Records that a link is up by it: if it ends it is started again soon.
    pub(super) const fn handle_link_up(&mut self) {
        self.pause = PAUSE.0;
    }

    /// Starts it at once, if it does not run: somebody waits for it.
    pub(super) fn hurry(&mut self, now: Instant) {
        if self.running.is_none() {
            (self.starts_at, self.pause) = (Some(now), PAUSE.0);
        }
    }

    /// Says a frame, to this machine where it carries several links.
    pub(super) fn say(&mut self, machine: &str, frame: &LinkFrame) {
        let Some(running) = self.running.as_mut().filter(|running| running.is_up) else { return };
        if self.start.is_shared {
            let mut bytes = Vec::new();
            encode(frame, &mut bytes);
            let line = String::from_utf8(bytes).unwrap_or_default();
            let shared = SharedOut { to: machine, line: line.trim_end() };
            if let Ok(mut bytes) = serde_json::to_vec(&shared) {
                bytes.push(b'\n');
                running.lines.push_bytes(&bytes);
            }
        } else {
            running.lines.push(frame);
        }
    }

    /// Writes what is to be said, as far as it is taken.
    pub(super) fn write(&mut self, now: Instant, out: &mut Vec<FromCarrier>) {
        if let Some(running) = &mut self.running
            && let Err(error) = running.lines.write()
        {
            tracing::debug!(%error, "a transport takes nothing");
            self.end(now, out);
        }
    }

    /// Returns when it is to be driven next, whatever comes.
    pub(super) const fn poll_timeout(&self) -> Option<Instant> {
        self.starts_at
    }
}

impl Running {
    /// Takes what it has written to standard error.
    fn take_errors(&mut self, said: &mut Said) {
        self.errors.read();
        while let Some(Ok(line)) = self.errors.next(FRAME_MAX_BYTES) {
            tracing::debug!(said = %String::from_utf8_lossy(line), "a transport says");
            said.keep(line);
        }
    }

    /// Takes the lines that have come. Returns whether all could be read.
    fn take_lines(&mut self, is_shared: bool, said: &mut Said, out: &mut Vec<FromCarrier>) -> bool {
        let limit = if is_shared { SHARED_LINE_MAX_BYTES } else { FRAME_MAX_BYTES };
        while let Some(line) = self.lines.next(limit) {
            let Ok(line) = line else { return false };
            if !is_shared {
                match decode(line) {
                    Ok(frame) => out.push(FromCarrier::Frame(None, frame)),
                    Err(error) if error.is_fatal() => {
                        // A shell's greeting, or a program that is another.
                        let text = String::from_utf8_lossy(line);
                        let text: String = text.chars().take(80).collect();
                        said.what = Some(format!("it said what is no frame: {text}"));
                        return false;
                    }
                    Err(error) => tracing::debug!(%error, "passed over a frame of a newer bridge"),
                }
                continue;
            }
            match serde_json::from_slice(line) {
                Ok(SharedIn::Line { from, line }) => {
                    out.extend(decode(line.as_bytes()).ok().map(|frame| FromCarrier::Frame(Some(from), frame)));
                }
                Ok(SharedIn::State { state, .. }) if state == "up" => {
                    self.is_up = true;
                    out.push(FromCarrier::Up);
                }
                Ok(SharedIn::State { state, down }) => {
                    self.is_up = false;
                    out.push(FromCarrier::Down(down.unwrap_or_else(|| Down::new(state))));
                }
                Err(error) => tracing::warn!(%error, "passed over a line of a transport"),
            }
        }
        true
    }
}

fn how(program: &str, status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("{program} has ended with code {code}"),
        None => format!("{program} was ended by a signal"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn down(lines: &[&str], is_here: bool) -> (String, Option<String>) {
        let mut said = Said::default();
        lines.iter().for_each(|line| said.keep(line.as_bytes()));
        let down = said.into_down("it has ended".to_owned(), is_here);
        (down.why, down.next)
    }

    #[test]
    fn advice_is_that_of_the_last_error_and_of_this_machine() {
        let lines = ["error: no key\n", "next: make one\n"];
        assert_eq!(down(&lines, true), ("it has ended: no key".into(), Some("make one".into())));
        assert_eq!(down(&lines, false), ("it has ended: no key".into(), None));
        assert_eq!(down(&[lines[0], lines[1], "error: no server"], true), ("it has ended: no server".into(), None));
        assert_eq!(down(&[], true), ("it has ended".into(), None));
    }

    #[test]
    fn state_of_a_shared_transport_has_its_advice() {
        let refused = r#"{"state":"refused","why":"shared","next":"ask its person"}"#;
        let lost = r#"{"state":"down","why":"lost"}"#;
        for (text, why, next) in [(refused, "shared", Some("ask its person")), (lost, "lost", None)] {
            let Ok(SharedIn::State { down: Some(down), .. }) = serde_json::from_str(text) else { panic!("{text}") };
            assert_eq!((down.why.as_str(), down.next.as_deref()), (why, next));
        }
        assert!(matches!(serde_json::from_str(r#"{"state":"up"}"#), Ok(SharedIn::State { down: None, .. })));
    }
}
