//! The hub under a real `systemd --user`, with the units as shipped, and the plans that install them.

#[cfg(target_os = "linux")]
mod activation;
#[cfg(target_os = "linux")]
mod desktop;
#[cfg(target_os = "linux")]
mod hardening;
#[cfg(target_os = "linux")]
mod history;
#[cfg(target_os = "linux")]
mod machines;
#[cfg(target_os = "linux")]
mod no_network;
#[cfg(target_os = "linux")]
mod operations;
mod plan;
#[cfg(target_os = "linux")]
mod recovery;
#[cfg(target_os = "linux")]
mod units;
#[cfg(target_os = "linux")]
mod upgrade;
