//! Linked machines: hubs, bridges and sessions of several in one process.

mod simulation;
