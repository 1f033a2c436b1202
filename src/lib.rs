//! Cut down until the merge.
pub mod agent;
pub mod arguments;
pub mod channel;
pub mod client;
mod deadlines;
pub mod fault;
pub mod logging;
pub mod paths;
pub mod process;
pub mod protocol;
pub mod runtime;
pub mod session;
pub mod watched;
