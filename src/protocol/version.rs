//! Protocol versions: which ones each side speaks, and which one both do.

use serde::{Deserialize, Serialize};

/// The protocol versions that this build speaks: the newest and the one before.
///
/// The features are for tests of mixed versions only: a build that speaks one version more, and one that has nothing in
/// common with this.
pub const VERSIONS: VersionRange = if cfg!(feature = "later-protocol") {
    VersionRange { min: 1, max: 2 }
} else if cfg!(feature = "foreign-protocol") {
    VersionRange { min: 90, max: 91 }
} else {
    VersionRange { min: 1, max: 1 }
};

/// A range of protocol versions, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRange {
    /// The oldest version.
    pub min: u32,
    /// The newest version.
    pub max: u32,
}

impl VersionRange {
    /// Returns the newest version that both ranges hold.
    pub fn common(self, other: Self) -> Option<u32> {
        let newest = self.max.min(other.max);
        (newest >= self.min.max(other.min)).then_some(newest)
    }
}
