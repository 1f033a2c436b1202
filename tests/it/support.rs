//! What several tests stand on.

pub mod hub;
pub mod hub_process;
pub mod mcp;
pub mod random;
#[cfg(target_os = "linux")]
pub mod user_manager;
