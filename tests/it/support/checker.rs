//! Judges what the MCP clients of some sessions saw while their hub was being killed. Pure: a record goes in, broken
//! promises come out.
//!
//! The checker knows nothing of how the product works. It takes every session for alive during the whole record, every
//! question's and every answer's text for unique, and a channel for back when its tools work again. The product's time
//! counts while a hub runs: when one is started is the service manager's time, and what the processes had to wait for the
//! machine is the machine's. Both are in the record, and granted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::record::{Answered, Called, Log, Record, Shown};

/// How long after its deadline an ask may take to end.
const SLACK: Duration = Duration::from_secs(1);

/// How long a channel may need to be back when a hub has started.
pub(crate) const BACK: Duration = Duration::from_secs(2);

/// How long a hub must have lived until what was said has arrived: it waits for its clients first.
pub(crate) const PEACE: Duration = Duration::from_millis(2500);

/// How long a call may take: five seconds for a hub that does not answer, and what a busy machine needs.
const CALL: Duration = Duration::from_secs(6);

/// How much earlier than asked for a deadline may come: hubs count it in whole milliseconds.
const EARLY: Duration = Duration::from_millis(20);

/// Returns whether a name is a guest's: a peer that comes, goes and is killed as it likes. Nothing that only it would see
/// is judged.
pub(crate) fn is_guest(name: &str) -> bool {
    name.starts_with("guest")
}

/// Returns every broken promise, in words.
pub(crate) fn violations(record: &Record) -> Vec<String> {
    let mut judge = Judge { record, asks: BTreeMap::new(), found: Vec::new() };
    judge.collect_asks();
    judge.calls_end();
    judge.names_stay();
    judge.channels_come_back();
    judge.questions_are_shown_once();
    judge.asks_end_once();
    judge.tells_come_or_fail();
    judge.replies_are_true();
    judge.tallies_are_true();
    judge.found
}

/// An accepted ask.
#[derive(Debug, Clone)]
struct Ask<'a> {
    asker: &'a Log,
    to: &'a str,
    broadcast: Option<&'a str>,
    question: &'a str,
    sent: Duration,
    accepted: Duration,
    /// When it may time out at the earliest: a little before its deadline where the client cannot see that exactly.
    earliest: Duration,
    /// An ask's time begins with its call, a broadcast's when the hub has opened its asks.
    deadline: Duration,
}

struct Judge<'a> {
    record: &'a Record,
    asks: BTreeMap<&'a str, Ask<'a>>,
    found: Vec<String>,
}

impl<'a> Judge<'a> {
    fn blame(&mut self, what: impl Into<String>) {
        self.found.push(what.into());
    }

    fn collect_asks(&mut self) {
        for log in &self.record.sessions {
            for (call, answer) in answered(log).filter(|(_, answer)| !answer.is_error) {
                let (list, broadcast) = match call.tool {
                    "relay_ask" => (vec![&answer.json], None),
                    "relay_broadcast" => {
                        let asks = answer.json["asks"].as_array().map_or_else(Vec::new, |asks| asks.iter().collect());
                        (asks, Some(word(&answer.json["broadcast_id"])))
                    }
                    _ => continue,
                };
                let timeout = Duration::from_secs(call.arguments["timeout_seconds"].as_u64().unwrap_or(600));
                for ask in list {
                    let id = word(&ask["ask_id"]);
                    let known = self.asks.insert(
                        id,
                        Ask {
                            asker: log,
                            to: word(&ask["to"]),
                            broadcast,
                            question: word(&call.arguments["question"]),
                            sent: call.sent,
                            accepted: answer.at,
                            earliest: call.sent + timeout,
                            deadline: timeout + if broadcast.is_some() { answer.at } else { call.sent },
                        },
                    );
                    if known.is_some() {
                        self.blame(format!("two asks have the id {id}"));
                    }
                }
            }
        }
    }

    /// Every call is answered in time, and refused only for a reason that there was.
    fn calls_end(&mut self) {
        for log in &self.record.sessions {
            for call in &log.calls {
                let what = format!("{} of {} at {:?}", call.tool, log.name, call.sent);
                let Some(answer) = &call.answer else {
                    self.blame(format!("{what} was never answered"));
                    continue;
                };
                if answer.at > self.record.granted(call.sent, CALL) {
                    self.blame(format!("{what} was answered after {:?}", answer.at - call.sent));
                }
                let code = word(&answer.json["error"]["code"]);
                let expected = if call.tool == "relay_reply" { "unknown_ask" } else { "hub_unreachable" };
                if answer.is_error && code != expected {
                    self.blame(format!("{what} was refused: {}", answer.json));
                }
            }
        }
    }

    /// Names never change, and a hub that says that it has settled knows everybody.
    fn names_stay(&mut self) {
        let all: BTreeSet<&str> = self.record.sessions.iter().map(|log| log.name.as_str()).collect();
        for log in &self.record.sessions {
            for (call, answer) in answered(log).filter(|(call, answer)| call.tool == "relay_peers" && !answer.is_error)
            {
                let mut named: Vec<&str> =
                    answer.json["peers"].as_array().unwrap().iter().map(|p| word(&p["name"])).collect();
                named.retain(|name| !is_guest(name));
                named.push(word(&answer.json["you"]));
                let names: BTreeSet<&str> = named.iter().copied().collect();
                let settling = answer.json["settling"] == true;
                let complete = settling || names == all;
                if word(&answer.json["you"]) != log.name
                    || !names.is_subset(&all)
                    || names.len() < named.len()
                    || !complete
                {
                    self.blame(format!("{} at {:?} saw {}", log.name, call.sent, answer.json));
                }
            }
        }
    }

    /// Where a hub lives long enough, every channel's tools work again; and in the end there is one.
    fn channels_come_back(&mut self) {
        let record = self.record;
        for life in &record.lives {
            let owed = self.record.granted(life.from, BACK);
            if owed > life.until.min(record.asked_until) {
                continue;
            }
            for log in &record.sessions {
                let back = answered(log).any(|(call, answer)| {
                    call.tool == "relay_peers" && !answer.is_error && call.sent >= life.from && answer.at <= owed
                });
                if !back {
                    self.blame(format!(
                        "{} was not back {BACK:?} after the start of a hub at {:?}",
                        log.name, life.from
                    ));
                }
            }
        }
        if record.lives.last().is_none_or(|last| last.until < record.end) {
            self.blame(format!("there was no hub in the end: {:?}", record.lives.last()));
        }
    }

    /// Every question that is shown was asked of this session, and is shown once; none is lost in peace.
    fn questions_are_shown_once(&mut self) {
        let mut shown: BTreeMap<(&str, &str), Duration> = BTreeMap::new();
        for log in &self.record.sessions {
            let mut seen = BTreeSet::new();
            for event in events(log, "ask") {
                let (question, id) = (first_line(&event.content), event.get("ask_id"));
                if !seen.insert(question) {
                    self.blame(format!("{} was shown {question:?} ({id}) again at {:?}", log.name, event.at));
                }
                shown.entry((id, &log.name)).or_insert(event.at);
                let asked = self.record.sessions.iter().filter(|asker| asker.name == event.get("from")).any(|asker| {
                    asker.calls.iter().any(|call| {
                        word(&call.arguments["question"]) == question
                            && (call.tool == "relay_broadcast" || word(&call.arguments["to"]) == log.name)
                    })
                });
                if !asked {
                    self.blame(format!("nobody asked {}: {event:?}", log.name));
                }
            }
        }
        for (id, ask) in &self.asks.clone() {
            let at = shown.get(&(id, ask.to));
            if !is_guest(ask.to)
                && let Some(owed) = self.peace_after(ask.accepted).filter(|at| *at <= ask.earliest)
                && at.is_none_or(|at| *at > owed)
                && self.outcome(id, ask).is_none_or(|end| end.at > owed)
            {
                self.blame(format!(
                    "{} was not shown {:?} ({id}) by {owed:?}, though the hub lived",
                    ask.to, ask.question
                ));
            }
            let strangers = shown.keys().filter(|(shown, to)| shown == id && *to != ask.to).count();
            if strangers > 0 {
                self.blame(format!("the ask {id} to {} was shown to somebody else", ask.to));
            }
        }
    }

    /// Every accepted ask has one outcome, by its deadline and a second, and a true one. Nobody has left.
    fn asks_end_once(&mut self) {
        for (id, ask) in &self.asks.clone() {
            let ends: Vec<&Shown> = outcomes(ask.asker).filter(|event| event.get("ask_id") == *id).collect();
            let what = format!(
                "the ask {id} of {} to {}, sent at {:?}, deadline {:?}",
                ask.asker.name, ask.to, ask.sent, ask.deadline
            );
            let [end] = ends[..] else {
                self.blame(format!("{what}, has {} outcomes: {ends:?}", ends.len()));
                continue;
            };
            if end.at > self.record.granted(ask.deadline, SLACK) {
                self.blame(format!("{what}, ended only at {:?}", end.at));
            }
            // A guest that comes back to a new hub may have another name there.
            let is_from_it = end.get("from") == ask.to || is_guest(ask.to) && is_guest(end.get("from"));
            if !is_from_it || end.get("broadcast_id") != ask.broadcast.unwrap_or_default() {
                self.blame(format!("{what}, ended as another: {end:?}"));
            }
            if end.get("kind") == "failed" {
                let is_gone = is_guest(ask.to) && end.get("code") == "peer_gone";
                if end.get("code") != "timeout" && !is_gone {
                    self.blame(format!("{what}, failed though its peer lives: {end:?}"));
                }
                if end.at + EARLY < ask.earliest && !is_gone {
                    self.blame(format!("{what}, timed out early: {end:?}"));
                }
            }
        }
        for log in &self.record.sessions {
            for event in outcomes(log) {
                let ask = self.asks.get(event.get("ask_id"));
                if ask.is_none_or(|ask| ask.asker.name != log.name) {
                    self.blame(format!("{} was shown the end of what it had not asked: {event:?}", log.name));
                }
            }
        }
    }

    /// Every accepted tell is shown once to its session, and to nobody else, or its teller is told once that it failed;
    /// in peace it is shown, and none is said to have failed.
    fn tells_come_or_fail(&mut self) {
        for log in &self.record.sessions {
            for (call, answer) in answered(log).filter(|(call, answer)| call.tool == "relay_tell" && !answer.is_error) {
                let (id, to) = (word(&answer.json["tell_id"]), word(&answer.json["to"]));
                let what = format!("the tell {id} of {} to {to}, sent at {:?}", log.name, call.sent);
                let deadline =
                    call.sent + Duration::from_secs(call.arguments["timeout_seconds"].as_u64().unwrap_or(600));
                let shown: Vec<(&str, &Shown)> = self
                    .record
                    .sessions
                    .iter()
                    .flat_map(|log| events(log, "tell").map(|event| (log.name.as_str(), event)))
                    .filter(|(_, event)| event.get("tell_id") == id)
                    .collect();
                let failed: Vec<&Shown> = events(log, "failed").filter(|event| event.get("tell_id") == id).collect();
                let is_its = |(name, event): &(&str, &Shown)| {
                    *name == to
                        && event.get("from") == log.name
                        && first_line(&event.content) == word(&call.arguments["text"])
                };
                if shown.len() > 1 || failed.len() > 1 || !shown.iter().all(is_its) {
                    self.blame(format!("{what}: shown {shown:?}, failed {failed:?}"));
                }
                if shown.is_empty() && failed.is_empty() {
                    self.blame(format!("{what}, was lost without a word"));
                }
                if failed.iter().any(|end| end.get("code") != "timeout" || end.at + EARLY < deadline) {
                    self.blame(format!("{what}, failed though there was time and its peer lives: {failed:?}"));
                }
                if failed.iter().any(|end| end.at > self.record.granted(deadline, SLACK)) {
                    self.blame(format!("{what}, failed too late: {failed:?}"));
                }
                let owed = self.peace_after(answer.at).filter(|owed| *owed <= deadline);
                if let Some(owed) = owed
                    && (!failed.is_empty() || shown.iter().all(|(_, event)| event.at > owed))
                {
                    self.blame(format!("{what}, had not come by {owed:?}, though the hub lived: {failed:?}"));
                }
            }
        }
    }

    /// What was answered is shown to the asker or told to have failed, never both; what is shown was said.
    fn replies_are_true(&mut self) {
        let mut said = BTreeSet::new();
        for log in &self.record.sessions {
            for (call, answer) in answered(log).filter(|(call, _)| call.tool == "relay_reply") {
                let (id, text) = (word(&call.arguments["ask_id"]), word(&call.arguments["text"]));
                said.insert((id, log.name.as_str(), text));
                let ask = self.asks.get(id).cloned();
                let end = ask.as_ref().and_then(|ask| self.outcome(id, ask));
                let arrived = end.is_some_and(|end| end.get("kind") == "reply" && end.content == text);
                let failed = events(log, "reply_failed").filter(|event| event.get("ask_id") == id).count();
                let what = format!("the reply of {} to {id} at {:?}, answered {}", log.name, call.sent, answer.json);
                let state = if answer.is_error { "refused" } else { word(&answer.json["state"]) };
                let (may_arrive, told) = match state {
                    "accepted" => (arrived && failed == 0, "must have arrived"),
                    "pending" => (usize::from(arrived) + failed == 1, "must arrive or be told to have failed"),
                    _ => (!arrived && failed == 0, "must not arrive"),
                };
                if !may_arrive {
                    self.blame(format!(
                        "{what}: it {told}; arrived: {arrived}, told to have failed: {failed}, end: {end:?}"
                    ));
                }
                let Some(ask) = ask else { continue };
                if state == "refused" && answer.at + EARLY < ask.earliest {
                    self.blame(format!("{what}: refused before its deadline {:?}", ask.deadline));
                }
                if self.peace_after(call.sent).is_some_and(|at| at <= ask.earliest) && !arrived {
                    self.blame(format!("{what}: lost though the hub lived, deadline {:?}, end: {end:?}", ask.deadline));
                }
            }
        }
        for log in &self.record.sessions {
            for event in events(log, "reply") {
                if !said.contains(&(event.get("ask_id"), event.get("from"), event.content.as_str())) {
                    self.blame(format!("{} was shown a reply that nobody said: {event:?}", log.name));
                }
            }
        }
    }

    /// Every accepted broadcast asks everybody, and ends with one tally that counts its outcomes.
    fn tallies_are_true(&mut self) {
        for log in &self.record.sessions {
            let mut known = BTreeSet::new();
            let broadcasts = answered(log).filter(|(call, answer)| call.tool == "relay_broadcast" && !answer.is_error);
            for (call, answer) in broadcasts {
                let id = word(&answer.json["broadcast_id"]);
                known.insert(id);
                let what = format!("the broadcast {id} of {} at {:?}", log.name, call.sent);
                let listed = |list: &str| answer.json[list].as_array().map_or(0, Vec::len);
                let (asked, refused) = (listed("asks"), listed("refused"));
                let to = answer.json["asks"].as_array().into_iter().chain(answer.json["refused"].as_array()).flatten();
                let sessions = to.filter(|ask| !is_guest(word(&ask["to"]))).count();
                let named = call.arguments["to"].as_array().map_or(self.record.sessions.len() - 1, Vec::len);
                if sessions != named {
                    self.blame(format!("{what} did not reach everybody: {}", answer.json));
                }
                let ends: Vec<&Shown> = outcomes(log).filter(|event| event.get("broadcast_id") == id).collect();
                let tallies: Vec<&Shown> =
                    events(log, "tally").filter(|event| event.get("broadcast_id") == id).collect();
                let [tally] = tallies[..] else {
                    self.blame(format!("{what} has {} tallies", tallies.len()));
                    continue;
                };
                let count = |matching: &dyn Fn(&Shown) -> bool| ends.iter().filter(|end| matching(end)).count();
                let true_counts = [
                    ("asked", asked + refused),
                    ("refused", refused),
                    ("replied", count(&|end| end.get("kind") == "reply")),
                    ("timed_out", count(&|end| end.get("code") == "timeout")),
                    ("gone", count(&|end| end.get("code") == "peer_gone")),
                ];
                if true_counts.iter().any(|(key, n)| tally.get(key) != n.to_string()) {
                    self.blame(format!("{what} counted {:?}, true are {true_counts:?}", tally.meta));
                }
                if ends.iter().any(|end| end.at > tally.at) {
                    self.blame(format!("{what} was closed before its last outcome"));
                }
            }
            for tally in events(log, "tally").filter(|event| !known.contains(event.get("broadcast_id"))) {
                self.blame(format!("{} was shown the tally of what it had not asked: {tally:?}", log.name));
            }
        }
    }

    fn outcome(&self, id: &str, ask: &Ask<'a>) -> Option<&'a Shown> {
        outcomes(ask.asker).find(|event| event.get("ask_id") == id)
    }

    /// Returns when a hub that lived on had had enough peace, from this time on, to owe its clients everything.
    fn peace_after(&self, time: Duration) -> Option<Duration> {
        let lives = self.record.lives.iter().filter(|life| life.until > time);
        lives
            .map(|life| (self.record.granted(life.from.max(time), PEACE), life.until))
            .find(|(owed, until)| owed <= until)
            .map(|(owed, _)| owed)
    }
}

fn answered(log: &Log) -> impl Iterator<Item = (&Called, &Answered)> {
    log.calls.iter().filter_map(|call| Some((call, call.answer.as_ref()?)))
}

fn events<'a>(log: &'a Log, kind: &'static str) -> impl Iterator<Item = &'a Shown> {
    log.events.iter().filter(move |event| event.get("kind") == kind)
}

fn outcomes(log: &Log) -> impl Iterator<Item = &Shown> {
    let is_of_ask = |event: &&Shown| !event.meta.contains_key("tell_id");
    log.events.iter().filter(|event| ["reply", "failed"].contains(&event.get("kind"))).filter(is_of_ask)
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests;
