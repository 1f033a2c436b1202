//! A short-lived process beside the channel that can show text to the session: what a waiter and a hook have in common.
//!
//! It says hello, keeps what the channel offers, and shows it only when the channel says so; if the hub is lost in
//! between, it comes back and says what it holds. So a text is shown by one process, and the channel knows by which.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::client::{Backoff, until, wire};
use crate::protocol::codec::{FrameBuffer, HUB_FRAME_MAX_BYTES, decode, encode};
use crate::protocol::{
    ClientKind, ClientMessage, ClientProcess, CompanionFacts, Hello, HubMessage, PeerKey, Receipt, VERSIONS,
};
use crate::watched::Stream;

/// How long a companion that holds text waits longer than its patience for the verdict.
const VERDICT_WAIT: Duration = Duration::from_secs(4);

/// What a companion is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Waits as long as it takes, and for a hub that is away.
    Waiter,
    /// Has a moment, and no hub means nothing to show.
    Hook,
}

/// What a companion has to do after a message.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// Go on.
    Wait,
    /// Say that it holds this batch.
    Hold(u64),
    /// Show this text and end.
    Show(String),
    /// End.
    End,
}

/// The rules of a companion. Pure.
#[derive(Debug)]
struct Rules {
    role: Role,
    held: Option<(u64, String)>,
    /// It is not needed any more, and ends when it holds nothing.
    ending: bool,
}

impl Rules {
    fn handle(&mut self, message: HubMessage) -> Step {
        match message {
            HubMessage::Offer { batch, text } => {
                self.held = Some((batch, text));
                Step::Hold(batch)
            }
            HubMessage::Verdict { batch, show } => {
                let held = self.held.take_if(|(held, _)| Some(*held) == batch);
                match held {
                    Some((_, text)) if show => Step::Show(text),
                    Some(_) | None if self.ending || self.role == Role::Hook => Step::End,
                    Some(_) | None => Step::Wait,
                }
            }
            HubMessage::End {} => {
                self.ending = true;
                if self.held.is_some() { Step::Wait } else { Step::End }
            }
            // A hub that will not have this client: another program, later, does better.
            HubMessage::Error { .. } => Step::End,
            HubMessage::Welcome(_)
            | HubMessage::Peers(_)
            | HubMessage::Status(_)
            | HubMessage::Watching(_)
            | HubMessage::Watched(_)
            | HubMessage::Accepted(_)
            | HubMessage::BroadcastAccepted(_)
            | HubMessage::Replied { .. }
            | HubMessage::Renamed { .. }
            | HubMessage::Ask(_)
            | HubMessage::Reply(_)
            | HubMessage::Failed(_)
            | HubMessage::Closed { .. }
            | HubMessage::Waiter { .. }
            | HubMessage::Hook { .. }
            | HubMessage::HookGone { .. }
            | HubMessage::Holding { .. }
            | HubMessage::Call { .. }
            | HubMessage::Bequest { .. } => Step::Wait,
        }
    }
}

/// A companion that talks with the hub at one socket.
#[derive(Debug)]
pub struct Companion {
    rules: Rules,
    socket: PathBuf,
    process: ClientProcess,
    receipts: Vec<Receipt>,
    key: PeerKey,
    patience: Duration,
}

impl Companion {
    /// Returns a companion of the session with this client process.
    ///
    /// `patience`: how long it waits for text, or, as a waiter, for a hub that is away.
    pub fn new(
        role: Role,
        socket: PathBuf,
        process: ClientProcess,
        receipts: Vec<Receipt>,
        patience: Duration,
    ) -> Self {
        let rules = Rules { role, held: None, ending: false };
        Self { rules, socket, process, receipts, key: PeerKey::random(), patience }
    }

    /// Returns the text that is to be shown; none when there is nothing for this process to show any more.
    pub async fn run(mut self) -> Option<String> {
        let mut backoff = Backoff::default();
        let mut away_since = Instant::now();
        loop {
            if let Some(stream) = connect(&self.socket).await {
                let connected = Instant::now();
                match self.converse(&stream).await {
                    Ok(shown) => return shown,
                    Err(error) => tracing::debug!(%error, "the connection to the hub was lost"),
                }
                away_since = Instant::now();
                backoff.handle_lost(away_since, Some(connected));
            }
            let holds = self.rules.held.is_some();
            let patience = self.patience + if holds { VERDICT_WAIT } else { Duration::ZERO };
            if away_since.elapsed() >= patience || (self.rules.role == Role::Hook && !holds) {
                return None;
            }
            sleep(backoff.next_pause(getrandom::u32().unwrap_or(0))).await;
        }
    }

    async fn converse(&mut self, stream: &Stream) -> io::Result<Option<String>> {
        let mut input = FrameBuffer::default();
        let mut deadline = match self.rules.role {
            Role::Waiter => None,
            Role::Hook => Some(Instant::now() + self.patience),
        };
        say(stream, &self.hello()).await?;
        loop {
            tokio::select! {
                () = stream.readable() => {}
                () = until(deadline) => return Ok(None),
            }
            let is_over = wire::read(stream, &mut input);
            while let Some(frame) = input.next_frame(HUB_FRAME_MAX_BYTES) {
                let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
                let message = match frame.and_then(decode::<HubMessage>) {
                    Ok(message) => message,
                    Err(error) if error.is_fatal() => return Err(invalid(error)),
                    Err(_) => continue,
                };
                match self.rules.handle(message) {
                    Step::Wait => {}
                    Step::Hold(batch) => {
                        deadline = deadline.map(|deadline| deadline + VERDICT_WAIT);
                        say(stream, &ClientMessage::Holding { batch }).await?;
                    }
                    Step::Show(text) => return Ok(Some(text)),
                    Step::End => return Ok(None),
                }
            }
            // What came before the end counts: the hub's last word is often the end of the connection as well.
            if is_over {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn hello(&self) -> ClientMessage {
        let holding = self.rules.held.as_ref().map(|(batch, _)| *batch);
        let facts = CompanionFacts { process: self.process, holding, receipts: self.receipts.clone() };
        let kind = match self.rules.role {
            Role::Waiter => ClientKind::Waiter(facts),
            Role::Hook => ClientKind::Hook(facts),
        };
        let program = concat!("relay-channel ", env!("CARGO_PKG_VERSION")).to_owned();
        ClientMessage::Hello(Box::new(Hello { id: 1, versions: VERSIONS, key: self.key, program, kind }))
    }
}

async fn connect(socket: &Path) -> Option<Stream> {
    Stream::connect(socket).await.ok()
}

async fn say(stream: &Stream, message: &ClientMessage) -> io::Result<()> {
    let mut bytes = Vec::new();
    encode(message, &mut bytes);
    loop {
        wire::write(stream, &mut bytes)?;
        if bytes.is_empty() {
            return Ok(());
        }
        stream.writable().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(role: Role) -> Rules {
        Rules { role, held: None, ending: false }
    }

    fn offer(batch: u64) -> HubMessage {
        HubMessage::Offer { batch, text: format!("text {batch}") }
    }

    fn verdict(batch: u64, show: bool) -> HubMessage {
        HubMessage::Verdict { batch: Some(batch), show }
    }

    #[test]
    fn a_text_is_shown_only_on_the_channels_word() {
        let mut rules = rules(Role::Waiter);
        assert_eq!(rules.handle(verdict(1, true)), Step::Wait);
        assert_eq!(rules.handle(offer(1)), Step::Hold(1));
        assert_eq!(rules.handle(offer(1)), Step::Hold(1));
        assert_eq!(rules.handle(verdict(2, true)), Step::Wait);
        assert_eq!(rules.handle(verdict(1, true)), Step::Show("text 1".to_owned()));
    }

    #[test]
    fn a_superseded_waiter_ends_unless_it_holds_a_text() {
        assert_eq!(rules(Role::Waiter).handle(HubMessage::End {}), Step::End);
        for (show, step) in [(true, Step::Show("text 1".to_owned())), (false, Step::End)] {
            let mut rules = rules(Role::Waiter);
            rules.handle(offer(1));
            assert_eq!(rules.handle(HubMessage::End {}), Step::Wait);
            assert_eq!(rules.handle(verdict(1, show)), step);
        }
    }

    #[test]
    fn a_waiter_whose_text_is_not_wanted_goes_on_and_a_hook_ends() {
        let mut waiter = rules(Role::Waiter);
        waiter.handle(offer(1));
        assert_eq!(waiter.handle(verdict(1, false)), Step::Wait);
        assert_eq!(waiter.handle(offer(2)), Step::Hold(2));
        assert_eq!(rules(Role::Hook).handle(HubMessage::Verdict { batch: None, show: false }), Step::End);
    }
}
