//! The pure rules: scenarios, a naive model, all short sequences, a simulation with real clients' rules.

mod exhaustive;
mod fuzz_corpus;
mod loops;
mod model;
mod scenarios;
mod simulation;
