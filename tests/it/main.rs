//! The integration tests: one binary, one module for each part of the product.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(unreachable_pub, reason = "one binary: what a module offers is for the others")]

mod channel_alone;
#[cfg(target_os = "linux")]
mod chaos;
mod cli;
mod cli_exit;
mod conversation;
mod demo;
mod leaving;
mod mcp_wire;
mod refusals;
mod service;
mod support;
mod survival;
#[cfg(target_os = "linux")]
mod units;
mod wire;
