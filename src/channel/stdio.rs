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
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rmcp::model::JsonRpcMessage;
use rmcp::service::{RoleServer, RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use rustix::fs::{FileType, fstat};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::Mutex;
use tokio::sync::mpsc::UnboundedSender;

use self::line::{Incoming, Lines};
use super::server::Event;
use crate::watched::{self, Stream};

/// The bytes that one read asks for.
const READ_BYTES: usize = 8 * 1024;

/// rmcp's transport over two byte streams.
pub struct Stdio {
    input: Input,
    lines: Lines,
    output: Arc<Mutex<Output>>,
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
        let input = Input::of(io::stdin().as_fd())?;
        let output = Arc::new(Mutex::new(Output::of(io::stdout().as_fd())?));
        Ok(Self { input, lines: Lines::default(), output, events, initialized: false, ended: false })
    }

    /// Returns a future that writes one line, and tells of a client that does not take it any more.
    fn write<T: Serialize>(&self, message: &T) -> impl Future<Output = io::Result<()>> + Send + use<T> {
        let line = serde_json::to_vec(message).map(|mut line| {
            line.push(b'\n');
            line
        });
        let (output, events) = (self.output.clone(), self.events.clone());
        async move {
            let result = output.lock().await.write_all(&line?).await;
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
            match self.input.read(&mut self.lines).await {
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
        Ok(())
    }
}

/// Where the client's bytes come from.
enum Input {
    Socket(Stream),
    Pipe(pipe::Receiver),
}

impl Input {
    /// Opens a descriptor. A terminal or a file, which cannot be waited for, is read by a thread.
    fn of(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let owned = fd.try_clone_to_owned()?;
        let kind = kind_of(&owned)?;
        if kind == FileType::Socket {
            return Stream::new(owned.into()).map(Self::Socket);
        }
        if kind == FileType::Fifo {
            return pipe::Receiver::from_owned_fd(owned).map(Self::Pipe);
        }
        let (ours, mut theirs) = UnixStream::pair()?;
        let mut file = File::from(owned);
        std::thread::Builder::new().name("stdin".into()).spawn(move || io::copy(&mut file, &mut theirs))?;
        Stream::new(ours).map(Self::Socket)
    }

    /// Reads what is there, or waits for something; 0 at the end. May be dropped at any time.
    async fn read(&mut self, lines: &mut Lines) -> io::Result<usize> {
        let mut bytes = [0; READ_BYTES];
        let n = match self {
            Self::Pipe(pipe) => pipe.read(&mut bytes).await?,
            Self::Socket(stream) => loop {
                match stream.try_read(&mut bytes) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.readable().await,
                    read => break read?,
                }
            },
        };
        lines.push(&bytes[..n]);
        Ok(n)
    }
}

/// Where bytes go to the client.
enum Output {
    Socket(UnixStream),
    Pipe(pipe::Sender),
    /// A terminal or a file, which cannot be waited for and takes what is written at once.
    File(File),
}

impl Output {
    fn of(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let owned = fd.try_clone_to_owned()?;
        let kind = kind_of(&owned)?;
        if kind == FileType::Socket {
            let socket = UnixStream::from(owned);
            socket.set_nonblocking(true)?;
            Ok(Self::Socket(socket))
        } else if kind == FileType::Fifo {
            pipe::Sender::from_owned_fd(owned).map(Self::Pipe)
        } else {
            Ok(Self::File(File::from(owned)))
        }
    }

    async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Pipe(pipe) => pipe.write_all(bytes).await,
            Self::File(file) => file.write_all(bytes),
            Self::Socket(socket) => {
                while !bytes.is_empty() {
                    match socket.write(bytes) {
                        Ok(n) => bytes = &bytes[n..],
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => watched::writable(socket).await,
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(())
            }
        }
    }
}

fn kind_of(fd: &OwnedFd) -> io::Result<FileType> {
    Ok(FileType::from_raw_mode(fstat(fd)?.st_mode))
}
