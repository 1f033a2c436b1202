//! Where a session's socket is, who owns it, and how it is bound and replaced.

use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::process::{self, Process};
use crate::protocol::SessionId;

/// The directory of the sessions' sockets, beside the hub's.
const DIRECTORY: &str = "s";

/// What a socket is called until it listens.
const UNNAMED: &str = "new";

/// How many letters and digits of a thread's id are in an address: enough to tell threads of one process apart, and short
/// enough for the longest path of a socket.
const THREAD_CHARS: usize = 12;

/// How often and at what pace the directory's lock is tried: who has it lets it go after some microseconds.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Says why a session has no socket of its own.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process of this user holds the session's socket.
    #[error("another channel has the session's socket")]
    Taken,
    /// Others could reach into the directory.
    #[error("{} belongs to another user, or others may enter it", .0.display())]
    NotPrivate(PathBuf),
    /// The system refuses.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Returns where the sessions' sockets are, for this socket of the hub.
pub fn directory(hub_socket: &Path) -> PathBuf {
    hub_socket.parent().unwrap_or(Path::new("/")).join(DIRECTORY)
}

/// Returns where the session's socket is, for this socket of the hub.
pub fn address(hub_socket: &Path, session: &SessionId) -> PathBuf {
    let SessionId { pid, start, thread } = session;
    let thread: Vec<char> = thread.iter().flat_map(|id| id.chars()).filter(char::is_ascii_alphanumeric).collect();
    let thread: String = thread[thread.len().saturating_sub(THREAD_CHARS)..].iter().collect();
    let name = if thread.is_empty() { format!("{pid}-{start}.sock") } else { format!("{pid}-{start}-{thread}.sock") };
    directory(hub_socket).join(name)
}

/// Prints where the channel of this process's session listens, and makes the directory, so that it can be watched: the channel
/// may come later. Silent where there is no such process or no place for sockets: an agent would show what is said.
pub fn run(hub_socket: Option<PathBuf>, pid: u32, thread: Option<String>) -> ExitCode {
    let print = || {
        let process = process::of(pid)?;
        let address = address(&hub_socket?, &SessionId { pid, start: process.start, thread });
        make_directory(address.parent()?).ok()?;
        writeln!(io::stdout(), "{}", address.display()).ok()
    };
    print().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

fn make_directory(directory: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// Binds a session's socket. The name appears when somebody listens there.
///
/// # Errors
/// Another channel listens there, the directory is not private, or the system refuses.
pub fn bind(address: &Path) -> Result<(UnixListener, Bound), BindError> {
    let directory = address.parent().unwrap_or(Path::new("/"));
    make_directory(directory)?;
    let lock = File::open(directory)?;
    if !is_private(&lock.metadata()?) {
        return Err(BindError::NotPrivate(directory.to_owned()));
    }
    hold(&lock)?;
    if !is_dead(address) && address.exists() {
        return Err(BindError::Taken);
    }
    let unnamed = directory.join(UNNAMED);
    let _nobody_left_one = fs::remove_file(&unnamed);
    let listener = UnixListener::bind(&unnamed)?;
    fs::set_permissions(&unnamed, fs::Permissions::from_mode(0o600))?;
    let inode = fs::symlink_metadata(&unnamed)?.ino();
    fs::rename(&unnamed, address)?;
    sweep(directory, address);
    Ok((listener, Bound { path: address.to_owned(), inode }))
}

/// Checks that only this user can listen at a session's socket.
///
/// # Errors
/// The directory belongs to another user, others may enter it, or it is not there.
pub fn check(address: &Path) -> io::Result<()> {
    let directory = address.parent().unwrap_or(Path::new("/"));
    match is_private(&fs::metadata(directory)?) {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::PermissionDenied, BindError::NotPrivate(directory.to_owned()))),
    }
}

fn is_private(directory: &Metadata) -> bool {
    directory.uid() == rustix::process::geteuid().as_raw() && directory.mode() & 0o077 == 0
}

/// Takes the directory's lock, which ends with its descriptor.
fn hold(lock: &File) -> io::Result<()> {
    for _ in 0..LOCK_TRIES {
        match flock(lock, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => sleep(LOCK_PAUSE),
            done => return Ok(done?),
        }
    }
    Err(io::ErrorKind::WouldBlock.into())
}

/// Returns whether nobody listens at a socket any more.
fn is_dead(path: &Path) -> bool {
    UnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Removes the sockets of sessions that have ended and whose owners are dead.
fn sweep(directory: &Path, own: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        // Of a process in a container nothing is known here, so a refused connection has the last word.
        if path != own
            && session_of(&path).is_some_and(|process| process::of(process.pid) != Some(process))
            && is_dead(&path)
        {
            let _gone_already = fs::remove_file(&path);
        }
    }
}

/// Returns the agent's process that a socket is named by.
fn session_of(path: &Path) -> Option<Process> {
    let mut parts = path.file_stem()?.to_str()?.split('-');
    Some(Process { pid: parts.next()?.parse().ok()?, start: parts.next()?.parse().ok()? })
}

/// The name of a bound socket, which is removed with this.
#[derive(Debug)]
pub struct Bound {
    path: PathBuf,
    inode: u64,
}

impl Drop for Bound {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            let _gone_already = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(pid: u32, thread: Option<&str>) -> SessionId {
        SessionId { pid, start: 7, thread: thread.map(str::to_owned) }
    }

    #[test]
    fn address_is_named_by_process_start_and_thread() {
        let hub = Path::new("/run/user/1000/relay/hub.sock");
        let name = |thread| address(hub, &session(4711, thread)).to_string_lossy().into_owned();
        assert_eq!(name(None), "/run/user/1000/relay/s/4711-7.sock");
        assert_eq!(name(Some("../x")), "/run/user/1000/relay/s/4711-7-x.sock");
        let thread = Some("0197f1a4-9d3c-7b12-a7c1-0d2f84be55aa");
        assert_eq!(name(thread), "/run/user/1000/relay/s/4711-7-0d2f84be55aa.sock");
    }

    #[test]
    fn socket_is_private_and_goes_with_its_owner() {
        let root = tempfile::tempdir().unwrap();
        let path = address(&root.path().join("relay/hub.sock"), &session(1, None));
        let bound = bind(&path).unwrap();
        let mode = |path: &Path| fs::symlink_metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert!(matches!(bind(&path), Err(BindError::Taken)));
        assert!(UnixStream::connect(&path).is_ok());
        drop(bound);
        assert!(!path.exists());
    }

    #[test]
    fn socket_of_a_dead_owner_is_replaced_and_others_are_swept() {
        let root = tempfile::tempdir().unwrap();
        let at = |pid| address(&root.path().join("hub.sock"), &session(pid, None));
        let leave = |pid| {
            let (listener, bound) = bind(&at(pid)).unwrap();
            drop(listener);
            std::mem::forget(bound);
        };
        leave(1);
        leave(std::process::id());
        let living = bind(&at(2)).unwrap();
        assert!(!at(1).exists() && !at(std::process::id()).exists() && at(2).exists());
        leave(3);
        let next = bind(&at(3)).unwrap();
        assert!(UnixStream::connect(at(3)).is_ok() && at(2).exists());
        drop((living, next));
    }

    #[test]
    fn socket_that_another_one_replaced_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let path = address(&root.path().join("hub.sock"), &session(1, None));
        let (listener, first) = bind(&path).unwrap();
        drop(listener);
        let _second = bind(&path).unwrap();
        drop(first);
        assert!(path.exists());
    }

    #[test]
    fn directory_that_others_may_enter_is_not_used() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("s")).unwrap();
        fs::set_permissions(root.path().join("s"), fs::Permissions::from_mode(0o755)).unwrap();
        let path = address(&root.path().join("hub.sock"), &session(1, None));
        assert!(matches!(bind(&path), Err(BindError::NotPrivate(_))));
    }
}
