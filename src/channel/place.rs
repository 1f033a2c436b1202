//! A channel's place in its session: it owns the session's socket, or is the proxy of the channel that does.

use std::collections::BTreeMap;
use std::future::pending;
use std::path::Path;

use serde_json::Value;

use super::calls::NewCall;
use crate::client::CallId;
use crate::session::address::BindError;
use crate::session::frame::{CallResult, Cancel, Taken};
use crate::session::proxy::Proxy;
use crate::session::{ChannelMessage, Incoming, Listener, ReaderId, ReaderMessage};

/// How often the place is tried to take where an owner leaves at this moment.
const TRIES: usize = 3;

/// Where a channel stands.
#[derive(Debug)]
pub enum Place {
    /// It has no socket: its session's other processes do not find it.
    Alone,
    /// It owns the session's socket.
    Owner(Listener),
    /// It hands its calls to the owner. Those that have no result yet are kept, for the next owner.
    Proxy(Proxy, BTreeMap<CallId, NewCall>),
}

/// What one turn has brought.
#[derive(Debug, Default)]
pub struct Turn {
    /// From the session's other processes.
    pub incoming: Vec<Incoming>,
    /// Results of a proxy's calls.
    pub results: Vec<CallResult>,
    /// The calls of a proxy whose owner has gone.
    pub lost: Option<Vec<(CallId, NewCall)>>,
}

/// Returns the message with a call's result, which is JSON.
pub fn result(id: u64, json: &str, is_error: bool) -> ChannelMessage {
    let result: Value = serde_json::from_str(json).unwrap_or_default();
    ChannelMessage::Result(CallResult { id, result, is_error })
}

impl Place {
    /// Takes the place that is free at this address.
    pub fn take(address: &Path) -> Self {
        for _ in 0..TRIES {
            match Listener::bind(address) {
                Ok(listener) => return Self::Owner(listener),
                Err(BindError::Taken) => {
                    if let Ok(proxy) = Proxy::connect(address) {
                        return Self::Proxy(proxy, BTreeMap::new());
                    }
                }
                Err(error @ (BindError::NotPrivate(_) | BindError::Io(_))) => {
                    tracing::warn!(%error, address = %address.display(), "this session has no socket of its own");
                    return Self::Alone;
                }
            }
        }
        Self::Alone
    }

    /// Returns whether another channel is the session's peer.
    pub const fn is_proxy(&self) -> bool {
        matches!(self, Self::Proxy(..))
    }

    /// Waits until there is something to do. Cancel-safe.
    pub async fn ready(&self) {
        match self {
            Self::Alone => pending().await,
            Self::Owner(listener) => listener.ready().await,
            Self::Proxy(proxy, _) => proxy.ready().await,
        }
    }

    /// Takes in all that is there.
    pub fn turn(&mut self) -> Turn {
        let mut turn = Turn::default();
        match self {
            Self::Alone => {}
            Self::Owner(listener) => listener.turn(&mut turn.incoming),
            Self::Proxy(proxy, calls) => {
                let end = proxy.turn(&mut turn.results);
                for result in &turn.results {
                    calls.remove(&CallId(result.id));
                }
                if let Err(error) = end {
                    tracing::debug!(%error, "the session's channel has gone");
                    turn.lost = Some(std::mem::take(calls).into_iter().collect());
                    *self = Self::Alone;
                }
            }
        }
        turn
    }

    /// Hands a call to the owner. Returns `false` where this channel does its calls itself.
    pub fn call(&mut self, call: CallId, new: &NewCall) -> bool {
        let Self::Proxy(proxy, calls) = self else { return false };
        proxy.send(&ReaderMessage::Call(Box::new(new.to_proxy(call))));
        calls.insert(call, new.clone());
        true
    }

    /// Tells the owner that nobody waits for a call.
    pub fn cancel(&mut self, call: CallId) {
        if let Self::Proxy(proxy, _) = self {
            proxy.send(&ReaderMessage::Cancel(Cancel { id: call.0 }));
        }
    }

    /// Tells the owner that the client has the result of a call.
    pub fn taken(&mut self, call: CallId) {
        if let Self::Proxy(proxy, _) = self {
            proxy.send(&ReaderMessage::Taken(Taken { batch: call.0 }));
        }
    }

    /// Sends a message to a process of the session.
    pub fn send(&mut self, to: ReaderId, message: &ChannelMessage) {
        if let Self::Owner(listener) = self {
            listener.send(to, message);
        }
    }

    /// Closes the connection of a process of the session.
    pub fn close(&mut self, reader: ReaderId, incoming: &mut Vec<Incoming>) {
        if let Self::Owner(listener) = self {
            listener.close(reader, incoming);
        }
    }

    /// Closes the connections of all processes of the session.
    pub fn close_all(&mut self) -> Vec<Incoming> {
        let mut incoming = Vec::new();
        if let Self::Owner(listener) = self {
            listener.close_all(&mut incoming);
        }
        incoming
    }
}
