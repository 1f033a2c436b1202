//! What a request must be, whatever the hub knows.

use super::limits::{ADDRESS_MAX_BYTES, ADDRESSES_MAX};
use super::refusals::{self, Refused};
use crate::protocol::{Ask, Audience, BODY_MAX_BYTES, Broadcast, TIMEOUT_MAX_S};

/// Checks an ask. `is_without_text`: its session has the text.
///
/// # Errors
/// Its text, its time or its address is out of bounds. A slug is cut; what it is made of must have a bound as well.
pub(super) fn ask(ask: &Ask, is_without_text: bool) -> Result<(), Refused> {
    if !is_without_text {
        text(&ask.question)?;
    }
    timeout(ask.timeout_ms)?;
    address(&ask.to)
}

fn address(address: &str) -> Result<(), Refused> {
    let bytes = address.len();
    if bytes <= ADDRESS_MAX_BYTES { Ok(()) } else { Err(refusals::address_too_long(bytes, ADDRESS_MAX_BYTES)) }
}

/// Checks a broadcast.
///
/// # Errors
/// Its text, its time or its audience is out of bounds.
pub(super) fn broadcast(broadcast: &Broadcast) -> Result<(), Refused> {
    text(&broadcast.question)?;
    timeout(broadcast.timeout_ms)?;
    audience(&broadcast.audience)
}

/// Checks whom a broadcast is for.
///
/// # Errors
/// There are too many addresses, one is too long, or the folder is no absolute path.
pub(super) fn audience(audience: &Audience) -> Result<(), Refused> {
    let to = audience.to.as_deref().unwrap_or_default();
    if to.len() > ADDRESSES_MAX {
        return Err(refusals::too_many_addresses(to.len(), ADDRESSES_MAX));
    }
    to.iter().chain(&audience.folder).try_for_each(|text| address(text))?;
    match &audience.folder {
        Some(folder) if !folder.starts_with('/') => Err(refusals::relative_folder(folder)),
        Some(_) | None => Ok(()),
    }
}

/// Checks a question's or a reply's text.
///
/// # Errors
/// It is empty or over its limit.
pub(super) fn text(text: &str) -> Result<(), Refused> {
    if text.trim().is_empty() {
        Err(refusals::empty_text())
    } else if text.len() > BODY_MAX_BYTES {
        Err(refusals::body_too_large(text.len()))
    } else {
        Ok(())
    }
}

/// Checks how long an ask is to stay open. One that is sent again may have less than a second left.
fn timeout(timeout_ms: u64) -> Result<(), Refused> {
    let bounds = 1..=TIMEOUT_MAX_S * 1000;
    if bounds.contains(&timeout_ms) { Ok(()) } else { Err(refusals::timeout_out_of_bounds(timeout_ms)) }
}
