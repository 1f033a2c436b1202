//! The channel of one session: an MCP server on stdio that is a peer of the hub and serves the session's own socket.
//!
//! One task owns everything and waits at one place. When anything has happened it takes in all that is there, lets the rules
//! decide, and writes: the ledger is what the session has asked and was asked, the inbox which route a message takes into the
//! session. Nothing here waits for anything else. The channel never starts anything, never ends because the hub is away, and
//! leaves at once when its client or its agent does.

pub mod calls;
pub mod envelope;
pub mod inbox;
pub mod instructions;
pub mod mcp;
mod members;
pub mod meta;
pub mod neutralise;
pub mod notification;
pub mod permission;
pub mod place;
mod sources;
pub mod stdio;
mod tool_calls;
pub mod tools;
mod wait;

use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::unconstrained;

use self::calls::{Calls, NewCall};
use self::inbox::Inbox;
use self::mcp::{Incoming, Mcp, OPEN_MAX, ToolResult};
use self::place::Place;
use self::sources::{Happened, Sources};
use self::stdio::{Stdio, Written};
use self::tools::arguments::NewIds;
use crate::agent::{self, Agent, CallOrigin, McpClient};
use crate::alarm::Alarm;
use crate::client::{ClientConfig, ClientEvent, Connection, Output};
use crate::fault;
use crate::object::Object;
use crate::paths::Environment;
use crate::protocol::{Activity, ClientKind, ErrorCode, Refusal, Wake};
use crate::runtime;
use crate::session::{self, ReaderId};

/// How long a leaving channel waits until what it is writing is written.
const LAST_WRITE_WAIT: Duration = Duration::from_millis(30);

/// How long after a tool call the channel looks at the session's folder and file at the latest: what is asked goes first.
const LOOK_DELAY: Duration = Duration::from_secs(3);

/// Serves the session on this process's stdin and stdout until its client is gone or a signal tells to leave.
///
/// Where the environment has no place for the hub's socket, every tool answers why.
///
/// # Errors
/// Stdin or stdout is closed, or the runtime cannot be built.
pub fn run(environment: &Environment) -> io::Result<()> {
    let socket = environment.socket().map_err(|error| {
        let next = "set RELAY_SOCKET to the hub's socket for this session's client, and start it again";
        Refusal::new(ErrorCode::HubUnreachable, error.to_string(), next)
    });
    // The loop yields by itself: the runtime's budget would make it ask in vain within one turn.
    runtime::run(unconstrained(serve(socket, environment.socket_named_by())))?
}

async fn serve(socket: Result<PathBuf, Refusal>, named_by: Option<&'static str>) -> io::Result<()> {
    let signals = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
    let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = signals else {
        return Err(io::Error::other("the signals cannot be watched"));
    };
    let mut told_to_leave = pin!(async {
        tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
            _ = hangup.recv() => "SIGHUP",
        }
    });
    let mut channel = Channel::new(socket, named_by, Stdio::of_process()?);
    let reason = loop {
        let happened = match channel.wait(told_to_leave.as_mut()).await {
            Ok(happened) => happened,
            Err(signal) => break signal,
        };
        channel.pass(happened);
        if channel.stdio.is_over() {
            break "the client is gone";
        }
        if happened.agent == Some(agent::Happened::Ended) {
            break "the agent has ended";
        }
    };
    tracing::info!(reason, "leaving");
    channel.leave().await;
    Ok(())
}

struct Channel {
    socket: Result<PathBuf, Refusal>,
    /// What names the socket, where it is not the service's.
    named_by: Option<&'static str>,
    stdio: Stdio,
    mcp: Mcp,
    /// Known once the client has said who it is.
    agent: Option<Agent>,
    /// When to look at the session from outside; not before the next tool call where there is no time.
    looks_at: Option<Instant>,
    /// Whether the hub must be told anew what holds of the session.
    presence_is_due: bool,
    told_wake: Option<Wake>,
    place: Place,
    /// Whether the place was taken: as soon as it is known which session this is.
    has_place: bool,
    /// Whether the client is ready for what it has not asked for.
    is_ready: bool,
    /// The connection to the hub, from the first time that one is wanted on; a proxy has none.
    hub: Option<Connection>,
    inbox: Inbox,
    calls: Calls,
    alarm: Alarm,
    sources: Sources,
}

impl Channel {
    fn new(socket: Result<PathBuf, Refusal>, named_by: Option<&'static str>, stdio: Stdio) -> Self {
        Self {
            socket,
            named_by,
            stdio,
            mcp: Mcp::default(),
            agent: None,
            looks_at: None,
            presence_is_due: false,
            told_wake: None,
            place: Place::Alone,
            has_place: false,
            is_ready: false,
            hub: None,
            inbox: Inbox::new(false),
            calls: Calls::default(),
            alarm: Alarm::default(),
            sources: Sources::default(),
        }
    }

    /// Takes in all that is there, lets the rules decide, and writes.
    fn pass(&mut self, happened: Happened) {
        if happened.agent == Some(agent::Happened::Changed) {
            self.look();
        }
        if happened.stdio && !self.is_full() {
            self.stdio.read();
        }
        self.read_lines();
        // What is asked does not wait for what else there is to do.
        if let Some(hub) = &mut self.hub {
            hub.flush();
        }
        self.take_from_hub();
        if happened.session {
            self.take_from_session();
        }
        self.take_from_route();
        let now = Instant::now();
        if self.inbox.poll_timeout(now).is_some_and(|at| at <= now) {
            self.handle_timeout(now);
        }
        if self.looks_at.is_some_and(|at| at <= now) {
            self.look();
        }
        self.flush();
    }

    fn is_full(&self) -> bool {
        self.mcp.open_calls() + self.stdio.unwritten() >= OPEN_MAX
    }

    fn read_lines(&mut self) {
        while !self.is_full() {
            let Some(line) = self.stdio.next_line() else { return };
            let stdio = &mut self.stdio;
            let incoming = self.mcp.handle_line(&line, |answer| stdio.push(answer, Written::Other));
            match incoming {
                Some(Incoming::Initialize(initialize)) => {
                    let prefix = self.meet(initialize.client.clone());
                    let welcome = mcp::welcome(&initialize, &instructions::instructions(prefix));
                    self.stdio.push(&welcome, Written::Other);
                }
                Some(Incoming::Ready) => {
                    self.inbox.handle_initialized(Instant::now());
                    self.is_ready = true;
                    self.join();
                }
                Some(Incoming::ToolsListed) => self.inbox.handle_tools_listed(Instant::now()),
                Some(Incoming::Call { call, tool, arguments, meta }) => {
                    fault::pass("tool.called");
                    if self.is_of_a_channel(&meta) {
                        self.answer(call, ToolResult { json: "{}".to_owned(), is_error: false });
                        continue;
                    }
                    self.calls.insert(call);
                    self.start(call, NewCall { tool, arguments, ids: NewIds::random() });
                }
                Some(Incoming::Cancelled(call)) => self.cancel(call),
                None => {}
            }
        }
    }

    /// Learns which agent it is. Returns how the full names of our tools begin in it.
    fn meet(&mut self, client: McpClient) -> &'static str {
        if let Some(agent) = &self.agent {
            return agent.tool_prefix();
        }
        let sockets = self.socket.as_deref().ok().map(session::address::directory);
        let mut agent = Agent::of_process(client, sockets.as_deref());
        agent.follow();
        let prefix = agent.tool_prefix();
        self.inbox = Inbox::new(agent.takes_channel_events());
        self.agent = Some(agent);
        self.join();
        prefix
    }

    /// Once it is known which session this is: takes its socket, or becomes the proxy of the channel that has it; and once the
    /// client is ready, becomes a peer.
    fn join(&mut self) {
        let Some(agent) = self.agent.as_ref().filter(|agent| agent.is_identified()) else { return };
        let is_peer = self.is_ready && agent.is_interactive();
        if !std::mem::replace(&mut self.has_place, true) {
            self.take_place();
        }
        if is_peer {
            self.connect();
        }
    }

    /// Takes over what the agent says with a tool call. Returns whether a channel has made it, to find its session.
    fn is_of_a_channel(&mut self, meta: &Object) -> bool {
        let Some(agent) = &mut self.agent else { return false };
        let is_of_a_channel = agent.handle_call_meta(meta) == CallOrigin::Channel;
        if !is_of_a_channel && !agent.is_identified() {
            agent.handle_unidentified();
        }
        self.join();
        is_of_a_channel
    }

    /// Connects to the hub for the first time, unless another channel of the session is its peer.
    fn connect(&mut self) {
        let (None, false, Ok(socket), Some(agent)) = (&self.hub, self.place.is_proxy(), &self.socket, &mut self.agent)
        else {
            return;
        };
        agent.look();
        self.inbox.handle_activity(Instant::now(), agent.activity());
        let facts = agent.facts(self.inbox.wakes_by());
        self.hub = Some(Connection::new(ClientConfig {
            socket: socket.clone(),
            named_by: self.named_by,
            program: concat!("relay-channel ", env!("CARGO_PKG_VERSION")).to_owned(),
            kind: ClientKind::Session(Box::new(facts)),
        }));
    }

    /// Takes over what is to be seen of the session from outside.
    fn look(&mut self) {
        self.looks_at = None;
        let Some(agent) = &mut self.agent else { return };
        let change = agent.look();
        self.inbox.handle_activity(Instant::now(), agent.activity());
        self.presence_is_due = true;
        if let (Some(hub), Some(name)) = (&mut self.hub, change.name) {
            hub.ledger().handle_named(name);
        }
    }

    fn take_from_hub(&mut self) {
        while let Some(output) = self.hub.as_mut().and_then(|hub| hub.ledger().poll_output()) {
            match output {
                Output::Answer { call, result } => self.finish(call, result),
                Output::Event(event) => {
                    fault::pass("event.heard");
                    self.handle_event(event);
                    fault::pass("event.handled");
                }
            }
        }
    }

    fn handle_event(&mut self, event: ClientEvent) {
        match event {
            ClientEvent::Ask(ask) => {
                let reply_tool = self.agent.as_ref().map(|agent| agent.tool(tools::REPLY)).unwrap_or_default();
                self.inbox.handle_ask(ask.ask_id, notification::ask(&ask, &reply_tool));
            }
            ClientEvent::Tell(told) => self.inbox.handle_ask(told.tell_id, notification::tell(&told)),
            ClientEvent::Closed { ask_id, kind } => self.inbox.handle_closed(Instant::now(), ask_id, kind),
            ClientEvent::Outcome(outcome) => {
                notification::outcome(&outcome).into_iter().for_each(|message| self.inbox.handle_news(message));
            }
            ClientEvent::Tally(tally) => self.inbox.handle_news(notification::tally(&tally)),
            ClientEvent::ReplyFailed { ask_id, to, error } => {
                self.inbox.handle_news(notification::reply_failed(ask_id, &to, &error));
            }
            ClientEvent::Parked(value) => self.inbox.handle_parked(value),
            ClientEvent::Renamed { name } => tracing::info!(%name, "this session has another name"),
            // Only a program that watches is told.
            ClientEvent::Away | ClientEvent::Watching(_) | ClientEvent::Watched(_) => {}
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        // A stopped agent is not idle, whatever its file says.
        if let Some(agent) = self.agent.as_ref().filter(|agent| agent.is_stopped()) {
            self.inbox.handle_activity(now, Activity::Unknown);
            self.inbox.handle_timeout(now);
            self.inbox.handle_activity(now, agent.activity());
        } else {
            self.inbox.handle_timeout(now);
        }
    }

    /// Hands over what can be handed over now, and tells the hub how far asks have come.
    fn flush(&mut self) {
        // What a call, a timeout or an event has left to be done with readers.
        self.take_incoming(Vec::new());
        self.write_event();
        self.write();
        self.report();
        if let Some(hub) = &mut self.hub {
            hub.flush();
        }
    }

    fn write_event(&mut self) {
        // The inbox lets nothing out before the client is ready.
        if let Some(message) = self.inbox.take_for_channel(Instant::now()) {
            fault::pass("event.shown");
            self.stdio.push(&mcp::channel_event(message), Written::Event);
        }
    }

    fn write(&mut self) {
        loop {
            let mut again = false;
            for written in self.stdio.write() {
                match written {
                    Written::Result(call) => {
                        fault::pass("tool.answered");
                        self.place.taken(call);
                        self.inbox.handle_call_written(call);
                    }
                    Written::Event => {
                        fault::pass("event.written");
                        self.inbox.handle_channel_written(Instant::now(), true);
                    }
                    Written::Other => continue,
                }
                again = true;
            }
            if !again || self.stdio.is_over() {
                return;
            }
            // The next event may have waited for what was written.
            self.write_event();
        }
    }

    /// Tells the hub how far asks have come, and what holds of the session.
    fn report(&mut self) {
        let wakes_by = self.inbox.wakes_by();
        let Some(hub) = &mut self.hub else { return };
        while let Some(progress) = self.inbox.poll_progress() {
            fault::pass("event.reported");
            hub.ledger().handle_progress(progress);
        }
        let is_due = std::mem::take(&mut self.presence_is_due) || self.told_wake.replace(wakes_by) != Some(wakes_by);
        if let Some(agent) = self.agent.as_ref().filter(|_| is_due) {
            hub.ledger().handle_presence(agent.presence(wakes_by));
        }
    }

    /// Leaves: finishes what is being written, takes back what no reader has taken, and parks it for the next channel.
    async fn leave(mut self) {
        let until = tokio::time::Instant::now() + LAST_WRITE_WAIT;
        while self.stdio.unwritten() > 0 && !self.stdio.is_over() {
            self.write();
            if self.stdio.unwritten() > 0 && tokio::time::timeout_at(until, self.stdio.writable()).await.is_err() {
                break;
            }
        }
        self.inbox.handle_reader_gone(Instant::now(), ReaderId::ROUTE);
        let last = self.place.close_all();
        self.take_incoming(last);
        self.report();
        let outlives = self.agent.as_ref().is_some_and(Agent::outlives_channel);
        let part = outlives.then(|| self.inbox.park());
        if let Some(mut hub) = self.hub.take() {
            hub.leave(part).await;
        }
        // Only now the next channel may come: the socket's name goes last.
        drop(self.place);
    }
}
