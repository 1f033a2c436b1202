//! What is asked of the bridge: over its own socket, one answer to each message. Connecting starts a bridge that the service
//! manager holds ready.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::advice::by_hand;
use crate::bridge::control::{FromBridge, Machines, ToBridge};
use crate::cli::error::CliError;
use crate::paths::Environment;
use crate::protocol::codec::{HUB_FRAME_MAX_BYTES, decode, encode};

/// How long the bridge may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection to the bridge.
pub(in crate::cli) struct Bridge {
    stream: BufReader<UnixStream>,
    place: String,
}

/// Why no bridge is reached, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct NoBridge {
    /// What was seen.
    pub(in crate::cli) what: String,
    /// What to do.
    pub(in crate::cli) next: String,
}

impl From<NoBridge> for CliError {
    fn from(no: NoBridge) -> Self {
        Self::Obstacle { what: no.what, next: no.next }
    }
}

impl Bridge {
    /// Connects.
    ///
    /// # Errors
    /// There is no place for its socket, or nobody listens there.
    pub(in crate::cli) fn connect(environment: &Environment) -> Result<Self, NoBridge> {
        let next = match environment.socket_named_by() {
            // Another hub's bridge is nobody's service.
            Some(_) => by_hand("run relay-bridge in the background, with the same RELAY_SOCKET or --socket"),
            None => "relayctl setup --with-machines   # without a service manager: relay-bridge &".to_owned(),
        };
        let socket = match environment.bridge_socket() {
            Ok(socket) => socket,
            Err(error) => return Err(NoBridge { what: error.to_string(), next }),
        };
        let place = socket.display().to_string();
        let connected = UnixStream::connect(&socket).and_then(|stream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(stream)
        });
        match connected {
            Ok(stream) => Ok(Self { stream: BufReader::new(stream), place }),
            Err(error) => {
                let seen = if error.kind() == io::ErrorKind::NotFound {
                    "there is no socket".to_owned()
                } else if error.kind() == io::ErrorKind::ConnectionRefused {
                    "nobody answers".to_owned()
                } else {
                    error.to_string()
                };
                Err(NoBridge { what: format!("no bridge runs here: {seen} at {place}"), next })
            }
        }
    }

    /// Asks for the state of all machines.
    ///
    /// # Errors
    /// The bridge does not answer, or refuses.
    pub(in crate::cli) fn machines(&mut self) -> Result<Machines, CliError> {
        match self.ask(&ToBridge::Machines)? {
            FromBridge::Machines(machines) => Ok(machines),
            FromBridge::Done => Err(self.silent("it answered something else")),
            FromBridge::Error(refusal) => Err(refusal.into()),
        }
    }

    /// Has something done.
    ///
    /// # Errors
    /// The bridge does not answer, or refuses.
    pub(in crate::cli) fn done(&mut self, what: &ToBridge) -> Result<(), CliError> {
        match self.ask(what)? {
            FromBridge::Done => Ok(()),
            FromBridge::Machines(_) => Err(self.silent("it answered something else")),
            FromBridge::Error(refusal) => Err(refusal.into()),
        }
    }

    fn ask(&mut self, what: &ToBridge) -> Result<FromBridge, CliError> {
        let mut frame = Vec::new();
        encode(what, &mut frame);
        let sent = self.stream.get_mut().write_all(&frame);
        sent.map_err(|error| self.silent(&error.to_string()))?;
        let mut line = Vec::new();
        let limit = u64::try_from(HUB_FRAME_MAX_BYTES).unwrap_or(u64::MAX);
        let read = io::Read::take(&mut self.stream, limit).read_until(b'\n', &mut line);
        match read {
            Ok(0) => Err(self.silent("it has closed the connection")),
            Ok(_) => decode(line.trim_ascii_end()).map_err(|error| self.silent(&error.to_string())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(self.silent("it says nothing")),
            Err(error) => Err(self.silent(&error.to_string())),
        }
    }

    fn silent(&self, seen: &str) -> CliError {
        let what = format!("the bridge at {} does not answer: {seen}", self.place);
        CliError::Obstacle { what, next: "systemctl --user restart relay-bridge.service".to_owned() }
    }
}
