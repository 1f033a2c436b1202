//! The hub is killed at every point that `relay::fault` lists, under a real `systemd --user`, while sessions talk.
//!
//! `RELAY_TEST_KILLS=10000 cargo test --test it -- faults::crash_points::hub --nocapture` is the long run, and
//! `CARGO_PROFILE_DEV_OPT_LEVEL=1` halves what it asks of the machine. `RELAY_TEST_HUBS=n` runs so many beside each other.

mod channel;
mod hub;
