//! What to do about a hub that is not reached: one sentence that says what was seen, and one line that can be pasted into
//! a shell. Pure; `observation` looks.
//!
//! All programs take their advice from here. A line that only a person can carry out is a comment of the shell, see
//! [`by_hand`]: pasted it does nothing.

use std::path::{Path, PathBuf};

mod observation;
pub mod startup;

pub use observation::{connect, observe};

/// What starts a hub where no service manager does.
pub const START_HUB: &str = "relayctl hub start";

/// What repairs everything that can be repaired without a person.
pub const REPAIR: &str = "relayctl doctor --fix";

/// What was seen at the hub's socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    /// There is no such file (ENOENT).
    Missing,
    /// The socket is there and nobody listens at it (ECONNREFUSED).
    Refused,
    /// The modes keep this user out (EACCES).
    Denied {
        /// What keeps out: the socket or its directory.
        path: PathBuf,
        /// The mode that it has to have.
        mode: u32,
    },
    /// The system lets this process use no Unix socket at all (EPERM), as in a sandbox.
    Forbidden,
    /// The socket or its directory is of another user.
    Foreign {
        /// What is of another user.
        path: PathBuf,
        /// The user's id.
        owner: u32,
    },
    /// What is there is no socket, or no directory above it.
    NoSocket {
        /// What is in the way.
        path: PathBuf,
    },
    /// Somebody listens and does not answer.
    Silent,
    /// The hub ends each time it is started.
    Failing {
        /// What it said last.
        reason: String,
        /// What is to be done about it.
        next: String,
    },
    /// The connect failed otherwise.
    Other {
        /// In the system's words.
        error: String,
    },
}

impl Observation {
    /// Returns whether waiting cannot change it: whoever sees it says so at once.
    pub const fn is_final(&self) -> bool {
        match self {
            Self::Denied { .. }
            | Self::Forbidden
            | Self::Foreign { .. }
            | Self::NoSocket { .. }
            | Self::Failing { .. } => true,
            Self::Missing | Self::Refused | Self::Silent | Self::Other { .. } => false,
        }
    }
}

/// Where the hub is looked for.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The socket.
    pub socket: &'a Path,
    /// What names it, an option or a variable; none where it is the default place.
    pub named_by: Option<&'static str>,
}

/// Who would start a hub at the place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Starter<'a> {
    /// Nobody has looked.
    Unknown,
    /// No service manager answers.
    Nobody,
    /// A service manager answers.
    Manager {
        /// What its own state asks for, if anything.
        cure: Option<&'a str>,
        /// The command that replaces the hub that runs.
        restart: &'a str,
    },
}

/// What to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// What was seen.
    pub sentence: String,
    /// What to do now.
    pub next: String,
}

/// Returns what to tell of what was seen.
pub fn advise(seen: &Observation, place: Place<'_>, starter: Starter<'_>) -> Advice {
    let socket = place.socket.display();
    let named = place.named_by.map(|name| format!(", where {name} points")).unwrap_or_default();
    let sentence = match seen {
        Observation::Missing => format!("no hub listens: there is no socket at {socket}{named}"),
        Observation::Refused => format!("no hub listens: nobody answers at the socket {socket}{named}"),
        Observation::Denied { path, .. } => format!("the mode of {} keeps you out", path.display()),
        Observation::Forbidden => "this process may not use Unix sockets, as in a sandbox".to_owned(),
        Observation::Foreign { path, owner } => format!("{} belongs to user {owner}, not to you", path.display()),
        Observation::NoSocket { path } => format!("{} is in the way of the hub's socket{named}", path.display()),
        Observation::Silent => format!("the hub at {socket}{named} does not answer"),
        Observation::Failing { reason, .. } => format!("the hub cannot start: {reason}"),
        Observation::Other { error } => format!("{socket}{named} cannot be connected to: {error}"),
    };
    Advice { sentence, next: next(seen, place, starter) }
}

fn next(seen: &Observation, place: Place<'_>, starter: Starter<'_>) -> String {
    match seen {
        Observation::Denied { path, mode } => format!("chmod {mode:o} {}", quoted(path)),
        Observation::Forbidden => by_hand("run it outside the sandbox; in a session, call the tool relay_ask instead"),
        Observation::Failing { next, .. } => next.clone(),
        Observation::Foreign { path, owner } => place.named_by.map_or_else(|| give_back(path, *owner), unnamed),
        Observation::NoSocket { path } => match place.named_by {
            Some(name) => unnamed(name),
            None => format!("mv {0} {0}.old && {REPAIR}", quoted(path)),
        },
        Observation::Missing | Observation::Refused => match (place.named_by, starter) {
            (Some(_), _) => format!("{START_HUB} --socket {}", quoted(place.socket)),
            (None, Starter::Nobody) => START_HUB.to_owned(),
            (None, Starter::Manager { cure: Some(cure), .. }) => cure.to_owned(),
            (None, Starter::Manager { cure: None, .. } | Starter::Unknown) => REPAIR.to_owned(),
        },
        Observation::Silent | Observation::Other { .. } => match (place.named_by, starter) {
            (Some(_), _) => restart_started(&format!(" --socket {}", quoted(place.socket))),
            (None, Starter::Nobody) => restart_started(""),
            (None, Starter::Manager { cure: Some(cure), .. }) => cure.to_owned(),
            (None, Starter::Manager { cure: None, restart }) => restart.to_owned(),
            (None, Starter::Unknown) => REPAIR.to_owned(),
        },
    }
}

/// Returns what replaces a hub that somebody started by hand.
fn restart_started(option: &str) -> String {
    format!("relayctl hub stop{option}; {START_HUB}{option}")
}

/// Returns what makes programs look for the hub in the default place again.
pub fn unnamed(named_by: &str) -> String {
    if named_by.starts_with("--") {
        format!("relayctl status   # without {named_by}")
    } else {
        format!("unset {named_by}")
    }
}

/// Returns what to do where something in one's own place is of another user: take what root has left there, nobody else's.
pub fn give_back(path: &Path, owner: u32) -> String {
    match owner {
        0 => format!("sudo chown -R \"$(id -u)\" {}", quoted(path)),
        _ => by_hand(&format!("run it as user {owner}, without sudo, or set HOME to a folder of your own")),
    }
}

/// Returns the line for something that no command does: a comment of the shell.
pub fn by_hand(what: &str) -> String {
    format!("# {what}")
}

/// Returns the line as a person is shown it: what is no command of the shell becomes a comment of it.
pub fn pasteable(next: &str) -> String {
    let next = next.strip_prefix("run: ").unwrap_or(next);
    let first = next.split([' ', ';']).next().unwrap_or_default();
    // A variable may be set for one command.
    if next.starts_with('#') || first.contains('=') || COMMANDS.contains(&first) {
        next.to_owned()
    } else {
        by_hand(next)
    }
}

/// The programs that advice names.
const COMMANDS: [&str; 27] = [
    "relayctl",
    "relay-hub",
    "relay-channel",
    "relay-bridge",
    "relay-nats",
    "ssh",
    "ssh-copy-id",
    "systemctl",
    "launchctl",
    "chmod",
    "chown",
    "sudo",
    "rm",
    "kill",
    "unset",
    "export",
    "claude",
    "cd",
    "df",
    "fuser",
    "ulimit",
    "mv",
    "cat",
    "ls",
    "mkdir",
    "loginctl",
    "npm",
];

/// Returns a path as one word of a shell.
pub fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=@,+".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(seen: &Observation, named_by: Option<&'static str>, starter: Starter<'_>) -> String {
        let place = Place { socket: Path::new("/run/user/1/relay/hub.sock"), named_by };
        let Advice { sentence, next } = advise(seen, place, starter);
        format!("{sentence} -> {next}")
    }

    #[test]
    fn each_observation_has_its_sentence_and_its_command() {
        let directory = PathBuf::from("/run/user/1/relay");
        let seen = [
            Observation::Missing,
            Observation::Refused,
            Observation::Denied { path: directory.clone(), mode: 0o700 },
            Observation::Forbidden,
            Observation::Foreign { path: directory.clone(), owner: 0 },
            Observation::Foreign { path: directory, owner: 7 },
            Observation::NoSocket { path: "/run/user/1/relay".into() },
            Observation::Silent,
            Observation::Failing { reason: "no such limit".to_owned(), next: by_hand("correct it") },
            Observation::Other { error: "no memory".to_owned() },
        ];
        let said: Vec<String> = seen.iter().map(|seen| told(seen, None, Starter::Unknown)).collect();
        insta::assert_snapshot!(said.join("\n"), @r#"
        no hub listens: there is no socket at /run/user/1/relay/hub.sock -> relayctl doctor --fix
        no hub listens: nobody answers at the socket /run/user/1/relay/hub.sock -> relayctl doctor --fix
        the mode of /run/user/1/relay keeps you out -> chmod 700 /run/user/1/relay
        this process may not use Unix sockets, as in a sandbox -> # run it outside the sandbox; in a session, call the tool relay_ask instead
        /run/user/1/relay belongs to user 0, not to you -> sudo chown -R "$(id -u)" /run/user/1/relay
        /run/user/1/relay belongs to user 7, not to you -> # run it as user 7, without sudo, or set HOME to a folder of your own
        /run/user/1/relay is in the way of the hub's socket -> mv /run/user/1/relay /run/user/1/relay.old && relayctl doctor --fix
        the hub at /run/user/1/relay/hub.sock does not answer -> relayctl doctor --fix
        the hub cannot start: no such limit -> # correct it
        /run/user/1/relay/hub.sock cannot be connected to: no memory -> relayctl doctor --fix
        "#);
    }

    #[test]
    fn who_would_start_the_hub_decides_what_starts_it() {
        let manager = |cure| Starter::Manager { cure, restart: "systemctl --user restart relay.service" };
        let said = [
            told(&Observation::Missing, None, Starter::Nobody),
            told(&Observation::Missing, None, manager(Some("relayctl install-service"))),
            told(&Observation::Silent, None, manager(None)),
            told(&Observation::Silent, None, Starter::Nobody),
            told(&Observation::Missing, Some("RELAY_SOCKET"), manager(Some("relayctl install-service"))),
            told(&Observation::Silent, Some("RELAY_SOCKET"), Starter::Nobody),
            told(&Observation::NoSocket { path: "/etc/passwd".into() }, Some("RELAY_SOCKET"), Starter::Unknown),
            told(&Observation::NoSocket { path: "/etc/passwd".into() }, Some("--socket"), Starter::Unknown),
        ];
        insta::assert_snapshot!(said.join("\n"), @"
        no hub listens: there is no socket at /run/user/1/relay/hub.sock -> relayctl hub start
        no hub listens: there is no socket at /run/user/1/relay/hub.sock -> relayctl install-service
        the hub at /run/user/1/relay/hub.sock does not answer -> systemctl --user restart relay.service
        the hub at /run/user/1/relay/hub.sock does not answer -> relayctl hub stop; relayctl hub start
        no hub listens: there is no socket at /run/user/1/relay/hub.sock, where RELAY_SOCKET points -> relayctl hub start --socket /run/user/1/relay/hub.sock
        the hub at /run/user/1/relay/hub.sock, where RELAY_SOCKET points does not answer -> relayctl hub stop --socket /run/user/1/relay/hub.sock; relayctl hub start --socket /run/user/1/relay/hub.sock
        /etc/passwd is in the way of the hub's socket, where RELAY_SOCKET points -> unset RELAY_SOCKET
        /etc/passwd is in the way of the hub's socket, where --socket points -> relayctl status   # without --socket
        ");
    }

    #[test]
    fn a_line_that_is_no_command_is_a_comment() {
        assert_eq!(pasteable("run: relayctl status"), "relayctl status");
        assert_eq!(pasteable("log in again"), "# log in again");
        assert_eq!(pasteable(&by_hand("log in")), "# log in");
        assert_eq!(quoted(Path::new("/it's here")), r"'/it'\''s here'");
    }
}
