//! What the channel does for the session's other processes: its place at the session's socket, and all that they say.

use std::path::PathBuf;
use std::time::Instant;

use super::Channel;
use super::calls::NewCall;
use super::inbox::ReaderCommand;
use super::mcp::ToolResult;
use super::place::Place;
use super::tools::arguments::NewIds;
use crate::agent::Agent;
use crate::agent::route::{Delivery, RouteEvent};
use crate::client::CallId;
use crate::protocol::Activity;
use crate::session::frame::Deliver;
use crate::session::{self, ChannelMessage, ReaderId, ReaderMessage, Role};

impl Channel {
    /// Takes the place in the session that is free.
    pub(super) fn take_place(&mut self) {
        let (Ok(socket), Some(agent)) = (&self.socket, &self.agent) else { return };
        self.place = Place::take(&session::address::address(socket, &agent.session()));
    }

    /// Takes in what the session's other processes say, until nothing is left to be done with them.
    pub(super) fn take_from_session(&mut self) {
        let turn = self.place.turn();
        for result in turn.results {
            if self.calls.remove(CallId(result.id)).is_some() {
                self.answer(
                    CallId(result.id),
                    ToolResult { json: result.result.to_string(), is_error: result.is_error },
                );
            }
        }
        self.take_incoming(turn.incoming);
        if let Some(calls) = turn.lost {
            self.succeed(calls);
        }
    }

    pub(super) fn take_incoming(&mut self, mut incoming: Vec<session::Incoming>) {
        loop {
            for one in std::mem::take(&mut incoming) {
                match one {
                    session::Incoming::Message(by, message) => self.handle_message(by, message),
                    session::Incoming::Gone(by) => {
                        if self.inbox.is_plugin(by) {
                            // Nobody tells any more what the session does.
                            self.handle_presence(Activity::Unknown, None, None);
                        }
                        self.inbox.handle_reader_gone(Instant::now(), by);
                        self.calls.handle_gone(by).into_iter().for_each(|call| self.inbox.handle_call_cancelled(call));
                    }
                }
            }
            while let Some(command) = self.inbox.poll_command() {
                match command {
                    ReaderCommand::Deliver(ReaderId::ROUTE, Deliver { batch, text, ids }) => {
                        if let Some(agent) = &mut self.agent {
                            agent.deliver(Instant::now(), Delivery { batch, text, ids });
                        }
                    }
                    ReaderCommand::Deliver(to, deliver) => self.place.send(to, &ChannelMessage::Deliver(deliver)),
                    ReaderCommand::End(to) => self.place.send(to, &ChannelMessage::End),
                    ReaderCommand::Close(reader) => self.place.close(reader, &mut incoming),
                }
            }
            if incoming.is_empty() {
                return;
            }
        }
    }

    /// Takes in what has happened on the session's route.
    pub(super) fn take_from_route(&mut self) {
        let now = Instant::now();
        // The way into the session is the owner's.
        if self.place.is_proxy() {
            return;
        }
        for event in self.agent.as_mut().map(|agent| agent.turn(now)).unwrap_or_default() {
            match event {
                RouteEvent::Open => {
                    if let Some((wake, is_for_idle)) = self.agent.as_mut().and_then(Agent::route) {
                        self.inbox.handle_route(wake, is_for_idle);
                    }
                }
                RouteEvent::Closed => self.inbox.handle_reader_gone(now, ReaderId::ROUTE),
                RouteEvent::Taken(batch) => self.inbox.handle_taken(now, ReaderId::ROUTE, batch),
                RouteEvent::Shown(ids) => self.inbox.handle_shown(&ids),
                RouteEvent::Lost(ids) => self.inbox.handle_lost(&ids),
                RouteEvent::Full(is_full) => self.inbox.handle_route_full(is_full),
                RouteEvent::Presence(activity, waiting_for) => {
                    self.handle_presence(activity, waiting_for.map(str::to_owned), None);
                }
            }
        }
        self.join();
    }

    /// Takes over what a plugin or a route says of the session.
    fn handle_presence(&mut self, activity: Activity, waiting_for: Option<String>, cwd: Option<PathBuf>) {
        if let Some(agent) = &mut self.agent {
            agent.handle_presence(activity, waiting_for, cwd);
            self.inbox.handle_activity(Instant::now(), activity);
            self.presence_is_due = true;
        }
    }

    fn handle_message(&mut self, by: ReaderId, message: ReaderMessage) {
        let now = Instant::now();
        match message {
            ReaderMessage::Hello(hello) => {
                match hello.role {
                    Role::Hook => self.look(),
                    // Nobody sits before the session: a message would start a turn in it.
                    Role::Plugin if !self.is_interactive() => return self.inbox.dismiss(by),
                    Role::Waiter | Role::Plugin | Role::Proxy => {}
                }
                self.inbox.handle_hello(now, by, &hello);
            }
            ReaderMessage::Taken(taken) => match self.calls.handle_taken(by, taken.batch) {
                Some(call) => self.inbox.handle_call_written(call),
                None => self.inbox.handle_taken(now, by, taken.batch),
            },
            ReaderMessage::Shown(shown) => self.inbox.handle_shown(&shown.ids),
            ReaderMessage::Lost(lost) => self.inbox.handle_lost(&lost.ids),
            ReaderMessage::Presence(presence) => {
                self.handle_presence(presence.status, presence.waiting_for, presence.cwd);
            }
            ReaderMessage::Named(named) => {
                if let Some(agent) = &mut self.agent {
                    agent.handle_named(named.name.clone());
                }
                if let Some(hub) = &mut self.hub {
                    hub.ledger().handle_named(named.name);
                }
            }
            ReaderMessage::Call(call) => {
                let id = self.calls.insert_of_proxy(by, call.id);
                let ids = NewIds { ask_id: call.ask_id, broadcast_id: call.broadcast_id };
                self.start(id, NewCall { tool: call.tool, arguments: call.arguments, ids });
            }
            ReaderMessage::Cancel(cancel) => {
                if let Some(call) = self.calls.of_proxy(by, cancel.id) {
                    self.cancel(call);
                } else if let Some(call) = self.calls.handle_taken(by, cancel.id) {
                    self.inbox.handle_call_cancelled(call);
                }
            }
        }
    }

    fn is_interactive(&self) -> bool {
        self.agent.as_ref().is_some_and(Agent::is_interactive)
    }

    /// The channel whose proxy this was has gone: takes its place, or is the proxy of another one that did.
    fn succeed(&mut self, calls: Vec<(CallId, NewCall)>) {
        self.take_place();
        if self.is_interactive() {
            self.connect();
        }
        for (call, new) in calls {
            if self.calls.is_cancelled(call) {
                self.calls.remove(call);
                self.forget(call);
            } else {
                self.start(call, new);
            }
        }
    }
}
