use super::*;

const FOLDER: &str = "/srv/alpha";

struct Daemon {
    thread: Thread,
    now: Instant,
}

impl Daemon {
    fn new() -> Self {
        Self { thread: Thread::new("n".to_owned(), PathBuf::from(FOLDER)), now: Instant::now() }
    }

    /// A thread that is found and idle.
    fn idle(provider: &str) -> Self {
        let mut daemon = Self::new();
        daemon.thread.handle_connected();
        daemon.answer("initialize", json!({}));
        daemon.thread.handle_identified("t1");
        daemon.answer("thread/read", json!({"thread": {"modelProvider": provider, "status": {"type": "idle"}}}));
        assert!(daemon.events().contains(&RouteEvent::Open));
        daemon
    }

    /// Returns the parameters of the next request, which must have this method, and answers it.
    fn answer(&mut self, method: &str, result: Value) -> Value {
        loop {
            let request = self.thread.poll_message().unwrap_or_else(|| panic!("no {method}"));
            if request["method"] == method {
                self.thread.handle_message(self.now, &json!({"id": request["id"], "result": result}));
                return request["params"].clone();
            }
        }
    }

    fn refuse(&mut self, method: &str) {
        let request = self.thread.poll_message().unwrap();
        assert_eq!(request["method"], method);
        self.thread.handle_message(self.now, &json!({"id": request["id"], "error": {"code": -32600}}));
    }

    /// Refuses the next request that has this method.
    fn refuse_after(&mut self, method: &str) {
        while self.thread.outgoing.front().is_some_and(|message| message["method"] != method) {
            self.thread.poll_message();
        }
        self.refuse(method);
    }

    fn status(&mut self, status: Value) {
        let params = json!({"threadId": "t1", "status": status});
        self.thread.handle_message(self.now, &json!({"method": "thread/status/changed", "params": params}));
    }

    fn events(&mut self) -> Vec<RouteEvent> {
        std::iter::from_fn(|| self.thread.poll_event()).collect()
    }

    fn deliver(&mut self) -> Value {
        let delivery = Delivery { batch: 7, text: "<relay-message>hi".to_owned(), ids: vec!["id-1".to_owned()] };
        self.thread.deliver(self.now, delivery);
        self.answer("turn/start", json!({"turn": {"id": "u"}}))
    }
}

fn items(client_id: &Value) -> Value {
    json!({"data": [{"item": {"type": "userMessage", "clientId": client_id}}]})
}

#[test]
fn thread_is_found_among_those_of_the_folder_by_a_call_that_comes_back() {
    let mut daemon = Daemon::new();
    daemon.thread.handle_connected();
    daemon.answer("initialize", json!({}));
    daemon.answer("thread/loaded/list", json!({"data": ["t0", "t1", "t2"]}));
    let thread =
        |id: &str, cwd: &str, ephemeral: bool| json!({"thread": {"id": id, "cwd": cwd, "ephemeral": ephemeral}});
    daemon.answer("thread/read", thread("t0", "/srv/beta", false));
    daemon.answer("thread/read", thread("t1", FOLDER, false));
    daemon.answer("thread/read", thread("t2", FOLDER, true));
    let call = daemon.answer("mcpServer/tool/call", json!({}));
    assert_eq!((&call["threadId"], &call["_meta"][NONCE]), (&json!("t1"), &json!("n")));
    assert_eq!(daemon.thread.poll_message(), None);
    assert!(!daemon.thread.is_late(daemon.now + SEARCH - Duration::from_secs(1)));
    assert!(daemon.thread.is_late(daemon.now + SEARCH));
    daemon.thread.handle_identified("t1");
    assert!(!daemon.thread.is_late(daemon.now + SEARCH));
}

#[test]
fn thread_is_searched_for_as_long_as_it_takes() {
    let mut daemon = Daemon::new();
    daemon.thread.handle_connected();
    daemon.answer("initialize", json!({}));
    daemon.answer("thread/loaded/list", json!({"data": []}));
    let mut searches = 0;
    let end = daemon.now + Duration::from_secs(3600);
    while let Some(due) = daemon.thread.poll_timeout().filter(|due| *due < end) {
        daemon.thread.handle_timeout(due);
        daemon.answer("thread/loaded/list", json!({"data": []}));
        searches += 1;
    }
    assert!((120..140).contains(&searches), "{searches} in an hour");
    daemon.thread.handle_identified("t1");
    daemon.answer("thread/read", json!({"thread": {"modelProvider": "x", "status": {"type": "idle"}}}));
    assert!(daemon.events().contains(&RouteEvent::Open));
}

#[test]
fn thread_whose_state_is_not_told_yet_is_asked_again() {
    let mut daemon = Daemon::new();
    daemon.thread.handle_connected();
    daemon.answer("initialize", json!({}));
    daemon.thread.handle_identified("t1");
    daemon.answer("thread/read", json!({"thread": {"modelProvider": "openai", "status": {"type": "notLoaded"}}}));
    assert!(!daemon.events().contains(&RouteEvent::Open));
    daemon.thread.handle_timeout(daemon.thread.poll_timeout().unwrap());
    daemon.refuse_after("thread/read");
    daemon.thread.handle_timeout(daemon.thread.poll_timeout().unwrap());
    daemon.answer("thread/read", json!({"thread": {"modelProvider": "openai", "status": {"type": "idle"}}}));
    assert!(daemon.events().contains(&RouteEvent::Open));
    assert_eq!(daemon.deliver()["input"][0]["text"], SHOWN_LINE);
}

#[test]
fn thread_that_changes_often_before_it_is_known_is_asked_about_no_later() {
    let mut daemon = Daemon::new();
    daemon.thread.handle_connected();
    daemon.answer("initialize", json!({}));
    daemon.thread.handle_identified("t1");
    daemon.refuse_after("thread/read");
    let due = daemon.thread.poll_timeout();
    (0..100).for_each(|_| daemon.status(json!({"type": "active"})));
    assert_eq!(daemon.thread.poll_timeout(), due);
}

#[test]
fn thread_of_a_daemon_that_names_no_provider_gets_the_envelope() {
    let mut daemon = Daemon::new();
    daemon.thread.handle_connected();
    daemon.answer("initialize", json!({}));
    daemon.thread.handle_identified("t1");
    daemon.answer("thread/read", json!({"thread": {"status": {"type": "idle"}}}));
    assert!(daemon.events().contains(&RouteEvent::Open));
    assert_ne!(daemon.deliver()["input"][0]["text"], SHOWN_LINE);
}

#[test]
fn turn_waits_until_it_is_known_whose_model_it_is() {
    let mut daemon = Daemon::new();
    daemon.thread.handle_connected();
    daemon.answer("initialize", json!({}));
    daemon.thread.handle_identified("t1");
    daemon.refuse_after("thread/read");
    daemon.status(json!({"type": "idle"}));
    assert!(!daemon.events().contains(&RouteEvent::Open));
    daemon.thread.handle_timeout(daemon.thread.poll_timeout().unwrap());
    daemon.answer("thread/read", json!({"thread": {"modelProvider": "openai", "status": {"type": "idle"}}}));
    assert!(daemon.events().contains(&RouteEvent::Open));
}

#[test]
fn peers_words_are_a_tools_output_for_openai_and_an_envelope_for_others() {
    let openai = Daemon::idle("openai").deliver();
    assert_eq!(openai["input"][0]["text"], SHOWN_LINE);
    let context = &openai["additionalContext"]["relay-n-1"];
    assert_eq!((&context["kind"], &context["value"]), (&json!("untrusted"), &json!("<relay-message>hi")));
    let other = Daemon::idle("other").deliver();
    assert_eq!(other["input"][0]["text"], "<relay-message>hi");
    assert!(other.get("additionalContext").is_none());
}

#[test]
fn turns_items_are_the_receipt_and_nothing_else() {
    let mut daemon = Daemon::idle("openai");
    let input = daemon.deliver()["clientUserMessageId"].clone();
    assert_eq!(daemon.events(), [RouteEvent::Taken(7), RouteEvent::Presence(Activity::Busy, None)]);
    daemon.status(json!({"type": "active", "activeFlags": []}));
    daemon.answer("thread/items/list", items(&json!("another's")));
    assert_eq!(daemon.events(), [RouteEvent::Presence(Activity::Busy, None)]);
    daemon.now += FIRST_PAUSE * 8;
    daemon.thread.handle_timeout(daemon.now);
    daemon.answer("thread/items/list", items(&input));
    assert_eq!(daemon.events(), [RouteEvent::Shown(vec!["id-1".to_owned()])]);
    assert_eq!(daemon.thread.poll_timeout(), None, "nothing is polled once it was seen");
}

#[test]
fn what_an_interrupted_turn_has_lost_is_told_only_after_the_turn() {
    let mut daemon = Daemon::idle("openai");
    daemon.deliver();
    daemon.events();
    // The end of the turn before, told late.
    daemon.status(json!({"type": "idle"}));
    daemon.answer("thread/items/list", json!({"data": []}));
    assert!(!daemon.events().iter().any(|event| matches!(event, RouteEvent::Lost(_))));
    daemon.status(json!({"type": "active", "activeFlags": []}));
    daemon.answer("thread/items/list", json!({"data": []}));
    daemon.status(json!({"type": "idle"}));
    daemon.answer("thread/items/list", json!({"data": []}));
    assert!(daemon.events().contains(&RouteEvent::Lost(vec!["id-1".to_owned()])));
}

#[test]
fn thread_that_refuses_a_turn_is_left_alone_for_a_while() {
    let mut daemon = Daemon::idle("openai");
    let delivery = Delivery { batch: 1, text: String::new(), ids: Vec::new() };
    daemon.thread.deliver(daemon.now, delivery);
    daemon.refuse("turn/start");
    assert_eq!(daemon.events(), [RouteEvent::Closed]);
    daemon.thread.handle_timeout(daemon.now + REFUSED_PAUSE);
    assert_eq!(daemon.events(), [RouteEvent::Open]);
}

#[test]
fn dialog_is_told() {
    let mut daemon = Daemon::idle("openai");
    daemon.status(json!({"type": "active", "activeFlags": ["waitingOnApproval"]}));
    assert_eq!(daemon.events(), [RouteEvent::Presence(Activity::Waiting, Some("permission prompt"))]);
}
