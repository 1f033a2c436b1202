//! The session's own socket: how a session's other processes and an agent's plugin work with its channel. This page is its
//! specification, and the way to add an agent.
//!
//! A session has one connection to the hub, its channel's ([`crate::channel`]). All else that belongs to the session speaks to
//! the channel: the *waiter* and the *hooks* that an agent starts, a *plugin* that runs inside the agent, and a *proxy*, which
//! is a second relay server of the same session. It works while the hub is away.
//!
//! # Your first plugin
//!
//! 1. Compute the address, which both ends do: in the directory of the hub's socket ([`crate::paths`]), the socket
//!    `s/PID-START.sock` of the agent's process. START is field 22 of `/proc/PID/stat` on Linux (in a container 2³² times the
//!    number of its namespace of process ids is exclusive-ored with it), else the start in seconds since 1970. Where one
//!    process holds several sessions it is `s/PID-START-THREAD.sock`, THREAD being the last twelve letters and digits of the
//!    agent's id of the session ([`address`]).
//! 2. Connect. If nobody is there, watch the directory until the socket appears: the channel may come later, and a next one
//!    takes its place. After the end of the connection begin again here, until the agent ends.
//! 3. Write one JSON object a line and read one JSON object a line, UTF-8. Ignore members and messages that you do not know.
//! 4. Send `hello` with your role. Send `presence` and `named` when they change.
//! 5. On `deliver` send `taken`, then show the text. When the agent says that it goes before the model, send `shown`. When
//!    the agent has lost it, send `lost`: it is given again.
//!
//! `relay-channel socket PID [THREAD]` prints the address of step 1, and makes the directory that step 2 watches.
//! `tests/it/session/agent.py` is an agent in less than sixty lines.
//!
//! ```text
//! → {"type":"hello","role":"plugin"}
//! → {"type":"presence","status":"idle"}
//! ← {"type":"deliver","batch":1,"text":"claude-relay brings this …","ids":["k3v9-x2mq-7bd4"]}
//! → {"type":"taken","batch":1}
//! → {"type":"shown","ids":["k3v9-x2mq-7bd4"]}
//! ```
//!
//! # Messages
//!
//! | to the channel ([`ReaderMessage`]) | | from the channel ([`ChannelMessage`]) | |
//! | --- | --- | --- | --- |
//! | `hello` | who connects; the first message | `deliver` | a batch of messages as one text, with their ids |
//! | `taken` | the reader shows this batch | `end` | nothing is left to do: leave, and do not come back |
//! | `shown` | these ids went before the model | `result` | the result of a proxy's `call` |
//! | `lost` | these ids were taken and will not go before the model | | |
//! | `presence` | what the session does, and where | | |
//! | `named` | the name that its user gave it | | |
//! | `call` | a tool call of a proxy | | |
//! | `cancel` | nobody waits for this call any more | | |
//!
//! An id is that of the ask, or of the broadcast whose tally the message is. A frame to the channel has at most
//! [`FRAME_MAX_BYTES`](crate::protocol::codec::FRAME_MAX_BYTES) bytes, one from it at most
//! [`HUB_FRAME_MAX_BYTES`](crate::protocol::codec::HUB_FRAME_MAX_BYTES). What is no message ends the connection. A channel
//! has at most [`CONNECTIONS_MAX`] connections.
//!
//! # Who shows a text
//!
//! A message belongs to the channel until its reader has `taken` it. A batch is with one reader at a time. A reader that ends
//! before it said `taken` gives its batch back, and another one gets it. A reader shows a text only after it could write
//! `taken`: when the channel closes a connection, it first stops reading from it, so a later `taken` fails, and then counts
//! what was written before. So a text is shown once, whoever dies.
//!
//! # Roles
//!
//! - `waiter`: gets one batch when there is something to wake the session with. A newer waiter ends the older one.
//! - `hook`: says in `shown` what went before the model and in `showing` what goes before it now, and gets at once one
//!   `deliver` or `end`. With `receipts_only` it gets `end`: a subagent's hook must not be given what its session waits for.
//!   Where an agent runs a hook before each request to its model, `stage` says where in a turn this one runs (`begin`, `tool`,
//!   `request`): what hooks have taken is shown at the next `request`, and lost where another turn begins before.
//! - `plugin`: as a waiter, but stays: it gets the next batch once it has taken one. A batch of it has one message, since each
//!   may belong into another conversation of the agent: the ids are those of the tool results that began it. What was taken is
//!   handed over, and not shown before `shown` says so. What is `lost` is given again, three times at the most; then a relay
//!   tool call brings it. `presence` and `named` are its own. Where nobody sits before the session it gets `end` at once.
//! - `proxy`: sends each tool call of its MCP client as `call` and gets a `result`. An ask's id is the proxy's own, so that a
//!   call may be sent again to the next channel. It says `taken` with the call's id once its client has the result: the
//!   result may carry messages. When the channel leaves, the first of its proxies to bind the socket is the next one.
//!
//! # Whose session it is
//!
//! A channel knows some agents ([`crate::agent`]): their process is the session's. Of any other agent the session is the
//! channel's own process, unless the server is given [`RELAY_SESSION`](crate::agent::declared::VARIABLE): `session` says that
//! it is that of the process which started the server, `session:ID` names the thread as well, and `run` says that nobody
//! sits before it, so that it is no peer.
//!
//! # Who may connect
//!
//! The socket is 0600 in a directory 0700, and nothing is read from a process of another user. A channel binds the socket
//! under a lock of the directory (flock(2)) and gives it its name when it listens; one whose owner is dead is replaced so.
//! The owner removes its socket when it leaves, and removes those of dead owners when it starts.

pub mod address;
pub mod frame;
pub mod hook;
pub mod listener;
pub mod proxy;
pub mod reader;
pub mod receipt;
pub mod waiter;

pub use self::frame::{ChannelMessage, Hello, ReaderMessage, Role, Stage};
pub use self::listener::{CONNECTIONS_MAX, Incoming, Listener};

/// Names a connection of the session's socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReaderId(pub u64);

impl ReaderId {
    /// No connection: the way into the session that its channel goes itself.
    pub const ROUTE: Self = Self(0);
}
