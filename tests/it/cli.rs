//! `relayctl` as a person and a script see it.

mod arguments;
mod demo;
#[cfg(target_os = "linux")]
mod doctor;
mod exit_codes;
mod watch;
