//! Lets the Claude Code sessions on a machine, the person's shell, scripts and CI talk to each other.

pub mod client;
pub mod daemon;
mod deadlines;
pub mod hub;
pub mod protocol;
