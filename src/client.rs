//! The client side of the socket, shared by the channel and `relayctl`: hello, requests, events, reconnect and resend.
//!
//! [`ledger`] holds the rules: which asks are open, what is sent again after a reconnect, which outcome an ask has. It is
//! pure, and the guarantor of the promise that every ask ends in exactly one outcome. [`Connection`] moves its bytes and its
//! time, and is driven by the loop of the program that owns it. [`HubClient`] is for programs that have no other loop.

mod backoff;
mod call;
mod config;
mod connection;
mod ended;
mod event;
mod hub_client;
pub mod ledger;
mod open;
mod outgoing;
mod parked;
mod received;
mod refusal;
mod sent;

pub(crate) use self::backoff::Backoff;
pub use self::backoff::RECONNECT_CAP;
pub use self::call::{AcceptedAsk, AcceptedBroadcast, Call, CallAnswer, CallId, MessageId, SentReply};
pub use self::config::ClientConfig;
pub use self::connection::Connection;
pub use self::event::{ClientEvent, End, Outcome, Tally};
pub use self::hub_client::HubClient;
pub use self::open::{OpenAsksView, OpenReceivedView, OpenSentView};
pub use self::outgoing::Output;
pub use self::parked::PROGRAM_PART_MAX_BYTES;
pub use self::received::REPLY_WAIT;
pub use self::sent::{DEADLINE_SLACK, KNOWN_AFTER};
