//! The integration tests: one binary, one module for each part of the product.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks at the messages that it is about")]
#![allow(unreachable_pub, reason = "one binary: what a module offers is for the others")]

#[cfg(target_os = "linux")]
mod activation;
mod beginning;
mod channel_alone;
#[cfg(target_os = "linux")]
mod chaos;
mod cli;
mod cli_exit;
mod conversation;
mod demo;
#[cfg(target_os = "linux")]
mod doctor;
mod exhaustive;
#[cfg(target_os = "linux")]
mod faults;
#[cfg(target_os = "linux")]
mod flood;
mod fuzz_corpus;
mod handover;
#[cfg(target_os = "linux")]
mod hardening;
mod hooks;
mod hub_model;
mod hub_scenarios;
mod identity;
mod leaving;
mod limits;
mod limits_told;
mod loops;
mod mcp_wire;
#[cfg(target_os = "linux")]
mod neighbours;
#[cfg(target_os = "linux")]
mod no_network;
#[cfg(target_os = "linux")]
mod operations;
mod peer_text;
mod plugin;
#[cfg(target_os = "linux")]
mod processes;
#[cfg(target_os = "linux")]
mod recovery;
mod refusals;
mod routes;
mod samples;
#[cfg(target_os = "linux")]
mod scarcity;
mod service;
mod simulation;
mod succession;
mod support;
mod survival;
mod tidy;
#[cfg(target_os = "linux")]
mod units;
#[cfg(target_os = "linux")]
mod upgrade;
mod versions;
mod waiter;
mod watch;
mod wire;
mod words;
