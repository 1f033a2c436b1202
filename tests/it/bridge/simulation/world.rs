//! Some machines, each with a hub, a bridge, sessions and a shell, and the wires between their bridges, on one clock.

mod bridges;
mod faults;
mod hubs;
mod wires;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use relay::bridge::exchange::StandIn;
use relay::bridge::frame::LinkFrame;
use relay::client::ledger::Ledger;
use relay::client::{Call, CallId, ClientConfig, ClientEvent, Output};
use relay::hub::{ConnId, Hub};
use relay::protocol::{
    Activity, AskId, AskKind, Asked, BroadcastId, ClientKey, ClientKind, ClientMessage, ClientTag, HubMessage,
    MachineName, PeerName, Presence, Progress, SessionFacts, SessionId, Told, Wake,
};

use self::bridges::Bridge;
pub(crate) use self::bridges::Rules;
use self::wires::Wire;
use super::checker::Checker;
use crate::support::random::Random;

/// After so many steps without time passing something spins.
const STEPS_WITHOUT_TIME: u32 = 20_000;

/// How the machines name each other: every link has the same two names.
const MACHINES: [&str; 3] = ["laptop", "desk", "attic"];

/// One client: a session's channel or a person's tool, with its ledger.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) machine: usize,
    pub(crate) tag: ClientTag,
    pub(crate) is_session: bool,
    /// The name that its hub gave it; none for a person's tool.
    pub(crate) name: Option<PeerName>,
    pub(crate) alive: bool,
    pub(crate) ledger: Ledger,
    pub(crate) presence: Presence,
    conn: Option<ConnId>,
    welcomed: bool,
    next_call: u64,
}

/// Whose a connection to a hub is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Whose {
    /// A client's.
    Client(usize),
    /// Of the bridge's stand-in for a session of another machine, in this life of the bridge.
    StandIn(u64, usize, StandIn),
    /// Of the bridge itself, which watches the sessions here.
    Watcher(u64),
}

/// A connection to a hub.
#[derive(Debug)]
struct Pipe {
    machine: usize,
    whose: Whose,
    hub_open: bool,
    to_hub_at: Instant,
    to_client_at: Instant,
    /// Whether what is said from now on is lost.
    is_broken: bool,
}

/// One machine.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) name: MachineName,
    hub: Option<Hub>,
    hub_may_start: Instant,
    bridge: Option<Bridge>,
    lives: u64,
    /// Until when nothing runs here.
    paused_until: Instant,
    /// What the others may do here; by machine.
    rules: BTreeMap<usize, Rules>,
}

/// Something that happens at its time.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Connect(usize),
    ConnectStandIn(usize, u64, usize, StandIn),
    ConnectWatcher(usize, u64),
    /// The watcher takes it that the hub's grace period is over.
    Settle(usize, u64, ConnId),
    /// The watcher asks who is there.
    Look(usize, u64),
    ToHub(ConnId, ClientMessage),
    ToClient(ConnId, HubMessage),
    HubEnd(ConnId),
    ClientEnd(ConnId),
    StartBridge(usize),
    /// A frame from one machine to another, of a life of the wire between them.
    Frame(usize, usize, u64, Box<LinkFrame>),
    /// The transport of a machine to another has begun, in a life of the wire.
    TransportUp(usize, usize, u64),
    /// It has ended.
    TransportDown(usize, usize, u64),
    /// The script acts for a client.
    Act(usize),
    /// A session does something with an ask or a tell that it was shown.
    Handle(usize, AskId, AskKind),
    Fault,
}

/// The whole of a run.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) now: Instant,
    start: Instant,
    agenda: BTreeMap<(Instant, u64), Step>,
    next_number: u64,
    next_conn: u64,
    pub(crate) machines: Vec<Machine>,
    pub(crate) clients: Vec<Client>,
    pipes: BTreeMap<ConnId, Pipe>,
    wires: BTreeMap<(usize, usize), Wire>,
    /// Clients that may be called gone.
    pub(crate) missed: BTreeSet<usize>,
    pub(crate) checker: Checker,
    /// Whether messages travel as bytes.
    encoded: bool,
    prints: bool,
    /// What happened, if a test wants to compare two runs.
    pub(crate) history: Option<Vec<String>>,
}

impl World {
    pub(crate) fn new(seed: u64, n_machines: usize, prints: bool) -> Self {
        let start = Instant::now();
        let mut world = Self {
            random: Random::new(seed),
            now: start,
            start,
            agenda: BTreeMap::new(),
            next_number: 0,
            next_conn: 0,
            machines: Vec::new(),
            clients: Vec::new(),
            pipes: BTreeMap::new(),
            wires: BTreeMap::new(),
            missed: BTreeSet::new(),
            checker: Checker::default(),
            encoded: seed.is_multiple_of(16),
            prints,
            history: None,
        };
        for (index, name) in MACHINES.into_iter().take(n_machines).enumerate() {
            world.machines.push(Machine {
                name: MachineName::parse(name).unwrap(),
                hub: None,
                hub_may_start: start,
                bridge: None,
                lives: 0,
                paused_until: start,
                rules: (0..n_machines).filter(|other| *other != index).map(|other| (other, Rules::default())).collect(),
            });
            world.schedule_in(0..1000, Step::StartBridge(index));
        }
        for a in 0..n_machines {
            for b in a + 1..n_machines {
                let wire = Wire::new(start, &mut world.random);
                world.wires.insert((a, b), wire);
            }
        }
        world
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    pub(crate) fn note(&mut self, what: impl FnOnce() -> String) {
        if self.prints || self.history.is_some() {
            let line = format!("{:>9.3} {}", self.elapsed().as_secs_f64(), what());
            if self.prints {
                println!("{line}");
            }
            self.history.iter_mut().for_each(|history| history.push(line.clone()));
        }
    }

    pub(crate) fn schedule(&mut self, at: Instant, step: Step) {
        self.next_number += 1;
        self.agenda.insert((at.max(self.now), self.next_number), step);
    }

    pub(crate) fn schedule_in(&mut self, range: std::ops::Range<u64>, step: Step) {
        let at = self.now + self.random.millis(range);
        self.schedule(at, step);
    }

    /// Adds a client that connects at once: a session in this folder, or the shell.
    pub(crate) fn add_client(&mut self, machine: usize, folder: Option<&str>) -> usize {
        let index = self.clients.len();
        let key = ClientKey::from_bytes([index as u8 + 1; 16]);
        let presence = Presence {
            cwd: folder.unwrap_or_default().to_owned(),
            branch: None,
            status: Activity::Unknown,
            waiting_for: None,
            wakes_by: *self.random.pick(&[Wake::Channel, Wake::NextPrompt]),
        };
        let kind = match folder {
            None => ClientKind::Control { key },
            Some(_) => ClientKind::Session(Box::new(SessionFacts {
                session: SessionId { pid: 1000 + index as u32, start: 1, thread: None },
                name: None,
                agent: "claude-code".to_owned(),
                client: None,
                presence: presence.clone(),
            })),
        };
        let socket = PathBuf::from("/run/hub.sock");
        let config = ClientConfig { socket, named_by: None, program: "simulated 1".into(), kind };
        self.clients.push(Client {
            machine,
            tag: config.kind.tag(),
            is_session: folder.is_some(),
            name: None,
            alive: true,
            ledger: Ledger::new(config),
            presence,
            conn: None,
            welcomed: false,
            next_call: 0,
        });
        for (id, asker) in self.checker.broadcasts() {
            self.expect_broadcast(asker, id);
        }
        self.schedule_in(0..50, Step::Connect(index));
        index
    }

    pub(crate) fn call(&mut self, client: usize, call: Call) {
        self.note(|| format!("{client} calls {call:?}"));
        let id = CallId(self.clients[client].next_call);
        self.clients[client].next_call += 1;
        self.checker.saw_call(self.now, client, id, &call);
        self.clients[client].ledger.handle_call(self.now, id, call);
    }

    /// Notes which asks a broadcast may become.
    pub(crate) fn expect_broadcast(&mut self, client: usize, id: BroadcastId) {
        let machine = self.clients[client].machine;
        for other in &self.clients {
            let tag = if other.machine == machine { other.tag } else { self.tag_at(machine, other) };
            self.checker.expect_broadcast(self.now, id, client, tag);
        }
    }

    /// Tells a session's ledger how far an ask has come.
    pub(crate) fn progress(&mut self, client: usize, progress: Progress) {
        self.note(|| format!("{client} says {progress:?}"));
        self.clients[client].ledger.handle_progress(progress);
    }

    /// Withdraws an ask of a client.
    pub(crate) fn withdraw(&mut self, client: usize, ask: AskId) {
        self.note(|| format!("{client} withdraws {ask}"));
        self.checker.saw_withdraw(ask);
        self.clients[client].ledger.handle_withdraw(ask);
    }

    /// Returns whom a tag means on a machine: one of its own clients or, by its stand-in, another machine's.
    pub(crate) fn client_of(&self, machine: usize, tag: ClientTag) -> Option<usize> {
        self.clients.iter().position(|client| {
            if client.machine == machine { client.tag == tag } else { self.tag_at(machine, client) == tag }
        })
    }

    fn tag_at(&self, machine: usize, client: &Client) -> ClientTag {
        assert_ne!(machine, client.machine);
        let facts = relay::protocol::RemoteFacts {
            machine: self.machines[client.machine].name.clone(),
            session: Some(relay::protocol::RemoteSession {
                id: client.tag,
                name: PeerName::of_folder(""),
                agent: String::new(),
                client: None,
                presence: client.presence.clone(),
            }),
        };
        facts.tag()
    }

    pub(crate) fn is_paused(&self, machine: usize) -> bool {
        self.machines[machine].paused_until > self.now
    }

    pub(crate) fn run(&mut self, end: Instant, script: &mut impl FnMut(&mut Self, Step)) {
        let mut still = 0;
        self.pump();
        while let Some(at) = self.next_time().filter(|at| *at <= end) {
            still = if at > self.now { 0 } else { still + 1 };
            assert!(still < STEPS_WITHOUT_TIME, "something spins at {:?}", self.elapsed());
            self.now = self.now.max(at);
            self.step(script);
            self.pump();
        }
        self.now = self.now.max(end);
    }

    fn next_time(&self) -> Option<Instant> {
        let mut next = self.agenda.keys().next().map(|(at, _)| *at);
        let mut consider = |at: Option<Instant>, paused_until: Instant| {
            if let Some(at) = at.map(|at| at.max(paused_until)) {
                next = Some(next.map_or(at, |next| next.min(at)));
            }
        };
        for machine in &self.machines {
            let hub = machine.hub.as_ref().and_then(Hub::poll_timeout).map(|(at, _)| at);
            consider(hub, machine.paused_until);
            consider(machine.bridge.as_ref().and_then(Bridge::poll_timeout), machine.paused_until);
        }
        for client in self.clients.iter().filter(|client| client.alive) {
            consider(client.ledger.poll_timeout(), self.machines[client.machine].paused_until);
        }
        next
    }

    fn step(&mut self, script: &mut impl FnMut(&mut Self, Step)) {
        let now = self.now;
        if let Some(due) = self.agenda.first_entry().filter(|due| due.key().0 <= now) {
            let ((_, number), step) = due.remove_entry();
            let paused_until = self.place(&step).map(|machine| self.machines[machine].paused_until);
            if let Some(resume) = paused_until.filter(|at| *at > now) {
                // It keeps its number: what follows on it in a pipe may be due at that very time.
                self.agenda.insert((resume, number), step);
                return;
            }
            return match step {
                Step::Act(_) | Step::Handle(..) | Step::Fault => script(self, step),
                step => self.perform(step),
            };
        }
        for index in 0..self.machines.len() {
            let machine = &mut self.machines[index];
            if machine.paused_until > now {
                continue;
            }
            if let Some(hub) = &mut machine.hub
                && hub.poll_timeout().is_some_and(|(at, _)| at <= now)
            {
                hub.handle_timeout(now);
            }
            self.handle_bridge_timeout(index);
        }
        for client in self.clients.iter_mut().filter(|client| client.alive) {
            if self.machines[client.machine].paused_until <= now
                && client.ledger.poll_timeout().is_some_and(|at| at <= now)
            {
                client.ledger.handle_timeout(now);
            }
        }
    }

    /// Returns the machine on which a step happens.
    fn place(&self, step: &Step) -> Option<usize> {
        match step {
            Step::ToHub(conn, _) | Step::HubEnd(conn) | Step::ToClient(conn, _) | Step::ClientEnd(conn) => {
                Some(self.pipes.get(conn)?.machine)
            }
            Step::Connect(client) | Step::Act(client) | Step::Handle(client, ..) => Some(self.clients[*client].machine),
            Step::ConnectStandIn(machine, ..)
            | Step::ConnectWatcher(machine, _)
            | Step::Settle(machine, ..)
            | Step::Look(machine, _)
            | Step::StartBridge(machine)
            | Step::TransportUp(machine, ..)
            | Step::TransportDown(machine, ..)
            | Step::Frame(_, machine, ..) => Some(*machine),
            Step::Fault => None,
        }
    }

    fn perform(&mut self, step: Step) {
        match step {
            Step::Connect(client) => self.connect_client(client),
            Step::ConnectStandIn(machine, life, other, stand_in) => {
                self.connect_stand_in(machine, life, other, stand_in);
            }
            Step::ConnectWatcher(machine, life) => self.connect_watcher(machine, life),
            Step::Settle(machine, life, conn) => self.settle(machine, life, conn),
            Step::Look(machine, life) => self.look(machine, life),
            Step::ToHub(conn, message) => self.arrive_at_hub(conn, message),
            Step::ToClient(conn, message) => self.arrive_at_client(conn, message),
            Step::HubEnd(conn) => self.end_at_hub(conn),
            Step::ClientEnd(conn) => self.end_at_client(conn),
            Step::StartBridge(machine) => self.start_bridge(machine),
            Step::Frame(from, to, life, frame) => self.arrive_frame(from, to, life, *frame),
            Step::TransportUp(machine, other, life) => self.transport_up(machine, other, life),
            Step::TransportDown(machine, other, life) => self.transport_down(machine, other, life),
            Step::Act(_) | Step::Handle(..) | Step::Fault => unreachable!("the script's own"),
        }
    }

    /// Moves everything that the hubs, the bridges and the ledgers want moved.
    fn pump(&mut self) {
        for machine in 0..self.machines.len() {
            self.pump_hub(machine);
            self.pump_bridge(machine);
        }
        for client in 0..self.clients.len() {
            self.pump_client(client);
        }
    }

    fn pump_client(&mut self, client: usize) {
        while let Some(output) = self.clients[client].alive.then(|| self.clients[client].ledger.poll_output()).flatten()
        {
            self.note(|| format!("{client} is told {output:?}"));
            self.checker.saw_output(self.now, client, &output);
            match output {
                Output::Event(ClientEvent::Renamed { name }) => self.clients[client].name = Some(name),
                Output::Event(ClientEvent::Ask(Asked { ask_id, from, .. })) => {
                    self.check_sender(client, ask_id, &from);
                    self.schedule_in(0..3000, Step::Handle(client, ask_id, AskKind::Ask));
                }
                Output::Event(ClientEvent::Tell(Told { tell_id, from, .. })) => {
                    self.check_sender(client, tell_id, &from);
                    self.schedule_in(0..3000, Step::Handle(client, tell_id, AskKind::Tell));
                }
                Output::Event(_) | Output::Answer { .. } => {}
            }
        }
        while let Some(message) = self.clients[client].ledger.poll_message() {
            if let Some(conn) = self.clients[client].conn {
                self.send_to_hub(conn, message);
            }
        }
    }

    /// Checks that what a session is shown is from the machine that it is from.
    fn check_sender(&self, client: usize, ask: AskId, from: &str) {
        let asker = &self.clients[self.checker.asker(ask)];
        let machine = from.split_once('@').map(|(_, machine)| machine);
        let is_here = asker.machine == self.clients[client].machine;
        let expected = (!is_here).then(|| self.machines[asker.machine].name.as_str());
        assert_eq!(machine, expected, "{ask} is shown to {client} as from {from}");
    }

    /// Returns what is left anywhere.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let mut left = Vec::new();
        for (index, machine) in self.machines.iter().enumerate() {
            if let Some(hub) = &machine.hub {
                let line = hub.status_line().to_string();
                if !line.ends_with(", 0 open asks") {
                    left.push(format!("the hub of machine {index}: {line}"));
                }
            }
            left.extend(machine.bridge.iter().flat_map(|bridge| bridge.leftovers(index)));
        }
        let open = |(index, client): (usize, &Client)| {
            (client.alive && client.ledger.poll_timeout().is_some()).then(|| format!("client {index}"))
        };
        left.extend(self.clients.iter().enumerate().filter_map(open));
        left
    }
}
