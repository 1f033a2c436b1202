//! Connection after connection, and what goes over each.

use std::pin::Pin;
use std::time::{Duration, Instant};

use async_nats::Message;
use tokio::time::{sleep, timeout};

use super::arguments::CarryArguments;
use super::error::NatsError;
use super::line::{Incoming, Line, Outgoing, State};
use super::link::{Failure, Incident, Link};
use super::stdio::{Stdio, Watched};
use super::subject::Machine;
use crate::runtime;

/// The longest pause between two attempts to connect.
const PAUSE_MAX: Duration = Duration::from_millis(1200);

/// The pause after the first attempt that failed.
const PAUSE_FIRST: Duration = Duration::from_millis(50);

/// How long a connection must have lasted for the next attempt to be made without a pause.
const STEADY: Duration = Duration::from_secs(1);

/// How many bytes, and how many lines, are handed to the client library before it has to have taken them.
const TURN_MAX_BYTES: usize = 64 * 1024;
const TURN_MAX_LINES: usize = 32;

/// How long the last lines have to get out once the input has ended.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// How a connection, or the attempt at one, has ended.
enum Ended {
    /// Nobody wants another.
    Over,
    /// There is to be another. It was up since then, if it was.
    Lost { why: String, since: Option<Instant> },
}

/// Carries lines until standard input ends.
///
/// # Errors
/// A person has to change something, here or at the server. The reader of standard output was told.
pub fn run(arguments: &CarryArguments) -> Result<(), NatsError> {
    let mut stdio = Stdio::of_process().map_err(NatsError::Stdio)?;
    let mut failures = 0;
    let mut was_up = false;
    let mut told = None;
    loop {
        let runtime = runtime::new()?;
        let ended = runtime.block_on(connection(&mut stdio, arguments, delay(failures)));
        // A name that is being looked up is not waited for.
        runtime.shutdown_background();
        let (why, since) = match ended {
            Ok(Ended::Over) => return Ok(()),
            Ok(Ended::Lost { why, since }) => (why, since),
            Err(Failure::Passing(why)) => (why, None),
            Err(Failure::LastingAtFirst(error)) if was_up => (error.to_string(), None),
            Err(Failure::Lasting(error) | Failure::LastingAtFirst(error)) => {
                stdio.say(State::Refused { why: error.to_string(), next: error.next() });
                return Err(error);
            }
        };
        was_up |= since.is_some();
        let is_steady = since.is_some_and(|since| since.elapsed() >= STEADY);
        failures = if is_steady { 0 } else { failures + 1 };
        // The same reason again is no news.
        if since.is_some() || told.as_ref() != Some(&why) {
            tracing::info!(why, "down");
            stdio.say(State::Down { why: why.clone() });
        }
        told = Some(why);
    }
}

/// Returns the pause before the next attempt.
fn delay(failures: u32) -> Duration {
    if failures == 0 {
        return Duration::ZERO;
    }
    PAUSE_FIRST.saturating_mul(1 << (failures - 1).min(10)).min(PAUSE_MAX)
}

/// Opens a connection and carries lines until it is lost.
async fn connection(stdio: &mut Stdio, arguments: &CarryArguments, delay: Duration) -> Result<Ended, Failure> {
    let mut stdio = stdio.watch().map_err(|error| Failure::Lasting(NatsError::Stdio(error)))?;
    let opened = async {
        sleep(delay).await;
        Link::open(arguments).await
    };
    let mut link = tokio::select! {
        biased;
        () = stdio.over() => return Ok(Ended::Over),
        link = opened => link?,
    };
    stdio.drop_unread();
    let server = link.server_version();
    tracing::info!(server, "up");
    stdio.say(State::Up { server });
    Ok(carry(&mut link, &mut stdio).await)
}

/// Carries lines both ways until the connection is lost or the input has ended.
async fn carry(link: &mut Link, stdio: &mut Watched<'_>) -> Ended {
    let since = Instant::now();
    let mut flush: Option<Pin<Box<dyn Future<Output = ()>>>> = None;
    loop {
        if flush.is_none() && send_turn(link, stdio).await {
            flush = Some(Box::pin(link.flush()));
        }
        if stdio.is_over() {
            let last_words = async {
                loop {
                    if let Some(flush) = flush.take() {
                        flush.await;
                    }
                    if !send_turn(link, stdio).await {
                        return;
                    }
                    flush = Some(Box::pin(link.flush()));
                }
            };
            let _no_time = timeout(LAST_WORDS, last_words).await;
            return Ended::Over;
        }
        let is_flushing = flush.is_some();
        let flushed = async {
            if let Some(flush) = &mut flush {
                flush.await;
            }
        };
        // Whatever comes without end must not keep the others waiting.
        tokio::select! {
            incident = link.next() => match incident {
                Incident::Mail(mail) => {
                    pass_on(link, stdio, &mail);
                    while let Some(mail) = link.more() {
                        pass_on(link, stdio, &mail);
                    }
                    stdio.write();
                }
                Incident::Lost(why) => return Ended::Lost { why, since: Some(since) },
            },
            () = flushed, if is_flushing => flush = None,
            () = stdio.turn() => {}
        }
    }
}

/// Passes on a line that has come.
fn pass_on(link: &Link, stdio: &mut Watched<'_>, mail: &Message) {
    let Some(from) = link.sender(mail) else { return };
    match std::str::from_utf8(&mail.payload) {
        Ok(line) => {
            stdio.pass_on(&Incoming { from: from.as_str(), line });
        }
        Err(_no_text) => tracing::warn!(from = from.as_str(), "what came is no text and is dropped"),
    }
}

/// Sends the lines that were read, as many as make a turn. Returns whether there were some.
async fn send_turn(link: &Link, stdio: &mut Watched<'_>) -> bool {
    let (mut bytes, mut lines) = (0, 0);
    while bytes < TURN_MAX_BYTES
        && lines < TURN_MAX_LINES
        && let Some(line) = stdio.next_line()
    {
        match outgoing(&line, link.max_payload()) {
            Ok((to, line)) => {
                bytes += line.len();
                lines += 1;
                link.send(&to, line).await;
            }
            Err(why) => tracing::warn!(why, "a line is not sent"),
        }
    }
    lines > 0
}

/// Returns what is to be sent to whom.
fn outgoing(line: &Line, max_payload: usize) -> Result<(Machine, String), String> {
    let Line::Whole(bytes) = line else { return Err("it is too long".to_owned()) };
    let outgoing: Outgoing<'_> =
        serde_json::from_slice(bytes).map_err(|error| format!("it is not of the form: {error}"))?;
    let to = Machine::parse(&outgoing.to).map_err(|error| error.to_string())?;
    let n = outgoing.line.len();
    if n > max_payload {
        return Err(format!("its {n} bytes are more than the server takes, which is {max_payload} (max_payload)"));
    }
    Ok((to, outgoing.line.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_cap() {
        assert_eq!([0, 1, 2].map(delay), [0, 50, 100].map(Duration::from_millis));
        assert_eq!([6, 7, 1000, u32::MAX].map(delay), [PAUSE_MAX; 4]);
    }

    #[test]
    fn line_is_sent_to_a_machine_as_far_as_the_server_takes_it() {
        let read = |text: &str| outgoing(&Line::Whole(text.as_bytes().to_vec()), 8);
        let (to, line) = read(r#"{"to":"desk","line":"\"x\""}"#).unwrap();
        assert_eq!((to.as_str(), line.as_str()), ("desk", "\"x\""));
        assert!(read(r#"{"to":"desk","line":"123456789"}"#).unwrap_err().contains("max_payload"));
        for text in [r#"{"to":"desk.>","line":"x"}"#, r#"{"to":"*","line":"x"}"#, r#"{"line":"x"}"#, "x", ""] {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(outgoing(&Line::TooLong, 8).is_err());
    }
}
