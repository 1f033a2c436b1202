//! The faults: what is killed, stopped, cut and replaced, on which machine, and for how long.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::linked::{DELAY_MS, Linked, Over, Transport};
use super::record::Record;
use crate::bridge::stage::{signal, transports};
use crate::support::random::Random;

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    HubKilled,
    BridgeKilled,
    HubAndBridgeKilled,
    TransportKilled,
    Upgraded,
    ServerSessionsKilled,
    ServerKilled,
    TransportStopped,
    ServerStopped,
    SideStopped,
    LinkDropped,
    LinkOneWay,
    LinkPoor,
}

/// Faults that are made in a moment; the others last.
const MOMENTARY: [Fault; 5] =
    [Fault::HubKilled, Fault::BridgeKilled, Fault::HubAndBridgeKilled, Fault::TransportKilled, Fault::Upgraded];

impl Fault {
    const fn name(self) -> &'static str {
        match self {
            Self::HubKilled => "hub killed",
            Self::BridgeKilled => "bridge killed",
            Self::HubAndBridgeKilled => "hub and bridge killed",
            Self::TransportKilled => "transport killed",
            Self::Upgraded => "side upgraded",
            Self::ServerSessionsKilled => "sshd's sessions killed",
            Self::ServerKilled => "server killed",
            Self::TransportStopped => "transport stopped",
            Self::ServerStopped => "server stopped",
            Self::SideStopped => "side stopped",
            Self::LinkDropped => "link dropped",
            Self::LinkOneWay => "link dropped one way",
            Self::LinkPoor => "link lossy and slow",
        }
    }

    /// Returns the faults that there are where machines are linked so.
    fn over(over: Over) -> Vec<Self> {
        let mut all = MOMENTARY.to_vec();
        all.extend([Self::TransportStopped, Self::SideStopped]);
        let network = [Self::ServerKilled, Self::ServerStopped, Self::LinkDropped, Self::LinkOneWay, Self::LinkPoor];
        match over {
            Over::Pipe => {}
            Over::Ssh => all.extend(network.into_iter().chain([Self::ServerSessionsKilled])),
            #[cfg(feature = "nats")]
            Over::Nats(..) => all.extend(network),
        }
        all
    }
}

/// Makes faults.
pub(super) struct Breaker<'a> {
    linked: &'a Linked,
    record: &'a Record,
    random: Random,
    faults: Vec<Fault>,
    /// Whether faults may last for as long as a minute.
    is_long: bool,
    /// How many were made of each kind.
    pub(super) made: BTreeMap<&'static str, u32>,
    /// What was made when, in the form of the logs' times.
    pub(super) log: String,
}

impl<'a> Breaker<'a> {
    pub(super) fn new(over: Over, linked: &'a Linked, record: &'a Record, random: Random, is_long: bool) -> Self {
        Self { linked, record, random, faults: Fault::over(over), is_long, made: BTreeMap::new(), log: String::new() }
    }

    /// Makes one fault, and in one of four that last another one meanwhile. Returns how many were made.
    pub(super) fn break_something(&mut self) -> usize {
        let (fault, side) = (*self.random.pick(&self.faults), self.side());
        self.note(fault, side);
        let linked = self.linked;
        let n = match fault {
            Fault::ServerSessionsKilled => {
                if let Transport::Ssh(sshd, _) = &linked.transport {
                    sshd.sessions().into_iter().for_each(|pid| signal(pid, Signal::KILL));
                }
                1
            }
            Fault::ServerKilled => self.kill_server(),
            Fault::TransportStopped => {
                let side = *self.random.pick(&linked.diallers());
                self.stop(&transports(&linked.machines[side]))
            }
            Fault::ServerStopped => {
                self.signal_server(Signal::STOP);
                let n = self.meanwhile(None);
                self.signal_server(Signal::CONT);
                n
            }
            Fault::SideStopped => self.stop_side(side),
            Fault::LinkDropped => self.cut(&[(side, linked.far_end(side)), (linked.far_end(side), side)]),
            Fault::LinkOneWay => {
                let ways = [(side, linked.far_end(side)), (linked.far_end(side), side)];
                let way = *self.random.pick(&ways);
                self.cut(&[way])
            }
            Fault::LinkPoor => {
                let Some(network) = linked.network() else { return 0 };
                network.set(5 + self.random.below(26), 20 + self.random.below(380));
                let n = self.meanwhile(None);
                network.set(0, DELAY_MS);
                n
            }
            momentary => self.make(momentary, side),
        };
        writeln!(self.log, "{:?} over", chrono::Utc::now()).unwrap();
        n
    }

    fn note(&mut self, fault: Fault, side: usize) {
        *self.made.entry(fault.name()).or_default() += 1;
        writeln!(self.log, "{:?} {} ({side})", chrono::Utc::now(), fault.name()).unwrap();
    }

    fn side(&mut self) -> usize {
        usize::try_from(self.random.below(self.linked.machines.len() as u64)).unwrap()
    }

    /// Makes a momentary fault on a machine.
    fn make(&self, fault: Fault, side: usize) -> usize {
        let machine = &self.linked.machines[side];
        match fault {
            Fault::HubKilled => machine.restart_hub(),
            Fault::BridgeKilled => machine.restart_bridge(),
            Fault::HubAndBridgeKilled => {
                machine.kill_bridge();
                machine.restart_hub();
                machine.start_bridge();
            }
            Fault::Upgraded => machine.replace_programs(),
            _ => {
                let side = if self.linked.diallers().contains(&side) { side } else { 0 };
                let of_it = transports(&self.linked.machines[side]);
                of_it.into_iter().for_each(|pid| signal(pid, Signal::KILL));
            }
        }
        1
    }

    /// Returns how long a fault lasts.
    fn length(&mut self) -> Duration {
        match self.random.below(100) {
            0..90 if self.is_long => self.random.millis(500..6000),
            90..98 if self.is_long => self.random.millis(10_000..20_000),
            98.. if self.is_long => Duration::from_secs(60),
            _ => self.random.millis(500..3000),
        }
    }

    /// Lets a fault last, and in one of four cases makes another one meanwhile, not on the machine `but`. Returns how many
    /// faults that makes.
    fn meanwhile(&mut self, but: Option<usize>) -> usize {
        let length = self.length();
        sleep(length / 2);
        let (fault, side) = (*self.random.pick(&MOMENTARY), self.side());
        let is_on_another = but.is_none_or(|but| but != side && (self.linked.diallers().contains(&side)));
        let makes_another = self.random.chance(25) && is_on_another;
        if makes_another {
            self.note(fault, side);
            self.make(fault, side);
        }
        sleep(length / 2);
        if makes_another { 2 } else { 1 }
    }

    fn stop(&mut self, pids: &[u32]) -> usize {
        pids.iter().for_each(|pid| signal(*pid, Signal::STOP));
        let n = self.meanwhile(None);
        pids.iter().for_each(|pid| signal(*pid, Signal::CONT));
        n
    }

    fn stop_side(&mut self, side: usize) -> usize {
        let (machine, session) = (&self.linked.machines[side], &self.linked.sessions[side]);
        let (carriers, since) = (self.linked.carriers(side), Instant::now());
        machine.signal(Signal::STOP);
        session.signal(Signal::STOP);
        carriers.iter().for_each(|pid| signal(*pid, Signal::STOP));
        let n = self.meanwhile(Some(side));
        carriers.iter().for_each(|pid| signal(*pid, Signal::CONT));
        session.signal(Signal::CONT);
        machine.signal(Signal::CONT);
        self.record.stopped(side, since);
        n
    }

    fn cut(&mut self, ways: &[(usize, usize)]) -> usize {
        let Some(network) = self.linked.network() else { return 0 };
        ways.iter().for_each(|(from, to)| network.pass(*from, *to, false));
        let n = self.meanwhile(None);
        ways.iter().for_each(|(from, to)| network.pass(*from, *to, true));
        n
    }

    /// Kills the server, and starts it again soon.
    fn kill_server(&mut self) -> usize {
        let pause = self.random.millis(0..3000);
        match &self.linked.transport {
            Transport::Pipe => {}
            Transport::Ssh(sshd, _) => {
                sshd.kill();
                sleep(pause);
                sshd.start_again();
            }
            #[cfg(feature = "nats")]
            Transport::Nats(server, ..) => {
                server.lock().unwrap().kill();
                sleep(pause);
                server.lock().unwrap().restart();
            }
        }
        1
    }

    fn signal_server(&self, signal: Signal) {
        match &self.linked.transport {
            Transport::Pipe => {}
            Transport::Ssh(sshd, _) => sshd.signal(signal),
            #[cfg(feature = "nats")]
            Transport::Nats(server, ..) => server.lock().unwrap().signal(signal),
        }
    }
}
