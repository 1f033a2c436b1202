//! The client side of the socket, shared by the channel and `relayctl`: hello, requests, events, reconnect and replay.
//!
//! `ledger` holds the rules: which asks are open, what is said again after a reconnect, which outcome an ask has.
//! It is pure, and the guarantor of the promise that every ask ends in exactly one outcome.
//! `link` moves its bytes and its time. [`HubClient`] is the handle that the programs hold.

mod backoff;
pub mod call;
pub mod ledger;
mod link;
mod outgoing;
mod received;
mod refusal;
mod seat;
mod sent;
mod timer;
pub(crate) mod wire;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot};

use self::call::{Answer, Call};
use self::ledger::Ledger;
use self::link::{Command, Link};
use crate::protocol::{
    AskEvent, AskId, AskState, Bequest, BroadcastId, BroadcastRefusal, ClientKind, ErrorCode, Offer, PeerKey, PeerName,
    PeerTag, PeersAnswer, Presence, Receipt, Refusal, StatusAnswer, Verdict, WatchedEvent, WatchingAnswer,
};

pub(crate) use self::backoff::Backoff;
pub use self::backoff::RECONNECT_CAP;
pub use self::received::REPLY_WAIT;
pub use self::sent::DEADLINE_SLACK;
pub(crate) use self::timer::until;

/// How long a leaving client waits until the hub was told.
const BYE_WAIT: Duration = Duration::from_millis(100);

/// What a client needs to know to connect and to say who it is.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// The hub's socket.
    pub socket: PathBuf,
    /// What names it, an option or a variable; none where it is the service's.
    pub named_by: Option<&'static str>,
    /// The secret identity of this client.
    pub key: PeerKey,
    /// The program and its version, for people.
    pub program: String,
    /// What the client is.
    pub kind: ClientKind,
}

/// An accepted ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The ask.
    pub ask_id: AskId,
    /// The name of the asked peer.
    pub to: PeerName,
    /// How far it has come.
    pub state: AskState,
}

/// An accepted broadcast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broadcasted {
    /// The broadcast.
    pub broadcast_id: BroadcastId,
    /// The asks that were accepted.
    pub asks: Vec<Asked>,
    /// The peers that could not be asked.
    pub refused: Vec<BroadcastRefusal>,
}

/// What became of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replied {
    /// The ask that was answered.
    pub ask_id: AskId,
    /// Who asked.
    pub to: String,
    /// Whether the asker has it: `false` while it is kept and will be handed over, or its failure told.
    pub taken: bool,
}

/// Something that happened without being requested, or the end of something that was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientEvent {
    /// Somebody asks this session: never the same ask twice.
    Ask(AskEvent),
    /// A received ask has ended: nobody waits for its reply any more.
    Closed {
        /// The ask.
        ask_id: AskId,
    },
    /// An own ask has ended: exactly once an ask.
    Outcome(Outcome),
    /// The last ask of an own broadcast has ended: once a broadcast, after the outcome of its last ask.
    Tally(Tally),
    /// A reply that was said to be pending could not be handed over.
    ReplyFailed {
        /// The ask that was answered.
        ask_id: AskId,
        /// Who had asked.
        to: String,
        /// Why.
        error: Refusal,
    },
    /// The session has another name.
    Renamed {
        /// The name that it has now.
        name: PeerName,
    },
    /// The client watches and its connection was lost: nothing is told until it is found again.
    Away,
    /// The client watches again after its connection was lost: the whole state.
    Watching(WatchingAnswer),
    /// What is watched has changed.
    Watched(WatchedEvent),
    /// Something about the waiter or the hooks of this session.
    Companion(CompanionEvent),
    /// Another channel of the session has left something to this one.
    Inherited(Inherited),
    /// Whether this channel is its session's second: another one is the peer, and is told what comes of its asks.
    Second(bool),
}

/// What another channel of the session has left to this one's program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inherited {
    /// A received ask that the session was given before.
    Ask(AskId),
    /// A message that the session was not shown yet.
    Message {
        /// The received ask that it is; none for what became of own asks.
        ask_id: Option<AskId>,
        /// The text, as it is to be shown.
        content: String,
        /// What it is.
        meta: Map<String, Value>,
    },
}

/// What a channel is told of its companions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CompanionEvent {
    /// Which waiter the session has now.
    Waiter(Option<PeerTag>),
    /// A hook has come and can show text.
    Hook {
        /// The hook.
        by: PeerTag,
        /// What its client is about to put before the model.
        receipts: Vec<Receipt>,
    },
    /// A hook has left.
    HookGone(PeerTag),
    /// A companion has a batch and waits for the verdict.
    Holding {
        /// The companion.
        by: PeerTag,
        /// The batch.
        batch: u64,
    },
}

/// How an own ask ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The ask.
    pub ask_id: AskId,
    /// Whom it had been asked.
    pub to: PeerName,
    /// The broadcast that it belonged to.
    pub broadcast_id: Option<BroadcastId>,
    /// The end.
    pub end: End,
}

/// The one outcome of an ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It was answered.
    Reply {
        /// The name that the answering peer has now.
        from: PeerName,
        /// The text.
        text: String,
    },
    /// It was not answered.
    Failed {
        /// `timeout` or `peer_gone`.
        code: ErrorCode,
        /// How far it had come.
        state: AskState,
    },
}

/// How a broadcast ended. The four counts sum to `asked`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// The broadcast.
    pub broadcast_id: BroadcastId,
    /// The peers that were there.
    pub asked: u64,
    /// The asks that were answered.
    pub replied: u64,
    /// The asks that timed out.
    pub timed_out: u64,
    /// The asks whose peer went away.
    pub gone: u64,
    /// The peers that could not be asked.
    pub refused: u64,
}

/// A handle to the hub: cheap to clone. When the last one is dropped the connection is closed.
#[derive(Debug, Clone)]
pub struct HubClient {
    commands: mpsc::UnboundedSender<Command>,
}

impl HubClient {
    /// Starts a client as a task of this thread's runtime; it connects by itself, and again whenever it must.
    pub fn start(config: ClientConfig) -> (Self, mpsc::UnboundedReceiver<ClientEvent>) {
        let (commands, inbox) = mpsc::unbounded_channel();
        let (events, outbox) = mpsc::unbounded_channel();
        tokio::task::spawn_local(Link::new(Ledger::new(config), inbox, events).run());
        (Self { commands }, outbox)
    }

    /// Returns the peers.
    ///
    /// # Errors
    /// `hub_unreachable` where no hub answers in time.
    pub async fn peers(&self) -> Result<PeersAnswer, Refusal> {
        let Answer::Peers(answer) = self.call(Call::Peers).await? else { return Err(misplaced()) };
        Ok(answer)
    }

    /// Returns the hub's state.
    ///
    /// # Errors
    /// `hub_unreachable` where no hub answers in time.
    pub async fn status(&self) -> Result<StatusAnswer, Refusal> {
        let Answer::Status(answer) = self.call(Call::Status).await? else { return Err(misplaced()) };
        Ok(answer)
    }

    /// Returns the traffic as it is, and tells each change as [`ClientEvent::Watched`] from then on, for good: after a
    /// reconnect the whole state comes as [`ClientEvent::Watching`], with [`ClientEvent::Away`] before it.
    ///
    /// # Errors
    /// `hub_unreachable` where no hub answers in time.
    pub async fn watch(&self, text: bool) -> Result<WatchingAnswer, Refusal> {
        let Answer::Watching(answer) = self.call(Call::Watch { text }).await? else { return Err(misplaced()) };
        Ok(answer)
    }

    /// Asks a peer. Returns as soon as the hub has the ask; the outcome comes as [`ClientEvent::Outcome`].
    ///
    /// # Errors
    /// The ask was not accepted and will not be: `peer_not_found`, `bad_args`, `too_large`, `rate_limited`, `peer_busy`,
    /// `loop_detected` or `hub_unreachable`.
    pub async fn ask(&self, to: String, question: String, timeout: Duration) -> Result<Asked, Refusal> {
        let Answer::Asked(asked) = self.call(Call::Ask { ask_id: AskId::random(), to, question, timeout }).await?
        else {
            return Err(misplaced());
        };
        Ok(asked)
    }

    /// Asks every other peer. The outcomes come one by one, then the [`Tally`].
    ///
    /// # Errors
    /// As for [`HubClient::ask`]; nobody there is no error.
    pub async fn broadcast(&self, question: String, timeout: Duration) -> Result<Broadcasted, Refusal> {
        let Answer::Broadcasted(broadcasted) =
            self.call(Call::Broadcast { broadcast_id: BroadcastId::random(), question, timeout }).await?
        else {
            return Err(misplaced());
        };
        Ok(broadcasted)
    }

    /// Answers a received ask. Waits two seconds at most for the asker to take it.
    ///
    /// # Errors
    /// `unknown_ask`, `too_large` or `bad_args`.
    pub async fn reply(&self, ask_id: AskId, text: String) -> Result<Replied, Refusal> {
        let Answer::Replied(replied) = self.call(Call::Reply { ask_id, text }).await? else { return Err(misplaced()) };
        Ok(replied)
    }

    /// Renames this session and returns the name that it now has.
    ///
    /// # Errors
    /// `name_taken`, `bad_args` or `hub_unreachable`.
    pub async fn rename(&self, name: String) -> Result<PeerName, Refusal> {
        let Answer::Renamed(name) = self.call(Call::Rename { name }).await? else { return Err(misplaced()) };
        Ok(name)
    }

    /// Tells how far a received ask has come; the hub is told again after each reconnect.
    pub fn progress(&self, ask_id: AskId, state: AskState) {
        self.command(Command::Progress(ask_id, state));
    }

    /// Tells what the session does and how it can be woken; the hub is told again after each reconnect.
    pub fn presence(&self, presence: Presence) {
        self.command(Command::Presence(presence));
    }

    /// Follows the name that the session's user gave it in its client; one that is held gets a suffix. The hub is told
    /// again after each reconnect until it has named the session.
    pub fn named(&self, name: String) {
        self.command(Command::Named(name));
    }

    /// Gives a companion text that it may have to show. Nothing is said again after a reconnect: the companion that is
    /// back is a reason to offer again.
    pub fn offer(&self, offer: Offer) {
        self.command(Command::Offer(offer));
    }

    /// Tells a companion what to do with the batch that it holds.
    pub fn verdict(&self, verdict: Verdict) {
        self.command(Command::Verdict(verdict));
    }

    /// Ends an own ask without an outcome.
    pub fn withdraw(&self, ask_id: AskId) {
        self.command(Command::Withdraw(ask_id));
    }

    /// Leaves in order; returns when the hub was told, after a tenth of a second at the latest.
    pub async fn bye(&self) {
        self.leave(Vec::new()).await;
    }

    /// Leaves in order, with what the session was not shown for the channel that may succeed this one.
    pub async fn leave(&self, messages: Vec<Bequest>) {
        let (done, left) = oneshot::channel();
        self.command(Command::Bye(messages, done));
        // Elapsed or not, the caller leaves: a hub that reads too slowly sees the connection end.
        let _elapsed = tokio::time::timeout(BYE_WAIT, left).await;
    }

    async fn call(&self, call: Call) -> Result<Answer, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.command(Command::Call(call, reply));
        answer.await.unwrap_or_else(|_| Err(refusal::left()))
    }

    fn command(&self, command: Command) {
        // The link ends only after a bye; what is wanted after that is answered by the closed reply channel.
        let _after_bye = self.commands.send(command);
    }
}

/// The ledger answers each call in its kind; were it otherwise the caller must not be left waiting.
fn misplaced() -> Refusal {
    Refusal::new(ErrorCode::BadMsg, "the answer to another question came", "report this as a bug of claude-relay")
}
