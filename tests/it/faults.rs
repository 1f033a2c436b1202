//! The hub is killed at every point that `relay::fault` lists, under a real `systemd --user`, while sessions talk.
//!
//! `RELAY_TEST_KILLS=10000 cargo test --test it -- faults::hub --nocapture` is the long run.

mod channel;
mod hub;
