//! How the channel does a tool call: it goes to the hub or to the channel whose proxy this is, and its result comes back.

use std::time::Instant;

use super::Channel;
use super::calls::{NewCall, Origin};
use super::mcp::ToolResult;
use super::stdio::Written;
use super::tools::arguments::{self, CallError};
use super::tools::result::{Context, render};
use super::{LOOK_DELAY, place};
use crate::agent::Agent;
use crate::client::{Call, CallAnswer, CallId};
use crate::fault;
use crate::protocol::{ErrorCode, Refusal};

impl Channel {
    /// Does a tool call, or hands it to the channel whose proxy this is.
    pub(super) fn start(&mut self, call: CallId, new: NewCall) {
        if self.place.call(call, &new) {
            return;
        }
        if self.agent.as_ref().is_some_and(Agent::repeats_failed_calls) && new.is_long() {
            self.calls.hide_error(call);
        }
        let now = Instant::now();
        self.looks_at.get_or_insert(now + LOOK_DELAY);
        let parsed = arguments::parse(&new.tool, new.arguments, || new.ids).map_err(|error| match error {
            CallError::Refused(refusal) => refusal,
            CallError::UnknownTool(_) => Refusal::new(ErrorCode::BadArgs, error.to_string(), "call another tool"),
        });
        self.connect();
        let ready = parsed.and_then(|parsed| match (&mut self.hub, &self.socket) {
            (Some(hub), _) => Ok((parsed, hub)),
            (None, Err(refusal)) => Err(refusal.clone()),
            (None, Ok(_)) => {
                Err(Refusal::new(ErrorCode::NotRegistered, "the client has said no initialize", "initialize"))
            }
        });
        match ready {
            Ok((parsed, hub)) => {
                if let Call::Reply { ask_id, .. } = &parsed {
                    self.inbox.handle_answered(*ask_id);
                }
                self.calls.begin(call, &parsed);
                hub.ledger().handle_call(now, call, parsed);
            }
            Err(refusal) => self.finish(call, Err(refusal)),
        }
    }

    pub(super) fn cancel(&mut self, call: CallId) {
        self.place.cancel(call);
        if !self.calls.cancel(call) {
            self.inbox.handle_call_cancelled(call);
        }
    }

    /// Gives a call its result, with the messages that go with it.
    pub(super) fn finish(&mut self, call: CallId, answer: Result<CallAnswer, Refusal>) {
        fault::pass("tool.done");
        let Some(open) = self.calls.remove(call) else { return };
        if open.is_cancelled {
            if let Some(hub) = &mut self.hub {
                // Its model never learns of them.
                let asks = answer.iter().flat_map(CallAnswer::asks);
                asks.for_each(|ask_id| hub.ledger().handle_withdraw(ask_id));
            }
            match open.origin {
                Origin::Client => self.forget(call),
                // The proxy forgets it with this.
                Origin::Proxy(by, id) => self.place.send(by, &place::result(id, "null", true)),
            }
            return;
        }
        if let Ok(CallAnswer::Replied(replied)) = &answer
            && replied.taken
        {
            self.inbox.handle_replied(replied.ask_id);
        }
        let is_error = answer.is_err() && !open.hides_error;
        let batch = self.inbox.take_for_call(call, is_error);
        let mut open_asks = match (&answer, &mut self.hub) {
            (Ok(CallAnswer::Peers(_)), Some(hub)) => Some(hub.ledger().open(Instant::now())),
            _ => None,
        };
        // A text that comes with this result or by itself is not listed as well: a model would read two questions.
        let received = open_asks.iter_mut().flat_map(|open| &mut open.received);
        received.filter(|ask| self.inbox.is_to_come(ask.ask_id)).for_each(|ask| ask.question = None);
        let context = Context { wakes_by: Some(self.inbox.wakes_by()), timeout_s: open.timeout_s, open: open_asks };
        let json = render(answer, context, batch);
        match open.origin {
            Origin::Client => self.answer(call, ToolResult { json, is_error }),
            Origin::Proxy(by, id) => {
                self.calls.handle_sent(by, id, call);
                self.place.send(by, &place::result(id, &json, is_error));
            }
        }
    }

    /// Forgets a call that its client has cancelled.
    pub(super) fn forget(&mut self, call: CallId) {
        let _nobody_waits = self.mcp.answer(call, ToolResult { json: String::new(), is_error: true });
    }

    pub(super) fn answer(&mut self, call: CallId, result: ToolResult) {
        match self.mcp.answer(call, result) {
            Some(answer) => self.stdio.push(&answer, Written::Result(call)),
            None => self.inbox.handle_call_cancelled(call),
        }
    }
}
