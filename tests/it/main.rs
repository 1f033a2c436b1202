//! The integration tests, in one binary.

mod hub_model;
mod simulation;
mod support;
