//! Cut down until the merge.
pub mod agent;
pub mod process;
pub mod protocol;
pub mod runtime;
pub mod session;
pub mod watched;
