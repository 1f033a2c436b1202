//! Other machines: a client of the local hub that speaks with its like on the person's other machines.
//!
//! Nothing of it runs where no machine is configured. The hub knows no network; a *transport* is a program that carries lines
//! on its standard input and output (`ssh HOST relay-bridge stdio`, `docker exec`, `relay-nats`), and the only thing that this
//! service starts.

mod carrier;
pub mod control;
pub mod exchange;
pub mod frame;
mod guests;
mod hub_connection;
mod lines;
pub mod link;
mod linked;
pub mod machine;
pub mod policy;
pub mod rights;
pub mod service;
pub mod sessions;
pub mod setups;
pub mod stdio;

pub use self::carrier::Start;
pub use self::linked::Setup;
