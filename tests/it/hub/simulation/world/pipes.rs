//! The connections of a run: what travels in them, in which order, and what their ends make of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use relay::client::{ClientEvent, KNOWN_AFTER, Output};
use relay::hub::history::{Detail, Record, Recorded};
use relay::hub::{ConnId, Effect, GRACE, Hub, HubInfo, Input, Limits};
use relay::protocol::codec::{FRAME_MAX_BYTES, FrameBuffer, decode, encode};
use relay::protocol::{
    Answer, AskId, AskKind, Asked, ClientKind, ClientMessage, ClientTag, ErrorCode, Event, Frame, HubMessage, Request,
    Told,
};

use super::{Pipe, Running, Step, World};

impl World {
    pub(super) fn connect(&mut self, client: usize) {
        if !self.clients[client].alive || self.clients[client].conn.is_some() {
            return;
        }
        if self.running.is_none() && self.now < self.hub_may_start {
            let missing = self.random.chance(50);
            self.clients[client].ledger.handle_listener(self.now, missing);
            return self.retry(client);
        }
        if self.running.is_none() {
            self.note(|| "a hub starts".to_owned());
            let idle = self.random.chance(50).then(|| self.random.millis(500..5000));
            let open_asks = if self.tight { 3 } else { Limits::default().open_asks };
            let limits = Limits { rate: self.tight, loops: self.tight, open_asks, ..Limits::default() };
            let mut hub =
                Hub::new(self.now, limits, idle, HubInfo { version: "simulated", pid: self.next_conn as u32 + 1 });
            hub.set_recorded(Detail::Asks);
            self.running =
                Some(Running { hub, claimed: BTreeMap::new(), called: BTreeMap::new(), recorded: BTreeSet::new() });
        }
        self.next_conn += 1;
        let conn = ConnId(self.next_conn);
        self.note(|| format!("{client} connects as {}", conn.0));
        let (to_hub_at, to_client_at) = (self.now, self.now);
        let pipe = Pipe { client, hub_open: true, to_hub_at, to_client_at, is_broken: false, brought: None };
        self.pipes.insert(conn, pipe);
        self.clients[client].conn = Some(conn);
        self.tell_hub(Input::Connected { conn });
        self.clients[client].ledger.handle_listener(self.now, false);
        self.clients[client].ledger.handle_connected();
    }

    pub(super) fn arrive_at_hub(&mut self, conn: ConnId, message: ClientMessage) {
        let Some(pipe) = self.pipes.get_mut(&conn).filter(|pipe| pipe.hub_open) else { return };
        let client = pipe.client;
        let last = self.clients[client].heard.replace(self.now);
        if last.is_some_and(|last| self.now.duration_since(last) >= KNOWN_AFTER) {
            self.silent.insert(client);
        }
        if let ClientMessage::Request(_, Request::Hello(hello)) = &message
            && let ClientKind::Session(facts) = &hello.kind
        {
            pipe.brought = facts.name.clone();
        }
        self.note(|| format!("{client} -> {message:?}"));
        self.tell_hub(Input::Received { conn, message });
    }

    pub(super) fn arrive_at_client(&mut self, conn: ConnId, message: HubMessage) {
        let Some(client) = self.pipes.get(&conn).map(|pipe| pipe.client) else { return };
        if self.clients[client].conn == Some(conn) {
            self.note(|| format!("{client} <- {message:?}"));
            if let HubMessage::Answer(_, Answer::Welcome(_)) = &message {
                let welcomed = &mut self.clients[client];
                (welcomed.welcomed, welcomed.renewing) = (Some(self.now), false);
                if std::mem::take(&mut welcomed.fresh) {
                    self.checker.saw_resume(self.now, client);
                }
            }
            self.clients[client].ledger.handle_message(self.now, message);
        }
    }

    /// Moves everything that the hub and the ledgers want moved.
    pub(super) fn pump(&mut self) {
        while let Some(effect) = self.running.as_mut().and_then(|running| running.hub.poll_effect()) {
            self.perform_effect(effect);
        }
        for client in 0..self.clients.len() {
            while let Some(output) =
                self.clients[client].alive.then(|| self.clients[client].ledger.poll_output()).flatten()
            {
                self.note(|| format!("{client} is told {output:?}"));
                self.checker.saw_output(self.now, client, &output);
                self.check_patience(client, &output);
                match output {
                    Output::Event(ClientEvent::Renamed { name }) => self.clients[client].name = Some(name),
                    Output::Event(ClientEvent::Ask(Asked { ask_id, .. })) => {
                        self.schedule_in(0..3000, Step::Handle(client, ask_id, AskKind::Ask));
                    }
                    Output::Event(ClientEvent::Tell(Told { tell_id, .. })) => {
                        self.schedule_in(0..3000, Step::Handle(client, tell_id, AskKind::Tell));
                    }
                    Output::Event(_) | Output::Answer { .. } => {}
                }
            }
            while let Some(message) = self.clients[client].ledger.poll_message() {
                let Some(conn) = self.clients[client].conn else { continue };
                let delay = self.random.millis(0..20);
                let Some(pipe) = self.pipes.get_mut(&conn) else { continue };
                pipe.to_hub_at = pipe.to_hub_at.max(self.now + delay);
                let (at, passes) = (pipe.to_hub_at, !pipe.is_broken);
                if passes {
                    let message = self.travel(message);
                    self.schedule(at, Step::ToHub(conn, message));
                }
            }
        }
    }

    fn perform_effect(&mut self, effect: Effect) {
        if self.is_for_stranger(&effect) {
            return;
        }
        match effect {
            Effect::Send { conn, message } => {
                let open = self.pipes.get(&conn).is_some_and(|pipe| pipe.hub_open);
                assert!(open, "an effect names a connection that is over: {conn:?} {message:?}");
                self.watch_names(conn, &message);
                let delay = self.random.millis(0..20);
                let at = self.pipes[&conn].to_client_at.max(self.now + delay);
                let pipe = self.pipes.get_mut(&conn).unwrap();
                pipe.to_client_at = at;
                if !pipe.is_broken {
                    let message = self.travel(message);
                    self.schedule(at, Step::ToClient(conn, message));
                }
            }
            Effect::Close { conn, reason } => {
                self.note(|| format!("the hub closes {}: {reason:?}", conn.0));
                let pipe = self.pipes.get_mut(&conn).unwrap();
                assert!(std::mem::take(&mut pipe.hub_open), "a connection is closed twice");
                let at = pipe.to_client_at;
                self.schedule(at, Step::ClientEnd(conn));
            }
            Effect::AwaitAgent { conn, .. } => self.await_agent(conn),
            Effect::Record(Record { ask_id, what, .. }) => {
                let recorded = &mut self.running.as_mut().unwrap().recorded;
                let is_in_order = match what {
                    Recorded::Accepted { .. } => recorded.insert(ask_id),
                    Recorded::Ended { .. } => recorded.remove(&ask_id),
                };
                assert!(is_in_order, "{ask_id} is recorded twice, or its end without its beginning: {what:?}");
            }
            Effect::Exit => {
                self.checker.count("idle exit");
                self.note(|| "the hub leaves".to_owned());
                assert!(self.pipes.values().all(|pipe| !pipe.hub_open), "the hub left somebody");
                self.running = None;
            }
        }
    }

    /// Looks for the end of the agent of a session whose channel has left.
    fn await_agent(&mut self, conn: ConnId) {
        let client = self.pipes[&conn].client;
        if !self.clients[client].alive && self.random.chance(50) {
            self.checker.count("agent end seen");
            self.schedule_in(0..500, Step::ProcessEnd(conn));
        }
    }

    /// Checks that no call fails for want of a hub where one was there to answer it.
    fn check_patience(&self, client: usize, output: &Output) {
        if let Output::Answer { result: Err(error), .. } = output
            && error.code == ErrorCode::HubUnreachable
            && !self.hub_was_paused
            && !self.missed.contains(&client)
        {
            let answered_by = self.clients[client].welcomed.map(|at| at + GRACE + Duration::from_millis(500));
            assert!(answered_by.is_none_or(|by| by > self.now), "{client} had a hub and was told: {error}");
        }
    }

    /// Checks that a restart changes no name, and notes whom an ask was accepted for.
    fn watch_names(&mut self, conn: ConnId, message: &HubMessage) {
        let pipe = &self.pipes[&conn];
        let client = pipe.client;
        let running = self.running.as_mut().unwrap();
        match message {
            HubMessage::Answer(_, Answer::Welcome(welcome)) => {
                let Some(name) = &welcome.name else { return };
                self.checker.saw_name(client, name.as_str());
                if let Some(called) = running.called.get(&client) {
                    // Its hub gave the name to another who brought it back, and said so to the lost connection.
                    let was_displaced = running.claimed.get(called).is_some_and(|other| *other != client);
                    let kept = called == name || was_displaced || self.missed.contains(&client);
                    assert!(kept, "{client} was {called} and is {name} with the same hub");
                } else if let Some(brought) = &pipe.brought {
                    let disputed = running.claimed.get(brought).is_some_and(|other| *other != client);
                    let kept = brought == name || disputed || !welcome.settling;
                    assert!(kept, "{client} came back as {brought} and is now {name}");
                    running.claimed.insert(name.clone(), client);
                }
                running.called.insert(client, name.clone());
            }
            HubMessage::Answer(_, Answer::Renamed(renamed)) => {
                self.checker.saw_name(client, renamed.name.as_str());
                running.claimed.insert(renamed.name.clone(), client);
                running.called.insert(client, renamed.name.clone());
            }
            HubMessage::Event(Event::Renamed(renamed)) => {
                self.checker.saw_name(client, renamed.name.as_str());
                running.called.insert(client, renamed.name.clone());
            }
            HubMessage::Answer(_, Answer::Accepted(accepted)) => self.watch_bound(accepted.ask_id, accepted.tag),
            HubMessage::Answer(_, Answer::BroadcastAccepted(accepted)) => {
                accepted.asks.iter().for_each(|ask| self.watch_bound(ask.ask_id, ask.tag));
            }
            _ => {}
        }
    }

    fn watch_bound(&mut self, ask: AskId, tag: ClientTag) {
        let bound = self.clients.iter().position(|client| client.tag == tag).unwrap();
        self.checker.saw_bound(ask, bound);
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
