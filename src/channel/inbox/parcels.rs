//! Messages on their way through the waiter or a hook: offered, held, and shown or given back.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::{Entry, Word};
use crate::channel::envelope;
use crate::channel::notification::Message;
use crate::protocol::{Activity, OFFER_MAX_BYTES, Offer, PeerTag, Verdict};

/// The bytes of messages in one wake: Claude Code 2.1.330 cuts the middle out of more than 100,000.
pub(super) const WAKE_BYTES: usize = 86 * 1024;

/// The bytes of messages that one hook adds, exceeded only by a single message: Claude Code puts what has more than 10,000
/// characters into a file and shows the first two thousand and the file's path (seen in 2.1.197 and 2.1.330).
pub(super) const HOOK_BYTES: usize = 9000;

/// The most bytes of one message in an envelope; the rest is cut, and said to be. A question or a reply of the most bytes
/// fits, unless much of it had to be neutralised.
const MESSAGE_MAX_BYTES: usize = 72 * 1024;

/// How long a hook's batch is left with it where nothing is heard of it: longer than a hook lives.
const HOOK_LIFE: Duration = Duration::from_secs(8);

/// How long after a wake the next waiter may take, once the session is idle: it is started at the turn's end.
const SUCCESSOR_WAIT: Duration = Duration::from_secs(3);

/// The same where nothing tells what the session does.
const SUCCESSOR_WAIT_UNKNOWN: Duration = Duration::from_secs(60);

/// How many batches that were shown are remembered, for a companion whose hub was lost before the verdict came.
const SHOWN_REMEMBERED: usize = 32;

#[derive(Debug)]
struct Parcel {
    batch: u64,
    text: String,
    entries: Vec<Entry>,
    expires: Option<Instant>,
}

/// Who comes after a waiter that has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Successor {
    /// Nobody is expected.
    None,
    /// A waiter, at the end of the turn.
    AfterTurn,
    /// A waiter, until then.
    Until(Instant),
}

/// What is at the companions, and what they are to be told.
#[derive(Debug)]
pub(super) struct Parcels {
    waiter: Option<PeerTag>,
    /// Whether a waiter has ever come: then the end of each turn starts one.
    waiters_come: bool,
    successor: Successor,
    activity: Activity,
    parcels: BTreeMap<PeerTag, Parcel>,
    shown: VecDeque<(PeerTag, u64)>,
    last_batch: u64,
    words: VecDeque<Word>,
}

impl Default for Parcels {
    fn default() -> Self {
        Self {
            waiter: None,
            waiters_come: false,
            successor: Successor::None,
            activity: Activity::Unknown,
            parcels: BTreeMap::new(),
            shown: VecDeque::new(),
            last_batch: 0,
            words: VecDeque::new(),
        }
    }
}

impl Parcels {
    /// Returns whether a waiter is there, or comes at the end of the present turn.
    pub(super) fn is_woken_by_waiter(&self) -> bool {
        self.waiter.is_some() || self.successor != Successor::None
    }

    /// Returns whether a waiter is there that has nothing to show yet.
    pub(super) fn waiter_is_free(&self) -> bool {
        self.waiter.is_some_and(|waiter| !self.parcels.contains_key(&waiter))
    }

    /// Notes what the session does.
    pub(super) fn handle_activity(&mut self, now: Instant, activity: Activity) {
        if self.activity != activity {
            self.activity = activity;
            let turn_begins = activity == Activity::Busy && self.waiters_come && self.waiter.is_none();
            if turn_begins || self.successor != Successor::None {
                self.successor = successor(now, activity);
            }
        }
    }

    /// Notes which waiter is there. Returns what the former one had and did not show.
    pub(super) fn handle_waiter(&mut self, now: Instant, tag: Option<PeerTag>) -> Vec<Entry> {
        if let Some(tag) = tag {
            self.waiters_come = true;
            self.successor = Successor::None;
            if self.waiter == Some(tag) {
                self.offer_again(tag);
                return Vec::new();
            }
        }
        let former = std::mem::replace(&mut self.waiter, tag);
        if former.is_some() && tag.is_none() && self.activity == Activity::Busy {
            // It was killed or superseded in the middle of a turn: the turn's end starts another.
            self.successor = successor(now, self.activity);
        }
        former.map(|former| self.take_back(former)).unwrap_or_default()
    }

    pub(super) fn offer_to_waiter(&mut self, entries: Vec<Entry>, left: usize) {
        if let Some(waiter) = self.waiter {
            self.offer(waiter, entries, left, None);
        }
    }

    /// Offers these messages to a hook, or tells it that there are none.
    pub(super) fn offer_to_hook(&mut self, now: Instant, by: PeerTag, entries: Vec<Entry>, left: usize) {
        if entries.is_empty() {
            self.words.push_back(Word::Verdict(Verdict { to: by, batch: None, show: false }));
        } else {
            self.offer(by, entries, left, Some(now + HOOK_LIFE));
        }
    }

    fn offer(&mut self, to: PeerTag, entries: Vec<Entry>, left: usize, expires: Option<Instant>) {
        self.last_batch += 1;
        let messages: Vec<Message> = entries
            .iter()
            .map(|entry| {
                let mut message = entry.message.clone();
                envelope::cut(&mut message, MESSAGE_MAX_BYTES);
                message
            })
            .collect();
        let text = envelope::wrap_all(messages.iter(), left);
        debug_assert!(text.len() <= OFFER_MAX_BYTES, "{} bytes", text.len());
        self.parcels.insert(to, Parcel { batch: self.last_batch, text, entries, expires });
        self.offer_again(to);
    }

    /// Offers a companion its batch again; `false` where it has none.
    pub(super) fn offer_again(&mut self, to: PeerTag) -> bool {
        let Some(parcel) = self.parcels.get(&to) else { return false };
        let offer = Offer { to, batch: parcel.batch, text: parcel.text.clone() };
        self.words.push_back(Word::Offer(offer));
        true
    }

    /// Takes back what a companion has and did not show.
    pub(super) fn take_back(&mut self, from: PeerTag) -> Vec<Entry> {
        self.parcels.remove(&from).map(|parcel| parcel.entries).unwrap_or_default()
    }

    /// Takes back what all companions have and did not show.
    pub(super) fn take_back_all(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.parcels).into_values().flat_map(|parcel| parcel.entries).collect()
    }

    /// Tells a companion that holds a batch what to do with it. Returns the messages that it so shows.
    pub(super) fn handle_holding(&mut self, now: Instant, by: PeerTag, batch: u64) -> Vec<Entry> {
        let is_its = self.parcels.get(&by).is_some_and(|parcel| parcel.batch == batch);
        let entries = if is_its { self.take_back(by) } else { Vec::new() };
        if is_its {
            self.shown.push_back((by, batch));
            if self.shown.len() > SHOWN_REMEMBERED {
                self.shown.pop_front();
            }
        }
        let show = self.shown.contains(&(by, batch));
        // So does one that comes back for its verdict, after its hub was lost.
        if show && self.waiter == Some(by) {
            self.waiter = None;
            self.successor = successor(now, self.activity);
        }
        self.words.push_back(Word::Verdict(Verdict { to: by, batch: Some(batch), show }));
        entries
    }

    pub(super) fn poll_word(&mut self) -> Option<Word> {
        self.words.pop_front()
    }

    /// Takes back what is due.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Vec<Entry> {
        if matches!(self.successor, Successor::Until(at) if at <= now) {
            self.successor = Successor::None;
        }
        let due = |parcel: &Parcel| parcel.expires.is_some_and(|at| at <= now);
        let late: Vec<PeerTag> = self.parcels.iter().filter(|(_, parcel)| due(parcel)).map(|(tag, _)| *tag).collect();
        late.into_iter().flat_map(|tag| self.take_back(tag)).collect()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let successor = match self.successor {
            Successor::Until(at) => Some(at),
            Successor::None | Successor::AfterTurn => None,
        };
        self.parcels.values().filter_map(|parcel| parcel.expires).chain(successor).min()
    }
}

/// Returns until when the next waiter is expected.
fn successor(now: Instant, activity: Activity) -> Successor {
    match activity {
        Activity::Busy => Successor::AfterTurn,
        Activity::Idle => Successor::Until(now + SUCCESSOR_WAIT),
        Activity::Unknown => Successor::Until(now + SUCCESSOR_WAIT_UNKNOWN),
    }
}
