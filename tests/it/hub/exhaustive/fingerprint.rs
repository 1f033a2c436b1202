//! A state's text made short: two states with one fingerprint are taken for the same.

use std::cell::Cell;
use std::fmt::{Debug, Write as _};
use std::ops::{Deref, DerefMut};

/// A part of a state whose fingerprint is kept until the part is touched.
#[derive(Clone)]
pub(super) struct Part<T> {
    value: T,
    print: Cell<Option<u128>>,
}

impl<T> Part<T> {
    pub(super) const fn new(value: T) -> Self {
        Self { value, print: Cell::new(None) }
    }

    /// Returns whether the part may have changed since its fingerprint was taken last.
    pub(super) const fn is_touched(&self) -> bool {
        self.print.get().is_none()
    }
}

impl<T> Deref for Part<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Part<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.print.set(None);
        &mut self.value
    }
}

/// A part's text is its fingerprint.
impl<T: Debug> Debug for Part<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let print = self.print.get().unwrap_or_else(|| of(&self.value, &mut String::new()));
        self.print.set(Some(print));
        write!(f, "{print:x}")
    }
}

/// Returns the fingerprint of whatever has a text: 128 bits, in which two of a million states meet by accident with a
/// chance of one in 10^26.
pub(super) fn of(what: &impl Debug, text: &mut String) -> u128 {
    text.clear();
    write!(text, "{what:?}").expect("memory takes every byte");
    let (mut low, mut high) = (0x9e37_79b9_7f4a_7c15_u64, 0xc2b2_ae3d_27d4_eb4f_u64);
    for chunk in text.as_bytes().chunks(8) {
        let mut bytes = [0; 8];
        bytes[..chunk.len()].copy_from_slice(chunk);
        let word = u64::from_le_bytes(bytes);
        low = (low ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd).rotate_left(29);
        high = high.rotate_left(31).wrapping_add(word).wrapping_mul(0xc4ce_b9fe_1a85_ec53) ^ low;
    }
    u128::from(high) << 64 | u128::from(low)
}
