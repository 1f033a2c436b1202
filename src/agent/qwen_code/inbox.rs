//! The inbox of a Qwen Code session, and our own small one for its receipts.
//!
//! One connection a message: a line with the token, a line with the text. Receipts come as a connection to our own socket,
//! the same way. `delivered` says only that Qwen Code has queued the message; that it goes before the model its
//! [`Transcript`] says. A user may have messages held for review (`agents.crossSessionInbound`) or refused.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;

use super::transcript::Transcript;
use crate::agent::route::{Delivery, Route, RouteEvent};
use crate::process::Process;
use crate::protocol::{Activity, Wake};
use crate::watched::{Listener, Stream};

/// What the session's person is shown as the sender.
const SENDER: &str = "claude-relay";

/// Qwen Code takes 30 messages at once and then one in two seconds; of more it drops some (seen in 0.24.4).
const BURST: u32 = 30;
const INTERVAL: Duration = Duration::from_secs(2);

/// How long a receipt is waited for; without one, what was written counts as taken.
const RECEIPT_WAIT: Duration = Duration::from_secs(5);

/// How long what Qwen Code has queued may go without a line in its transcript, until more is sent all the same: a turn may
/// last long, and the line may be missed.
const UNSEEN_WAIT: Duration = Duration::from_secs(60);

/// How long an inbox that dropped a message is left alone.
const DROPPED_PAUSE: Duration = Duration::from_secs(30);

/// How long until a socket that took not all is tried again.
const FULL_PAUSE: Duration = Duration::from_millis(10);

/// The most connections with receipts at once, and the most bytes of one.
const RECEIPTS_MAX: usize = 8;
const RECEIPT_MAX_BYTES: usize = 64 * 1024;

/// What a session waits for whose user wants to see messages first.
const REVIEW: &str = "review of a message, by /peers";

/// Where our own socket is, and the token that its connections must say.
#[derive(Debug)]
pub(super) struct OwnAddress {
    path: PathBuf,
    token: String,
}

impl OwnAddress {
    /// Returns the address beside the sessions' sockets, where one that is left over is swept; none where the system has no
    /// random number.
    pub(super) fn new(sockets: &Path, session: Process) -> Option<Self> {
        let token =
            (0..4).map(|_| getrandom::u64().map(|bits| format!("{bits:016x}"))).collect::<Result<_, _>>().ok()?;
        Some(Self { path: sockets.join(format!("{}-{}-inbox.sock", session.pid, session.start)), token })
    }
}

/// A line with a receipt.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Receipt {
    Auth {
        token: String,
    },
    #[serde(rename_all = "camelCase")]
    Control {
        status: String,
        orig_msg_id: String,
        #[serde(default)]
        dropped_msg_ids: Vec<String>,
    },
}

/// A message on its way.
#[derive(Debug)]
struct Sending {
    delivery: Delivery,
    id: String,
    connection: Option<Stream>,
    unwritten: Vec<u8>,
    until: Instant,
}

/// The inbox.
#[derive(Debug)]
pub(super) struct Inbox {
    socket: PathBuf,
    token: String,
    own: OwnAddress,
    listener: Option<Listener>,
    receipts: Vec<(Stream, Vec<u8>)>,
    transcript: Transcript,
    /// Given, and to be sent then.
    waiting: Option<(Delivery, Instant)>,
    sending: Option<Sending>,
    /// When the rest of what is being sent is tried again.
    full: Option<Instant>,
    /// When the messages that were sent are paid for: see [`BURST`].
    paid: Option<Instant>,
    messages: u64,
    /// The message that the session's user is to review.
    reviewed: Option<String>,
    /// Until when no more is sent, since Qwen Code has not shown yet what it has.
    full_until: Option<Instant>,
    is_open: bool,
    /// When it is opened: at once, later, or never again.
    opens: Option<Instant>,
    has_begun: bool,
}

impl Inbox {
    pub(super) fn new(socket: PathBuf, token: String, own: OwnAddress, transcript: Transcript) -> Self {
        Self {
            socket,
            token,
            own,
            listener: None,
            receipts: Vec::new(),
            transcript,
            waiting: None,
            sending: None,
            full: None,
            paid: None,
            messages: 0,
            reviewed: None,
            full_until: None,
            is_open: false,
            opens: None,
            has_begun: false,
        }
    }

    /// Records which conversation the session has now.
    pub(super) fn handle_conversation(&mut self, id: &str) {
        self.transcript.handle_conversation(id);
    }

    /// Binds our own socket: the directory is there once the session has its place.
    fn listen(&mut self) -> io::Result<()> {
        let _left_over = fs::remove_file(&self.own.path);
        let listener = UnixListener::bind(&self.own.path)?;
        fs::set_permissions(&self.own.path, fs::Permissions::from_mode(0o600))?;
        self.listener = Some(Listener::new(listener)?);
        Ok(())
    }

    fn open(&mut self, now: Instant, events: &mut Vec<RouteEvent>) {
        if !std::mem::replace(&mut self.has_begun, true) {
            self.opens = Some(now);
        }
        if self.is_open || self.opens.is_none_or(|at| now < at) {
            return;
        }
        self.opens = None;
        if self.listener.is_none()
            && let Err(error) = self.listen()
        {
            tracing::warn!(%error, "no receipts of Qwen Code can be taken");
            return;
        }
        self.is_open = true;
        events.push(RouteEvent::Open);
    }

    fn close(&mut self, opens: Option<Instant>, events: &mut Vec<RouteEvent>) {
        if let Some(sending) = self.sending.take() {
            self.transcript.forget(&sending.delivery.ids);
        }
        (self.waiting, self.full_until) = (None, None);
        self.opens = opens;
        if std::mem::take(&mut self.is_open) {
            events.push(RouteEvent::Closed);
        }
    }

    /// Returns when the next message may be sent.
    fn next_at(&self, now: Instant) -> Instant {
        let ahead = INTERVAL * (BURST - 1);
        self.paid.and_then(|paid| paid.checked_sub(ahead)).map_or(now, |at| at.max(now))
    }

    fn send(&mut self, now: Instant) -> io::Result<()> {
        if self.sending.is_some() || self.waiting.as_ref().is_none_or(|(_, at)| now < *at) {
            return Ok(());
        }
        let Some((delivery, _)) = self.waiting.take() else { return Ok(()) };
        self.paid = Some(self.paid.map_or(now, |paid| paid.max(now)) + INTERVAL);
        self.messages += 1;
        let id = format!("relay-{}-{}", &self.own.token[..16], self.messages);
        let auth = json!({"msgV": 1, "type": "auth", "token": self.token});
        let message = json!({
            "msgV": 1, "msgId": id, "type": "user", "priority": "next",
            "from": self.own.path, "replyToken": self.own.token, "fromName": SENDER,
            "message": {"role": "user", "content": delivery.text},
        });
        let unwritten = format!("{auth}\n{message}\n").into_bytes();
        self.transcript.expect(&delivery.ids);
        let until = now + RECEIPT_WAIT;
        // What cannot be written is given back by closing.
        self.sending = Some(Sending { delivery, id, connection: None, unwritten, until });
        let connection = Stream::connect(&self.socket)?;
        if let Some(sending) = &mut self.sending {
            sending.connection = Some(connection);
        }
        self.write(now)
    }

    fn write(&mut self, now: Instant) -> io::Result<()> {
        self.full = None;
        let Some(Sending { connection: Some(connection), unwritten, .. }) = &mut self.sending else { return Ok(()) };
        if unwritten.is_empty() {
            return Ok(());
        }
        connection.write_from(unwritten)?;
        if unwritten.is_empty() {
            connection.stop_writing();
        } else {
            self.full = Some(now + FULL_PAUSE);
        }
        Ok(())
    }

    /// Takes the receipts that have come.
    fn take_receipts(&mut self) -> Vec<Receipt> {
        while let Some(Ok(stream)) =
            self.listener.as_ref().filter(|_| self.receipts.len() < RECEIPTS_MAX).and_then(Listener::accept)
        {
            if let Ok(stream) = Stream::new(stream) {
                self.receipts.push((stream, Vec::new()));
            }
        }
        let mut taken = Vec::new();
        let token = &self.own.token;
        self.receipts.retain_mut(|(stream, bytes)| {
            let has_ended = stream.read_to(|more| bytes.extend_from_slice(more)).unwrap_or(true);
            if !has_ended && bytes.len() <= RECEIPT_MAX_BYTES {
                return true;
            }
            let lines = bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
            let mut lines = lines.collect::<Vec<Receipt>>().into_iter();
            if matches!(lines.next(), Some(Receipt::Auth { token: said }) if said == *token) {
                taken.extend(lines);
            }
            false
        });
        taken
    }

    fn handle_receipt(&mut self, now: Instant, receipt: &Receipt, events: &mut Vec<RouteEvent>) {
        let Receipt::Control { status, orig_msg_id, dropped_msg_ids } = receipt else { return };
        let is_present = |sending: &Sending| sending.id == *orig_msg_id || dropped_msg_ids.contains(&sending.id);
        let is_of_present = self.sending.as_ref().is_some_and(is_present);
        match status.as_str() {
            "delivered" if is_of_present => self.taken(now, events),
            "held" => {
                // It may still be shown, so it is not given another way.
                if is_of_present {
                    self.taken(now, events);
                    self.reviewed = Some(orig_msg_id.clone());
                }
                events.push(RouteEvent::Presence(Activity::Waiting, Some(REVIEW)));
                self.close(None, events);
            }
            "delivered" | "denied" | "expired" if self.reviewed.as_ref() == Some(orig_msg_id) => {
                self.reviewed = None;
                events.push(RouteEvent::Presence(Activity::Unknown, None));
            }
            "refused" if is_of_present => {
                tracing::info!("this Qwen Code session refuses messages (agents.crossSessionInbound)");
                self.close(None, events);
            }
            "dropped" | "misaddressed" if is_of_present => self.close(Some(now + DROPPED_PAUSE), events),
            _ => {}
        }
    }

    fn taken(&mut self, now: Instant, events: &mut Vec<RouteEvent>) {
        if let Some(sending) = self.sending.take() {
            if self.transcript.is_followed() {
                self.full_until = Some(now + UNSEEN_WAIT);
                events.push(RouteEvent::Full(true));
            }
            events.push(RouteEvent::Taken(sending.delivery.batch));
        }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        if self.listener.is_some() {
            let _gone_already = fs::remove_file(&self.own.path);
        }
    }
}

impl Route for Inbox {
    fn wake(&self) -> Wake {
        Wake::Inbox
    }

    fn is_for_idle(&self) -> bool {
        false
    }

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        let listener = self.listener.as_ref().is_some_and(|listener| listener.poll_readable(context).is_ready());
        let receipt = self.receipts.iter().any(|(stream, _)| stream.poll_readable(context).is_ready());
        let transcript = self.transcript.poll_ready(context).is_ready();
        if listener || receipt || transcript { Poll::Ready(()) } else { Poll::Pending }
    }

    fn turn(&mut self, now: Instant, events: &mut Vec<RouteEvent>) {
        self.open(now, events);
        for receipt in self.take_receipts() {
            self.handle_receipt(now, &receipt, events);
        }
        let shown = self.transcript.look();
        if !shown.is_empty() {
            events.push(RouteEvent::Shown(shown));
        }
        if self.sending.as_ref().is_some_and(|sending| sending.until <= now) {
            self.taken(now, events);
        }
        if self.full_until.is_some_and(|until| until <= now || !self.transcript.is_followed()) {
            self.full_until = None;
            events.push(RouteEvent::Full(false));
        }
        if let Err(error) = self.write(now).and_then(|()| self.send(now)) {
            tracing::info!(%error, "Qwen Code's inbox takes nothing");
            self.close(Some(now + DROPPED_PAUSE), events);
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let sending = self.sending.as_ref().map(|sending| sending.until);
        let waiting = self.waiting.as_ref().filter(|_| self.sending.is_none()).map(|(_, at)| *at);
        [sending, self.full, waiting, self.opens, self.full_until].into_iter().flatten().min()
    }

    fn deliver(&mut self, now: Instant, delivery: Delivery) {
        self.waiting = Some((delivery, self.next_at(now)));
    }
}

#[cfg(test)]
mod tests;
