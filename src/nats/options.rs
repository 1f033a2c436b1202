//! How a connection is opened: the server's address, this machine's keys and certificates.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::{ConnectOptions, ServerAddr};

use super::arguments::CarryArguments;
use super::error::NatsError;

/// How often the server is asked whether it is there. After three questions without an answer the connection is lost.
const PING_INTERVAL: Duration = Duration::from_secs(2);

/// The most commands that the client library holds: one turn's lines and their flush fit.
const COMMANDS_MAX: usize = 64;

/// The most messages that wait between the client library and this program, which takes all of them at each turn: as many
/// small ones as the library reads in one of its own, which is 128 times `READ_BYTES`.
const MESSAGES_MAX: usize = 8192;

/// What the client library reads at once, in bytes.
const READ_BYTES: u16 = 8 * 1024;

/// Longer than any connection.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Returns the server's address.
///
/// # Errors
/// It is none, or it has a password in it, which everybody on this machine could read in the list of processes.
pub(super) fn address(arguments: &CarryArguments) -> Result<ServerAddr, NatsError> {
    let given = &arguments.server;
    let wrong = |why: &str| NatsError::Address { given: without_secrets(given), why: why.to_owned() };
    let address: ServerAddr = given.parse().map_err(|error| wrong(&format!("{error}")))?;
    if !["nats", "tls"].contains(&address.scheme()) {
        return Err(wrong("it has to begin with nats:// or tls://"));
    }
    if address.has_user_pass() {
        return Err(wrong("it names a user, and processes are listed with their arguments: use --nkey or --creds"));
    }
    if address.host().is_empty() {
        return Err(wrong("it names no host"));
    }
    Ok(address)
}

fn without_secrets(given: &str) -> String {
    let (scheme, rest) = given.split_once("://").unwrap_or(("nats", given));
    let host = rest.rsplit_once('@').map_or(rest, |(_secrets, host)| host);
    format!("{scheme}://{host}")
}

/// Returns the options of one connection, for which files are read anew: keys are replaced while programs run.
///
/// The library's own attempts to come back are put off for ever: it would send then what it had taken before.
///
/// # Errors
/// A file cannot be read or holds no key.
pub(super) fn options(arguments: &CarryArguments) -> Result<ConnectOptions, NatsError> {
    let mut options = match (&arguments.creds, &arguments.nkey) {
        (Some(path), _) => {
            let what = "user's JWT and its key";
            ConnectOptions::with_credentials(&read(path)?)
                .map_err(|_no_detail| NatsError::Key { path: path.clone(), what })?
        }
        (None, Some(path)) => ConnectOptions::with_nkey(seed(path)?),
        (None, None) => ConnectOptions::new(),
    };
    if let Some(path) = &arguments.tls_ca {
        read(path)?;
        options = options.add_root_certificates(path.clone()).require_tls(true);
    }
    if let (Some(cert), Some(key)) = (&arguments.tls_cert, &arguments.tls_key) {
        read(cert)?;
        read(key)?;
        options = options.add_client_certificate(cert.clone(), key.clone());
    }
    let is_first = AtomicBool::new(true);
    let delay = move |_attempts| if is_first.swap(false, Ordering::Relaxed) { Duration::ZERO } else { NEVER };
    Ok(options
        .name(format!("relay-nats {}", arguments.machine.as_str()))
        .ping_interval(PING_INTERVAL)
        .client_capacity(COMMANDS_MAX)
        .subscription_capacity(MESSAGES_MAX)
        .read_buffer_capacity(READ_BYTES)
        .ignore_discovered_servers()
        .reconnect_delay_callback(delay))
}

fn read(path: &Path) -> Result<String, NatsError> {
    fs::read_to_string(path).map_err(|source| NatsError::File { path: path.to_owned(), source })
}

/// Returns the seed in a file, which may have comments or armour around it.
fn seed(path: &Path) -> Result<String, NatsError> {
    let text = read(path)?;
    let seed = text.lines().map(str::trim).find(|line| line.starts_with("SU"));
    seed.map(str::to_owned).ok_or_else(|| NatsError::Key { path: path.to_owned(), what: "seed of a user's NKey" })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::nats::arguments::NatsArguments;

    fn address_of(server: &str) -> Result<ServerAddr, NatsError> {
        let arguments = ["relay-nats", "--server", server, "--as", "laptop"];
        address(&NatsArguments::try_parse_from(arguments).unwrap().carry.unwrap())
    }

    #[test]
    fn address_is_of_a_server_and_without_secrets() {
        for server in ["nats://127.0.0.1:4222", "tls://nats.example.org", "localhost", "nats://[::1]:4222"] {
            assert!(address_of(server).is_ok(), "{server}");
        }
        for server in ["ws://localhost", "nats://", "http://localhost", "nats://a b"] {
            assert!(address_of(server).is_err(), "{server}");
        }
        let error = address_of("nats://me:secret@localhost").unwrap_err().to_string();
        assert!(error.contains("--nkey") && !error.contains("secret"), "{error}");
    }
}
