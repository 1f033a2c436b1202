//! Linked machines: a simulation of the rules, and two and three machines on this one, each with a real hub, bridge, channels
//! and `relayctl` in directories of its own.

#[cfg(target_os = "linux")]
mod asking;
#[cfg(target_os = "linux")]
mod containers;
#[cfg(target_os = "linux")]
mod faults;
#[cfg(all(target_os = "linux", feature = "nats"))]
mod nats;
#[cfg(target_os = "linux")]
pub(crate) mod network;
#[cfg(target_os = "linux")]
mod rights;
#[cfg(target_os = "linux")]
mod rings;
mod simulation;
#[cfg(target_os = "linux")]
mod ssh;
#[cfg(target_os = "linux")]
mod stage;
