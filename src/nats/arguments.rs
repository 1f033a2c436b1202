//! What the command line of `relay-nats` takes.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::subject::Machine;

/// Carry lines between machines over a NATS server
///
/// Started by relay-bridge, with which it speaks on standard input and output.
#[derive(Debug, Parser)]
#[command(
    name = "relay-nats",
    version,
    arg_required_else_help = true,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
pub struct NatsArguments {
    /// What to do instead of carrying.
    #[command(subcommand)]
    pub command: Option<NatsCommand>,
    /// Where to carry; there whenever no subcommand is.
    #[command(flatten)]
    pub carry: Option<CarryArguments>,
}

/// What `relay-nats` does besides.
#[derive(Debug, Clone, Subcommand)]
pub enum NatsCommand {
    /// Print what nats-server.conf has to allow a machine: the lines for its entry in authorization.users
    Permissions {
        /// The machine's name
        #[arg(long = "as", value_name = "MACHINE", value_parser = Machine::parse)]
        machine: Machine,
    },
}

/// Which server, and as whom.
#[derive(Debug, Clone, Args)]
pub struct CarryArguments {
    /// The server: nats://HOST:PORT, or tls://HOST:PORT where nothing may go unencrypted
    #[arg(long, value_name = "URL")]
    pub server: String,
    /// The name of this machine, to which the server gives subjects of its own
    #[arg(long = "as", value_name = "MACHINE", value_parser = Machine::parse)]
    pub machine: Machine,
    /// A file with the user's JWT and key, as nsc writes it
    #[arg(long, value_name = "FILE", conflicts_with = "nkey")]
    pub creds: Option<PathBuf>,
    /// A file with the seed of the user's NKey, which begins with SU
    #[arg(long, value_name = "FILE")]
    pub nkey: Option<PathBuf>,
    /// The certificates of the authorities that may vouch for the server, instead of the system's; nothing goes unencrypted
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// This machine's certificate, where the server wants one
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The key of that certificate
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Take a server that lets its users read each other's lines and send in each other's names
    #[arg(long)]
    pub insecure_shared: bool,
}
