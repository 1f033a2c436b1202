//! The bridge's shell: one task owns the links with all machines, their transports and their stand-ins at the hub.
//!
//! A turn of the loop drives the sources that are ready, lets the rules decide, and writes.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::carrier::{Carrier, FromCarrier, Start};
use super::control::Down;
use super::frame::LinkFrame;
use super::guests::{FromGuest, Guests};
use super::hub_connection::{FromHub, HubConnection};
use super::linked::{By, Linked, Setup};
use super::sessions::OwnSessions;
use crate::alarm::Alarm;
use crate::hub::GRACE;
use crate::protocol::{
    Answer, ClientKey, ClientKind, ClientMessage, Event, Hello, HubMessage, MachineName, Refusal, Request, VERSIONS,
    Watch,
};
use crate::ready::ReadyList;
use crate::watched::Listener;

/// What may have something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Somebody wants to connect.
    Listener,
    /// The service is to end.
    Shutdown,
    /// A deadline has come.
    Alarm,
    /// The hub says who is there.
    Hub,
    /// The hub says something to a stand-in of this machine.
    StandIn(u32, super::exchange::StandIn),
    /// A transport brings something.
    Carrier(u32),
    /// Somebody who has connected says something.
    Guest(u64),
}

/// How the service is to run.
pub struct Config {
    /// Where the hub listens.
    pub hub_socket: PathBuf,
    /// After how long with no machine it leaves; never without.
    pub idle_timeout: Option<Duration>,
    /// Reads what is decided about the machines; a file that cannot be read is left out, and said in the log.
    pub load: Box<dyn Fn() -> Result<Vec<Setup>, Refusal>>,
    /// Returns what holds of a machine that comes by itself.
    pub guest: Box<dyn Fn(&MachineName) -> Setup>,
}

/// Serves until there is nothing to do or `shutdown` says why it ends.
///
/// # Errors
/// The listener cannot be watched, or the machines' files cannot be read.
pub async fn run(
    listener: StdListener,
    config: Config,
    shutdown: Pin<&mut dyn Future<Output = &'static str>>,
    ready: impl FnOnce(),
) -> io::Result<()> {
    let mut service = Service::new(Listener::new(listener)?, config, shutdown);
    service.reload().map_err(|error| io::Error::other(error.message))?;
    ready();
    service.serve().await;
    Ok(())
}

struct Service<'a> {
    config: Config,
    now: Instant,
    listener: Listener,
    guests: Guests,
    machines: BTreeMap<MachineName, Linked>,
    carriers: BTreeMap<u32, (Start, Carrier)>,
    last_number: u32,
    hub: HubConnection,
    own: OwnSessions,
    /// When the hub's grace period is over.
    settled_at: Option<Instant>,
    /// Since when there is nothing to do.
    idle_since: Option<Instant>,
    ready: ReadyList<Source>,
    alarm: Alarm,
    shutdown: Pin<&'a mut dyn Future<Output = &'static str>>,
    is_over: bool,
}

impl<'a> Service<'a> {
    fn new(listener: Listener, config: Config, shutdown: Pin<&'a mut dyn Future<Output = &'static str>>) -> Self {
        let (now, ready) = (Instant::now(), ReadyList::default());
        let hello = Hello {
            versions: VERSIONS,
            program: concat!("relay-bridge ", env!("CARGO_PKG_VERSION")).to_owned(),
            kind: ClientKind::Control { key: ClientKey::random() },
        };
        Self {
            hub: HubConnection::new(now, &config.hub_socket, hello, ready.waker(Source::Hub)),
            config,
            now,
            listener,
            guests: Guests::default(),
            machines: BTreeMap::new(),
            carriers: BTreeMap::new(),
            last_number: 0,
            own: OwnSessions::default(),
            settled_at: None,
            idle_since: Some(now),
            ready,
            alarm: Alarm::default(),
            shutdown,
            is_over: false,
        }
    }

    async fn serve(&mut self) {
        for source in [Source::Listener, Source::Shutdown, Source::Alarm] {
            self.ready.waker(source).wake();
        }
        let mut ready = Vec::new();
        loop {
            self.ready.wait(&mut ready).await;
            self.now = Instant::now();
            ready.drain(..).for_each(|source| self.handle_ready(source));
            self.turn();
            if self.is_over {
                return;
            }
        }
    }

    fn handle_ready(&mut self, source: Source) {
        match source {
            Source::Listener => self.accept(),
            Source::Shutdown => {
                let waker = self.ready.waker(Source::Shutdown);
                if let Poll::Ready(reason) = self.shutdown.as_mut().poll(&mut Context::from_waker(&waker)) {
                    tracing::info!(reason, "told to end");
                    self.is_over = true;
                }
            }
            Source::Alarm => {}
            Source::Hub => self.handle_hub(),
            Source::StandIn(number, stand_in) => {
                let now = self.now;
                if let Some(machine) = self.machines.values_mut().find(|machine| machine.number == number) {
                    machine.handle_hub(now, stand_in);
                }
            }
            Source::Carrier(number) => self.handle_carrier(number),
            Source::Guest(number) => self.handle_guest(number),
        }
    }

    /// Does what is due, hands on what the rules want done, and writes.
    fn turn(&mut self) {
        let now = self.now;
        if self.hub.poll_timeout().is_some_and(|at| at <= now) {
            self.handle_hub();
        }
        if self.settled_at.is_some_and(|at| at <= now) {
            self.settled_at = None;
            self.own.handle_settled();
            self.tell_sessions();
        }
        let due = self.carriers.iter().filter(|(_, (_, it))| it.poll_timeout().is_some_and(|at| at <= now));
        due.map(|(number, _)| *number).collect::<Vec<_>>().into_iter().for_each(|number| self.handle_carrier(number));
        self.turn_machines();
        self.write();
        self.forget_guests();
        self.leave_if_idle();
        self.set_alarm();
    }

    fn turn_machines(&mut self) {
        let (now, ready) = (self.now, &self.ready);
        for (name, machine) in &mut self.machines {
            let number = machine.number;
            let waker = |stand_in| ready.waker(Source::StandIn(number, stand_in));
            let has_come_up = machine.turn(now, &self.config.hub_socket, waker);
            while let Some(frame) = machine.poll_frame() {
                match machine.by {
                    By::Nothing => {}
                    By::Carrier(carrier) => {
                        if let Some((_, carrier)) = self.carriers.get_mut(&carrier) {
                            carrier.say(name.as_str(), &frame);
                        }
                    }
                    By::Guest(guest) => self.guests.say(guest, &frame),
                }
            }
            if let (true, By::Carrier(carrier)) = (has_come_up, machine.by)
                && let Some((_, carrier)) = self.carriers.get_mut(&carrier)
            {
                carrier.handle_link_up();
            }
        }
    }

    fn write(&mut self) {
        self.hub.write(self.now);
        for guest in self.guests.write() {
            self.handle_guest_gone(guest);
        }
        for number in self.carriers.keys().copied().collect::<Vec<_>>() {
            let mut brought = Vec::new();
            if let Some((_, carrier)) = self.carriers.get_mut(&number) {
                carrier.write(self.now, &mut brought);
            }
            self.take_from_carrier(number, brought);
        }
    }

    fn handle_hub(&mut self) {
        let (mut told, mut has_changed) = (Vec::new(), false);
        self.hub.turn(self.now, &mut told);
        for told in told {
            has_changed |= match told {
                FromHub::Welcome(welcome) => {
                    self.settled_at = welcome.settling.then(|| self.now + GRACE);
                    self.hub.tell(&ClientMessage::Request(2, Request::Watch(Watch { text: false })));
                    false
                }
                FromHub::Message(HubMessage::Answer(_, Answer::Watching(watching))) => {
                    self.own.handle_watching(*watching);
                    true
                }
                FromHub::Message(HubMessage::Event(Event::Watched(change))) => self.own.handle_change(*change),
                FromHub::Message(message) => {
                    tracing::debug!(kind = message.kind(), "passed over a message of the hub");
                    false
                }
                FromHub::Lost => {
                    self.settled_at = None;
                    self.own.handle_away();
                    true
                }
            };
        }
        // What a machine may see of them is made anew, and most of what a watcher is told is about asks.
        if has_changed {
            self.tell_sessions();
        }
    }

    fn tell_sessions(&mut self) {
        for machine in self.machines.values_mut() {
            machine.handle_sessions(self.now, &self.own);
        }
    }

    fn handle_carrier(&mut self, number: u32) {
        let mut brought = Vec::new();
        if let Some((_, carrier)) = self.carriers.get_mut(&number) {
            carrier.turn(self.now, &mut brought);
        }
        self.take_from_carrier(number, brought);
    }

    fn take_from_carrier(&mut self, number: u32, brought: Vec<FromCarrier>) {
        let now = self.now;
        for brought in brought {
            let of_it = self.machines.values_mut().filter(|it| it.by == By::Carrier(number));
            match brought {
                FromCarrier::Up => of_it.for_each(|machine| machine.handle_transport(now, By::Carrier(number))),
                FromCarrier::Down(down) => of_it.for_each(|machine| {
                    machine.handle_transport_lost(now, By::Carrier(number), down.clone());
                }),
                FromCarrier::Frame(from, frame) => {
                    let is_from = |it: &&mut Linked| from.as_deref().is_none_or(|from| it.setup.name.as_str() == from);
                    of_it.filter(is_from).for_each(|machine| machine.handle_frame(now, frame.clone()));
                }
            }
        }
    }

    fn accept(&mut self) {
        while let Some(accepted) = self.listener.accept() {
            let ready = &self.ready;
            let admitted =
                accepted.and_then(|stream: StdStream| self.guests.admit(stream, |n| ready.waker(Source::Guest(n))));
            if let Err(error) = admitted {
                tracing::warn!(%error, "turned somebody away");
            }
        }
        if self.listener.poll_readable(&mut Context::from_waker(&self.ready.waker(Source::Listener))).is_ready() {
            // The readiness may be an old one; the next turn looks.
            self.ready.waker(Source::Listener).wake();
        }
    }

    fn handle_guest(&mut self, number: u64) {
        let mut said = Vec::new();
        self.guests.turn(number, &mut said);
        for said in said {
            match said {
                FromGuest::Link(name) => self.handle_guest_link(number, &name),
                FromGuest::Frame(name, frame) => self.handle_guest_frame(number, &name, frame),
                FromGuest::Machines => {
                    let machines = self.machines.values().map(|machine| machine.state(self.now)).collect();
                    self.guests.answer_machines(number, self.hub.is_welcome(), machines);
                }
                FromGuest::Reload => {
                    let result = self.reload();
                    self.guests.answer(number, result);
                }
                FromGuest::Release(release) => {
                    let result = match self.machines.get_mut(&release.machine) {
                        Some(machine) => {
                            machine.release(self.now, release.ask_id);
                            Ok(())
                        }
                        None => Err(super::guests::no_machine(&release.machine)),
                    };
                    self.guests.answer(number, result);
                }
                FromGuest::Gone => self.handle_guest_gone(number),
            }
        }
    }

    /// Takes a transport that has come. A newer one of the same machine wins, since the older may be dead unnoticed; one
    /// that this machine has made stays while its link is up.
    fn handle_guest_link(&mut self, number: u64, name: &MachineName) {
        if !self.machines.contains_key(name) {
            let setup = (self.config.guest)(name);
            self.insert(setup);
        }
        let Some(machine) = self.machines.get_mut(name) else { return };
        if machine.setup.is_paused || (matches!(machine.by, By::Carrier(_)) && machine.is_up()) {
            let is_paused = machine.setup.is_paused;
            return self.guests.refuse_link(number, name, is_paused);
        }
        let former = machine.by;
        machine.handle_transport(self.now, By::Guest(number));
        machine.handle_sessions(self.now, &self.own);
        if let By::Guest(former) = former {
            self.guests.close(former);
        }
    }

    fn handle_guest_frame(&mut self, number: u64, name: &MachineName, frame: LinkFrame) {
        let now = self.now;
        if let Some(machine) = self.machines.get_mut(name).filter(|machine| machine.by == By::Guest(number)) {
            machine.handle_frame(now, frame);
        }
    }

    fn handle_guest_gone(&mut self, number: u64) {
        self.guests.close(number);
        let now = self.now;
        for machine in self.machines.values_mut().filter(|machine| machine.by == By::Guest(number)) {
            let by = carrier_of(&self.carriers, &machine.setup);
            machine.handle_transport_lost(now, by, Down::new("its transport has ended"));
        }
    }

    /// Reads what is decided about the machines, and has it hold: a machine that is in no file any more is cut.
    /// One that never was in a file stays: it may be away for a moment, with asks open.
    fn reload(&mut self) -> Result<(), Refusal> {
        let setups = (self.config.load)()?;
        let now = self.now;
        let is_kept = |machine: &Linked| {
            let is_named = setups.iter().any(|setup| setup.name == machine.setup.name);
            is_named || !machine.setup.is_in_a_file
        };
        let gone: Vec<MachineName> =
            self.machines.iter().filter(|(_, machine)| !is_kept(machine)).map(|(name, _)| name.clone()).collect();
        gone.iter().for_each(|name| self.remove(name));
        for setup in setups {
            self.replace(now, setup);
        }
        self.start_carriers();
        self.tell_sessions();
        Ok(())
    }

    fn replace(&mut self, now: Instant, setup: Setup) {
        match self.machines.get_mut(&setup.name) {
            None => self.insert(setup),
            Some(machine) => {
                let cuts = setup.is_paused || setup.start != machine.setup.start;
                machine.set_setup(setup);
                if cuts {
                    if let By::Guest(guest) = machine.by {
                        self.guests.close(guest);
                    }
                    machine.handle_transport_lost(now, By::Nothing, Down::new("its file has changed"));
                }
            }
        }
    }

    fn insert(&mut self, setup: Setup) {
        self.last_number += 1;
        let mut machine = Linked::new(self.now, self.last_number, setup);
        machine.handle_sessions(self.now, &self.own);
        self.machines.insert(machine.setup.name.clone(), machine);
    }

    /// Cuts a machine: its transport goes, what it asked ends, its sessions leave the hub.
    fn remove(&mut self, name: &MachineName) {
        let Some(mut machine) = self.machines.remove(name) else { return };
        tracing::info!(machine = %name, "a machine is linked no more");
        machine.revoke(self.now);
        if let By::Guest(guest) = machine.by {
            self.guests.close(guest);
        }
    }

    /// Starts the transports that are wanted, and ends those that are not.
    fn start_carriers(&mut self) {
        let wanted = |start: &Start| {
            self.machines.values().any(|it| !it.setup.is_paused && it.setup.start.as_ref() == Some(start))
        };
        self.carriers.retain(|_, (start, _)| wanted(start));
        for machine in self.machines.values_mut().filter(|machine| !machine.setup.is_paused) {
            let Some(start) = machine.setup.start.clone() else { continue };
            let known = self.carriers.iter_mut().find(|(_, (known, _))| *known == start);
            let number = match known {
                Some((number, (_, carrier))) => {
                    carrier.hurry(self.now);
                    *number
                }
                None => {
                    self.last_number += 1;
                    let waker = self.ready.waker(Source::Carrier(self.last_number));
                    self.carriers.insert(self.last_number, (start.clone(), Carrier::new(self.now, start, waker)));
                    self.last_number
                }
            };
            if machine.by == By::Nothing {
                machine.by = By::Carrier(number);
                if self.carriers.get(&number).is_some_and(|(_, carrier)| carrier.is_up()) {
                    machine.handle_transport(self.now, By::Carrier(number));
                }
            }
        }
    }

    fn forget_guests(&mut self) {
        let now = self.now;
        let is_forgotten = |machine: &Linked| machine.forgotten_at().is_some_and(|at| at <= now);
        let gone: Vec<MachineName> =
            self.machines.iter().filter(|(_, machine)| is_forgotten(machine)).map(|(name, _)| name.clone()).collect();
        gone.iter().for_each(|name| self.remove(name));
    }

    fn leave_if_idle(&mut self) {
        let is_idle = self.machines.is_empty() && self.guests.is_empty();
        self.idle_since = is_idle.then(|| self.idle_since.unwrap_or(self.now));
        let idle = self.idle_since.map(|since| self.now.saturating_duration_since(since));
        self.is_over |= idle.zip(self.config.idle_timeout).is_some_and(|(idle, most)| idle >= most);
    }

    fn set_alarm(&mut self) {
        let machines = self.machines.values().filter_map(Linked::poll_timeout);
        let carriers = self.carriers.values().filter_map(|(_, carrier)| carrier.poll_timeout());
        let idle = self.idle_since.zip(self.config.idle_timeout).map(|(since, most)| since + most);
        let others = [self.hub.poll_timeout(), self.settled_at, idle].into_iter().flatten();
        let next = machines.chain(carriers).chain(others).min();
        let waker = self.ready.waker(Source::Alarm);
        if self.alarm.poll_wait(&mut Context::from_waker(&waker), next).is_ready() {
            waker.wake();
        }
    }
}

fn carrier_of(carriers: &BTreeMap<u32, (Start, Carrier)>, setup: &Setup) -> By {
    let own = carriers.iter().find(|(_, (start, _))| !setup.is_paused && setup.start.as_ref() == Some(start));
    own.map_or(By::Nothing, |(number, _)| By::Carrier(*number))
}
