//! Whether the server keeps machines apart: this machine tries to do what only another one may. Pure.
//!
//! A server says no in a message of its own (`Permissions Violation for …`), and says nothing where it allows. So one thing
//! is asked in addition that this machine may do: it sends itself a line. What was asked before that is decided once that has
//! come back. The machine that it pretends to be has a random name: whatever allows more than named machines, allows that
//! one. (Both texts as of nats-server 2.9.10 and 2.15.1.)

use super::subject::{self, Machine};

/// What the server did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    /// It keeps machines apart.
    Restricted,
    /// This machine could read what is sent to others, or send in their names.
    Shared(Excess),
    /// It does not let this machine listen to its own mail.
    Deaf,
}

/// What a machine may do and should not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Excess {
    /// Read what is sent to others.
    Reads,
    /// Send in the name of others.
    Forges,
}

/// What was asked of the server on one connection, and what it said.
#[derive(Debug)]
pub(super) struct Probe {
    own_mail: String,
    /// The subjects of another machine's mail.
    pub(super) foreign_mail: String,
    /// What another machine would send this one.
    pub(super) forged: String,
    /// What this machine sends itself.
    pub(super) to_self: String,
    /// The text of what is sent, by which it is known again.
    pub(super) mark: String,
    cannot_read: bool,
    cannot_forge: bool,
    has_forged: bool,
    is_deaf: bool,
    has_answered: bool,
}

impl Probe {
    /// Returns a probe. `nonce` is random and has never been used.
    pub(super) fn new(own: &Machine, other: &Machine, nonce: u64) -> Self {
        Self {
            own_mail: subject::mail_of(own),
            foreign_mail: subject::mail_of(other),
            forged: subject::from_to(other, own),
            to_self: subject::from_to(own, own),
            mark: format!("probe {nonce:016x}"),
            cannot_read: false,
            cannot_forge: false,
            has_forged: false,
            is_deaf: false,
            has_answered: false,
        }
    }

    /// Takes what the server says is wrong.
    pub(super) fn handle_error(&mut self, text: &str) {
        let Some((what, subject)) = violation(text) else { return };
        match what {
            Violation::Subscribe if subject == self.own_mail => self.is_deaf = true,
            Violation::Subscribe if subject == self.foreign_mail => self.cannot_read = true,
            Violation::Publish if subject == self.forged => self.cannot_forge = true,
            // It may send to some machines and not to itself: this came after the others all the same.
            Violation::Publish if subject == self.to_self => self.has_answered = true,
            Violation::Subscribe | Violation::Publish => {}
        }
    }

    /// Takes what has come.
    pub(super) fn handle_mail(&mut self, subject: &str, payload: &[u8]) {
        if payload == self.mark.as_bytes() {
            self.has_forged |= subject == self.forged;
            self.has_answered |= subject == self.to_self;
        }
    }

    /// Returns whether the server has said all that it says without delay. What it forbids may still be on its way from one
    /// queue of this process to another.
    pub(super) const fn has_answered(&self) -> bool {
        self.has_answered
    }

    /// Returns what is known for certain; nothing, where the server has yet to speak.
    pub(super) const fn finding(&self) -> Option<Finding> {
        match self {
            Self { is_deaf: true, .. } => Some(Finding::Deaf),
            Self { has_forged: true, .. } => Some(Finding::Shared(Excess::Forges)),
            Self { cannot_read: true, cannot_forge: true, .. } => Some(Finding::Restricted),
            Self { .. } => None,
        }
    }

    /// Returns what is known where the server has said all that it says: what it has not forbidden is allowed.
    pub(super) const fn last_finding(&self) -> Finding {
        match self.finding() {
            Some(finding) => finding,
            None if self.cannot_read => Finding::Shared(Excess::Forges),
            None => Finding::Shared(Excess::Reads),
        }
    }
}

/// What a server does not let a user do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Violation {
    /// Listen to these subjects.
    Subscribe,
    /// Send on this subject.
    Publish,
}

/// Returns what the server does not allow, and on which subject, where it says so.
pub(super) fn violation(text: &str) -> Option<(Violation, &str)> {
    let rest = text.strip_prefix("Permissions Violation for ")?;
    let (what, rest) = match rest.strip_prefix("Publish to ") {
        Some(rest) => (Violation::Publish, rest),
        None => (Violation::Subscribe, rest.strip_prefix("Subscription to ")?),
    };
    let (subject, _queue) = rest.strip_prefix('"')?.split_once('"')?;
    Some((what, subject))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_READING: &str = "Permissions Violation for Subscription to \"relay.1.probe.*\"";
    const NO_FORGING: &str = "Permissions Violation for Publish to \"relay.1.laptop.probe\"";
    const DEAF: &str = "Permissions Violation for Subscription to \"relay.1.laptop.*\"";
    const MUTE: &str = "Permissions Violation for Publish to \"relay.1.laptop.laptop\"";

    fn probe(errors: &[&str]) -> Probe {
        let mut probe = Probe::new(&Machine::parse("laptop").unwrap(), &Machine::parse("probe").unwrap(), 7);
        for error in errors {
            probe.handle_error(error);
        }
        probe
    }

    #[test]
    fn server_that_forbids_both_keeps_machines_apart() {
        assert_eq!(probe(&[NO_READING, NO_FORGING]).finding(), Some(Finding::Restricted));
        assert_eq!(probe(&[NO_FORGING, NO_READING, MUTE]).last_finding(), Finding::Restricted);
    }

    #[test]
    fn server_that_forbids_one_or_nothing_is_shared() {
        for (errors, excess) in [
            (&[][..], Excess::Reads),
            (&[NO_FORGING], Excess::Reads),
            (&[NO_READING], Excess::Forges),
            (&[NO_READING, "Permissions Violation for Publish to \"relay.1.laptop.x\""], Excess::Forges),
        ] {
            assert_eq!(probe(errors).finding(), None);
            assert_eq!(probe(errors).last_finding(), Finding::Shared(excess), "{errors:?}");
        }
    }

    #[test]
    fn forged_line_that_arrives_is_proof() {
        let mut probe = probe(&[NO_READING, NO_FORGING]);
        probe.handle_mail("relay.1.laptop.probe", b"probe 0000000000000008");
        assert_eq!(probe.last_finding(), Finding::Restricted);
        probe.handle_mail("relay.1.laptop.probe", b"probe 0000000000000007");
        assert_eq!(probe.finding(), Some(Finding::Shared(Excess::Forges)));
    }

    #[test]
    fn machine_that_cannot_hear_its_mail_is_deaf() {
        assert_eq!(probe(&[DEAF, NO_READING, NO_FORGING]).finding(), Some(Finding::Deaf));
    }

    #[test]
    fn answer_is_the_own_line_or_its_refusal() {
        let mut heard = probe(&[]);
        heard.handle_mail("relay.1.laptop.laptop", b"probe 0000000000000007");
        assert!(heard.has_answered() && probe(&[MUTE]).has_answered() && !probe(&[NO_FORGING]).has_answered());
    }

    #[test]
    fn violation_names_its_subject() {
        let queue = "Permissions Violation for Subscription to \"a.b\" using queue \"q\"";
        assert_eq!(violation(queue), Some((Violation::Subscribe, "a.b")));
        assert_eq!(violation("Authorization Violation"), None);
    }
}
