//! What several tests stand on.

pub mod claude_code;
pub mod hub_process;
pub mod mcp;
#[cfg(target_os = "linux")]
pub mod user_manager;
