//! `relayctl machines key`: what has to be allowed a machine where it logs in: a line of `authorized_keys` or of a NATS server.

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::Named;
use crate::advice::by_hand;
use crate::bridge::machine::{MachineFiles, Via};
use crate::cli::Context;
use crate::cli::error::{CliError, Exit};
use crate::cli::output::Line;
use crate::paths::Environment;
use crate::protocol::MachineName;

/// The most bytes of a public key.
const MAX_BYTES: u64 = 16 * 1024;

/// How the types of public keys begin (ssh-keygen(1), sshd(8)).
const TYPES: [&str; 4] = ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"];

/// Print the line that lets a machine link with this one and do nothing else
///
/// For a machine that comes by ssh it is a line for ~/.ssh/authorized_keys here, made of its public key; for one that is
/// reached over NATS the rights of its user at the server.
#[derive(Debug, Args)]
pub(super) struct KeyArgs {
    #[command(flatten)]
    machine: Named,
    /// The machine's public key, such as id_ed25519.pub; without it read from standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    key: Option<PathBuf>,
    /// Print what a NATS server has to allow it
    #[arg(long, conflicts_with = "key")]
    nats: bool,
}

impl KeyArgs {
    pub(super) fn run(self, environment: &Environment, context: &mut Context) -> Result<Exit, CliError> {
        let name = self.machine.name;
        let machine = MachineFiles::of(environment)?.load_one(&name);
        let is_nats = machine.is_ok_and(|machine| machine.via.as_ref().is_some_and(Via::is_shared));
        if self.nats || is_nats {
            context.out.print(&Line::of(&nats_line(&name)))?;
            return Ok(Exit::Done);
        }
        let text = match &self.key {
            Some(file) => fs::read_to_string(file).map_err(|error| wrong(&format!("{}: {error}", file.display())))?,
            None => {
                let mut text = String::new();
                io::stdin().take(MAX_BYTES).read_to_string(&mut text).map_err(CliError::Input)?;
                text
            }
        };
        let key = public_key(&text).ok_or_else(|| wrong("that is no public key of ssh, one line"))?;
        let program = std::env::current_exe().and_then(|own| own.canonicalize()).ok();
        let program = program.map(|own| own.with_file_name("relay-bridge")).filter(|bridge| bridge.exists());
        context.out.print(&Line::of(&ssh_line(program.as_ref().and_then(|path| path.to_str()), &name, key)))?;
        Ok(Exit::Done)
    }
}

fn wrong(what: &str) -> CliError {
    let next =
        by_hand("relayctl machines key MACHINE --key FILE, the .pub file of the key that the machine logs in with");
    CliError::Obstacle { what: what.to_owned(), next }
}

/// Returns the public key in a file; none where there is anything else, such as a private one or options before it.
fn public_key(text: &str) -> Option<&str> {
    let line = text.trim();
    let mut words = line.split(' ');
    let (kind, key) = (words.next()?, words.next()?);
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    let is_kind = TYPES.iter().any(|begin| kind.starts_with(begin));
    let is_key = key.len() >= 32 && key.bytes().all(is_base64);
    (is_kind && is_key && !line.chars().any(char::is_control)).then_some(line)
}

/// Returns the line of `authorized_keys` (sshd(8)): no shell, no forwarding, nothing but the link.
fn ssh_line(program: Option<&str>, name: &MachineName, key: &str) -> String {
    // What would end the option, or mean something to the shell that runs it.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+@".contains(&byte);
    let program = program.filter(|path| path.bytes().all(is_plain)).unwrap_or("relay-bridge");
    format!("restrict,command=\"{program} stdio --as {name}\" {key}")
}

/// Returns the rights of a NATS user: by its subjects the server stamps who sends.
fn nats_line(name: &MachineName) -> String {
    format!("permissions: {{\n  publish: \"relay.1.*.{name}\"\n  subscribe: \"relay.1.{name}.*\"\n}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIg0eSkC8kQ0yF8n5ZrQ0f0d0f0d0f0d0f0d0f0d0f0d ada@laptop";

    #[test]
    fn a_key_may_do_nothing_but_link() {
        let name = MachineName::parse("laptop").unwrap();
        insta::assert_snapshot!(ssh_line(Some("/usr/bin/relay-bridge"), &name, KEY), @r#"restrict,command="/usr/bin/relay-bridge stdio --as laptop" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIg0eSkC8kQ0yF8n5ZrQ0f0d0f0d0f0d0f0d0f0d0f0d ada@laptop"#);
        for odd in ["/home/a b/relay-bridge", "/x\"/relay-bridge", "/x$(y)/relay-bridge"] {
            assert!(ssh_line(Some(odd), &name, KEY).starts_with("restrict,command=\"relay-bridge stdio"), "{odd}");
        }
        insta::assert_snapshot!(nats_line(&name), @r#"
        permissions: {
          publish: "relay.1.*.laptop"
          subscribe: "relay.1.laptop.*"
        }
        "#);
    }

    #[test]
    fn what_is_no_public_key_is_refused() {
        assert_eq!(public_key(&format!("{KEY}\n")), Some(KEY));
        for text in [
            "",
            "ssh-ed25519",
            "ssh-ed25519 short",
            "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQ",
            &format!("command=\"sh\" {KEY}"),
            &format!("{KEY}\n{KEY}"),
            &KEY.replace("ssh-ed25519 ", "ssh-ed25519 !"),
        ] {
            assert_eq!(public_key(text), None, "{text}");
        }
    }
}
