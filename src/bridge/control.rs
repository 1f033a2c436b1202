//! The messages on the bridge's own socket, `bridge.sock` beside the hub's: JSON objects, one a line.
//!
//! The first message says what the connection is for. After `link` the lines are those of the link
//! ([`super::link`]): `relay-bridge stdio` joins its standard input and output to such a connection. All else is asked by
//! `relayctl machines`: each message is answered once, in order.

use serde::{Deserialize, Serialize};

use crate::protocol::table::{frames_without_ids, messages};
use crate::protocol::{AskId, MachineName, Refusal};

messages! {
    /// What the bridge is told.
    pub enum ToBridge {
        /// A machine's transport has come: what follows is the link.
        "link" since 1 => Link(link: LinkFrom),
        /// Wants the state of all machines. Answered by `machines`.
        "machines" since 1 => Machines,
        /// The files of the machines have changed: read them again. Answered by `done` when what they say holds.
        "reload" since 1 => Reload,
        /// Lets asks through that were held. Answered by `done`.
        "release" since 1 => Release(release: Release),
    }
}

messages! {
    /// What the bridge answers.
    pub enum FromBridge {
        /// The state of all machines.
        "machines" since 1 => Machines(machines: Machines),
        /// It is done.
        "done" since 1 => Done,
        /// It could not be done.
        "error" since 1 => Error(error: Refusal),
    }
}

frames_without_ids!(ToBridge, FromBridge);

/// A transport that has come from another machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkFrom {
    /// The machine, by its name here.
    pub machine: MachineName,
}

/// Asks that are let through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The machine that they came from.
    pub machine: MachineName,
    /// One of them; all without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask_id: Option<AskId>,
}

/// The state of all machines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machines {
    /// The bridge's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Whether it is connected to the hub.
    pub hub: bool,
    /// The machines, by name.
    pub machines: Vec<MachineState>,
}

/// How the link with one machine stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineState {
    /// Its name here.
    pub name: MachineName,
    /// Its link.
    pub link: Link,
    /// Since when that is so, in seconds.
    pub since_s: u64,
    /// How long a frame takes there and back, in milliseconds; none where it was not measured yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trip_ms: Option<u64>,
    /// The version of its bridge, where it has said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What it lets us do, where it has said so: `ask`, `reply`, `hold`, `nothing`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub we_may: Option<String>,
    /// How many of its sessions are known here.
    pub sessions: u64,
    /// How many asks are open, both ways.
    pub open_asks: u64,
    /// The asks that wait until this machine's person lets them through.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<HeldAsk>,
}

/// A link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Link {
    /// Frames go both ways.
    Up,
    /// The transport has been started, or will be in a moment.
    Connecting,
    /// It is lost, and tried again.
    Down(Down),
    /// This machine's person has paused it.
    Paused,
    /// It is for the other machine to come.
    Awaited,
}

/// How a link was lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Down {
    /// What was seen: the transport's own words where it said some.
    pub why: String,
    /// What to do on this machine; none where it is seen on the other one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Down {
    /// Returns a loss that this machine can do nothing about.
    pub fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), next: None }
    }
}

/// An ask that waits until this machine's person lets it through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldAsk {
    /// The ask.
    pub ask_id: AskId,
    /// Who asks.
    pub from: String,
    /// Who is asked.
    pub to: String,
    /// How long its asker still waits, in seconds.
    pub left_s: u64,
}
