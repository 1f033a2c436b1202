//! `relay-nats`: carries lines between machines over a NATS server, for `relay-bridge`.
//!
//! # What it reads and writes
//!
//! | stream | line | meaning |
//! | --- | --- | --- |
//! | stdin | `{"to":"desk","line":"…"}` | send this line to the machine desk |
//! | stdout | `{"from":"desk","line":"…"}` | the machine desk has sent this line |
//! | stdout | `{"state":"up","server":"2.15.1"}` | lines are sent and received from here on |
//! | stdout | `{"state":"down","why":"…"}` | no longer; it comes back by itself |
//! | stdout | `{"state":"refused","why":"…","next":"…"}` | it never will; the process ends with code 1 and says the same on stderr |
//!
//! It ends when stdin does. A line that cannot be sent is told of on stderr.
//!
//! # What can be relied on
//!
//! - Who has sent a line is what the server knows: it lets the machine `laptop` publish on `relay.1.*.laptop` and listen to
//!   `relay.1.laptop.*`, and nothing else. Whether it does is tried at each connection; a server that does not is refused.
//! - A line is sent over the connection that is up when it is read, or not at all. What was written before `up` is
//!   dropped: nothing waits for a server to come back. That a line was written is no promise that it arrives.
//! - A reader that does not read, and a server that does not take, cost lines and not memory.
//!
//! Each connection has a client of the library, and a runtime, of its own: what they still hold goes with them.

mod arguments;
mod carry;
mod error;
mod line;
mod link;
mod options;
mod probe;
mod queue;
mod stdio;
mod subject;

pub use self::arguments::{CarryArguments, NatsArguments, NatsCommand};
pub use self::carry::run;
pub use self::error::NatsError;
pub use self::subject::{Machine, NameError, permissions};
