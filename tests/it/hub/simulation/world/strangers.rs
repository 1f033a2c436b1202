//! Strangers: connections that say what no client of ours says. They are refused, and nobody else notices.

use relay::hub::{ConnId, Effect, Input};
use relay::protocol::codec::FrameError;
use relay::protocol::{
    Activity, AskId, AskRequest, AskState, BODY_MAX_BYTES, Bequest, ClientKind, ClientMessage, Hello, HubMessage,
    Offer, PeerKey, Presence, ReplyRequest, VERSIONS, Verdict, VersionRange, Wake,
};

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
        let mut inputs = vec![malformed, self.received(conn, ClientMessage::Peers { id: 1 })];
        for versions in [versions, VERSIONS] {
            let key = PeerKey::from_bytes([self.random.below(250) as u8 + 1; 16]);
            let hello = Hello { id: 2, versions, key, program: "stranger 1".to_owned(), kind: ClientKind::Control {} };
            inputs.push(self.received(conn, ClientMessage::Hello(Box::new(hello))));
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
        let (by, asked) = (self.clients[asker].config.key.tag(), self.random.pick(&self.clients).config.key.tag());
        let too_long = "x".repeat(BODY_MAX_BYTES + 1);
        let fresh = AskId::from_bits(self.random.next());
        // While a hub settles it cannot tell whose an ask is that a stranger claims first: docs/security.md.
        let taken = if self.running.as_ref().is_some_and(|running| running.hub.is_settling()) { fresh } else { ask_id };
        vec![
            ClientMessage::Reply(ReplyRequest { id: 3, ask_id, text: "a stranger's reply".to_owned() }),
            ClientMessage::Progress { ask_id, state: AskState::Shown, asker: Some(by) },
            ClientMessage::Taken { ask_id: taken, by: asked },
            ClientMessage::Withdraw { ask_id },
            ClientMessage::Ask(AskRequest {
                id: 4,
                ask_id: fresh,
                to: "api".to_owned(),
                question: too_long,
                timeout_ms: 1000,
                bound: None,
                broadcast_id: None,
            }),
            ClientMessage::Watch { id: 5, text: false },
            ClientMessage::Presence(Presence { status: Activity::Idle, wakes_by: Wake::Channel }),
            ClientMessage::Named { name: "api".to_owned() },
            ClientMessage::Offer(Offer { to: by, batch: 1, text: "a stranger's offer".to_owned() }),
            ClientMessage::Holding { batch: 1 },
            ClientMessage::Verdict(Verdict { to: by, batch: Some(1), show: true }),
            ClientMessage::Bequest { bequest: Bequest::Taken { ask_id, by: asked } },
            ClientMessage::Answer { to: by, answer: Box::new(HubMessage::Closed { ask_id }) },
        ]
    }

    /// Takes what is for a stranger. Returns whether it was.
    pub(super) fn is_for_stranger(&mut self, effect: &Effect) -> bool {
        let conn = match effect {
            Effect::Send { conn, .. } | Effect::Close { conn, .. } => *conn,
            Effect::Watch { .. } | Effect::Exit => return false,
        };
        if !self.strangers.contains(&conn) {
            return false;
        }
        match effect {
            Effect::Send { message: HubMessage::Error { error, .. }, .. } => self.checker.count(error.code.as_str()),
            Effect::Send { message, .. } => {
                let is_of_asks = matches!(message, HubMessage::Ask(_) | HubMessage::Reply(_) | HubMessage::Failed(_));
                assert!(!is_of_asks, "a stranger was told {message:?}");
            }
            Effect::Close { .. } => {
                self.strangers.remove(&conn);
            }
            Effect::Watch { .. } | Effect::Exit => {}
        }
        true
    }
}
