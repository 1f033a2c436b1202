//! What several tests stand on.

pub mod checker;
pub mod claude_code;
#[cfg(target_os = "linux")]
pub mod chaos_clients;
pub mod hub;
#[cfg(target_os = "linux")]
pub mod hub_finder;
pub mod hub_process;
#[cfg(target_os = "linux")]
pub mod installed;
pub mod mcp;
pub mod other_versions;
pub mod random;
pub mod record;
pub mod stage;
#[cfg(target_os = "linux")]
pub mod load;
#[cfg(target_os = "linux")]
pub mod user_manager;
