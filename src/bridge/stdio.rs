//! `relay-bridge stdio`: joins standard input and output to the bridge of this machine, for another machine's transport.
//!
//! The service outlives it: what is under way is said again on the next one.

use std::io::{self, BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;

use super::control::{FromBridge, LinkFrom, ToBridge};
use crate::protocol::codec::{decode, encode};
use crate::protocol::{ErrorCode, MachineName, Refusal};

/// Carries lines both ways until one side ends.
///
/// # Errors
/// The name is no machine's, there is no bridge, or it does not take the link.
pub fn run(socket: &Path, machine: &str) -> Result<(), Refusal> {
    let machine = MachineName::parse(machine).map_err(|error| {
        Refusal::new(ErrorCode::BadArgs, error.to_string(), "relay-bridge stdio --as NAME, such as laptop")
    })?;
    let connected = UnixStream::connect(socket).and_then(|stream| Ok((stream.try_clone()?, stream)));
    let (mut to_bridge, from_bridge) = connected.map_err(|error| no_bridge(socket, &error))?;
    let mut hello = Vec::new();
    encode(&ToBridge::Link(LinkFrom { machine }), &mut hello);
    to_bridge.write_all(&hello).map_err(|error| no_bridge(socket, &error))?;
    thread::spawn(move || {
        // Whichever way it ends, the bridge learns that nothing more comes.
        let _over = io::copy(&mut io::stdin().lock(), &mut to_bridge);
        let _gone = to_bridge.shutdown(Shutdown::Write);
    });
    carry(from_bridge).map_err(|error| no_bridge(socket, &error))?
}

/// Carries what the bridge says to standard output; the first line may be why it does not take the link.
fn carry(from_bridge: UnixStream) -> io::Result<Result<(), Refusal>> {
    let (mut lines, mut output) = (BufReader::new(from_bridge), io::stdout().lock());
    let mut line = Vec::new();
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line)? == 0 {
            return Ok(Ok(()));
        }
        let is_complaint = line.starts_with(br#"{"type":"error""#);
        if let Some(Ok(FromBridge::Error(error))) = is_complaint.then(|| decode(line.trim_ascii_end())) {
            return Ok(Err(error));
        }
        let written = output.write_all(&line).and_then(|()| output.flush());
        if written.is_err() {
            // Nobody reads any more: the other machine has gone.
            return Ok(Ok(()));
        }
    }
}

fn no_bridge(socket: &Path, error: &io::Error) -> Refusal {
    Refusal::new(
        ErrorCode::MachineUnreachable,
        format!("no bridge answers at {}: {error}", socket.display()),
        "run on that machine: relayctl setup --with-machines; without a service manager there: relay-bridge &",
    )
}
