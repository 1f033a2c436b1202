//! A client that asks more than it reads has to wait, whatever it asks, and everything that it asked is answered once it
//! reads. What it sees of its channel meanwhile: a signal, the end of input and a closed output are noticed at once.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use relay::channel::mcp::OPEN_MAX;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::mcp::PATIENCE;
use crate::support::stage::Stage;

/// How many messages a flood has.
const FLOOD: usize = 200_000;

/// What a channel may have had resident at most.
const PEAK_KIB: u64 = 32 * 1024;

/// How long a client tries to say more before it is said to have to wait.
const STUCK: Duration = Duration::from_secs(1);

/// A channel whose client reads only when it is told to.
struct Mute {
    child: Child,
    stdin: UnixStream,
    stdout: BufReader<UnixStream>,
}

impl Mute {
    /// Starts a channel and goes through the handshake.
    fn start() -> Self {
        let (stdin, their_stdin) = UnixStream::pair().unwrap();
        let (stdout, their_stdout) = UnixStream::pair().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_relay-channel"))
            .env("RELAY_SOCKET", "/nonexistent/relay-test/hub.sock")
            .stderr(Stdio::null())
            .stdin(OwnedFd::from(their_stdin))
            .stdout(OwnedFd::from(their_stdout))
            .spawn()
            .unwrap();
        // Some clients do so at once, and are no less there.
        stdout.shutdown(Shutdown::Write).unwrap();
        stdin.set_write_timeout(Some(STUCK)).unwrap();
        stdout.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut mute = Self { child, stdin, stdout: BufReader::new(stdout) };
        let initialize =
            json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        mute.say(&json!({"jsonrpc": "2.0", "id": "i", "method": "initialize", "params": initialize}).to_string());
        assert_eq!(mute.hear()["id"], "i");
        mute.say(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        mute
    }

    fn say(&mut self, line: &str) {
        self.stdin.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// Says these lines, many at a time, until no more is taken; returns whether it came to that.
    fn flood(&mut self, mut lines: impl Iterator<Item = String>) -> bool {
        loop {
            let many: String = lines.by_ref().take(1000).collect();
            match self.stdin.write_all(many.as_bytes()) {
                Ok(()) if many.is_empty() => return false,
                Ok(()) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return true,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }

    #[track_caller]
    fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("the channel did not end");
    }
}

impl Drop for Mute {
    fn drop(&mut self) {
        let _already_ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Everything that is answered, in turn.
fn request(n: usize) -> String {
    let method = ["ping", "tools/list", "tools/call", "no/such", "tools/call", ""][n % 6];
    let params = [json!({"name": "relay_ask", "arguments": {"to": "web"}}), json!({"name": "no_such"})]
        [usize::from(n % 6 == 4)]
    .clone();
    let mut request = json!({"jsonrpc": "2.0", "id": n, "method": method});
    match method {
        "tools/call" => request["params"] = params,
        "" => drop(request.as_object_mut().unwrap().remove("jsonrpc")),
        _ => {}
    }
    format!("{request}\n")
}

#[test]
#[cfg(target_os = "linux")]
fn a_client_that_never_reads_has_to_wait_and_its_channel_neither_grows_nor_stays() {
    type Tell = fn(&mut Mute);
    let ways: [(&str, Tell); 3] = [
        ("SIGTERM", |mute| mute.terminate()),
        ("end of input", |mute| mute.stdin.shutdown(Shutdown::Write).unwrap()),
        ("its output is closed", |mute| {
            let (nothing, _) = UnixStream::pair().unwrap();
            mute.stdout = BufReader::new(nothing);
        }),
    ];
    for (way, tell) in ways {
        let mut mute = Mute::start();
        assert!(mute.flood((0..FLOOD).map(request)), "all was taken");
        assert!(mute.peak_kib() < PEAK_KIB, "{} KiB", mute.peak_kib());
        tell(&mut mute);
        assert_eq!(mute.wait().code(), Some(0), "{way}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn what_wants_no_answer_does_not_pile_up() {
    let lines: [fn(usize) -> Value; 4] = [
        |n| json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": n}}),
        |_| json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
        |n| json!({"jsonrpc": "2.0", "id": n, "result": {}}),
        |_| json!("no message"),
    ];
    let mut mute = Mute::start();
    for line in lines {
        mute.flood((0..FLOOD).map(|n| format!("{}\n", line(n))));
    }
    mute.say(r#"{"jsonrpc":"2.0","id":"last","method":"ping"}"#);
    assert_eq!(mute.hear()["id"], "last");
    assert!(mute.peak_kib() < PEAK_KIB, "{} KiB", mute.peak_kib());
}

#[test]
fn all_that_was_asked_in_a_flood_is_answered_once_it_is_read() {
    let count = FLOOD / 10;
    let mut mute = Mute::start();
    let mut asker = mute.stdin.try_clone().unwrap();
    asker.set_write_timeout(None).unwrap();
    let asking = std::thread::spawn(move || (0..count).try_for_each(|n| asker.write_all(request(n).as_bytes())));
    std::thread::sleep(STUCK);
    assert!(!asking.is_finished(), "all was taken");
    let mut open: BTreeSet<u64> = (0..count as u64).collect();
    for _ in 0..count {
        let answer = mute.hear();
        assert!(open.remove(&answer["id"].as_u64().unwrap()), "{answer}");
    }
    asking.join().unwrap().unwrap();
    // Nothing is behind it, and there is room again for as many as ever.
    for n in 0..2 * OPEN_MAX {
        mute.say(&json!({"jsonrpc": "2.0", "id": format!("more {n}"), "method": "tools/list"}).to_string());
        assert_eq!(mute.hear()["id"], format!("more {n}"));
    }
}

#[test]
fn a_cancellation_is_heard_while_many_calls_are_open_and_its_place_is_free_again() {
    let stage = Stage::settled(&["--limit", "rate=off", "--limit", "loop=off"]);
    let (web, backend) = (stage.session("web"), stage.session("backend"));
    // Each round takes all places but those of the cancellation's reader and of the ping.
    for round in 0..3 {
        stage.hub.signal(Signal::STOP);
        let ask = |n: usize| {
            web.send_call(
                "relay_ask",
                json!({"to": "backend", "question": format!("{round}.{n}?"), "timeout_seconds": 60}),
            )
        };
        let mut calls: Vec<_> = (0..OPEN_MAX - 2).map(ask).collect();
        let cancelled = calls.split_off(OPEN_MAX / 2);
        cancelled.iter().for_each(|call| web.cancel(&call.id));
        web.request("ping", json!({})).unwrap();
        stage.hub.signal(Signal::CONT);
        for call in calls {
            call.wait_for_tool().ok();
        }
        web.call("relay_peers", json!({})).ok();
        for call in cancelled {
            assert!(call.tool_within(Duration::ZERO).is_none(), "nobody waits for this");
        }
        // Those that were withdrawn in time were never shown: only what is asked now is certain to be the last.
        web.call("relay_ask", json!({"to": "backend", "question": format!("{round} over?")})).ok();
        while !backend.event().content.starts_with(&format!("{round} over?")) {}
    }
}

#[test]
fn a_request_with_the_id_of_an_open_one_is_refused_and_that_one_answered() {
    let stage = Stage::settled(&[]);
    let (web, _backend) = (stage.session("web"), stage.session("backend"));
    stage.hub.signal(Signal::STOP);
    let call = |question: &str| {
        let params = json!({"name": "relay_ask", "arguments": {"to": "backend", "question": question}});
        web.send(&json!({"jsonrpc": "2.0", "id": "one", "method": "tools/call", "params": params}));
    };
    call("First?");
    call("Second?");
    assert_eq!(web.expect("one").wait().unwrap_err()["code"], -32600);
    stage.hub.signal(Signal::CONT);
    assert!(!web.expect("one").wait_for_tool().is_error);
}

#[test]
#[cfg(target_os = "linux")]
fn a_session_whose_client_has_closed_only_what_it_reads_is_a_peer_no_more() {
    let stage = Stage::settled(&[]);
    let backend = stage.session("backend");
    let folder = stage.folders().join("web");
    std::fs::create_dir_all(&folder).unwrap();
    let start = |stdin: Stdio, stdout: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_relay-channel"));
        command.current_dir(&folder).env("RELAY_SOCKET", stage.hub.socket()).stdin(stdin).stdout(stdout);
        command.spawn().unwrap()
    };
    let (socket, their_socket) = UnixStream::pair().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let outputs: [(OwnedFd, OwnedFd); 2] =
        [(socket.into(), OwnedFd::from(their_socket)), (reader.into(), writer.into())];
    for (output, theirs) in outputs {
        let (mut stdin, their_stdin) = UnixStream::pair().unwrap();
        let mut child = start(OwnedFd::from(their_stdin).into(), theirs.into());
        let hello =
            json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello});
        write!(stdin, "{hello}\n{}\n", json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).unwrap();
        stage.wait_for_peers(&backend, |peers| peers.len() == 1);
        drop(output);
        stage.wait_for_peers(&backend, <[_]>::is_empty);
        assert_eq!(child.wait().unwrap().code(), Some(0));
        drop(stdin);
    }
}
