//! The channel's end of the session's socket: accepts, reads, writes and closes; decides nothing.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::ReaderId;
use super::address::{BindError, Bound, bind};
use super::frame::{ChannelMessage, ReaderMessage};
use crate::protocol::codec::{FRAME_MAX_BYTES, FrameBuffer, decode, encode};
use crate::watched::{self, Stream};

/// The most connections at a time; more wait until one ends. A turn's hooks may run side by side.
pub const CONNECTIONS_MAX: usize = 64;

/// The pause after a failed accept, without which a channel that is out of descriptors would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The bytes that one read asks for.
const READ_BYTES: usize = 4 * 1024;

/// What came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// A message.
    Message(ReaderId, ReaderMessage),
    /// The connection has ended: nothing of it was taken that is not among the messages before.
    Gone(ReaderId),
}

#[derive(Debug)]
struct Connection {
    stream: Stream,
    input: FrameBuffer,
    output: Vec<u8>,
}

/// The bound socket and its connections.
#[derive(Debug)]
pub struct Listener {
    listener: watched::Listener,
    connections: BTreeMap<ReaderId, Connection>,
    accepted: u64,
    /// Until when nobody is accepted after a failure.
    paused_until: Option<Instant>,
    /// Removes the socket's name.
    _bound: Bound,
}

impl Listener {
    /// Binds the session's socket. To be called within a runtime.
    ///
    /// # Errors
    /// Another channel listens there, the directory is not private, or the system refuses.
    pub fn bind(address: &Path) -> Result<Self, BindError> {
        let (listener, bound) = bind(address)?;
        let listener = watched::Listener::new(listener)?;
        Ok(Self { listener, connections: BTreeMap::new(), accepted: 0, paused_until: None, _bound: bound })
    }

    /// Waits until somebody wants to connect, or a connection can be read, or written again. Cancel-safe.
    pub async fn ready(&self) {
        let full = self.connections.values().find(|connection| !connection.output.is_empty());
        let mut room = pin!(async {
            match full {
                Some(connection) => connection.stream.writable().await,
                None => std::future::pending().await,
            }
        });
        let mut accepting = pin!(async {
            match self.paused_until {
                Some(until) => tokio::time::sleep_until(until.into()).await,
                None if self.connections.len() < CONNECTIONS_MAX => {
                    poll_fn(|cx| self.listener.poll_readable(cx).map(drop)).await
                }
                None => std::future::pending().await,
            }
        });
        poll_fn(|cx| {
            let is_read = self.connections.values().any(|one| one.stream.poll_readable(cx).is_ready());
            if is_read || accepting.as_mut().poll(cx).is_ready() || room.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
    }

    /// Accepts who wants to connect, writes what is left to be written, and reads all that is there.
    pub fn turn(&mut self, incoming: &mut Vec<Incoming>) {
        self.paused_until = self.paused_until.filter(|until| Instant::now() < *until);
        if self.paused_until.is_none() {
            self.accept();
        }
        let ids: Vec<ReaderId> = self.connections.keys().copied().collect();
        for id in ids {
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            // What a connection said before it broke counts.
            let is_over = connection.write().is_err() | connection.read();
            let is_understood = connection.messages(id, incoming);
            if is_over || !is_understood {
                self.connections.remove(&id);
                incoming.push(Incoming::Gone(id));
            }
        }
    }

    fn accept(&mut self) {
        while self.connections.len() < CONNECTIONS_MAX {
            match self.listener.accept() {
                None => return,
                Some(Ok(stream)) => {
                    if let Err(error) = self.admit(stream) {
                        tracing::debug!(%error, "refused a connection of the session's socket");
                    }
                }
                Some(Err(error)) => {
                    tracing::debug!(%error, "cannot accept on the session's socket");
                    self.paused_until = Some(Instant::now() + ACCEPT_PAUSE);
                    return;
                }
            }
        }
    }

    /// Takes a connection in, if it is from a process of this user.
    fn admit(&mut self, stream: UnixStream) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        let stream = tokio::net::UnixStream::from_std(stream)?;
        if stream.peer_cred()?.uid() != rustix::process::geteuid().as_raw() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let stream = Stream::new(stream.into_std()?)?;
        self.accepted += 1;
        let connection = Connection { stream, input: FrameBuffer::default(), output: Vec::new() };
        self.connections.insert(ReaderId(self.accepted), connection);
        Ok(())
    }

    /// Writes a message, at once as far as the connection takes it. One that is broken is told of by the next turn.
    pub fn send(&mut self, to: ReaderId, message: &ChannelMessage) {
        if let Some(connection) = self.connections.get_mut(&to) {
            encode(message, &mut connection.output);
            let _broken = connection.write();
        }
    }

    /// Closes a connection. What the other side wrote before counts, and what it writes later fails there.
    pub fn close(&mut self, id: ReaderId, incoming: &mut Vec<Incoming>) {
        let Some(mut connection) = self.connections.remove(&id) else { return };
        // Where the system drops what is unread when reading is shut down, it must be read before.
        connection.read_all();
        connection.stream.stop_reading();
        connection.read_all();
        let _bad_ones_are_its_own_loss = connection.messages(id, incoming);
        incoming.push(Incoming::Gone(id));
    }

    /// Closes all connections likewise.
    pub fn close_all(&mut self, incoming: &mut Vec<Incoming>) {
        for id in self.connections.keys().copied().collect::<Vec<_>>() {
            self.close(id, incoming);
        }
    }
}

impl Connection {
    /// Reads what is there. Returns whether the connection has ended.
    fn read(&mut self) -> bool {
        self.stream.read_to(|bytes| self.input.push(bytes)).unwrap_or(true)
    }

    /// Reads what is there, whatever the runtime knows of it.
    fn read_all(&mut self) {
        let mut room = [MaybeUninit::uninit(); READ_BYTES];
        while let Ok(bytes) = self.stream.read_now(&mut room) {
            if bytes.is_empty() {
                return;
            }
            self.input.push(bytes);
        }
    }

    fn write(&mut self) -> io::Result<()> {
        self.stream.write_from(&mut self.output)?;
        if self.output.is_empty() {
            self.output = Vec::new();
        }
        Ok(())
    }

    /// Takes the whole messages. Returns `false` where something is none.
    fn messages(&mut self, id: ReaderId, incoming: &mut Vec<Incoming>) -> bool {
        while let Some(frame) = self.input.next_frame(FRAME_MAX_BYTES) {
            match frame.and_then(decode) {
                Ok(message) => incoming.push(Incoming::Message(id, message)),
                // A newer program may say more than this one knows.
                Err(error) if !error.is_fatal() => tracing::debug!(%error, "skipped a message of the session"),
                Err(error) => {
                    tracing::debug!(%error, "the session's socket got no message");
                    return false;
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::super::frame::{Deliver, Hello, Role, Taken};
    use super::*;

    fn listener() -> (tempfile::TempDir, std::path::PathBuf, Listener) {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("s/1-1.sock");
        let listener = Listener::bind(&path).unwrap();
        (root, path, listener)
    }

    async fn incoming(listener: &mut Listener) -> Vec<Incoming> {
        let mut all = Vec::new();
        while all.is_empty() {
            listener.ready().await;
            listener.turn(&mut all);
        }
        all
    }

    fn taken(batch: u64) -> ReaderMessage {
        ReaderMessage::Taken(Taken { batch })
    }

    const FIRST: ReaderId = ReaderId(1);

    #[tokio::test]
    async fn reader_says_hello_and_gets_text_and_its_end_is_told() {
        let (_root, path, mut listener) = listener();
        let mut reader = UnixStream::connect(&path).unwrap();
        reader.write_all(b"{\"type\":\"hello\",\"role\":\"waiter\"}\n").unwrap();
        let hello = ReaderMessage::Hello(Hello::new(Role::Waiter));
        assert_eq!(incoming(&mut listener).await, [Incoming::Message(FIRST, hello)]);
        let text = "x".repeat(300_000);
        listener.send(FIRST, &ChannelMessage::Deliver(Deliver { batch: 1, text: text.clone(), ids: Vec::new() }));
        let read = std::thread::spawn(move || {
            let mut bytes = vec![0; text.len()];
            reader.read_exact(&mut bytes).unwrap();
            reader.write_all(b"{\"type\":\"taken\",\"batch\":1}\n").unwrap();
            reader
        });
        assert_eq!(incoming(&mut listener).await, [Incoming::Message(FIRST, taken(1))]);
        drop(read.join().unwrap());
        assert_eq!(incoming(&mut listener).await, [Incoming::Gone(FIRST)]);
    }

    #[tokio::test]
    async fn reader_that_is_closed_counts_up_to_there_and_its_later_words_fail() {
        let (_root, path, mut listener) = listener();
        let mut reader = UnixStream::connect(&path).unwrap();
        reader.write_all(b"{\"type\":\"taken\",\"batch\":1}\n").unwrap();
        incoming(&mut listener).await;
        reader.write_all(b"{\"type\":\"taken\",\"batch\":2}\n").unwrap();
        let mut last = Vec::new();
        listener.close(FIRST, &mut last);
        assert_eq!(last, [Incoming::Message(FIRST, taken(2)), Incoming::Gone(FIRST)]);
        assert!(reader.write_all(b"{\"type\":\"taken\",\"batch\":3}\n").is_err());
    }

    #[tokio::test]
    async fn connections_are_bounded_and_what_is_no_message_ends_one() {
        let (_root, path, mut listener) = listener();
        let mut readers: Vec<_> = (0..CONNECTIONS_MAX + 1).map(|_| UnixStream::connect(&path).unwrap()).collect();
        readers[CONNECTIONS_MAX].write_all(b"{\"type\":\"taken\",\"batch\":1}\n").unwrap();
        listener.ready().await;
        listener.turn(&mut Vec::new());
        assert_eq!(listener.connections.len(), CONNECTIONS_MAX);
        let soon = Duration::from_millis(50);
        assert!(tokio::time::timeout(soon, listener.ready()).await.is_err(), "who waits for room costs nothing");
        readers[0].write_all(b"{\"type\":\"later\"}\ngarbage\n").unwrap();
        assert_eq!(incoming(&mut listener).await, [Incoming::Gone(FIRST)]);
        let last = ReaderId(CONNECTIONS_MAX as u64 + 1);
        assert_eq!(incoming(&mut listener).await, [Incoming::Message(last, taken(1))]);
    }

    #[tokio::test]
    async fn after_a_failed_accept_there_is_a_pause() {
        let (_root, path, mut listener) = listener();
        let mut reader = UnixStream::connect(&path).unwrap();
        reader.write_all(b"{\"type\":\"taken\",\"batch\":1}\n").unwrap();
        // A socket that does not listen is always ready, and nobody can be accepted there.
        let deaf =
            rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::STREAM, None).unwrap();
        let working = std::mem::replace(&mut listener.listener, watched::Listener::new(deaf.into()).unwrap());
        listener.ready().await;
        let mut nothing = Vec::new();
        listener.turn(&mut nothing);
        assert_eq!(nothing, []);
        assert!(tokio::time::timeout(ACCEPT_PAUSE / 2, listener.ready()).await.is_err(), "it does not spin");
        listener.listener = working;
        assert_eq!(incoming(&mut listener).await, [Incoming::Message(FIRST, taken(1))]);
    }
}
