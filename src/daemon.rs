//! The hub's shell: one task owns the [`Hub`] and everything that it does to the world. No lock, no queue, no second owner.
//!
//! A turn of the loop takes the sources that are ready, reads once from each connection among them, hands what came to the
//! rules, performs the effects, and writes once to each connection that something is for, in the order of the effects.
//! Nothing is read ahead: a client that talks faster than the hub listens, or that does not read its answers, waits until
//! its socket is read again.
//!
//! # Slow readers
//! A connection is congested while much waits to be written to it (`CONGESTED`, until no more than `DRAINED` does):
//! nothing more is read from it, and the rules send it no texts. It is cut when it has taken nothing for
//! [`STUCK_WAIT`](crate::hub::limits::STUCK_WAIT) while more than the limit `queued_bytes` waits for it, here and in the
//! rules. For all connections together at most [`QUEUED_TOTAL_MAX`](crate::hub::limits::QUEUED_TOTAL_MAX) bytes are queued:
//! beyond it the one with the longest queue is cut.
//!
//! # Invariant
//! A connection that was accepted is served. The hub leaves when it has none, or when its program was replaced, which it
//! looks for before it accepts somebody: its clients come back to the new one. Whoever connects meanwhile waits in the
//! listener's backlog, which the service manager keeps: the next hub serves it.

mod accept;
mod admission;
mod connection;
mod descriptors;
mod history;
mod log_throttle;
mod notifier;
mod processes;
mod program;
mod signals;
mod slow_readers;
mod source;
mod traffic;

use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::net::UnixListener as StdListener;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use tokio::task::{unconstrained, yield_now};
use tokio::time::sleep;

use self::accept::Accepting;
use self::connection::{Bytes, Connection, READ_BYTES};
use self::history::HistoryLog;
use self::log_throttle::LogThrottle;
use self::notifier::Notifier;
use self::processes::Processes;
use self::source::Source;
use crate::activation::Acceptor;
use crate::alarm::Alarm;
use crate::deadlines::Deadlines;
use crate::fault;
use crate::hub::{CloseReason, ConnId, Hub, HubInfo, Limits, ProgramStatus};
use crate::ready::ReadyList;

pub use self::program::ProgramFile;
pub use self::signals::Signals;

/// How long a hub that makes room for a new program waits until slow readers have taken what is written to them.
const LEAVE_WAIT: Duration = Duration::from_secs(1);

/// How long a leaving hub tries to write what is still to be written.
const DRAIN_WAIT: Duration = Duration::from_millis(200);

/// How a hub is to run.
#[derive(Debug, Clone)]
pub struct DaemonConfig {
    /// Its limits.
    pub limits: Limits,
    /// After how long without a connection it leaves; never without.
    pub idle_timeout: Option<Duration>,
    /// What clients are told of the program.
    pub program: HubInfo,
    /// Whether a service manager holds the socket and starts the next hub.
    pub activated: bool,
    /// The file that the program was started from.
    pub file: Option<ProgramFile>,
}

/// What is logged of clients at most once a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Logged {
    /// One of another user was turned away, or one that cannot be watched.
    TurnedAway,
    /// One sent what is no message.
    NoMessage,
    /// One was closed.
    Closed(CloseReason),
}

/// Runs a hub on this listener until it is idle or `shutdown` says why it ends.
///
/// # Errors
/// The listener cannot be watched.
pub async fn run(
    listener: StdListener,
    mut config: DaemonConfig,
    shutdown: impl Future<Output = &'static str>,
) -> io::Result<()> {
    let fit = descriptors::make_room(config.limits.connections);
    if fit < config.limits.connections {
        tracing::warn!(fit, wanted = config.limits.connections, "fewer connections fit into the limit of open files");
        config.limits.connections = fit;
    }
    let shutdown = pin!(shutdown);
    let daemon = Daemon::new(Acceptor::new(listener)?, config, shutdown);
    // The loop yields by itself after each turn: the runtime's budget would make it poll in vain within one.
    unconstrained(daemon.serve()).await;
    fault::pass("leave");
    Ok(())
}

struct Daemon<'a> {
    hub: Hub,
    now: Instant,
    accepting: Accepting,
    /// Each message looks a dozen times into it: with 1,000 in a tree that was a sixth of what an ask costs the hub.
    connections: HashMap<ConnId, Box<Connection>>,
    totals: Bytes,
    /// What is read lies here, not with each connection, and not on the stack, all of which would be touched.
    read_room: Box<[MaybeUninit<u8>]>,
    /// The connections that are read in this turn, or in the next.
    to_read: VecDeque<ConnId>,
    /// The connections that are written to at the end of the turn, in the order of the effects.
    to_write: Vec<ConnId>,
    /// The congested connections, and when to look whether they are stuck.
    congested: Deadlines<ConnId>,
    /// How many bytes were queued since something was written.
    queued: usize,
    /// Whether the rules have effects that were not taken yet.
    has_effects: bool,
    processes: Processes,
    ready: ReadyList<Source>,
    alarm: Alarm,
    alarm_waker: Waker,
    shutdown: Pin<&'a mut dyn Future<Output = &'static str>>,
    notifier: Notifier,
    history: HistoryLog,
    queued_bytes: usize,
    log_throttle: LogThrottle<Logged>,
    exiting: bool,
    program_status: ProgramStatus,
    file: Option<ProgramFile>,
    /// Set when the hub makes room for a new program: when it leaves at the latest.
    leaving: Option<Instant>,
}

impl<'a> Daemon<'a> {
    fn new(acceptor: Acceptor, config: DaemonConfig, shutdown: Pin<&'a mut dyn Future<Output = &'static str>>) -> Self {
        let number = |limit| usize::try_from(limit).unwrap_or(usize::MAX);
        let (queued_bytes, connections) = (number(config.limits.queued_bytes), number(config.limits.connections));
        let (now, ready) = (Instant::now(), ReadyList::default());
        let program_status = ProgramStatus { activated: config.activated, replaced: false };
        let mut hub = Hub::new(now, config.limits, config.idle_timeout, config.program);
        hub.set_program_status(program_status);
        hub.set_recorded(HistoryLog::detail());
        Self {
            hub,
            now,
            accepting: Accepting::new(acceptor, ready.waker(Source::Acceptor), connections),
            connections: HashMap::new(),
            totals: Bytes::default(),
            read_room: Box::new_uninit_slice(READ_BYTES),
            to_read: VecDeque::new(),
            to_write: Vec::new(),
            congested: Deadlines::new(),
            queued: 0,
            has_effects: false,
            processes: Processes::new(),
            alarm: Alarm::default(),
            alarm_waker: ready.waker(Source::Alarm),
            ready,
            shutdown,
            notifier: Notifier::new(),
            history: HistoryLog::default(),
            queued_bytes,
            log_throttle: LogThrottle::new(),
            exiting: false,
            program_status,
            file: config.file,
            leaving: None,
        }
    }

    async fn serve(mut self) {
        self.notifier.status(self.now, self.hub.status_line());
        fault::pass("start");
        let mut ready = Vec::new();
        self.handle_ready(Source::Shutdown);
        while !self.exiting {
            if self.is_busy() {
                // Sockets become ready only while the runtime has its turn.
                yield_now().await;
                self.ready.take(&mut ready);
            } else {
                self.ready.wait(&mut ready).await;
            }
            self.now = Instant::now();
            ready.drain(..).for_each(|source| self.handle_ready(source));
            self.turn();
        }
        self.notifier.stopping();
        self.drain().await;
        self.history.write_all();
    }

    /// Returns whether there is something to do for which no source is woken.
    fn is_busy(&mut self) -> bool {
        self.has_effects || !self.to_read.is_empty() || self.accepts() || self.poll_alarm().is_ready()
    }

    /// Looks what a source has that was woken.
    fn handle_ready(&mut self, source: Source) {
        match source {
            Source::Acceptor => self.accepting.handle_ready(),
            // The deadlines are looked at in each turn.
            Source::Alarm => {}
            // Two reasons at once wake it twice, and it says only one.
            Source::Shutdown if self.exiting => {}
            Source::Shutdown => {
                let waker = self.ready.waker(Source::Shutdown);
                if let Poll::Ready(reason) = self.shutdown.as_mut().poll(&mut Context::from_waker(&waker)) {
                    tracing::info!(reason, "told to end");
                    self.exiting = true;
                }
            }
            Source::Process(pid) => {
                for input in self.processes.handle_ended(pid) {
                    self.handle(input);
                }
            }
            Source::Connection(conn) => {
                let Some(connection) = self.connections.get(&conn) else { return };
                if connection.poll_has_room_again().is_ready() {
                    self.will_write(conn);
                }
                self.will_read(conn);
            }
        }
    }

    /// Does what is to be done now, as far as it is one connection's turn, and writes.
    fn turn(&mut self) {
        if !self.has_effects {
            self.handle_due();
            self.accept_pending();
            // What is read now was sent before this time: an ask's deadline counts from it.
            self.now = Instant::now();
            self.read_portions();
        }
        self.perform();
        // A line may take long: what goes to the clients comes first, and the next turn reads the clock again.
        self.history.handle_timeout(self.now);
        self.leave_if_nothing_is_cut();
    }

    /// Does what is due.
    fn handle_due(&mut self) {
        let now = self.now;
        if let Some((_, due)) = self.hub.poll_timeout().filter(|(at, _)| *at <= now) {
            fault::pass_kind("due", due);
            self.hub.handle_timeout(now);
            self.take_effects();
        }
        self.look_for_stuck_readers();
        for input in self.processes.handle_timeout(now) {
            self.handle(input);
        }
        self.notifier.handle_timeout(now);
        self.accepting.handle_timeout(now);
    }

    /// Returns whether a deadline has come. If none has, the alarm wakes the loop at the next one.
    fn poll_alarm(&mut self) -> Poll<()> {
        let due = [
            self.hub.poll_timeout().map(|(at, _)| at),
            self.congested.next(),
            self.processes.poll_timeout(),
            self.notifier.poll_timeout(),
            self.history.poll_timeout(),
            self.accepting.poll_timeout(),
            self.leaving,
        ];
        let next = due.into_iter().flatten().min();
        self.alarm.poll_wait(&mut Context::from_waker(&self.alarm_waker), next)
    }

    /// Leaves, if it is to make room, once everything that is to be written was written.
    fn leave_if_nothing_is_cut(&mut self) {
        let Some(latest) = self.leaving else { return };
        self.exiting |= self.totals.queued == 0 || self.now >= latest;
        if self.exiting {
            fault::pass("replaced");
        }
    }

    /// Writes what is still to be written, as far as the clients take it.
    async fn drain(&mut self) {
        let end = Instant::now() + DRAIN_WAIT;
        while self.connections.values().any(|connection| connection.queued() > 0) && Instant::now() < end {
            self.connections.values_mut().for_each(|connection| connection.flush_last());
            sleep(Duration::from_millis(5)).await;
        }
    }
}
