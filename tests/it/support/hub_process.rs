//! A real `relay-hub` in a directory of its own, and a client that says on its socket whatever a test wants.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long a test waits for what must come.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// A foreground hub; killed, with its directory, when it is dropped.
pub(crate) struct HubProcess {
    child: Child,
    program: PathBuf,
    directory: tempfile::TempDir,
}

impl HubProcess {
    /// Starts a hub with these further arguments and waits until it listens.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_program(Path::new(env!("CARGO_BIN_EXE_relay-hub")), arguments)
    }

    /// Starts a hub from another file.
    pub(crate) fn start_program(program: &Path, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let child = Self::spawn(program, directory.path(), arguments);
        let hub = Self { child, program: program.to_owned(), directory };
        hub.wait_until_listening();
        hub
    }

    fn spawn(program: &Path, directory: &Path, arguments: &[&str]) -> Child {
        let log = std::fs::File::options().create(true).append(true).open(directory.join("log")).unwrap();
        let mut command = Command::new(program);
        command
            .arg("--socket")
            .arg(directory.join("run/hub.sock"))
            .args(arguments)
            .env_remove("RELAY_SOCKET")
            .env_remove("RELAY_LIMITS")
            .env("RELAY_LOG", "debug")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        loop {
            match command.spawn() {
                // A program that was copied a moment ago may still be open for writing in a child that another test's
                // thread is about to start: fork(2) copies descriptors.
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
                child => return child.unwrap(),
            }
        }
    }

    fn wait_until_listening(&self) {
        let end = Instant::now() + SOON;
        while UnixStream::connect(self.socket()).is_err() {
            assert!(Instant::now() < end, "the hub does not listen: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills the hub at once and starts another at the same place.
    pub(crate) fn kill_and_restart(&mut self, arguments: &[&str]) {
        self.kill();
        self.start_again(arguments);
    }

    /// Kills the hub at once; its socket stays, and nobody listens.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Kills the hub at once and starts this build's own at the same place.
    pub(crate) fn kill_and_start_own(&mut self) {
        self.kill();
        self.program = PathBuf::from(env!("CARGO_BIN_EXE_relay-hub"));
        self.start_again(&[]);
    }

    /// Ends the hub in order and waits until it has.
    pub(crate) fn end(&mut self) {
        self.signal(rustix::process::Signal::TERM);
        self.child.wait().unwrap();
    }

    /// Starts another hub where the killed one was, from the same file.
    pub(crate) fn start_again(&mut self, arguments: &[&str]) {
        self.child = Self::spawn(&self.program, self.directory.path(), arguments);
        self.wait_until_listening();
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends the hub a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(rustix::process::Pid::from_raw).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("run/hub.sock")
    }

    /// Returns what the hub has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Waits until the log has this text.
    pub(crate) fn wait_for_log(&self, text: &str) {
        let end = Instant::now() + SOON;
        while !self.log().contains(text) {
            assert!(Instant::now() < end, "no {text:?} in the log: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Returns the hub's resident memory, in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        self.kib("VmRSS:")
    }

    /// Returns the most memory that the hub ever had resident, in KiB.
    pub(crate) fn peak_kib(&self) -> u64 {
        self.kib("VmHWM:")
    }

    fn kib(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Connects, without a hello.
    pub(crate) fn connect(&self) -> RawClient {
        RawClient::connect(&self.socket())
    }

    /// Connects as a session that works in this folder and has a channel.
    pub(crate) fn session(&self, folder: &str) -> RawClient {
        let mut client = self.connect();
        client.say(&json!({
            "type": "hello", "id": 1, "versions": {"min": 1, "max": 2}, "program": "test 1", "kind": "session",
            "session": {"pid": 1, "start": 1, "thread": folder}, "agent": "test",
            "cwd": format!("/test/{folder}"), "status": "idle", "wakes_by": "channel",
        }));
        assert_eq!(client.hear()["type"], "welcome");
        client
    }

    /// Waits for the end of the settling, when nobody who might come back is waited for any more.
    pub(crate) fn settle(&self) {
        let mut client = self.session("settling");
        let end = Instant::now() + SOON;
        loop {
            client.say(&json!({"type": "status", "id": 2}));
            if client.hear()["settling"] == false {
                break;
            }
            assert!(Instant::now() < end, "the hub never settles");
            std::thread::sleep(Duration::from_millis(50));
        }
        client.say(&json!({"type": "bye"}));
        client.expect_end();
    }
}

impl Drop for HubProcess {
    fn drop(&mut self) {
        let _already_ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// A connection on which a test says what it likes.
pub(crate) struct RawClient {
    stream: UnixStream,
    lines: BufReader<UnixStream>,
}

impl RawClient {
    pub(crate) fn connect(socket: &Path) -> Self {
        Self::over(UnixStream::connect(socket).unwrap())
    }

    /// Talks over a connection that is there.
    pub(crate) fn over(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.set_write_timeout(Some(SOON)).unwrap();
        let lines = BufReader::new(stream.try_clone().unwrap());
        Self { stream, lines }
    }

    /// Sends one message.
    pub(crate) fn say(&mut self, message: &Value) {
        self.write(format!("{message}\n").as_bytes()).unwrap();
    }

    /// Sends bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Receives one message.
    #[track_caller]
    pub(crate) fn hear(&mut self) -> Value {
        let mut line = String::new();
        let n = self.lines.read_line(&mut line).expect("a message within the time");
        assert_ne!(n, 0, "the hub closed the connection");
        serde_json::from_str(&line).unwrap()
    }

    /// Receives one message; none where the connection ends or nothing comes.
    #[cfg(target_os = "linux")]
    pub(crate) fn try_hear(&mut self) -> Option<Value> {
        let mut line = String::new();
        self.lines.read_line(&mut line).ok()?;
        serde_json::from_str(&line).ok()
    }

    /// Receives the refusal of the last request and returns its code, sentence and advice.
    #[track_caller]
    pub(crate) fn hear_refusal(&mut self) -> (String, String, String) {
        let message = self.hear();
        assert_eq!(message["type"], "error", "{message}");
        let text = |name: &str| message[name].as_str().unwrap().to_owned();
        (text("code"), text("message"), text("next"))
    }

    /// Receives the end of the connection, and nothing before it.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        let mut rest = Vec::new();
        match self.lines.read_to_end(&mut rest) {
            Ok(_) => assert_eq!(String::from_utf8_lossy(&rest), ""),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}"),
        }
    }

    /// Asserts that nothing comes for a while.
    #[track_caller]
    pub(crate) fn expect_silence(&mut self, wait: Duration) {
        self.stream.set_read_timeout(Some(wait)).unwrap();
        let mut line = String::new();
        let heard = self.lines.read_line(&mut line);
        assert!(heard.is_err(), "heard {line:?}");
        self.stream.set_read_timeout(Some(SOON)).unwrap();
    }
}
