//! What several tests stand on.

pub mod hub_process;
pub mod user_manager;
