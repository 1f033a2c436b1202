//! Strangers: connections that say what no client of ours says. They are refused, and nobody else notices.

use relay::hub::{ConnId, Effect, Input};
use relay::protocol::codec::FrameError;
use relay::protocol::{
    Activity, Answer, Ask, AskId, AskState, BODY_MAX_BYTES, Chain, ClientKey, ClientKind, ClientMessage, Event, Hello,
    HubMessage, Named, Notice, Park, Presence, Progress, Reply, Request, Taken, Tell, VERSIONS, VersionRange, Wake,
    Watch, Withdraw,
};
use serde_json::json;

use super::World;

impl World {
    /// Lets a stranger come, say a few things and go.
    pub(crate) fn visit(&mut self) {
        if self.running.is_none() || self.hub_paused_until > self.now {
            return;
        }
        self.next_conn += 1;
        let conn = ConnId(self.next_conn);
        self.checker.count("fault: stranger");
        self.note(|| format!("a stranger comes as {}", conn.0));
        self.strangers.insert(conn);
        self.tell_hub(Input::Connected { conn });
        for input in self.what_a_stranger_says(conn) {
            self.pump();
            if self.strangers.contains(&conn) {
                self.note(|| format!("the stranger: {input:?}"));
                self.tell_hub(input);
            }
        }
        self.pump();
        if self.strangers.remove(&conn) {
            self.tell_hub(Input::Disconnected { conn });
        }
    }

    fn what_a_stranger_says(&mut self, conn: ConnId) -> Vec<Input> {
        let malformed =
            Input::Malformed { conn, error: FrameError::NotAMessage { id: None, reason: "what".to_owned() } };
        let of_the_future = VersionRange { min: VERSIONS.max + 1, max: VERSIONS.max + 1 };
        let versions = if self.random.chance(20) { of_the_future } else { VERSIONS };
        let mut inputs = vec![malformed, self.received(conn, ClientMessage::Request(1, Request::Peers))];
        for versions in [versions, VERSIONS] {
            let key = ClientKey::from_bytes([self.random.below(250) as u8 + 1, 0xee].repeat(8).try_into().unwrap());
            let (program, kind) = ("stranger 1".to_owned(), ClientKind::Control { key });
            let hello = Hello { versions, program, kind };
            inputs.push(self.received(conn, ClientMessage::Request(2, Request::Hello(Box::new(hello)))));
        }
        for message in self.pretences() {
            inputs.push(self.received(conn, message));
        }
        inputs
    }

    fn received(&self, conn: ConnId, message: ClientMessage) -> Input {
        Input::Received { conn, message: self.travel(message) }
    }

    /// Returns what only somebody else may say, of an ask that is open.
    fn pretences(&mut self) -> Vec<ClientMessage> {
        let asker = self.random.below(self.clients.len() as u64) as usize;
        let open = self.checker.open_of(asker);
        let ask_id = if open.is_empty() { AskId::from_bits(1) } else { *self.random.pick(&open) };
        let asked = self.random.pick(&self.clients).tag;
        let fresh = AskId::from_bits(self.random.next());
        let ask = Ask {
            ask_id: fresh,
            to: "api".to_owned(),
            question: "x".repeat(BODY_MAX_BYTES + 1),
            timeout_ms: 1000,
            bound: None,
            broadcast_id: None,
            chain: Chain::default(),
        };
        let presence = Presence {
            cwd: "/".to_owned(),
            branch: None,
            status: Activity::Idle,
            waiting_for: None,
            wakes_by: Wake::Channel,
        };
        let requests = [
            Request::Reply(Reply { ask_id, text: "a stranger's reply".to_owned() }),
            Request::Ask(ask),
            Request::Tell(Tell {
                tell_id: AskId::from_bits(self.random.next()),
                to: "api".to_owned(),
                text: String::new(),
                timeout_ms: 1000,
                bound: None,
                chain: Chain::default(),
            }),
            Request::Watch(Watch { text: false }),
        ];
        let notices = [
            Notice::Progress(Progress { ask_id, state: AskState::Shown, is_final: true }),
            // A hub believes it of an ask that it does not know: nothing is built against malice of the same user.
            Notice::Taken(Taken { ask_id: fresh, by: asked }),
            Notice::Withdraw(Withdraw { ask_id }),
            Notice::Presence(presence),
            Notice::Named(Named { name: "api".to_owned() }),
            Notice::Park(Park { value: json!("a stranger's") }),
        ];
        let requests = (3..).zip(requests).map(|(id, request)| ClientMessage::Request(id, request));
        requests.chain(notices.into_iter().map(ClientMessage::Notice)).collect()
    }

    /// Takes what is for a stranger. Returns whether it was.
    pub(super) fn is_for_stranger(&mut self, effect: &Effect) -> bool {
        let conn = match effect {
            Effect::Send { conn, .. } | Effect::Close { conn, .. } => *conn,
            Effect::AwaitAgent { .. } | Effect::Record(_) | Effect::Exit => return false,
        };
        if !self.strangers.contains(&conn) {
            return false;
        }
        match effect {
            Effect::Send { message: HubMessage::Answer(_, Answer::Error(error)), .. }
            | Effect::Send { message: HubMessage::Event(Event::Error(error)), .. } => {
                self.checker.count(error.code.as_str());
            }
            Effect::Send { message, .. } => {
                let is_of_asks = matches!(
                    message,
                    HubMessage::Event(
                        Event::Asked(_) | Event::Told(_) | Event::Reply(_) | Event::Receipt(_) | Event::Failed(_)
                    )
                );
                assert!(!is_of_asks, "a stranger was told {message:?}");
            }
            Effect::Close { .. } => {
                self.strangers.remove(&conn);
            }
            Effect::AwaitAgent { .. } | Effect::Record(_) | Effect::Exit => {}
        }
        true
    }
}
