//! A link with another machine: whether it is up, and which frames are of it. Pure.
//!
//! The transport's word counts for nothing: a link is up while frames of the present pair of epochs come, and down when none
//! has come for three times the interval that the other side has said.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::frame::{Beat, Epoch, LinkFrame, LinkHello, LinkMessage, VERSIONS};

/// How often a side says that it is there while something is open, and how often it says again what was not answered.
pub const SAY_AGAIN: Duration = Duration::from_secs(1);

/// How often a side says that it is there while nothing is open.
pub const QUIET_BEAT: Duration = Duration::from_secs(5);

/// How many beats may be missed before the link counts as lost.
const MISSED_MAX: u32 = 3;

/// The longest interval between beats that is believed.
const EVERY_MAX: Duration = Duration::from_secs(60);

/// What the link tells its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEvent {
    /// It is up: everything is to be said anew.
    Up,
    /// It is lost.
    Down,
    /// No version is common. It is not tried again before the transport is started anew.
    Mismatch(LinkHello),
    /// A message of the present link.
    Message(LinkMessage),
}

#[derive(Debug, Clone)]
enum State {
    /// There is no transport.
    Off,
    /// `hello` is said; the other side's epoch, once it is known.
    Greeting { other: Option<Epoch> },
    /// Frames of both epochs come.
    Up { other: Epoch },
}

/// One side of a link.
#[derive(Debug, Clone)]
pub struct Link {
    /// This side's program and version.
    program: String,
    epoch: Epoch,
    state: State,
    /// What the other side said of itself last.
    other: Option<LinkHello>,
    /// When to say something next, so that the other side knows that this one is there.
    speaks_at: Option<Instant>,
    /// When the other side counts as gone.
    lost_at: Option<Instant>,
    /// Whether something is open, so that a loss must be noticed soon.
    is_open: bool,
    /// A `beat` that wants an answer: its number and when it was sent.
    ping: Option<(u64, Instant)>,
    pings: u64,
    /// The number of the last frame of this side's epoch, and of the latest of the other side's.
    last: (u64, u64),
    round_trip: Option<Duration>,
    frames: VecDeque<LinkFrame>,
    events: VecDeque<LinkEvent>,
}

impl Link {
    /// Returns a link without a transport. `program`: this side's, with its version.
    pub const fn new(program: String) -> Self {
        Self {
            program,
            epoch: Epoch(0),
            state: State::Off,
            other: None,
            speaks_at: None,
            lost_at: None,
            is_open: false,
            ping: None,
            pings: 0,
            last: (0, 0),
            round_trip: None,
            frames: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Begins on a new transport. `epoch`: random.
    pub fn handle_transport(&mut self, now: Instant, epoch: Epoch) {
        self.handle_transport_lost();
        self.restart(now, epoch, None);
    }

    /// Records that there is no transport.
    pub fn handle_transport_lost(&mut self) {
        self.go_down();
        self.state = State::Off;
        (self.speaks_at, self.lost_at) = (None, None);
        self.frames.clear();
    }

    /// Takes a frame. `epoch`: random, the one to begin anew with where this frame ends the present link.
    pub fn handle_frame(&mut self, now: Instant, frame: LinkFrame, epoch: Epoch) {
        if matches!(self.state, State::Off) {
            return;
        }
        if self.other_epoch() == Some(frame.epoch) {
            // What matters of one that was overtaken is said again.
            if frame.number <= self.last.1 {
                return;
            }
            self.last.1 = frame.number;
        }
        let is_for_this = frame.to == Some(self.epoch);
        if let LinkMessage::Hello(hello) = frame.message {
            self.handle_hello(now, frame.epoch, is_for_this, hello, epoch);
        } else if is_for_this && self.other_epoch() == Some(frame.epoch) {
            self.heard(now);
            self.go_up(now, frame.epoch);
            self.handle_message(now, frame.message);
        }
        // Else the other side believes in a link that is no more: it learns that from a hello, at its own pace.
    }

    fn handle_hello(&mut self, now: Instant, other: Epoch, is_for_this: bool, hello: LinkHello, epoch: Epoch) {
        if VERSIONS.common(hello.versions).is_none() {
            self.handle_transport_lost();
            self.events.push_back(LinkEvent::Mismatch(hello.clone()));
            self.other = Some(hello);
            return;
        }
        let is_known = self.other_epoch() == Some(other);
        if self.is_up() && !is_known && !is_for_this {
            // The other side has begun anew, or this has been on its way for long: only the former answers.
            return self.say_hello(None);
        }
        self.other = Some(hello);
        if self.is_up() && !is_known {
            return self.restart(now, epoch, Some(other));
        }
        if !is_known {
            (self.state, self.last.1) = (State::Greeting { other: Some(other) }, 0);
            self.greet(now);
        }
        self.heard(now);
        if self.is_up() {
            // It has not heard yet that this side is up.
            self.beat(now, None, None);
        } else if is_for_this {
            self.go_up(now, other);
        }
    }

    fn handle_message(&mut self, now: Instant, message: LinkMessage) {
        let LinkMessage::Beat(beat) = message else {
            return self.events.push_back(LinkEvent::Message(message));
        };
        self.lost_at = Some(now + Duration::from_millis(beat.every_ms).clamp(SAY_AGAIN, EVERY_MAX) * MISSED_MAX);
        if let Some(ping) = beat.ping {
            self.beat(now, None, Some(ping));
        }
        if let Some((number, at)) = self.ping.filter(|(number, _)| beat.echo == Some(*number)) {
            tracing::trace!(number, "a beat came back");
            self.round_trip = Some(now.saturating_duration_since(at));
            self.ping = None;
        }
    }

    /// Does what is due. `epoch`: random, as in [`Link::handle_frame`].
    pub fn handle_timeout(&mut self, now: Instant, epoch: Epoch) {
        if self.lost_at.is_some_and(|at| at <= now) {
            self.restart(now, epoch, None);
        }
        if self.speaks_at.is_some_and(|at| at <= now) {
            match self.state {
                State::Up { .. } => {
                    let ping = self.next_ping(now);
                    self.beat(now, ping, None);
                }
                State::Greeting { .. } => self.greet(now),
                State::Off => self.speaks_at = None,
            }
        }
    }

    /// Returns when something is due next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.speaks_at.into_iter().chain(self.lost_at).min()
    }

    /// Records whether something is open: then the other side's end is noticed within three seconds.
    pub fn set_open(&mut self, now: Instant, is_open: bool) {
        if self.is_open != is_open {
            self.is_open = is_open;
            // The other side must learn of the new interval.
            self.speaks_at = self.speaks_at.map(|_| now);
        }
    }

    /// Says something on the present link; nothing where it is not up.
    pub fn say(&mut self, message: LinkMessage) {
        if let State::Up { other } = self.state {
            self.write(Some(other), message);
        }
    }

    fn write(&mut self, to: Option<Epoch>, message: LinkMessage) {
        self.last.0 += 1;
        self.frames.push_back(LinkFrame { epoch: self.epoch, to, number: self.last.0, message });
    }

    /// Returns the next frame to be written.
    pub fn poll_frame(&mut self) -> Option<LinkFrame> {
        self.frames.pop_front()
    }

    /// Returns what happened next.
    pub fn poll_event(&mut self) -> Option<LinkEvent> {
        self.events.pop_front()
    }

    /// Returns whether frames go both ways.
    pub const fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }

    /// Returns how long a frame took there and back, as far as that was measured.
    pub const fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// Returns what the other side said of itself last.
    pub const fn other(&self) -> Option<&LinkHello> {
        self.other.as_ref()
    }

    const fn other_epoch(&self) -> Option<Epoch> {
        match self.state {
            State::Up { other } => Some(other),
            State::Greeting { other } => other,
            State::Off => None,
        }
    }

    /// Begins anew: whatever is still under way is of another epoch. `other`: the other side's, if that is known.
    fn restart(&mut self, now: Instant, epoch: Epoch, other: Option<Epoch>) {
        self.go_down();
        (self.epoch, self.last) = (epoch, (0, 0));
        self.state = State::Greeting { other };
        self.frames.clear();
        self.greet(now);
    }

    fn go_up(&mut self, now: Instant, other: Epoch) {
        if !self.is_up() {
            self.state = State::Up { other };
            self.heard(now);
            let ping = self.next_ping(now);
            self.beat(now, ping, None);
            self.events.push_back(LinkEvent::Up);
        }
    }

    fn go_down(&mut self) {
        (self.ping, self.lost_at) = (None, None);
        if self.is_up() {
            self.events.push_back(LinkEvent::Down);
        }
    }

    /// Records that the other side is there.
    fn heard(&mut self, now: Instant) {
        let at_least = now + self.every() * MISSED_MAX;
        self.lost_at = Some(self.lost_at.map_or(at_least, |at| at.max(at_least)));
    }

    fn greet(&mut self, now: Instant) {
        self.say_hello(self.other_epoch());
        self.speaks_at = Some(now + SAY_AGAIN);
    }

    fn say_hello(&mut self, to: Option<Epoch>) {
        let message = LinkMessage::Hello(LinkHello { versions: VERSIONS, program: self.program.clone() });
        self.write(to, message);
    }

    fn next_ping(&mut self, now: Instant) -> Option<u64> {
        self.pings += 1;
        self.ping = Some((self.pings, now));
        Some(self.pings)
    }

    fn beat(&mut self, now: Instant, ping: Option<u64>, echo: Option<u64>) {
        let every = self.every();
        let every_ms = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
        self.say(LinkMessage::Beat(Beat { every_ms, ping, echo }));
        self.speaks_at = Some(now + every);
    }

    const fn every(&self) -> Duration {
        if self.is_open { SAY_AGAIN } else { QUIET_BEAT }
    }
}

#[cfg(test)]
mod tests;
