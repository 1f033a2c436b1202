//! `relay-channel wait`: wakes the session when a message comes. It waits until the channel has text for it, writes it to
//! standard error and ends with status 2, on which Claude Code starts a turn with it (`asyncRewake`).
//!
//! Started by the hooks `SessionStart` and `Stop`, it ends silently when a newer one takes its place or the agent has ended.
//! It waits as long as the agent lives, also while the session's channel is away.

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::event::{PollFd, PollFlags, poll};
use serde::Deserialize;

use super::address::address;
use super::frame::{ChannelMessage, Hello, ReaderMessage, Role};
use super::reader::Reader;
use crate::agent::claude_code::Mode;
use crate::process::{self, Process};
use crate::protocol::SessionId;
use crate::watched::{PathWatch, Watching, process_end};

/// The status that makes Claude Code start a turn with what stands on standard error.
const WAKE: u8 = 2;

/// What Claude Code says of the event, as far as it matters.
#[derive(Debug, Deserialize)]
struct Input {
    hook_event_name: String,
}

/// Waits until there is something to wake the session with. Errors are silent: Claude Code shows nothing of them.
pub fn run(hub_socket: Option<PathBuf>) -> ExitCode {
    let (Some(hub_socket), Some(parent)) = (hub_socket, process::parent()) else { return ExitCode::SUCCESS };
    let mode = Mode::of_process(parent.pid);
    if !may_wait(mode, || serde_json::Deserializer::from_reader(io::stdin()).into_iter::<Input>().next()?.ok()) {
        return ExitCode::SUCCESS;
    }
    let session = SessionId { pid: parent.pid, start: parent.start, thread: None };
    match wait(&address(&hub_socket, &session), parent, mode) {
        Some(text) if io::stderr().write_all(text.as_bytes()).is_ok() => ExitCode::from(WAKE),
        Some(_) | None => ExitCode::SUCCESS,
    }
}

/// Returns whether a waiter may stay. Where Claude Code reads its prompts as JSON it waits for the hooks of a session's start
/// before the first prompt, in the background or not, and in print mode nobody is to be woken (seen in 2.1.330).
fn may_wait(mode: Mode, input: impl FnOnce() -> Option<Input>) -> bool {
    match mode {
        Mode::Terminal => true,
        Mode::StreamJson => input().is_some_and(|input| input.hook_event_name == "Stop"),
        Mode::Print | Mode::Subcommand => false,
    }
}

/// Waits for text; none where the agent has ended or another waiter is there.
fn wait(address: &Path, agent: Process, mode: Mode) -> Option<String> {
    let agent_end = process_end(agent).ok()??;
    let input_end = if mode == Mode::StreamJson { input_of(agent) } else { None };
    let ends = Ends { agent: &agent_end, input: input_end.as_ref() };
    // A system has few watches to give, so there is one only while the channel is away.
    let mut coming: Option<PathWatch> = None;
    loop {
        if let Ok(mut reader) = Reader::connect(address, ReaderMessage::Hello(Hello::new(Role::Waiter))) {
            coming = None;
            match converse(&mut reader, &ends) {
                Ok(shown) => return shown,
                Err(_channel_has_gone) => continue,
            }
        }
        match &mut coming {
            // Whoever came before the watch was set is met by one more attempt.
            None => coming = Some(PathWatch::new(address.to_owned(), Watching::Coming).ok()?),
            Some(coming) if ends.come_before(&*coming) => return None,
            Some(coming) => coming.take().ok()?,
        }
    }
}

/// Reads until there is text, or the waiter is not wanted any more.
fn converse(reader: &mut Reader, ends: &Ends<'_>) -> io::Result<Option<String>> {
    loop {
        match reader.next_message()? {
            // Where it cannot be taken any more, another one shows it, and what to do is said behind it.
            Some(ChannelMessage::Deliver(deliver)) => {
                if let Ok(text) = reader.take(deliver) {
                    return Ok(Some(text));
                }
            }
            Some(ChannelMessage::End) => return Ok(None),
            Some(ChannelMessage::Result(_)) => {}
            None if ends.come_before(&*reader) => return Ok(None),
            None => reader.read()?,
        }
    }
}

/// Returns what the agent reads from, where the end of it can be told: a pipe, of which this is a second reading end that
/// never reads. A socket pair, which Node gives, cannot be opened (proc_pid_fd(5)).
fn input_of(agent: Process) -> Option<OwnedFd> {
    use rustix::fs::{FileType, Mode, OFlags, open, stat};
    let path = format!("/proc/{}/fd/0", agent.pid);
    let is_pipe = stat(&path).is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Fifo);
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    if is_pipe { open(&path, flags, Mode::empty()).ok() } else { None }
}

/// What ends a waiter.
struct Ends<'a> {
    agent: &'a OwnedFd,
    input: Option<&'a OwnedFd>,
}

impl Ends<'_> {
    /// Waits until something can be read there; returns whether the agent has ended before, or will, having no more input.
    fn come_before(&self, other: impl AsFd) -> bool {
        let other = other.as_fd();
        let mut fds = vec![PollFd::new(&other, PollFlags::IN), PollFd::new(self.agent, PollFlags::IN)];
        // Of a pipe that nobody can write to any more the kernel tells without being asked (poll(2)).
        fds.extend(self.input.map(|input| PollFd::new(input, PollFlags::empty())));
        loop {
            match poll(&mut fds, None) {
                Ok(_) => return fds[1..].iter().any(|fd| !fd.revents().is_empty()),
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiter_stays_only_where_it_holds_nothing_up() {
        let input = |name: &str| Some(Input { hook_event_name: name.to_owned() });
        assert!(may_wait(Mode::Terminal, || panic!("its input may never end")));
        assert!(!may_wait(Mode::StreamJson, || input("SessionStart")));
        assert!(may_wait(Mode::StreamJson, || input("Stop")));
        assert!(!may_wait(Mode::StreamJson, || None));
        assert!(!may_wait(Mode::Print, || input("Stop")));
    }

    #[test]
    fn waiter_ends_with_its_agent_and_before_that_with_the_agents_input() {
        let root = tempfile::tempdir().unwrap();
        let address = root.path().join("s/1-1.sock");
        for mode in [Mode::Terminal, Mode::StreamJson] {
            let mut cat = std::process::Command::new("cat");
            let mut agent =
                cat.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::null()).spawn().unwrap();
            let process = process::of(agent.id()).unwrap();
            let input = agent.stdin.take();
            let address = address.clone();
            let waiter = std::thread::spawn(move || wait(&address, process, mode));
            if mode == Mode::StreamJson {
                drop(input);
            } else {
                agent.kill().unwrap();
            }
            assert_eq!(waiter.join().unwrap(), None);
            let _ended = agent.kill();
            agent.wait().unwrap();
        }
    }
}
