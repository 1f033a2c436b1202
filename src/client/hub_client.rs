//! The hub as a program sees it that has nothing else to wait for: one call after another, and the events in between.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::call::{AcceptedAsk, AcceptedBroadcast, Call, CallAnswer, CallId, SentReply};
use super::config::ClientConfig;
use super::connection::Connection;
use super::event::ClientEvent;
use super::ledger::Ledger;
use super::outgoing::Output;
use crate::protocol::{
    AskId, Audience, AudienceView, BroadcastId, ErrorCode, PeerName, Peers, Refusal, Status, Watching,
};

/// A client that waits for the hub: for the answer to a call, or for the next event. It connects by itself, and again
/// whenever it must. When it is dropped the connection is closed.
#[derive(Debug)]
pub struct HubClient {
    connection: Connection,
    events: VecDeque<ClientEvent>,
    last_call: u64,
}

impl HubClient {
    /// Returns a client that is not connected yet.
    pub fn new(config: ClientConfig) -> Self {
        Self { connection: Connection::new(config), events: VecDeque::new(), last_call: 0 }
    }

    /// Returns the rules, for what needs no answer: it is sent when the client waits the next time.
    pub const fn ledger(&mut self) -> &mut Ledger {
        self.connection.ledger()
    }

    /// Returns the peers.
    ///
    /// # Errors
    /// `hub_unreachable` where no hub answers in time.
    pub async fn peers(&mut self) -> Result<Peers, Refusal> {
        let CallAnswer::Peers(answer) = self.call(Call::Peers).await? else { return Err(misplaced()) };
        Ok(answer)
    }

    /// Returns the hub's state.
    ///
    /// # Errors
    /// `hub_unreachable` where no hub answers in time.
    pub async fn status(&mut self) -> Result<Status, Refusal> {
        let CallAnswer::Status(answer) = self.call(Call::Status).await? else { return Err(misplaced()) };
        Ok(*answer)
    }

    /// Returns the traffic as it is, and tells each change as [`ClientEvent::Watched`] from then on, for good: after a
    /// reconnect the whole state comes as [`ClientEvent::Watching`], with [`ClientEvent::Away`] before it.
    ///
    /// # Errors
    /// `hub_unreachable` where no hub answers in time.
    pub async fn watch(&mut self, text: bool) -> Result<Watching, Refusal> {
        let CallAnswer::Watching(answer) = self.call(Call::Watch { text }).await? else { return Err(misplaced()) };
        Ok(*answer)
    }

    /// Asks a peer. Returns as soon as the hub has the ask; the outcome comes as [`ClientEvent::Outcome`].
    ///
    /// # Errors
    /// The ask was not accepted and will not be: `peer_not_found`, `bad_args`, `too_large`, `rate_limited`, `peer_busy`,
    /// `loop_detected` or `hub_unreachable`.
    pub async fn ask(&mut self, to: String, question: String, timeout: Duration) -> Result<AcceptedAsk, Refusal> {
        let call = Call::Ask { ask_id: AskId::random(), to, question, timeout };
        let CallAnswer::Asked(accepted) = self.call(call).await? else { return Err(misplaced()) };
        Ok(accepted)
    }

    /// Tells a peer something. Returns as soon as the hub has the tell; its end comes as [`ClientEvent::Outcome`].
    ///
    /// # Errors
    /// As for [`HubClient::ask`].
    pub async fn tell(&mut self, to: String, text: String, timeout: Duration) -> Result<AcceptedAsk, Refusal> {
        let call = Call::Tell { tell_id: AskId::random(), to, text, timeout };
        let CallAnswer::Asked(accepted) = self.call(call).await? else { return Err(misplaced()) };
        Ok(accepted)
    }

    /// Returns whom a broadcast would ask. Asks nobody.
    ///
    /// # Errors
    /// `bad_args` or `hub_unreachable`.
    pub async fn audience(&mut self, audience: Audience) -> Result<AudienceView, Refusal> {
        let CallAnswer::Audience(view) = self.call(Call::Audience(audience)).await? else { return Err(misplaced()) };
        Ok(view)
    }

    /// Asks every other peer, or some. The outcomes come one by one, then the [`Tally`](super::Tally).
    ///
    /// # Errors
    /// As for [`HubClient::ask`]; nobody there is no error.
    pub async fn broadcast(
        &mut self,
        audience: Audience,
        question: String,
        timeout: Duration,
    ) -> Result<AcceptedBroadcast, Refusal> {
        let call = Call::Broadcast { broadcast_id: BroadcastId::random(), audience, question, timeout };
        let CallAnswer::Broadcasted(accepted) = self.call(call).await? else { return Err(misplaced()) };
        Ok(accepted)
    }

    /// Replies to a received ask. Waits two seconds at most for the asker to take it.
    ///
    /// # Errors
    /// `unknown_ask`, `too_large` or `bad_args`.
    pub async fn reply(&mut self, ask_id: AskId, text: String) -> Result<SentReply, Refusal> {
        let CallAnswer::Replied(replied) = self.call(Call::Reply { ask_id, text }).await? else {
            return Err(misplaced());
        };
        Ok(replied)
    }

    /// Renames this session and returns the name that it now has.
    ///
    /// # Errors
    /// `name_taken`, `bad_args` or `hub_unreachable`.
    pub async fn rename(&mut self, name: String) -> Result<PeerName, Refusal> {
        let CallAnswer::Renamed(name) = self.call(Call::Rename { name }).await? else { return Err(misplaced()) };
        Ok(name)
    }

    /// Begins a call without waiting for its answer, which [`HubClient::next`] returns.
    pub fn start(&mut self, call: Call) -> CallId {
        self.last_call += 1;
        let id = CallId(self.last_call);
        self.ledger().handle_call(Instant::now(), id, call);
        id
    }

    /// Returns the next event, or the answer to a call that was started; those events first that came during calls. May be
    /// dropped at any time without loss.
    pub async fn next(&mut self) -> Output {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Output::Event(event);
            }
            if let Some(output) = self.ledger().poll_output() {
                return output;
            }
            self.connection.turn().await;
        }
    }

    /// Returns the next event, those first that came during calls. May be dropped at any time without loss.
    pub async fn next_event(&mut self) -> ClientEvent {
        loop {
            // An answer that comes here is of a call that was dropped.
            if let Output::Event(event) = self.next().await {
                return event;
            }
        }
    }

    /// Leaves in order, which ends what is open. Returns when the hub was told, after a tenth of a second at the latest.
    pub async fn bye(&mut self) {
        self.connection.leave(None).await;
    }

    async fn call(&mut self, call: Call) -> Result<CallAnswer, Refusal> {
        let id = self.start(call);
        loop {
            while let Some(output) = self.ledger().poll_output() {
                match output {
                    Output::Answer { call, result } if call == id => return result,
                    Output::Answer { .. } => {}
                    Output::Event(event) => self.events.push_back(event),
                }
            }
            self.connection.turn().await;
        }
    }
}

/// The ledger answers each call in its kind; were it otherwise the caller must not be left waiting.
fn misplaced() -> Refusal {
    Refusal::new(ErrorCode::BadMsg, "the answer to another question came", "report this as a bug of claude-relay")
}
