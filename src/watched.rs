//! Descriptors that the runtime watches: for what comes in all the time, for room only while somebody waits for it.
//!
//! The kernel tells whoever watches a stream socket for room of each read of the other side, so a socket that is watched
//! for both wakes its process once more for each message that it has written.

#[cfg(not(target_os = "linux"))]
mod kernel_queue;
mod path;
mod process_end;

use std::future::{pending, poll_fn};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::task::{Context, Poll, ready};
use std::time::Duration;

#[cfg(target_os = "linux")]
use rustix::fs::{FileType, fstat};
use rustix::io::FdFlags;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use tokio::io::{Interest, Ready};

pub use self::path::{PathWatch, Watching};
pub use self::process_end::process_end;

/// How long is waited before a full socket is tried again where there is no descriptor left to watch it with.
const BLIND_WAIT: Duration = Duration::from_millis(10);

/// How many bytes are read at once.
const READ_BYTES: usize = 8 * 1024;

/// One of the standard library's types that own one open descriptor for as long as they live.
pub(crate) trait Owner: AsRawFd {}
impl Owner for UnixListener {}
impl Owner for OwnedFd {}

/// Has the runtime watch a descriptor. To be called within a runtime, like all that makes something watched.
///
/// # Errors
/// The system cannot watch it.
#[expect(unsafe_code, reason = "the runtime keeps the bare descriptor for as long as it watches it")]
pub(crate) fn watch<T: Owner>(owner: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    // SAFETY: an `Owner` has one open descriptor for as long as it lives, and the `AsyncFd` lets nobody replace it: it is
    // only ever borrowed from there, unchanged, until the watch has ended.
    let watched = unsafe { AsyncFd::register_with_interest(owner, interest) };
    watched.map_err(|error| error.into_parts().1)
}

/// A listener.
#[derive(Debug)]
pub(crate) struct Listener(AsyncFd<UnixListener>);

impl Listener {
    /// Watches a listener.
    ///
    /// # Errors
    /// The system cannot watch it.
    pub(crate) fn new(listener: UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        watch(listener, Interest::READABLE).map(Self)
    }

    /// Returns whether somebody wants to connect; nobody is accepted yet. If nobody does, the context's waker is woken once
    /// somebody does.
    ///
    /// # Errors
    /// The runtime is shutting down.
    pub(crate) fn poll_readable(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<AsyncFdReadyGuard<'_, UnixListener>>> {
        self.0.poll_read_ready(context)
    }

    /// Accepts one connection; none where nobody wants to connect.
    pub(crate) fn accept(&self) -> Option<io::Result<UnixStream>> {
        match self.0.try_io(Interest::READABLE, |listener| listener.accept()) {
            Ok((stream, _)) => Some(Ok(stream)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => Some(Err(error)),
        }
    }
}

/// A connected stream socket, or the end of a pipe.
#[derive(Debug)]
pub struct Stream(AsyncFd<OwnedFd>);

impl Stream {
    /// Watches a descriptor for what comes in.
    ///
    /// # Errors
    /// The system cannot watch it.
    pub fn new(fd: impl Into<OwnedFd>) -> io::Result<Self> {
        let fd = fd.into();
        rustix::io::ioctl_fionbio(&fd, true)?;
        watch(fd, Interest::READABLE).map(Self)
    }

    /// Connects to a listener, which is done at once or not at all.
    ///
    /// # Errors
    /// Nobody listens there, its backlog is full, or the system refuses.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
        rustix::io::fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&socket, true)?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
        watch(socket, Interest::READABLE).map(Self)
    }

    /// Returns when there may be something to read; the end and a failure count. One task waits at a time.
    pub async fn readable(&self) {
        poll_fn(|context| self.poll_readable(context)).await;
    }

    /// Returns whether there may be something to read; the end and a failure count. If there is nothing, the context's
    /// waker is woken once there is.
    pub(crate) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        self.0.poll_read_ready(context).map(|_only_a_runtime_that_shuts_down_fails| ())
    }

    /// Returns whether there has been room since this was last asked; a failure counts. If there was none, the context's
    /// waker is woken once there is. Only for a stream that is watched for room.
    pub(crate) fn poll_writable(&self, context: &mut Context<'_>) -> Poll<()> {
        if let Ok(mut guard) = ready!(self.0.poll_write_ready(context)) {
            guard.clear_ready();
        }
        Poll::Ready(())
    }

    /// Returns the stream, watched for what comes in, and for room as well if that is wanted. What comes in meanwhile is
    /// not missed.
    ///
    /// # Errors
    /// The system cannot watch it.
    pub(crate) fn watched_for_room(self, wanted: bool) -> io::Result<Self> {
        let interest = if wanted { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        watch(self.0.into_inner(), interest).map(Self)
    }

    /// Reads what is there, as far as there is room; nothing at the end.
    ///
    /// # Errors
    /// Nothing is there (`WouldBlock`), or the connection is broken.
    pub fn try_read<'a>(&self, room: &'a mut [MaybeUninit<u8>]) -> io::Result<&'a [u8]> {
        let size = room.len();
        let mut read: &[u8] = &[];
        let tried = self.0.try_io(Interest::READABLE, |fd| {
            read = rustix::io::read(fd, room)?.0;
            // More than was there was asked for, so nothing is left, and the next read need not ask: epoll(7).
            if (1..size).contains(&read.len()) { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        if read.is_empty() { tried.map(|()| read) } else { Ok(read) }
    }

    /// Reads what is there, whether the runtime was told of it or not; nothing at the end.
    ///
    /// # Errors
    /// Nothing is there (`WouldBlock`), or the connection is broken.
    pub fn read_now<'a>(&self, room: &'a mut [MaybeUninit<u8>]) -> io::Result<&'a [u8]> {
        Ok(rustix::io::read(self.0.get_ref(), room)?.0)
    }

    /// Stops reading from a socket: what the other side writes from here on fails there (unix(7)).
    pub fn stop_reading(&self) {
        // Of a connection that has ended there is nothing to stop.
        let _ended = rustix::net::shutdown(self.0.get_ref(), rustix::net::Shutdown::Read);
    }

    /// Tells the other side of a socket that nothing more is written.
    pub fn stop_writing(&self) {
        // Of a connection that has ended there is nothing to stop.
        let _ended = rustix::net::shutdown(self.0.get_ref(), rustix::net::Shutdown::Write);
    }

    /// Writes as much as the socket takes.
    ///
    /// # Errors
    /// It takes nothing (`WouldBlock`), or the connection is broken.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::retry_on_intr(|| rustix::io::write(self.0.get_ref(), bytes))?)
    }

    /// Hands on all that is there. Returns whether the stream has ended.
    ///
    /// # Errors
    /// The connection is broken. What came before was handed on.
    pub fn read_to(&self, mut take: impl FnMut(&[u8])) -> io::Result<bool> {
        let mut room = [MaybeUninit::uninit(); READ_BYTES];
        loop {
            match self.try_read(&mut room) {
                Ok([]) => return Ok(true),
                Ok(bytes) => take(bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes as much of these bytes as the socket takes, and removes it from them.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn write_from(&self, bytes: &mut Vec<u8>) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.try_write(bytes) {
                Ok(n) => drop(bytes.drain(..n)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Returns when the other side writes no more, however much of what it wrote is unread.
    pub async fn ended(&self) {
        // What is left to be read must stay known to the runtime, so it is given another one of the same stream.
        let second = loop {
            match self.0.get_ref().try_clone().and_then(|second| watch(second, Interest::READABLE)) {
                Ok(second) => break second,
                Err(_no_descriptor) => tokio::time::sleep(BLIND_WAIT).await,
            }
        };
        told(&second, Interest::READABLE, Ready::is_read_closed).await;
    }

    /// Returns when the socket may take more; a failure counts.
    pub async fn writable(&self) {
        writable(self.0.get_ref()).await;
    }
}

/// A descriptor that tells of something by being readable, such as [`process_end()`], [`PathWatch`] and a timer.
#[derive(Debug)]
pub struct Signal(AsyncFd<OwnedFd>);

impl Signal {
    /// Watches a descriptor.
    ///
    /// # Errors
    /// The system cannot watch it.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        watch(fd, Interest::READABLE).map(Self)
    }

    /// Returns the descriptor.
    #[cfg(target_os = "linux")]
    pub(crate) fn fd(&self) -> &OwnedFd {
        self.0.get_ref()
    }

    /// Returns whether something was told since the last time. If nothing was, the context's waker is woken once it is.
    pub(crate) fn poll_told(&self, context: &mut Context<'_>) -> Poll<()> {
        if let Ok(mut guard) = ready!(self.0.poll_read_ready(context)) {
            guard.clear_ready();
        }
        Poll::Ready(())
    }

    /// Returns when something was told since the last time. One task waits at a time.
    pub async fn told(&self) {
        poll_fn(|context| self.poll_told(context)).await;
    }
}

/// Returns when a non-blocking descriptor may take more; a failure counts.
pub async fn writable(fd: &OwnedFd) {
    // The runtime watches a descriptor once, so it is given another one of the same socket.
    match fd.try_clone().and_then(|second| watch(second, Interest::WRITABLE)) {
        Ok(second) => {
            let _ready = second.writable().await;
        }
        Err(_no_descriptor) => tokio::time::sleep(BLIND_WAIT).await,
    }
}

/// Returns a future that is done when nobody has the other end of a pipe or socket any more that is only written to.
///
/// The kernel tells of a hang-up whatever it is asked for, so it is asked for what never comes here: room would come with
/// each read of the other side, and some clients shut down their sending side of such a socket at once, which counts as
/// something to read. Where there is nothing to ask for so, on other systems than Linux, and for what cannot be watched,
/// this is never done.
pub fn abandoned(fd: &OwnedFd) -> impl Future<Output = ()> + 'static {
    #[cfg(target_os = "linux")]
    let watched = fd.try_clone().and_then(|second| {
        // A socket is hung up, a pipe broken.
        let is_socket = FileType::from_raw_mode(fstat(&second)?.st_mode) == FileType::Socket;
        let interest = if is_socket { Interest::PRIORITY } else { Interest::ERROR };
        Ok((watch(second, interest)?, interest))
    });
    #[cfg(not(target_os = "linux"))]
    let watched: io::Result<(AsyncFd<OwnedFd>, Interest)> = fd.try_clone().and(Err(io::ErrorKind::Unsupported.into()));
    async move {
        match watched {
            Ok((second, interest)) => told(&second, interest, |ready| ready.is_read_closed() || ready.is_error()).await,
            Err(_cannot_be_watched) => pending().await,
        }
    }
}

/// Returns when the kernel has told this of a descriptor.
async fn told(fd: &AsyncFd<OwnedFd>, interest: Interest, this: fn(Ready) -> bool) {
    // Only a runtime that shuts down says otherwise.
    while let Ok(mut guard) = fd.ready(interest).await {
        if this(guard.ready()) {
            return;
        }
        guard.clear_ready();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::Shutdown;

    use super::*;

    const SOON: Duration = Duration::from_millis(20);

    async fn is_ready(wait: impl Future<Output = ()>) -> bool {
        tokio::time::timeout(SOON, wait).await.is_ok()
    }

    fn pair() -> (Stream, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Stream::new(ours).unwrap(), theirs)
    }

    #[tokio::test]
    async fn what_came_and_the_end_behind_it_are_both_read() {
        let (stream, mut other) = pair();
        let mut room = [MaybeUninit::uninit(); 8];
        assert!(!is_ready(stream.readable()).await);
        for text in ["one", "two"] {
            other.write_all(text.as_bytes()).unwrap();
            stream.readable().await;
            assert_eq!(stream.try_read(&mut room).unwrap(), text.as_bytes());
            assert!(!is_ready(stream.readable()).await);
        }
        // Both happen before the runtime looks, as with a client that says its last word and leaves.
        other.write_all(b"end").unwrap();
        drop(other);
        stream.readable().await;
        assert_eq!(stream.try_read(&mut room).unwrap(), b"end");
        stream.readable().await;
        assert_eq!(stream.try_read(&mut room).unwrap(), b"");
    }

    #[tokio::test]
    async fn more_than_one_read_takes_is_read_by_the_next() {
        let (stream, mut other) = pair();
        let mut room = [MaybeUninit::uninit(); 8];
        other.write_all(&[7; 20]).unwrap();
        stream.readable().await;
        let read: Vec<usize> = (0..3).map(|_| stream.try_read(&mut room).unwrap().len()).collect();
        assert_eq!(read, [8, 8, 4]);
        assert_eq!(stream.try_read(&mut room).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[tokio::test]
    async fn a_full_socket_takes_more_once_the_other_side_has_read() {
        let (stream, mut other) = pair();
        while stream.try_write(&[0; 4096]).is_ok() {}
        assert!(!is_ready(stream.writable()).await);
        let mut bytes = vec![0; 1024 * 1024];
        while other.set_nonblocking(true).and_then(|()| other.read(&mut bytes)).is_ok() {}
        stream.writable().await;
        assert!(stream.try_write(&[0; 4096]).is_ok());
    }

    #[tokio::test]
    async fn a_stream_that_is_watched_for_room_is_told_of_each_read_and_of_what_comes_in() {
        let (stream, mut other) = pair();
        while stream.try_write(&[0; 4096]).is_ok() {}
        let stream = stream.watched_for_room(true).unwrap();
        let has_room = || poll_fn(|context| stream.poll_writable(context));
        assert!(!is_ready(has_room()).await);
        let mut bytes = vec![0; 1024 * 1024];
        while other.set_nonblocking(true).and_then(|()| other.read(&mut bytes)).is_ok() {}
        has_room().await;
        other.write_all(b"one").unwrap();
        let stream = stream.watched_for_room(false).unwrap();
        stream.readable().await;
        let mut room = [MaybeUninit::uninit(); 8];
        assert_eq!(stream.try_read(&mut room).unwrap(), b"one");
    }

    #[tokio::test]
    async fn nobody_waits_to_write_to_a_side_that_has_gone() {
        let (stream, other) = pair();
        while stream.try_write(&[0; 4096]).is_ok() {}
        drop(other);
        stream.writable().await;
        assert_eq!(stream.try_write(&[0]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn the_end_is_told_of_before_what_is_unread() {
        let (stream, mut other) = pair();
        other.write_all(b"unread").unwrap();
        assert!(!is_ready(stream.ended()).await);
        other.shutdown(Shutdown::Write).unwrap();
        stream.ended().await;
        let mut room = [MaybeUninit::uninit(); 8];
        stream.readable().await;
        assert_eq!(stream.try_read(&mut room).unwrap(), b"unread");
    }

    #[tokio::test]
    #[cfg(target_os = "linux")]
    async fn a_socket_is_abandoned_when_the_other_side_is_closed_not_when_it_has_nothing_to_say() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let ours = OwnedFd::from(ours);
        theirs.shutdown(Shutdown::Write).unwrap();
        let mut abandoned = std::pin::pin!(abandoned(&ours));
        assert!(!is_ready(&mut abandoned).await);
        rustix::io::write(&ours, b"read").unwrap();
        theirs.read_exact(&mut [0; 4]).unwrap();
        assert!(!is_ready(&mut abandoned).await);
        rustix::io::write(&ours, b"unread").unwrap();
        drop(theirs);
        abandoned.await;
    }

    #[tokio::test]
    #[cfg(target_os = "linux")]
    async fn a_pipe_is_abandoned_when_nobody_can_read_it() {
        let (mut reader, writer) = io::pipe().unwrap();
        let writer = OwnedFd::from(writer);
        let mut abandoned = std::pin::pin!(abandoned(&writer));
        rustix::io::write(&writer, b"read").unwrap();
        reader.read_exact(&mut [0; 4]).unwrap();
        assert!(!is_ready(&mut abandoned).await);
        drop(reader);
        abandoned.await;
    }
}
