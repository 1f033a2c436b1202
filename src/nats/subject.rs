//! The subjects of the transport, `relay.1.RECEIVER.SENDER`: who may publish on one and who may listen to it is what the
//! server knows of a machine, so a subject says truly who sent what came on it. Pure.

use unicode_normalization::char::is_combining_mark;

/// What all subjects begin with; the number is the version of the lines that they carry.
const PREFIX: &str = "relay.1";

/// The most characters that a machine's name may have.
const NAME_MAX_CHARS: usize = 64;

/// Says why a text is no machine's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{given}\" is no name of a machine: it has to be 1 to 64 letters, digits and hyphens")]
pub struct NameError {
    given: String,
}

/// A machine's name: one token of a subject, without anything that means more to the server than itself.
///
/// The server splits subjects at dots and gives `*` and `>` a meaning; spaces would end a subject on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine(String);

impl Machine {
    /// Reads a name.
    ///
    /// # Errors
    /// It is empty, too long, or holds anything but letters, digits, their marks and hyphens.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let is_plain = |c: char| c.is_alphanumeric() || c == '-' || is_combining_mark(c);
        let is_name = (1..=NAME_MAX_CHARS).contains(&text.chars().count()) && text.chars().all(is_plain);
        if is_name { Ok(Self(text.to_owned())) } else { Err(NameError { given: text.chars().take(80).collect() }) }
    }

    /// Returns the name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Returns the subject of what one machine sends another.
pub(super) fn from_to(from: &Machine, to: &Machine) -> String {
    format!("{PREFIX}.{}.{}", to.0, from.0)
}

/// Returns the subjects of all that is sent to a machine.
pub(super) fn mail_of(machine: &Machine) -> String {
    format!("{PREFIX}.{}.*", machine.0)
}

/// Returns who sent what came on this subject, if it is one of the mail of this machine.
pub(super) fn sender(subject: &str, own: &Machine) -> Option<Machine> {
    let rest = subject.strip_prefix(PREFIX)?.strip_prefix('.')?;
    let from = rest.strip_prefix(own.as_str())?.strip_prefix('.')?;
    Machine::parse(from).ok()
}

/// Returns what the server's configuration has to allow this machine and nothing more, as a user's entry in
/// `nats-server.conf` has it.
pub fn permissions(machine: &Machine) -> String {
    let name = machine.as_str();
    let publish = format!("{PREFIX}.*.{name}");
    format!("permissions: {{\n  publish: \"{publish}\"\n  subscribe: \"{}\"\n}}", mail_of(machine))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn machine(name: &str) -> Machine {
        Machine::parse(name).unwrap()
    }

    #[test]
    fn name_is_letters_digits_and_hyphens_of_any_script() {
        for name in ["desk", "laptop-2", "Größe", "机器", "हिन्दी", &"x".repeat(64)] {
            assert_eq!(machine(name).as_str(), name);
        }
        for text in ["", ".", "*", ">", "a.b", "a b", "a\tb", "a\r\nPUB x 0", "desk.>", "$SYS", "_", &"x".repeat(65)] {
            assert!(Machine::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn sender_is_who_the_subject_says() {
        let (desk, laptop) = (machine("desk"), machine("laptop"));
        assert_eq!(from_to(&desk, &laptop), "relay.1.laptop.desk");
        assert_eq!(sender("relay.1.laptop.desk", &laptop), Some(desk));
        for foreign in
            ["relay.1.desk.laptop", "relay.1.laptop", "relay.1.laptop.a.b", "relay.2.laptop.desk", "relay.1.laptop.*"]
        {
            assert_eq!(sender(foreign, &laptop), None, "{foreign}");
        }
        assert_eq!(sender("relay.1.laptop.desk", &machine("lap")), None);
    }

    #[test]
    fn permissions_are_those_of_one_machine() {
        insta::assert_snapshot!(permissions(&machine("laptop")), @r#"
        permissions: {
          publish: "relay.1.*.laptop"
          subscribe: "relay.1.laptop.*"
        }
        "#);
    }

    proptest! {
        #[test]
        fn no_name_breaks_out_of_its_token(text in "\\PC{0,8}|[.*> \\t\\r\\na-z]{0,8}") {
            if let Ok(name) = Machine::parse(&text) {
                let subject = from_to(&name, &machine("laptop"));
                prop_assert_eq!(subject.split('.').count(), 4);
                prop_assert!(!subject.contains(['*', '>', ' ', '\t', '\r', '\n']));
                prop_assert_eq!(sender(&subject, &machine("laptop")), Some(name));
            }
        }
    }
}
