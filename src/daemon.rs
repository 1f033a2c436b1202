//! The hub's shell: one task owns the [`Hub`] and everything that it does to the world. No lock, no second owner.
//!
//! The loop takes one [`Event`] at a time, hands it to the rules, performs the effects, and writes. What is read comes
//! from one task a connection; how much it may read ahead is bounded by the queue between them, which is how a client
//! that talks faster than the hub listens is slowed down.
//!
//! # Invariant
//! A connection that was accepted is served. The hub leaves when it has none, or when its program was replaced, which it
//! looks for before it accepts somebody: its clients come back to the new one. Whoever connects meanwhile waits in the
//! listener's backlog, which the service manager keeps: the next hub serves it.

mod connection;
mod outbox;
mod program;
mod readiness;
mod signals;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::net::UnixListener as StdListener;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{sleep, sleep_until};

use self::connection::{Credentials, reader};
use self::outbox::Outbox;
use self::readiness::Readiness;
use self::signals::Signals;
use crate::activation::{Bell, Knock};
use crate::hub::{CloseReason, ConnId, Effect, Hub, Input, Limits, Program, Standing};

pub use self::program::ProgramFile;

/// How many events may wait for the owner: what readers may read ahead.
const EVENTS_MAX: usize = 256;

/// The longest pause after a failed accept.
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// How long a hub that makes room for a new program waits until slow readers have taken what is written to them.
const LEAVE_WAIT: Duration = Duration::from_secs(1);

/// The most bytes that wait to be written to all connections together.
const QUEUED_TOTAL_MAX: usize = 32 * 1024 * 1024;

/// From how many bytes on a connection's queue counts for [`QUEUED_TOTAL_MAX`].
const QUEUED_NOTABLE: usize = 64 * 1024;

/// How long a leaving hub tries to write what is still to be written.
const FAREWELL: Duration = Duration::from_millis(200);

/// How a hub is to run.
#[derive(Debug, Clone)]
pub struct DaemonConfig {
    /// Its limits.
    pub limits: Limits,
    /// After how long without a connection it leaves; never without.
    pub idle_timeout: Option<Duration>,
    /// What clients are told of the program.
    pub program: Program,
    /// Whether a service manager holds the socket and starts the next hub.
    pub activated: bool,
    /// The file that the program was started from.
    pub file: Option<ProgramFile>,
}

/// Something that the owner has to deal with.
#[derive(Debug)]
pub(crate) enum Event {
    /// Something for the rules.
    Input(Input),
    /// A connection takes bytes again.
    Writable(ConnId),
}

/// A connection as the owner sees it.
#[derive(Debug)]
struct Connection {
    outbox: Outbox,
    reader: AbortHandle,
    credentials: Credentials,
}

/// Runs a hub on this listener until it is idle or told to end.
///
/// # Errors
/// The listener or the signals cannot be used.
pub async fn run(listener: StdListener, config: DaemonConfig) -> io::Result<()> {
    let bell = Bell::new(listener)?;
    let signals = Signals::new()?;
    let (events, inbox) = mpsc::channel(EVENTS_MAX);
    let queued_bytes = usize::try_from(config.limits.queued_bytes).unwrap_or(usize::MAX);
    let daemon = Daemon {
        hub: Hub::new(Instant::now(), config.limits, config.idle_timeout, config.program),
        connections: BTreeMap::new(),
        dirty: BTreeSet::new(),
        events,
        readiness: Readiness::new(),
        queued_bytes,
        next_conn: 0,
        exiting: false,
        standing: Standing { activated: config.activated, replaced: false },
        file: config.file,
        leaving: None,
    };
    daemon.serve(bell, signals, inbox).await;
    Ok(())
}

struct Daemon {
    hub: Hub,
    connections: BTreeMap<ConnId, Connection>,
    /// The connections that something was queued for in this turn.
    dirty: BTreeSet<ConnId>,
    events: mpsc::Sender<Event>,
    readiness: Readiness,
    queued_bytes: usize,
    next_conn: u64,
    exiting: bool,
    standing: Standing,
    file: Option<ProgramFile>,
    /// Set when the hub makes room for a new program: when it leaves at the latest.
    leaving: Option<Instant>,
}

impl Daemon {
    async fn serve(mut self, bell: Bell, mut signals: Signals, mut inbox: mpsc::Receiver<Event>) {
        let mut pause = AcceptPause::default();
        self.hub.set_standing(self.standing);
        self.readiness.ready(self.hub.headline());
        while !self.exiting {
            let timer = self.hub.poll_timeout().map(|(at, _)| at);
            let notice = self.readiness.poll_timeout();
            tokio::select! {
                Some(event) = inbox.recv() => self.handle_event(event),
                knocked = knock(&bell, pause.until), if self.leaving.is_none() => {
                    self.handle_knock(knocked, &mut pause);
                }
                () = until(timer) => self.hub.handle_timeout(Instant::now()),
                () = until(notice) => self.readiness.handle_timeout(Instant::now()),
                () = until(self.leaving) => {}
                name = signals.next() => {
                    tracing::info!(signal = name, "told to end");
                    break;
                }
            }
            // What has come in meanwhile goes into the same turn: one write a connection then carries it all.
            for _ in 0..EVENTS_MAX {
                let Ok(event) = inbox.try_recv() else { break };
                self.handle_event(event);
            }
            self.perform();
            self.leave_if_nothing_is_cut();
        }
        self.readiness.stopping();
        self.farewell().await;
    }

    /// Somebody wants to connect. A hub whose program was replaced leaves it to the next one.
    fn handle_knock(&mut self, knocked: io::Result<Knock<'_>>, pause: &mut AcceptPause) {
        let replaced = self.file.as_ref().is_some_and(ProgramFile::is_replaced);
        if replaced != self.standing.replaced {
            self.standing.replaced = replaced;
            self.hub.set_standing(self.standing);
        }
        if replaced && self.standing.activated && !self.hub.is_between_channels() {
            tracing::info!("the program was replaced: making room for the new one");
            self.leaving = Some(Instant::now() + LEAVE_WAIT);
            return;
        }
        let accepted = knocked.and_then(|mut knock| knock.answer()?.map(UnixStream::from_std).transpose());
        match accepted {
            Ok(stream) => {
                *pause = AcceptPause::default();
                stream.into_iter().for_each(|stream| self.handle_accepted(stream));
            }
            Err(error) => {
                pause.lengthen();
                tracing::error!(%error, "could not accept a connection");
            }
        }
    }

    /// Leaves, if it is to make room, once everything that is to be written was written.
    fn leave_if_nothing_is_cut(&mut self) {
        let Some(latest) = self.leaving else { return };
        let is_written = self.connections.values().all(|connection| connection.outbox.queued() == 0);
        self.exiting |= is_written || Instant::now() >= latest;
    }

    fn handle_accepted(&mut self, stream: UnixStream) {
        let credentials = match Credentials::of(&stream) {
            Ok(credentials) => credentials,
            Err(error) => {
                tracing::warn!(%error, "turned a connection away");
                return;
            }
        };
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        let stream = Rc::new(stream);
        let reading = tokio::task::spawn_local(reader(conn, Rc::clone(&stream), self.events.clone()));
        let connection = Connection { outbox: Outbox::new(conn, stream), reader: reading.abort_handle(), credentials };
        tracing::debug!(conn = conn.0, pid = credentials.pid, "accepted a connection");
        self.connections.insert(conn, connection);
        self.hub.handle(Instant::now(), Input::Connected { conn });
    }

    fn handle_event(&mut self, event: Event) {
        match event {
            Event::Input(input) => {
                if let Input::Disconnected { conn } = input {
                    self.drop_connection(conn);
                }
                if let Input::Malformed { conn, error } = &input {
                    // Not the error itself: it quotes what was sent.
                    tracing::warn!(conn = conn.0, what = error.kind(), "a client sent what is no message");
                }
                self.hub.handle(Instant::now(), input);
            }
            Event::Writable(conn) => {
                if let Some(connection) = self.connections.get_mut(&conn) {
                    connection.outbox.handle_writable();
                    self.dirty.insert(conn);
                }
            }
        }
        self.take_effects();
    }

    /// Performs what the rules want done, until nothing is left to do.
    fn perform(&mut self) {
        loop {
            self.take_effects();
            let dirty = std::mem::take(&mut self.dirty);
            if dirty.is_empty() {
                break;
            }
            for conn in dirty {
                self.flush(conn);
            }
        }
        self.readiness.status(Instant::now(), self.hub.headline());
    }

    fn take_effects(&mut self) {
        while let Some(effect) = self.hub.poll_effect() {
            match effect {
                Effect::Send { conn, message } => {
                    if let Some(connection) = self.connections.get_mut(&conn) {
                        connection.outbox.push(&message);
                        self.dirty.insert(conn);
                    }
                }
                Effect::Close { conn, reason } => self.close(conn, reason),
                Effect::Watch { process } => connection::watch_client(process, self.events.clone()),
                Effect::Exit => self.exiting = true,
            }
        }
    }

    fn flush(&mut self, conn: ConnId) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let flushed = connection.outbox.flush(&self.events);
        let queued = connection.outbox.queued();
        let lost = match flushed {
            Ok(()) if queued > self.queued_bytes || self.is_among_too_much(queued) => {
                let limit = self.queued_bytes;
                tracing::warn!(conn = conn.0, queued, limit, "cut a connection: its reader is too slow");
                self.hub.count_slow_reader();
                true
            }
            Ok(()) => false,
            Err(error) => {
                tracing::debug!(conn = conn.0, %error, "a connection cannot be written to");
                true
            }
        };
        if lost {
            self.drop_connection(conn);
            self.hub.handle(Instant::now(), Input::Disconnected { conn });
            self.take_effects();
        }
    }

    /// Returns whether all queues together are too long and this one is a notable part of it: many slow readers
    /// must not grow the hub either. Looked at only for a connection that is slow already.
    fn is_among_too_much(&self, queued: usize) -> bool {
        let all = || self.connections.values().map(|connection| connection.outbox.queued()).sum::<usize>();
        queued > QUEUED_NOTABLE && all() > QUEUED_TOTAL_MAX
    }

    fn close(&mut self, conn: ConnId, reason: CloseReason) {
        let level_bad = !matches!(reason, CloseReason::Bye | CloseReason::Superseded);
        if let Some(mut connection) = self.connections.remove(&conn) {
            connection.reader.abort();
            // One try: a client that is being closed cannot make the hub wait for it.
            connection.outbox.flush_last();
            if level_bad {
                tracing::warn!(conn = conn.0, pid = connection.credentials.pid, ?reason, "closed a connection");
            }
        }
    }

    /// Forgets a connection that is over, and watches for the end of its process.
    fn drop_connection(&mut self, conn: ConnId) {
        if let Some(connection) = self.connections.remove(&conn) {
            connection.reader.abort();
            connection::watch_process(conn, connection.credentials, self.events.clone());
        }
    }

    /// Writes what is still to be written, as far as the clients take it.
    async fn farewell(&mut self) {
        let end = Instant::now() + FAREWELL;
        while self.connections.values().any(|connection| connection.outbox.queued() > 0) && Instant::now() < end {
            for connection in self.connections.values_mut() {
                connection.outbox.handle_writable();
                let _lost = connection.outbox.flush(&self.events);
            }
            sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Returns when somebody wants to connect, after a pause.
async fn knock(bell: &Bell, after: Option<Instant>) -> io::Result<Knock<'_>> {
    if let Some(after) = after {
        sleep_until(after.into()).await;
    }
    bell.knock().await
}

/// The pause after a failed accept, without which a hub that is out of descriptors would spin.
#[derive(Debug, Default)]
struct AcceptPause {
    length: Duration,
    until: Option<Instant>,
}

impl AcceptPause {
    fn lengthen(&mut self) {
        self.length = (self.length * 2).clamp(Duration::from_millis(10), ACCEPT_PAUSE_MAX);
        self.until = Some(Instant::now() + self.length);
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
