//! The integration tests, in one binary.

mod hub_model;
mod hub_scenarios;
mod simulation;
mod support;
