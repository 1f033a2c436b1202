//! `relay-nats` against real servers, as the bridge uses it.

mod carrier;
mod ending;
pub mod keys;
mod lines;
mod reconnect;
mod refusals;
mod rights;
pub mod server;
mod slow_reader;
mod tls;
