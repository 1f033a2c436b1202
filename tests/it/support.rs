//! What several tests stand on.

pub mod hub_process;
#[cfg(target_os = "linux")]
pub mod installed;
pub mod mcp;
#[cfg(target_os = "linux")]
pub mod user_manager;
