//! The connections to the hubs: what travels in them, in which order, and what their ends make of it.

use std::time::Duration;

use relay::client::RECONNECT_CAP;
use relay::hub::{ConnId, Effect, Hub, HubInfo, Input, Limits};
use relay::protocol::codec::{FRAME_MAX_BYTES, FrameBuffer, decode, encode};
use relay::protocol::{Answer, ClientMessage, Frame, HubMessage};

use super::{Pipe, Step, Whose, World};

impl World {
    /// Opens a connection to a machine's hub, and starts one where none runs. Returns none where none can start yet.
    pub(super) fn open(&mut self, machine: usize, whose: Whose) -> Option<ConnId> {
        if self.machines[machine].hub.is_none() {
            if self.now < self.machines[machine].hub_may_start {
                return None;
            }
            self.note(|| format!("a hub starts on {machine}"));
            let limits = Limits { rate: false, loops: self.checker.loops, ..Limits::default() };
            let hub =
                Hub::new(self.now, limits, None, HubInfo { version: "simulated", pid: self.next_conn as u32 + 1 });
            self.machines[machine].hub = Some(hub);
        }
        self.next_conn += 1;
        let conn = ConnId(self.next_conn);
        self.note(|| format!("{whose:?} connects to {machine} as {}", conn.0));
        let (to_hub_at, to_client_at) = (self.now, self.now);
        let pipe = Pipe { machine, whose, hub_open: true, to_hub_at, to_client_at, is_broken: false };
        self.pipes.insert(conn, pipe);
        self.tell_hub(conn, Input::Connected { conn });
        Some(conn)
    }

    pub(super) fn connect_client(&mut self, client: usize) {
        if !self.clients[client].alive || self.clients[client].conn.is_some() {
            return;
        }
        match self.open(self.clients[client].machine, Whose::Client(client)) {
            Some(conn) => {
                self.clients[client].conn = Some(conn);
                self.clients[client].ledger.handle_listener(self.now, false);
                self.clients[client].ledger.handle_connected();
            }
            None => {
                let missing = self.random.chance(50);
                self.clients[client].ledger.handle_listener(self.now, missing);
                self.retry(Step::Connect(client));
            }
        }
    }

    /// Lets somebody connect again after a pause. Some come at once, some are as slow as they may be.
    pub(super) fn retry(&mut self, step: Step) {
        let longest = *self.random.pick(&[1, 40, RECONNECT_CAP.as_millis() as u64]);
        self.schedule_in(0..longest, step);
    }

    fn tell_hub(&mut self, conn: ConnId, input: Input) {
        let machine = self.pipes[&conn].machine;
        if let Some(hub) = &mut self.machines[machine].hub {
            self.checker.count(input.kind());
            hub.handle(self.now, input);
            self.pump_hub(machine);
        }
    }

    pub(super) fn send_to_hub(&mut self, conn: ConnId, message: ClientMessage) {
        let delay = self.random.millis(0..20);
        let Some(pipe) = self.pipes.get_mut(&conn).filter(|pipe| !pipe.is_broken) else { return };
        pipe.to_hub_at = pipe.to_hub_at.max(self.now + delay);
        let at = pipe.to_hub_at;
        let message = self.travel(message);
        self.schedule(at, Step::ToHub(conn, message));
    }

    pub(super) fn arrive_at_hub(&mut self, conn: ConnId, message: ClientMessage) {
        let Some(pipe) = self.pipes.get(&conn).filter(|pipe| pipe.hub_open) else { return };
        let (machine, whose) = (pipe.machine, pipe.whose);
        self.note(|| format!("hub {machine} <- {whose:?} {message:?}"));
        self.tell_hub(conn, Input::Received { conn, message });
    }

    pub(super) fn arrive_at_client(&mut self, conn: ConnId, message: HubMessage) {
        let Some((machine, whose)) = self.pipes.get(&conn).map(|pipe| (pipe.machine, pipe.whose)) else { return };
        match whose {
            Whose::Client(client) if self.clients[client].conn == Some(conn) && self.clients[client].alive => {
                self.note(|| format!("{client} <- {message:?}"));
                if let HubMessage::Answer(_, Answer::Welcome(_)) = &message {
                    self.clients[client].welcomed = true;
                }
                self.clients[client].ledger.handle_message(self.now, message);
            }
            Whose::Client(_) => {}
            Whose::StandIn(life, other, stand_in) => {
                self.arrive_at_stand_in(machine, life, other, stand_in, conn, message);
            }
            Whose::Watcher(life) => self.arrive_at_watcher(machine, life, conn, message),
        }
    }

    pub(super) fn end_at_hub(&mut self, conn: ConnId) {
        let Some(pipe) = self.pipes.get_mut(&conn) else { return };
        if std::mem::take(&mut pipe.hub_open) {
            self.tell_hub(conn, Input::Disconnected { conn });
        }
    }

    pub(super) fn end_at_client(&mut self, conn: ConnId) {
        let Some((machine, whose)) = self.pipes.get(&conn).map(|pipe| (pipe.machine, pipe.whose)) else { return };
        match whose {
            Whose::Client(client) if self.clients[client].conn == Some(conn) => {
                self.clients[client].conn = None;
                self.clients[client].welcomed = false;
                self.clients[client].ledger.handle_disconnected(self.now);
                self.retry(Step::Connect(client));
            }
            Whose::Client(_) => {}
            Whose::StandIn(life, other, stand_in) => self.end_stand_in(machine, life, other, stand_in, conn),
            Whose::Watcher(life) => self.end_watcher(machine, life, conn),
        }
        if self.pipes.get(&conn).is_some_and(|pipe| !pipe.hub_open) {
            self.pipes.remove(&conn);
        }
    }

    pub(super) fn pump_hub(&mut self, machine: usize) {
        while let Some(effect) = self.machines[machine].hub.as_mut().and_then(Hub::poll_effect) {
            match effect {
                Effect::Send { conn, message } => {
                    let pipe = self.pipes.get(&conn).filter(|pipe| pipe.hub_open);
                    let whose = pipe.unwrap_or_else(|| panic!("{conn:?} is over: {message:?}")).whose;
                    self.watch_accepted(machine, whose, &message);
                    let delay = self.random.millis(0..20);
                    let pipe = self.pipes.get_mut(&conn).unwrap();
                    pipe.to_client_at = pipe.to_client_at.max(self.now + delay);
                    let at = pipe.to_client_at;
                    if !pipe.is_broken {
                        let message = self.travel(message);
                        self.schedule(at, Step::ToClient(conn, message));
                    }
                }
                Effect::Close { conn, reason } => {
                    self.note(|| format!("hub {machine} closes {}: {reason:?}", conn.0));
                    let pipe = self.pipes.get_mut(&conn).unwrap();
                    assert!(std::mem::take(&mut pipe.hub_open), "a connection is closed twice");
                    let at = pipe.to_client_at;
                    self.schedule(at, Step::ClientEnd(conn));
                }
                Effect::AwaitAgent { .. } | Effect::Record(_) | Effect::Exit => {}
            }
        }
    }

    /// Notes for whom asks are accepted, and which of another machine's this hub has.
    fn watch_accepted(&mut self, machine: usize, whose: Whose, message: &HubMessage) {
        match message {
            HubMessage::Answer(_, Answer::Accepted(accepted)) => {
                let bound = self.client_of(machine, accepted.tag).unwrap();
                self.checker.saw_bound(accepted.ask_id, bound);
                if matches!(whose, Whose::StandIn(..)) {
                    self.checker.saw_there(accepted.ask_id);
                }
            }
            HubMessage::Answer(_, Answer::BroadcastAccepted(accepted)) => {
                for ask in &accepted.asks {
                    let bound = self.client_of(machine, ask.tag).unwrap();
                    self.checker.saw_bound(ask.ask_id, bound);
                }
            }
            _ => {}
        }
    }

    /// Loses what is on its way in a connection, from some moment on.
    pub(super) fn lose(&mut self, conn: ConnId) {
        let until = self.now + self.random.millis(0..60);
        if let Some(pipe) = self.pipes.get_mut(&conn) {
            pipe.is_broken = true;
        }
        self.agenda.retain(|(at, _), step| {
            *at <= until || !matches!(step, Step::ToHub(c, _) | Step::ToClient(c, _) if *c == conn)
        });
    }

    /// Kills a machine's hub; the next one can start after `down`.
    pub(crate) fn kill_hub(&mut self, machine: usize, down: Duration) {
        if self.machines[machine].hub.take().is_none() {
            return;
        }
        self.checker.count("fault: hub killed");
        self.note(|| format!("the hub of {machine} is killed, down for {down:?}"));
        self.excuse(machine, false);
        self.machines[machine].hub_may_start = self.now + down;
        let conns: Vec<ConnId> =
            self.pipes.iter().filter(|(_, pipe)| pipe.machine == machine).map(|(c, _)| *c).collect();
        for conn in conns {
            self.agenda.retain(|_, step| !matches!(step, Step::ToHub(c, _) | Step::HubEnd(c) if *c == conn));
            self.lose(conn);
            let pipe = self.pipes.get_mut(&conn).unwrap();
            pipe.hub_open = false;
            let at = pipe.to_client_at.max(self.now) + self.random.millis(0..50);
            self.schedule(at, Step::ClientEnd(conn));
        }
    }

    /// Sends a message through its bytes, in some runs.
    pub(super) fn travel<T: Frame>(&self, message: T) -> T {
        if !self.encoded {
            return message;
        }
        let mut bytes = Vec::new();
        encode(&message, &mut bytes);
        let mut buffer = FrameBuffer::default();
        buffer.push(&bytes);
        decode(buffer.next_frame(FRAME_MAX_BYTES).unwrap().unwrap()).unwrap()
    }
}
