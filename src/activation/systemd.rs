//! Takes the sockets that systemd handed over: `LISTEN_PID`, `LISTEN_FDS`, `LISTEN_FDNAMES` (sd_listen_fds(3)).

use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::{env, fs};

use super::{ActivationError, SocketName, only_one};

/// Returns the program's socket if systemd, or whoever speaks its protocol, handed one over.
///
/// # Errors
/// The variables are malformed, the sockets are not the program's, or the process has more than one thread already.
pub(super) fn inherited(name: SocketName) -> Result<Option<UnixListener>, ActivationError> {
    let Some(addressee) = env::var_os("LISTEN_PID") else { return Ok(None) };
    // Children of a socket-activated program may inherit its variables, and the sockets are not for them. A value that
    // is no number is left to the protocol to refuse.
    let addressee = addressee.to_str().and_then(|text| text.parse::<u32>().ok());
    if addressee.is_some_and(|pid| pid != std::process::id()) {
        return Ok(None);
    }
    if !is_single_threaded() {
        return Err(ActivationError::TooLate);
    }
    only_one(name, take()?)
}

#[expect(unsafe_code, reason = "the protocol passes bare descriptors and leaves its variables behind")]
fn take() -> Result<Vec<(OwnedFd, String)>, ActivationError> {
    // SAFETY: there is no other thread (`is_single_threaded`) that could read or change the environment meanwhile.
    let sockets = unsafe { sd_notify::listen_fds_with_names_and_unset_env() }.map_err(ActivationError::Protocol)?;
    Ok(sockets
        .map(|(descriptor, name)| {
            // SAFETY: LISTEN_PID is ours, so these descriptors were opened for us and nothing else here knows them;
            // they are open, as setting their close-on-exec flag succeeded; and with the variables gone they cannot be
            // taken a second time.
            (unsafe { OwnedFd::from_raw_fd(descriptor) }, name)
        })
        .collect())
}

/// Whether the calling thread is the only one. Where the kernel does not say, the caller's promise has to do.
fn is_single_threaded() -> bool {
    fs::read_dir("/proc/self/task").map_or(true, |tasks| tasks.count() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_thread_is_noticed() {
        std::thread::spawn(|| assert!(!is_single_threaded())).join().unwrap();
    }

    #[test]
    fn without_the_variables_nothing_is_inherited() {
        assert!(env::var_os("LISTEN_PID").is_none(), "the tests themselves were socket-activated");
        assert!(inherited(SocketName::Hub).unwrap().is_none());
    }
}
