//! The integration tests: one binary, one module for each part of the product.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks at the messages that it is about")]
#![allow(unreachable_pub, reason = "one binary: what a module offers is for the others")]

mod bridge;
mod channel;
mod cli;
mod daemon;
#[cfg(target_os = "linux")]
mod faults;
mod hub;
#[cfg(all(feature = "nats", target_os = "linux"))]
mod nats;
mod service;
mod session;
mod support;
mod tidy;
