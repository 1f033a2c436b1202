//! Those who have connected to the bridge: transports that have come from other machines, and `relayctl machines`.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::net::UnixStream;
use std::task::Waker;

use super::control::{FromBridge, MachineState, Machines, Release, ToBridge};
use super::frame::LinkFrame;
use super::lines::Lines;
use crate::protocol::codec::{FRAME_MAX_BYTES, FrameError, decode};
use crate::protocol::{ErrorCode, MachineName, Refusal};
use crate::watched::Stream;

/// The most at a time.
const GUESTS_MAX: usize = 256;

/// What a guest says.
#[derive(Debug)]
pub(super) enum FromGuest {
    /// It is the transport of this machine.
    Link(MachineName),
    /// A frame of that link.
    Frame(MachineName, LinkFrame),
    /// It wants the state of all machines.
    Machines,
    /// The machines' files have changed.
    Reload,
    /// Held asks are to be let through.
    Release(Release),
    /// It has gone.
    Gone,
}

#[derive(Debug)]
struct Guest {
    lines: Lines,
    /// The machine whose transport it is.
    machine: Option<MachineName>,
    /// Whether it is to be closed once all is written.
    is_leaving: bool,
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Guests {
    all: BTreeMap<u64, Guest>,
    last: u64,
}

impl Guests {
    /// Takes a connection in, if it is from a process of this user.
    ///
    /// # Errors
    /// It is not, or there are too many.
    pub(super) fn admit(&mut self, stream: UnixStream, waker: impl FnOnce(u64) -> Waker) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        let stream = tokio::net::UnixStream::from_std(stream)?;
        let (uid, own) = (stream.peer_cred()?.uid(), rustix::process::geteuid().as_raw());
        if uid != own {
            let message = format!("it belongs to uid {uid} and this bridge serves uid {own} only");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
        if self.all.len() >= GUESTS_MAX {
            return Err(io::Error::other(format!("{GUESTS_MAX} are connected; the limit is {GUESTS_MAX}")));
        }
        self.last += 1;
        let lines = Lines::of_socket(Stream::new(stream.into_std()?)?, waker(self.last));
        self.all.insert(self.last, Guest { lines, machine: None, is_leaving: false });
        Ok(())
    }

    /// Takes what a guest has said.
    pub(super) fn turn(&mut self, number: u64, out: &mut Vec<FromGuest>) {
        let Some(guest) = self.all.get_mut(&number) else { return };
        let is_over = guest.lines.read();
        while let Some(line) = guest.lines.next(FRAME_MAX_BYTES) {
            let said = match &guest.machine {
                Some(machine) => line.and_then(decode).map(|frame| FromGuest::Frame(machine.clone(), frame)),
                None => line.and_then(decode).map(|message| match message {
                    ToBridge::Link(link) => {
                        guest.machine = Some(link.machine.clone());
                        FromGuest::Link(link.machine)
                    }
                    ToBridge::Machines => FromGuest::Machines,
                    ToBridge::Reload => FromGuest::Reload,
                    ToBridge::Release(release) => FromGuest::Release(release),
                }),
            };
            match said {
                Ok(said) => out.push(said),
                Err(FrameError::NotAMessage { reason, .. }) if guest.machine.is_some() => {
                    tracing::debug!(reason, "passed over a frame of a newer bridge");
                }
                Err(error) => {
                    guest.lines.push(&FromBridge::Error(error.refusal()));
                    guest.is_leaving = true;
                    break;
                }
            }
        }
        if is_over {
            out.push(FromGuest::Gone);
        }
    }

    /// Says a frame of the link that a guest is the transport of.
    pub(super) fn say(&mut self, number: u64, frame: &LinkFrame) {
        if let Some(guest) = self.all.get_mut(&number) {
            guest.lines.push(frame);
        }
    }

    /// Answers with the state of all machines.
    pub(super) fn answer_machines(&mut self, number: u64, hub: bool, machines: Vec<MachineState>) {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        self.push(number, &FromBridge::Machines(Machines { version, pid: std::process::id(), hub, machines }));
    }

    /// Answers whether something was done.
    pub(super) fn answer(&mut self, number: u64, result: Result<(), Refusal>) {
        self.push(number, &result.map_or_else(FromBridge::Error, |()| FromBridge::Done));
    }

    /// Turns the transport of a machine away.
    pub(super) fn refuse_link(&mut self, number: u64, machine: &MachineName, is_paused: bool) {
        let error = if is_paused {
            let message = format!("the link with {machine} is paused there");
            Refusal::new(ErrorCode::NotAllowed, message, format!("run there: relayctl machines resume {machine}"))
        } else {
            let message = format!("there is a link with {machine} already, made by that side");
            Refusal::new(ErrorCode::NotAllowed, message, "remove the machine on one of the two sides")
        };
        self.push(number, &FromBridge::Error(error));
        if let Some(guest) = self.all.get_mut(&number) {
            guest.is_leaving = true;
        }
    }

    fn push(&mut self, number: u64, answer: &FromBridge) {
        if let Some(guest) = self.all.get_mut(&number) {
            guest.lines.push(answer);
        }
    }

    /// Writes to all, and returns those who are gone.
    pub(super) fn write(&mut self) -> Vec<u64> {
        let mut gone = Vec::new();
        for (number, guest) in &mut self.all {
            if guest.lines.write().is_err() || (guest.is_leaving && guest.lines.is_written()) {
                gone.push(*number);
            }
        }
        gone
    }

    /// Closes a connection.
    pub(super) fn close(&mut self, number: u64) {
        self.all.remove(&number);
    }

    /// Returns whether nobody is connected.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

/// Returns the refusal of what is about a machine that is not linked.
pub(super) fn no_machine(machine: &MachineName) -> Refusal {
    let message = format!("no machine is linked by the name {machine}");
    Refusal::new(ErrorCode::PeerNotFound, message, "list the machines: relayctl machines")
}
