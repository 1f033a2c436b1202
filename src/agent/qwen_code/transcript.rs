//! The transcript of a Qwen Code session: a line of it is the receipt for what came by the inbox.
//!
//! It is written 0.03 to 0.05 s before the model's request (seen in 0.24.4), as a user's line with the subtype
//! `notification`.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};

use serde::Deserialize;
use serde_json::Value;

use crate::watched::{PathWatch, Signal, Watching};

/// The most bytes that are read at once; what a long tool result has more is read with the next change.
const READ_MAX_BYTES: u64 = 8 * 1024 * 1024;

/// A line, as far as it matters.
#[derive(Debug, Deserialize)]
struct Line {
    #[serde(rename = "type")]
    kind: String,
    subtype: Option<String>,
    message: Option<Value>,
}

/// The transcript, which is read only while a receipt is waited for.
#[derive(Debug)]
pub(super) struct Transcript {
    directory: PathBuf,
    conversation: String,
    offset: u64,
    /// The ids of the messages that no line was seen to have.
    missing: Vec<String>,
    watch: Option<(PathWatch, Signal)>,
}

impl Transcript {
    /// Returns the transcript of this conversation. `project`: where Qwen Code keeps what it knows of the folder.
    pub(super) fn new(project: &Path, conversation: String) -> Self {
        let directory = project.join("chats");
        Self { directory, conversation, offset: 0, missing: Vec::new(), watch: None }
    }

    fn path(&self) -> PathBuf {
        self.directory.join(format!("{}.jsonl", self.conversation))
    }

    /// Records which conversation it is now.
    pub(super) fn handle_conversation(&mut self, id: &str) {
        if self.conversation != id && !id.contains('/') {
            id.clone_into(&mut self.conversation);
            self.offset = 0;
            if self.watch.take().is_some() {
                self.begin();
            }
        }
    }

    /// Waits for the lines of these messages, which are about to be delivered.
    pub(super) fn expect(&mut self, ids: &[String]) {
        if self.missing.is_empty() {
            self.offset = std::fs::metadata(self.path()).map_or(0, |file| file.len());
        }
        self.missing.extend_from_slice(ids);
        if self.watch.is_none() {
            self.begin();
        }
    }

    /// Waits for these messages no longer.
    pub(super) fn forget(&mut self, ids: &[String]) {
        self.missing.retain(|id| !ids.contains(id));
        if self.missing.is_empty() {
            self.watch = None;
        }
    }

    /// Returns whether a line is still to come, and would be seen.
    pub(super) const fn is_followed(&self) -> bool {
        self.watch.is_some()
    }

    fn begin(&mut self) {
        let watch = || -> io::Result<_> {
            let watch = PathWatch::new(self.path(), Watching::Content)?;
            let signal = Signal::new(watch.as_fd().try_clone_to_owned()?)?;
            Ok((watch, signal))
        };
        match watch() {
            Ok(watch) => self.watch = Some(watch),
            Err(error) => tracing::debug!(%error, "the session's transcript is not followed"),
        }
    }

    pub(super) fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        match &self.watch {
            Some((_, signal)) => signal.poll_told(context),
            None => Poll::Pending,
        }
    }

    /// Returns the ids of the messages that went before the model.
    pub(super) fn look(&mut self) -> Vec<String> {
        let Some((watch, _)) = &mut self.watch else { return Vec::new() };
        if watch.take().is_err() {
            self.watch = None;
        }
        let Ok(text) = self.read() else { return Vec::new() };
        let seen = ids_in(&text, &self.missing);
        self.forget(&seen);
        seen
    }

    /// Reads the whole lines that were written since the last time.
    fn read(&mut self) -> io::Result<String> {
        let mut file = File::open(self.path())?;
        file.seek(SeekFrom::Start(self.offset))?;
        let mut bytes = Vec::new();
        file.take(READ_MAX_BYTES).read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.offset += whole as u64;
        bytes.truncate(whole);
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Returns which of these ids stand in an opening tag of ours, in a line that says what came by the inbox. There the tag's
/// first character is escaped; one in a message's text is so twice.
fn ids_in(lines: &str, ids: &[String]) -> Vec<String> {
    let mut seen: Vec<String> = Vec::new();
    for line in lines.lines().filter(|line| line.contains("notification")) {
        let Ok(line) = serde_json::from_str::<Line>(line) else { continue };
        if line.kind != "user" || line.subtype.as_deref() != Some("notification") {
            continue;
        }
        let parts = line.message.as_ref().and_then(|message| message["parts"].as_array());
        let texts = parts.into_iter().flatten().filter_map(|part| part["text"].as_str());
        let tags: Vec<&str> =
            texts.flat_map(str::lines).filter(|line| line.starts_with("&lt;relay-message ")).collect();
        let has = |id: &&String| tags.iter().any(|tag| tag.contains(&format!("_id=\"{id}\"")));
        seen.extend(ids.iter().filter(has).cloned());
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_line_of_the_inbox_with_our_tag_is_a_receipt() {
        let line = |kind: &str, subtype: &str, text: &str| {
            serde_json::json!({"type": kind, "subtype": subtype, "message": {"parts": [{"text": text}]}}).to_string()
        };
        let ids = ["a-1".to_owned(), "b-2".to_owned()];
        let tag = "From own process:\n&lt;relay-message kind=\"ask\" from=\"x\" ask_id=\"a-1\">\nhi ask_id=\"b-2\"";
        assert_eq!(ids_in(&line("user", "notification", tag), &ids), ["a-1"]);
        assert_eq!(ids_in(&line("user", "cron", tag), &ids), [""; 0]);
        assert_eq!(ids_in(&line("assistant", "notification", tag), &ids), [""; 0]);
        assert_eq!(ids_in("{\"type\":\"user\", notification", &ids), [""; 0]);
    }
}
