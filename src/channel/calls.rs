//! The tool calls whose results are not known yet, and where each result goes. Pure.

use std::collections::BTreeMap;

use super::tools::arguments::NewIds;
use crate::client::{Call, CallId};
use crate::object::Object;
use crate::session::ReaderId;
use crate::session::frame::ProxyCall;

/// What tells the calls of proxies from those of the own client, whose numbers are below it.
const OF_PROXIES: u64 = 1 << 40;

/// From how many bytes of arguments on an agent cuts an error away that it shows behind them.
const LONG_BYTES: usize = 20 * 1024;

/// Where a call came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The MCP client of this process.
    Client,
    /// A proxy, with its own number of the call.
    Proxy(ReaderId, u64),
}

/// A call.
#[derive(Debug)]
pub struct OpenCall {
    /// Where it came from.
    pub origin: Origin,
    /// The timeout of the asks that it makes, in seconds.
    pub timeout_s: u64,
    /// Nobody waits for it any more.
    pub is_cancelled: bool,
    /// Its error, if it has one, is shown only as a result like any other.
    pub hides_error: bool,
}

impl OpenCall {
    const fn new(origin: Origin) -> Self {
        Self { origin, timeout_s: 0, is_cancelled: false, hides_error: false }
    }
}

/// A call that was read and not yet begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCall {
    /// The tool.
    pub tool: String,
    /// Its arguments.
    pub arguments: Object,
    /// The ids of what it asks, the same wherever it is tried.
    pub ids: NewIds,
}

impl NewCall {
    /// Returns whether its arguments are long.
    pub fn is_long(&self) -> bool {
        serde_json::to_string(&self.arguments).is_ok_and(|json| json.len() > LONG_BYTES)
    }

    /// Returns the call as a proxy sends it.
    pub fn to_proxy(&self, call: CallId) -> ProxyCall {
        ProxyCall {
            id: call.0,
            tool: self.tool.clone(),
            arguments: self.arguments.clone(),
            ask_id: self.ids.ask_id,
            broadcast_id: self.ids.broadcast_id,
        }
    }
}

/// All open calls of a channel.
#[derive(Debug, Default)]
pub struct Calls {
    open: BTreeMap<CallId, OpenCall>,
    of_proxies: u64,
    /// The results that proxies were sent and have not taken.
    untaken: BTreeMap<(ReaderId, u64), CallId>,
}

impl Calls {
    /// Records a call of the own client.
    pub fn insert(&mut self, call: CallId) {
        self.open.insert(call, OpenCall::new(Origin::Client));
    }

    /// Records a call of a proxy.
    pub fn insert_of_proxy(&mut self, by: ReaderId, id: u64) -> CallId {
        self.of_proxies += 1;
        let call = CallId(OF_PROXIES + self.of_proxies);
        self.open.insert(call, OpenCall::new(Origin::Proxy(by, id)));
        call
    }

    /// Records for how long the asks of a call stay open.
    pub fn begin(&mut self, id: CallId, call: &Call) {
        if let (Some(open), Call::Ask { timeout, .. } | Call::Tell { timeout, .. } | Call::Broadcast { timeout, .. }) =
            (self.open.get_mut(&id), call)
        {
            open.timeout_s = timeout.as_secs();
        }
    }

    /// Records that the model is not shown the error of a call, if it is told as one.
    pub fn hide_error(&mut self, call: CallId) {
        if let Some(open) = self.open.get_mut(&call) {
            open.hides_error = true;
        }
    }

    /// Records that nobody waits for a call. Returns `false` where it has its result already.
    pub fn cancel(&mut self, call: CallId) -> bool {
        self.open.get_mut(&call).map(|open| open.is_cancelled = true).is_some()
    }

    /// Returns whether nobody waits for a call any more.
    pub fn is_cancelled(&self, call: CallId) -> bool {
        self.open.get(&call).is_some_and(|open| open.is_cancelled)
    }

    /// Ends a call.
    pub fn remove(&mut self, call: CallId) -> Option<OpenCall> {
        self.open.remove(&call)
    }

    /// Records that a proxy was sent a result.
    pub fn handle_sent(&mut self, by: ReaderId, id: u64, call: CallId) {
        self.untaken.insert((by, id), call);
    }

    /// Records that a proxy's client has a result. Returns the call.
    pub fn handle_taken(&mut self, by: ReaderId, id: u64) -> Option<CallId> {
        self.untaken.remove(&(by, id))
    }

    /// Returns the open call of a proxy.
    pub fn of_proxy(&self, by: ReaderId, id: u64) -> Option<CallId> {
        self.open.iter().find(|(_, open)| open.origin == Origin::Proxy(by, id)).map(|(call, _)| *call)
    }

    /// Cancels what a proxy that has gone has open. Returns the results that it did not take.
    pub fn handle_gone(&mut self, reader: ReaderId) -> Vec<CallId> {
        for open in self.open.values_mut() {
            open.is_cancelled |= matches!(open.origin, Origin::Proxy(by, _) if by == reader);
        }
        let lost: Vec<(ReaderId, u64)> =
            self.untaken.range((reader, 0)..=(reader, u64::MAX)).map(|(key, _)| *key).collect();
        lost.into_iter().filter_map(|key| self.untaken.remove(&key)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROXY: ReaderId = ReaderId(3);

    #[test]
    fn call_of_a_proxy_that_has_gone_is_cancelled_and_its_results_come_back() {
        let mut calls = Calls::default();
        let (one, two) = (calls.insert_of_proxy(PROXY, 1), calls.insert_of_proxy(PROXY, 2));
        calls.insert(CallId(1));
        assert_eq!(calls.of_proxy(PROXY, 2), Some(two));
        calls.remove(one);
        calls.handle_sent(PROXY, 1, one);
        assert_eq!(calls.handle_gone(PROXY), [one]);
        assert!(calls.remove(two).unwrap().is_cancelled && !calls.remove(CallId(1)).unwrap().is_cancelled);
        assert_eq!(calls.handle_taken(PROXY, 1), None);
    }

    #[test]
    fn result_that_a_proxy_took_is_told_once() {
        let mut calls = Calls::default();
        let call = calls.insert_of_proxy(PROXY, 7);
        calls.remove(call);
        calls.handle_sent(PROXY, 7, call);
        assert_eq!((calls.handle_taken(PROXY, 7), calls.handle_taken(PROXY, 7)), (Some(call), None));
        assert!(!calls.cancel(call));
    }
}
