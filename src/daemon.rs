//! The hub's shell: one task owns the [`Hub`] and everything that it does to the world. No lock, no second owner.
//!
//! A turn of the loop takes the [`Event`]s that are there, reads a portion of each connection that has something to say,
//! hands it to the rules, performs the effects, and writes. Nothing is read ahead: a client that talks faster than the hub
//! listens, or that does not read its answers, waits until its socket is read again.
//!
//! # Invariant
//! A connection that was accepted is served. The hub leaves when it has none, or when its program was replaced, which it
//! looks for before it accepts somebody: its clients come back to the new one. Whoever connects meanwhile waits in the
//! listener's backlog, which the service manager keeps: the next hub serves it.

mod connection;
mod descriptors;
mod inbox;
mod kinship;
mod outbox;
mod program;
mod readiness;
mod seldom;
mod signals;
mod stream;
mod traffic;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::net::UnixListener as StdListener;
use std::time::{Duration, Instant};

use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::{sleep, sleep_until};

use self::connection::{Connection, Credentials, Totals};
use self::readiness::Readiness;
use self::seldom::Seldom;
use self::signals::Signals;
use crate::activation::{Bell, Knock};
use crate::deadlines::Deadlines;
use crate::fault;
use crate::hub::{CloseReason, ConnId, Hub, Input, Limits, Program, Standing};
use crate::watched;

pub use self::program::ProgramFile;

/// How many events may wait for the owner.
const EVENTS_MAX: usize = 256;

/// How many more sockets than connections may be open: of those that are refused, or were closed and are let go of.
const SOCKETS_SPARE: usize = 32;

/// The longest pause after a failed accept.
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// How long a hub that makes room for a new program waits until slow readers have taken what is written to them.
const LEAVE_WAIT: Duration = Duration::from_secs(1);

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
enum Event {
    /// A connection has something to be read.
    Readable(ConnId),
    /// A connection takes bytes again.
    Writable(ConnId),
    /// A process whose end the rules wait for has ended.
    Ended(Input),
}

/// What is logged of clients at most once a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mishap {
    /// One of another user was turned away, or one that cannot be watched.
    TurnedAway,
    /// One sent what is no message.
    NoMessage,
    /// One was closed.
    Closed(CloseReason),
}

/// Runs a hub on this listener until it is idle, told to end, or `lost` to those who would connect.
///
/// # Errors
/// The listener or the signals cannot be used.
pub async fn run(listener: StdListener, mut config: DaemonConfig, lost: impl Future<Output = ()>) -> io::Result<()> {
    fault::pass("start.begun");
    let fit = descriptors::make_room(config.limits.connections);
    if fit < config.limits.connections {
        tracing::warn!(fit, wanted = config.limits.connections, "fewer connections fit into the limit of open files");
        config.limits.connections = fit;
    }
    let bell = Bell::new(listener)?;
    let signals = Signals::new()?;
    let (events, inbox) = mpsc::channel(EVENTS_MAX);
    let number = |limit| usize::try_from(limit).unwrap_or(usize::MAX);
    let (queued_bytes, connections) = (number(config.limits.queued_bytes), number(config.limits.connections));
    let daemon = Daemon {
        hub: Hub::new(Instant::now(), config.limits, config.idle_timeout, config.program),
        connections: BTreeMap::new(),
        totals: Totals::default(),
        readable: BTreeSet::new(),
        dirty: BTreeSet::new(),
        slow: Deadlines::new(),
        queued: 0,
        has_effects: false,
        events,
        readiness: Readiness::new(),
        queued_bytes,
        sockets_max: connections.saturating_add(SOCKETS_SPARE),
        mishaps: Seldom::new(),
        next_conn: 0,
        exiting: false,
        standing: Standing { activated: config.activated, replaced: false },
        file: config.file,
        leaving: None,
    };
    daemon.serve(bell, signals, inbox, lost).await;
    fault::pass("leave.done");
    Ok(())
}

struct Daemon {
    hub: Hub,
    connections: BTreeMap<ConnId, Connection>,
    totals: Totals,
    /// The connections that something is to be read from.
    readable: BTreeSet<ConnId>,
    /// The connections that something was queued for.
    dirty: BTreeSet<ConnId>,
    /// The congested connections, and when to look whether they are stuck.
    slow: Deadlines<ConnId>,
    /// How many bytes were queued since something was written.
    queued: usize,
    /// Whether the rules have effects that were not taken yet.
    has_effects: bool,
    events: mpsc::Sender<Event>,
    readiness: Readiness,
    queued_bytes: usize,
    /// How many sockets may be open before nobody is accepted.
    sockets_max: usize,
    mishaps: Seldom<Mishap>,
    next_conn: u64,
    exiting: bool,
    standing: Standing,
    file: Option<ProgramFile>,
    /// Set when the hub makes room for a new program: when it leaves at the latest.
    leaving: Option<Instant>,
}

impl Daemon {
    async fn serve(
        mut self,
        bell: Bell,
        mut signals: Signals,
        mut inbox: mpsc::Receiver<Event>,
        lost: impl Future<Output = ()>,
    ) {
        let mut lost = std::pin::pin!(lost);
        let mut pause = AcceptPause::default();
        self.hub.set_standing(self.standing);
        self.readiness.status(Instant::now(), self.hub.headline());
        fault::pass("start.ready");
        while !self.exiting {
            let (timer, due) = self.hub.poll_timeout().unzip();
            let notice = self.readiness.poll_timeout();
            tokio::select! {
                Some(event) = inbox.recv() => self.handle_event(event),
                knocked = knock(&bell, pause.until), if self.accepts() => self.handle_knock(knocked, &mut pause),
                () = std::future::ready(()), if self.is_busy() => {}
                () = until(timer) => {
                    fault::pass_kind("due", due.unwrap_or_default());
                    self.handle_timeout(Instant::now());
                }
                () = until(self.slow.next()) => self.handle_stuck(Instant::now()),
                () = until(notice) => self.readiness.handle_timeout(Instant::now()),
                () = until(self.leaving) => {}
                () = &mut lost => {
                    tracing::warn!("the socket's path leads elsewhere: the hub leaves");
                    break;
                }
                name = signals.next() => {
                    tracing::info!(signal = name, "told to end");
                    fault::pass("leave.signal");
                    break;
                }
            }
            // What has come in meanwhile goes into the same turn: one write a connection then carries it all.
            for _ in 0..EVENTS_MAX {
                let Ok(event) = inbox.try_recv() else { break };
                self.handle_event(event);
            }
            self.read_portions();
            fault::pass("turn.handled");
            self.perform().await;
            fault::pass("turn.written");
            self.leave_if_nothing_is_cut();
            if self.is_busy() {
                // Sockets become ready, and those of closed connections are let go of, only while the owner waits.
                yield_now().await;
            }
        }
        fault::pass("leave.begun");
        self.readiness.stopping();
        fault::pass("leave.told");
        self.farewell().await;
    }

    /// Returns whether somebody may connect now; who may not waits in the backlog.
    fn accepts(&self) -> bool {
        self.leaving.is_none() && self.totals.sockets.get() < self.sockets_max
    }

    /// Returns whether there is something to do for which no event comes.
    fn is_busy(&self) -> bool {
        !self.readable.is_empty() || self.totals.sockets.get() > self.connections.len()
    }

    /// Somebody wants to connect. A hub whose program was replaced leaves it to the next one.
    fn handle_knock(&mut self, knocked: io::Result<Knock<'_>>, pause: &mut AcceptPause) {
        fault::pass("knock.heard");
        let replaced = self.file.as_ref().is_some_and(ProgramFile::is_replaced);
        if replaced != self.standing.replaced {
            self.standing.replaced = replaced;
            self.hub.set_standing(self.standing);
        }
        if replaced && self.standing.activated && !self.hub.is_between_channels() {
            tracing::info!("the program was replaced: making room for the new one");
            self.leaving = Some(Instant::now() + LEAVE_WAIT);
            fault::pass("replaced.noticed");
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
        if self.exiting {
            fault::pass("replaced.written");
        }
    }

    fn handle_accepted(&mut self, stream: UnixStream) {
        fault::pass("knock.accepted");
        let watched = |stream: UnixStream| watched::Stream::new(stream.into_std()?);
        let admitted = Credentials::of(&stream).and_then(|credentials| Ok((credentials, watched(stream)?)));
        let (credentials, stream) = match admitted {
            Ok(admitted) => admitted,
            Err(error) => {
                if let Some(passed_over) = self.mishaps.pass(Instant::now(), Mishap::TurnedAway) {
                    tracing::warn!(%error, passed_over, "turned a connection away");
                }
                return;
            }
        };
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        let connection = Connection::new(conn, stream, credentials, &self.totals);
        tracing::debug!(conn = conn.0, pid = credentials.pid, "accepted a connection");
        self.connections.insert(conn, connection);
        self.readable.insert(conn);
        self.tell(Input::Connected { conn });
        fault::pass("knock.connected");
    }

    /// Writes what is still to be written, as far as the clients take it.
    async fn farewell(&mut self) {
        let end = Instant::now() + FAREWELL;
        while self.connections.values().any(|connection| connection.outbox.queued() > 0) && Instant::now() < end {
            for connection in self.connections.values_mut() {
                connection.outbox.handle_writable();
                let _lost = connection.outbox.flush(Instant::now(), &self.events);
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
