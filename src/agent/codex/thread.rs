//! What is said to Codex's daemon, and what it says: JSON-RPC without the member `jsonrpc`. Pure.
//!
//! First the channel finds its thread: it asks for every loaded thread of its folder that one of its own tools be called with
//! a number in `_meta`; the call that comes back on its standard input names the thread. Then it hears what the thread does,
//! starts a turn when there are messages and the thread is idle, and asks whether the turn's items have them: that is the
//! receipt. It never subscribes to a thread: it would keep it loaded, and be sent the approval requests of its user.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::agent::route::{Delivery, RouteEvent};
use crate::protocol::Activity;

/// The member of `_meta` that has the number.
pub(super) const NONCE: &str = "claude-relay/nonce";

/// The name of our server in Codex's configuration.
const SERVER: &str = "relay";

/// The tool that is called to find the thread; nothing is done for such a call.
const TOOL: &str = "relay_peers";

/// The provider whose models take context that is nobody's words (`additionalContext`, kind `untrusted`): it reaches the
/// model as a tool's output. Others are given the envelope as the turn's input.
const OPENAI: &str = "openai";

/// What the person sees of a turn that was started so.
const SHOWN_LINE: &str = "relay: message from another session";

/// How long the daemon may take to find the thread until the session is listed without it. The search goes on.
const SEARCH: Duration = Duration::from_secs(20);

/// The pauses between two searches, two looks for a receipt, and two questions for a state that is not known: each is twice as
/// long as the one before, and none longer than the last. For a receipt somebody waits.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_RECEIPT_PAUSE: Duration = Duration::from_secs(5);
const LAST_PAUSE: Duration = Duration::from_secs(30);

/// How long a thread that refused a turn is left alone, unless it changes before.
const REFUSED_PAUSE: Duration = Duration::from_secs(5);

/// How long a turn that was started may take to begin.
const BEGINNING: Duration = Duration::from_secs(3);

/// What a request was made for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Purpose {
    Hello,
    Threads,
    Candidate,
    Call,
    Status,
    Turn,
    Receipt { is_last: bool },
}

/// Messages that a turn was started for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Turn {
    delivery: Delivery,
    /// The id of the turn's input, which its item has.
    input: String,
    since: Instant,
    /// Whether the thread was seen to work since.
    has_begun: bool,
}

/// One connection's view of the channel's thread.
#[derive(Debug)]
pub(super) struct Thread {
    nonce: String,
    folder: PathBuf,
    requests: BTreeMap<u64, Purpose>,
    last_request: u64,
    last_input: u64,
    id: Option<String>,
    /// Whether its model is OpenAI's own, once the daemon has told.
    is_openai: Option<bool>,
    activity: Activity,
    is_open: bool,
    /// When the search for the thread is late.
    search_ends: Option<Instant>,
    /// A turn that the daemon was asked for and that it has not started yet.
    asked: Option<Turn>,
    /// A turn whose messages no item was seen to have yet.
    started: Option<Turn>,
    due: Option<Instant>,
    pause: Duration,
    outgoing: VecDeque<Value>,
    events: VecDeque<RouteEvent>,
}

impl Thread {
    pub(super) fn new(nonce: String, folder: PathBuf) -> Self {
        Self {
            nonce,
            folder,
            requests: BTreeMap::new(),
            last_request: 0,
            last_input: 0,
            id: None,
            is_openai: None,
            activity: Activity::Unknown,
            is_open: false,
            search_ends: None,
            asked: None,
            started: None,
            due: None,
            pause: FIRST_PAUSE,
            outgoing: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    pub(super) fn nonce(&self) -> &str {
        &self.nonce
    }

    /// Records that the daemon is connected.
    pub(super) fn handle_connected(&mut self) {
        let info = json!({"name": "claude-relay", "title": "claude-relay", "version": env!("CARGO_PKG_VERSION")});
        let params = json!({"clientInfo": info, "capabilities": {"experimentalApi": true}});
        self.request(Purpose::Hello, "initialize", &params);
    }

    /// Records that the connection is lost.
    pub(super) fn handle_disconnected(&mut self) {
        self.requests.clear();
        self.outgoing.clear();
        self.close();
    }

    /// Records which thread this is.
    pub(super) fn handle_identified(&mut self, id: &str) {
        if self.id.is_none() {
            self.id = Some(id.to_owned());
            (self.search_ends, self.due, self.pause) = (None, None, FIRST_PAUSE);
            self.ask_status();
        }
    }

    pub(super) fn deliver(&mut self, now: Instant, delivery: Delivery) {
        self.last_input += 1;
        let input = format!("relay-{}-{}", self.nonce, self.last_input);
        let is_openai = self.is_openai == Some(true);
        let text = |text: &str| json!([{"type": "text", "text": text}]);
        let mut params = json!({
            "threadId": self.id, "clientUserMessageId": input, "turnTrigger": "relay",
            "input": text(if is_openai { SHOWN_LINE } else { &delivery.text }),
        });
        if is_openai {
            let context = json!({"kind": "untrusted", "name": "relay", "value": delivery.text});
            params["additionalContext"] = json!({input.clone(): context});
        }
        self.request(Purpose::Turn, "turn/start", &params);
        self.asked = Some(Turn { delivery, input, since: now, has_begun: false });
    }

    /// Records what the daemon says.
    pub(super) fn handle_message(&mut self, now: Instant, message: &Value) {
        if message.get("method").is_some() {
            let params = &message["params"];
            if message["method"] == "thread/status/changed" && params["threadId"].as_str() == self.id.as_deref() {
                self.handle_status(now, &params["status"]);
            }
            return;
        }
        let Some(purpose) = message["id"].as_u64().and_then(|id| self.requests.remove(&id)) else { return };
        let result = message.get("result");
        match purpose {
            Purpose::Hello => {
                self.outgoing.push_back(json!({"method": "initialized"}));
                if self.id.is_some() { self.ask_status() } else { self.search(now) }
            }
            Purpose::Threads => {
                let ids = result.and_then(|result| result["data"].as_array()).into_iter().flatten();
                let ids: Vec<&str> = ids.filter_map(Value::as_str).collect();
                ids.into_iter().for_each(|id| self.request_thread(Purpose::Candidate, id));
            }
            Purpose::Candidate => self.handle_candidate(&result.unwrap_or(&Value::Null)["thread"]),
            Purpose::Call => {}
            Purpose::Status => {
                let thread = &result.unwrap_or(&Value::Null)["thread"];
                if result.is_some() {
                    self.is_openai = Some(thread["modelProvider"] == OPENAI);
                }
                self.handle_status(now, &thread["status"]);
            }
            Purpose::Turn => self.handle_started(now, result.is_some()),
            Purpose::Receipt { is_last } => self.handle_items(result, is_last),
        }
    }

    fn handle_candidate(&mut self, thread: &Value) {
        let is_ours = thread["ephemeral"] != true && thread["parentThreadId"].is_null();
        let is_here = thread["cwd"].as_str().is_some_and(|cwd| is_same(Path::new(cwd), &self.folder));
        if let Some(id) = thread["id"].as_str().filter(|_| is_ours && is_here && self.id.is_none()) {
            let meta = json!({NONCE: self.nonce});
            let params = json!({"threadId": id, "server": SERVER, "tool": TOOL, "arguments": {}, "_meta": meta});
            self.request(Purpose::Call, "mcpServer/tool/call", &params);
        }
    }

    fn handle_status(&mut self, now: Instant, status: &Value) {
        let has =
            |flag: &str| status["activeFlags"].as_array().is_some_and(|flags| flags.iter().any(|one| one == flag));
        let (activity, waiting_for) = match status["type"].as_str() {
            // After an error of the model's API the user can go on, and so can we.
            Some("idle" | "systemError") => (Activity::Idle, None),
            Some("active") if has("waitingOnApproval") => (Activity::Waiting, Some("permission prompt")),
            Some("active") if has("waitingOnUserInput") => (Activity::Waiting, Some("question")),
            Some("active") => (Activity::Busy, None),
            Some(_) | None => (Activity::Unknown, None),
        };
        self.activity = activity;
        self.events.push_back(RouteEvent::Presence(activity, waiting_for));
        if let Some(turn) = &mut self.started {
            turn.has_begun |= activity != Activity::Idle;
            self.ask_receipt(now);
        } else if self.is_known() {
            self.pause = FIRST_PAUSE;
        } else {
            // A daemon that is just loading the thread may not tell when it has.
            self.due = self.due.or(Some(now + self.pause));
        }
        self.open();
    }

    fn pause_longer(&mut self, now: Instant, longest: Duration) {
        self.pause = (self.pause * 2).min(longest);
        self.due = Some(now + self.pause);
    }

    /// Returns whether the daemon has told what a turn must know of the thread.
    fn is_known(&self) -> bool {
        self.activity != Activity::Unknown && self.is_openai.is_some()
    }

    fn open(&mut self) {
        if !self.is_open && self.id.is_some() && self.is_known() {
            self.is_open = true;
            self.events.push_back(RouteEvent::Open);
        }
    }

    fn close(&mut self) {
        self.asked = None;
        if std::mem::take(&mut self.is_open) {
            self.events.push_back(RouteEvent::Closed);
        }
    }

    fn handle_started(&mut self, now: Instant, is_started: bool) {
        let Some(mut turn) = self.asked.take() else { return };
        if !is_started {
            tracing::info!("Codex starts no turn now");
            self.close();
            self.due = Some(now + REFUSED_PAUSE);
            return;
        }
        self.events.push_back(RouteEvent::Taken(turn.delivery.batch));
        turn.since = now;
        self.started = Some(turn);
        // The daemon says so a moment later; what comes until then must not go into this turn.
        self.activity = Activity::Busy;
        self.events.push_back(RouteEvent::Presence(Activity::Busy, None));
        self.pause = FIRST_PAUSE;
        self.due = Some(now + self.pause);
    }

    fn ask_receipt(&mut self, now: Instant) {
        let Some(turn) = &self.started else { return };
        let has_ended = turn.has_begun || now >= turn.since + BEGINNING;
        let is_last = self.activity == Activity::Idle && has_ended;
        let params = json!({"threadId": self.id, "limit": 50, "sortDirection": "desc"});
        self.request(Purpose::Receipt { is_last }, "thread/items/list", &params);
        self.pause_longer(now, LAST_RECEIPT_PAUSE);
    }

    fn handle_items(&mut self, result: Option<&Value>, is_last: bool) {
        let Some(turn) = &self.started else { return };
        let items = result.and_then(|result| result["data"].as_array()).into_iter().flatten();
        if items.into_iter().any(|one| one["item"]["clientId"] == turn.input.as_str()) {
            self.events.push_back(RouteEvent::Shown(turn.delivery.ids.clone()));
            (self.started, self.due) = (None, None);
            self.ask_status();
        } else if is_last && self.activity == Activity::Idle {
            self.events.push_back(RouteEvent::Lost(turn.delivery.ids.clone()));
            (self.started, self.due) = (None, None);
        }
    }

    /// Does what is due.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.due.is_none_or(|due| now < due) {
            return;
        }
        self.due = None;
        if self.id.is_none() {
            self.search(now);
        } else if let Some(turn) = &self.started {
            if !turn.has_begun && now >= turn.since + BEGINNING {
                self.ask_status();
            }
            self.ask_receipt(now);
        } else if self.is_known() {
            self.open();
        } else {
            self.pause_longer(now, LAST_PAUSE);
            self.ask_status();
        }
    }

    pub(super) const fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// Returns whether the thread is searched for in vain for so long that its session is to be listed without it.
    pub(super) fn is_late(&self, now: Instant) -> bool {
        self.id.is_none() && self.search_ends.is_some_and(|at| at <= now)
    }

    fn search(&mut self, now: Instant) {
        self.search_ends.get_or_insert(now + SEARCH);
        self.request(Purpose::Threads, "thread/loaded/list", &json!({}));
        self.pause_longer(now, LAST_PAUSE);
    }

    fn ask_status(&mut self) {
        if let Some(id) = self.id.clone() {
            self.request_thread(Purpose::Status, &id);
        }
    }

    fn request_thread(&mut self, purpose: Purpose, id: &str) {
        self.request(purpose, "thread/read", &json!({"threadId": id}));
    }

    fn request(&mut self, purpose: Purpose, method: &str, params: &Value) {
        self.last_request += 1;
        self.requests.insert(self.last_request, purpose);
        self.outgoing.push_back(json!({"id": self.last_request, "method": method, "params": params}));
    }

    pub(super) fn poll_message(&mut self) -> Option<Value> {
        self.outgoing.pop_front()
    }

    pub(super) fn poll_event(&mut self) -> Option<RouteEvent> {
        self.events.pop_front()
    }
}

/// Returns whether two paths are one folder; each may be a link.
fn is_same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    one == other || real(one) == real(other)
}

#[cfg(test)]
mod tests;
