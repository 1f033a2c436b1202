//! Tells a hub that bound its socket itself when the path is not its own any more: its file was removed or replaced, or
//! its directory moved. Whoever connects from then on would not reach it.
//!
//! The kernel tells (inotify(7)), so nothing is looked at in between. Other systems than Linux do not tell.

use std::future::pending;
use std::io;
use std::mem::MaybeUninit;

use super::BoundPath;
use crate::watched::Stream;

/// Returns when the path is not the listener's any more; never where there is none or where that is not told. To be called
/// within a runtime.
pub async fn lost(path: Option<&BoundPath>) {
    let watched = path.and_then(|path| Some((path, changes_beside(path).ok()?)));
    let Some((path, changes)) = watched else { return pending().await };
    let mut room = [MaybeUninit::uninit(); 4096];
    while path.is_ours() {
        changes.readable().await;
        // Which change it was is seen at the path.
        while changes.try_read(&mut room).is_ok_and(|read| !read.is_empty()) {}
    }
}

/// Returns what can be read whenever something changes in the directory of the path, or with it.
#[cfg(target_os = "linux")]
fn changes_beside(path: &BoundPath) -> io::Result<Stream> {
    use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
    let changes = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    let inside = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVE;
    let itself = WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF | WatchFlags::ONLYDIR;
    add_watch(&changes, path.path().parent().unwrap_or(path.path()), inside | itself)?;
    Stream::new(changes)
}

#[cfg(not(target_os = "linux"))]
fn changes_beside(_path: &BoundPath) -> io::Result<Stream> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::net::UnixListener;
    use std::time::Duration;

    use super::*;

    /// Binds a socket, changes something, and returns whether the path was lost by it.
    async fn is_lost_by(change: impl FnOnce(&std::path::Path)) -> bool {
        let root = tempfile::tempdir().unwrap();
        let socket = root.path().join("relay/hub.sock");
        let (_listener, bound) = super::super::bind::bind(&socket).unwrap();
        let mut lost = std::pin::pin!(lost(Some(&bound)));
        let soon = Duration::from_millis(20);
        assert!(tokio::time::timeout(soon, &mut lost).await.is_err());
        change(&socket);
        tokio::time::timeout(soon * 10, &mut lost).await.is_ok()
    }

    #[tokio::test]
    async fn a_removed_replaced_or_moved_socket_is_lost() {
        assert!(is_lost_by(|socket| fs::remove_file(socket).unwrap()).await);
        assert!(is_lost_by(|socket| fs::rename(socket, socket.with_extension("old")).unwrap()).await);
        let replace = |socket: &std::path::Path| {
            let other = socket.with_extension("new");
            drop(UnixListener::bind(&other).unwrap());
            fs::rename(other, socket).unwrap();
        };
        assert!(is_lost_by(replace).await);
        let move_directory = |socket: &std::path::Path| {
            let directory = socket.parent().unwrap();
            fs::rename(directory, directory.with_extension("old")).unwrap();
        };
        assert!(is_lost_by(move_directory).await);
    }

    #[tokio::test]
    async fn what_else_happens_in_the_directory_changes_nothing() {
        assert!(!is_lost_by(|socket| fs::create_dir(socket.with_file_name("s")).unwrap()).await);
    }
}
