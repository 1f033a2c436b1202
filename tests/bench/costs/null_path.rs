//! The null path: as many processes as an ask passes in the relay, which pass on each line that they read. What they take is
//! the floor of the architecture: wake-ups, system calls and copies.
//!
//! A session's program carries lines between its client and its connection to the hub. The hub looks in a line for whom it is,
//! sends it there, and tells the sender that it has.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

use rustix::event::{PollFd, PollFlags, poll};

/// What a benchmark is called with to be one of the programs.
pub const HUB: &str = "null-hub";
pub const SESSION: &str = "null-session";
/// The other side of a ping-pong.
pub const ECHO: &str = "echo";

/// How the answer to each line begins.
pub const DONE: &str = r#"{"jsonrpc":"2.0","id":1,"result":"#;

/// Returns the command that runs this program as a part of the null path.
pub fn command(part: &str, socket: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(part).arg(socket);
    command
}

/// Runs as a part of the null path, if that is what this program was called for.
pub fn is_part() -> bool {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some(HUB) => hub(Path::new(&arguments[2])),
        Some(ECHO) => echo(),
        Some(SESSION) => session(Path::new(&arguments[2])),
        _ => return false,
    }
    true
}

fn echo() {
    let (mut stdin, mut stdout, mut bytes) = (std::io::stdin().lock(), std::io::stdout().lock(), [0; 4096]);
    while let Ok(n @ 1..) = stdin.read(&mut bytes) {
        stdout.write_all(&bytes[..n]).unwrap();
        stdout.flush().unwrap();
    }
}

/// Waits until some of these can be read, and returns which.
fn wait(sources: &[BorrowedFd<'_>]) -> Vec<usize> {
    let mut polled: Vec<PollFd<'_>> = sources.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
    poll(&mut polled, None).unwrap();
    (0..polled.len()).filter(|n| !polled[*n].revents().is_empty()).collect()
}

fn session(socket: &Path) {
    let (mut client, mut answers) = (std::io::stdin().lock(), std::io::stdout().lock());
    let mut hub = UnixStream::connect(socket).unwrap();
    let mut room = [0; 64 * 1024];
    loop {
        for ready in wait(&[client.as_fd(), hub.as_fd()]) {
            let n = if ready == 0 { client.read(&mut room) } else { hub.read(&mut room) };
            let Ok(n @ 1..) = n else { return };
            if ready == 0 {
                hub.write_all(&room[..n]).unwrap();
            } else {
                answers.write_all(&room[..n]).unwrap();
                answers.flush().unwrap();
            }
        }
    }
}

struct Connection {
    stream: UnixStream,
    name: Option<String>,
    unfinished: Vec<u8>,
}

fn hub(socket: &Path) {
    std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
    let listener = UnixListener::bind(socket).unwrap();
    let mut connections: BTreeMap<usize, Connection> = BTreeMap::new();
    let mut by_name: BTreeMap<String, usize> = BTreeMap::new();
    let mut room = [0; 64 * 1024];
    for next in 0.. {
        let (stream, _) = listener.accept().unwrap();
        connections.insert(next, Connection { stream, name: None, unfinished: Vec::new() });
        loop {
            let fds = connections.values().map(|one| one.stream.as_fd());
            let ready = wait(&std::iter::once(listener.as_fd()).chain(fds).collect::<Vec<_>>());
            if ready.first() == Some(&0) {
                break;
            }
            let ids: Vec<usize> = connections.keys().copied().collect();
            for id in ready.into_iter().map(|n| ids[n - 1]) {
                read(&mut connections, &mut by_name, id, &mut room);
            }
        }
    }
}

fn read(
    connections: &mut BTreeMap<usize, Connection>,
    by_name: &mut BTreeMap<String, usize>,
    id: usize,
    room: &mut [u8],
) {
    let Some(connection) = connections.get_mut(&id) else { return };
    let Ok(n @ 1..) = connection.stream.read(room) else {
        connections.remove(&id);
        by_name.retain(|_, named| *named != id);
        return;
    };
    connection.unfinished.extend_from_slice(&room[..n]);
    while let Some(connection) = connections.get_mut(&id)
        && let Some(end) = connection.unfinished.iter().position(|byte| *byte == b'\n')
    {
        let line: Vec<u8> = connection.unfinished.drain(..=end).collect();
        let text = String::from_utf8_lossy(&line);
        if connection.name.is_none() {
            connection.name = Some(text.trim().to_owned());
            by_name.insert(text.trim().to_owned(), id);
            continue;
        }
        let to = text.split_once(r#""to":""#).and_then(|(_, rest)| rest.split_once('"')).unwrap().0;
        for (name, other) in &*by_name {
            if to == name || (to == "*" && *other != id) {
                connections.get_mut(other).unwrap().stream.write_all(&line).unwrap();
            }
        }
        let done = format!("{DONE}{{\"isError\":false}}}}\n");
        connections.get_mut(&id).unwrap().stream.write_all(done.as_bytes()).unwrap();
    }
}
