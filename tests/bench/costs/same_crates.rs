//! The null path built of what the relay is built of: tokio, serde_json, the wire's frames, the MCP lines. It sends the
//! messages that a truthful delivery takes, and keeps no promise: no tables but names, no deadlines, no reconnects, no log.
//! What it takes beyond the null path is the price of the crates and formats; what the relay takes beyond it is the relay's.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as StdStream;
use std::path::Path;
use std::rc::Rc;

use memchr::memchr;
use relay::channel::mcp::line::{Line, Message, read};
use relay::channel::notification;
use relay::protocol::codec::{FRAME_MAX_BYTES, FrameBuffer, decode, encode};
use relay::protocol::{
    Accepted, Activity, Answer, Ask, AskId, AskState, Asked, Audience, Broadcast, BroadcastAccepted, BroadcastAsk,
    BroadcastId, Chain, ClientMessage, ClientTag, Event, HubMessage, Notice, PeerName, Progress, Replied, Reply,
    ReplyEvent, Request, RequestId, SessionId, Taken,
};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::{UnixListener, UnixStream};

/// What a benchmark is called with to be one of the programs.
pub const HUB: &str = "same-crates-hub";
pub const SESSION: &str = "same-crates-session";

/// Runs as a part of this path, if that is what this program was called for.
pub fn is_part() -> bool {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some(HUB) => relay::runtime::run(hub(Path::new(&arguments[2]))).unwrap(),
        Some(SESSION) => relay::runtime::run(session(Path::new(&arguments[2]))).unwrap(),
        _ => return false,
    }
    true
}

/// Reads once; none at the end.
async fn read_once(stream: &UnixStream, room: &mut [u8]) -> Option<usize> {
    loop {
        stream.readable().await.ok()?;
        match stream.try_read(room) {
            Ok(0) => return None,
            Ok(n) => return Some(n),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return None,
        }
    }
}

/// Writes a line. As few messages are on their way as here fit into the socket's buffer.
fn write(stream: &UnixStream, line: &[u8]) {
    assert_eq!(stream.try_write(line).unwrap(), line.len());
}

fn tell(stream: &UnixStream, message: &HubMessage) {
    let mut line = Vec::new();
    encode(message, &mut line);
    write(stream, &line);
}

#[derive(Default)]
struct Hub {
    by_name: BTreeMap<String, Rc<UnixStream>>,
    asks: BTreeMap<AskId, OpenAsk>,
}

struct OpenAsk {
    asker: String,
    asked: String,
    /// The reply's.
    request: RequestId,
}

async fn hub(socket: &Path) {
    std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
    let listener = UnixListener::bind(socket).unwrap();
    let hub = Rc::new(RefCell::new(Hub::default()));
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::task::spawn_local(serve(Rc::new(stream), Rc::clone(&hub)));
    }
}

async fn serve(stream: Rc<UnixStream>, hub: Rc<RefCell<Hub>>) {
    let (mut input, mut name) = (FrameBuffer::default(), None);
    while stream.readable().await.is_ok() {
        // One for all connections: what each keeps is cold when many take turns.
        let mut room = [0; 8192];
        match stream.try_read(&mut room) {
            Ok(0) => return,
            Ok(n) => input.push(&room[..n]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(_) => return,
        }
        while let Some(frame) = input.next_frame(FRAME_MAX_BYTES) {
            let frame = frame.unwrap();
            let Some(name) = &name else {
                let own = String::from_utf8_lossy(frame).trim_matches('"').to_owned();
                hub.borrow_mut().by_name.insert(own.clone(), Rc::clone(&stream));
                name = Some(own);
                continue;
            };
            hub.borrow_mut().handle(name, &stream, decode(frame).unwrap());
        }
    }
}

fn tag() -> ClientTag {
    SessionId { pid: 1, start: 1, thread: None }.tag()
}

impl Hub {
    fn handle(&mut self, name: &str, stream: &UnixStream, message: ClientMessage) {
        match message {
            ClientMessage::Request(id, Request::Ask(ask)) => self.ask(name, stream, id, ask),
            ClientMessage::Request(id, Request::Broadcast(broadcast)) => self.broadcast(name, stream, id, &broadcast),
            ClientMessage::Request(id, Request::Reply(Reply { ask_id, text })) => {
                let Some(ask) = self.asks.get_mut(&ask_id) else { return };
                ask.request = id;
                let reply = ReplyEvent { ask_id, from: PeerName::of_folder(name), by: tag(), text };
                tell(&self.by_name[&ask.asker], &HubMessage::Event(Event::Reply(reply)));
            }
            ClientMessage::Notice(Notice::Taken(Taken { ask_id, .. })) => {
                let Some(ask) = self.asks.remove(&ask_id) else { return };
                let replied = Replied { ask_id, to: name.to_owned() };
                tell(&self.by_name[&ask.asked], &HubMessage::Answer(ask.request, Answer::Replied(replied)));
            }
            ClientMessage::Request(..) | ClientMessage::Notice(_) => {}
        }
    }

    fn broadcast(&self, name: &str, stream: &UnixStream, id: RequestId, broadcast: &Broadcast) {
        let mut asks = Vec::new();
        for (to, other) in self.by_name.iter().filter(|(to, _)| *to != name) {
            let (to, ask_id) = (PeerName::of_folder(to), AskId::from_bits(asks.len() as u64));
            let asked = Asked {
                ask_id,
                from: name.to_owned(),
                question: broadcast.question.clone(),
                timeout_ms: broadcast.timeout_ms,
                broadcast_id: Some(broadcast.broadcast_id),
                from_tag: None,
                chain: Chain::default(),
            };
            tell(other, &HubMessage::Event(Event::Asked(asked)));
            asks.push(BroadcastAsk { to, ask_id, tag: tag(), state: AskState::Accepted });
        }
        let accepted = BroadcastAccepted { broadcast_id: broadcast.broadcast_id, asks, refused: Vec::new() };
        tell(stream, &HubMessage::Answer(id, Answer::BroadcastAccepted(accepted)));
    }

    fn ask(&mut self, name: &str, stream: &UnixStream, id: RequestId, ask: Ask) {
        let Ask { ask_id, to, question, timeout_ms, .. } = ask;
        let asked = Asked {
            ask_id,
            from: name.to_owned(),
            question,
            timeout_ms,
            broadcast_id: None,
            from_tag: None,
            chain: Chain::default(),
        };
        tell(&self.by_name[&to], &HubMessage::Event(Event::Asked(asked)));
        self.asks.insert(ask_id, OpenAsk { asker: name.to_owned(), asked: to.clone(), request: id });
        let accepted = Accepted {
            ask_id,
            to: PeerName::of_folder(&to),
            tag: tag(),
            state: AskState::Accepted,
            cwd: format!("/home/me/{to}"),
            status: Activity::Idle,
            waiting_for: None,
        };
        tell(stream, &HubMessage::Answer(id, Answer::Accepted(accepted)));
    }
}

struct Session {
    client: UnixStream,
    answers: UnixStream,
    hub: UnixStream,
    last: u64,
    /// The calls that are not answered yet, by the requests at the hub.
    calls: BTreeMap<RequestId, Value>,
}

async fn session(socket: &Path) {
    let [client, answers] = [std::io::stdin().as_fd(), std::io::stdout().as_fd()].map(|fd| {
        let stream = StdStream::from(fd.try_clone_to_owned().unwrap());
        stream.set_nonblocking(true).unwrap();
        UnixStream::from_std(stream).unwrap()
    });
    let (hub, last) = (UnixStream::connect(socket).await.unwrap(), u64::from(std::process::id()) << 32);
    let mut session = Session { client, answers, hub, last, calls: BTreeMap::new() };
    let (mut lines, mut frames) = (Vec::new(), FrameBuffer::default());
    let (mut room, mut other_room, mut is_named) = (vec![0; 8192], vec![0; 8192], false);
    loop {
        tokio::select! {
            n = read_once(&session.client, &mut room) => {
                let Some(n) = n else { return };
                lines.extend_from_slice(&room[..n]);
                while let Some(end) = memchr(b'\n', &lines) {
                    let line: Vec<u8> = lines.drain(..=end).collect();
                    if std::mem::replace(&mut is_named, true) {
                        session.handle_line(line);
                    } else {
                        write(&session.hub, format!("{}\n", json!(String::from_utf8_lossy(&line).trim())).as_bytes());
                    }
                }
            }
            n = read_once(&session.hub, &mut other_room) => {
                let Some(n) = n else { return };
                frames.push(&other_room[..n]);
                while let Some(frame) = frames.next_frame(FRAME_MAX_BYTES) {
                    let message = decode::<HubMessage>(frame.unwrap()).unwrap();
                    session.handle_hub(message);
                }
            }
        }
    }
}

impl Session {
    fn handle_line(&mut self, line: Vec<u8>) {
        let Message::Call { id, tool, arguments, .. } = read(&Line::Whole(line), true) else { return };
        let text = |name: &str| arguments.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        self.last += 1;
        let request = if tool == "relay_broadcast" {
            let (broadcast_id, question) = (BroadcastId::from_bits(self.last), text("question"));
            Request::Broadcast(Broadcast { broadcast_id, question, timeout_ms: 600_000, audience: Audience::default() })
        } else if tool == "relay_ask" {
            let (ask_id, to, question) = (AskId::from_bits(self.last), text("to"), text("question"));
            let chain = Chain::default();
            Request::Ask(Ask { ask_id, to, question, timeout_ms: 600_000, bound: None, broadcast_id: None, chain })
        } else {
            Request::Reply(Reply { ask_id: text("ask_id").parse().unwrap(), text: text("text") })
        };
        self.calls.insert(self.last, id.into_json_value());
        self.tell(&ClientMessage::Request(self.last, request));
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the other answers are as short")]
    fn handle_hub(&mut self, message: HubMessage) {
        match message {
            HubMessage::Answer(request, answer) => {
                let Some(id) = self.calls.remove(&request) else { return };
                let text = match answer {
                    Answer::Accepted(accepted) => serde_json::to_string(&accepted).unwrap(),
                    Answer::BroadcastAccepted(accepted) => serde_json::to_string(&accepted).unwrap(),
                    answer => json!({"state": answer.kind()}).to_string(),
                };
                let content = [json!({"type": "text", "text": text})];
                self.show(&json!({"jsonrpc": "2.0", "id": id, "result": {"content": content, "isError": false}}));
            }
            HubMessage::Event(Event::Asked(asked)) => {
                self.show_event(&notification::ask(&asked, "relay_reply"));
                let progress = Progress { ask_id: asked.ask_id, state: AskState::HandedOver, is_final: false };
                self.tell(&ClientMessage::Notice(Notice::Progress(progress)));
            }
            HubMessage::Event(Event::Reply(ReplyEvent { ask_id, by, text, .. })) => {
                self.tell(&ClientMessage::Notice(Notice::Taken(Taken { ask_id, by })));
                let params = json!({"content": text, "meta": {"kind": "reply", "ask_id": ask_id}});
                self.show_event(&params);
            }
            HubMessage::Event(_) => {}
        }
    }

    fn show_event(&self, params: &impl Serialize) {
        #[derive(Serialize)]
        struct Notification<'a, T> {
            jsonrpc: &'a str,
            method: &'a str,
            params: &'a T,
        }
        self.show(&Notification { jsonrpc: "2.0", method: notification::METHOD, params });
    }

    fn show(&self, message: &impl Serialize) {
        let mut line = serde_json::to_vec(message).unwrap();
        line.push(b'\n');
        write(&self.answers, &line);
    }

    fn tell(&self, message: &ClientMessage) {
        let mut line = Vec::new();
        encode(message, &mut line);
        write(&self.hub, &line);
    }
}
