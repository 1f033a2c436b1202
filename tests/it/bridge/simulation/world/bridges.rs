//! The bridges: what their shell does, connections to the hub and frames to the wires.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use relay::bridge::exchange::{Effect, Exchange, StandIn};
use relay::bridge::frame::{Epoch, LinkMessage, Status};
use relay::bridge::link::{Link, LinkEvent};
use relay::bridge::rights::{Decision, Policy, Rights};
use relay::bridge::sessions::OwnSessions;
use relay::hub::{ConnId, GRACE, Hub};
use relay::protocol::{
    Answer, AskState, ClientKey, ClientKind, ClientMessage, ErrorCode, Event, Hello, HubMessage, Notice, PeerView,
    Peers, Refusal, RemoteSession, Request, RequestId, VERSIONS, Watch,
};

use super::{Step, Whose, World};

/// The request of a connection's hello, and those of the connection that watches.
const HELLO: RequestId = 1;
const WATCH: RequestId = 2;
const LOOK: RequestId = 3;

/// What another machine may do on this one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Rules {
    #[default]
    Ask,
    Hold,
    Refuse,
}

impl Policy for Rules {
    fn decide(&self, _to: &str) -> Decision {
        match self {
            Self::Ask => Decision::Take,
            Self::Hold => Decision::Hold,
            Self::Refuse => {
                let error = Refusal::new(ErrorCode::NotAllowed, "this machine may only reply", "ask its person");
                Decision::Refuse(error)
            }
        }
    }
}

impl Rights for Rules {
    /// Everything is exported that this machine believes to be its own.
    fn export(&self, session: &PeerView) -> Option<RemoteSession> {
        let PeerView { name, tag, agent, client, presence, .. } = session.clone();
        Some(RemoteSession { id: tag?, name, agent, client, presence })
    }

    fn may_answer(&self) -> bool {
        true
    }

    fn may(&self) -> &'static str {
        "ask"
    }
}

/// A stand-in, as the shell of a bridge has it.
#[derive(Debug)]
struct Stand {
    hello: Box<Hello>,
    conn: Option<ConnId>,
    /// Whether it is about to connect.
    is_coming: bool,
}

/// A bridge's part for one other machine.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) exchange: Exchange,
    pub(super) link: Link,
    stands: BTreeMap<StandIn, Stand>,
    /// The life of the wire that the transport is of; none without a transport.
    pub(super) transport: Option<u64>,
    /// Those that the hub has welcomed in this life of the bridge.
    met: BTreeSet<StandIn>,
}

/// One life of a machine's bridge.
#[derive(Debug)]
pub(super) struct Bridge {
    pub(super) life: u64,
    pub(super) sides: BTreeMap<usize, Side>,
    watcher: Option<ConnId>,
    own: OwnSessions,
}

impl Bridge {
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let of = |side: &Side| side.exchange.poll_timeout().into_iter().chain(side.link.poll_timeout()).min();
        self.sides.values().filter_map(of).min()
    }

    pub(super) fn leftovers(&self, machine: usize) -> Vec<String> {
        let open = self.sides.iter().filter(|(_, side)| side.exchange.n_open() > 0);
        open.map(|(other, side)| {
            let n = side.exchange.n_open();
            format!("{n} asks in the exchange of {machine} with {other}: {:?}", side.exchange)
        })
        .collect()
    }
}

impl World {
    pub(super) fn start_bridge(&mut self, machine: usize) {
        self.machines[machine].lives += 1;
        let life = self.machines[machine].lives;
        self.note(|| format!("bridge {life} of {machine} starts"));
        let mut sides = BTreeMap::new();
        for other in (0..self.machines.len()).filter(|other| *other != machine) {
            let exchange = Exchange::new(self.machines[other].name.clone());
            let link = Link::new("simulated".to_owned());
            sides
                .insert(other, Side { exchange, link, stands: BTreeMap::new(), transport: None, met: BTreeSet::new() });
            self.begin_transport(machine, other);
        }
        let bridge = Bridge { life, sides, watcher: None, own: OwnSessions::default() };
        self.machines[machine].bridge = Some(bridge);
        self.schedule_in(0..100, Step::ConnectWatcher(machine, life));
        self.schedule_in(500..3000, Step::Look(machine, life));
    }

    pub(super) fn bridge(&mut self, machine: usize, life: u64) -> Option<&mut Bridge> {
        self.machines[machine].bridge.as_mut().filter(|bridge| bridge.life == life)
    }

    pub(super) fn side(&mut self, machine: usize, other: usize) -> Option<&mut Side> {
        self.machines[machine].bridge.as_mut()?.sides.get_mut(&other)
    }

    fn stand(&mut self, machine: usize, life: u64, other: usize, stand_in: StandIn) -> Option<&mut Stand> {
        self.bridge(machine, life)?.sides.get_mut(&other)?.stands.get_mut(&stand_in)
    }

    /// Kills a bridge, with its connections; another starts after `down`.
    pub(crate) fn kill_bridge(&mut self, machine: usize, down: Duration) {
        let Some(bridge) = self.machines[machine].bridge.take() else { return };
        self.checker.count("fault: bridge killed");
        self.note(|| format!("bridge {} of {machine} is killed, down for {down:?}", bridge.life));
        if self.machines[machine].hub.as_ref().is_none_or(Hub::is_in_grace) {
            self.excuse(machine, true);
        }
        let mut conns: Vec<ConnId> = bridge.watcher.into_iter().collect();
        conns.extend(bridge.sides.values().flat_map(|side| side.stands.values().filter_map(|stand| stand.conn)));
        for conn in conns {
            self.lose(conn);
            let at = self.pipes[&conn].to_hub_at.max(self.now) + self.random.millis(0..60);
            self.schedule(at, Step::HubEnd(conn));
        }
        for other in bridge.sides.into_keys() {
            self.end_wire_of(machine, other);
        }
        self.schedule(self.now + down, Step::StartBridge(machine));
    }

    pub(super) fn connect_stand_in(&mut self, machine: usize, life: u64, other: usize, stand_in: StandIn) {
        let Some(stand) = self.stand(machine, life, other, stand_in).filter(|stand| stand.conn.is_none()) else {
            return;
        };
        stand.is_coming = false;
        let hello = stand.hello.clone();
        let conn = self.open(machine, Whose::StandIn(life, other, stand_in));
        if let Some(stand) = self.stand(machine, life, other, stand_in) {
            stand.conn = conn;
            stand.is_coming = conn.is_none();
        }
        match conn {
            Some(conn) => self.send_to_hub(conn, ClientMessage::Request(HELLO, Request::Hello(hello))),
            None => self.retry(Step::ConnectStandIn(machine, life, other, stand_in)),
        }
    }

    pub(super) fn arrive_at_stand_in(
        &mut self,
        machine: usize,
        life: u64,
        other: usize,
        stand_in: StandIn,
        conn: ConnId,
        message: HubMessage,
    ) {
        let Some(_) = self.stand(machine, life, other, stand_in).filter(|stand| stand.conn == Some(conn)) else {
            return;
        };
        self.note(|| format!("stand-in {stand_in:?} of {other} on {machine} <- {message:?}"));
        let now = self.now;
        let Some(side) = self.side(machine, other) else { return };
        match message {
            HubMessage::Answer(HELLO, Answer::Welcome(welcome)) => {
                side.met.insert(stand_in);
                side.exchange.handle_welcome(now, stand_in, *welcome);
            }
            message => side.exchange.handle_hub(now, stand_in, message),
        }
        self.pump_bridge(machine);
    }

    pub(super) fn end_stand_in(&mut self, machine: usize, life: u64, other: usize, stand_in: StandIn, conn: ConnId) {
        let Some(stand) = self.stand(machine, life, other, stand_in).filter(|stand| stand.conn == Some(conn)) else {
            return;
        };
        (stand.conn, stand.is_coming) = (None, true);
        if let Some(side) = self.side(machine, other) {
            side.exchange.handle_hub_lost(stand_in);
        }
        self.retry(Step::ConnectStandIn(machine, life, other, stand_in));
    }

    pub(super) fn connect_watcher(&mut self, machine: usize, life: u64) {
        if self.bridge(machine, life).is_none_or(|bridge| bridge.watcher.is_some()) {
            return;
        }
        let Some(conn) = self.open(machine, Whose::Watcher(life)) else {
            return self.retry(Step::ConnectWatcher(machine, life));
        };
        if let Some(bridge) = self.bridge(machine, life) {
            bridge.watcher = Some(conn);
        }
        let kind = ClientKind::Control { key: ClientKey::from_bytes([200 + machine as u8; 16]) };
        let hello = Hello { versions: VERSIONS, program: "relay-bridge".to_owned(), kind };
        self.send_to_hub(conn, ClientMessage::Request(HELLO, Request::Hello(Box::new(hello))));
    }

    /// Takes it that the hub's grace period is over.
    pub(super) fn settle(&mut self, machine: usize, life: u64, conn: ConnId) {
        if let Some(bridge) = self.bridge(machine, life).filter(|bridge| bridge.watcher == Some(conn)) {
            bridge.own.handle_settled();
            self.export(machine);
        }
    }

    /// Asks the hub who it believes to be there.
    pub(super) fn look(&mut self, machine: usize, life: u64) {
        let Some(bridge) = self.bridge(machine, life) else { return };
        if let Some(conn) = bridge.watcher {
            self.send_to_hub(conn, ClientMessage::Request(LOOK, Request::Peers));
        }
        self.schedule_in(500..3000, Step::Look(machine, life));
    }

    pub(super) fn arrive_at_watcher(&mut self, machine: usize, life: u64, conn: ConnId, message: HubMessage) {
        if let HubMessage::Answer(_, Answer::Peers(peers)) = &message {
            self.check_names(machine, peers);
        }
        let now = self.now;
        let Some(bridge) = self.bridge(machine, life).filter(|bridge| bridge.watcher == Some(conn)) else { return };
        match message {
            HubMessage::Answer(HELLO, Answer::Welcome(welcome)) => {
                if welcome.settling {
                    self.schedule(now + GRACE, Step::Settle(machine, life, conn));
                }
                return self.send_to_hub(conn, ClientMessage::Request(WATCH, Request::Watch(Watch { text: false })));
            }
            HubMessage::Answer(_, Answer::Watching(watching)) => bridge.own.handle_watching(*watching),
            HubMessage::Event(Event::Watched(change)) => {
                bridge.own.handle_change(*change);
            }
            _ => return,
        }
        self.export(machine);
    }

    fn export(&mut self, machine: usize) {
        let now = self.now;
        if let Some(bridge) = &mut self.machines[machine].bridge {
            let sessions = bridge.own.exported(&Rules::Ask);
            for session in &sessions.sessions {
                let is_own = self.clients.iter().any(|client| client.machine == machine && client.tag == session.id);
                assert!(is_own, "machine {machine} exports {}, which is not its own", session.name);
            }
            bridge.sides.values_mut().for_each(|side| side.exchange.handle_sessions(now, sessions.clone(), true));
        }
        self.pump_bridge(machine);
    }

    /// Checks that names are of this machine or of a session of the machine that they name.
    fn check_names(&self, machine: usize, peers: &Peers) {
        for peer in &peers.peers {
            let name = peer.name.as_str();
            let client = peer.tag.and_then(|tag| self.client_of(machine, tag));
            let client =
                &self.clients[client.unwrap_or_else(|| panic!("{name} is no session that {machine} may know"))];
            let expected = (client.machine != machine).then(|| &self.machines[client.machine].name);
            assert_eq!(peer.machine.as_ref(), expected, "{name} is of another machine");
            assert_eq!(name.matches('@').count(), usize::from(expected.is_some()), "{name} on {machine}");
        }
    }

    pub(super) fn end_watcher(&mut self, machine: usize, life: u64, conn: ConnId) {
        let Some(bridge) = self.bridge(machine, life).filter(|bridge| bridge.watcher == Some(conn)) else { return };
        bridge.watcher = None;
        bridge.own.handle_away();
        self.export(machine);
        self.retry(Step::ConnectWatcher(machine, life));
    }

    pub(super) fn handle_bridge_timeout(&mut self, machine: usize) {
        let now = self.now;
        let Some(bridge) = &mut self.machines[machine].bridge else { return };
        for side in bridge.sides.values_mut() {
            if side.link.poll_timeout().is_some_and(|at| at <= now) {
                side.link.handle_timeout(now, Epoch(self.random.next() as u32));
                assert!(side.link.poll_timeout().is_none_or(|at| at > now), "a link's timeouts spin");
            }
            if side.exchange.poll_timeout().is_some_and(|at| at <= now) {
                side.exchange.handle_timeout(now);
                assert!(side.exchange.poll_timeout().is_none_or(|at| at > now), "an exchange's timeouts spin");
            }
        }
    }

    /// Moves what the exchanges and the links want moved.
    pub(super) fn pump_bridge(&mut self, machine: usize) {
        let others: Vec<usize> = (0..self.machines.len()).filter(|other| *other != machine).collect();
        for other in others {
            while self.pump_side(machine, other) {}
            let now = self.now;
            let Some(side) = self.side(machine, other) else { return };
            side.link.set_open(now, side.exchange.is_open());
        }
    }

    /// Does one thing. Returns whether there was one.
    fn pump_side(&mut self, machine: usize, other: usize) -> bool {
        let (now, rules) = (self.now, self.machines[machine].rules[&other]);
        let Some(side) = self.side(machine, other) else { return false };
        if let Some(event) = side.link.poll_event() {
            match event.clone() {
                LinkEvent::Up => side.exchange.handle_link_up(now),
                LinkEvent::Down => side.exchange.handle_link_down(),
                LinkEvent::Message(message) => side.exchange.handle_message(now, message, &rules),
                LinkEvent::Mismatch(_) => panic!("both sides speak the same"),
            }
            self.note(|| format!("bridge {machine} from {other}: {event:?}"));
            return true;
        }
        if let Some(effect) = side.exchange.poll_effect() {
            self.perform_effect(machine, other, effect);
            return true;
        }
        let (Some(frame), life) = (side.link.poll_frame(), side.transport) else { return false };
        if let Some(life) = life {
            self.send_frame(machine, other, life, frame);
        }
        true
    }

    fn perform_effect(&mut self, machine: usize, other: usize, effect: Effect) {
        let bridge = self.machines[machine].bridge.as_mut().unwrap();
        let life = bridge.life;
        let side = bridge.sides.get_mut(&other).unwrap();
        match effect {
            Effect::Say(message) => {
                if let LinkMessage::Status(status) = &message
                    && matches!(status.status, Status::Open { state: AskState::Held })
                {
                    self.checker.saw_there(status.ask_id);
                }
                side.link.say(message);
            }
            Effect::Connect(stand_in, hello) => {
                let stand = side.stands.entry(stand_in).or_insert_with(|| Stand {
                    hello: hello.clone(),
                    conn: None,
                    is_coming: false,
                });
                stand.hello = hello;
                if stand.conn.is_none() && !std::mem::replace(&mut stand.is_coming, true) {
                    self.schedule_in(0..20, Step::ConnectStandIn(machine, life, other, stand_in));
                }
            }
            Effect::Tell(stand_in, message) => {
                let conn = side.stands.get(&stand_in).and_then(|stand| stand.conn);
                let conn = conn.unwrap_or_else(|| panic!("the hub is told something by nobody: {message:?}"));
                self.send_to_hub(conn, message);
            }
            Effect::Leave(stand_in) => {
                self.checker.count("stand-in left");
                if let Some(conn) = side.stands.remove(&stand_in).and_then(|stand| stand.conn) {
                    self.send_to_hub(conn, ClientMessage::Notice(Notice::Bye));
                }
            }
        }
    }

    /// Lets what is held on a machine of another's asks through.
    pub(crate) fn release(&mut self, machine: usize, other: usize) {
        let now = self.now;
        if let Some(side) = self.side(machine, other) {
            let n_held = side.exchange.held(now).len();
            side.exchange.release(now, None);
            if n_held > 0 {
                self.checker.count("released");
            }
        }
    }

    /// Changes what another machine may do here.
    pub(crate) fn set_rules(&mut self, machine: usize, other: usize, rules: Rules) {
        self.note(|| format!("{other} may {rules:?} on {machine}"));
        self.machines[machine].rules.insert(other, rules);
    }

    /// Returns where a machine does not know exactly the living sessions of another, or cannot reach it.
    pub(crate) fn unsettled(&self) -> Vec<String> {
        let mut unsettled = Vec::new();
        for (index, machine) in self.machines.iter().enumerate() {
            for (other, side) in machine.bridge.iter().flat_map(|bridge| &bridge.sides) {
                let of_it = self.clients.iter().filter(|client| client.machine == *other);
                let n = of_it.filter(|client| client.alive && client.is_session).count();
                let (known, is_up) = (side.exchange.n_sessions(), side.link.is_up());
                if known < n || known > n + side.exchange.n_open() || !is_up {
                    let what = format!("{index} knows {known} of {n} sessions of {other}; link up: {is_up}");
                    unsettled.push(format!("{what}: {:?}", side.exchange));
                }
            }
        }
        unsettled
    }

    /// Notes which asks of other machines' sessions may be lost here: neither the hub nor the bridge has them, or not yet.
    pub(super) fn excuse(&mut self, machine: usize, all: bool) {
        for ask in self.checker.asked_of(|client| self.clients[client].machine == machine) {
            let asker = &self.clients[self.checker.asker(ask)];
            let (other, stand_in) = (asker.machine, asker.is_session.then_some(asker.tag));
            let bridge = self.machines[machine].bridge.as_ref();
            let side = bridge.and_then(|bridge| bridge.sides.get(&other));
            if other != machine && (all || side.is_none_or(|side| !side.met.contains(&stand_in))) {
                self.checker.excused.insert(ask);
            }
        }
    }
}
