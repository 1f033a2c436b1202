//! The channel.
pub mod inbox;
pub mod neutralise;
pub mod notification;
pub mod session;
pub mod tools;
