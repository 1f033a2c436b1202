//! What several tests stand on.

pub mod user_manager;
