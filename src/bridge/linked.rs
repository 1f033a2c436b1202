//! One other machine, with its link, its exchange and its stand-ins at the hub.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::carrier::Start;
use super::control::{self, Down, HeldAsk, MachineState};
use super::exchange::{Effect, Exchange, StandIn};
use super::frame::{Epoch, LinkFrame, VERSIONS};
use super::hub_connection::{FromHub, HubConnection};
use super::link::{Link, LinkEvent};
use super::rights::Rights;
use super::sessions::OwnSessions;
use crate::protocol::{AskId, MachineName};

/// How long a machine that is in no file is remembered after its link was lost.
const GUEST_REMEMBERED: Duration = Duration::from_mins(10);

/// What the other side is told of this program.
const PROGRAM: &str = concat!("relay-bridge ", env!("CARGO_PKG_VERSION"));

/// What is decided about a machine.
#[derive(Debug)]
pub struct Setup {
    /// Its name here.
    pub name: MachineName,
    /// How its transport is started; none where it comes to us.
    pub start: Option<Start>,
    /// Whether the link is to be down.
    pub is_paused: bool,
    /// Whether a file says so: else it has come by itself.
    pub is_in_a_file: bool,
    /// What it may do here.
    pub rights: Box<dyn Rights>,
}

/// What carries a machine's link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// Nothing.
    Nothing,
    /// A transport of ours.
    Carrier(u32),
    /// One that has come.
    Guest(u64),
}

/// One other machine.
#[derive(Debug)]
pub(super) struct Linked {
    pub(super) setup: Setup,
    /// Names it in wakers.
    pub(super) number: u32,
    pub(super) by: By,
    link: Link,
    exchange: Exchange,
    stand_ins: BTreeMap<StandIn, HubConnection>,
    /// The stand-ins to which something was said.
    to_write: BTreeSet<StandIn>,
    since: Instant,
    down: Option<Down>,
}

impl Linked {
    /// Returns a machine without a link.
    pub(super) fn new(now: Instant, number: u32, setup: Setup) -> Self {
        let exchange = Exchange::new(setup.name.clone());
        Self {
            link: Link::new(PROGRAM.to_owned()),
            exchange,
            setup,
            number,
            by: By::Nothing,
            stand_ins: BTreeMap::new(),
            to_write: BTreeSet::new(),
            since: now,
            down: None,
        }
    }

    /// Puts other rules in the place of those that held.
    pub(super) fn set_setup(&mut self, setup: Setup) {
        self.setup = setup;
    }

    /// Begins the link on a transport.
    pub(super) fn handle_transport(&mut self, now: Instant, by: By) {
        self.by = by;
        self.link.handle_transport(now, Epoch::random());
        (self.since, self.down) = (now, None);
    }

    /// Records that the transport has ended.
    pub(super) fn handle_transport_lost(&mut self, now: Instant, by: By, down: Down) {
        self.by = by;
        self.link.handle_transport_lost();
        if self.down.is_none() {
            self.since = now;
        }
        self.down = Some(down);
    }

    /// Takes a frame of the link.
    pub(super) fn handle_frame(&mut self, now: Instant, frame: LinkFrame) {
        self.link.handle_frame(now, frame, Epoch::random());
    }

    /// Takes who is there on this machine.
    pub(super) fn handle_sessions(&mut self, now: Instant, own: &OwnSessions) {
        let rights = &*self.setup.rights;
        self.exchange.handle_sessions(now, own.exported(rights), rights.may_answer());
    }

    /// Takes what the hub tells a stand-in.
    pub(super) fn handle_hub(&mut self, now: Instant, stand_in: StandIn) {
        let mut told = Vec::new();
        if let Some(connection) = self.stand_ins.get_mut(&stand_in) {
            connection.turn(now, &mut told);
        }
        for told in told {
            match told {
                FromHub::Welcome(welcome) => self.exchange.handle_welcome(now, stand_in, *welcome),
                FromHub::Message(message) => self.exchange.handle_hub(now, stand_in, message),
                FromHub::Lost => self.exchange.handle_hub_lost(stand_in),
            }
        }
    }

    /// Does what is due, and hands on what the rules want done. `waker`: that of a stand-in. Returns whether the link has come
    /// up.
    pub(super) fn turn(&mut self, now: Instant, socket: &Path, mut waker: impl FnMut(StandIn) -> Waker) -> bool {
        let due: Vec<StandIn> = self
            .stand_ins
            .iter()
            .filter(|(_, it)| it.poll_timeout().is_some_and(|at| at <= now))
            .map(|(id, _)| *id)
            .collect();
        due.into_iter().for_each(|stand_in| self.handle_hub(now, stand_in));
        self.link.handle_timeout(now, Epoch::random());
        if self.exchange.poll_timeout().is_some_and(|at| at <= now) {
            self.exchange.handle_timeout(now);
        }
        let mut has_come_up = false;
        while let Some(event) = self.link.poll_event() {
            match event {
                LinkEvent::Up => {
                    tracing::info!(machine = %self.setup.name, "the link is up");
                    (self.since, self.down, has_come_up) = (now, None, true);
                    self.exchange.handle_link_up(now);
                }
                LinkEvent::Down => {
                    tracing::info!(machine = %self.setup.name, "the link is down");
                    (self.since, self.down) = (now, Some(Down::new("nothing comes from it")));
                    self.exchange.handle_link_down();
                }
                LinkEvent::Mismatch(other) => {
                    let (theirs, ours) = (other.versions, VERSIONS);
                    let why = format!(
                        "protocol_mismatch: its bridge ({}) speaks versions {} to {} of a link, this one {} to {}: update the older",
                        other.program, theirs.min, theirs.max, ours.min, ours.max
                    );
                    let update = || "update claude-relay on this machine: docs/installing.md".to_owned();
                    let next = (ours.max < theirs.min).then(update);
                    (self.since, self.down) = (now, Some(Down { why, next }));
                }
                LinkEvent::Message(message) => self.exchange.handle_message(now, message, &*self.setup.rights),
            }
        }
        while let Some(effect) = self.exchange.poll_effect() {
            self.perform(now, effect, socket, &mut waker);
        }
        self.link.set_open(now, self.exchange.is_open());
        for stand_in in std::mem::take(&mut self.to_write) {
            if let Some(connection) = self.stand_ins.get_mut(&stand_in) {
                connection.write(now);
            }
        }
        has_come_up
    }

    fn perform(&mut self, now: Instant, effect: Effect, socket: &Path, waker: &mut impl FnMut(StandIn) -> Waker) {
        match effect {
            Effect::Say(message) => self.link.say(message),
            Effect::Connect(stand_in, hello) => match self.stand_ins.get_mut(&stand_in) {
                Some(connection) => connection.set_hello(*hello),
                None => {
                    let waker = waker(stand_in);
                    // The first turn connects it.
                    waker.wake_by_ref();
                    self.stand_ins.insert(stand_in, HubConnection::new(now, socket, *hello, waker));
                }
            },
            Effect::Tell(stand_in, message) => {
                if let Some(connection) = self.stand_ins.get_mut(&stand_in) {
                    connection.tell(&message);
                    self.to_write.insert(stand_in);
                }
            }
            Effect::Leave(stand_in) => {
                if let Some(connection) = self.stand_ins.remove(&stand_in) {
                    connection.leave(now);
                }
            }
        }
    }

    /// Returns the next frame for the transport.
    pub(super) fn poll_frame(&mut self) -> Option<LinkFrame> {
        self.link.poll_frame()
    }

    /// Returns when something is due next.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let stand_ins = self.stand_ins.values().filter_map(HubConnection::poll_timeout);
        stand_ins.chain(self.link.poll_timeout()).chain(self.exchange.poll_timeout()).chain(self.forgotten_at()).min()
    }

    /// Returns when a machine is forgotten that has come by itself.
    pub(super) fn forgotten_at(&self) -> Option<Instant> {
        let is_away = !self.setup.is_in_a_file && self.by == By::Nothing && !self.exchange.is_open();
        is_away.then(|| self.since + GUEST_REMEMBERED)
    }

    /// Ends what is open, and lets the stand-ins leave: it is linked no more.
    pub(super) fn revoke(&mut self, now: Instant) {
        self.exchange.revoke(now);
        while let Some(effect) = self.exchange.poll_effect() {
            self.perform(now, effect, Path::new(""), &mut |_| Waker::noop().clone());
        }
    }

    /// Lets held asks through.
    pub(super) fn release(&mut self, now: Instant, ask_id: Option<AskId>) {
        self.exchange.release(now, ask_id);
    }

    /// Returns whether frames go both ways.
    pub(super) const fn is_up(&self) -> bool {
        self.link.is_up()
    }

    /// Returns how it stands.
    pub(super) fn state(&self, now: Instant) -> MachineState {
        let link = match (&self.down, self.by) {
            _ if self.link.is_up() => control::Link::Up,
            _ if self.setup.is_paused => control::Link::Paused,
            (Some(down), _) => control::Link::Down(down.clone()),
            (None, By::Nothing) if self.setup.start.is_none() => control::Link::Awaited,
            (None, _) => control::Link::Connecting,
        };
        let other = self.link.other();
        let held = self.exchange.held(now).into_iter().map(|held| HeldAsk {
            ask_id: held.ask_id,
            from: self.exchange.name_of(held.from),
            to: held.to,
            left_s: held.left.as_secs(),
        });
        MachineState {
            name: self.setup.name.clone(),
            link,
            since_s: now.saturating_duration_since(self.since).as_secs(),
            round_trip_ms: self.link.round_trip().map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            version: other.map(|other| other.program.clone()),
            we_may: self.exchange.we_may().map(str::to_owned),
            sessions: self.exchange.n_sessions() as u64,
            open_asks: self.exchange.n_open() as u64,
            held: held.collect(),
        }
    }
}
