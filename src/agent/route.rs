//! A way into the session that its channel goes itself, with no process in between: the agent's daemon, or its own inbox.
//!
//! To the channel it is one more reader of its messages: it is given a batch, says that it has taken it, and then what went
//! before the model.

use std::fmt;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::protocol::{Activity, Wake};

/// Messages that are to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Names the batch.
    pub batch: u64,
    /// All that is to be shown.
    pub text: String,
    /// The ids of the messages in it.
    pub ids: Vec<String>,
}

/// What has happened on a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteEvent {
    /// Messages can be delivered from now on.
    Open,
    /// No message can be delivered any more. A batch that was not taken is not shown.
    Closed,
    /// The agent has taken this batch.
    Taken(u64),
    /// The messages with these ids went before the model.
    Shown(Vec<String>),
    /// The agent has lost the messages with these ids, which it had taken: they did not go before the model.
    Lost(Vec<String>),
    /// Whether the agent has messages that it has not shown yet, so that further ones are better kept here: they can still be
    /// withdrawn, and come together.
    Full(bool),
    /// What the session does, and the dialog that it stands at.
    Presence(Activity, Option<&'static str>),
}

/// A way into the session.
pub trait Route: fmt::Debug {
    /// Returns what a session that is woken so says of itself.
    fn wake(&self) -> Wake;

    /// Returns whether messages may be delivered only while the session is idle.
    fn is_for_idle(&self) -> bool;

    /// Returns whether there may be something to do; else the context's waker is woken once there is.
    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()>;

    /// Does what is to be done, and tells what has happened.
    fn turn(&mut self, now: Instant, events: &mut Vec<RouteEvent>);

    /// Returns when [`Route::turn`] is to be called at the latest.
    fn poll_timeout(&self) -> Option<Instant>;

    /// Delivers messages; only on an open route, and not before the last batch was taken.
    fn deliver(&mut self, now: Instant, delivery: Delivery);
}
