//! Lets the Claude Code sessions on a machine, the person's shell, scripts and CI talk to each other.

pub mod activation;
pub mod client;
pub mod logging;
pub mod paths;
pub mod protocol;
pub mod service;
