//! One hub, its clients, the pipes between them, and the faults: everything that a run consists of, on one clock.

mod faults;
mod pipes;
mod strangers;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use relay::client::ledger::Ledger;
use relay::client::{Call, CallId, ClientConfig, RECONNECT_CAP};
use relay::hub::{ConnId, Hub, Input};
use relay::protocol::{
    Activity, AskId, AskKind, ClientKey, ClientKind, ClientMessage, ClientTag, HubMessage, PeerName, Presence,
    Progress, SHELL, SessionFacts, SessionId, Wake,
};

use super::checker::Checker;
use crate::support::random::Random;

/// After so many steps without time passing something spins.
const STEPS_WITHOUT_TIME: u32 = 10_000;

/// One client: a session's channel or a person's tool, with its ledger.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) tag: ClientTag,
    /// How many channels the session has had.
    pub(crate) channels: u32,
    /// Whether what the channel before the present one has parked is on its way.
    pub(crate) renewing: bool,
    /// Whether the present channel was never welcomed.
    fresh: bool,
    pub(crate) ledger: Ledger,
    /// The name that its hub gave it; none for a person's tool.
    pub(crate) name: Option<PeerName>,
    pub(crate) alive: bool,
    config: ClientConfig,
    conn: Option<ConnId>,
    welcomed: Option<Instant>,
    /// When a hub last had a word of it.
    heard: Option<Instant>,
    paused_until: Instant,
    next_call: u64,
}

/// A connection, and which of its two ends still believes in it.
#[derive(Debug)]
struct Pipe {
    client: usize,
    hub_open: bool,
    to_hub_at: Instant,
    to_client_at: Instant,
    /// Whether what is said from now on is lost.
    is_broken: bool,
    /// The name that the client brought with its hello.
    brought: Option<PeerName>,
}

/// Something that happens at its time.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Connect(usize),
    ToHub(ConnId, ClientMessage),
    ToClient(ConnId, HubMessage),
    HubEnd(ConnId),
    ClientEnd(ConnId),
    ProcessEnd(ConnId),
    /// A congested connection takes everything again.
    Drains(ConnId),
    /// The script acts for a client.
    Act(usize),
    /// A session does something with an ask or a tell that it was shown.
    Handle(usize, AskId, AskKind),
    Fault,
}

/// What is known of the present hub.
#[derive(Debug)]
struct Running {
    hub: Hub,
    /// Names that were brought to this hub or wished of it, and whose they are.
    claimed: BTreeMap<PeerName, usize>,
    /// What this hub called each of its clients last.
    called: BTreeMap<usize, PeerName>,
    /// The asks that it has recorded as accepted and not as ended.
    recorded: BTreeSet<AskId>,
}

/// The whole of a run.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) now: Instant,
    start: Instant,
    agenda: BTreeMap<(Instant, u64), Step>,
    next_number: u64,
    running: Option<Running>,
    hub_may_start: Instant,
    hub_paused_until: Instant,
    pub(crate) hub_was_paused: bool,
    pub(crate) hub_overslept: bool,
    pipes: BTreeMap<ConnId, Pipe>,
    next_conn: u64,
    /// The connections of those that are no clients of ours.
    strangers: BTreeSet<ConnId>,
    pub(crate) clients: Vec<Client>,
    /// Clients that were killed, left, or were paused: they may be called gone.
    pub(crate) missed: BTreeSet<usize>,
    /// The clients of which no hub had a word for longer than a taken reply is told again.
    pub(crate) silent: BTreeSet<usize>,
    pub(crate) checker: Checker,
    /// Whether messages travel as bytes.
    encoded: bool,
    /// Whether the limits are so tight that they are met.
    pub(crate) tight: bool,
    prints: bool,
    /// What happened, if a test wants to compare two runs.
    pub(crate) history: Option<Vec<String>>,
}

impl World {
    pub(crate) fn new(seed: u64, prints: bool) -> Self {
        let start = Instant::now();
        Self {
            random: Random::new(seed),
            now: start,
            start,
            agenda: BTreeMap::new(),
            next_number: 0,
            running: None,
            hub_may_start: start,
            hub_paused_until: start,
            hub_was_paused: false,
            hub_overslept: false,
            pipes: BTreeMap::new(),
            next_conn: 0,
            strangers: BTreeSet::new(),
            clients: Vec::new(),
            missed: BTreeSet::new(),
            silent: BTreeSet::new(),
            checker: Checker::default(),
            encoded: seed.is_multiple_of(16),
            tight: seed.is_multiple_of(8),
            prints,
            history: None,
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
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

    /// Adds a client that connects at once.
    pub(crate) fn add_client(&mut self, folder: Option<&str>) -> usize {
        let index = self.clients.len();
        let key = ClientKey::from_bytes([index as u8 + 1; 16]);
        let wakes_by = *self.random.pick(&[Wake::Channel, Wake::NextPrompt]);
        let kind = match folder {
            None => ClientKind::Control { key },
            Some(cwd) => ClientKind::Session(Box::new(SessionFacts {
                session: SessionId { pid: 1000 + index as u32, start: 1, thread: None },
                name: None,
                agent: "claude-code".to_owned(),
                client: None,
                presence: Presence {
                    cwd: cwd.to_owned(),
                    branch: None,
                    status: Activity::Unknown,
                    waiting_for: None,
                    wakes_by,
                },
            })),
        };
        let config = ClientConfig {
            socket: PathBuf::from("/run/hub.sock"),
            named_by: None,
            program: "simulated 1".into(),
            kind,
        };
        self.clients.push(Client {
            tag: config.kind.tag(),
            channels: 1,
            renewing: false,
            fresh: false,
            ledger: Ledger::new(config.clone()),
            name: None,
            alive: true,
            config,
            conn: None,
            welcomed: None,
            heard: None,
            paused_until: self.now,
            next_call: 0,
        });
        self.checker.saw_resume(self.now, index);
        if folder.is_none() {
            self.checker.saw_name(index, SHELL);
        }
        self.schedule_in(0..50, Step::Connect(index));
        index
    }

    pub(crate) fn call(&mut self, client: usize, call: Call) {
        self.note(|| format!("{client} calls {call:?}"));
        let id = CallId(self.clients[client].next_call);
        self.clients[client].next_call += 1;
        self.checker.saw_call(self.now, client, id, call.clone());
        self.clients[client].ledger.handle_call(self.now, id, call);
    }

    pub(crate) fn is_paused(&self, client: usize) -> bool {
        self.clients[client].paused_until > self.now
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
        let agenda = self.agenda.keys().next().map(|(at, _)| *at);
        let hub = self.running.as_ref().and_then(|running| running.hub.poll_timeout());
        let hub = hub.map(|(at, _)| at.max(self.hub_paused_until));
        let clients = self.clients.iter().filter(|client| client.alive);
        let ledgers = clients.filter_map(|client| Some(client.ledger.poll_timeout()?.max(client.paused_until)));
        agenda.into_iter().chain(hub).chain(ledgers).min()
    }

    fn step(&mut self, script: &mut impl FnMut(&mut Self, Step)) {
        let now = self.now;
        if let Some(due) = self.agenda.first_entry().filter(|due| due.key().0 <= now) {
            let ((_, number), step) = due.remove_entry();
            if let Some(resume) = self.held_until(&step).filter(|at| *at > now) {
                // It keeps its number: what follows on it in a pipe may be due at that very time.
                self.agenda.insert((resume, number), step);
                return;
            }
            return match step {
                Step::Act(_) | Step::Handle(..) | Step::Fault => script(self, step),
                step => self.perform(step),
            };
        }
        if let Some(running) = &mut self.running
            && self.hub_paused_until <= now
            && running.hub.poll_timeout().is_some_and(|(at, _)| at <= now)
        {
            running.hub.handle_timeout(now);
            assert!(running.hub.poll_timeout().is_none_or(|(at, _)| at > now), "the hub's timeouts spin");
        }
        for client in self.clients.iter_mut().filter(|client| client.alive && client.paused_until <= now) {
            if client.ledger.poll_timeout().is_some_and(|at| at <= now) {
                client.ledger.handle_timeout(now);
                assert!(client.ledger.poll_timeout().is_none_or(|at| at > now), "a ledger's timeouts spin");
            }
        }
    }

    /// Returns until when the one that a step concerns is paused.
    fn held_until(&self, step: &Step) -> Option<Instant> {
        match step {
            Step::ToHub(..) | Step::HubEnd(_) | Step::ProcessEnd(_) | Step::Drains(_) => Some(self.hub_paused_until),
            Step::ToClient(conn, _) | Step::ClientEnd(conn) => {
                Some(self.clients[self.pipes.get(conn)?.client].paused_until)
            }
            Step::Connect(client) | Step::Act(client) | Step::Handle(client, ..) => {
                Some(self.clients[*client].paused_until)
            }
            Step::Fault => None,
        }
    }

    fn perform(&mut self, step: Step) {
        match step {
            Step::Connect(client) => self.connect(client),
            Step::ToHub(conn, message) => self.arrive_at_hub(conn, message),
            Step::ToClient(conn, message) => self.arrive_at_client(conn, message),
            Step::HubEnd(conn) => {
                if let Some(pipe) = self.pipes.get_mut(&conn)
                    && std::mem::take(&mut pipe.hub_open)
                {
                    self.tell_hub(Input::Disconnected { conn });
                }
            }
            Step::ProcessEnd(conn) => self.tell_hub(Input::ProcessEnded { conn }),
            Step::Drains(conn) => self.tell_hub(Input::Drained { conn }),
            Step::ClientEnd(conn) => {
                let Some(client) = self.pipes.get(&conn).map(|pipe| pipe.client) else { return };
                if self.clients[client].conn == Some(conn) {
                    self.clients[client].conn = None;
                    self.clients[client].welcomed = None;
                    self.clients[client].ledger.handle_disconnected(self.now);
                    self.retry(client);
                }
            }
            Step::Act(_) | Step::Handle(..) | Step::Fault => unreachable!("the script's own"),
        }
    }

    fn tell_hub(&mut self, input: Input) {
        if let Some(running) = &mut self.running {
            self.checker.count(input.kind());
            running.hub.handle(self.now, input);
        }
    }

    /// Lets a client connect again after its pause. Some come at once, some are as slow as they may be.
    fn retry(&mut self, client: usize) {
        let longest = *self.random.pick(&[1, 40, RECONNECT_CAP.as_millis() as u64]);
        self.schedule_in(0..longest, Step::Connect(client));
    }

    /// Tells a session's ledger how far an ask has come.
    pub(crate) fn progress(&mut self, client: usize, progress: Progress) {
        self.note(|| format!("{client} says {progress:?}"));
        self.checker.saw_progress(self.now, client, progress);
        self.clients[client].ledger.handle_progress(progress);
    }

    /// Withdraws an ask of a client.
    pub(crate) fn withdraw(&mut self, client: usize, ask: AskId) {
        self.note(|| format!("{client} withdraws {ask}"));
        self.checker.count("withdrawn");
        self.checker.saw_withdraw(ask);
        self.clients[client].ledger.handle_withdraw(ask);
    }

    /// Returns whether nothing is open in any living ledger nor in the hub.
    pub(crate) fn is_quiet(&self) -> bool {
        let ledgers =
            self.clients.iter().filter(|client| client.alive).all(|client| client.ledger.poll_timeout().is_none());
        ledgers && self.running.as_ref().is_none_or(|running| running.hub.is_quiet())
    }
}
