//! What is to be written and not taken yet: bounded, whatever comes and however slow its reader is. Pure.

use super::line::{Incoming, State};

/// The most bytes that wait, unless it is a single message: some messages of the largest size of the usual server.
const QUEUED_MAX_BYTES: usize = 2 * 1024 * 1024;

/// The most bytes of an empty queue that are kept.
const KEPT_BYTES: usize = 16 * 1024;

/// Lines in the order in which they are to be written.
#[derive(Debug, Default)]
pub(super) struct Queue {
    bytes: Vec<u8>,
    /// The last state, where there was no room for it.
    unsaid: Option<State>,
    /// How many messages were dropped since there was room.
    dropped: u64,
}

impl Queue {
    /// Adds a state. Where there is no room, it waits for it, and only the last one does.
    pub(super) fn push_state(&mut self, state: State) {
        if self.has_room(0) {
            self.push(&state);
        } else {
            self.unsaid = Some(state);
        }
    }

    /// Adds what has come. Returns whether it is the first that has no room and is dropped.
    pub(super) fn push_mail(&mut self, mail: &Incoming<'_>) -> bool {
        if self.has_room(mail.line.len()) {
            self.push(mail);
            return false;
        }
        self.dropped += 1;
        self.dropped == 1
    }

    /// Returns what is to be written next.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Removes what was written. Returns how many messages were dropped, once there is room again.
    pub(super) fn written(&mut self, n: usize) -> Option<u64> {
        self.bytes.drain(..n);
        if self.bytes.is_empty() && self.bytes.capacity() > KEPT_BYTES {
            self.bytes = Vec::new();
        }
        if self.bytes.len() > QUEUED_MAX_BYTES / 2 {
            return None;
        }
        if let Some(state) = self.unsaid.take() {
            self.push(&state);
        }
        let dropped = std::mem::take(&mut self.dropped);
        (dropped > 0).then_some(dropped)
    }

    /// A reader that was too slow has to have caught up by half before anything new is taken.
    fn has_room(&self, n: usize) -> bool {
        let is_open = self.dropped == 0 && self.unsaid.is_none();
        self.bytes.is_empty() || (is_open && self.bytes.len() + n <= QUEUED_MAX_BYTES)
    }

    fn push(&mut self, line: &impl serde::Serialize) {
        let before = self.bytes.len();
        if serde_json::to_writer(&mut self.bytes, line).is_ok() {
            self.bytes.push(b'\n');
        } else {
            self.bytes.truncate(before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn down(why: &str) -> State {
        State::Down { why: why.to_owned() }
    }

    #[test]
    fn reader_that_takes_nothing_costs_messages_and_no_memory() {
        let mut queue = Queue::default();
        let line = "x".repeat(100_000);
        let told = (0..100).filter(|_| queue.push_mail(&Incoming { from: "desk", line: &line })).count();
        assert_eq!(told, 1);
        assert!(queue.bytes().len() <= QUEUED_MAX_BYTES);
        queue.push_state(down("one"));
        queue.push_state(down("two"));
        assert!(queue.bytes().len() <= QUEUED_MAX_BYTES);
        let n = queue.bytes().len();
        assert_eq!(queue.written(n / 4), None);
        assert_eq!(queue.written(n / 2), Some(80));
        assert!(!queue.push_mail(&Incoming { from: "desk", line: "next" }));
        let rest = String::from_utf8(queue.bytes().to_vec()).unwrap();
        let rest: Vec<&str> = rest.lines().rev().take(2).collect();
        assert_eq!(rest, [r#"{"from":"desk","line":"next"}"#, r#"{"state":"down","why":"two"}"#]);
    }

    #[test]
    fn single_message_of_any_size_fits() {
        let mut queue = Queue::default();
        let line = "x".repeat(2 * QUEUED_MAX_BYTES);
        assert!(!queue.push_mail(&Incoming { from: "desk", line: &line }));
        assert!(queue.push_mail(&Incoming { from: "desk", line: "x" }));
        let n = queue.bytes().len();
        assert_eq!(queue.written(n), Some(1));
        assert_eq!(queue.bytes(), b"");
    }
}
