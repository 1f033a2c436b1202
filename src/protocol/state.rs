//! What kind of ask it is, how far it has come, and how it ends.

use serde::{Deserialize, Serialize};

/// What an asker wants of the asked session. Whatever is said of asks holds of both, where nothing else is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AskKind {
    /// A reply.
    #[default]
    Ask,
    /// That the session is shown a text: it ends with that, and takes no reply.
    Tell,
}

impl AskKind {
    /// Returns whether it is an ask in the narrow sense: it is left out on the wire.
    pub const fn is_ask(&self) -> bool {
        matches!(self, Self::Ask)
    }
}

/// How far an open ask has come. The order is the order of progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AskState {
    /// The hub has it.
    Accepted,
    /// The session cannot be woken now: it sees the ask at its next prompt or relay tool call.
    Held,
    /// It was written to a route into the session.
    HandedOver,
    /// The session's agent said that it goes before the model, or the session answered.
    Shown,
}

impl AskState {
    /// Returns its name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Held => "held",
            Self::HandedOver => "handed_over",
            Self::Shown => "shown",
        }
    }

    /// Returns how far an ask came, for people and models: what it was, where nothing more is known. `to`: whose session.
    pub fn told(self, to: &str) -> String {
        match self {
            Self::Accepted => format!("accepted by the hub; not confirmed that it was delivered to {to}"),
            Self::Held => format!("held by the hub: nothing could wake {to}, which has not seen it"),
            Self::HandedOver => format!("delivered to {to}; not confirmed that its model has read it"),
            Self::Shown => format!("shown to {to}"),
        }
    }

    /// Returns the same in a few words, for a list.
    pub const fn in_short(self) -> &'static str {
        match self {
            Self::Accepted => "not delivered yet",
            Self::Held => "held",
            Self::HandedOver => "delivered but not confirmed",
            Self::Shown => "shown",
        }
    }
}

/// How an ask ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AskOutcome {
    /// Its asker has the reply.
    Reply,
    /// A tell was shown to its session.
    Shown,
    /// A tell was handed over to its session, which cannot say more: it has no receipts.
    HandedOver,
    /// Its deadline passed.
    Timeout,
    /// The asked session went away.
    PeerGone,
    /// Its asker does not wait any more, or went away.
    Withdrawn,
    /// It was answered, and nobody here knows whether its asker, on another machine, has the reply.
    Unconfirmed,
}

impl AskOutcome {
    /// Returns its name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reply => "reply",
            Self::Shown => "shown",
            Self::HandedOver => "handed_over",
            Self::Timeout => "timeout",
            Self::PeerGone => "peer_gone",
            Self::Withdrawn => "withdrawn",
            Self::Unconfirmed => "unconfirmed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_on_the_wire() {
        let outcomes = [
            AskOutcome::Reply,
            AskOutcome::Shown,
            AskOutcome::HandedOver,
            AskOutcome::Timeout,
            AskOutcome::PeerGone,
            AskOutcome::Withdrawn,
            AskOutcome::Unconfirmed,
        ];
        let outcomes = outcomes.map(|outcome| (outcome.as_str(), serde_json::json!(outcome)));
        let states = [AskState::Accepted, AskState::Held, AskState::HandedOver, AskState::Shown];
        let states = states.map(|state| (state.as_str(), serde_json::json!(state)));
        for (name, wire) in outcomes.into_iter().chain(states) {
            assert_eq!(wire, name);
        }
    }
}
