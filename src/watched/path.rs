//! Watches a file that comes, changes and goes, with no polling: inotify(7) on Linux, kqueue(2) on macOS.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

#[cfg(target_os = "linux")]
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

/// What of a path is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watching {
    /// That it comes, under its name; of a socket nothing else matters.
    Coming,
    /// That it comes, changes or goes.
    Content,
}

/// Watches one path, which need not be there. Its descriptor can be read when something may have changed.
#[derive(Debug)]
pub struct PathWatch {
    path: PathBuf,
    watching: Watching,
    queue: OwnedFd,
    /// The file itself, or the nearest directory above it that is there.
    watched: Option<(PathBuf, Watched)>,
}

#[cfg(target_os = "linux")]
type Watched = i32;
#[cfg(not(target_os = "linux"))]
type Watched = OwnedFd;

impl PathWatch {
    /// Watches a path. What happens from here on is told.
    ///
    /// # Errors
    /// The system has no more watches.
    pub fn new(path: PathBuf, watching: Watching) -> io::Result<Self> {
        let mut watch = Self { path, watching, queue: new_queue()?, watched: None };
        watch.renew()?;
        Ok(watch)
    }

    /// Takes what was told, after which the next change is told again. To be called before the path is looked at.
    ///
    /// # Errors
    /// The system has no more watches.
    pub fn take(&mut self) -> io::Result<()> {
        self.drain();
        self.renew()
    }

    /// Watches the nearest thing that is there. What is made meanwhile is nearer, so it looks until nothing is.
    fn renew(&mut self) -> io::Result<()> {
        let from = usize::from(self.watching == Watching::Coming);
        loop {
            let nearest = self.path.ancestors().skip(from).find(|path| path.exists()).map(Path::to_owned);
            let nearest = nearest.ok_or(io::ErrorKind::NotFound)?;
            if self.watched.as_ref().is_some_and(|(path, _)| *path == nearest) {
                return Ok(());
            }
            let watched = match self.watch(&nearest) {
                Ok(watched) => watched,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if let Some((_, former)) = self.watched.replace((nearest, watched)) {
                self.forget(former);
            }
        }
    }
}

impl AsFd for PathWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }
}

#[cfg(target_os = "linux")]
fn new_queue() -> io::Result<OwnedFd> {
    Ok(inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?)
}

#[cfg(target_os = "linux")]
impl PathWatch {
    fn watch(&self, path: &Path) -> io::Result<Watched> {
        let gone = WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
        let told = if *path == self.path {
            // A file may be rewritten in place, or replaced by another one: then its link count changes.
            WatchFlags::MODIFY | WatchFlags::CLOSE_WRITE | WatchFlags::ATTRIB
        } else {
            WatchFlags::CREATE | WatchFlags::MOVED_TO
        };
        Ok(inotify::add_watch(&self.queue, path, told | gone)?)
    }

    fn forget(&self, watched: Watched) {
        // Of a directory that was removed the watch has gone already.
        let _has_gone = inotify::remove_watch(&self.queue, watched);
    }

    fn drain(&mut self) {
        use inotify::ReadFlags;
        let replaced = ReadFlags::IGNORED | ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::ATTRIB;
        let mut bytes = [std::mem::MaybeUninit::uninit(); 1024];
        let mut events = inotify::Reader::new(&self.queue, &mut bytes);
        let mut ended = false;
        while let Ok(event) = events.next() {
            let is_its = self.watched.as_ref().is_some_and(|(_, watched)| *watched == event.wd());
            ended |= is_its && event.events().intersects(replaced);
        }
        if ended && let Some((_, former)) = self.watched.take() {
            self.forget(former);
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn new_queue() -> io::Result<OwnedFd> {
    super::kernel_queue::new()
}

#[cfg(not(target_os = "linux"))]
impl PathWatch {
    fn watch(&self, path: &Path) -> io::Result<Watched> {
        super::kernel_queue::watch_file(&self.queue, path)
    }

    fn forget(&self, watched: Watched) {
        // The kernel forgets a file with its last descriptor.
        drop(watched);
    }

    fn drain(&mut self) {
        super::kernel_queue::drain(&self.queue);
        // What was watched may be something else under that name by now: it is opened anew.
        self.watched = None;
    }
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    fn is_told(watch: &PathWatch) -> bool {
        let mut fds = [PollFd::new(watch, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() > 0
    }

    #[test]
    fn path_is_watched_from_before_its_directories_were_made() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b/file");
        let mut watch = PathWatch::new(path.clone(), Watching::Content).unwrap();
        let steps: [&dyn Fn(); 4] = [
            &|| std::fs::create_dir(root.path().join("a")).unwrap(),
            &|| std::fs::create_dir(root.path().join("a/b")).unwrap(),
            &|| std::fs::write(&path, "one").unwrap(),
            &|| std::fs::write(&path, "two").unwrap(),
        ];
        for step in steps {
            assert!(!is_told(&watch));
            step();
            assert!(is_told(&watch));
            watch.take().unwrap();
            watch.take().unwrap();
        }
    }

    #[test]
    fn path_that_is_replaced_is_watched_on() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("file");
        std::fs::write(&path, "one").unwrap();
        let mut watch = PathWatch::new(path.clone(), Watching::Content).unwrap();
        for _ in 0..2 {
            std::fs::remove_file(&path).unwrap();
            watch.take().unwrap();
            std::fs::write(root.path().join("new"), "two").unwrap();
            std::fs::rename(root.path().join("new"), &path).unwrap();
            assert!(is_told(&watch));
            watch.take().unwrap();
            watch.take().unwrap();
        }
        std::fs::write(root.path().join("other"), "").unwrap();
        assert!(!is_told(&watch), "of a file that is there only itself is watched");
    }

    #[test]
    fn path_that_is_to_come_is_told_also_over_one_that_is_there() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("s/file");
        let mut watch = PathWatch::new(path.clone(), Watching::Coming).unwrap();
        std::fs::create_dir(root.path().join("s")).unwrap();
        assert!(is_told(&watch));
        watch.take().unwrap();
        watch.take().unwrap();
        for _ in 0..2 {
            std::fs::write(root.path().join("new"), "").unwrap();
            assert!(!is_told(&watch));
            std::fs::rename(root.path().join("new"), &path).unwrap();
            assert!(is_told(&watch));
            watch.take().unwrap();
        }
    }
}
