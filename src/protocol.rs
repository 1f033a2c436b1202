//! The wire protocol between the hub and its clients. This page is its specification.
//!
//! # Your first client
//!
//! 1. Connect to the hub's Unix stream socket: where `RELAY_SOCKET` says, else at its default place ([`crate::paths`]). The
//!    hub reads nothing of a connection whose process belongs to another user, root included.
//! 2. Write one JSON object a line and read one JSON object a line: UTF-8, ended by `\n`. The member `type` names the
//!    message. Ignore members and messages that you do not know.
//! 3. Send `hello` first, within five seconds. The answer is `welcome`, or an `error` that says what to do next.
//! 4. Send *requests* with an `id` of your choice: each gets exactly one *answer* with the same `id`, its own or `error`.
//!    Send *notices* without an `id`: they get none. The hub sends *events* without an `id` whenever something happens.
//! 5. Send `bye` and close.
//!
//! ```text
//! → {"type":"hello","id":1,"versions":{"min":1,"max":1},"program":"demo 1","kind":"control","key":"6f1d0c…"}
//! ← {"type":"welcome","id":1,"version":1,"hub":"0.1.0","settling":false}
//! → {"type":"ask","id":2,"ask_id":"k3v9-x2mq-7bd4","to":"backend","question":"Is the build green?","timeout_ms":60000}
//! ← {"type":"accepted","id":2,"ask_id":"k3v9-x2mq-7bd4","to":"backend","tag":"0ae66e95bac60b0a","state":"accepted","cwd":"/w/backend","status":"idle"}
//! ← {"type":"reply","ask_id":"k3v9-x2mq-7bd4","from":"backend","by":"0ae66e95bac60b0a","text":"Yes."}
//! → {"type":"taken","ask_id":"k3v9-x2mq-7bd4","by":"0ae66e95bac60b0a"}
//! → {"type":"bye"}
//! ```
//!
//! # Kinds of messages
//!
//! | requests ([`Request`]) | since | | notices ([`Notice`]) | since | | answers ([`Answer`]) | since | | events ([`Event`]) | since |
//! | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
//! | `hello` | 1 | | `progress` | 1 | | `welcome` | 1 | | `ask` | 1 |
//! | `peers` | 1 | | `taken` | 1 | | `peers` | 1 | | `tell` | 1 |
//! | `status` | 1 | | `withdraw` | 1 | | `status` | 1 | | `reply` | 1 |
//! | `watch` | 1 | | `decline` | 1 | | `watching` | 1 | | `receipt` | 1 |
//! | `ask` | 1 | | `reach` | 1 | | `accepted` | 1 | | `failed` | 1 |
//! | `tell` | 1 | | `presence` | 1 | | `broadcast_accepted` | 1 | | `advanced` | 1 |
//! | `broadcast` | 1 | | `named` | 1 | | `audience` | 1 | | `closed` | 1 |
//! | `audience` | 1 | | `park` | 1 | | `replied` | 1 | | `renamed` | 1 |
//! | `reply` | 1 | | `bye` | 1 | | `renamed` | 1 | | `watched` | 1 |
//! | `rename` | 1 | | | | | `error` | 1 | | `error` | 1 |
//!
//! What one client sends is handled in its order. Between clients, the order is that in which the hub read them. Answers may
//! come in another order than their requests.
//!
//! A frame has at most [`codec::FRAME_MAX_BYTES`] bytes, a client's first one [`codec::HELLO_MAX_BYTES`], the hub's own
//! [`codec::HUB_FRAME_MAX_BYTES`]. An object that is no known message is answered with `bad_msg` and the connection goes on;
//! a line that is no JSON object, no UTF-8 or too long is answered and the connection closed, since nothing after it can be
//! trusted.
//!
//! # Who a client is
//!
//! `kind` is `session` for a session's channel, which becomes a peer with a name and can be asked, or `control` for a
//! person's tool, which can only ask and whose messages are from [`SHELL`].
//!
//! - A session says its `session` ([`SessionId`]): the process of its agent, and the thread where one process holds several.
//!   It says in every `hello` what holds of it ([`Presence`]), and `presence` when that changes.
//! - A control client says a `key`: 128 random bits in hex, made once.
//!
//! A later connection with the same identity takes the place of an earlier one, in whatever order their hellos are read.
//! Senders' names are stamped by the hub. The `tag` of a client ([`ClientTag`]) is derived from its identity.
//!
//! Names and addresses are slugs ([`PeerName`]): `Backend API` addresses `backend-api`. A name that another peer has gets a
//! suffix, `-2`, `-3`. [`RESERVED_NAMES`] name no peer, nor does what looks like one of them in other letters.
//!
//! # The way of an ask
//!
//! 1. The asker's client makes the `ask_id`, at random, and sends `ask`. Once the hub has it, it answers `accepted`, with
//!    the `tag` of the peer that it found. The id is the ask's idempotency key: sending the ask again is harmless.
//! 2. The hub sends the event `ask` to the asked session. That client tells by `progress` how far it has come:
//!    [`AskState`]. A client must drop an ask that it has had before, and tell its progress again.
//! 3. The asked session sends `reply`. The hub sends the event `reply` to the asker, whose client sends `taken` if the ask
//!    is open, or `withdraw` if it is not; only then is the replier's request answered, with `replied` or `unknown_ask`, or
//!    with `unconfirmed` where the asker's machine does not know.
//! 4. An ask without a reply ends with the event `failed`: `timeout` at its deadline, `peer_gone` when its session has gone.
//!    The asked session is sent `closed`. The asker's client ends an ask by itself half a second after its deadline.
//!
//! A `tell` is an ask that takes no reply: its session is sent the event `tell`, and its `tell_id` is the `ask_id` of all
//! else. It ends with the event `receipt` as soon as its session says that it is `shown`, or says with `final` how far it
//! came where no receipt can be had; or it fails as an ask does. Sent again it meets its end: the asked client tells its
//! progress again, of one that has ended as well.
//!
//! A `broadcast` becomes an ask for every other peer, or for those that its [`Audience`] names, of which each that is not
//! there is refused by itself. Its asks' ids are derived ([`AskId::of_broadcast`]), so that it may be
//! sent again as well. Its tally is counted by the asker's client.
//!
//! # When the hub is lost
//!
//! The hub keeps nothing that its clients cannot send again. After `welcome` on a new connection a client sends, in this
//! order: `progress` for each ask that it received and that is open; each `reply` that was not answered; `taken` for the
//! replies that it took and `withdraw` for the asks that it withdrew, both until one connection has lasted ten seconds after
//! they were sent; each own ask without an outcome, with the time that it has left and, if a hub had accepted it, the peer's
//! tag in `bound`; each broadcast and other request without an answer.
//!
//! The first two seconds of a hub's life are its grace period ([`crate::hub::GRACE`]); `welcome` and `peers` then say
//! `"settling": true`. The hub serves everybody at once, but an ask to a peer that it does not know, a reply to an ask that it
//! does not know, and every broadcast wait for its end. Names that are brought back in `hello` win over names that newcomers
//! were given meanwhile. A client whose ask with `bound` is refused sends it again a second later.
//!
//! A client whose connection is lost without `bye` is waited for until its process has ended, two seconds at most.
//!
//! # When a session changes its channel
//!
//! An agent may start a session's channel anew. The leaving channel sends `park` with one value of its own making, at most
//! [`PARKED_MAX_BYTES`] as JSON, and `bye`. The next channel has the same identity: its `hello` is an ordinary reconnect, and
//! its `welcome` brings the value back as `parked`, with the open asks that the hub knows as `sent`. The hub keeps the value
//! for two seconds and does not read it.
//!
//! # Refusals
//!
//! Every `error` has a [`code`](ErrorCode), a sentence for people and what to do next. Limits are options of the hub
//! ([`crate::hub::Limits`]); a refusal names the limit and the amount. The size limits always hold.
//!
//! # Versions
//!
//! `hello` says which versions the client speaks; the hub takes the newest that it speaks as well, and answers
//! `protocol_mismatch` where there is none. A hub speaks the newest version and the one before. Members are only ever added,
//! and old samples must still parse. Neither side sends a message that is newer than the `version` in `welcome`.
//!
//! What passes between a session's channel and the session's other processes is no part of this: [`crate::session`].

mod answer;
mod chain;
pub mod codec;
mod error;
mod event;
mod frame;
mod id;
mod invisible;
mod name;
mod notice;
mod request;
mod session;
mod state;
pub(crate) mod table;
mod version;
mod view;
mod watch;

pub use answer::{
    Accepted, Answer, AudienceView, BroadcastAccepted, BroadcastAsk, BroadcastRefusal, OwnAsk, Peers, Renamed, Replied,
    Status, Welcome,
};
pub use chain::{Chain, Course, Edge};
pub use error::{ErrorCode, Refusal};
pub use event::{Asked, Closed, Event, Failed, Receipt, ReplyEvent, Told};
pub use frame::{ClientMessage, Frame, HubMessage, RequestId};
pub use id::{AskId, BroadcastId, ClientKey, ClientTag, IdError, SessionId};
pub(crate) use invisible::{is_invisible, is_variation_selector};
pub use name::{FALLBACK_NAME, MachineName, NAME_MAX_CHARS, NameError, PeerName, RESERVED_NAMES, SHELL};
pub use notice::{Decline, Named, Notice, Park, Progress, Reach, Taken, Withdraw};
pub use request::{Ask, Audience, Broadcast, Hello, Rename, Reply, Request, Tell, Watch};
pub use session::{Activity, ClientKind, Presence, RemoteFacts, RemoteSession, SessionFacts, Wake};
pub use state::{AskKind, AskOutcome, AskState};
pub use version::{VERSIONS, VersionRange};
pub use view::{AskView, MachineView, OpenAsks, PeerView};
pub use watch::{Watched, Watching};

/// The longest question, reply or tell, in bytes of UTF-8.
pub const BODY_MAX_BYTES: usize = 64 * 1024;

/// The longest parked value, in bytes of JSON.
pub const PARKED_MAX_BYTES: usize = 384 * 1024;

/// The longest time that an ask may stay open, in seconds.
pub const TIMEOUT_MAX_S: u64 = 86_400;

/// The time that an ask stays open where its asker says nothing, in seconds.
pub const TIMEOUT_DEFAULT_S: u64 = 600;
