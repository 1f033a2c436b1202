//! The integration tests: one binary, one module for each part of the product.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(unreachable_pub, reason = "one binary: what a module offers is for the others")]

mod channel_alone;
mod cli;
mod demo;
mod hooks;
mod mcp_wire;
mod plugin;
mod service;
mod support;
#[cfg(target_os = "linux")]
mod units;
#[cfg(target_os = "linux")]
mod waiter;
mod wire;
