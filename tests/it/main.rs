//! The integration tests: one binary, one module for each part of the product.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(unreachable_pub, reason = "one binary: what a module offers is for the others")]

#[cfg(target_os = "linux")]
mod activation;
mod channel_alone;
mod cli;
mod demo;
mod exhaustive;
mod fuzz_corpus;
mod handover;
mod hub_model;
mod hub_scenarios;
mod loops;
mod mcp_wire;
#[cfg(target_os = "linux")]
mod neighbours;
#[cfg(target_os = "linux")]
mod recovery;
mod service;
mod simulation;
mod support;
mod tidy;
#[cfg(target_os = "linux")]
mod units;
mod wire;
