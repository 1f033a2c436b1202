//! One accepted connection: whose it is, its reader, and the end of the process behind it.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::Event;
use crate::hub::{ConnId, GONE_WAIT, Input};
use crate::protocol::ClientProcess;
use crate::protocol::codec::{FRAME_MAX_BYTES, FrameBuffer, HELLO_MAX_BYTES, decode};

/// How often is looked whether the process behind a lost connection still runs.
const PROCESS_LOOK: Duration = Duration::from_millis(20);

/// How many bytes are read at once.
const READ_BYTES: usize = 16 * 1024;

/// What the kernel says of the process at the other end, as it was when it connected.
#[derive(Debug, Clone, Copy)]
pub(super) struct Credentials {
    /// Its process id, where the system tells.
    pub(super) pid: Option<i32>,
}

impl Credentials {
    /// Asks the kernel, before a byte is read.
    ///
    /// # Errors
    /// The process belongs to another user (root included), or the kernel does not tell.
    pub(super) fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        let own = rustix::process::geteuid().as_raw();
        if credentials.uid() == own {
            Ok(Self { pid: credentials.pid() })
        } else {
            let message = format!("it belongs to uid {} and this hub serves uid {own} only", credentials.uid());
            Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
        }
    }
}

/// Reads a connection to its end and hands its messages to the owner, no faster than the owner takes them.
pub(super) async fn reader(conn: ConnId, stream: Rc<UnixStream>, events: mpsc::Sender<Event>) {
    if let Err(error) = read(conn, &stream, &events).await {
        tracing::debug!(conn = conn.0, %error, "a connection cannot be read");
    }
    let _owner_left = events.send(Event::Input(Input::Disconnected { conn })).await;
}

async fn read(conn: ConnId, stream: &UnixStream, events: &mpsc::Sender<Event>) -> io::Result<()> {
    let mut buffer = FrameBuffer::default();
    let mut limit = HELLO_MAX_BYTES;
    loop {
        stream.readable().await?;
        if read_once(stream, &mut buffer)? == Some(0) {
            if buffer.pending_bytes() > 0 {
                tracing::warn!(conn = conn.0, bytes = buffer.pending_bytes(), "dropped half a frame: its client left");
            }
            return Ok(());
        }
        while let Some(frame) = buffer.next_frame(limit) {
            limit = FRAME_MAX_BYTES;
            let (input, over) = match frame.and_then(decode) {
                Ok(message) => (Input::Received { conn, message }, false),
                Err(error) => {
                    let over = error.is_fatal();
                    (Input::Malformed { conn, error }, over)
                }
            };
            if events.send(Event::Input(input)).await.is_err() || over {
                return Ok(());
            }
        }
    }
}

/// Reads what is there; `None` where nothing is. The buffer lives on the stack, not with an idle connection.
fn read_once(stream: &UnixStream, buffer: &mut FrameBuffer) -> io::Result<Option<usize>> {
    let mut bytes = [0; READ_BYTES];
    match stream.try_read(&mut bytes) {
        Ok(n) => {
            buffer.push(&bytes[..n]);
            Ok(Some(n))
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Tells the owner when the process behind a lost connection has ended, if it does while its client is waited for.
///
/// A pid that is used again in that time only makes the wait as long as it may be.
pub(super) fn watch_process(conn: ConnId, credentials: Credentials, events: mpsc::Sender<Event>) {
    let Some(pid) = credentials.pid.and_then(Pid::from_raw) else { return };
    tell_of_end(pid, Input::ProcessEnded { conn }, events);
}

/// Tells the owner when a session's client has ended, if it does while a successor of its channel is waited for.
pub(super) fn watch_client(process: ClientProcess, events: mpsc::Sender<Event>) {
    let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) else { return };
    tell_of_end(pid, Input::ClientEnded { process }, events);
}

fn tell_of_end(pid: Pid, input: Input, events: mpsc::Sender<Event>) {
    tokio::task::spawn_local(async move {
        let ended = async {
            while test_kill_process(pid) != Err(Errno::SRCH) {
                tokio::time::sleep(PROCESS_LOOK).await;
            }
        };
        if tokio::time::timeout(GONE_WAIT, ended).await.is_ok() {
            let _owner_left = events.send(Event::Input(input)).await;
        }
    });
}
