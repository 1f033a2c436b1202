//! Machines that are linked by one transport, with a session on each.

use std::fs;
use std::path::{Path, PathBuf};
#[cfg(feature = "nats")]
use std::sync::Mutex;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::bridge::network::Network;
use crate::bridge::ssh::Sshd;
use crate::bridge::stage::{Machine, children, transports};
#[cfg(feature = "nats")]
use crate::nats::{
    keys::Key,
    server::{Server, users},
};
use crate::support::mcp::Session;

/// What every packet takes, one way, where the network is good.
pub(super) const DELAY_MS: u64 = 3;

/// How long machines may take to reach each other again.
const RECOVERY_MAX: Duration = Duration::from_secs(90);

/// The machines and their sessions.
const NAMES: [(&str, &str); 3] = [("laptop", "web"), ("desk", "api"), ("tower", "docs")];

/// How machines are to be linked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// A command's pipe, from the first machine to the second.
    Pipe,
    /// A real sshd on the second, to which the first logs in over a network of our own.
    Ssh,
    /// A real nats-server of this version, which is a machine of its own in a network of our own, and so many machines.
    #[cfg(feature = "nats")]
    Nats(&'static str, usize),
}

/// What carries the lines.
pub(super) enum Transport {
    /// A pipe.
    Pipe,
    /// An sshd.
    Ssh(Box<Sshd>, Network),
    /// A server, which has the last place in the network, and the keys of the machines.
    #[cfg(feature = "nats")]
    Nats(Box<Mutex<Server>>, Network, #[expect(dead_code, reason = "their files are read")] Vec<Key>),
}

/// The machines. Sessions end first.
pub(super) struct Linked {
    pub(super) sessions: Vec<Session>,
    pub(super) machines: Vec<Machine>,
    pub(super) transport: Transport,
}

impl Linked {
    /// Starts machines that are linked so, and waits until all can be reached.
    ///
    /// # Errors
    /// Why there can be none here.
    pub(super) fn start(over: Over) -> Result<Self, String> {
        let (machines, transport) = match over {
            Over::Pipe => (over_a_pipe(), Transport::Pipe),
            Over::Ssh => over_ssh()?,
            #[cfg(feature = "nats")]
            Over::Nats(version, n) => over_nats(version, n)?,
        };
        let sessions = machines.iter().zip(NAMES).map(|(machine, (_, name))| machine.session(name)).collect();
        let linked = Self { sessions, machines, transport };
        linked.wait_until_reachable()?;
        Ok(linked)
    }

    /// Waits until each session can reach each other one: as long as it takes to find a connection dead, and to make another.
    ///
    /// # Errors
    /// Which cannot.
    pub(super) fn wait_until_reachable(&self) -> Result<(), String> {
        let end = Instant::now() + RECOVERY_MAX;
        for (side, machine) in self.machines.iter().enumerate() {
            for name in self.others(side) {
                while !machine.peers().contains(&(name.clone(), true)) {
                    if Instant::now() > end {
                        return Err(format!("{} does not reach {name} within {RECOVERY_MAX:?}", machine.name));
                    }
                    sleep(Duration::from_millis(100));
                }
            }
        }
        Ok(())
    }

    /// Writes what hubs and bridges have logged, and more, into a directory, which is returned.
    pub(super) fn keep_logs(&self, number: usize, more: &str) -> PathBuf {
        let directory =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("machine-faults/{}-{number}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("faults"), more).unwrap();
        for machine in &self.machines {
            fs::write(directory.join(machine.name), machine.logged("")).unwrap();
        }
        directory
    }

    /// Returns how the sessions of other machines are called on this one.
    pub(super) fn others(&self, side: usize) -> Vec<String> {
        let names = NAMES.iter().take(self.machines.len()).enumerate().filter(|(other, _)| *other != side);
        names.map(|(_, (machine, session))| format!("{session}@{machine}")).collect()
    }

    /// Returns the network between them, if there is one.
    pub(super) const fn network(&self) -> Option<&Network> {
        match &self.transport {
            Transport::Pipe => None,
            Transport::Ssh(_, network) => Some(network),
            #[cfg(feature = "nats")]
            Transport::Nats(_, network, _) => Some(network),
        }
    }

    /// Returns the place in the network of what a machine's packets go to: the other machine, or the server.
    pub(super) fn far_end(&self, side: usize) -> usize {
        match &self.transport {
            Transport::Pipe | Transport::Ssh(..) => 1 - side,
            #[cfg(feature = "nats")]
            Transport::Nats(..) => self.machines.len(),
        }
    }

    /// Returns the machines that have started a transport.
    pub(super) fn diallers(&self) -> Vec<usize> {
        match &self.transport {
            Transport::Pipe | Transport::Ssh(..) => vec![0],
            #[cfg(feature = "nats")]
            Transport::Nats(..) => (0..self.machines.len()).collect(),
        }
    }

    /// Returns the processes on a machine that carry its lines.
    pub(super) fn carriers(&self, side: usize) -> Vec<u32> {
        let started = || transports(&self.machines[side]);
        match &self.transport {
            // The pipe's one process is the other machine's end of it.
            Transport::Pipe if side == 0 => Vec::new(),
            Transport::Pipe => transports(&self.machines[0]),
            Transport::Ssh(sshd, _) if side == 1 => sshd.sessions(),
            Transport::Ssh(..) => started(),
            #[cfg(feature = "nats")]
            Transport::Nats(..) => started(),
        }
        .into_iter()
        .flat_map(|pid| children(pid).into_iter().chain([pid]))
        .collect()
    }
}

fn over_a_pipe() -> Vec<Machine> {
    let (laptop, desk) = (Machine::start(NAMES[0].0), Machine::start(NAMES[1].0));
    laptop.dial(&desk, "they_may = \"ask\"");
    vec![laptop, desk]
}

fn over_ssh() -> Result<(Vec<Machine>, Transport), String> {
    let network = Network::start(2)?;
    network.set(0, DELAY_MS);
    let machine = |side: usize| Machine::start_in(NAMES[side].0, Some(network.namespace(side)));
    let (laptop, desk) = (machine(0), machine(1));
    let sshd = Sshd::start_at(&desk, Some(network.namespace(1)), &Network::address(1), 22);
    laptop.decide(&desk, &format!("{}\nas = \"laptop\"\nthey_may = \"ask\"\n", sshd.via()));
    Ok((vec![laptop, desk], Transport::Ssh(Box::new(sshd), network)))
}

#[cfg(feature = "nats")]
fn over_nats(version: &str, n: usize) -> Result<(Vec<Machine>, Transport), String> {
    let network = Network::start(n + 1)?;
    network.set(0, DELAY_MS);
    let keys: Vec<Key> = (0..n).map(|_| Key::new()).collect();
    let rights: Vec<(&str, &Key)> = NAMES.iter().map(|(name, _)| *name).zip(&keys).collect();
    let (configuration, address) = (users(&rights), Network::address(n));
    let server = Server::start_at(version, &configuration, Some(network.namespace(n)), &address);
    let machine = |side: usize| Machine::start_in(NAMES[side].0, Some(network.namespace(side)));
    let machines: Vec<Machine> = (0..n).map(machine).collect();
    for (side, machine) in machines.iter().enumerate() {
        let (url, file) = (server.url(), keys[side].file().display().to_string());
        let text = format!(
            "via = {{ nats = {{ server = {url:?}, nkey = {file:?}, as = {:?} }} }}\nthey_may = \"ask\"\n",
            machine.name
        );
        for other in machines.iter().filter(|other| other.name != machine.name) {
            machine.decide(other, &text);
        }
    }
    Ok((machines, Transport::Nats(Box::new(Mutex::new(server)), network, keys)))
}
