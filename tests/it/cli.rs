//! `relayctl` as a person and a script see it.

mod arguments;
#[cfg(target_os = "linux")]
mod board;
#[cfg(target_os = "linux")]
mod broken_states;
mod completions;
mod demo;
#[cfg(target_os = "linux")]
mod doctor;
mod exit_codes;
mod history;
mod machines;
#[cfg(target_os = "linux")]
mod notify;
#[cfg(target_os = "linux")]
mod one_hub;
#[cfg(target_os = "linux")]
mod setup;
mod telling;
mod waiting;
mod watch;
