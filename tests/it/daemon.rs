//! A real hub on a real socket: frames, limits, other users, versions, scarce resources.

mod fd_passing;
mod first_clients;
#[cfg(target_os = "linux")]
mod flood;
mod limits;
mod limits_documented;
#[cfg(target_os = "linux")]
mod other_users;
#[cfg(target_os = "linux")]
mod resource_exhaustion;
mod samples;
mod startup_errors;
mod versions;
mod wire;
