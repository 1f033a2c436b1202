//! What the fuzzer tries, as plain functions of bytes: they return, or they panic where a promise is broken.
//!
//! The integration tests replay the corpus through the same functions.

#![allow(dead_code, reason = "each fuzz target is a program of its own and uses one of them")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken promise must be loud")]
#![allow(unreachable_pub, reason = "a module of several programs")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use relay::agent::claude_code::{Mode, lets_us_in};
use relay::agent::folder::branch_of_head;
use relay::channel::neutralise;
use relay::hub::{ConnId, Effect, Hub, HubInfo, Input, Limits};
use relay::paths::{Environment, Platform};
use relay::protocol::codec::{FRAME_MAX_BYTES, FrameBuffer, FrameError, HELLO_MAX_BYTES, decode, encode};
use relay::protocol::{
    Answer, AskId, BroadcastId, ClientMessage, Event, Frame, HubMessage, NAME_MAX_CHARS, PeerName, RESERVED_NAMES,
};
use relay::service::{self, Manager, Step};

/// A target's name and function.
pub type Target = (&'static str, fn(&[u8]));

/// Every target, by the name of its corpus.
pub const ALL: [Target; 8] = [
    ("frames", frames),
    ("hello", hello),
    ("hub", hub),
    ("names", names),
    ("neutralise", neutralise),
    ("session", session),
    ("listen_fds", listen_fds),
    ("templates", templates),
];

/// Frames: however the bytes are cut, the same frames come out, none longer than the limit, and nothing is kept of them.
/// The first byte says how the rest is cut.
pub fn frames(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first() else { return };
    let limit = 64;
    let whole = cut_into_frames(&[bytes], limit);
    let pieces: Vec<&[u8]> = bytes.chunks(usize::from(*cut).max(1)).collect();
    assert_eq!(whole, cut_into_frames(&pieces, limit), "frames depend on how their bytes arrive");
    for frame in whole.iter().flatten() {
        assert!(frame.len() < limit && !frame.contains(&b'\n'));
        round_trip::<ClientMessage>(frame);
        round_trip::<HubMessage>(frame);
    }
    round_trip::<ClientMessage>(bytes);
    round_trip::<HubMessage>(bytes);
}

fn cut_into_frames(pieces: &[&[u8]], limit: usize) -> Vec<Result<Vec<u8>, FrameError>> {
    let mut buffer = FrameBuffer::default();
    let mut all = Vec::new();
    for piece in pieces {
        buffer.push(piece);
        while let Some(frame) = buffer.next_frame(limit) {
            let over = frame.is_err();
            all.push(frame.map(<[u8]>::to_vec));
            if over {
                return all;
            }
        }
        assert!(buffer.pending_bytes() < limit, "{} bytes of an unfinished frame are kept", buffer.pending_bytes());
    }
    all
}

/// What is a message is the same message after it was written and read again.
fn round_trip<T: Frame + PartialEq + std::fmt::Debug>(frame: &[u8]) {
    match decode::<T>(frame) {
        Ok(message) => {
            let mut again = Vec::new();
            encode(&message, &mut again);
            assert_eq!(again.pop(), Some(b'\n'));
            assert!(!again.contains(&b'\n'), "a message is one line");
            assert_eq!(decode::<T>(&again).as_ref(), Ok(&message));
        }
        Err(error) => {
            let refusal = error.refusal();
            assert!(!refusal.message.is_empty() && !refusal.next.is_empty());
        }
    }
}

/// The first frame of a connection and what follows at once, in a hub that knows a session already.
pub fn hello(bytes: &[u8]) {
    let mut house = House::new();
    house.connect(0);
    house.say(0, b"{\"type\":\"hello\",\"id\":1,\"versions\":{\"min\":1,\"max\":1},\"program\":\"p\",\"kind\":\"session\",\"session\":{\"pid\":1,\"start\":1},\"agent\":\"a\",\"cwd\":\"/w/api\",\"status\":\"idle\",\"wakes_by\":\"channel\"}\n");
    assert_eq!(house.names.values().next().map(String::as_str), Some("api"));
    house.connect(1);
    house.say(1, bytes);
    house.disconnect(1);
    house.connect(1);
    house.say(1, bytes);
    house.end();
}

/// A whole hub by the bytes of several clients. Each step is two bytes and what they say: the client with what happens to
/// it, and a length or a time.
pub fn hub(bytes: &[u8]) {
    let mut house = House::new();
    let mut rest = bytes;
    while let [what, much, tail @ ..] = rest {
        let (client, much) = (u64::from(what & 3), usize::from(*much));
        rest = tail;
        match what >> 2 & 7 {
            0 => house.connect(client),
            1 => house.disconnect(client),
            2 => house.pass(Duration::from_millis(much as u64 * 40)),
            3 => house.process_ends(client),
            // A line of the rest, so that one byte more or less does not shift all that follows.
            4 | 5 => {
                let end = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
                let (line, tail) = rest.split_at(end);
                rest = tail;
                house.say(client, line);
            }
            _ => {
                let (piece, tail) = rest.split_at(much.min(rest.len()));
                rest = tail;
                house.say(client, piece);
            }
        }
    }
    house.end();
}

/// A hub with its connections, as its shell sees them.
struct House {
    hub: Hub,
    now: Instant,
    next: u64,
    conns: BTreeMap<u64, ConnId>,
    lost: BTreeMap<u64, ConnId>,
    buffers: BTreeMap<ConnId, FrameBuffer>,
    names: BTreeMap<ConnId, String>,
}

impl House {
    fn new() -> Self {
        let now = Instant::now();
        let limits = Limits { connections: 6, open_asks: 4, held_bytes: 4096, ..Limits::default() };
        let hub = Hub::new(now, limits, Some(Duration::from_secs(30)), HubInfo { version: "0", pid: 1 });
        let (conns, lost, buffers, names) = Default::default();
        Self { hub, now, next: 0, conns, lost, buffers, names }
    }

    fn tell(&mut self, input: Input) {
        self.hub.handle(self.now, input);
        self.perform();
    }

    fn connect(&mut self, client: u64) {
        self.next += 1;
        let conn = ConnId(self.next);
        self.disconnect(client);
        self.conns.insert(client, conn);
        self.buffers.insert(conn, FrameBuffer::default());
        self.tell(Input::Connected { conn });
    }

    fn disconnect(&mut self, client: u64) {
        if let Some(conn) = self.conns.remove(&client) {
            self.lost.insert(client, conn);
            if self.buffers.remove(&conn).is_some() {
                self.names.remove(&conn);
                self.tell(Input::Disconnected { conn });
            }
        }
    }

    fn process_ends(&mut self, client: u64) {
        if let Some(conn) = self.lost.get(&client) {
            self.tell(Input::ProcessEnded { conn: *conn });
        }
    }

    fn say(&mut self, client: u64, bytes: &[u8]) {
        let Some(conn) = self.conns.get(&client).copied() else { return };
        if let Some(buffer) = self.buffers.get_mut(&conn) {
            buffer.push(bytes);
        }
        while let Some(buffer) = self.buffers.get_mut(&conn) {
            let limit = if self.hub.has_greeted(conn) { FRAME_MAX_BYTES } else { HELLO_MAX_BYTES };
            let Some(frame) = buffer.next_frame(limit) else { break };
            match frame.and_then(decode) {
                Ok(message) => self.tell(Input::Received { conn, message }),
                Err(error) => self.tell(Input::Malformed { conn, error }),
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some((at, what)) = self.hub.poll_timeout().filter(|(at, _)| *at <= until) {
            self.now = self.now.max(at);
            self.hub.handle_timeout(self.now);
            assert!(self.hub.poll_timeout().is_none_or(|(next, _)| next > self.now), "{what} spins");
            self.perform();
        }
        self.now = until;
    }

    fn perform(&mut self) {
        while let Some(effect) = self.hub.poll_effect() {
            match effect {
                Effect::Send { conn, message } => {
                    assert!(self.buffers.contains_key(&conn), "{message:?} goes to a connection that is over");
                    let name = match &message {
                        HubMessage::Answer(_, Answer::Welcome(welcome)) => welcome.name.as_ref(),
                        HubMessage::Answer(_, Answer::Renamed(renamed))
                        | HubMessage::Event(Event::Renamed(renamed)) => Some(&renamed.name),
                        HubMessage::Answer(..) | HubMessage::Event(_) => None,
                    };
                    self.names.extend(name.map(|name| (conn, name.to_string())));
                }
                Effect::Close { conn, .. } => {
                    self.names.remove(&conn);
                    assert!(self.buffers.remove(&conn).is_some(), "a connection is closed twice");
                }
                Effect::AwaitAgent { conn, .. } => assert!(!self.buffers.contains_key(&conn), "its channel is there"),
                Effect::Record(_) => {}
                Effect::Exit => assert!(self.buffers.is_empty(), "the hub leaves somebody"),
            }
        }
        let different: BTreeSet<&String> = self.names.values().collect();
        assert_eq!(different.len(), self.names.len(), "two peers have one name: {:?}", self.names);
    }

    /// Everybody leaves, and nothing is left.
    fn end(mut self) {
        for client in self.conns.keys().copied().collect::<Vec<_>>() {
            self.disconnect(client);
        }
        self.pass(Duration::from_secs(200_000));
        assert!(self.hub.is_quiet(), "something is left: {:?}", self.hub);
        assert_eq!(self.hub.poll_timeout(), None, "a timer is left");
    }
}

/// Names: a name is its own slug, within its bounds, and never a reserved one; ids say themselves.
pub fn names(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let of_text = PeerName::parse(&text).ok();
    for name in of_text.into_iter().chain([PeerName::of_folder(&text), PeerName::of_folder(&text).with_suffix(7)]) {
        assert!((1..=NAME_MAX_CHARS).contains(&name.as_str().chars().count()), "{name}");
        assert!(!RESERVED_NAMES.contains(&name.as_str()), "{name}");
        assert!(!name.as_str().contains("--") && !name.as_str().starts_with('-') && !name.as_str().ends_with('-'));
        assert_eq!(PeerName::parse(name.as_str()).as_ref(), Ok(&name), "a name is not its own slug");
    }
    if let Ok(id) = text.parse::<AskId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
    if let Ok(id) = text.parse::<BroadcastId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
}

/// Neutralising: nothing forbidden is left, and doing it again changes nothing.
///
/// The oracle knows nothing of the code's tables: it looks for plain spellings of what a client gives a meaning to.
pub fn neutralise(bytes: &[u8]) {
    let raw = String::from_utf8_lossy(bytes);
    let done = neutralise::text(&raw);
    assert_eq!(neutralise::text(&done), done, "not idempotent");
    assert!(done.len() <= raw.len() * neutralise::GROWTH_MAX);
    assert!(!done.chars().any(|c| c.is_control() && c != '\n' && c != '\t'), "a control character is left: {done:?}");
    assert!(!done.contains(['\u{200b}', '\u{202e}', '\u{2066}', '\u{feff}', '\u{e0041}']), "invisible: {done:?}");
    let letters: String = done.to_lowercase().chars().filter(|c| !matches!(c, '-' | '_' | ' ' | '/')).collect();
    for tag in ["channel", "systemreminder", "relaymessage", "functioncalls", "tooluse", "system", "commandname"] {
        for end in [">", "\t", "\n", "="] {
            assert!(!letters.contains(&format!("<{tag}{end}")), "<{tag} is left in {done:?}");
        }
    }
    assert!(!neutralise::line(&raw).contains('\n'));
}

/// What the channel reads of its session: the text of a `.git/HEAD`, and a command line.
pub fn session(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Some(branch) = branch_of_head(&text) {
        assert!(branch.len() <= text.len());
    }
    let command: Vec<String> = text.split('\0').map(str::to_owned).collect();
    let has_entry = command.iter().any(|word| word.contains("server:relay") || word.contains("plugin:relay@"));
    for plugin in [false, true] {
        assert!(!lets_us_in(&command, plugin) || has_entry, "channel events without an entry of ours");
    }
    let by_hand = command.iter().any(|word| word.starts_with("-p") || word.starts_with("--"));
    assert!(by_hand || Mode::of(&command, Some(true)) != Mode::StreamJson);
}

/// The variables that hand sockets over, as a real `relay-hub` reads them: three lines, `LISTEN_FDS`, `LISTEN_FDNAMES` and
/// `LISTEN_PID` (empty for the hub's own). No socket is handed over, so the hub must not serve by them: it says what is
/// wrong, or goes on as if they were not there, to a place that nobody can make.
pub fn listen_fds(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).replace('\0', "");
    let mut lines = text.lines();
    let [fds, names, pid] = [(); 3].map(|()| lines.next().unwrap_or_default().to_owned());
    let mut hub = Command::new("/bin/sh")
        .args(["-c", "LISTEN_PID=${FUZZ_PID:-$$} exec \"$0\"", &hub_program().to_string_lossy()])
        .env_clear()
        .envs([("LISTEN_FDS", fds), ("LISTEN_FDNAMES", names), ("FUZZ_PID", pid), ("RELAY_LOG", "off".to_owned())])
        .env("RELAY_SOCKET", "/proc/no-such-place/hub.sock")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the hub's program");
    let end = Instant::now() + Duration::from_secs(20);
    let status = loop {
        match hub.try_wait().expect("its own child") {
            Some(status) => break status,
            None if Instant::now() > end => {
                let _gone = hub.kill();
                panic!("the hub neither serves nor leaves");
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    let code = status.code().unwrap_or_else(|| panic!("the hub was ended by a signal: {status}"));
    assert!(code == 1 || code == 2, "a hub without a socket ended with {code}");
}

/// Returns the hub's program: `RELAY_HUB`, or the one that was built for the tests.
fn hub_program() -> PathBuf {
    match (std::env::var_os("RELAY_HUB"), option_env!("CARGO_BIN_EXE_relay-hub")) {
        (Some(path), _) => path.into(),
        (None, Some(path)) => path.into(),
        (None, None) => panic!("RELAY_HUB must name the relay-hub to be tried"),
    }
}

/// The units and the plist: whatever the directory is named, it cannot add a line or an element to them.
pub fn templates(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let bindir = Path::new("/opt").join(text.trim_start_matches('/'));
    let environment = |platform| Environment {
        platform,
        socket_option: None,
        relay_socket: None,
        runtime_dir: Some("/run/user/1000".into()),
        run_user: "/run/user".into(),
        home: Some("/home/me".into()),
        config_home: None,
        state_home: None,
        data_home: None,
        uid: 1000,
    };
    let files = |manager: &Manager, platform, bindir: &Path| -> Vec<String> {
        let plan = service::install(manager, &environment(platform), bindir);
        let steps = plan.map(|plan| plan.steps).unwrap_or_default();
        steps
            .into_iter()
            .filter_map(|step| if let Step::WriteFile { content, .. } = step { Some(content) } else { None })
            .collect()
    };
    let plain = files(&Manager::Systemd, Platform::Linux, Path::new("/opt/bin"));
    for (unit, plain) in files(&Manager::Systemd, Platform::Linux, &bindir).iter().zip(&plain) {
        assert_eq!(unit.lines().count(), plain.lines().count(), "a path made a line: {unit}");
        for (line, usual) in unit.lines().zip(plain.lines()) {
            assert!(line == usual || line.starts_with("ExecStart=\"/opt/"), "{line}");
        }
    }
    let launchd = Manager::Launchd { domain: "gui/501".to_owned() };
    for file in files(&launchd, Platform::MacOs, &bindir) {
        let value = plist::Value::from_reader(std::io::Cursor::new(file.as_bytes())).expect("a property list");
        let job = value.as_dictionary().expect("a dictionary");
        assert_eq!(job.len(), 8, "a path made an entry: {file}");
        let program = job["ProgramArguments"].as_array().expect("an array");
        assert_eq!(program.len(), 1);
        let named = program[0].as_string().expect("a text");
        assert_eq!(Path::new(named), bindir.join("relay-hub"), "another program is named");
    }
}
