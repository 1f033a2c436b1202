//! The messages: what a client says to the hub, and what the hub says to a client.

use serde::{Deserialize, Serialize};

use super::answer::{
    Accepted, AskEvent, BroadcastAccepted, FailedEvent, PeersAnswer, ReplyEvent, StatusAnswer, Welcome,
};
use super::companion::{Offer, Receipt, Verdict};
use super::error::Refusal;
use super::id::{AskId, PeerTag};
use super::name::PeerName;
use super::request::{AskRequest, AskState, BroadcastRequest, Hello, Presence, ReplyRequest};
use super::succession::Bequest;
use super::watch::{WatchedEvent, WatchingAnswer};

/// Chosen by the client for each request; its one answer carries it back.
pub type RequestId = u64;

/// What a client says. Variants with an `id` are requests and get exactly one answer; the others are notices and get none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ClientMessage {
    /// Introduces the client; the first message of a connection. Answered by [`HubMessage::Welcome`].
    Hello(Box<Hello>),
    /// Wants the list of peers. Answered by [`HubMessage::Peers`].
    Peers {
        /// The request's id.
        id: RequestId,
    },
    /// Wants the hub's state. Answered by [`HubMessage::Status`].
    Status {
        /// The request's id.
        id: RequestId,
    },
    /// Wants the hub's state and from then on every change. For control clients; answered by [`HubMessage::Watching`].
    /// Said again it starts anew. Since version 2.
    #[cfg_attr(feature = "earlier-protocol", serde(skip))]
    Watch {
        /// The request's id.
        id: RequestId,
        /// Whether questions and replies are told as well.
        #[serde(default)]
        text: bool,
    },
    /// Asks a peer. Answered by [`HubMessage::Accepted`]; saying it again is harmless.
    Ask(AskRequest),
    /// Asks every other peer. Answered by [`HubMessage::BroadcastAccepted`]; saying it again is harmless.
    Broadcast(BroadcastRequest),
    /// Answers an ask. Answered by [`HubMessage::Replied`] once the asker's client has taken the reply.
    Reply(ReplyRequest),
    /// Wants another name. Answered by [`HubMessage::Renamed`].
    Rename {
        /// The request's id.
        id: RequestId,
        /// The wanted name; the hub makes a slug of it.
        name: String,
    },
    /// Tells how far a received ask has come. Said again after a reconnect for every received ask that is open.
    Progress {
        /// The ask.
        ask_id: AskId,
        /// How far it has come in this session.
        state: AskState,
        /// Whom the session has it from: [`AskEvent::asker`]. A new hub lets nobody else say this ask again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        asker: Option<PeerTag>,
    },
    /// Tells that the asker's client has taken the reply of this ask. Said again after a reconnect for the latest ones.
    Taken {
        /// The ask.
        ask_id: AskId,
        /// The tag of the peer whose reply was taken.
        by: PeerTag,
    },
    /// Ends an ask of the caller's own: nobody waits for it any more.
    Withdraw {
        /// The ask.
        ask_id: AskId,
    },
    /// Tells what the session does now and how it can be woken.
    Presence(Presence),
    /// Tells the name that the session's user gave it in its client; one that is held gets a suffix. Since version 2.
    #[cfg_attr(feature = "earlier-protocol", serde(skip))]
    Named {
        /// The wanted name; the hub makes a slug of it.
        name: String,
    },
    /// Gives a companion of this session text that it may have to show.
    Offer(Offer),
    /// Tells, as a companion, that an offer has arrived and is kept until the verdict.
    Holding {
        /// The batch.
        batch: u64,
    },
    /// Tells a companion whether to show the batch that it holds, and end, or to forget it.
    Verdict(Verdict),
    /// Answers what the session's second channel asks through this one.
    Answer {
        /// The second channel.
        to: PeerTag,
        /// The answer, with the request's id.
        answer: Box<HubMessage>,
    },
    /// Leaves something to the channel that succeeds this one.
    Bequest {
        /// What.
        bequest: Bequest,
    },
    /// Leaves in order: what is open ends at once, nobody waits for a reconnect. A channel with a seat is waited for until
    /// its client has ended or another channel has taken the seat, two seconds at most.
    Bye {},
}

impl ClientMessage {
    /// Returns the id that the answer carries back; none for a notice.
    pub fn request_id(&self) -> Option<RequestId> {
        match self {
            Self::Hello(hello) => Some(hello.id),
            Self::Ask(ask) => Some(ask.id),
            Self::Broadcast(broadcast) => Some(broadcast.id),
            Self::Reply(reply) => Some(reply.id),
            Self::Peers { id } | Self::Status { id } | Self::Watch { id, .. } | Self::Rename { id, .. } => Some(*id),
            Self::Progress { .. }
            | Self::Taken { .. }
            | Self::Withdraw { .. }
            | Self::Presence(_)
            | Self::Named { .. }
            | Self::Offer(_)
            | Self::Holding { .. }
            | Self::Verdict(_)
            | Self::Answer { .. }
            | Self::Bequest { .. }
            | Self::Bye {} => None,
        }
    }

    /// Returns the protocol version that added the message: older hubs do not know it.
    pub const fn since(&self) -> u32 {
        match self {
            Self::Watch { .. } | Self::Named { .. } | Self::Bequest { .. } | Self::Answer { .. } => 2,
            Self::Hello(_)
            | Self::Peers { .. }
            | Self::Status { .. }
            | Self::Ask(_)
            | Self::Broadcast(_)
            | Self::Reply(_)
            | Self::Rename { .. }
            | Self::Progress { .. }
            | Self::Taken { .. }
            | Self::Withdraw { .. }
            | Self::Presence(_)
            | Self::Offer(_)
            | Self::Holding { .. }
            | Self::Verdict(_)
            | Self::Bye {} => 1,
        }
    }

    /// Returns the `type` of the message on the wire.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::Peers { .. } => "peers",
            Self::Status { .. } => "status",
            Self::Watch { .. } => "watch",
            Self::Ask(_) => "ask",
            Self::Broadcast(_) => "broadcast",
            Self::Reply(_) => "reply",
            Self::Rename { .. } => "rename",
            Self::Progress { .. } => "progress",
            Self::Taken { .. } => "taken",
            Self::Withdraw { .. } => "withdraw",
            Self::Presence(_) => "presence",
            Self::Named { .. } => "named",
            Self::Offer(_) => "offer",
            Self::Holding { .. } => "holding",
            Self::Verdict(_) => "verdict",
            Self::Answer { .. } => "answer",
            Self::Bequest { .. } => "bequest",
            Self::Bye {} => "bye",
        }
    }
}

/// What the hub says. Variants with an `id` answer a request; the others are events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum HubMessage {
    /// The client is registered.
    Welcome(Welcome),
    /// The peers, without the caller.
    Peers(PeersAnswer),
    /// The hub's state.
    Status(StatusAnswer),
    /// The whole traffic as it is now; [`HubMessage::Watched`] tells each change from here on. Since version 2.
    #[cfg_attr(feature = "earlier-protocol", serde(skip))]
    Watching(WatchingAnswer),
    /// The traffic has changed. Since version 2.
    #[cfg_attr(feature = "earlier-protocol", serde(skip))]
    Watched(WatchedEvent),
    /// The hub has the ask.
    Accepted(Accepted),
    /// The hub has the broadcast's asks.
    BroadcastAccepted(BroadcastAccepted),
    /// The asker's client has taken the reply.
    Replied {
        /// The request's id.
        id: RequestId,
        /// The ask that was answered.
        ask_id: AskId,
        /// Who has the answer now.
        to: String,
    },
    /// The session's name: the answer to a rename, or without `id` the hub's own doing.
    Renamed {
        /// The request's id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<RequestId>,
        /// The name that the session has now.
        name: PeerName,
    },
    /// A request was refused, or without `id` a frame was no message.
    Error {
        /// The request's id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<RequestId>,
        /// Why, and what to do.
        error: Refusal,
    },
    /// Somebody asks this session. May come again after a reconnect: the id tells.
    Ask(AskEvent),
    /// An ask of the caller's own was answered. Comes again until it is [taken](ClientMessage::Taken).
    Reply(ReplyEvent),
    /// An ask of the caller's own has ended without a reply.
    Failed(FailedEvent),
    /// An ask that this session received has ended: nobody waits for its reply any more.
    Closed {
        /// The ask.
        ask_id: AskId,
    },
    /// Which waiter this session has now.
    Waiter {
        /// The waiter's tag; none where there is no waiter.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tag: Option<PeerTag>,
    },
    /// A hook of this session has come and can show text. It waits for a second or so.
    Hook {
        /// The hook's tag.
        by: PeerTag,
        /// What its client is about to put before the model.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        receipts: Vec<Receipt>,
    },
    /// A hook has left.
    HookGone {
        /// The hook's tag.
        by: PeerTag,
    },
    /// A companion has a batch and waits for the verdict.
    Holding {
        /// The companion's tag.
        by: PeerTag,
        /// The batch.
        batch: u64,
    },
    /// Text that this companion may have to show.
    Offer {
        /// The batch.
        batch: u64,
        /// The text.
        text: String,
    },
    /// Whether this companion shows the batch that it holds, and ends, or forgets it.
    Verdict {
        /// The batch; without one there is nothing to show.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        batch: Option<u64>,
        /// Whether it shows it.
        show: bool,
    },
    /// The session's second channel wants this of the peer: an `ask`, a `broadcast` or a `withdraw`.
    Call {
        /// The second channel.
        by: PeerTag,
        /// What it wants.
        request: Box<ClientMessage>,
    },
    /// Something that another channel of the session has left to this one.
    Bequest {
        /// How long ago, in milliseconds.
        waited_ms: u64,
        /// What.
        bequest: Bequest,
    },
    /// This companion is not needed any more: it ends, unless it holds a batch.
    End {},
}
