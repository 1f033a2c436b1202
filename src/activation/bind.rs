//! Binds the socket in the foreground, for machines without a service manager: containers, CI.
//!
//! The socket lies in a directory that only we can enter, and is 0600 from its creation on: there is no instant at
//! which another user could connect. Whoever starts a hub holds a lock on that directory (on the directory itself, no
//! file is written) while it looks for another hub and binds; so of two that start at once, one is told of the other.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};

use crate::paths::{PathError, Platform, check_length};

/// How many clients may wait to be accepted; the kernel lowers it to its own limit.
const BACKLOG: i32 = 4096;

/// How long a lock on the directory is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// A path that was bound here. Dropping it removes the socket's file, unless another file has taken its place.
///
/// To be dropped before the last use of the listener ends, so that nobody connects to a hub that is leaving.
#[derive(Debug)]
pub struct BoundPath {
    path: PathBuf,
    device: u64,
    inode: u64,
    /// Keeps the inode in use: its number cannot come back for the socket of another hub.
    _pin: UnixListener,
}

impl BoundPath {
    /// Returns the path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether the path still leads to what was bound.
    pub fn is_ours(&self) -> bool {
        let is_same = |found: Metadata| found.dev() == self.device && found.ino() == self.inode;
        fs::symlink_metadata(&self.path).is_ok_and(is_same)
    }
}

impl Drop for BoundPath {
    fn drop(&mut self) {
        let Some(directory) = self.path.parent() else { return };
        // Between the look and the removal no other hub may put its socket here.
        let _lock = lock(directory);
        if self.is_ours() {
            // A file that is left behind is noticed as dead by the next hub.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Binds `path` and listens; creates its directory with mode 0700 if it is missing.
///
/// # Errors
/// The directory is not private to us, another hub listens there, something else is in the way, or the path is too
/// long.
pub(super) fn bind(path: &Path) -> Result<(UnixListener, BoundPath), BindError> {
    check_length(Platform::HERE, path)?;
    let directory = match path.parent() {
        Some(directory) if path.is_absolute() => directory,
        _ => return Err(PathError::NotAbsolute { path: path.to_owned() }.into()),
    };
    private_directory(directory)?;
    let _lock = lock(directory)?;
    remove_dead(path)?;
    let listener = listen(path).map_err(BindError::io("listen at", path))?;
    let bound = fs::symlink_metadata(path).map_err(BindError::io("look at", path))?;
    let pin = listener.try_clone().map_err(BindError::io("listen at", path))?;
    let guard = BoundPath { path: path.to_owned(), device: bound.dev(), inode: bound.ino(), _pin: pin };
    if bound.mode() & 0o777 != 0o600 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(BindError::io("protect", path))?;
    }
    Ok((listener, guard))
}

/// Creates the directory, or checks that the one that is there is ours alone.
fn private_directory(directory: &Path) -> Result<(), BindError> {
    let created = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    let found = match (fs::symlink_metadata(directory), created) {
        (Ok(found), _) => found,
        (Err(_), Err(error)) | (Err(error), Ok(())) => return Err(BindError::io("create", directory)(error)),
    };
    let (path, uid) = (directory.to_owned(), rustix::process::geteuid().as_raw());
    if found.is_symlink() {
        return Err(BindError::LinkedDirectory { path });
    }
    if !found.is_dir() {
        return Err(BindError::NotADirectory { path });
    }
    if found.uid() != uid {
        return Err(BindError::ForeignDirectory { path, owner: found.uid(), uid });
    }
    if found.mode() & 0o077 != 0 {
        return Err(BindError::OpenDirectory { path, mode: found.mode() & 0o7777 });
    }
    movable_ancestor(directory, uid).map_or(Ok(()), |ancestor| Err(BindError::MovableDirectory { path, ancestor }))
}

/// Returns an ancestor in which another user could move the directory away and put an own one in its place.
fn movable_ancestor(directory: &Path, uid: u32) -> Option<PathBuf> {
    let real = fs::canonicalize(directory).ok()?;
    let is_open = |ancestor: &&Path| {
        fs::symlink_metadata(ancestor).is_ok_and(|found| is_open_to_others(found.mode(), found.uid(), uid))
    };
    real.ancestors().skip(1).find(is_open).map(Path::to_owned)
}

/// Returns whether somebody other than this user and root can rename what is in a directory. A user's own group is often
/// theirs alone, so what it may do counts only in a directory of somebody else.
const fn is_open_to_others(mode: u32, owner: u32, uid: u32) -> bool {
    let (others_write, group_writes, is_sticky) = (mode & 0o002 != 0, mode & 0o020 != 0, mode & 0o1000 != 0);
    let is_shared = others_write || (group_writes && owner != uid);
    (is_shared && !is_sticky) || (owner != uid && owner != 0)
}

/// Locks the directory until the returned file is dropped. A hub that starts or ends holds the lock for an instant; for
/// somebody else's nobody waits long.
fn lock(directory: &Path) -> Result<File, BindError> {
    let failed = || BindError::io("lock", directory);
    let flags = (OFlags::DIRECTORY | OFlags::NOFOLLOW).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(directory).map_err(failed())?;
    let end = Instant::now() + LOCK_WAIT;
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK) if Instant::now() < end => thread::sleep(Duration::from_millis(5)),
            Err(Errno::WOULDBLOCK) => return Err(BindError::Locked { path: directory.to_owned() }),
            Err(errno) => return Err(failed()(errno.into())),
        }
    }
}

/// Makes room at `path`: removes a socket that nobody listens at.
fn remove_dead(path: &Path) -> Result<(), BindError> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(BindError::io("look at", path)(error)),
    };
    if !found.file_type().is_socket() {
        return Err(BindError::InTheWay { path: path.to_owned() });
    }
    match probe(path) {
        Err(Errno::NOENT) => Ok(()),
        Err(Errno::CONNREFUSED) if found.uid() == rustix::process::geteuid().as_raw() => {
            fs::remove_file(path).map_err(BindError::io("remove the dead socket", path))
        }
        // A full backlog is a sign of life as well.
        Ok(()) | Err(Errno::AGAIN | Errno::INPROGRESS) => Err(BindError::AlreadyRunning { path: path.to_owned() }),
        Err(Errno::CONNREFUSED | Errno::PROTOTYPE) => Err(BindError::InTheWay { path: path.to_owned() }),
        Err(errno) => Err(BindError::io("connect to", path)(errno.into())),
    }
}

/// Connects to whoever listens at `path`, without waiting for a busy one.
fn probe(path: &Path) -> Result<(), Errno> {
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    // Linux creates the file with the mode of the socket's own inode (unix_bind_bsd in net/unix/af_unix.c), so this
    // leaves no window. Elsewhere it is refused; there the directory alone protects the socket until its mode is set.
    let _ = rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR);
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    let listener = UnixListener::from(socket);
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Why a path cannot be bound. What to do is said by whoever tells it.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The path is relative or too long.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A hub is there already.
    #[error("a hub is running already: it listens at {}", path.display())]
    AlreadyRunning {
        /// Where.
        path: PathBuf,
    },
    /// Something that is not a dead socket of ours has the path.
    #[error("{} is not a socket of ours", path.display())]
    InTheWay {
        /// The path.
        path: PathBuf,
    },
    /// The directory's name leads elsewhere.
    #[error(
        "{} is a symbolic link, not a directory", path.display()
    )]
    LinkedDirectory {
        /// The link.
        path: PathBuf,
    },
    /// The directory's name is taken.
    #[error("{} is not a directory", path.display())]
    NotADirectory {
        /// What is there.
        path: PathBuf,
    },
    /// Another user could replace the socket.
    #[error(
        "{} belongs to user {owner}, and you are user {uid}",
        path.display()
    )]
    ForeignDirectory {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// We.
        uid: u32,
    },
    /// Another user could enter the directory.
    #[error("{} has mode {mode:04o}, so others can enter it", path.display())]
    OpenDirectory {
        /// The directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Somebody holds the lock of those who start a hub.
    #[error(
        "another process keeps {} locked", path.display()
    )]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// Another user could put a directory of his own in its place.
    #[error(
        "others can replace {}, since they can write to {}",
        path.display(), ancestor.display()
    )]
    MovableDirectory {
        /// The directory.
        path: PathBuf,
        /// The directory above it that others can write to.
        ancestor: PathBuf,
    },
    /// The system refused.
    #[error("could not {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl BindError {
    fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, path: path.to_owned(), source }
    }
}

#[cfg(test)]
mod tests;
