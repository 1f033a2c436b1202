//! The wire protocol between the hub and its clients. This page is its specification.

pub mod codec;
mod error;
mod id;
mod message;
mod name;

pub use error::{ErrorCode, Refusal};
pub use id::{AskId, BroadcastId, IdError, PeerKey, PeerTag};
pub use message::*;
pub use name::{FALLBACK_NAME, NAME_MAX_CHARS, NameError, PeerName, RESERVED_NAMES, SHELL};

/// The most bytes of a question or a reply, as UTF-8.
pub const BODY_MAX_BYTES: usize = 64 * 1024;

/// The longest time that an ask may stay open, in seconds: a day.
pub const TIMEOUT_MAX_S: u64 = 86_400;

/// The time that an ask stays open where its asker says nothing, in seconds.
pub const TIMEOUT_DEFAULT_S: u64 = 600;

/// The protocol versions that this build speaks: the newest and the one before.
pub const VERSIONS: VersionRange = VersionRange { min: 1, max: 1 };
