use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use serde_json::Value;

use super::*;

/// A session of Qwen Code, as far as the channel sees it.
struct Qwen {
    folder: tempfile::TempDir,
    socket: UnixListener,
    inbox: Inbox,
    now: Instant,
}

impl Qwen {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("chats")).unwrap();
        let path = folder.path().join("qwen.sock");
        let socket = UnixListener::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let own = OwnAddress::new(folder.path(), Process { pid: 1, start: 1 }).unwrap();
        let transcript = Transcript::new(folder.path(), "one".to_owned());
        let inbox = Inbox::new(path, "secret".to_owned(), own, transcript);
        let mut qwen = Self { folder, socket, inbox, now: Instant::now() };
        assert_eq!(qwen.turn().await, [RouteEvent::Open]);
        qwen
    }

    async fn turn(&mut self) -> Vec<RouteEvent> {
        let mut events = Vec::new();
        // The reactor tells of a connection, and then of what it brings.
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            self.inbox.turn(self.now, &mut events);
        }
        events
    }

    fn deliver(&mut self, batch: u64, id: &str) {
        self.inbox.deliver(self.now, Delivery { batch, text: id.to_owned(), ids: vec![id.to_owned()] });
    }

    /// Returns the id of the message that has come; none if none has.
    fn received(&self) -> Option<String> {
        let (mut stream, _) = self.socket.accept().ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let message: Value = serde_json::from_str(text.lines().nth(1).unwrap()).unwrap();
        Some(message["msgId"].as_str().unwrap().to_owned())
    }

    fn receipt(&self, status: &str, id: &str) {
        let mut stream = UnixStream::connect(&self.inbox.own.path).unwrap();
        let auth = json!({"type": "auth", "token": self.inbox.own.token});
        let receipt = json!({"type": "control", "status": status, "origMsgId": id});
        write!(stream, "{auth}\n{receipt}\n").unwrap();
    }

    /// Writes the line of a message into the transcript.
    fn show(&self, id: &str) {
        let text = format!("&lt;relay-message kind=\"ask\" ask_id=\"{id}\">");
        let line =
            json!({"type": "user", "subtype": "notification", "message": {"parts": [{"text": text}]}}).to_string();
        let path = self.folder.path().join("chats/one.jsonl");
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(file, "{line}").unwrap();
    }
}

#[tokio::test]
async fn inbox_is_full_until_what_qwen_code_has_queued_is_shown() {
    let mut qwen = Qwen::new().await;
    qwen.deliver(1, "a-1");
    assert_eq!(qwen.turn().await, []);
    qwen.receipt("delivered", &qwen.received().unwrap());
    assert_eq!(qwen.turn().await, [RouteEvent::Full(true), RouteEvent::Taken(1)]);
    assert_eq!(qwen.turn().await, []);
    qwen.show("a-1");
    assert_eq!(qwen.turn().await, [RouteEvent::Shown(vec!["a-1".to_owned()]), RouteEvent::Full(false)]);
    // A turn that its user interrupts Qwen Code begins again by itself.
    qwen.show("a-1");
    assert_eq!(qwen.turn().await, []);
    assert_eq!(qwen.received(), None);
}

#[tokio::test]
async fn inbox_is_not_full_for_ever() {
    let mut qwen = Qwen::new().await;
    qwen.deliver(1, "a-1");
    qwen.turn().await;
    qwen.receipt("delivered", &qwen.received().unwrap());
    qwen.turn().await;
    assert_eq!(qwen.inbox.poll_timeout(), Some(qwen.now + UNSEEN_WAIT));
    qwen.now += UNSEEN_WAIT;
    assert_eq!(qwen.turn().await, [RouteEvent::Full(false)]);
    assert_eq!(qwen.inbox.poll_timeout(), None);
    // It is a receipt all the same.
    qwen.show("a-1");
    assert_eq!(qwen.turn().await, [RouteEvent::Shown(vec!["a-1".to_owned()])]);
}

#[tokio::test]
async fn what_was_shown_before_its_receipt_came_fills_nothing() {
    let mut qwen = Qwen::new().await;
    qwen.deliver(1, "a-1");
    qwen.turn().await;
    let id = qwen.received().unwrap();
    qwen.show("a-1");
    assert_eq!(qwen.turn().await, [RouteEvent::Shown(vec!["a-1".to_owned()])]);
    qwen.receipt("delivered", &id);
    assert_eq!(qwen.turn().await, [RouteEvent::Taken(1)]);
}

#[tokio::test]
async fn session_waits_for_its_user_until_they_have_reviewed_the_message() {
    for decided in ["delivered", "denied", "expired"] {
        let mut qwen = Qwen::new().await;
        qwen.deliver(1, "a-1");
        qwen.turn().await;
        let id = qwen.received().unwrap();
        qwen.receipt("held", &id);
        let events = qwen.turn().await;
        assert!(events.contains(&RouteEvent::Taken(1)) && events.contains(&RouteEvent::Closed));
        assert!(events.contains(&RouteEvent::Presence(Activity::Waiting, Some(REVIEW))));
        // It says so again where it is asked again.
        qwen.receipt("held", &id);
        qwen.turn().await;
        qwen.receipt(decided, &id);
        assert_eq!(qwen.turn().await, [RouteEvent::Presence(Activity::Unknown, None)]);
        qwen.receipt(decided, &id);
        assert_eq!(qwen.turn().await, []);
        qwen.show("a-1");
        assert_eq!(qwen.turn().await, [RouteEvent::Shown(vec!["a-1".to_owned()])]);
    }
}

#[tokio::test]
async fn message_that_was_turned_away_is_given_back_and_shown_another_way() {
    let mut qwen = Qwen::new().await;
    qwen.deliver(1, "a-1");
    qwen.turn().await;
    qwen.receipt("refused", &qwen.received().unwrap());
    assert_eq!(qwen.turn().await, [RouteEvent::Closed]);
    assert_eq!(qwen.inbox.poll_timeout(), None);
}
