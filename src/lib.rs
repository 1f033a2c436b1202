//! Lets the Claude Code sessions on a machine, the person's shell, scripts and CI talk to each other.

pub mod activation;
pub mod channel;
pub mod cli;
pub mod client;
pub mod daemon;
mod deadlines;
pub mod hub;
pub mod logging;
pub mod paths;
pub mod protocol;
pub mod service;
