//! Waits for a time that may not be set.

use std::time::Instant;

/// Returns at this time; never where there is none.
pub(crate) async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
