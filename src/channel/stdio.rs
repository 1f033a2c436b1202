//! The transport: newline-delimited JSON-RPC over whatever stdin and stdout are, on one thread.
//!
//! Node, and so Claude Code, gives a server socket pairs, for which rmcp's own stdio would start threads. Further, rmcp
//! ends at a first message that is no request, leaves malformed requests unanswered, answers `server/discover`, which
//! would cost the channel, and takes five seconds to leave at the end of input. So what is read here is answered or
//! dropped by the rules of `line`, and the end of input is an [`Event`] instead of an end of the transport.

pub mod line;

use std::fs::File;
use std::future::pending;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rmcp::model::JsonRpcMessage;
use rmcp::service::{RoleServer, RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use rustix::fs::{FileType, fstat};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{UnixStream, unix::pipe};
use tokio::sync::Mutex;
use tokio::sync::mpsc::UnboundedSender;

use self::line::{Incoming, Lines};
use super::server::Event;

/// The bytes that one read asks for.
const READ_BYTES: usize = 8 * 1024;

type Reader = Pin<Box<dyn AsyncRead + Send>>;
type Writer = Pin<Box<dyn AsyncWrite + Send>>;

/// rmcp's transport over two byte streams.
pub struct Stdio {
    reader: Reader,
    lines: Lines,
    writer: Arc<Mutex<Writer>>,
    events: UnboundedSender<Event>,
    initialized: bool,
    ended: bool,
}

impl Stdio {
    /// Returns the transport over this process's stdin and stdout.
    ///
    /// Socket pairs and pipes are read and written as they are. A terminal or a file is read by a thread and written directly.
    ///
    /// # Errors
    /// A stream is closed or cannot be made non-blocking.
    pub fn of_process(events: UnboundedSender<Event>) -> io::Result<Self> {
        let reader = open_reader(io::stdin().as_fd())?;
        let writer = open_writer(io::stdout().as_fd())?;
        Ok(Self::new(reader, writer, events))
    }

    /// Returns the transport over these streams.
    pub fn new(reader: Reader, writer: Writer, events: UnboundedSender<Event>) -> Self {
        let writer = Arc::new(Mutex::new(writer));
        Self { reader, lines: Lines::default(), writer, events, initialized: false, ended: false }
    }

    /// Returns a future that writes one line, and tells of a client that does not take it any more.
    fn write<T: Serialize>(&self, message: &T) -> impl Future<Output = io::Result<()>> + Send + use<T> {
        let line = serde_json::to_vec(message).map(|mut line| {
            line.push(b'\n');
            line
        });
        let (writer, events) = (self.writer.clone(), self.events.clone());
        async move {
            let result = writer.lock().await.write_all(&line?).await;
            if result.is_err() {
                events.send(Event::Ended).ok();
            }
            result
        }
    }

    fn end(&mut self) {
        self.ended = true;
        self.events.send(Event::Ended).ok();
    }
}

impl Transport<RoleServer> for Stdio {
    type Error = io::Error;

    fn send(
        &mut self,
        message: TxJsonRpcMessage<RoleServer>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        let answered = match &message {
            JsonRpcMessage::Response(response) => Some(response.id.clone()),
            JsonRpcMessage::Error(error) => error.id.clone(),
            JsonRpcMessage::Request(_) | JsonRpcMessage::Notification(_) => None,
        };
        let (write, events) = (self.write(&message), self.events.clone());
        async move {
            write.await?;
            if let Some(id) = answered {
                events.send(Event::Answered(id)).ok();
            }
            Ok(())
        }
    }

    /// Returns the next message; never `None`: after the end of input it waits for ever. May be dropped at any time.
    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        loop {
            while let Some(line) = self.lines.next_line() {
                match line::read(&line, self.initialized) {
                    Incoming::Message(message) => {
                        self.initialized = true;
                        return Some(*message);
                    }
                    Incoming::Ping(message) => return Some(*message),
                    // In a task of its own, since this future may be dropped halfway through a line.
                    Incoming::Answer(answers) => {
                        for answer in answers {
                            tokio::spawn(self.write(&answer));
                        }
                    }
                    Incoming::Dropped(why) => tracing::debug!(why, "dropped an incoming line"),
                }
            }
            if self.ended {
                return pending().await;
            }
            let buffer = self.lines.buffer(READ_BYTES);
            match self.reader.read_buf(buffer).await {
                Ok(1..) => {}
                Ok(0) => self.end(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot read the client any more");
                    self.end();
                }
            }
        }
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        self.writer.lock().await.shutdown().await
    }
}

fn open_reader(fd: BorrowedFd<'_>) -> io::Result<Reader> {
    let owned = fd.try_clone_to_owned()?;
    let kind = kind_of(&owned)?;
    Ok(if kind == FileType::Socket {
        Box::pin(socket(owned)?)
    } else if kind == FileType::Fifo {
        Box::pin(pipe::Receiver::from_owned_fd(owned)?)
    } else {
        let (ours, mut theirs) = StdUnixStream::pair()?;
        let mut file = File::from(owned);
        std::thread::Builder::new().name("stdin".into()).spawn(move || io::copy(&mut file, &mut theirs))?;
        Box::pin(socket(ours.into())?)
    })
}

fn open_writer(fd: BorrowedFd<'_>) -> io::Result<Writer> {
    let owned = fd.try_clone_to_owned()?;
    let kind = kind_of(&owned)?;
    Ok(if kind == FileType::Socket {
        Box::pin(socket(owned)?)
    } else if kind == FileType::Fifo {
        Box::pin(pipe::Sender::from_owned_fd(owned)?)
    } else {
        Box::pin(Blocking(File::from(owned)))
    })
}

/// A terminal or a file, which cannot be waited for and takes what is written at once.
struct Blocking(File);

impl AsyncWrite for Blocking {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(self.0.write(bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.flush())
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(context)
    }
}

fn kind_of(fd: &OwnedFd) -> io::Result<FileType> {
    Ok(FileType::from_raw_mode(fstat(fd)?.st_mode))
}

fn socket(fd: OwnedFd) -> io::Result<UnixStream> {
    let stream = StdUnixStream::from(fd);
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}
