//! What several tests share.

pub(crate) mod hub;
pub(crate) mod random;
