//! Lets the Claude Code sessions on a machine, the person's shell, scripts and CI talk to each other.

pub mod channel;
pub mod client;
pub mod protocol;
