//! What a client tells its program without having been called.

use serde_json::Value;

use crate::protocol::{
    AskId, AskKind, AskState, Asked, BroadcastId, ErrorCode, PeerName, Refusal, Told, Watched, Watching,
};

/// Something that happened without being requested, or the end of something that was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientEvent {
    /// Somebody asks this session: never the same ask twice.
    Ask(Asked),
    /// Somebody tells this session something: never the same tell twice.
    Tell(Told),
    /// A received ask has ended: nobody waits for its reply any more, or to know that it was shown.
    Closed {
        /// The ask.
        ask_id: AskId,
        /// Whether it was a tell.
        kind: AskKind,
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
    Watching(Box<Watching>),
    /// What is watched has changed.
    Watched(Box<Watched>),
    /// The program's part of what the session's channel before this one has parked.
    Parked(Value),
}

/// How an own ask ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The ask.
    pub ask_id: AskId,
    /// Whether it was a tell.
    pub kind: AskKind,
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
    /// It was a tell, and has come to its session.
    Arrived {
        /// `shown`; `handed_over` where the session cannot say more.
        state: AskState,
    },
    /// It was not answered, or as a tell has not come.
    Failed {
        /// `timeout` or `peer_gone`.
        code: ErrorCode,
        /// How far it had come.
        state: AskState,
        /// What the asked session waits for, where it stands at a dialog.
        waiting_for: Option<String>,
        /// Since when nothing was heard of the asked session's machine, in seconds; none where it is reachable.
        unreachable_s: Option<u64>,
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
