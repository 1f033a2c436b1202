//! How another machine is reached: the command that carries the lines. Pure.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::quoted::{list, quoted};
use crate::protocol::MachineName;

/// How another machine is reached.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// `ssh HOST relay-bridge stdio`.
    Ssh(SshHost),
    /// A command of the person's, such as `docker exec -i CONTAINER relay-bridge stdio`.
    Exec(Argv),
    /// `relay-nats`.
    Nats(Nats),
}

/// A host as ssh(1) takes it: `HOST`, `USER@HOST`, an alias of `~/.ssh/config`, `ssh://USER@HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct SshHost(String);

/// A program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Argv(Vec<String>);

/// A NATS server, and who this machine is there.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "NatsMembers")]
pub struct Nats {
    /// `nats://HOST:PORT` or `tls://HOST:PORT`.
    pub server: String,
    /// What proves who this machine is.
    pub identity: Identity,
    /// What this machine is called there.
    pub own_name: MachineName,
}

/// What proves who this machine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// A file with a JWT and its key, as `nsc` writes it.
    Creds(PathBuf),
    /// A file with the seed of an NKey.
    NKey(PathBuf),
}

/// Says why this is no way to a machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ViaError {
    /// ssh would take it for something else.
    #[error(
        "{0:?} is no host for ssh: HOST, USER@HOST or ssh://USER@HOST:PORT, of letters, digits and . _ - @ : % [ ] /, no part with - before it"
    )]
    Host(String),
    /// No program.
    #[error("exec wants a program and its arguments, none of them with a control character")]
    Argv,
    /// No server.
    #[error("{0:?} is no NATS server: nats://HOST:PORT or tls://HOST:PORT")]
    Server(String),
    /// Not exactly one identity.
    #[error("nats wants creds = \"FILE\" or nkey = \"FILE\", an absolute path")]
    Identity,
}

/// Options by which ssh never asks, and notices within fifteen seconds that the other side is gone.
const SSH: [&str; 10] = [
    "ssh",
    "-T",
    "-o",
    "BatchMode=yes",
    "-o",
    "ServerAliveInterval=5",
    "-o",
    "ServerAliveCountMax=3",
    "-o",
    "ConnectTimeout=10",
];

/// Where programs of a user's own are, which a shell that is no login shell often does not look through.
const OWN_PROGRAMS: &str = "$HOME/.local/bin:$HOME/.cargo/bin:/usr/local/bin:/opt/homebrew/bin";

/// The last word of a command that runs the other machine's end of a link.
const STDIO: &str = "stdio";

impl Via {
    /// Returns the command that carries the lines. `own` is what this machine is called there, `programs` the directory of
    /// this machine's programs.
    pub fn command(&self, own: &MachineName, programs: &Path) -> Vec<String> {
        match self {
            Self::Ssh(host) => host.run(&format!("relay-bridge {STDIO} --as {own}")),
            // The bridge there would have to guess who comes.
            Self::Exec(Argv(argv)) if argv.last().is_some_and(|last| last == STDIO) => {
                [argv.as_slice(), &["--as".to_owned(), own.to_string()]].concat()
            }
            Self::Exec(Argv(argv)) => argv.clone(),
            Self::Nats(nats) => {
                let program = programs.join("relay-nats").to_string_lossy().into_owned();
                let (option, file) = match &nats.identity {
                    Identity::Creds(file) => ("--creds", file),
                    Identity::NKey(file) => ("--nkey", file),
                };
                let file = file.to_string_lossy().into_owned();
                let words = ["--server", &nats.server, option, &file, "--as", nats.own_name.as_str()];
                [program].into_iter().chain(words.map(str::to_owned)).collect()
            }
        }
    }

    /// Returns the command that prints the version of the other machine's `relay-bridge`; none where nothing can be run there.
    pub fn version_command(&self) -> Option<Vec<String>> {
        match self {
            Self::Ssh(host) => Some(host.run("relay-bridge --version")),
            Self::Exec(Argv(argv)) => {
                let (last, program) = argv.split_last().filter(|(_, program)| !program.is_empty())?;
                (last == STDIO).then(|| [program, &["--version".to_owned()]].concat())
            }
            Self::Nats(_) => None,
        }
    }

    /// Returns the command that shows whether the other machine lets us in; none where that is no step of its own.
    pub fn login_command(&self) -> Option<Vec<String>> {
        match self {
            Self::Ssh(host) => Some(host.run_as_it_is("true")),
            Self::Exec(_) | Self::Nats(_) => None,
        }
    }

    /// Returns whether one process of it carries the links with several machines.
    pub const fn is_shared(&self) -> bool {
        matches!(self, Self::Nats(_))
    }

    /// Makes the way of a command line.
    ///
    /// # Errors
    /// It is empty, or holds a control character.
    pub fn exec(argv: Vec<String>) -> Result<Self, ViaError> {
        Argv::try_from(argv).map(Self::Exec)
    }

    /// Returns it as a value of TOML.
    pub(super) fn to_toml(&self) -> String {
        match self {
            Self::Ssh(host) => format!("{{ ssh = {} }}", quoted(&host.0)),
            Self::Exec(Argv(argv)) => format!("{{ exec = {} }}", list(argv.iter().map(String::as_str))),
            Self::Nats(Nats { server, identity, own_name }) => {
                let (member, file) = match identity {
                    Identity::Creds(file) => ("creds", file),
                    Identity::NKey(file) => ("nkey", file),
                };
                let (server, file) = (quoted(server), quoted(&file.to_string_lossy()));
                format!("{{ nats = {{ server = {server}, {member} = {file}, as = {} }} }}", quoted(own_name.as_str()))
            }
        }
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ssh(host) => write!(f, "ssh {}", host.0),
            Self::Exec(Argv(argv)) => f.write_str(&argv.join(" ")),
            Self::Nats(nats) => f.write_str(&nats.server),
        }
    }
}

impl SshHost {
    /// Makes a host of a text.
    ///
    /// # Errors
    /// ssh or a shell could take it, or a part of it, for something else.
    pub fn parse(text: &str) -> Result<Self, ViaError> {
        let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@:%[]/".contains(&byte);
        let begins_as_an_option = text.split(['@', '/']).any(|part| part.starts_with('-'));
        if text.is_empty() || text.len() > 255 || begins_as_an_option || !text.bytes().all(is_fit) {
            Err(ViaError::Host(text.to_owned()))
        } else {
            Ok(Self(text.to_owned()))
        }
    }

    /// Returns the command that runs one there, found also where only a login shell would look. `line` has no quote.
    fn run(&self, line: &str) -> Vec<String> {
        // Whatever shell the login has, it passes these single quotes on to sh as one word.
        self.run_as_it_is(&format!("exec sh -c 'PATH=\"$PATH:{OWN_PROGRAMS}\"; exec {line}'"))
    }

    fn run_as_it_is(&self, line: &str) -> Vec<String> {
        SSH.into_iter().chain(["--", &self.0, line]).map(str::to_owned).collect()
    }
}

impl TryFrom<String> for SshHost {
    type Error = ViaError;

    fn try_from(text: String) -> Result<Self, ViaError> {
        Self::parse(&text)
    }
}

impl TryFrom<Vec<String>> for Argv {
    type Error = ViaError;

    fn try_from(argv: Vec<String>) -> Result<Self, ViaError> {
        let is_plain = argv.iter().all(|word| !word.chars().any(char::is_control));
        let has_program = argv.first().is_some_and(|program| !program.is_empty());
        if is_plain && has_program { Ok(Self(argv)) } else { Err(ViaError::Argv) }
    }
}

/// The members of `nats`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NatsMembers {
    server: String,
    creds: Option<PathBuf>,
    nkey: Option<PathBuf>,
    #[serde(rename = "as")]
    own_name: MachineName,
}

impl TryFrom<NatsMembers> for Nats {
    type Error = ViaError;

    fn try_from(members: NatsMembers) -> Result<Self, ViaError> {
        let identity = match (members.creds, members.nkey) {
            (Some(file), None) => Identity::Creds(file),
            (None, Some(file)) => Identity::NKey(file),
            (Some(_), Some(_)) | (None, None) => return Err(ViaError::Identity),
        };
        Self::new(members.server, identity, members.own_name)
    }
}

impl Nats {
    /// Makes the way over a server.
    ///
    /// # Errors
    /// The server's address is none, or the file's path is relative.
    pub fn new(server: String, identity: Identity, own_name: MachineName) -> Result<Self, ViaError> {
        let address = server.strip_prefix("nats://").or_else(|| server.strip_prefix("tls://"));
        let is_plain = |text: &str| !text.is_empty() && !text.chars().any(|c| c.is_control() || c.is_whitespace());
        if !address.is_some_and(is_plain) {
            return Err(ViaError::Server(server));
        }
        let (Identity::Creds(file) | Identity::NKey(file)) = &identity;
        if !file.is_absolute() || file.to_string_lossy().chars().any(char::is_control) {
            return Err(ViaError::Identity);
        }
        Ok(Self { server, identity, own_name })
    }
}

/// Makes a machine's name of its host name: what is before the first dot, as far as a name may have it.
pub fn own_name(host: &str) -> MachineName {
    let label = host.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let words: Vec<&str> = label.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let name: String = words.join("-").chars().take(32).collect();
    let named = |name: &str| MachineName::parse(name.trim_end_matches('-'));
    let fallback = || named(&format!("host-{name}")).or_else(|_| named("another-machine"));
    #[expect(clippy::expect_used, reason = "the last of them is a name")]
    named(&name).or_else(|_| fallback()).expect("a machine's name")
}
