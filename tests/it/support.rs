//! What several tests stand on.

#[cfg(target_os = "linux")]
pub mod chaos_clients;
pub mod checker;
pub mod claude_code;
pub mod hub;
#[cfg(target_os = "linux")]
pub mod hub_finder;
pub mod hub_process;
#[cfg(target_os = "linux")]
pub mod installed;
#[cfg(target_os = "linux")]
pub mod load;
pub mod mcp;
pub mod other_versions;
pub mod program_copy;
pub mod random;
pub mod record;
pub mod skip;
pub mod stage;
pub mod terminal;
#[cfg(target_os = "linux")]
pub mod user_manager;
