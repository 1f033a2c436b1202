//! `relayctl machines add`: how another machine is reached.

use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};

use super::{host_name, keep, machine_name};
use crate::advice::by_hand;
use crate::bridge::machine::{Identity, Machine, MachineFiles, Nats, SshHost, Via, ViaError};
use crate::cli::Context;
use crate::cli::error::{CliError, Exit};
use crate::cli::output::Line;
use crate::paths::Environment;
use crate::protocol::MachineName;

/// Say how another machine is reached, and link with it
///
/// It may then answer what sessions here ask; relayctl machines allow lets it ask as well.
#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// Call the machine so here: 1 to 32 of a-z, 0-9 and -
    #[arg(value_name = "MACHINE", value_parser = machine_name)]
    name: MachineName,
    #[command(flatten)]
    via: ViaArgs,
    /// Be called so there, instead of this machine's host name
    #[arg(long = "as", value_name = "NAME", value_parser = machine_name)]
    own_name: Option<MachineName>,
    /// The file with the user's JWT and key for the NATS server
    #[arg(long, value_name = "FILE", requires = "nats", conflicts_with = "nkey", value_hint = ValueHint::FilePath)]
    creds: Option<PathBuf>,
    /// The file with the seed of the NKey for the NATS server
    #[arg(long, value_name = "FILE", requires = "nats", value_hint = ValueHint::FilePath)]
    nkey: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct ViaArgs {
    /// Reach it by ssh: HOST, USER@HOST or ssh://USER@HOST:PORT
    #[arg(long, value_name = "HOST", value_hint = ValueHint::Hostname)]
    ssh: Option<String>,
    /// Reach it by this command, the last option: docker exec -i CONTAINER relay-bridge stdio
    #[arg(long, value_name = "COMMAND", num_args = 1.., allow_hyphen_values = true)]
    exec: Option<Vec<String>>,
    /// Reach it over this NATS server: tls://HOST:PORT
    #[arg(long, value_name = "URL")]
    nats: Option<String>,
}

impl AddArgs {
    pub(super) fn run(self, environment: &Environment, context: &mut Context) -> Result<Exit, CliError> {
        let files = MachineFiles::of(environment)?;
        let path = files.path(&self.name);
        if path.exists() {
            let what = format!("there is a machine {} already: {}", self.name, path.display());
            return Err(CliError::Obstacle { what, next: format!("relayctl machines remove {}", self.name) });
        }
        let (name, own_name) = (self.name.clone(), self.own_name.clone());
        let via = self.via().map_err(|error| CliError::Obstacle {
            what: error.to_string(),
            next: "relayctl machines add --help".to_owned(),
        })?;
        let is_ssh = matches!(via, Via::Ssh(_));
        let own_name = own_name.filter(|_| !via.is_shared());
        let machine = Machine { own_name, ..Machine::new(name, Some(via)) };
        let exit = keep(environment, &files, &machine, context)?;
        let own = machine.own_name(&host_name());
        context.out.say(&Line::of(&format!("this machine is called {own} there")));
        if is_ssh {
            context.out.say(&Line::of(&format!(
                "a key that may do nothing else: run there: relayctl machines key {own} --key FILE"
            )));
        }
        context.out.say(&Line::of(&format!("next: relayctl machines test {}", machine.name)));
        Ok(exit)
    }

    fn via(self) -> Result<Via, ViaError> {
        let Self { via: ViaArgs { ssh, exec, nats }, own_name, creds, nkey, .. } = self;
        if let Some(host) = ssh {
            return SshHost::parse(&host).map(Via::Ssh);
        }
        if let Some(server) = nats {
            let absolute = |file: PathBuf| std::path::absolute(file).unwrap_or_default();
            let identity = match (creds, nkey) {
                (Some(file), None) => Identity::Creds(absolute(file)),
                (None, Some(file)) => Identity::NKey(absolute(file)),
                (Some(_), Some(_)) | (None, None) => return Err(ViaError::Identity),
            };
            let own_name = own_name.unwrap_or_else(|| crate::bridge::machine::own_name(&host_name()));
            return Nats::new(server, identity, own_name).map(Via::Nats);
        }
        Via::exec(words(exec.unwrap_or_default()))
    }
}

/// Returns the words of a command that was given as one word in quotes, or as its words.
fn words(given: Vec<String>) -> Vec<String> {
    match given.as_slice() {
        [line] if !line.contains(['"', '\'', '\\']) && !Path::new(line).exists() => {
            line.split_whitespace().map(str::to_owned).collect()
        }
        _ => given,
    }
}

/// Returns what to do where a machine has no way yet.
pub(super) fn how_to_begin() -> String {
    by_hand("relayctl setup --with-machines on both, then here: relayctl machines add desk --ssh USER@HOST")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_may_be_one_word_or_many() {
        let all = |given: &[&str]| words(given.iter().map(|word| (*word).to_owned()).collect());
        assert_eq!(all(&["docker exec -i ct relay-bridge stdio"]).len(), 6);
        assert_eq!(all(&["docker", "exec", "a b"]), ["docker", "exec", "a b"]);
        assert_eq!(all(&["sh -c 'a b'"]), ["sh -c 'a b'"]);
    }
}
