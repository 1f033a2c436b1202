//! The wires between bridges: one like an engine of subjects, which loses, repeats and reorders, and one like a pipe, which
//! keeps the order and dies as a whole.

use std::time::{Duration, Instant};

use relay::bridge::frame::{Epoch, LinkFrame, LinkMessage};

use super::{Step, World};
use crate::support::random::Random;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Each side has a transport of its own.
    Engine,
    /// Both have the two ends of one.
    Pipe,
}

/// What connects two machines.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) kind: Kind,
    /// Counts the pipes.
    pub(super) life: u64,
    /// Until when nothing passes, by the receiver: the machine with the lower number first.
    down_until: [Instant; 2],
    /// When the last frame arrives, by the receiver.
    last_at: [Instant; 2],
    loss_percent: u64,
    again_percent: u64,
    late_percent: u64,
}

impl Wire {
    pub(super) fn new(now: Instant, random: &mut Random) -> Self {
        let kind = *random.pick(&[Kind::Engine, Kind::Pipe]);
        let [loss_percent, again_percent, late_percent] = match *random.pick(&[0, 1, 2]) {
            0 => [0, 0, 0],
            1 => [5, 5, 2],
            _ => [20, 20, 10],
        };
        Self { kind, life: 1, down_until: [now; 2], last_at: [now; 2], loss_percent, again_percent, late_percent }
    }
}

const fn ends(a: usize, b: usize) -> (usize, usize) {
    if a < b { (a, b) } else { (b, a) }
}

impl World {
    fn wire(&mut self, a: usize, b: usize) -> &mut Wire {
        self.wires.get_mut(&ends(a, b)).unwrap()
    }

    /// Gives a bridge that starts a transport.
    pub(super) fn begin_transport(&mut self, machine: usize, other: usize) {
        let wire = self.wire(machine, other);
        let (kind, life) = (wire.kind, wire.life);
        self.schedule_in(0..500, Step::TransportUp(machine, other, life));
        if kind == Kind::Pipe {
            // The other end of a pipe that was opened anew.
            self.schedule_in(0..500, Step::TransportUp(other, machine, life));
        }
    }

    pub(super) fn transport_up(&mut self, machine: usize, other: usize, life: u64) {
        let wire = self.wire(machine, other);
        if wire.kind == Kind::Pipe && wire.life != life {
            return;
        }
        let (now, epoch) = (self.now, self.epoch());
        let Some(side) = self.side(machine, other) else { return };
        if side.transport == Some(life) {
            return;
        }
        side.transport = Some(life);
        side.link.handle_transport(now, epoch);
        self.note(|| format!("{machine} has a transport to {other}, life {life}"));
        self.pump_bridge(machine);
    }

    pub(super) fn transport_down(&mut self, machine: usize, other: usize, life: u64) {
        let Some(side) = self.side(machine, other).filter(|side| side.transport == Some(life)) else { return };
        side.transport = None;
        side.link.handle_transport_lost();
        self.note(|| format!("{machine} has no transport to {other}"));
        self.pump_bridge(machine);
    }

    pub(super) fn epoch(&mut self) -> Epoch {
        Epoch(self.random.next() as u32)
    }

    /// Ends the transport of a bridge that is killed.
    pub(super) fn end_wire_of(&mut self, machine: usize, other: usize) {
        if self.wire(machine, other).kind == Kind::Pipe {
            self.end_pipe(machine, other, false);
        }
    }

    /// Ends the transports of a wire, or of one side of it, and begins others.
    pub(crate) fn lose_transport(&mut self, machine: usize, other: usize) {
        self.checker.count("fault: transport lost");
        self.note(|| format!("the transport of {machine} to {other} is lost"));
        match self.wire(machine, other).kind {
            Kind::Pipe => self.end_pipe(machine, other, true),
            Kind::Engine => {
                let life = self.wire(machine, other).life;
                self.schedule(self.now, Step::TransportDown(machine, other, life));
                self.schedule_in(1..3000, Step::TransportUp(machine, other, life));
            }
        }
    }

    fn end_pipe(&mut self, machine: usize, other: usize, is_opened_again: bool) {
        let (now, wire) = (self.now, self.wires.get_mut(&ends(machine, other)).unwrap());
        let life = wire.life;
        (wire.life, wire.last_at) = (life + 1, [now; 2]);
        for (a, b) in [(machine, other), (other, machine)] {
            let longest = *self.random.pick(&[1, 300, 10_000]);
            self.schedule_in(0..longest, Step::TransportDown(a, b, life));
            if is_opened_again {
                self.schedule_in(100..3000, Step::TransportUp(a, b, life + 1));
            }
        }
    }

    /// Lets nothing pass to a machine for a while.
    pub(crate) fn take_down(&mut self, from: usize, to: usize, down: Duration) {
        self.checker.count("fault: link down");
        self.note(|| format!("nothing passes from {from} to {to} for {down:?}"));
        let until = self.now + down;
        let at = &mut self.wire(from, to).down_until[usize::from(to > from)];
        *at = until.max(*at);
    }

    /// Lets everything pass again, and at once. A pipe in which something waits ends.
    pub(crate) fn mend_wires(&mut self) {
        let now = self.now;
        let pairs: Vec<(usize, usize)> = self.wires.keys().copied().collect();
        for (a, b) in pairs {
            let wire = self.wire(a, b);
            let is_stuck = wire.kind == Kind::Pipe && wire.last_at.iter().any(|at| *at > now + Duration::from_secs(1));
            wire.down_until = [now; 2];
            (wire.loss_percent, wire.again_percent, wire.late_percent) = (0, 0, 0);
            if is_stuck {
                self.end_pipe(a, b, true);
            }
        }
    }

    /// Sends a frame on its way.
    pub(super) fn send_frame(&mut self, from: usize, to: usize, life: u64, frame: LinkFrame) {
        let (now, direction) = (self.now, usize::from(to > from));
        let frame = Box::new(self.travel(frame));
        let delay = self.random.millis(1..80);
        let wire = self.wires.get_mut(&ends(from, to)).unwrap();
        let down = wire.down_until[direction];
        match wire.kind {
            Kind::Pipe if wire.life != life => {}
            Kind::Pipe => {
                // What is written while nothing passes arrives afterwards.
                let at = wire.last_at[direction].max(down).max(now + delay);
                wire.last_at[direction] = at;
                self.schedule(at, Step::Frame(from, to, life, frame));
            }
            Kind::Engine => {
                // An engine keeps the order, but for what is said again or late.
                let in_order = wire.last_at[direction].max(now + delay);
                let mut at = in_order;
                if down > now {
                    if !self.random.chance(20) {
                        return;
                    }
                    // An engine's client kept it and says it late.
                    at = down + self.random.millis(0..10_000);
                } else if self.random.chance(wire.loss_percent) {
                    return;
                } else if self.random.chance(wire.late_percent) {
                    at = now + self.random.millis(0..10_000);
                } else {
                    wire.last_at[direction] = in_order;
                }
                let again = self.random.chance(wire.again_percent);
                self.schedule(at, Step::Frame(from, to, life, frame.clone()));
                if again {
                    self.schedule_in(0..10_000, Step::Frame(from, to, life, frame));
                }
            }
        }
    }

    pub(super) fn arrive_frame(&mut self, from: usize, to: usize, life: u64, frame: LinkFrame) {
        let (now, epoch) = (self.now, self.epoch());
        let Some(side) = self.side(to, from).filter(|side| side.transport == Some(life)) else { return };
        let what = matches!(frame.message, LinkMessage::Hello(_) | LinkMessage::Beat(_)).then(|| format!("{frame:?}"));
        side.link.handle_frame(now, frame, epoch);
        if let Some(what) = what {
            self.note(|| format!("link {to} from {from}: {what}"));
        }
        self.pump_bridge(to);
    }
}
