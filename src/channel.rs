//! The channel.
pub mod neutralise;
pub mod notification;
