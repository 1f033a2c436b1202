//! What the configuration of a server says of its session: the way in for an agent that no file here knows.

use super::kind::Surroundings;

/// The variable, which an agent's configuration or its plugin gives to this server alone: `session` where the session is that
/// of the process that started the server, `session:ID` where that process holds several, `run` where nobody sits before it.
pub const VARIABLE: &str = "RELAY_SESSION";

/// What it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Declared {
    /// The session is that of the process that started the server, and of this thread.
    Session(Option<String>),
    /// Nobody sits before it.
    Run,
}

/// Returns what the configuration says; none where it says nothing, or nothing that is known.
pub fn of(seen: &Surroundings<'_>) -> Option<Declared> {
    parse(&(seen.value_of)(VARIABLE)?)
}

fn parse(value: &str) -> Option<Declared> {
    match value.split_once(':') {
        Some(("session", thread)) if !thread.is_empty() => Some(Declared::Session(Some(thread.to_owned()))),
        None if value == "session" => Some(Declared::Session(None)),
        None if value == "run" => Some(Declared::Run),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_is_declared_with_or_without_its_thread() {
        assert_eq!(parse("session"), Some(Declared::Session(None)));
        assert_eq!(parse("session:ab:c"), Some(Declared::Session(Some("ab:c".to_owned()))));
        assert_eq!(parse("run"), Some(Declared::Run));
        for none in ["", "session:", "parent", "run:1"] {
            assert_eq!(parse(none), None, "{none}");
        }
    }
}
