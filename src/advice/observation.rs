//! Looks at the hub's socket: connects, and where that fails says what stands in the way.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::Access;
use rustix::io::Errno;

use super::Observation;

/// Connects to the hub and says nothing. A hub that is idle is started by it, none is disturbed.
///
/// # Errors
/// What was seen instead of a hub of this user that listens.
pub fn connect(socket: &Path) -> Result<UnixStream, Observation> {
    let stream = UnixStream::connect(socket).map_err(|error| observe(&error, socket))?;
    // Root can connect to everybody's; the hub would close the connection without a word.
    match foreign(socket, 1) {
        Some(foreign) => Err(foreign),
        None => Ok(stream),
    }
}

/// Returns what a failed connect to this socket means.
pub fn observe(error: &io::Error, socket: &Path) -> Observation {
    match Errno::from_io_error(error) {
        Some(Errno::NOENT) => stranger(socket).unwrap_or(Observation::Missing),
        Some(Errno::CONNREFUSED) if !is_no_socket(socket) => Observation::Refused,
        Some(Errno::CONNREFUSED | Errno::NOTSOCK | Errno::PROTOTYPE) => {
            Observation::NoSocket { path: socket.to_owned() }
        }
        Some(Errno::NOTDIR) => Observation::NoSocket { path: no_directory(socket) },
        // A full backlog: somebody listens and accepts nobody.
        Some(Errno::AGAIN) => Observation::Silent,
        // A filter of system calls says the one or the other.
        Some(Errno::PERM | Errno::AFNOSUPPORT) => Observation::Forbidden,
        Some(Errno::ACCESS) => foreign(socket, 2).or_else(|| denied(socket)).unwrap_or(Observation::Forbidden),
        _ => Observation::Other { error: error.to_string() },
    }
}

fn is_no_socket(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| !found.file_type().is_socket())
}

/// Returns the highest of what is above the socket that is no directory.
fn no_directory(socket: &Path) -> PathBuf {
    let above: Vec<&Path> = socket.ancestors().skip(1).collect();
    above.into_iter().rev().find(|path| !path.is_dir()).unwrap_or(socket).to_owned()
}

/// Returns what of the socket, and of so many directories above it, is of another user.
fn foreign(socket: &Path, depth: usize) -> Option<Observation> {
    let uid = rustix::process::geteuid().as_raw();
    socket.ancestors().take(depth).find_map(|path| {
        let owner = fs::symlink_metadata(path).ok()?.uid();
        (owner != uid).then(|| Observation::Foreign { path: path.to_owned(), owner })
    })
}

/// Returns the directory of a third user, not of root, in which the socket would be: this user's hub would not bind there.
fn stranger(socket: &Path) -> Option<Observation> {
    let uid = rustix::process::geteuid().as_raw();
    let (path, found) = socket.ancestors().find_map(|path| Some((path, fs::metadata(path).ok()?)))?;
    let owner = found.uid();
    // In a user namespace root's directories are of nobody.
    let nobody = fs::read_to_string("/proc/sys/kernel/overflowuid").ok().and_then(|text| text.trim().parse().ok());
    (owner != uid && owner != 0 && Some(owner) != nobody).then(|| Observation::Foreign { path: path.to_owned(), owner })
}

/// Returns what keeps its owner out.
fn denied(socket: &Path) -> Option<Observation> {
    let closed = socket.ancestors().skip(1).filter(|path| rustix::fs::access(*path, Access::EXEC_OK).is_err());
    // The highest one hides what is below it.
    if let Some(directory) = closed.last() {
        return Some(Observation::Denied { path: directory.to_owned(), mode: 0o700 });
    }
    let found = fs::symlink_metadata(socket).ok()?;
    (found.mode() & 0o600 != 0o600).then(|| Observation::Denied { path: socket.to_owned(), mode: 0o600 })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn each_way_of_not_being_there_is_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("hub.sock");
        let look = || connect(&socket).err();
        assert_eq!(look(), Some(Observation::Missing));
        let listener = UnixListener::bind(&socket).unwrap();
        assert_eq!(look(), None);
        drop(listener);
        assert_eq!(look(), Some(Observation::Refused));
        fs::remove_file(&socket).unwrap();
        fs::write(&socket, "").unwrap();
        let in_the_way = Some(Observation::NoSocket { path: socket.clone() });
        assert_eq!(look(), in_the_way);
        assert_eq!(observe(&Errno::PERM.into(), &socket), Observation::Forbidden);
        assert_eq!(connect(&socket.join("below")).err(), in_the_way);
    }

    #[test]
    fn a_directory_of_a_third_user_is_named_where_no_socket_is() {
        let directory = tempfile::tempdir().unwrap();
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(directory.path(), Some(12345), None).unwrap();
            let foreign = Observation::Foreign { path: directory.path().to_owned(), owner: 12345 };
            assert_eq!(connect(&directory.path().join(".relay/hub.sock")).err(), Some(foreign));
        }
        // Root's own are everybody's way.
        assert_eq!(connect(Path::new("/none/hub.sock")).err(), Some(Observation::Missing));
    }

    #[test]
    fn a_socket_without_permission_names_what_keeps_out() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("hub.sock");
        let _listener = UnixListener::bind(&socket).unwrap();
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o000)).unwrap();
        let seen = observe(&Errno::ACCESS.into(), &socket);
        assert_eq!(seen, Observation::Denied { path: socket, mode: 0o600 });
    }
}
