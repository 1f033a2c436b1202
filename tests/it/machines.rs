//! Two and three machines on this one: each with a real hub, bridge, channels and `relayctl`, in directories of its own.

mod asking;
mod faults;
mod rights;
mod rings;
mod stage;
