//! One state of the small model: a hub or none, three ledgers, and what lies in the pipes between them.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use relay::client::ledger::Ledger;
use relay::client::{Call, CallId, ClientConfig};
use relay::hub::{ConnId, Effect, GRACE, Hub, HubInfo, Input, Limits};
use relay::protocol::{
    Activity, AskId, AskKind, AskState, ClientKind, ClientMessage, HubMessage, Presence, Progress, SessionFacts,
    SessionId, Wake,
};

use super::fingerprint::{self, Part};
use super::promises::Promises;

pub(super) const CLIENTS: usize = 3;
pub(super) const NAMES: [&str; CLIENTS] = ["a", "b", "c"];

/// Who asks whom, and for how long: one deadline that falls into a restarted hub's grace period, one beyond all patience.
pub(super) const ASKS: [(usize, usize, Duration); 2] =
    [(0, 1, Duration::from_millis(3000)), (1, 2, Duration::from_millis(8000))];

/// One thing that may happen next. Numbers are connections, clients or asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Action {
    /// The oldest message, or the end, in a pipe to the hub arrives.
    ToHub(u8),
    /// The oldest message, or the end, in a pipe to a client arrives.
    ToClient(u8),
    /// A client finds its connection broken when it writes, and never reads what is left in it.
    Breaks(u8),
    /// A client closes its end: what it has written can still be read.
    ClientCuts(u8),
    /// The hub closes its end, as it does with a slow reader.
    HubCuts(u8),
    /// A client connects; where no hub runs this starts one.
    Connects(u8),
    /// The hub is killed.
    HubKilled,
    /// The asked session answers.
    Replies(u8),
    /// The told session is shown it.
    Shows(u8),
    /// The tell is handed over to a session that cannot say more.
    HandsOver(u8),
    /// The asker withdraws.
    Withdraws(u8),
    /// Nothing happens until the next timer.
    Passes,
}

/// What arrives at an end of a pipe.
#[derive(Debug, Clone)]
enum Item<T> {
    Message(T),
    End,
}

#[derive(Debug, Clone)]
struct Pipe {
    client: usize,
    hub_open: bool,
    client_open: bool,
    to_hub: VecDeque<Item<ClientMessage>>,
    to_client: VecDeque<Item<HubMessage>>,
}

/// What may still go wrong in a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Faults {
    /// How often the hub may be killed.
    pub(super) kills: u8,
    /// How often a connection may be cut.
    pub(super) cuts: u8,
    /// Whose: one client's, or everybody's.
    pub(super) whose: Option<usize>,
    /// The client whose messages may lie in its pipe for any time. The others read at once, which loses no order of
    /// events: what a client does before it reads it could have done before the hub wrote.
    pub(super) slow: Option<usize>,
    /// Whether the second of the two asks is a tell.
    pub(super) tells: bool,
}

/// A state.
#[derive(Debug, Clone)]
pub(super) struct World {
    start: Instant,
    pub(super) now: Instant,
    hub: Part<Option<Hub>>,
    ledgers: [Part<Ledger>; CLIENTS],
    conns: [Option<u8>; CLIENTS],
    pipes: BTreeMap<u8, Pipe>,
    next_conn: u8,
    next_call: u64,
    faults: Faults,
    pub(super) promises: Part<Promises>,
}

fn ask_id(ask: usize) -> AskId {
    AskId::from_bits(ask as u64 + 1)
}

fn hub(now: Instant) -> Hub {
    Hub::new(now, Limits { rate: false, ..Limits::default() }, None, HubInfo { version: "m", pid: 1 })
}

impl World {
    /// The beginning: a hub whose grace period is over, everybody welcomed, both asks on their way to it.
    pub(super) fn new(start: Instant, faults: Faults) -> Self {
        let ledger = |client: usize| {
            let kind = ClientKind::Session(Box::new(SessionFacts {
                session: SessionId { pid: client as u32 + 1, start: 1, thread: None },
                name: None,
                agent: "m".to_owned(),
                client: None,
                presence: Presence {
                    cwd: format!("/w/{}", NAMES[client]),
                    branch: None,
                    status: Activity::Idle,
                    waiting_for: None,
                    wakes_by: Wake::Channel,
                },
            }));
            Part::new(Ledger::new(ClientConfig {
                socket: PathBuf::from("/s"),
                named_by: None,
                program: "m".to_owned(),
                kind,
            }))
        };
        let mut world = Self {
            start,
            now: start,
            hub: Part::new(Some(hub(start))),
            ledgers: std::array::from_fn(ledger),
            conns: [None; CLIENTS],
            pipes: BTreeMap::new(),
            next_conn: 0,
            next_call: 0,
            faults,
            promises: Part::new(Promises::new(faults.tells)),
        };
        world.now += GRACE;
        world.hub.iter_mut().for_each(|hub| hub.handle_timeout(start + GRACE));
        world.gather();
        for (ask, (asker, asked, timeout)) in ASKS.into_iter().enumerate() {
            let (to, text) = (NAMES[asked].to_owned(), format!("question {ask}"));
            let id = ask_id(ask);
            let call = match world.promises.kind(ask) {
                AskKind::Ask => Call::Ask { ask_id: id, to, question: text, timeout },
                AskKind::Tell => Call::Tell { tell_id: id, to, text, timeout },
            };
            world.call(asker, call);
            world.promises.saw_call(ask, world.next_call, world.now + timeout);
        }
        world.pump();
        world
    }

    fn call(&mut self, client: usize, call: Call) {
        self.next_call += 1;
        self.ledgers[client].handle_call(self.now, CallId(self.next_call), call);
    }

    /// Returns everything that may happen next.
    pub(super) fn enabled(&self) -> Vec<Action> {
        let mut all = Vec::new();
        if self.is_over() {
            return all;
        }
        for (&conn, pipe) in &self.pipes {
            if pipe.hub_open && !pipe.to_hub.is_empty() {
                all.push(Action::ToHub(conn));
            }
            if pipe.client_open && !pipe.to_client.is_empty() {
                all.push(Action::ToClient(conn));
                if !pipe.hub_open && pipe.to_client.len() > 1 {
                    all.push(Action::Breaks(conn));
                }
            }
            if self.may_cut(pipe) {
                all.push(Action::ClientCuts(conn));
                all.push(Action::HubCuts(conn));
            }
        }
        all.extend((0..CLIENTS).filter(|c| self.conns[*c].is_none()).map(|c| Action::Connects(c as u8)));
        if self.faults.kills > 0 && self.hub.is_some() {
            all.push(Action::HubKilled);
        }
        for ask in 0..ASKS.len() {
            if self.promises.may_reply(ask) {
                all.push(Action::Replies(ask as u8));
            }
            if self.promises.may_arrive(ask) {
                all.extend([Action::Shows(ask as u8), Action::HandsOver(ask as u8)]);
            }
            if self.promises.may_withdraw(ask) {
                all.push(Action::Withdraws(ask as u8));
            }
        }
        let waits = |pipe: &Pipe| pipe.hub_open && !pipe.to_hub.is_empty() && Some(pipe.client) != self.faults.slow;
        if !self.promises.is_over() && !self.pipes.values().any(waits) {
            all.push(Action::Passes);
        }
        all
    }

    fn may_cut(&self, pipe: &Pipe) -> bool {
        let its = self.faults.whose.is_none_or(|client| client == pipe.client);
        self.faults.cuts > 0 && its && pipe.client_open && pipe.hub_open
    }

    /// Returns whether nobody waits for anything and nothing is on its way.
    fn is_over(&self) -> bool {
        let still = self.pipes.values().all(|pipe| pipe.to_hub.is_empty() && pipe.to_client.is_empty());
        still && self.promises.is_over()
    }

    /// Lets it happen.
    pub(super) fn perform(&mut self, action: Action) {
        match action {
            Action::ToHub(conn) => self.arrive_at_hub(conn),
            Action::ToClient(conn) => self.arrive_at_client(conn),
            Action::Breaks(conn) => self.client_ends(conn),
            Action::ClientCuts(conn) => {
                self.faults.cuts -= 1;
                self.client_ends(conn);
            }
            Action::HubCuts(conn) => {
                self.faults.cuts -= 1;
                self.hub_ends(conn);
                self.tell_hub(Input::Disconnected { conn: ConnId(conn.into()) });
            }
            Action::Connects(client) => self.connect(client.into()),
            Action::HubKilled => {
                self.faults.kills -= 1;
                *self.hub = None;
                for conn in self.pipes.keys().copied().collect::<Vec<_>>() {
                    self.hub_ends(conn);
                }
            }
            Action::Replies(ask) => {
                let ask = usize::from(ask);
                let text = format!("answer {ask}");
                self.call(ASKS[ask].1, Call::Reply { ask_id: ask_id(ask), text });
                self.promises.saw_reply_call(self.now, ask, self.next_call);
            }
            Action::Shows(ask) => self.arrive(ask.into(), AskState::Shown),
            Action::HandsOver(ask) => self.arrive(ask.into(), AskState::HandedOver),
            Action::Withdraws(ask) => {
                let ask = usize::from(ask);
                self.promises.saw_withdraw(ask);
                self.ledgers[ASKS[ask].0].handle_withdraw(ask_id(ask));
            }
            Action::Passes => self.pass(),
        }
        self.pump();
    }

    fn arrive(&mut self, ask: usize, state: AskState) {
        self.promises.saw_arrival(self.now, ask, state);
        self.ledgers[ASKS[ask].1].handle_progress(Progress { ask_id: ask_id(ask), state, is_final: true });
    }

    fn tell_hub(&mut self, input: Input) {
        if let Some(hub) = &mut *self.hub {
            hub.handle(self.now, input);
        }
    }

    fn connect(&mut self, client: usize) {
        self.next_conn += 1;
        let conn = self.next_conn;
        let (to_hub, to_client) = (VecDeque::new(), VecDeque::new());
        self.pipes.insert(conn, Pipe { client, hub_open: true, client_open: true, to_hub, to_client });
        self.conns[client] = Some(conn);
        self.hub.get_or_insert_with(|| hub(self.now));
        self.tell_hub(Input::Connected { conn: ConnId(conn.into()) });
        self.ledgers[client].handle_connected();
    }

    fn arrive_at_hub(&mut self, conn: u8) {
        let Some(item) = self.pipes.get_mut(&conn).and_then(|pipe| pipe.to_hub.pop_front()) else { return };
        let id = ConnId(conn.into());
        match item {
            Item::Message(message) => self.tell_hub(Input::Received { conn: id, message }),
            Item::End => {
                self.hub_ends(conn);
                self.tell_hub(Input::Disconnected { conn: id });
            }
        }
    }

    fn arrive_at_client(&mut self, conn: u8) {
        let Some(pipe) = self.pipes.get_mut(&conn) else { return };
        let client = pipe.client;
        match pipe.to_client.pop_front() {
            Some(Item::Message(message)) => self.ledgers[client].handle_message(self.now, message),
            Some(Item::End) => self.client_ends(conn),
            None => {}
        }
    }

    fn client_ends(&mut self, conn: u8) {
        let Some(pipe) = self.pipes.get_mut(&conn) else { return };
        let client = pipe.client;
        pipe.client_open = false;
        pipe.to_client.clear();
        pipe.to_hub.push_back(Item::End);
        self.conns[client] = None;
        self.ledgers[client].handle_disconnected(self.now);
    }

    fn hub_ends(&mut self, conn: u8) {
        let Some(pipe) = self.pipes.get_mut(&conn) else { return };
        pipe.hub_open = false;
        pipe.to_hub.clear();
        pipe.to_client.push_back(Item::End);
    }

    /// Returns when the next timer of anybody is due.
    fn due(&self) -> Option<Instant> {
        let hub = self.hub.as_ref().and_then(|hub| hub.poll_timeout()).map(|(at, _)| at);
        self.ledgers.iter().filter_map(|ledger| ledger.poll_timeout()).chain(hub).min()
    }

    fn pass(&mut self) {
        let Some(due) = self.due() else { return };
        let waits = self.pipes.values().any(|pipe| !pipe.to_hub.is_empty() || !pipe.to_client.is_empty());
        if due > self.now && (waits || self.conns.iter().any(Option::is_none)) {
            self.promises.saw_delay();
        }
        self.now = self.now.max(due);
        let now = self.now;
        if self.hub.as_ref().and_then(Hub::poll_timeout).is_some_and(|(at, _)| at <= now)
            && let Some(hub) = &mut *self.hub
        {
            hub.handle_timeout(self.now);
            assert!(hub.poll_timeout().is_none_or(|(at, _)| at > self.now), "the hub's timeouts spin");
        }
        for ledger in &mut self.ledgers {
            if ledger.poll_timeout().is_some_and(|at| at <= self.now) {
                ledger.handle_timeout(self.now);
                assert!(ledger.poll_timeout().is_none_or(|at| at > self.now), "a ledger's timeouts spin");
            }
        }
    }

    /// Moves what hub and ledgers want moved into the pipes, and shows the promises what programs are told.
    fn pump(&mut self) {
        while let Some(effect) = self.hub.is_touched().then(|| self.hub.as_mut().and_then(Hub::poll_effect)).flatten() {
            match effect {
                Effect::Send { conn: ConnId(conn), message } => {
                    let pipe = self.pipes.get_mut(&(conn as u8)).expect("a connection that was made");
                    assert!(pipe.hub_open, "an effect names a connection that is over: {message:?}");
                    if pipe.client_open {
                        pipe.to_client.push_back(Item::Message(message));
                    }
                }
                Effect::Close { conn: ConnId(conn), .. } => self.hub_ends(conn as u8),
                Effect::AwaitAgent { .. } => panic!("nobody parks"),
                Effect::Record(_) => panic!("nobody logs"),
                Effect::Exit => panic!("nobody told this hub to leave"),
            }
        }
        let touched: Vec<bool> = self.ledgers.iter().map(Part::is_touched).collect();
        for client in (0..CLIENTS).filter(|client| touched[*client]) {
            while let Some(message) = self.ledgers[client].poll_message() {
                let pipe = self.conns[client].and_then(|conn| self.pipes.get_mut(&conn));
                if let Some(pipe) = pipe.filter(|pipe| pipe.hub_open) {
                    pipe.to_hub.push_back(Item::Message(message));
                }
            }
            while let Some(output) = self.ledgers[client].poll_output() {
                self.promises.saw_output(self.now, client, &output);
            }
        }
        let reads = |(conn, pipe): (&u8, &Pipe)| {
            (pipe.client_open && Some(pipe.client) != self.faults.slow && !pipe.to_client.is_empty()).then_some(*conn)
        };
        if let Some(conn) = self.pipes.iter().find_map(reads) {
            self.arrive_at_client(conn);
            return self.pump();
        }
        self.pipes.retain(|_, pipe| pipe.hub_open || pipe.client_open);
        self.promises.saw_time(self.now);
    }

    /// Lets everybody come back and hear everything that is on its way, without any time passing.
    fn gather(&mut self) {
        loop {
            let next = self
                .enabled()
                .into_iter()
                .find(|action| matches!(action, Action::ToHub(_) | Action::ToClient(_) | Action::Connects(_)));
            let Some(action) = next else { break };
            self.perform(action);
        }
    }

    /// Ends the run as one without further faults ends, and checks what must have become of everything.
    pub(super) fn complete(mut self) {
        self.gather();
        self.promises.check_gathered(self.now);
        while !self.promises.is_over() {
            assert!(self.due().is_some(), "somebody waits and no timer is set: {self:?}");
            self.perform(Action::Passes);
            self.gather();
        }
        for client in 0..CLIENTS {
            self.ledgers[client].handle_leave(self.now, None);
        }
        self.pump();
        self.gather_without_reconnecting();
        while self.due().is_some() {
            self.perform(Action::Passes);
        }
        self.promises.check_end();
        assert!(self.hub.as_ref().is_none_or(Hub::is_quiet), "something is left in the hub: {:?}", self.hub);
    }

    fn gather_without_reconnecting(&mut self) {
        while let Some(action) =
            self.enabled().into_iter().find(|action| matches!(action, Action::ToHub(_) | Action::ToClient(_)))
        {
            self.perform(action);
        }
    }

    /// Returns a fingerprint of everything that can make a difference to what happens next, or to what was promised.
    pub(super) fn fingerprint(&self, text: &mut String) -> u128 {
        fingerprint::of(self, text)
    }

    /// Returns how long the run has taken on its own clock.
    pub(super) fn elapsed(&self) -> Duration {
        self.now - self.start
    }
}
