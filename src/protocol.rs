//! The wire protocol between the hub and its clients. This page is its specification.
//!
//! # Transport
//!
//! A Unix stream socket of the user's own: `$XDG_RUNTIME_DIR/relay/hub.sock` on Linux,
//! `~/Library/Application Support/relay/hub.sock` on macOS, or where `RELAY_SOCKET` says ([`crate::paths`]). The hub reads
//! nothing of a connection whose process belongs to another user, root included.
//!
//! # Frames
//!
//! One JSON object a line, UTF-8, ended by `\n`, at most [`codec::FRAME_MAX_BYTES`] bytes; the first frame, which can only
//! be a `hello`, at most [`codec::HELLO_MAX_BYTES`]; the hub's own at most [`codec::HUB_FRAME_MAX_BYTES`]. The member `type` names the message. Unknown members are ignored. An
//! object that is no known message is answered with `bad_msg` and the connection goes on; a line that is no JSON object,
//! no UTF-8 or too long is answered and the connection closed, since nothing after it can be trusted.
//!
//! # Conversation
//!
//! A client says [`hello`](ClientMessage::Hello) first, within five seconds, and is answered
//! [`welcome`](HubMessage::Welcome). From then on both sides speak when they like:
//!
//! - *Requests* (`hello`, `peers`, `status`, `watch`, `ask`, `broadcast`, `reply`, `rename`) have an `id`, a number of the
//!   client's choice, and get exactly one answer with the same `id`: the one named in [`ClientMessage`], or
//!   [`error`](HubMessage::Error). Answers may come in another order than their requests.
//! - *Notices* (`progress`, `taken`, `withdraw`, `presence`, `named`, `offer`, `holding`, `verdict`, `answer`,
//!   `bequest`, `bye`) get no answer.
//! - *Events* (`ask`, `reply`, `failed`, `closed`, `waiter`, `hook`, `hook_gone`, `holding`, `offer`, `verdict`, `end`,
//!   `call`, `bequest`, and `renamed` without an `id`) come from the hub without a request; `watched` comes to those that said `watch`.
//!
//! What one client says is handled in its order. Between clients, the order is that in which the hub read them.
//!
//! ```text
//! → {"type":"hello","id":1,"versions":{"min":1,"max":2},"key":"6f1d…","program":"demo 1","kind":"control"}
//! ← {"type":"welcome","id":1,"version":2,"hub":"0.1.0","settling":false}
//! → {"type":"ask","id":2,"ask_id":"k3v9-x2mq-7bd4","to":"backend","question":"Is the build green?","timeout_ms":60000}
//! ← {"type":"accepted","id":2,"ask_id":"k3v9-x2mq-7bd4","to":"backend","tag":"0ae66e95bac60b0a","state":"accepted"}
//! ← {"type":"reply","ask_id":"k3v9-x2mq-7bd4","from":"backend","by":"0ae66e95bac60b0a","text":"Yes."}
//! → {"type":"taken","ask_id":"k3v9-x2mq-7bd4","by":"0ae66e95bac60b0a"}
//! → {"type":"bye"}
//! ```
//!
//! # Who a client is
//!
//! `key` is 128 random bits in hex that the client makes once and says in every `hello`, and nowhere else. It is what lets
//! a client come back after its connection or the hub was lost. A second connection with the same key takes the place of
//! the first. `kind` is `channel` for a session, which becomes a peer with a name and can be asked, `control` for a
//! person's tool, which can only ask and whose messages are from [`SHELL`], or `waiter` and `hook` for a session's
//! companions. Senders' names are stamped by the hub.
//!
//! Names and addresses are slugs ([`PeerName`]): `Backend API` addresses `backend-api`. A name that is held gets a suffix,
//! `-2`, `-3`. [`RESERVED_NAMES`] name no peer, nor does what is drawn like one of them in other letters.
//!
//! # The way of an ask
//!
//! 1. The asker's client makes the `ask_id`, at random, and says `ask`. Once the hub has it, it answers `accepted`, with
//!    the `tag` of the peer that it found. The id is the ask's idempotency key: saying the ask again is harmless.
//! 2. The hub sends the event `ask` to the asked session. That client tells by `progress` how far it has come:
//!    [`AskState`]. A client must pass over an ask that it has seen before, and tell its progress again.
//! 3. The asked session says `reply`. The hub sends the event `reply` to the asker, whose client says `taken` if the ask is
//!    open, or `withdraw` if it is not; only then is the replier's request answered, with `replied` or `unknown_ask`.
//! 4. An ask that is not answered ends with the event `failed`: `timeout` at its deadline, `peer_gone` when its session has
//!    gone. The asked session is told `closed`. The asker's client ends an ask by itself half a second after its deadline.
//!
//! A `broadcast` becomes an ask for every other peer. Its asks' ids are derived ([`AskId::of_broadcast`]), so that it may be
//! said again as well. Its tally is counted by the asker's client.
//!
//! # A session's companions
//!
//! A session's client may run processes beside the channel that can show text to its model: one *waiter*, whose end wakes
//! the session, and *hooks*, which run for a moment. They belong to the channel that has the same client process
//! ([`ClientProcess`]: `pid`, and `start` in the channel's hello), may come before it, and speak with nobody else; the hub
//! carries text from the channel to them. A companion is never a peer.
//!
//! 1. The channel is told `waiter` with the tag of the waiter that is there, or without one; and `hook` for each hook that
//!    comes, with the [`Receipt`]s that it brings, then `hook_gone` when it has left.
//! 2. The channel says `offer`: a batch of text for one companion. The companion keeps it and says `holding`, and says so
//!    again in the hello of a new connection. An offer that comes again is told so again; what is said more often is passed
//!    over.
//! 3. The channel answers each `holding` with a `verdict`: `show`, and the companion shows the text and ends; or not, and it
//!    forgets the text, and a hook ends. So a text is shown only after the channel knows of it, and by one companion. A
//!    verdict without a `batch` tells a hook that there is nothing for it.
//!
//! The newest waiter takes the place of the one before, which is told `end`. So is a companion whose channel has been gone
//! for ten seconds, and a hook for which no channel is there. A waiter that is told `end` while it holds a batch waits for
//! the verdict.
//!
//! ```text
//! → {"type":"hello","id":1,"versions":{"min":1,"max":2},"key":"90c2…","program":"relay-channel 0.1.0","kind":"waiter","pid":4711,"start":88130}
//! ← {"type":"welcome","id":1,"version":2,"hub":"0.1.0","settling":false}
//! ← {"type":"offer","batch":1,"text":"<relay-message kind=\"ask\" …"}
//! → {"type":"holding","batch":1}
//! ← {"type":"verdict","batch":1,"show":true}
//! ```
//!
//! # A session's channels
//!
//! A session has one peer, however many channels its client starts. A channel whose process is its client's says a
//! [`seat`](SessionFacts::seat) in its hello:
//!
//! - The first one becomes the peer.
//! - One that comes while the peer is connected is the *second*: `welcome` says so in its `place`. It is no peer of its own.
//!   Its `peers`, `status`, `rename` and `reply` are the session's; the hub passes its `ask`, `broadcast` and `withdraw` to
//!   the peer as [`call`](HubMessage::Call), which does it as its own and says [`answer`](ClientMessage::Answer). So an
//!   ask's guarantor, and the place where its outcome comes, is always the peer. When the peer goes, the seconds are
//!   disconnected, come back, and one of them succeeds.
//! - One that comes after the peer has left, or its process has ended, while the client lives, *succeeds*: `welcome` gives
//!   it the identity of the former one, with the name and the asks that the hub knows. Before `bye` the former one says what
//!   only it knows, as [`bequest`](ClientMessage::Bequest)s; the hub holds them as far as its limit `held_bytes` allows,
//!   passes them on with the time that they waited, and adds what it knows itself. Two seconds after the former one has
//!   left, or as soon as the client has ended, nobody is waited for any more: then its asks end as with every `bye`.
//!
//! A channel without a seat that comes while another one of its process is away takes that one's name, if it has none.
//!
//! ```text
//! → {"type":"bequest","bequest":{"what":"ask","ask_id":"k3v9-x2mq-7bd4","to":"backend","question":"Is …","timeout_ms":41000,"bound":"0ae66e95bac60b0a","state":"accepted"}}
//! → {"type":"bye"}
//!   another connection:
//! → {"type":"hello","id":1,"versions":{"min":1,"max":1},"key":"11d0…","program":"relay-channel 0.1.0","kind":"channel","cwd":"/home/me/web","pid":4711,"start":88130,"seat":{"turn":0},"status":"idle","wakes_by":"waiter"}
//! ← {"type":"welcome","id":1,"version":1,"name":"web","hub":"0.1.0","settling":false,"place":{"is":"heir","key":"6f1d…","turn":1}}
//! ← {"type":"bequest","waited_ms":212,"bequest":{"what":"ask","ask_id":"k3v9-x2mq-7bd4","to":"backend",…}}
//! ```
//!
//! # When the hub is lost
//!
//! The hub keeps nothing that its clients cannot say again. After `welcome` on a new connection a client says, in this
//! order: `progress` for each ask that it received and that is open, with the `asker` that the event named; each `reply` that was not answered; `taken` for the
//! replies that it took, until one connection has lasted ten seconds after it was said; `withdraw` for the asks that it withdrew lately; each own ask without an outcome, with the time that it has left and, if a
//! hub had accepted it, the peer's tag in `bound`; each broadcast and other request without an answer.
//!
//! A hub that has just started settles for two seconds ([`crate::hub::SETTLING`]), and says so in `welcome` and `peers`: it
//! serves everybody at once, but lets an ask to a peer that it does not know, a reply to an ask that it does not know, and
//! every broadcast wait. Names that are brought back in `hello` win over names that newcomers were given meanwhile.
//!
//! The id of an ask is no proof of whose it is. What the asked session says in `asker` is: an ask, or a `taken`, of somebody
//! else about it is passed over or refused, and ends if it came first. An ask that says `bound` while the hub settles was
//! accepted before, and meets no limit but three times `held_bytes`; a client whose ask is refused then says it again a
//! second later.
//!
//! A client whose connection is lost without `bye` is waited for until its process has ended, two seconds at most.
//!
//! # Refusals
//!
//! Every [`error`](HubMessage::Error) has a [`code`](ErrorCode), a sentence for people and what to do next. Limits are
//! options of the hub ([`crate::hub::Limits`]); a refusal names the limit and the amount. The size limits always hold.
//!
//! # Versions
//!
//! `hello` says which versions the client speaks; the hub takes the newest that it speaks as well, and answers
//! `protocol_mismatch` where there is none. A hub speaks the newest version and the one before. Members are only ever
//! added, and old samples must still parse.
//!
//! | version | what it added |
//! | --- | --- |
//! | 1 | everything else on this page |
//! | 2 | the notice `named`; the request `watch` with `watching` and `watched` |
//!
//! A client says nothing that is newer than the `version` in `welcome` ([`ClientMessage::since`]): to an older hub it does
//! not tell the name that a session was given by its user, until a hub comes that knows what to do with it, and refuses
//! to watch. A hub tells a client nothing newer than what that client has asked for.

mod answer;
pub mod codec;
mod companion;
mod error;
mod id;
mod invisible;
mod message;
mod name;
mod request;
mod succession;
mod watch;

pub use answer::{
    Accepted, AskEvent, BroadcastAccepted, BroadcastAsk, BroadcastRefusal, FailedEvent, OpenAsks, PeerView,
    PeersAnswer, ReplyEvent, StatusAnswer, Welcome,
};
pub use companion::{ClientProcess, CompanionFacts, OFFER_MAX_BYTES, Offer, RECEIPTS_MAX, Receipt, Verdict};
pub use error::{ErrorCode, Refusal};
pub use id::{AskId, BroadcastId, IdError, PeerKey, PeerTag};
pub use invisible::{is_invisible, is_variation_selector};
pub use message::{ClientMessage, HubMessage, RequestId};
pub use name::{FALLBACK_NAME, NAME_MAX_CHARS, NameError, PeerName, RESERVED_NAMES, SHELL};
pub use request::{
    Activity, AskRequest, AskState, BroadcastRequest, ClientKind, Hello, Presence, ReplyRequest, SessionFacts,
    VersionRange, Wake,
};
pub use succession::{Bequest, Place, Seat, Standing};
pub use watch::{AskOutcome, AskView, WatchedEvent, WatchingAnswer};

/// The most bytes of a question or a reply, as UTF-8.
pub const BODY_MAX_BYTES: usize = 64 * 1024;

/// The longest time that an ask may stay open, in seconds: a day.
pub const TIMEOUT_MAX_S: u64 = 86_400;

/// The time that an ask stays open where its asker says nothing, in seconds.
pub const TIMEOUT_DEFAULT_S: u64 = 600;

/// The protocol versions that this build speaks: the newest and the one before.
///
/// The features are for tests of mixed versions only: the version before, which lacks the messages that the newest one
/// added, and one that has nothing in common with this.
pub const VERSIONS: VersionRange = if cfg!(feature = "earlier-protocol") {
    VersionRange { min: 1, max: 1 }
} else if cfg!(feature = "foreign-protocol") {
    VersionRange { min: 3, max: 4 }
} else {
    VersionRange { min: 1, max: 2 }
};
