//! What several tests stand on.

pub mod checker;
pub mod hub_process;
pub mod mcp;
pub mod stage;
#[cfg(target_os = "linux")]
pub mod user_manager;
