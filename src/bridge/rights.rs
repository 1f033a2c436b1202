//! What is asked of the rules of this machine's person for another machine.

use crate::protocol::{PeerView, Refusal, RemoteSession};

/// Whether an ask of the other machine's is let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It is.
    Take,
    /// It waits until this machine's person lets it through.
    Hold,
    /// It is not.
    Refuse(Refusal),
}

/// What one other machine's rules are for asks of its sessions, by the name of the asked session here.
pub trait Policy {
    /// Returns whether the machine may ask this session.
    fn decide(&self, to: &str) -> Decision;
}

/// All rules of this machine's person for one other machine.
pub trait Rights: Policy + std::fmt::Debug {
    /// Returns what the machine may know of a session here; none where it is not to know that it is there.
    fn export(&self, session: &PeerView) -> Option<RemoteSession>;

    /// Returns whether the machine may answer what is asked here.
    fn may_answer(&self) -> bool;

    /// Returns what the machine may do here, for people.
    fn may(&self) -> &'static str;
}
