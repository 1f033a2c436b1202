//! One connection to the server, from its opening to its loss.

use std::time::Duration;

use async_nats::{Client, ConnectError, ConnectErrorKind, Event, Message, ServerError, Subscriber};
use futures_util::{FutureExt, StreamExt};
use tokio::sync::mpsc;
use tokio::task::unconstrained;
use tokio::time::{Instant, timeout_at};

use super::arguments::CarryArguments;
use super::error::{NatsError, is_new_enough};
use super::options::{address, options};
use super::probe::{Excess, Finding, Probe, Violation, violation};
use super::subject::{self, Machine};

/// How long the server has for its answers before anything is carried.
const PROBE_TIME: Duration = Duration::from_secs(3);

/// How long what the server forbids may be on its way behind what it has answered.
const PROBE_GRACE: Duration = Duration::from_millis(500);

/// The most events that wait.
const EVENTS_MAX: usize = 64;

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum Failure {
    /// Another attempt may succeed.
    Passing(String),
    /// Only a person can change it.
    Lasting(NatsError),
    /// Only a person can change it, unless it has worked before.
    LastingAtFirst(NatsError),
}

/// What comes from the server.
#[derive(Debug)]
pub(super) enum Incident {
    /// A line of another machine.
    Mail(Message),
    /// The connection is lost, as far as was observed for this reason.
    Lost(String),
}

/// An open connection, on which machines are told apart.
#[derive(Debug)]
pub(super) struct Link {
    client: Client,
    mail: Subscriber,
    events: mpsc::Receiver<Event>,
    own: Machine,
    /// The last thing that the server said was wrong.
    last_error: Option<String>,
}

impl Link {
    /// Connects, and finds out whether the server keeps machines apart.
    pub(super) async fn open(arguments: &CarryArguments) -> Result<Self, Failure> {
        let address = address(arguments).map_err(Failure::Lasting)?;
        let options = options(arguments).map_err(Failure::LastingAtFirst)?;
        let is_encrypted = address.tls_required() || arguments.tls_ca.is_some();
        let is_local = ["localhost", "127.0.0.1", "::1"].contains(&address.host());
        let (tell, events) = mpsc::channel(EVENTS_MAX);
        let options = options.event_callback(move |event| {
            let tell = tell.clone();
            async move {
                // Nobody listens any more where the link is gone.
                let _gone = tell.send(event).await;
            }
        });
        let client = options.connect(address).await.map_err(failure)?;
        let info = client.server_info();
        if !is_new_enough(&info.version) {
            return Err(Failure::Lasting(NatsError::TooOld { version: info.version }));
        }
        if !is_local && !is_encrypted && !info.tls_required {
            tracing::warn!("the lines go to the server unencrypted; a server with TLS is named like tls://HOST:PORT");
        }
        let own = arguments.machine.clone();
        // First of all, so that what it is not allowed is known before all else.
        let mail = client.subscribe(subject::mail_of(&own)).await.map_err(closed)?;
        let mut link = Self { client, mail, events, own, last_error: None };
        match (link.probe().await?, arguments.insecure_shared) {
            (Finding::Restricted, _) => Ok(link),
            (Finding::Shared(excess), true) => {
                tracing::warn!("the server lets this machine {}: whoever has a key for it can too", words(excess));
                Ok(link)
            }
            (Finding::Shared(excess), false) => {
                let machine = link.own.as_str().to_owned();
                Err(Failure::Lasting(NatsError::Shared { machine, excess: words(excess) }))
            }
            (Finding::Deaf, _) => {
                let machine = link.own.as_str().to_owned();
                Err(Failure::LastingAtFirst(NatsError::Deaf { machine }))
            }
        }
    }

    /// Returns the server's version.
    pub(super) fn server_version(&self) -> String {
        self.client.server_info().version
    }

    /// Returns the most bytes that a line may have.
    pub(super) fn max_payload(&self) -> usize {
        self.client.max_payload()
    }

    /// Sends a line. It may be lost.
    pub(super) async fn send(&self, to: &Machine, line: String) {
        // A connection that has ended is told of by `next`.
        let _lost = self.client.publish(subject::from_to(&self.own, to), line.into()).await;
    }

    /// Returns a future that is done when the library has room again for as much as was sent.
    pub(super) fn flush(&self) -> impl Future<Output = ()> + use<> {
        let client = self.client.clone();
        async move {
            let _lost = client.flush().await;
        }
    }

    /// Returns who has sent this.
    pub(super) fn sender(&self, mail: &Message) -> Option<Machine> {
        subject::sender(&mail.subject, &self.own).filter(|sender| *sender != self.own)
    }

    /// Waits for what comes next. Cancel-safe.
    pub(super) async fn next(&mut self) -> Incident {
        loop {
            let event = tokio::select! {
                biased;
                event = self.events.recv() => event,
                mail = self.mail.next() => match mail {
                    Some(mail) => return Incident::Mail(mail),
                    None => return Incident::Lost(self.lost()),
                },
            };
            if let Some(text) = event.as_ref().and_then(wrong) {
                if self.last_error.as_ref() != Some(&text) {
                    tracing::warn!("the server says: {text}");
                }
                let own_mail = subject::mail_of(&self.own);
                let is_deaf = violation(&text) == Some((Violation::Subscribe, own_mail.as_str()));
                self.last_error = Some(text);
                if is_deaf {
                    return Incident::Lost(self.lost());
                }
            }
            // The library tells of the loss as well, unless it has too much to tell.
            if !self.is_connected() || event.is_none() {
                return Incident::Lost(self.lost());
            }
        }
    }

    /// Returns the next line that has come already. It is not to be left to wait, however many have come.
    pub(super) fn more(&mut self) -> Option<Message> {
        unconstrained(self.mail.next()).now_or_never().flatten()
    }

    fn is_connected(&self) -> bool {
        self.client.connection_state() == async_nats::connection::State::Connected
    }

    /// Returns why there is no connection any more.
    fn lost(&mut self) -> String {
        let observed = self.last_error.take().map(|text| format!(": {text}")).unwrap_or_default();
        format!("the connection to the server was lost{observed}")
    }

    /// Tries what only other machines may do. What has been sent to this one meanwhile is dropped.
    async fn probe(&mut self) -> Result<Finding, Failure> {
        let nonce =
            getrandom::u64().map_err(|error| Failure::Passing(format!("there are no random numbers: {error}")))?;
        let other = format!("probe-{nonce:016x}");
        let other = Machine::parse(&other).map_err(|error| Failure::Passing(error.to_string()))?;
        let mut probe = Probe::new(&self.own, &other, nonce);
        let mut foreign = self.client.subscribe(probe.foreign_mail.clone()).await.map_err(closed)?;
        for subject in [probe.forged.clone(), probe.to_self.clone()] {
            self.client.publish(subject, probe.mark.clone().into()).await.map_err(closed)?;
        }
        let finding = self.finding(&mut probe).await;
        // What is not allowed is not listened to anyway.
        let _lost = foreign.unsubscribe().await;
        finding
    }

    /// Listens until the probe has its finding.
    async fn finding(&mut self, probe: &mut Probe) -> Result<Finding, Failure> {
        let mut until = Instant::now() + PROBE_TIME;
        let mut is_graced = false;
        loop {
            match timeout_at(until, self.listen(probe)).await {
                Ok(heard) => heard?,
                Err(_elapsed) if is_graced => return Ok(probe.last_finding()),
                Err(_elapsed) => return Err(Failure::Passing("the server did not answer in time".to_owned())),
            }
            if let Some(finding) = probe.finding() {
                return Ok(finding);
            }
            if probe.has_answered() && !is_graced {
                is_graced = true;
                until = Instant::now() + PROBE_GRACE;
            }
        }
    }

    /// Hands the probe what comes next.
    async fn listen(&mut self, probe: &mut Probe) -> Result<(), Failure> {
        tokio::select! {
            biased;
            event = self.events.recv() => {
                if let Some(text) = event.as_ref().and_then(wrong) {
                    probe.handle_error(&text);
                }
            }
            mail = self.mail.next() => match mail {
                Some(mail) => probe.handle_mail(&mail.subject, &mail.payload),
                None => return Err(Failure::Passing(self.lost())),
            },
        }
        if !self.is_connected() {
            return Err(Failure::Passing(self.lost()));
        }
        Ok(())
    }
}

const fn words(excess: Excess) -> &'static str {
    match excess {
        Excess::Reads => "read what is sent to other machines",
        Excess::Forges => "send in the name of other machines",
    }
}

/// Returns what the server says is wrong.
fn wrong(event: &Event) -> Option<String> {
    match event {
        Event::ServerError(ServerError::Other(text)) => Some(text.clone()),
        Event::ServerError(error) => Some(error.to_string()),
        Event::SlowConsumer(_) => Some("more has come at once than was taken".to_owned()),
        Event::LameDuckMode => Some("the server is about to stop".to_owned()),
        Event::Connected | Event::Disconnected | Event::Draining | Event::Closed | Event::ClientError(_) => None,
    }
}

fn closed(error: impl std::error::Error) -> Failure {
    Failure::Passing(format!("the connection to the server was lost: {error}"))
}

/// Returns what it means that no connection came about.
fn failure(error: ConnectError) -> Failure {
    let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation => {
            Failure::LastingAtFirst(NatsError::Stranger { why: "it says \"authorization violation\"".to_owned() })
        }
        ConnectErrorKind::Authentication => {
            Failure::LastingAtFirst(NatsError::Stranger { why: "the key cannot sign what it asks for".to_owned() })
        }
        ConnectErrorKind::Tls => Failure::LastingAtFirst(NatsError::Certificates { why }),
        ConnectErrorKind::TimedOut => Failure::Passing("the server does not answer".to_owned()),
        ConnectErrorKind::Dns => Failure::Passing(format!("the server's name leads nowhere: {why}")),
        ConnectErrorKind::ServerParse | ConnectErrorKind::Io | ConnectErrorKind::MaxReconnects => {
            Failure::Passing(format!("no connection to the server: {why}"))
        }
    }
}
