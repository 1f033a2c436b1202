//! The channel of one session: an MCP server on stdio that is a peer of the hub.
//!
//! One task owns everything: what the MCP client says, what the hub's client tells, and signals arrive in one place and
//! are handled in turn. Nothing here waits; what takes time runs in a task of its own and comes back as an event. The
//! channel never starts anything, never ends because the hub is away, and leaves at once when its client does.

pub mod client_process;
pub mod companion;
pub mod envelope;
pub mod hook;
pub mod inbox;
pub mod neutralise;
pub mod notification;
pub mod permission;
pub mod receipt;
pub mod server;
pub mod session;
pub mod session_file;
pub mod stdio;
pub mod tools;
pub mod waiter;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rmcp::ServiceExt;
use rmcp::model::{CustomNotification, JsonRpcMessage, RequestId, ServerNotification};
use rmcp::service::{Peer, RoleServer, TxJsonRpcMessage};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use self::inbox::{CallId, Inbox, Word};
use self::server::{Event, Server, ToolResult};
use self::session::Surroundings;
use self::session_file::SessionFile;
use self::stdio::{Outlet, Stdio};
use self::tools::arguments::Call;
use self::tools::result::{Answer, render};
use crate::client::{ClientConfig, ClientEvent, CompanionEvent, HubClient, Inherited, until};
use crate::fault;
use crate::paths::Environment;
use crate::protocol::{Activity, ClientKind, ErrorCode, PeerKey, PeerName, Presence, Refusal, Wake};
use crate::runtime;

/// How long a leaving channel waits until what it is writing is written.
const LAST_WRITE_WAIT: Duration = Duration::from_millis(30);

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
    runtime::run(serve(socket, environment.socket_named_by()))?
}

async fn serve(socket: Result<PathBuf, Refusal>, named_by: Option<&'static str>) -> io::Result<()> {
    let (mut interrupt, mut terminate, mut hangup) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    let (events, mut incoming) = unbounded_channel();
    let stdio = Stdio::of_process(events.clone())?;
    let mut channel = Channel::new(socket, named_by, Surroundings::of_process(), stdio.outlet(), events.clone());
    tokio::task::spawn_local(speak_mcp(stdio, events));
    let reason = loop {
        let timer = channel.inbox.poll_timeout(Instant::now());
        tokio::select! {
            biased;
            _ = interrupt.recv() => break "SIGINT",
            _ = terminate.recv() => break "SIGTERM",
            _ = hangup.recv() => break "SIGHUP",
            Some(event) = incoming.recv() => {
                if matches!(event, Event::Ended) {
                    break "the client is gone";
                }
                channel.handle(event);
            }
            Some(event) = next_of(&mut channel.from_hub) => {
                fault::pass("event.heard");
                channel.handle_client(event);
                fault::pass("event.handled");
            }
            () = until(timer) => channel.inbox.handle_timeout(Instant::now()),
        }
        channel.flush();
    };
    tracing::info!(reason, "leaving");
    channel.finish_writing(&mut incoming).await;
    if let Some(hub) = channel.hub.take() {
        hub.leave(channel.inbox.take_bequests()).await;
    }
    Ok(())
}

/// Runs rmcp until it cannot go on, which only a client that takes no bytes any more can bring about.
async fn speak_mcp(stdio: Stdio, events: UnboundedSender<Event>) {
    match Server::new(events.clone()).serve(stdio).await {
        Ok(running) => {
            running.waiting().await.ok();
        }
        Err(error) => tracing::warn!(%error, "the MCP handshake failed"),
    }
    events.send(Event::Ended).ok();
}

async fn next_of(events: &mut Option<UnboundedReceiver<ClientEvent>>) -> Option<ClientEvent> {
    match events {
        Some(events) => events.recv().await,
        None => std::future::pending().await,
    }
}

/// A tool call whose result is not yet known.
struct Running {
    answer: oneshot::Sender<ToolResult>,
    /// The client does not wait for it any more.
    cancelled: bool,
}

struct Channel {
    socket: Result<PathBuf, Refusal>,
    /// What names the socket, where it is not the service's.
    named_by: Option<&'static str>,
    session: Surroundings,
    /// The client's own file about the session, followed once the session is a peer.
    file: Option<SessionFile>,
    activity: Activity,
    key: PeerKey,
    /// Whether another channel of this session is the peer.
    second: bool,
    hub: Option<HubClient>,
    /// What the hub's client was told last.
    presence: Option<Presence>,
    from_hub: Option<UnboundedReceiver<ClientEvent>>,
    outlet: Outlet,
    inbox: Inbox,
    running: BTreeMap<CallId, Running>,
    events: UnboundedSender<Event>,
}

impl Channel {
    fn new(
        socket: Result<PathBuf, Refusal>,
        named_by: Option<&'static str>,
        session: Surroundings,
        outlet: Outlet,
        events: UnboundedSender<Event>,
    ) -> Self {
        Self {
            socket,
            named_by,
            inbox: Inbox::new(session.takes_channel_events()),
            file: session.file(),
            session,
            activity: Activity::Unknown,
            key: PeerKey::random(),
            second: false,
            hub: None,
            presence: None,
            from_hub: None,
            running: BTreeMap::new(),
            outlet,
            events,
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Initialized { peer } => {
                self.inbox.handle_initialized(Instant::now());
                if !self.session.is_headless() {
                    self.connect(&peer).ok();
                }
            }
            Event::ToolsListed => self.inbox.handle_tools_listed(Instant::now()),
            Event::Called { id, call, answer, peer } => {
                fault::pass("tool.called");
                self.running.insert(call_id(&id), Running { answer, cancelled: false });
                self.start(id, call, &peer);
            }
            Event::Done { id, answer } => {
                fault::pass("tool.done");
                self.finish(&id, answer);
            }
            Event::Cancelled(id) => {
                let id = call_id(&id);
                match self.running.get_mut(&id) {
                    Some(call) => call.cancelled = true,
                    None => self.inbox.handle_call_cancelled(&id),
                }
            }
            Event::Answered(place) => {
                fault::pass("tool.answered");
                if let Some(id) = place.request() {
                    self.inbox.handle_call_written(&call_id(id));
                }
            }
            Event::EventWritten(written) => {
                fault::pass("event.written");
                self.inbox.handle_channel_written(Instant::now(), written);
            }
            Event::SessionFileChanged => self.look_at_file(),
            Event::Ended => {}
        }
    }

    /// Takes note of what was written last, so that nothing of it is left to the next channel to be shown again.
    async fn finish_writing(&mut self, incoming: &mut UnboundedReceiver<Event>) {
        let until = Instant::now() + LAST_WRITE_WAIT;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let wait = if self.inbox.is_writing() { left } else { Duration::ZERO };
            let Ok(Some(event)) = tokio::time::timeout(wait, incoming.recv()).await else { break };
            if matches!(event, Event::EventWritten(_) | Event::Answered(_)) {
                self.handle(event);
            }
        }
        self.tell_progress();
    }

    fn handle_client(&mut self, event: ClientEvent) {
        match event {
            ClientEvent::Ask(ask) => self.inbox.handle_ask(ask.ask_id, notification::ask(&ask)),
            ClientEvent::Closed { ask_id } => self.inbox.handle_closed(ask_id),
            ClientEvent::Outcome(outcome) => self.inbox.handle_news(notification::outcome(&outcome)),
            ClientEvent::Tally(tally) => self.inbox.handle_news(notification::tally(&tally)),
            ClientEvent::ReplyFailed { ask_id, to, error } => {
                self.inbox.handle_news(notification::reply_failed(ask_id, &to, &error));
            }
            // Only a program that watches hears of it.
            ClientEvent::Away | ClientEvent::Watching(_) | ClientEvent::Watched(_) => {}
            ClientEvent::Companion(event) => self.handle_companion(event),
            ClientEvent::Inherited(Inherited::Ask(ask_id)) => self.inbox.handle_inherited(Some(ask_id), None),
            ClientEvent::Inherited(Inherited::Message { ask_id, content, meta }) => {
                self.inbox.handle_inherited(ask_id, Some(notification::Message { content, meta }));
            }
            ClientEvent::Second(second) => self.second = second,
            ClientEvent::Renamed { name } => tracing::info!(%name, "this session has another name"),
        }
    }

    fn handle_companion(&mut self, event: CompanionEvent) {
        let now = Instant::now();
        // Where the system does not tell of the file's changes, this is when it is looked at.
        self.look_at_file();
        match event {
            CompanionEvent::Waiter(tag) => self.inbox.handle_waiter(now, tag),
            CompanionEvent::Hook { by, receipts } => self.inbox.handle_hook(now, by, &receipts),
            CompanionEvent::HookGone(by) => self.inbox.handle_hook_gone(by),
            CompanionEvent::Holding { by, batch } => self.inbox.handle_holding(now, by, batch),
        }
    }

    /// Takes over what the client says of the session in its own file.
    fn look_at_file(&mut self) {
        let Some(change) = self.file.as_mut().and_then(SessionFile::look) else { return };
        self.activity = change.activity;
        self.inbox.handle_activity(Instant::now(), change.activity);
        if let (Some(hub), Some(name)) = (&self.hub, change.name) {
            hub.named(name);
        }
    }

    /// Hands over what can be handed over now, and tells the hub how far asks have come.
    fn flush(&mut self) {
        // The inbox lets nothing out before the client is ready.
        if let Some(message) = self.inbox.take_for_channel(Instant::now()) {
            fault::pass("event.shown");
            let event = CustomNotification::new(notification::METHOD, Some(message.into_params()));
            let event: TxJsonRpcMessage<RoleServer> =
                JsonRpcMessage::notification(ServerNotification::CustomNotification(event));
            let (write, events) = (self.outlet.write(&event), self.events.clone());
            tokio::task::spawn_local(async move {
                events.send(Event::EventWritten(write.await.is_ok())).ok();
            });
        }
        self.tell_progress();
        let Some(hub) = &self.hub else { return };
        while let Some(word) = self.inbox.poll_word() {
            match word {
                Word::Offer(offer) => hub.offer(offer),
                Word::Verdict(verdict) => hub.verdict(verdict),
            }
        }
        let presence = Presence { status: self.activity, wakes_by: self.inbox.wakes_by() };
        // The hub's client is a task of its own, which is not woken for what it knows.
        if self.presence.replace(presence) != Some(presence) {
            hub.presence(presence);
        }
    }

    fn tell_progress(&mut self) {
        while let Some((ask_id, state)) = self.inbox.poll_progress() {
            if let Some(hub) = &self.hub {
                fault::pass("event.reported");
                hub.progress(ask_id, state);
            }
        }
    }

    /// Returns the hub's client, which connects by itself from the first time on.
    fn connect(&mut self, client: &Peer<RoleServer>) -> Result<HubClient, Refusal> {
        if let Some(hub) = &self.hub {
            return Ok(hub.clone());
        }
        let mut facts = self.session.facts(server::client_of(client));
        if let Some(change) = self.file.as_mut().and_then(SessionFile::look) {
            self.activity = change.activity;
            self.inbox.handle_activity(Instant::now(), change.activity);
            facts.name = change.name.and_then(|name| PeerName::parse(&name).ok());
        }
        facts.presence = Presence { status: self.activity, wakes_by: self.inbox.wakes_by() };
        if let Some(file) = &self.file {
            let (path, events) = (file.path().to_owned(), self.events.clone());
            let changed = move || events.send(Event::SessionFileChanged).is_ok();
            tokio::task::spawn_local(session_file::follow(path, changed));
        }
        let (hub, events) = HubClient::start(ClientConfig {
            socket: self.socket.clone()?,
            named_by: self.named_by,
            key: self.key,
            program: concat!("relay-channel ", env!("CARGO_PKG_VERSION")).to_owned(),
            kind: ClientKind::Channel(facts),
        });
        self.from_hub = Some(events);
        Ok(self.hub.insert(hub).clone())
    }

    fn start(&mut self, id: RequestId, call: Result<Call, Refusal>, client: &Peer<RoleServer>) {
        let ready = call.and_then(|call| Ok((call, self.connect(client)?)));
        let (call, hub) = match ready {
            Ok(ready) => ready,
            Err(refusal) => return self.finish(&id, Err(refusal)),
        };
        if let Call::Reply { ask_id, .. } = &call {
            self.inbox.handle_answered(*ask_id);
        }
        let events = self.events.clone();
        tokio::task::spawn_local(async move {
            let answer = perform(&hub, call).await;
            events.send(Event::Done { id, answer }).ok();
        });
    }

    fn finish(&mut self, id: &RequestId, answer: Result<Answer, Refusal>) {
        let id = call_id(id);
        let Some(call) = self.running.remove(&id) else { return };
        if call.cancelled {
            self.withdraw(&answer);
            return;
        }
        if let Ok(Answer::Replied(replied)) = &answer
            && replied.taken
        {
            self.inbox.handle_closed(replied.ask_id);
        }
        let is_error = answer.is_err();
        // What wakes the session is then the other channel's to know.
        let wakes_by = if self.second { Wake::Waiter } else { self.inbox.wakes_by() };
        let json = render(answer, wakes_by, self.inbox.take_for_call(id.clone(), is_error));
        if call.answer.send(ToolResult { json, is_error }).is_err() {
            self.inbox.handle_call_cancelled(&id);
        }
    }

    /// Takes back an ask whose call was cancelled: its model will never learn of it.
    fn withdraw(&self, answer: &Result<Answer, Refusal>) {
        let Some(hub) = &self.hub else { return };
        match answer {
            Ok(Answer::Asked(asked, _)) => hub.withdraw(asked.ask_id),
            Ok(Answer::Broadcasted(broadcast, _)) => broadcast.asks.iter().for_each(|asked| hub.withdraw(asked.ask_id)),
            Ok(Answer::Peers(_) | Answer::Replied(_) | Answer::Renamed(_)) | Err(_) => {}
        }
    }
}

async fn perform(hub: &HubClient, call: Call) -> Result<Answer, Refusal> {
    Ok(match call {
        Call::Peers => Answer::Peers(hub.peers().await?),
        Call::Ask { to, question, timeout } => Answer::Asked(hub.ask(to, question, timeout).await?, timeout.as_secs()),
        Call::Reply { ask_id, text } => Answer::Replied(hub.reply(ask_id, text).await?),
        Call::Broadcast { question, timeout } => {
            Answer::Broadcasted(hub.broadcast(question, timeout).await?, timeout.as_secs())
        }
        Call::Rename { name } => Answer::Renamed(hub.rename(name).await?),
    })
}

fn call_id(id: &RequestId) -> CallId {
    id.clone().into_json_value().to_string()
}
