//! Moves the ledger's bytes and time: connects, reads, writes, and connects again.

use std::collections::BTreeMap;
use std::io;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use super::ClientEvent;
use super::backoff::Backoff;
use super::call::{Answer, Call, CallId, Output};
use super::ledger::Ledger;
use super::timer::until;
use super::wire;
use crate::fault;
use crate::protocol::codec::{FrameBuffer, HUB_FRAME_MAX_BYTES, decode, encode};
use crate::protocol::{AskId, AskState, Bequest, Offer, Presence, Refusal, Verdict};
use crate::watched::Stream;

/// What the handle wants of the link.
#[derive(Debug)]
pub(super) enum Command {
    Call(Call, oneshot::Sender<Result<Answer, Refusal>>),
    Progress(AskId, AskState),
    Presence(Presence),
    Named(String),
    Offer(Offer),
    Verdict(Verdict),
    Withdraw(AskId),
    Bye(Vec<Bequest>, oneshot::Sender<()>),
}

/// Why a connection is over.
enum End {
    /// It was lost: connect again.
    Lost,
    /// The program leaves.
    Left,
}

/// The shell around a [`Ledger`].
#[derive(Debug)]
pub(super) struct Link {
    ledger: Ledger,
    commands: mpsc::UnboundedReceiver<Command>,
    events: mpsc::UnboundedSender<ClientEvent>,
    waiting: BTreeMap<CallId, oneshot::Sender<Result<Answer, Refusal>>>,
    leaving: Option<oneshot::Sender<()>>,
    next_call: u64,
}

impl Link {
    pub(super) const fn new(
        ledger: Ledger,
        commands: mpsc::UnboundedReceiver<Command>,
        events: mpsc::UnboundedSender<ClientEvent>,
    ) -> Self {
        Self { ledger, commands, events, waiting: BTreeMap::new(), leaving: None, next_call: 0 }
    }

    /// Runs until the program says bye or drops its handle.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::default();
        while let Some(stream) = self.connect(&mut backoff).await {
            fault::pass("link.connected");
            self.ledger.handle_connected();
            let mut welcomed = None;
            let end = self.converse(&stream, &mut welcomed).await;
            let now = Instant::now();
            backoff.handle_lost(now, welcomed);
            self.ledger.handle_disconnected(now);
            if matches!(end, End::Left) {
                break;
            }
            tracing::debug!("the connection to the hub was lost");
        }
        if let Some(done) = self.leaving {
            let _nobody_waits = done.send(());
        }
    }

    /// Tries until there is a connection; `None` when the program leaves.
    async fn connect(&mut self, backoff: &mut Backoff) -> Option<Stream> {
        loop {
            let pause = sleep(backoff.next_pause(getrandom::u32().unwrap_or(0)));
            tokio::pin!(pause);
            loop {
                self.settle();
                let timer = self.ledger.poll_timeout();
                tokio::select! {
                    biased;
                    command = self.commands.recv() => {
                        if matches!(self.handle_command(command), Some(End::Left)) {
                            return None;
                        }
                    }
                    () = &mut pause => break,
                    () = until(timer) => self.ledger.handle_timeout(Instant::now()),
                }
            }
            match Stream::connect(self.ledger.socket()).await {
                Ok(stream) => {
                    self.ledger.handle_listener(Instant::now(), false);
                    return Some(stream);
                }
                Err(error) => {
                    let missing = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused);
                    self.ledger.handle_listener(Instant::now(), missing);
                    tracing::debug!(%error, "could not connect to the hub");
                }
            }
        }
    }

    async fn converse(&mut self, stream: &Stream, welcomed: &mut Option<Instant>) -> End {
        let mut input = FrameBuffer::default();
        let mut output = Vec::new();
        loop {
            self.settle();
            while let Some(message) = self.ledger.poll_message() {
                encode(&message, &mut output);
            }
            if wire::write(stream, &mut output).is_err() {
                return End::Lost;
            }
            fault::pass("link.written");
            if self.leaving.is_some() && output.is_empty() {
                return End::Left;
            }
            let timer = self.ledger.poll_timeout();
            tokio::select! {
                biased;
                () = stream.readable() => {
                    if self.read(stream, &mut input).is_err() {
                        return End::Lost;
                    }
                    if welcomed.is_none() && self.ledger.is_up() {
                        *welcomed = Some(Instant::now());
                    }
                }
                command = self.commands.recv(), if self.leaving.is_none() => {
                    let dropped = command.is_none();
                    let leaves = self.handle_commands(command).is_some();
                    if leaves && (dropped || !self.ledger.is_up()) {
                        return End::Left;
                    }
                }
                () = stream.writable(), if !output.is_empty() => {}
                () = until(timer) => self.ledger.handle_timeout(Instant::now()),
            }
        }
    }

    /// Takes what is there. The end of the stream is an error as well.
    fn read(&mut self, stream: &Stream, input: &mut FrameBuffer) -> io::Result<()> {
        let is_over = wire::read(stream, input);
        fault::pass("link.read");
        while let Some(frame) = input.next_frame(HUB_FRAME_MAX_BYTES) {
            match frame.and_then(decode) {
                Ok(message) => self.ledger.handle_message(Instant::now(), message),
                Err(error) if error.is_fatal() => {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
                // A message of a newer hub that this client does not know: the rest goes on.
                Err(error) => tracing::warn!(%error, "passed over a message of the hub"),
            }
        }
        if is_over { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    /// Takes a command and those that wait behind it: one write then carries what they say.
    fn handle_commands(&mut self, first: Option<Command>) -> Option<End> {
        let mut end = self.handle_command(first);
        while end.is_none()
            && let Ok(command) = self.commands.try_recv()
        {
            end = self.handle_command(Some(command));
        }
        end
    }

    fn handle_command(&mut self, command: Option<Command>) -> Option<End> {
        match command {
            Some(Command::Call(call, reply)) => {
                let id = CallId(self.next_call);
                self.next_call += 1;
                self.waiting.insert(id, reply);
                self.ledger.handle_call(Instant::now(), id, call);
            }
            Some(Command::Progress(ask_id, state)) => self.ledger.handle_progress(ask_id, state),
            Some(Command::Presence(presence)) => self.ledger.handle_presence(presence),
            Some(Command::Named(name)) => self.ledger.handle_named(name),
            Some(Command::Offer(offer)) => self.ledger.handle_offer(offer),
            Some(Command::Verdict(verdict)) => self.ledger.handle_verdict(verdict),
            Some(Command::Withdraw(ask_id)) => self.ledger.handle_withdraw(ask_id),
            Some(Command::Bye(messages, done)) => {
                self.ledger.handle_leave(Instant::now(), messages);
                self.ledger.handle_bye();
                self.leaving = Some(done);
                return Some(End::Left);
            }
            None => return Some(End::Left),
        }
        None
    }

    /// Hands the ledger's outputs to the program.
    fn settle(&mut self) {
        while let Some(output) = self.ledger.poll_output() {
            match output {
                Output::Answer { call, result } => {
                    if let Some(reply) = self.waiting.remove(&call) {
                        let _caller_has_gone = reply.send(result);
                    }
                }
                Output::Event(event) => {
                    let _program_leaves = self.events.send(event);
                }
            }
        }
    }
}
