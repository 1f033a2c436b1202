//! Lets the Claude Code sessions on a machine, the person's shell, scripts and CI talk to each other.
//!
//! # Map
//!
//! Directories are layers, files are nouns of the domain, and the same verb names a file in each layer.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`protocol`] | the wire specification: messages, ids, names, errors, framing; types without behaviour |
//! | [`hub`] | the pure rules: who is there, who asks whom, how each ask ends |
//! | [`client`] | the client's pure rules (`ledger`) and the shell around them; shared by the channel and `relayctl` |
//! | [`daemon`] | the hub's shell: one loop that owns the hub, its connections and the rest of the world |
//! | [`advice`] | what to do about a hub that is not reached, for all programs |
//! | [`activation`] | how the hub gets its listener: systemd, launchd, or bound by itself |
//! | [`session`] | the session's own socket, where its other processes work with its channel |
//! | [`agent`] | what differs from agent to agent: how it is recognised, what is known of its session, what wakes it |
//! | [`channel`] | one session's MCP server: tools, notifications, what a session is shown |
//! | [`bridge`] | other machines: the pure rules of a link, the person's rules for each machine, and the shell around them |
//! | `nats` | `relay-nats`: a transport of the bridge over a NATS server; only with the feature `nats` |
//! | [`cli`] | `relayctl`, one file a subcommand; all that it prints and its exit codes are chosen here, and how the others fail |
//! | [`service`] | installing and removing the service, as pure plans |
//! | [`object`] | a JSON object of a few members |
//! | `alarm`, `confusables`, `deadlines`, `ready` | one timer for all deadlines of a loop; which characters look alike; keys that each have one deadline; sources that are ready |
//! | [`paths`], [`logging`] | where things are, and where logs go |
//! | [`runtime`] | the one thread that a program runs on |
//! | [`watched`] | sockets that the runtime watches |
//! | [`process`] | what the system says of a process: its start and its parent |
//! | [`fault`] | where a test build can be made to die; not in a release build |
//! | [`arguments`] | the command lines of `relay-hub`, `relay-channel` and `relay-bridge` |
//!
//! Besides, the waiter and the hook write to stderr and stdout what Claude Code reads there, and the waiter ends with the
//! status that wakes it; a channel speaks MCP on stdin and stdout.
//!
//! # The dependency rule
//!
//! ```text
//! bin → daemon | channel | bridge | nats | cli → hub | session | agent | client | service → protocol
//! ```
//!
//! `hub` and the client's ledger know no runtime, no clock, no socket and no file, and nothing in them fails: what went
//! wrong in the world comes in as a value like everything else. A test reads the `use` lines and enforces this.
//!
//! # Invariants
//!
//! - The truth about an ask lives at its two ends; the hub holds only what its clients can send again.
//! - An ask ends in exactly one outcome, and its asker's client is the one that decides it.
//! - A session is shown a message once.
//! - Whatever a client can make another process hold is bounded and counted.
//! - No client starts a hub: the service manager does, or a person (`relayctl hub start`, and `setup` where no service
//!   manager is). Only two programs start others. `relay-bridge`: the transports that its machines' files name. `relayctl`: the service manager's tools; for `logs`, `journalctl`; for `setup`, the
//!   agents' own commands; for `doctor`, `--version` of the programs that it checks and `claude mcp list`; for `demo`, a
//!   private hub with its channels and questions, which end with it.

pub mod activation;
pub mod advice;
pub mod agent;
mod alarm;
pub mod arguments;
pub mod bridge;
pub mod channel;
pub mod cli;
pub mod client;
mod confusables;
pub mod daemon;
mod deadlines;
pub mod fault;
pub mod hub;
pub mod logging;
#[cfg(feature = "nats")]
pub mod nats;
pub mod object;
pub mod paths;
pub mod process;
pub mod protocol;
mod ready;
pub mod runtime;
pub mod service;
pub mod session;
pub mod watched;
